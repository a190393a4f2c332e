"""The command `heatmap`: files, numbers and conclusions, the same each time, and one line for each mistake."""

import json
from pathlib import Path

import cv2
import pytest
from test_analysis_heatmap import tiny

from yolograft import cli

pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Save a host and an arm, both with random weights."""
    folder = tmp_path_factory.mktemp("models")
    for name, graft in (("host", "none"), ("arm", "se@8")):
        model = tiny(graft)
        model.model.names = {0: "dim", 1: "bright"}
        model.model.model[-1].cv3[0][-1].bias.data.zero_()  # so that there are detections
        model.save(folder / f"{name}.pt")
    return [str(folder / "host.pt"), str(folder / "arm.pt")]


def run(*words: str, project: Path) -> int:
    return cli.main(["heatmap", *words, f"project={project}", "imgsz=64"])


def test_maps_of_two_models_with_checks_are_the_same_each_time(
        models: list[str], tiny_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"model={','.join(models)}", f"data={tiny_set}", "limit=2"]
    assert run(*words, project=tmp_path) == 0
    printed = capsys.readouterr().out
    assert "rank correlation of their maps (inside the box)" in printed
    assert "2/2" in printed
    assert "Add a model of another seed" in printed
    assert run(*words, project=tmp_path) == 0
    first, second = tmp_path / "heatmap", tmp_path / "heatmap2"
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(["heatmap.json", *(f"{number}-{stem}{kind}.png" for number, stem in ((1, "0"), (2, "7"))
                                              for kind in ("", "-host", "-arm"))])
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert cv2.imread(str(first / "1-0-host.png")).shape == (64, 64, 3)
    record = json.loads((first / "heatmap.json").read_text(encoding="utf-8"))
    assert [one["graft"].split("(")[0] for one in record["models"]] == ["none", "se"]
    one = record["pictures"][0]
    assert one["box"] == one["truths"][0]["box"]
    assert one["models"]["host"]["class"] == one["class"]
    assert {"deletion", "randomised", "logit", "confidence", "box"} <= one["models"]["host"].keys()
    assert record["conclusions"]


def test_one_model_and_one_picture(models: list[str], tiny_set: Path, tmp_path: Path) -> None:
    picture = tiny_set.parent / "images" / "val" / "3.png"
    assert run(f"model={models[1]}", f"source={picture}", "conf=0.01", "checks=False", "method=eigencam", "layer=3,8",
               "name=one", project=tmp_path) == 0
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["1-3.png", "heatmap.json"]


def test_a_picture_without_a_detection_is_one_line(models: list[str], tiny_set: Path, tmp_path: Path,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"model={models[0]}", f"source={tiny_set.parent / 'images' / 'val'}", "limit=1", "conf=1",
               project=tmp_path) == 0
    assert "1/1 0.png: no detection above conf=1.0" in capsys.readouterr().out


@pytest.mark.parametrize(("word", "expected"), [
    ("method=gradcan", "Did you mean 'gradcam'"), ("layer=99", "No site '99'"), ("box=rust", "names no class"),
    ("box=0", "starts at 1"), ("box=9,9,1,1", "is no box"), ("box=truth", "give the data YAML with data="),
    ("source=nowhere", "does not exist"), ("conf=2", "is no number from 0 to 1"), ("limit=0", "not a positive whole number"),
    ("model=none.pt", "none.pt"), ("metod=gradcam", "Did you mean 'method'"),
])
def test_a_mistake_is_one_line_and_writes_nothing(word: str, expected: str, models: list[str], tiny_set: Path,
                                                  tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = {"model": models[0], "source": str(tiny_set.parent / "images" / "val" / "0.png")}
    key, _, value = word.partition("=")
    arguments[key] = value
    assert run(*(f"{name}={text}" for name, text in arguments.items()), project=tmp_path) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("yolograft: ")
    assert expected in printed
    assert "Traceback" not in printed
    assert not list(tmp_path.iterdir())


def test_a_model_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["heatmap", "source=x.png"]) == 2
    assert "needs a checkpoint" in capsys.readouterr().err
