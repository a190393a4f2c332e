"""The trainer of trials: exact resumption, the number of threads, and the count of optimizer steps."""

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ultralytics.data import augment
from ultralytics.models import yolo

from yolograft.errors import HostError
from yolograft.fast import acceleration
from yolograft.fast.cpu import select
from yolograft.host import mosaic
from yolograft.runner import trainer as runner_trainer
from yolograft.runner.sampler import SeededDataset
from yolograft.runner.trainer import STATE, read_state, trial_trainer

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings

TINY = """nc: 80
end2end: {end2end}
reg_max: {reg_max}
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, C2f, [8, True]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [[3], 1, Detect, [nc]]
"""
Script = Callable[[int], float]


class KilledError(BaseException):
    """Ends a training as if the process had been killed."""


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setenv("YOLOGRAFT_THREADS", "1")
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    file = tmp_path / "tiny-net.yaml"
    file.write_text(TINY.format(end2end=False, reg_max=16))
    return file


@pytest.fixture
def end_to_end_model(tmp_path: Path) -> Path:
    file = tmp_path / "tiny-end-net.yaml"
    file.write_text(TINY.format(end2end=True, reg_max=1))
    return file


def trained(folder: Path, model: Path, data: Path, *, kill: int | None = None, fitness: Script | None = None,
            scaler: bool = False, workers: int = 0, seen: list[Any] | None = None, **settings: Any) -> dict[str, Any]:
    """Train in a folder, or resume the training in it, and return the trainer's state after the last epoch.

    Args:
        folder: the trial's folder.
        model: the network's YAML.
        data: the data set's YAML.
        kill: the epoch, from 0, after which the training is killed. None trains to the end.
        fitness: returns each epoch's fitness, instead of a validation.
        scaler: whether a gradient scaler is used, as AMP does on a GPU.
        workers: number of processes that load the data.
        seen: a list to which PyTorch's number of threads in each batch is appended, and finally the trainer.
        settings: train arguments.
    """
    class ScriptedTrainer(trial_trainer(yolo.detect.DetectionTrainer)):  # type: ignore[misc]
        def get_dataloader(self, *args: Any, **kwargs: Any) -> Any:
            if scaler:
                self.scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)
            self.args.workers = workers  # Ultralytics has set it to 0 on a CPU
            return super().get_dataloader(*args, **kwargs)

        def get_validator(self) -> Any:
            validator: Any = super().get_validator()
            if fitness is not None:
                validator.__class__ = type("ScriptedValidator", (type(validator),), {
                    "__call__": lambda _, trainer: {"fitness": fitness(trainer.epoch)}})
            return validator

    def die(trainer: Any) -> None:
        if trainer.epoch == kill:
            raise KilledError

    folder.mkdir(parents=True, exist_ok=True)
    trainer: Any = ScriptedTrainer(overrides={
        "model": str(model), "data": str(data), "imgsz": 64, "batch": 4, "nbs": 12, "device": "cpu", "plots": False,
        "verbose": False, "optimizer": "SGD", "project": str(folder), "name": "run", "exist_ok": True, "seed": 3,
        "speed": "stock", **settings, "folder": folder, "report": lambda *_: None, "state": read_state(folder)})
    trainer.add_callback("on_fit_epoch_end", die)
    if seen is not None:
        trainer.add_callback("on_train_batch_end", lambda _: seen.append(torch.get_num_threads()))
    try:
        trainer.train()
    except KilledError:
        assert kill is not None
    if seen is not None:
        seen.append(trainer)
    state = read_state(folder)
    assert state is not None
    return state


def comparable(state: Any) -> Any:
    """Return a state without measured times and with tensors as bytes, so that == compares all bits."""
    if isinstance(state, torch.Tensor):
        return state.dtype, tuple(state.shape), state.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    if isinstance(state, dict):
        return {key: _without_time(value) if key == "csv" else comparable(value) for key, value in state.items()
                if key != "seconds"}
    return [comparable(item) for item in state] if isinstance(state, (list, tuple)) else state


def _without_time(csv: str) -> list[list[str]]:
    lines = [[cell.strip() for cell in line.split(",")] for line in csv.splitlines()]
    return [[cell for name, cell in zip(lines[0], line, strict=True) if name != "time"] for line in lines]


def best_weights(folder: Path) -> Any:
    return comparable(dict(torch.load(folder / runner_trainer.BEST, weights_only=False)["ema"].state_dict()))


def assert_resumes(folder: Path, model: Path, data: Path, epochs: int, **settings: Any) -> dict[str, Any]:
    """Compare a training with one that is killed and resumed after each epoch. Returns the uninterrupted state."""
    uninterrupted = trained(folder / "uninterrupted", model, data, epochs=epochs, **settings)
    last = uninterrupted["epoch"]
    for epoch in range(last + 1):
        resumed = trained(folder / "resumed", model, data, epochs=epochs, kill=epoch, **settings)
        assert resumed["epoch"] == epoch
        assert resumed["finished"] == (epoch == last)
    for key, value in comparable(uninterrupted).items():
        assert comparable(resumed)[key] == value, key
    assert len(uninterrupted["csv"].splitlines()) == last + 2
    assert best_weights(folder / "resumed") == best_weights(folder / "uninterrupted")
    return uninterrupted


@pytest.fixture
def partners(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, list[int], list[Any]]]:
    """Of each training image, in the order of loading: its number, Mosaic's buffer, and the images that Mosaic chose."""
    found: list[tuple[int, list[int], list[Any]]] = []
    choose, load = augment.Mosaic.get_indexes, SeededDataset.__getitem__

    def get_indexes(self: Any, *args: Any, **kwargs: Any) -> Any:
        chosen = choose(self, *args, **kwargs)
        found[-1][2].append(list(chosen))
        return chosen

    def getitem(self: Any, number: int) -> Any:
        found.append((number, self.window(*divmod(number, len(self))), []))
        item = load(self, number)
        assert list(self.base.buffer) == found[-1][1]
        return item

    monkeypatch.setattr(augment.Mosaic, "get_indexes", get_indexes)
    monkeypatch.setattr(SeededDataset, "__getitem__", getitem)
    return found


@pytest.mark.parametrize("close_mosaic", [0, 2, 3, 4])
def test_interrupted_after_each_epoch_equals_uninterrupted_with_mosaic(
        tiny_model: Path, tiny_set: Path, tmp_path: Path, close_mosaic: int,
        partners: list[tuple[int, list[int], list[Any]]]) -> None:
    """`close_mosaic` is 0, below, equal to and above `epochs`. With a scripted fitness there is no validation."""
    state = assert_resumes(tmp_path, tiny_model, tiny_set, 3, mosaic=1.0, close_mosaic=close_mosaic,
                           fitness=lambda epoch: 0.1 + epoch)
    # 8.3.0 closes Mosaic only when epoch == epochs - close_mosaic, so never if this is negative
    closes = close_mosaic > 0 and (close_mosaic <= 3 or not mosaic._closes_once())
    assert state["mosaic_closed"] == closes
    count = len(partners) // 6  # three epochs without interruption, then the same three, each in a process of its own
    assert partners[:3 * count] == partners[3 * count:]
    assert [number for number, *_ in partners[:3 * count]] == list(range(3 * count))
    first_closed = 3 - min(close_mosaic, 3) if closes else 3
    for number, window, chosen in partners[:3 * count]:
        assert bool(chosen) == (number // count < first_closed), "Mosaic is on until its last epoch"
        assert {index for one in chosen for index in one} <= set(window)
    orders = [[window[-1] for _, window, _ in partners[epoch * count:(epoch + 1) * count]] for epoch in range(2)]
    next_window = partners[count][1]
    assert next_window[:-1] == orders[0][count + 1 - len(next_window):], "it continues with the images of the epoch before"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["tiny_model", "end_to_end_model"])
@pytest.mark.parametrize("close_mosaic", [0, 1, 2, 3, 4, 5])
def test_interrupted_after_each_epoch_equals_uninterrupted_validated(
        request: pytest.FixtureRequest, tiny_set: Path, tmp_path: Path, close_mosaic: int, kind: str, workers: int) -> None:
    assert_resumes(tmp_path, request.getfixturevalue(kind), tiny_set, 4, mosaic=1.0, close_mosaic=close_mosaic,
                   workers=workers, scaler=True)


def test_interrupted_once_equals_uninterrupted_with_a_validation(tiny_model: Path, tiny_set: Path, tmp_path: Path) -> None:
    assert_resumes(tmp_path, tiny_model, tiny_set, 3, mosaic=1.0, close_mosaic=1)


@pytest.mark.parametrize("workers", [2])
def test_interrupted_equals_uninterrupted_with_loader_processes(
        tiny_model: Path, tiny_set: Path, tmp_path: Path, workers: int) -> None:
    settings = {"mosaic": 1.0, "close_mosaic": 1, "fitness": lambda epoch: 0.1 + epoch}
    with_workers = assert_resumes(tmp_path / "workers", tiny_model, tiny_set, 2, workers=workers, **settings)
    without = trained(tmp_path / "no_workers", tiny_model, tiny_set, epochs=2, **settings)
    assert comparable(with_workers["model"]) == comparable(without["model"])


def test_early_stopping_keeps_its_count_when_resumed(tiny_model: Path, tiny_set: Path, tmp_path: Path) -> None:
    script = [0.3, 0.5, 0.4, 0.45, 0.1, 0.2]
    state = assert_resumes(tmp_path, tiny_model, tiny_set, 6, patience=3, fitness=lambda epoch: script[epoch])
    assert state["epoch"] == 4, "patience is 3 and the best epoch is 1"
    assert state["best_fitness"] == 0.5
    assert state["stopper"]["best_epoch"] == 2


def test_the_best_checkpoint_is_kept_when_resumed(tiny_model: Path, tiny_set: Path, tmp_path: Path) -> None:
    script = [0.5, 0.2, 0.4]
    state = assert_resumes(tmp_path, tiny_model, tiny_set, 3, fitness=lambda epoch: script[epoch])
    assert state["best_fitness"] == 0.5
    first = trained(tmp_path / "first", tiny_model, tiny_set, epochs=3, kill=0, fitness=lambda epoch: script[epoch])
    assert first["epoch"] == 0
    assert best_weights(tmp_path / "resumed") == best_weights(tmp_path / "first")


@pytest.mark.skipif(not hasattr(torch.amp, "GradScaler"), reason="PyTorch before 2.3 has no GradScaler for a CPU")
def test_the_loss_scale_of_amp_is_kept_when_resumed(tiny_model: Path, tiny_set: Path, tmp_path: Path) -> None:
    state = assert_resumes(tmp_path, tiny_model, tiny_set, 3, scaler=True, fitness=lambda epoch: 0.1 + epoch)
    assert state["scaler"]["scale"] > 4


def test_the_loss_weights_of_an_end_to_end_head_are_kept_when_resumed(
        end_to_end_model: Path, tiny_set: Path, tmp_path: Path) -> None:
    state = assert_resumes(tmp_path, end_to_end_model, tiny_set, 3, fitness=lambda epoch: 0.1 + epoch)
    if state["loss_updates"] is None:
        pytest.skip("in this version, no loss changes its weights")
    assert state["loss_updates"] == 3


@pytest.mark.parametrize("kind", ["tiny_model", "end_to_end_model"])
def test_the_running_mean_of_a_box_loss_is_kept_when_resumed(
        request: pytest.FixtureRequest, tiny_set: Path, tmp_path: Path, kind: str) -> None:
    model, fitness = request.getfixturevalue(kind), lambda epoch: 0.1 + epoch
    state = assert_resumes(tmp_path, model, tiny_set, 3, fitness=fitness, iou="wiou(momentum=0.2)")
    assert 0 < state["box_loss_mean"] < 0.99
    stock = trained(tmp_path / "stock", model, tiny_set, epochs=3, fitness=fitness)
    assert comparable(stock["model"]) != comparable(state["model"])


def test_a_swap_is_kept_when_resumed(tiny_model: Path, tiny_set: Path, tmp_path: Path) -> None:
    state = assert_resumes(tmp_path, tiny_model, tiny_set, 2, fitness=lambda epoch: 0.1 + epoch, swap="faster_block@2")
    assert any("partial_conv3" in key for key in state["model"])


def test_a_state_of_another_format_is_not_resumed(tiny_model: Path, tiny_set: Path, tmp_path: Path) -> None:
    uninterrupted = trained(tmp_path / "a", tiny_model, tiny_set, epochs=2, fitness=lambda epoch: 0.1 + epoch)
    trained(tmp_path / "b", tiny_model, tiny_set, epochs=2, kill=0, fitness=lambda epoch: 0.1 + epoch)
    old = torch.load(tmp_path / "b" / STATE, weights_only=False)
    del old["format"]
    torch.save(old, tmp_path / "b" / STATE)
    assert read_state(tmp_path / "b") is None
    restarted = trained(tmp_path / "b", tiny_model, tiny_set, epochs=2, fitness=lambda epoch: 0.1 + epoch)
    assert comparable(restarted) == comparable(uninterrupted), "results.csv starts from the beginning too"


@pytest.mark.parametrize(("environment", "mode", "expected"), [
    ({"YOLOGRAFT_THREADS": "3", "OMP_NUM_THREADS": "1"}, "stock", 3),
    ({"YOLOGRAFT_THREADS": "3", "OMP_NUM_THREADS": "2"}, "stock", 3),
    ({"YOLOGRAFT_THREADS": "", "OMP_NUM_THREADS": "2"}, "stock", 2),
    ({"YOLOGRAFT_THREADS": "", "OMP_NUM_THREADS": "1"}, "float32", 4)])
def test_a_training_uses_the_number_of_threads_in_its_log(
        tiny_model: Path, tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str],
        mode: str, expected: int) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(select, "share", lambda processes: 4)
    logged: list[str] = []
    for module in (runner_trainer, acceleration):
        monkeypatch.setattr(module.LOGGER, "info", lambda text, *_: logged.append(str(text)))
    seen: list[Any] = []
    settings = {"epochs": 2, "speed": mode, "fitness": lambda epoch: 0.1 + epoch}
    state = trained(tmp_path / "t", tiny_model, tiny_set, kill=0, seen=seen, **settings)
    assert seen[:-1] == [expected] * 3
    assert [line for line in logged if line.startswith("yolograft: ") and f"{expected} threads" in line], logged
    assert state["threads"] == expected
    monkeypatch.setenv("YOLOGRAFT_THREADS", "1")
    monkeypatch.setattr(select, "share", lambda processes: 1)
    torch.set_num_threads(1)
    resumed: list[Any] = []
    trained(tmp_path / "t", tiny_model, tiny_set, seen=resumed, **settings)
    assert resumed[:-1] == [expected] * 3, "another number could change the rounding"


def test_by_default_the_number_of_threads_is_that_of_ultralytics(
        tiny_model: Path, tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ultralytics.utils import NUM_THREADS

    monkeypatch.delenv("YOLOGRAFT_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # importing Ultralytics sets this
    torch.set_num_threads(NUM_THREADS + 1)
    seen: list[Any] = []
    trained(tmp_path / "t", tiny_model, tiny_set, epochs=1, seen=seen, fitness=lambda epoch: 0.1)
    assert seen[:-1] == [NUM_THREADS] * 3


class LoopingTrainer:
    """A trainer with the lines of Ultralytics' `_do_train` that count batches and call `optimizer_step`."""

    def __init__(self, overrides: dict[str, Any], **_: Any) -> None:
        self.callbacks: dict[str, list[Any]] = {}

    def add_callback(self, event: str, callback: Any) -> None:
        self.callbacks.setdefault(event, []).append(callback)

    def run_callbacks(self, event: str) -> None:
        for callback in self.callbacks[event]:
            callback(self)

    def optimizer_step(self) -> None:
        self.steps_made: int = getattr(self, "steps_made", 0) + 1

    def loop(self: Any, *, warms_up: bool, accumulate_from: str) -> None:
        nominal = last = None
        for epoch in range(self.epochs):
            self.epoch = epoch
            nominal = nominal or self.accumulate
            last = -1 if last is None else last
            self.run_callbacks("on_train_epoch_start")
            for batch in range(len(self.train_loader)):
                self.run_callbacks("on_train_batch_start")
                number = batch + len(self.train_loader) * self.epoch
                if warms_up:
                    self.accumulate = max(1, round(1 + (nominal - 1) * min(1, number / 6)))
                wanted = self.accumulate if accumulate_from == "property" else getattr(self, "_accumulate", nominal)
                if number - last >= wanted:
                    self.optimizer_step()
                    last = number
                self.run_callbacks("on_train_batch_end")
            self.run_callbacks("on_train_epoch_end")


def looping_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warmup: float) -> Any:
    from types import SimpleNamespace

    monkeypatch.setattr(runner_trainer, "init_seeds", lambda *_, **__: None)
    cls = type("LoopingTrialTrainer", (runner_trainer.TrialTrainer, LoopingTrainer), {})
    trainer = cls(overrides={"folder": tmp_path, "report": print})
    trainer.args = SimpleNamespace(seed=0, deterministic=True, warmup_epochs=warmup)
    trainer.train_loader, trainer.epochs, trainer.accumulate = range(10), 3, 4
    return trainer


@pytest.mark.parametrize("warmup", [0.0, 3.0])
def test_steps_are_made_after_the_same_batches_as_in_ultralytics(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warmup: float) -> None:
    trainer = looping_trainer(tmp_path, monkeypatch, warmup)
    trainer.loop(warms_up=warmup > 0, accumulate_from="property")
    expected, last = 0, -1
    for number in range(30):
        wanted = max(1, round(1 + 3 * min(1, number / 6))) if warmup else 4
        if number - last >= wanted:
            expected, last = expected + 1, number
    assert trainer.steps_made == expected


@pytest.mark.parametrize(("warmup", "accumulate_from", "warms_up", "message"), [
    (0.0, "local variable", False, "10 batches"), (3.0, "local variable", True, "10 batches"),
    (3.0, "property", False, "first batch of the warm-up")])
def test_a_loop_that_ignores_accumulate_is_refused(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warmup: float, accumulate_from: str, warms_up: bool,
        message: str) -> None:
    import ultralytics

    trainer = looping_trainer(tmp_path, monkeypatch, warmup)
    with pytest.raises(HostError, match=message) as raised:
        trainer.loop(warms_up=warms_up, accumulate_from=accumulate_from)
    assert ultralytics.__version__ in str(raised.value)
    assert "ultralytics/engine/trainer.py" in str(raised.value)


def test_a_training_raises_an_error_if_the_installed_loop_ignores_accumulate(
        tiny_model: Path, tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def set_accumulate(self: Any, value: int) -> None:
        self._accumulate = value

    monkeypatch.setattr(runner_trainer.TrialTrainer, "accumulate", property(lambda self: self._accumulate, set_accumulate))
    with pytest.raises(HostError, match="optimizer_step"):
        trained(tmp_path / "t", tiny_model, tiny_set, epochs=1, warmup_epochs=0.0, fitness=lambda epoch: 0.1)


def test_checkpoint_and_state_are_flushed_through_a_descriptor_that_may_write(
        tiny_model: Path, tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: modes.append(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE))
    trained(tmp_path / "t", tiny_model, tiny_set, epochs=1, fitness=lambda epoch: 0.1)
    assert len(modes) >= 2, "the best checkpoint and the state"
    assert set(modes) == {os.O_RDWR}, "Windows refuses to flush a file that is open for reading only"
