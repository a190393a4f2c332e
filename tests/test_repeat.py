"""The same seed on the same machine gives the same numbers: trainings, studies, screenings and reports, made twice."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from yolograft import YOLO
from yolograft.cli import main
from yolograft.report import write
from yolograft.study import Study, run

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]  # Ultralytics' own warnings

HOST = """nc: 2
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, C2f, [16, True]]
  - [-1, 1, Conv, [32, 3, 2]]
head:
  - [-1, 1, C2f, [32, True]]
  - [[2, 4], 1, Detect, [nc]]
"""
SHORT: dict[str, Any] = {"epochs": 2, "imgsz": 64, "batch": 4, "workers": 0, "device": "cpu", "close_mosaic": 1, "lr0": 0.01}
ARMS = "none; se@8 effect=0.05; cbam@8"
WORDS = {"data": "somewhere", "model": "yolo11n.pt", "epochs": 3, "host": "yolograft.study.dummy"}


@pytest.fixture
def host(tmp_path: Path) -> Path:
    file = tmp_path / "tiny-host.yaml"
    file.write_text(HOST)
    return file


def trained(host: Path, data: Path, name: str, seed: int = 0) -> tuple[dict[str, torch.Tensor], list[list[str]]]:
    """Return the weights after a training, and its table without the column of the time."""
    model = YOLO(host, graft="se@2")
    model.train(data=str(data), project=str(host.parent / "runs"), name=name, seed=seed, plots=False, **SHORT)
    folder = Path(model.trainer.save_dir)
    lines = [line.split(",") for line in (folder / "results.csv").read_text().splitlines()]
    kept = [place for place, title in enumerate(lines[0]) if title.strip() != "time"]
    last = torch.load(folder / "weights" / "last.pt", map_location="cpu", weights_only=False)
    return (last["ema"] or last["model"]).float().state_dict(), [[line[place] for place in kept] for line in lines]


def test_a_training_gives_the_same_weights_and_table_twice(host: Path, tiny_set: Path) -> None:
    weights, table = trained(host, tiny_set, "first")
    again, same_table = trained(host, tiny_set, "second")
    assert weights.keys() == again.keys()
    assert all(torch.equal(tensor, again[key]) for key, tensor in weights.items())
    assert table == same_table
    other, other_table = trained(host, tiny_set, "other", seed=1)
    assert not all(torch.equal(tensor, other[key]) for key, tensor in weights.items()), "the seed changes nothing"
    assert table != other_table


def results(study: Study) -> dict[str, Any]:
    return {arm: {seed: (result.metrics, result.classes) for seed, result in by_seed.items()}
            for arm, by_seed in study.results.items()}


def test_a_study_gives_the_same_results_verdicts_and_curves_twice_on_any_number_of_workers(tmp_path: Path) -> None:
    first, second = (run({**WORDS, "arms": ARMS, "seeds": 6}, tmp_path / str(workers) / "s", workers=workers)
                     for workers in (1, 3))
    assert results(first) == results(second)
    assert first.verdicts() == second.verdicts()
    assert {(row.arm, row.seed): row.points for row in first.rows} == {
        (row.arm, row.seed): row.points for row in second.rows}


# what of a report says when and where it was made
_WHEN = re.compile(rb"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?)?")


def written(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_report_has_the_same_bytes_twice_up_to_dates(tmp_path: Path) -> None:
    study = run({**WORDS, "arms": ARMS, "seeds": 4}, tmp_path / "s", workers=2)
    write(study, tmp_path / "one")
    write(study, tmp_path / "two")
    one, two = written(tmp_path / "one"), written(tmp_path / "two")
    assert one.keys() == two.keys()
    pages = [name for name in one if name.endswith((".html", ".csv", ".md", ".tex", ".json", ".svg"))]
    assert any(name.endswith(".html") for name in pages)
    different = [name for name in pages if _WHEN.sub(b"", one[name]) != _WHEN.sub(b"", two[name])]
    assert different == []


def screened(folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "tiny-host.yaml").write_text(HOST)
    words = [f"{key}={value}" for key, value in SHORT.items() if key != "workers"]
    assert main(["screen", "model=tiny-host.yaml", "block=se", f"data={data}", "name=one", "images=6", *words]) == 0
    found = json.loads((folder / "runs" / "screen" / "one" / "screen.json").read_text())
    return found["values"]


@pytest.mark.slow
def test_a_screening_gives_the_same_values_twice(
        tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert screened(tmp_path / "a", tiny_set, monkeypatch) == screened(tmp_path / "b", tiny_set, monkeypatch)


@pytest.mark.slow
def test_a_study_of_trainings_gives_the_same_results_twice(host: Path, tiny_set: Path, tmp_path: Path) -> None:
    words = {"data": str(tiny_set), "model": str(host), "arms": "none; se@2", "seeds": 1,
             **{key: value for key, value in SHORT.items() if key != "workers"}}
    first, second = (run(words, tmp_path / name / "s") for name in ("a", "b"))
    assert results(first) == results(second)
    assert all(by_seed for by_seed in results(first).values())


# Operators whose gradient PyTorch cannot compute in the same order twice on CUDA (torch.use_deterministic_algorithms)
RANDOM_ORDER = re.compile(r"\b(grid_sample|adaptive_(avg|max)_pool2d|Adaptive(Avg|Max)Pool2d|ReflectionPad2d|bicubic)\(|"
                          r"mode=[\"'](bilinear|bicubic|linear|trilinear)[\"']")
SOURCE = Path(__file__).resolve().parents[1] / "src" / "yolograft"


def test_blocks_and_modules_use_operators_that_repeat_unless_the_page_names_them() -> None:
    def code(path: Path) -> str:
        return re.sub(r'"""[\s\S]*?"""|#.*', "", path.read_text(encoding="utf-8"))

    found = {path.stem for room in ("blocks", "modules") for path in (SOURCE / room).glob("*.py")
             if RANDOM_ORDER.search(code(path))}
    assert "dysample" in found, "the law sees no operators"
    for page in ("repeatable.md", "repeatable.zh-CN.md"):
        text = (SOURCE.parents[1] / "docs" / page).read_text(encoding="utf-8")
        assert [name for name in found if f"`{name}`" not in text] == [], page
