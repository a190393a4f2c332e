"""A study's trials on the installed Ultralytics: equal data for all arms, exact resumption, controls, and checks."""

import json
import shutil
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from yolograft.analysis.size_ap import is_installed
from yolograft.errors import GraftError
from yolograft.fast.cpu import nms
from yolograft.host.yolo import YOLO
from yolograft.runner import controls
from yolograft.runner import train as runner_train
from yolograft.runner.evaluate import evaluate
from yolograft.runner.sampler import EpochSampler, SeededDataset
from yolograft.runner.train import check, fingerprints, rows, spell
from yolograft.runner.trainer import BEST, STATE, trial_trainer
from yolograft.seeding import derive_seed, seeded_rng
from yolograft.study import run
from yolograft.study.arms import parse_arms
from yolograft.study.plan import Plan

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings
FAST = {"imgsz": 32, "batch": 4, "nbs": 12, "epochs": 2, "workers": 0, "verbose": False, "close_mosaic": 1}


@dataclass
class TrainedTrial:
    """The attributes of a study's Trial that `train` reads."""

    settings: dict[str, Any]
    graft: str = "none"
    control: str = ""
    seed: int = 0
    reports: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def train(self, folder: Path) -> dict[str, Any]:
        folder.mkdir(exist_ok=True, parents=True)
        return runner_train.train(self, folder, lambda epoch, numbers: self.reports.append((epoch, dict(numbers))))


def make_trial(data: Path, **arguments: Any) -> TrainedTrial:
    fields = {key: arguments.pop(key) for key in ("graft", "control", "seed") if key in arguments}
    return TrainedTrial({"model": "yolo11n.yaml", "data": str(data), **FAST, **arguments}, **fields)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return YOLO(folder / BEST).model.state_dict()


def equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    """Return whether `ours` has all tensors of `theirs` with equal bits."""
    return all(torch.equal(value, ours[key]) for key, value in theirs.items())


@pytest.fixture(scope="module")
def done(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainedTrial, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("trial")
    trial = make_trial(tiny_set, graft=spell("se@8"))
    return folder, trial, trial.train(folder)


def test_a_trial_gives_metrics_classes_costs_and_detections(done: tuple[Path, TrainedTrial, dict[str, Any]]) -> None:
    folder, trial, found = done
    assert {"mAP50-95", "mAP50", "precision", "recall", "fitness"} <= set(found["metrics"])
    assert set(found["classes"]["AP50"]) == {"dim", "bright"}
    assert found["costs"]["epochs"] == 2
    assert found["costs"]["parameters"] > 2_500_000
    assert "latency_ms" not in found["costs"], "a trial does not time itself while others train"
    if is_installed():
        assert found["objects"] == {"small": 8}, "all boxes have sides of 24 pixels"
        assert found["sizes"]["small"] == pytest.approx(found["metrics"]["mAP50-95"], abs=0.05)
    assert found["costs"]["gflops"] > 0
    assert [epoch for epoch, _ in trial.reports] == [1, 2]
    assert "train/box_loss" in trial.reports[0][1]
    assert json.dumps(found)
    images = np.load(folder / "images.npz")
    assert len(images["names"]) == 8
    assert images["truths"].shape == (8, 6)
    assert images["correct"].shape == (len(images["detections"]), 10)
    np.testing.assert_allclose(images["truths"][:, 4] - images["truths"][:, 2], 24, atol=0.5)
    assert (folder / BEST).exists()
    assert not (folder / STATE).exists()
    assert str(YOLO(folder / BEST).graft).startswith("se(")


def test_the_test_split_is_scored_separately(
    done: tuple[Path, TrainedTrial, dict[str, Any]], tiny_set: Path, tmp_path: Path
) -> None:
    folder, trial, found = done
    with pytest.raises(GraftError, match="no test split"):
        runner_train.test(trial, folder)
    data = tmp_path / "with_test.yaml"
    data.write_text(tiny_set.read_text() + "test: images/val\n")
    scored = runner_train.test(TrainedTrial({**trial.settings, "data": str(data)}), folder)
    assert scored == found["metrics"], "the test split has the same images as val"
    assert (folder / "test" / "images.npz").is_file()


def test_the_detections_do_not_depend_on_the_load_of_the_machine(
    done: tuple[Path, TrainedTrial, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, trial, _ = done
    settings = {**trial.settings, "conf": 1e-6}  # so that every image has detections
    evaluate(folder / "best.pt", settings, tmp_path / "idle")
    clock = count(step=1000)  # seconds: Ultralytics' NMS is over its time limit after each image
    fake = SimpleNamespace(time=lambda: float(next(clock)), perf_counter=perf_counter)
    monkeypatch.setattr(nms._stock_module, "time", fake)
    monkeypatch.setattr(type(nms.KERNEL), "unavailable_reason", lambda _: "no compiler")  # Ultralytics' own code runs
    evaluate(folder / "best.pt", settings, tmp_path / "busy")
    idle, busy = (np.load(tmp_path / name / "images.npz")["detections"] for name in ("idle", "busy"))
    assert len(set(idle[:, 0])) > 1
    assert set(busy[:, 0]) == set(idle[:, 0])
    np.testing.assert_allclose(busy, idle, atol=1e-3)


def test_a_repeated_trial_gives_equal_bits(
    done: tuple[Path, TrainedTrial, dict[str, Any]], tiny_set: Path, tmp_path: Path
) -> None:
    folder, _, found = done
    assert make_trial(tiny_set, graft=spell("se@8")).train(tmp_path)["metrics"] == found["metrics"]
    assert equal(tensors(tmp_path), tensors(folder))


@pytest.mark.parametrize("killed_in", ["training", "evaluation"])
def test_an_interrupted_trial_equals_an_uninterrupted_one(
    done: tuple[Path, TrainedTrial, dict[str, Any]], tiny_set: Path, tmp_path: Path, killed_in: str
) -> None:
    """Killed in the second epoch with accumulated gradients (nbs=12, batch=4), or in the evaluation after the last."""
    class Killed(BaseException):
        pass

    def kill(epoch: int, metrics: Any) -> None:
        if epoch == 2:
            raise Killed

    folder, _, found = done
    trial = make_trial(tiny_set, graft=spell("se@8"))
    if killed_in == "training":
        with pytest.raises(Killed):
            runner_train.train(trial, tmp_path, kill)
        assert torch.load(tmp_path / STATE, weights_only=False)["epoch"] == 0
    else:
        evaluate, runner_train.evaluate = runner_train.evaluate, interrupt
        try:
            with pytest.raises(KeyboardInterrupt):
                trial.train(tmp_path)
        finally:
            runner_train.evaluate = evaluate
        trial.reports.clear()
    assert trial.train(tmp_path)["metrics"] == found["metrics"]
    assert [epoch for epoch, _ in trial.reports] == ([2] if killed_in == "training" else [])
    assert equal(tensors(tmp_path), tensors(folder))
    ours, theirs = ((run / "run" / "results.csv").read_text().splitlines() for run in (tmp_path, folder))
    assert len(ours) == len(theirs) == 3


def interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def load_data(data: Path, folder: Path, *, workers: int = 0, epochs: int = 2,
              **arguments: Any) -> tuple[dict[str, Any], list[Any]]:
    """Return a trial's initial host tensors, and for each batch the file names, the sum of the pixels and the boxes."""
    trial = make_trial(data, **arguments)
    model = YOLO("yolo11n.yaml")
    cls = trial_trainer(model.task_map["detect"]["trainer"])
    trainer: Any = cls(overrides={**trial.settings, "graft": trial.graft, "seed": trial.seed, "control": trial.control,
                                  "project": str(folder), "name": "run", "exist_ok": True, "folder": folder,
                                  "report": print, "plots": False, "mosaic": 1.0, "mixup": 0.5})
    trainer.args.workers = workers  # Ultralytics has set it to 0 on a CPU
    setup = trainer._setup_train
    setup(*((1,) if setup.__code__.co_argcount == 2 else ()))
    weights = {key: value.clone() for key, value in trainer.model.state_dict().items() if "graft" not in key}
    batches = []
    for _ in range(epochs):
        for batch in trainer.train_loader:
            batches.append(([Path(file).name for file in batch["im_file"]], float(batch["img"].double().sum()),
                            batch["bboxes"].tolist()))
            torch.rand(len(batches))  # an arm's network can draw any random numbers
    assert trainer.train_loader.num_workers == workers
    return weights, batches


@pytest.mark.parametrize("workers", [0, 2])
def test_arms_of_one_seed_have_equal_weights_and_images_and_other_seeds_have_others(
    tiny_set: Path, tmp_path: Path, workers: int
) -> None:
    bare, batches = load_data(tiny_set, tmp_path, workers=workers)
    grafted, grafted_batches = load_data(tiny_set, tmp_path, workers=workers, graft="cbam@8", lr0=0.5)
    assert all(torch.equal(value, grafted[key]) for key, value in bare.items())
    assert batches == grafted_batches
    assert batches == load_data(tiny_set, tmp_path, workers=2 - workers)[1], "another number of workers"
    perturbed, perturbed_batches = load_data(tiny_set, tmp_path, workers=workers, control="aa")
    assert batches == perturbed_batches
    weights = [key for key in bare if bare[key].is_floating_point() and "running" not in key]
    assert any(not torch.equal(bare[key], perturbed[key]) for key in weights)
    assert all(torch.allclose(perturbed[key], bare[key], rtol=1e-5, atol=0) for key in weights), "too large a change"
    other, other_batches = load_data(tiny_set, tmp_path, workers=workers, seed=1)
    assert not torch.equal(bare["model.0.conv.weight"], other["model.0.conv.weight"])
    assert [names for names, _, _ in batches] != [names for names, _, _ in other_batches]
    assert not {total for _, total, _ in batches} & {total for _, total, _ in other_batches}
    half = len(batches) // 2
    assert [names for names, _, _ in batches[:half]] != [names for names, _, _ in batches[half:]], "epochs are equal"


def test_the_controls(tiny_set: Path, done: tuple[Path, TrainedTrial, dict[str, Any]], tmp_path: Path) -> None:
    spelled = spell("se@8")
    bare = make_trial(tiny_set).train(tmp_path / "none")
    gate = make_trial(tiny_set, graft=spelled, control="gate1").train(tmp_path / "gate1")
    assert gate["metrics"] == bare["metrics"]
    assert gate["costs"]["parameters"] == done[2]["costs"]["parameters"]
    fixed = tensors(tmp_path / "gate1")
    assert equal(fixed, tensors(tmp_path / "none")), "an SE whose gate stays at 1 equals no block, to the bit"
    assert not equal(tensors(done[0]), tensors(tmp_path / "none")), "an SE whose gate is trained differs"
    assert not fixed["model.8.graft.0.fc2.weight"].any()
    perturbed = make_trial(tiny_set, control="aa").train(tmp_path / "aa")
    assert perturbed["costs"]["parameters"] == bare["costs"]["parameters"]
    assert not equal(tensors(tmp_path / "aa"), tensors(tmp_path / "none"))
    plain = make_trial(tiny_set, graft=spelled, control="params").train(tmp_path / "params")
    assert plain["costs"]["parameters"] == done[2]["costs"]["parameters"]
    assert tensors(tmp_path / "params")["model.8.graft.0.body.1.weight"].any(), "the convolution was not trained"


def test_the_control_scale_trains_the_next_larger_host(tiny_set: Path, tmp_path: Path) -> None:
    (arm,) = parse_arms("scale", None, model="yolo11n.yaml")
    larger = make_trial(tiny_set, **arm.settings, epochs=1).train(tmp_path / "scale")
    count = sum(parameter.numel() for parameter in YOLO("yolo11s.yaml").model.parameters())
    assert larger["costs"]["parameters"] == pytest.approx(count, rel=0.01)  # the head depends on the number of classes


def test_the_control_scale_names_missing_weights_before_the_study_makes_its_folder(
        tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": YOLO("yolo11n.yaml").model, "train_args": {}}, "yolo11n.pt")
    with pytest.raises(GraftError, match=r"'scale' trains another model, yolo11s\.pt, which must exist") as raised:
        run({"data": str(tiny_set), "model": "yolo11n.pt", "arms": "none; scale", "seeds": 1, "epochs": 1}, tmp_path / "s")
    assert "yolo11n.pt" not in str(raised.value), "the host's own file exists"
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(("channels", "count"), [(64, 64 * 8 + 4 + 64), (64, 5), (64, 64), (16, 10_000)])
def test_a_plain_convolution_has_about_as_many_parameters(channels: int, count: int) -> None:
    plain = controls.Plain(channels, count)
    total = sum(parameter.numel() for parameter in plain.parameters())
    assert abs(total - count) <= max(channels, (2 * channels + 1) / 2)
    x = torch.rand(1, channels, 4, 4)
    assert torch.equal(plain(x), x)


@pytest.mark.parametrize(("graft", "control", "message"), [
    ("simam(init=paper)@8", "params", "no parameters"), ("se(init=paper)@8", "gate1", "starts at zero"),
    ("se@8", "bigger", "Known: aa")])
def test_controls_that_cannot_act_raise_an_error(graft: str, control: str, message: str) -> None:
    with pytest.raises(GraftError, match=message):
        check("yolo11n.yaml", graft, {"model": "yolo11n.yaml"}, control)


@pytest.mark.parametrize(("settings", "message"), [
    ({"epoch": 3}, "Did you mean 'epochs'"), ({"epochs": "many"}, "epochs"), ({"device": "0,1"}, "on one"),
    ({"device": [0, 1]}, "on one"), ({"batch": -1}, "batch=16"), ({"resume": True}, "resumes by itself"),
    ({"iou": "wioo"}, "Did you mean 'wiou'"), ({"iou": "nwd(constant=0)"}, "a positive number"),
    ({"seed": 3}, "seeds"), ({"time": 1}, "use epochs"), ({"project": "x"}, "own folder")])
def test_arguments_that_a_study_cannot_use_raise_an_error(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(GraftError, match=message):
        check("yolo11n.yaml", "none", {"model": "yolo11n.yaml", **settings})


def test_a_box_loss_is_an_argument_of_an_arm() -> None:
    for value in ("wiou", "nwd(constant=9)", 0.6):
        check("yolo11n.yaml", "none", {"iou": value})
    with pytest.raises(GraftError, match="classify has another box loss"):
        check("yolo11n-cls.yaml", "none", {"iou": "wiou"})


def test_grafts_that_do_not_fit_raise_an_error_and_change_nothing() -> None:
    check("yolo11n.yaml", "se@8", {})
    with pytest.raises(GraftError, match="rows 0 to 22"):
        check("yolo11n.yaml", "se@88", {})
    with pytest.raises(GraftError, match="does not exist"):
        check("nix.yaml", "none", {})
    check("yolo11n.yaml", "se@8", {})
    assert spell("se@8").startswith("se(bias=True")


def test_the_studys_choice_of_a_gpu_has_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    usable = runner_train._usable_settings({"device": 0, "epochs": 2})
    assert usable == {"epochs": 2}, "with a device, Ultralytics would set CUDA_VISIBLE_DEVICES to 0"
    assert runner_train._usable_settings({"device": "cpu"}) == {"device": "cpu"}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert runner_train._usable_settings({"device": 0}) == {"device": 0}


def test_rows_are_those_that_accept_a_block() -> None:
    found = rows("yolo11n.yaml")
    assert found == [f"backbone.{i}" for i in range(11)] + [f"neck.{i}" for i in range(11, 23)]
    check("yolo11n.yaml", " + ".join(f"simam@{row}" for row in found), {})


def test_fingerprints_depend_on_content(tiny_set: Path, tmp_path: Path) -> None:
    copied = tmp_path / "elsewhere"
    shutil.copytree(tiny_set.parent, copied)
    file = copied / "tiny.yaml"
    file.write_text(tiny_set.read_text().replace(str(tiny_set.parent), str(copied)))
    settings = {"model": "yolo11n.yaml"}
    first = fingerprints({**settings, "data": str(tiny_set)})
    assert fingerprints({**settings, "data": str(file)}) == first
    label = copied / "labels" / "val" / "3.txt"
    label.write_text("0" + label.read_text()[1:])
    changed = fingerprints({**settings, "data": str(file)})
    assert changed["data"] != first["data"]
    assert changed["model"] == first["model"]
    file.write_text(file.read_text().replace("names: [dim, bright]", "names: [bright, dim]"))
    assert fingerprints({**settings, "data": str(file)})["data"] != changed["data"]
    for path in (copied / "images" / "val").glob("*"):
        path.unlink()
    with pytest.raises(GraftError, match="no images"):
        fingerprints({**settings, "data": str(file)})
    with pytest.raises(GraftError, match="cannot be used"):
        fingerprints({**settings, "data": str(tmp_path / "nix.yaml")})


def test_a_plan_records_the_splits(tiny_set: Path, tmp_path: Path) -> None:
    settings = {"model": "yolo11n.yaml", "data": str(tiny_set)}
    splits = runner_train.pictures(settings)
    assert {split: text.split(",")[0] for split, text in splits.items()} == {"train": "12 pictures", "val": "8 pictures"}
    copy = tmp_path / "copy"
    shutil.copytree(tiny_set.parent, copy)
    (copy / "images/train/3.png").rename(copy / "images/val/33.png")
    (copy / "tiny.yaml").write_text(tiny_set.read_text().replace(str(tiny_set.parent), str(copy)))
    moved = runner_train.pictures({**settings, "data": str(copy / "tiny.yaml")})
    assert moved["train"].startswith("11 pictures")
    assert moved["val"] != splits["val"]
    plan = Plan.of({**settings, "arms": "none", "seeds": 1})
    plan.write(tmp_path / "plan.yaml")
    assert Plan.read(tmp_path / "plan.yaml", recorded=True).pictures == splits


def test_seeded_rng_restores_the_generators() -> None:
    import random

    torch.manual_seed(1)
    before = torch.default_generator.get_state(), random.getstate()
    with seeded_rng("x"):
        drawn = torch.rand(1), random.random(), np.random.rand()
    assert torch.equal(before[0], torch.default_generator.get_state())
    assert random.getstate() == before[1]
    with seeded_rng("x"):
        assert drawn == (torch.rand(1), random.random(), np.random.rand())
    assert derive_seed(1, 2) == derive_seed("1/2") != derive_seed(12)


def test_a_seeded_dataset_keeps_few_images_in_memory() -> None:
    class ToyDataset:
        def __init__(self) -> None:
            self.ims: list[Any] = [None] * 50
            self.im_hw0, self.im_hw, self.max_buffer_length, self.buffer = [None] * 50, [None] * 50, 8, []

        def __len__(self) -> int:
            return 50

        def __getitem__(self, index: int) -> int:
            for number in (index, int(np.random.randint(50))):
                self.ims[number] = number
                self.buffer.append(number)
            return index

    base = ToyDataset()
    dataset = SeededDataset(base, 3)
    loaded = [dataset[number] for number in EpochSampler(50, 2)]
    assert sorted(loaded) == list(range(50))
    assert sum(image is not None for image in base.ims) <= 8 + 2
    epochs = EpochSampler(50)
    assert [next(iter(epochs)), next(iter(epochs))] == [0, 50]
