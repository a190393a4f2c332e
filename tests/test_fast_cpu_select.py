"""The choice for a CPU: measured once per host and machine, with a reason in the log."""

import itertools
import os
from pathlib import Path

import pytest
import torch
import ultralytics

from yolograft import YOLO, GraftError
from yolograft.fast.cpu import build, select
from yolograft.fast.cpu.select import Choice

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for the test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setattr(select, "_disturbed", {})
    return folder / "yolograft"


@pytest.mark.parametrize(
    ("seconds", "bfloat16", "channels_last"),
    [([1.0, 0.7, 0.4], True, True), ([1.0, 0.5, 0.9], False, True), ([1.0, 0.9, 0.95], False, False),
     ([1.0, 3.0, 2.0], False, False)],
)
def test_the_fastest_alternative_is_chosen(
    monkeypatch: pytest.MonkeyPatch, seconds: list[float], bfloat16: bool, channels_last: bool
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(select, "_measure", lambda *args: seconds)
    choice = select.choose(YOLO("yolo11n.yaml").model, 64, 4)
    assert (choice.bfloat16, choice.channels_last) == (bfloat16, channels_last)
    assert f"bfloat16 {1 / seconds[2]:.2f}x" in choice.why
    if not channels_last:
        assert choice.threads == torch.get_num_threads()
        assert "the gain over stock is too small" in choice.why


def clocks(monkeypatch: pytest.MonkeyPatch, others: float) -> None:
    """Replace the clocks: each reading is a second later; this process used one core, and the others `others` cores."""
    ticks = itertools.count()
    monkeypatch.setattr(select, "_clocks", lambda: (now := float(next(ticks)), now, now * (1 + others)))


def test_a_later_training_of_a_host_reuses_the_measurement(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    clocks(monkeypatch, others=0)
    measurements = iter([[1.0, 0.7, 0.4], [1.0, 2.0, 2.0], [1.0, 0.5, 2.0], [1.0, 0.6, 2.0]])
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(select, "_measure", lambda *args: next(measurements))
    model = YOLO("yolo11n.yaml").model
    assert select.choose(model, 64, 4).bfloat16
    again = select.choose(YOLO("yolo11n.yaml", graft="se@8").model, 64, 4)
    (file,) = cache.glob("speed-*")
    assert again.bfloat16, "the graft must not change the key"
    assert f"delete {file} to measure again" in again.why
    assert not select.choose(model, 96, 4).channels_last, "another image size needs its own measurement"
    file.write_text("{")
    assert not select.choose(model, 64, 4).bfloat16
    assert select.choose(model, 64, 4).channels_last
    cache.rename(cache.with_name("elsewhere"))
    cache.write_text("no folder")
    assert "not cached, " in select.choose(model, 64, 4).why


def test_a_measurement_on_a_busy_machine_is_used_in_this_process_only(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    measurements = iter([[1.0, 0.7, 0.4], [1.0, 2.0, 2.0]])
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(select, "_measure", lambda *args: next(measurements))
    clocks(monkeypatch, others=(os.cpu_count() or 1) + 0.5)
    model = YOLO("yolo11n.yaml").model
    first = select.choose(model, 64, 4)
    assert first.bfloat16
    assert "not cached, since other processes used" in first.why
    assert not list(cache.glob("speed-*"))
    again = select.choose(model, 64, 4)
    assert again.bfloat16
    assert "in this process" in again.why
    select._disturbed.clear()  # as in a new process
    clocks(monkeypatch, others=0)
    assert not select.choose(model, 64, 4).channels_last
    assert len(list(cache.glob("speed-*"))) == 1


def test_without_bfloat16_support_it_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    monkeypatch.setattr(select, "_measure", lambda model, imgsz, batch, choices: [1.0, 0.5][: len(choices)])
    model = YOLO("yolo11n.yaml").model
    choice = select.choose(model, 64, 4)
    assert "no bfloat16, since this CPU has no bfloat16" in choice.why
    assert not choice.bfloat16
    with pytest.raises(GraftError, match="this CPU has no bfloat16"):
        select.choose(model, 64, 4, "bfloat16")
    with pytest.raises(GraftError, match="Classify does not decode boxes"):
        select.choose(YOLO("yolo11n-cls.yaml").model, 64, 4, "bfloat16")


def test_a_mode_set_by_name_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(select, "_measure", lambda *args: 1 / 0)
    model = YOLO("yolo11n.yaml").model
    assert select.choose(model, 64, 4, "bfloat16").bfloat16
    assert not select.choose(model, 64, 4, "float32").bfloat16
    assert not select.choose(model, 64, 4, "stock").channels_last


def test_a_measurement_changes_neither_the_model_nor_the_random_state() -> None:
    model = YOLO("yolo11n.yaml", graft="se@8").model
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    seconds = select._measure(model, 32, 2, [Choice(1, False, False, ""), Choice(2, True, True, "")])
    assert all(one > 0 for one in seconds)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(("owner", "name", "value"), [
    (build, "cpu_features", lambda: "another CPU"), (torch, "__version__", "9.9"), (ultralytics, "__version__", "9.9"),
    (select, "__version__", "9.9")])
@pytest.mark.usefixtures("cache")
def test_another_cpu_or_version_needs_a_new_measurement(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, value: object
) -> None:
    clocks(monkeypatch, others=0)
    measured: list[int] = []
    monkeypatch.setattr(select, "_measure", lambda *args: measured.append(1) or [1.0, 0.5, 0.4][: len(args[3])])
    model = YOLO("yolo11n.yaml").model
    for _ in range(2):
        select.choose(model, 64, 4)
    assert len(measured) == 1
    monkeypatch.setattr(owner, name, value)
    select.choose(model, 64, 4)
    assert len(measured) == 2


def test_a_cache_file_appears_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    clocks(monkeypatch, others=0)
    monkeypatch.setattr(select, "_measure", lambda model, imgsz, batch, choices: [1.0, 0.5, 0.4][: len(choices)])
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert "not cached, No space left on device" in select.choose(YOLO("yolo11n.yaml").model, 64, 4).why
    assert not list(cache.iterdir())


def test_measuring_restores_the_number_of_threads() -> None:
    before = torch.get_num_threads()
    try:
        select._measure(YOLO("yolo11n.yaml").model, 32, 2, [Choice(before + 1, False, False, "")])
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(before)
