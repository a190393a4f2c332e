"""Arms with a model YAML: shared rows start from the baseline's weights, the data are the same, and errors come first."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from yolograft.errors import GraftError
from yolograft.host.yolo import YOLO
from yolograft.modelyaml.catalog import packaged_files
from yolograft.runner import model_yaml
from yolograft.runner import train as runner_train
from yolograft.runner.trainer import BEST, trial_trainer
from yolograft.study import run
from yolograft.study.plan import Plan

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings
FAST = {"imgsz": 32, "batch": 4, "epochs": 1, "workers": 0, "verbose": False, "plots": False}
ROW_9, ROW_12 = "[-1, 1, SPPF, [1024, 5]]", "[[-1, 6], 1, Concat, [1]]"


@pytest.fixture(scope="module")
def stock() -> str:
    """Return the text of yolo11.yaml."""
    return next(path for path in packaged_files() if path.name == "yolo11.yaml").read_text(encoding="utf-8")


@pytest.fixture
def edited(stock: str, tmp_path: Path) -> Path:
    """Return a file with a BiFPN fusion, an attention row at the end of the backbone, and later rows shifted by one."""
    head = stock[stock.index("head:"):]
    shifted = re.sub(r"\[\[-1, 13\]", "[[-1, 14]", re.sub(r"\[\[-1, 10\]", "[[-1, 11]", head))
    shifted = shifted.replace("[[16, 19, 22]", "[[17, 20, 23]").replace(ROW_12, "[[-1, 6], 1, BiFPN_Concat2, []]")
    path = tmp_path / "my nets" / "网络 bifpn.yaml"
    path.parent.mkdir()
    path.write_text(stock[:stock.index("head:")].rstrip() + "\n  - [-1, 1, SE, []]\n\n" + shifted, encoding="utf-8")
    return path


def start(data: Path, folder: Path, model: str, text: str = "", graft: str = "none", seed: int = 0
          ) -> tuple[Any, list[tuple[list[str], float]]]:
    """Return the network of a trial before its first step, and the file names and the pixels of its batches."""
    cls = trial_trainer(YOLO("yolo11n.yaml").task_map["detect"]["trainer"])
    config = model_yaml.read_config(text, "arm.yaml", YOLO(model).model) if text else None
    value = str(model_yaml.full_graft(config, graft)) if config else graft
    trainer: Any = cls(overrides={**FAST, "data": str(data), "model": model, "graft": value, "seed": seed, "control": "",
                                  "project": str(folder), "name": "run", "exist_ok": True, "folder": folder,
                                  "report": print, "config": config, "mosaic": 1.0})
    setup = trainer._setup_train
    setup(*((1,) if setup.__code__.co_argcount == 2 else ()))
    batches = [([Path(file).name for file in batch["im_file"]], float(batch["img"].double().sum()))
               for _ in range(2) for batch in trainer.train_loader]
    return trainer.model, batches


@pytest.mark.parametrize("from_checkpoint", [True, False])
def test_shared_rows_start_from_the_baselines_weights_and_the_data_are_the_same(
        tiny_set: Path, tmp_path: Path, edited: Path, weights: Path, from_checkpoint: bool, one_thread: None) -> None:
    model = str(weights) if from_checkpoint else "yolo11n.yaml"
    base, batches = start(tiny_set, tmp_path / "a", model)
    arm, arm_batches = start(tiny_set, tmp_path / "b", model, edited.read_text(encoding="utf-8"), graft="cbam@7")
    assert batches == arm_batches
    ours, theirs = arm.state_dict(), base.state_dict()
    added = {key for key in ours if ".graft" in key}
    own = {key for key in ours if key.startswith("model.12.")}
    assert added
    assert own
    assert set(theirs) == set(ours) - added - own, "a row has the same number in both, after the attention row is a graft"
    assert all(torch.equal(value, ours[key]) for key, value in theirs.items()), "the head's classes are among them"
    again, _ = start(tiny_set, tmp_path / "c", model, edited.read_text(encoding="utf-8"), graft="cbam@7")
    assert all(torch.equal(value, ours[key]) for key, value in again.state_dict().items()), "the seed fixes the rest"


def test_an_inserted_row_shifts_no_weights(tiny_set: Path, tmp_path: Path, stock: str, one_thread: None) -> None:
    text = stock.replace(ROW_9, f"[-1, 1, Conv, [1024, 3, 1]]\n  - {ROW_9}")
    text = text.replace("[[-1, 10]", "[[-1, 11]").replace("[[-1, 13]", "[[-1, 14]").replace("[[16, 19, 22]", "[[17, 20, 23]")
    base, _ = start(tiny_set, tmp_path / "a", "yolo11n.yaml")
    arm, _ = start(tiny_set, tmp_path / "b", "yolo11n.yaml", text)
    ours = arm.state_dict()
    for key, value in base.state_dict().items():
        number = int(key.split(".")[1])
        assert torch.equal(value, ours[f"model.{number + (number >= 9)}.{key.split('.', 2)[2]}"]), key


def test_a_study_with_a_model_yaml_trains_reports_and_resumes_without_the_file(
        tiny_set: Path, tmp_path: Path, edited: Path, stock: str) -> None:
    from yolograft.report import write

    own = tmp_path / "own_study_rows.py"
    own.write_text("from torch import nn\nclass OwnStudyConv(nn.Module):\n    def __init__(self, c1, c2, k=3, s=1):\n"
                   "        super().__init__()\n        self.conv = nn.Conv2d(c1, c2, k, s, k // 2)\n"
                   "    def forward(self, x):\n        return self.conv(x)\n")
    rows = tmp_path / "yolo11-own.yaml"
    rows.write_text(stock.replace("[-1, 1, Conv, [1024, 3, 2]]", "[-1, 1, OwnStudyConv, [1024, 3, 2]]"), encoding="utf-8")
    words = {"data": str(tiny_set), "model": "yolo11n.yaml", "modules": str(own), "seeds": 1, **FAST,
             "arms": f"none; '{edited}' + cbam@7; {rows}"}
    words.pop("plots")
    plan = Plan.of(words)
    assert [line.split(" is built at scale n")[0] for line in plan.notes] == ["网络 bifpn.yaml", "yolo11-own.yaml"]
    assert "; 499 of its 500 tensors start as in the baseline; 1 in row 12 (BiFPN_Concat2 replaced Concat)." in plan.notes[0]
    assert len(plan.fingerprints["none"]["modules"]) == 64
    study = run(plan, tmp_path / "s")
    assert not study.failures()
    counts = {arm: next(iter(found.values())).costs["parameters"] for arm, found in study.results.items()}
    assert len(set(counts.values())) == 3
    edited.unlink()
    rows.unlink()
    again = run(words, tmp_path / "s")
    assert again.scores() == study.scores()
    trial = next(one for one in plan.trials() if one.yaml_name == "网络 bifpn.yaml")
    best = YOLO(again.folder_of(trial.key) / BEST)
    assert [part.block for part in best.graft.parts] == ["se", "cbam"]
    (english, _) = write(again)
    page = english.read_text(encoding="utf-8")
    assert "网络 bifpn.yaml" in page
    assert "OwnStudyConv" in page


@pytest.mark.parametrize(("change", "name", "says"), [
    (("Concat, [1]", "Concatt, [1]"), "my.yaml", "Did you mean 'Concat'"),
    ((ROW_12, "[[-1, 3], 1, Concat, [1]]"), "my.yaml", "row"),
    (("Detect, [nc]", "Segment, [nc, 32, 256]"), "my.yaml", "head for segment, but the study's model is for detect"),
    (("  n: [0.50, 0.25, 1024]", "  k: [0.50, 0.25, 1024]"), "my.yaml", "my.yaml has the scales k, s, m, l, x"),
    (("x", "x"), "yolo11s-my.yaml", "says scale s, but the study's model has scale n"),
    (("backbone:", "backbones:"), "my.yaml", "my.yaml")])
def test_a_wrong_model_yaml_is_named_before_the_first_trial(
        tiny_set: Path, tmp_path: Path, stock: str, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], name: str,
        says: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert change[0] in stock
    Path(name).write_text(stock.replace(*change), encoding="utf-8")
    words = {"data": str(tiny_set), "model": "yolo11n.yaml", "arms": f"none; {name}; none epoch=3", "seeds": 1}
    with pytest.raises(GraftError) as caught:
        run(words, tmp_path / "s")
    text = str(caught.value)
    assert text.startswith("2 arms cannot be used:")
    assert says in text
    assert name in text
    assert "Did you mean 'epochs'" in text
    assert "/tmp" not in text.replace(str(tmp_path), "")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(("graft", "control", "says"), [
    ("se@99", "", "99"), ("none", "params", "no attention rows"), ("simam(init=paper)@8", "params", "no parameters")])
def test_a_graft_or_a_control_must_fit_the_rows_of_the_yaml(
        tiny_set: Path, stock: str, graft: str, control: str, says: str) -> None:
    settings = {"model": "yolo11n.yaml", "data": str(tiny_set)}
    with pytest.raises(GraftError, match=says):
        runner_train.rehearse_yaml(stock, "yolo11.yaml", graft, settings, control)


def test_packaged_files_and_ours_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("yolov8-p2.yaml", "yolo11-se.yaml", "yolov11.yaml"):
        found = model_yaml.find_yaml(name)
        assert found is not None, name
        assert found.is_file()
    assert model_yaml.find_yaml("gone.yaml") is None
