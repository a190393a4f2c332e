"""Explaining a network end to end: statistics, causal values, training of the blocks, and the command with its page."""

import json
import re
from pathlib import Path

import pytest
import torch

from yolograft import YOLO
from yolograft.analysis.block_training import trace_training
from yolograft.analysis.causal_value import ALL, plan
from yolograft.analysis.explain import _run_name, explain
from yolograft.analysis.gates import places
from yolograft.analysis.health import Health
from yolograft.cli import main
from yolograft.host.models import graft_onto


def grafted(graft: str) -> YOLO:
    model = YOLO("yolo11n.yaml")
    graft_onto(model.model, graft)
    return model


@pytest.fixture(scope="module")
def checkpoint(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector with two blocks, of which the first halves its input and the second does nothing."""
    model = YOLO(weights)
    graft_onto(model.model, "se@8 + cbam@p3")
    with torch.no_grad():
        places(model.model)[0].block.fc2.bias.fill_(-1.0986)  # 2 sigmoid(-1.0986) = 0.5
    file = tmp_path_factory.mktemp("run") / "mine" / "weights" / "best.pt"
    file.parent.mkdir(parents=True)
    model.save(file)
    return file


@pytest.fixture(scope="module")
def explained(checkpoint: Path, varied_set: Path):
    seen: list[tuple[str, int, int]] = []
    torch.set_num_threads(1)
    found = explain(checkpoint, varied_set, imgsz=64, batch=8,
                    progress=lambda model, what, done, total: seen.append((what, done, total)))
    return found, seen


def test_the_blocks_are_explained(explained) -> None:
    found, _ = explained
    se, cbam = found.places
    assert (se.name, se.graft, cbam.name) == ("8", "se@8", "p3")
    assert se.health is Health.HALF
    assert se.summary.mean.mean() == pytest.approx(0.5, abs=0.001)
    assert se.summary.moved == pytest.approx(0.5, abs=0.001)
    assert cbam.health is Health.ONE
    assert cbam.summary.moved < 1e-6
    assert cbam.summary.boxes, "a spatial gate is measured inside boxes"
    assert se.training.moved == pytest.approx(256 / (256 * 16 + 256), abs=0.01)
    assert cbam.training.moved == 0
    assert se.training.gradient > 0
    assert found.name == "mine"
    assert len(found.validated.files) == 24


def test_every_replacement_is_measured(explained) -> None:
    found, seen = explained
    assert [(one.place, one.how) for one in found.values] == [
        (place, how) for place in ("8", "p3", ALL) for how in ("one", "mean", "other")]
    assert found.value("8", "mean").differences.mean.estimate == pytest.approx(0, abs=1e-3), "the gate is constant"
    assert found.value("p3", "one").differences.mean.estimate == pytest.approx(0, abs=1e-9)
    assert found.value(ALL, "one").map50_95 == pytest.approx(found.value("8", "one").map50_95, abs=1e-6)
    assert [done for _, done, _ in seen] == list(range(10))
    assert {total for *_, total in seen} == {10}


def test_all_numbers_are_json(explained) -> None:
    found = json.loads(json.dumps(explained[0].json(), allow_nan=False))
    assert found["grafts"][0]["health"] == "collapsed to 0.5"
    assert len(found["grafts"][0]["gate"]["mean"]) == 256
    assert found["causal"][0]["difference"].keys() == {"estimate", "low", "high"}


def test_a_bare_host_is_only_validated(weights: Path, varied_set: Path, one_thread: None) -> None:
    found = explain(weights, varied_set, imgsz=64, limit=4)
    assert (found.graft, found.places, found.values) == ("none", (), ())


def test_a_block_without_a_gate_has_no_mean_to_take() -> None:
    model = grafted("mhsa@10 + se@8")
    names = [(name, how) for name, how, _ in plan(places(model.model), {})]
    assert ("10", "mean") not in names
    assert (ALL, "mean") not in names


def test_a_block_that_never_ran_has_no_gradient() -> None:
    model = grafted("se@8")
    for parameter in (block := places(model.model)[0].block).parameters():
        parameter.data.zero_()
    batch = {"img": torch.rand(2, 3, 64, 64), "cls": torch.zeros(2, 1), "bboxes": torch.full((2, 4), 0.4),
             "batch_idx": torch.arange(2.0)}
    before = {key: value.clone() for key, value in model.model.state_dict().items()}
    found = trace_training(model.model, places(model.model), batch)
    (one,) = found.values()
    assert one.moved == 0, "the last layer starts at zero"
    assert one.gradient > 0, "its bias gets a gradient"
    assert all(torch.equal(before[key], value) for key, value in model.model.state_dict().items())
    assert all(parameter.grad is None for parameter in block.parameters())


def test_a_run_gives_the_name() -> None:
    assert _run_name(Path("runs/detect/mine/weights/best.pt")) == "mine"
    assert _run_name(Path("best.pt")) == "best"


def test_the_command_writes_the_page(checkpoint: Path, varied_set: Path, tmp_path: Path,
                                     monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["explain", f"model={checkpoint}", f"data={varied_set}", "imgsz=64", "limit=6", "heatmaps=0", "lang=en"]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "collapsed to 0.5" in printed.out
    assert "validation 10 of 10" in printed.err
    folder = Path("runs/explain/mine")
    text = (folder / "explain.html").read_text()
    assert text.index("2 blocks of se@8 + cbam@p3") < text.index("does not show whether training")
    assert "yolograft explain model=" in text
    assert json.loads((folder / "explain.json").read_text())[0]["images"] == 6
    assert {file.suffix for file in (folder / "figures").iterdir()} == {".svg", ".pdf", ".png"}
    assert (folder / "figures" / "maps.png").is_file()
    assert not re.search(r"[−+]0\.0000(?!\d)", text)


@pytest.mark.parametrize(("words", "message"), [
    (["explain"], "needs model="),
    (["explain", "model=x.pt"], "needs data="),
    (["explain", "model=x.pt", "data=none.yaml"], "data=none.yaml does not exist"),
    (["explain", "model=x.pt", "data=x.yaml", "limit=none"], "limit=none"),
    (["explain", "model=x.pt", "data=x.yaml", "seed=a"], "seed=a: expected a whole number"),
    (["explain", "model=x.pt", "data=x.yaml", "lang=fr"], "no language 'fr'"),
    (["explain", "model=x.pt", "data=x.yaml", "conf=1"], "conf"),
])
def test_mistakes_are_named(words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                            capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "no folder is made"
