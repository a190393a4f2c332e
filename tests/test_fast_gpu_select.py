"""Training with images on the device: the same seed gives the same numbers, and unsupported settings are named."""

import copy
import csv
import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import ultralytics
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils.torch_utils import ModelEMA

from yolograft import YOLO, GraftError
from yolograft.fast import acceleration, cache
from yolograft.fast.gpu import resident_dataset
from yolograft.fast.gpu import select as gpu_select
from yolograft.runner import train as runner_train
from yolograft.runner.trainer import STATE, trial_trainer

pytestmark = [pytest.mark.filterwarnings("default"),  # Ultralytics' own warnings
              pytest.mark.usefixtures("one_thread")]
FAST = {"imgsz": 32, "batch": 4, "nbs": 4, "workers": 0, "plots": False, "verbose": False, "close_mosaic": 1, "epochs": 2}


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(gpu_select.LOGGER, "info", lambda text: lines.append(str(text)))
    return lines


def results(folder: Path) -> list[list[str]]:
    rows = list(csv.reader((folder / "results.csv").read_text().splitlines()))
    timed = [at for at, cell in enumerate(rows[0]) if cell.strip() == "time"]
    return [[cell for at, cell in enumerate(row) if at not in timed] for row in rows]


def train(data: Path, folder: Path, name: str, **more: Any) -> Any:
    model = YOLO("yolo11n.yaml")
    model.train(data=str(data), project=str(folder), name=name, **{**FAST, "speed": "resident", **more})
    return model


def set_up(data: Path, folder: Path, speed: str = "resident", **more: Any) -> Any:
    """Return a trainer with its network and loaders, before its first step."""
    cls = YOLO("yolo11n.yaml").task_map["detect"]["trainer"]
    trainer: Any = cls(overrides={"model": "yolo11n.yaml", "data": str(data), "project": str(folder), "speed": speed,
                                  **FAST, **more})
    setup = trainer._setup_train
    setup(*((1,) if setup.__code__.co_argcount == 2 else ()))
    return trainer


def test_the_same_seed_gives_the_same_numbers_and_a_plain_checkpoint(
    varied_set: Path, tmp_path: Path, messages: list[str]
) -> None:
    model = train(varied_set, tmp_path, "one", graft="se@8")
    assert type(model.trainer.train_loader) is resident_dataset.ResidentLoader
    assert type(model.trainer.validator.dataloader) is cache.CachedLoader
    assert any("resident, 24 training images in 0 MiB on cpu: set by name" in line for line in messages)
    train(varied_set, tmp_path, "two", graft="se@8")
    assert results(tmp_path / "one") == results(tmp_path / "two")
    opened = ultralytics.YOLO(str(tmp_path / "one" / "weights" / "best.pt"))
    opened.val(data=str(varied_set), plots=False, imgsz=32, workers=0, project=str(tmp_path), name="v")


@pytest.mark.parametrize("mode", ["float32", "bfloat16"])
def test_a_cpu_mode_is_refused_on_other_devices(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for device in ("cpu", torch.device("cpu"), None, ""):
        acceleration.check(mode, {"device": device})
    for elsewhere in (0, "0", [0, 1], "cuda:1", "mps"):
        with pytest.raises(GraftError, match="is for a training on a CPU"):
            acceleration.check(mode, {"device": elsewhere})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(GraftError, match="device=0"):
        acceleration.check(mode, {"device": None})
    acceleration.check(mode, {"device": None}, is_local=False)
    acceleration.check("auto", {"device": 0})


def test_a_resumed_training_sees_the_same_images(varied_set: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, tuple[str, ...], float]] = []

    def note(trainer: Any, batch: Any) -> None:
        seen.append((trainer.epoch, batch["im_file"], float(batch["img"].double().sum())))

    def watched(model: Any) -> Any:
        cls = model.task_map["detect"]["trainer"]

        class Watched(cls):  # type: ignore[misc, valid-type]
            def preprocess_batch(self, batch: Any) -> Any:
                note(self, batch)
                return super().preprocess_batch(batch)

        return Watched

    given = {**FAST, "speed": "resident", "data": str(varied_set), "project": str(tmp_path), "graft": "se@8"}
    whole = YOLO("yolo11n.yaml")
    whole.train(trainer=watched(whole), name="whole", **given)
    wanted, broken = [one for one in seen if one[0] == 1], YOLO("yolo11n.yaml")
    assert len(wanted) == 6
    seen.clear()

    def stop(trainer: Any) -> None:
        if trainer.epoch == 0:
            raise KeyboardInterrupt

    broken.add_callback("on_fit_epoch_end", stop)
    with pytest.raises(KeyboardInterrupt):
        broken.train(trainer=watched(broken), name="broken", **given)
    seen.clear()
    again = YOLO(tmp_path / "broken" / "weights" / "last.pt")
    again.train(trainer=watched(again), resume=True)
    assert seen == wanted


def test_validation_gives_the_stock_numbers(varied_set: Path, tmp_path: Path) -> None:
    trainer = set_up(varied_set, tmp_path)
    batch = trainer.preprocess_batch(next(iter(trainer.train_loader)))
    trainer.loss, trainer.loss_items = trainer.model.train()(batch)
    trainer.loss, trainer.epoch = trainer.loss.sum(), 0
    replayed = trainer.validator.dataloader
    assert type(replayed) is cache.CachedLoader
    found = []
    for loader in (replayed, replayed, replayed.loader):  # filled, replayed, read again
        trainer.validator.dataloader = loader
        found.append({key: value for key, value in trainer.validate()[0].items() if "loss" in key})
        trainer.ema.ema.train()
    assert len(replayed.batches) == len(replayed)
    assert found[0] == found[1] == found[2]
    assert found[0]["val/cls_loss"] > 0


@pytest.mark.parametrize(("more", "message"), [
    ({"mixup": 0.2}, "mixup=0.2"), ({"rect": True, "bgr": 0.5}, "bgr=0.5, rect=True"),
    ({"copy_paste": 0.1}, "copy_paste=0.1"), ({"speed": "graphed"}, "needs a CUDA device")])
def test_unsupported_arguments_are_refused_before_a_folder_is_made(
    varied_set: Path, tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(GraftError, match=message):
        train(varied_set, tmp_path / "runs", "one", **more)
    assert not (tmp_path / "runs").exists()


def test_a_data_set_that_does_not_fit_is_an_error_by_name_and_stock_in_auto(
    varied_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: list[str]
) -> None:
    needed = 4 * (1 + 24 * 32 * 32)
    monkeypatch.setattr(resident_dataset, "free_memory", lambda device: 4 * needed - 4)
    with pytest.raises(GraftError, match="the images need 0 MiB, and may take 25% of the 0 MiB that are free on cpu"):
        train(varied_set, tmp_path, "one")
    trainer = set_up(varied_set, tmp_path, "stock")
    trainer.acceleration.mode = "auto"
    trainer.acceleration._begin_on_gpu(trainer)
    assert type(trainer.train_loader) is not resident_dataset.ResidentLoader
    assert "stay in Ultralytics' loader: the images need" in messages[-1]
    monkeypatch.setattr(resident_dataset, "free_memory", lambda device: 4 * needed)
    assert type(set_up(varied_set, tmp_path).train_loader) is resident_dataset.ResidentLoader


def test_loaders_that_are_rebuilt_for_a_smaller_batch_are_replaced_again(varied_set: Path, tmp_path: Path) -> None:
    if not hasattr(BaseTrainer, "_build_train_pipeline"):
        pytest.skip("Ultralytics 8.3.0 does not try again when memory runs out")
    trainer = set_up(varied_set, tmp_path)
    trainer.args.batch = trainer.batch_size = 2
    trainer._build_train_pipeline()
    assert type(trainer.train_loader) is resident_dataset.ResidentLoader
    assert type(trainer.test_loader) is cache.CachedLoader
    assert [len(batch["img"]) for batch in trainer.train_loader] == [2] * 12


@pytest.mark.parametrize(("seconds", "mode", "why"), [
    ([0.02, 0.01], "resident", "20.0 ms stock, 10.0 ms resident"),
    ([0.02, 0.017], "stock", "the gain over stock is too small"),
    ([0.02, 0.03], "stock", "20.0 ms stock, 30.0 ms resident")])
def test_the_fastest_mode_is_chosen(
    varied_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: list[str], seconds: list[float], mode: str,
    why: str,
) -> None:
    left = list(seconds)
    monkeypatch.setattr(gpu_select, "_step_seconds", lambda *_: left.pop(0))
    trainer = set_up(varied_set, tmp_path, "stock")
    trainer.acceleration.mode = "auto"
    trainer.acceleration._begin_on_gpu(trainer)
    assert trainer.acceleration.gpu_mode == mode
    assert why in messages[-1]
    assert (type(trainer.train_loader) is resident_dataset.ResidentLoader) == (mode == "resident")
    assert (trainer.acceleration.images is None) == (mode == "stock")


def test_a_measurement_does_not_change_the_training(
    varied_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_select, "_STEPS", 2)
    trainer = set_up(varied_set, tmp_path, "stock")
    images = resident_dataset.load_images(trainer.train_loader.dataset, trainer.device)
    weights = copy.deepcopy(trainer.model.state_dict())
    state, buffer = torch.get_rng_state(), list(trainer.train_loader.dataset.buffer)
    mode, why = gpu_select._choose_by_measurement(trainer, images)
    assert mode in ("stock", "resident")
    assert "ms stock" in why
    assert "no CUDA graph, since there is no CUDA device" in why
    assert torch.equal(state, torch.get_rng_state())
    assert trainer.train_loader.dataset.buffer == buffer
    assert all(torch.equal(weights[key], value) for key, value in trainer.model.state_dict().items())


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_a_fused_optimizer_makes_the_same_steps_and_resumes_from_its_state(kind: Any) -> None:
    def stepped(fused: bool) -> torch.Tensor:
        weight = torch.nn.Parameter(torch.linspace(-1, 1, 64))
        extra = {"momentum": 0.9, "nesterov": True} if kind is torch.optim.SGD else {}
        optimizer = kind([weight], lr=0.1, weight_decay=0.01, **extra)
        if fused:
            gpu_select.use_fused_optimizer(optimizer)
        for _ in range(3):
            weight.grad = weight.detach() ** 2 - 0.1
            optimizer.step()
            other = kind([weight], lr=0.5, **extra)
            other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
            optimizer = other
            if fused:
                gpu_select.use_fused_optimizer(optimizer)
        assert bool(optimizer.param_groups[0]["fused"]) == fused
        return weight.detach()

    torch.testing.assert_close(stepped(True), stepped(False), atol=1e-6, rtol=1e-5)


def test_an_optimizer_without_a_fused_version_does_not_change() -> None:
    optimizer = torch.optim.RMSprop([torch.nn.Parameter(torch.ones(2))])
    gpu_select.use_fused_optimizer(optimizer)
    assert "fused" not in optimizer.param_groups[0]


def test_the_average_equals_stock_and_the_patch_ends() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    stock, ours = ModelEMA(model), ModelEMA(model)
    with gpu_select.patch_ema(ours):
        assert "update" in vars(ours)
        for _ in range(3):
            with torch.no_grad():
                for value in model.state_dict().values():
                    value.add_(1)
            stock.update(model)
            ours.update(model)
        assert ours.updates == stock.updates == 3
        for one, other in zip(ours.ema.state_dict().values(), stock.ema.state_dict().values(), strict=True):
            torch.testing.assert_close(one, other)
        assert ours.ema[0].weight.max() > model[0].weight.max() - 3, "it averages"
        ours.enabled = False
        ours.update(model)
        assert ours.updates == 3
    assert "update" not in vars(ours)


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_a_training_restores_the_average_on_every_path(
    varied_set: Path, tmp_path: Path, error: type[BaseException] | None
) -> None:
    model, is_patched = YOLO("yolo11n.yaml"), []

    def record(trainer: Any) -> None:
        is_patched.append("update" in vars(trainer.ema))
        if error:
            raise error

    model.add_callback("on_train_start", lambda trainer: vars(trainer.ema).pop("_pairs", None))  # as in older versions
    model.add_callback("on_train_epoch_end", record)
    with nullcontext() if error is None else pytest.raises(error):
        model.train(data=str(varied_set), project=str(tmp_path), name="one", **{**FAST, "speed": "resident", "epochs": 1})
    assert is_patched == [True]
    assert "update" not in vars(model.trainer.ema)


def trial(data: Path, **more: Any) -> Any:
    own = {"graft": more.pop("graft", "none"), "control": "", "seed": more.pop("seed", 0)}
    settings = {"model": "yolo11n.yaml", "data": str(data), **FAST, "nbs": 12, "speed": "resident", **more}
    return SimpleNamespace(settings=settings, **own)


def test_a_study_may_use_it_with_supported_arguments_only() -> None:
    runner_train.check("yolo11n.yaml", "se@8", {"model": "yolo11n.yaml", "speed": "resident"})
    runner_train.check("yolo11n.yaml", "se@8", {"model": "yolo11n.yaml", "speed": "graphed"})
    with pytest.raises(GraftError, match=r"does not support freeze=10"):
        runner_train.check("yolo11n.yaml", "none", {"model": "yolo11n.yaml", "speed": "graphed", "freeze": 10})
    with pytest.raises(GraftError, match=r"does not support mixup=0\.1"):
        runner_train.check("yolo11n.yaml", "none", {"model": "yolo11n.yaml", "speed": "resident", "mixup": 0.1})


def test_a_resumed_trial_gives_the_results_of_an_uninterrupted_one(varied_set: Path, tmp_path: Path) -> None:
    """Killed in the second epoch with gradients pending (24 pictures, nbs=12, batch=4), the mosaic closed."""
    def die(epoch: int, numbers: Any) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    own = trial(varied_set, graft=runner_train.spell("se@8"))
    whole = runner_train.train(own, tmp_path / "whole", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        runner_train.train(own, tmp_path / "broken", die)
    assert torch.load(tmp_path / "broken" / STATE, weights_only=False)["epoch"] == 0
    assert runner_train.train(own, tmp_path / "broken", lambda *_: None)["metrics"] == whole["metrics"]
    assert results(tmp_path / "whole" / "run") == results(tmp_path / "broken" / "run")
    assert json.dumps(whole["metrics"])


def test_arms_of_a_seed_see_the_same_images(varied_set: Path, tmp_path: Path) -> None:
    def seen(**more: Any) -> list[Any]:
        own = trial(varied_set, **more)
        cls = trial_trainer(YOLO("yolo11n.yaml").task_map["detect"]["trainer"])
        trainer: Any = cls(overrides={**own.settings, "graft": own.graft, "seed": own.seed, "control": "",
                                      "project": str(tmp_path), "name": "run", "exist_ok": True, "folder": tmp_path,
                                      "report": print})
        setup = trainer._setup_train
        setup(*((1,) if setup.__code__.co_argcount == 2 else ()))
        batches = []
        for trainer.epoch in range(2):
            batches += [(batch["im_file"], float(batch["img"].double().sum()), batch["bboxes"].tolist())
                        for batch in trainer.train_loader]
            torch.rand(len(batches))
        return batches

    bare = seen()
    assert len(bare) == 12
    assert seen(graft="cbam@8", lr0=0.5) == bare
    assert seen(seed=1) != bare


def test_several_gpus_train_as_stock(
    varied_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: list[str]
) -> None:
    trainer = set_up(varied_set, tmp_path, "stock")
    monkeypatch.setattr(gpu_select, "RANK", 0)
    trainer.acceleration.mode = "auto"
    trainer.acceleration._begin_on_gpu(trainer)
    assert trainer.acceleration.gpu_mode == "stock"
    assert "the training runs on several GPUs" in messages[-1]
    trainer.acceleration.mode = "resident"
    with pytest.raises(GraftError, match="the training runs on several GPUs"):
        trainer.acceleration._begin_on_gpu(trainer)
