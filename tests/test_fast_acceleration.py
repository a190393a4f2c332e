"""Fast training is the same training: the log names the choice, stock is stock, and checkpoints do not change."""

import csv
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import ultralytics

from yolograft import YOLO, GraftError
from yolograft.cli import main
from yolograft.fast import acceleration
from yolograft.fast.acceleration import Acceleration
from yolograft.fast.cpu import assigner_loss, batchnorm_silu, memory, nms, select, upsample
from yolograft.fast.cpu.select import Choice

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings
CPU = torch.device("cpu")
FAST = {"imgsz": 32, "batch": 4, "nbs": 4, "workers": 0, "plots": False, "verbose": False, "close_mosaic": 0}


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache folder for the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(select, "_disturbed", {})


def results(folder: Path) -> list[list[str]]:
    rows = list(csv.reader((folder / "results.csv").read_text().splitlines()))
    timed = [at for at, cell in enumerate(rows[0]) if cell.strip() == "time"]
    return [[cell for at, cell in enumerate(row) if at not in timed] for row in rows]


@pytest.mark.parametrize("argument", ["compile", "distill_model"])
def test_a_wrapped_network_trains_as_stock_ultralytics(
    monkeypatch: pytest.MonkeyPatch, argument: str
) -> None:
    messages: list[str] = []
    monkeypatch.setattr(acceleration.LOGGER, "info", messages.append)
    # the trainer has no network: `begin` must not need one
    trainer = SimpleNamespace(args=SimpleNamespace(**{argument: "teacher.pt"}), device=CPU)
    ours = Acceleration("auto", {"device": "cpu"})
    ours.begin(trainer)
    assert ours.choice is None
    assert f"{argument}=teacher.pt" in messages[0]
    for mode in ("float32", "bfloat16"):
        with pytest.raises(GraftError, match=f"speed={mode} does not support {argument}=teacher.pt"):
            acceleration.check(mode, {"device": "cpu", argument: "teacher.pt"})
    acceleration.check("auto", {"device": "cpu", argument: "teacher.pt"})


@pytest.fixture
def always_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose bfloat16 on every CPU."""
    monkeypatch.setattr(select, "choose", lambda *args: Choice(1, True, True, "bfloat16, for this test"))


@pytest.mark.usefixtures("always_bfloat16")
def test_the_same_seed_gives_the_same_results_and_a_plain_checkpoint(tiny_set: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        YOLO("yolo11n.yaml").train(data=str(tiny_set), graft="se@8", epochs=2, project=str(tmp_path), name=name, **FAST)
    assert results(tmp_path / "one") == results(tmp_path / "two")
    opened = ultralytics.YOLO(str(tmp_path / "one" / "weights" / "best.pt"))
    assert "predict" not in vars(opened.model)
    assert all(p.is_contiguous() and p.dtype == torch.float32 for p in opened.model.parameters())
    opened.val(data=str(tiny_set), plots=False, imgsz=32, workers=0, project=str(tmp_path), name="v")


def counted(function: Callable[..., object], name: str, calls: dict[str, int]) -> Callable[..., object]:
    def counting(*args: object, **settings: object) -> object:
        calls[name] += 1
        return function(*args, **settings)

    return counting


@pytest.mark.usefixtures("always_bfloat16")
@pytest.mark.parametrize("mode", ["bfloat16", "stock"])
def test_a_bfloat16_training_uses_every_kernel_and_a_stock_one_none(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    calls: dict[str, int] = {}
    for module, name in ((assigner_loss, "assign_targets"), (upsample, "upsample_2x"), (nms, "non_max_suppression"),
                         (batchnorm_silu, "batch_norm_silu"), (batchnorm_silu, "batch_norm_silu_")):
        if not module.KERNEL.unavailable_reason():
            calls[name] = 0
            monkeypatch.setattr(module, name, counted(getattr(module, name), name, calls))
    if not calls:
        pytest.skip(f"no kernel: {nms.KERNEL.unavailable_reason()}")
    fused = not batchnorm_silu.KERNEL.unavailable_reason()
    choice = Choice(1, False, False, "") if mode == "stock" else Choice(1, True, True, "", fused=fused)
    monkeypatch.setattr(select, "choose", lambda *args: choice)
    YOLO("yolo11n.yaml").train(data=str(tiny_set), epochs=1, speed=mode, project=str(tmp_path), name="r", **FAST)
    assert all(count > 0 for count in calls.values()) if mode != "stock" else not any(calls.values()), calls


@pytest.mark.usefixtures("always_bfloat16")
def test_stock_speed_is_stock(tiny_set: Path, tmp_path: Path) -> None:
    stock = ultralytics.YOLO("yolo11n.yaml")
    stock.train(data=str(tiny_set), epochs=2, project=str(tmp_path), name="stock", **FAST)
    for name, mode in (("ours", "stock"), ("fast", "auto")):
        YOLO("yolo11n.yaml").train(data=str(tiny_set), epochs=2, speed=mode, project=str(tmp_path), name=name, **FAST)
    assert results(tmp_path / "ours") == results(tmp_path / "stock")
    assert results(tmp_path / "fast") != results(tmp_path / "stock")


def test_an_unknown_mode_is_an_error_with_a_suggestion(tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "model=yolo11n.yaml", f"data={tiny_set}", "speed=stok"]) == 2
    assert "Did you mean 'stock'" in capsys.readouterr().err
    assert main(["val", "model=yolo11n.yaml", f"data={tiny_set}", "speed=stock"]) == 2
    assert not list(tmp_path.iterdir())
    with pytest.raises(GraftError):
        YOLO("yolo11n.yaml").train(data=str(tiny_set), speed="fast", project=str(tmp_path), **FAST)


class OldMuSGD(torch.optim.SGD):
    """Fails on channels-last weights, as Ultralytics' MuSGD in 8.4.0."""

    def step(self, closure: object = None) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                weight.grad.view(len(weight), -1)


@pytest.mark.usefixtures("always_bfloat16")
@pytest.mark.parametrize(("kind", "last"), [(torch.optim.SGD, True), (OldMuSGD, False)])
def test_weights_are_channels_last_if_the_optimizer_supports_it(kind: type[torch.optim.SGD], last: bool) -> None:
    model = YOLO("yolo11n.yaml").model
    trainer = SimpleNamespace(args=SimpleNamespace(imgsz=64), model=model, batch_size=4, device=CPU,
                              optimizer=kind([one for one in model.parameters() if one.dim() == 4], lr=0.1))
    ours = Acceleration("auto", {"device": "cpu"})
    with memory.restore_threads():
        ours.begin(trainer)
    assert ours.choice is not None
    assert ours.choice.channels_last
    weight = model.model[1].conv.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) == last
    assert weight.is_contiguous() != last


@pytest.mark.usefixtures("always_bfloat16")
@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "MuSGD"])
def test_every_optimizer_trains(tiny_set: Path, tmp_path: Path, optimizer: str) -> None:
    if optimizer == "MuSGD" and ultralytics.__version__ < "8.4":
        pytest.skip("this Ultralytics has no MuSGD")
    YOLO("yolo11n.yaml").train(data=str(tiny_set), epochs=1, project=str(tmp_path), name="r", optimizer=optimizer, **FAST)
    assert len(results(tmp_path / "r")) == 2


@pytest.mark.usefixtures("always_bfloat16")
def test_a_resumed_training_keeps_its_mode(tiny_set: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(trainer: object) -> None:
        if trainer.epoch == 0:  # type: ignore[attr-defined]
            raise Stop

    model = YOLO("yolo11n.yaml", graft="se@8")
    model.add_callback("on_model_save", stop)
    with pytest.raises(Stop):
        model.train(data=str(tiny_set), epochs=2, project=str(tmp_path), name="r", speed="bfloat16", **FAST)
    again = YOLO(str(tmp_path / "r" / "weights" / "last.pt"))
    again.train(resume=True)
    assert len(results(tmp_path / "r")) == 3
    assert again.trainer.acceleration.choice.bfloat16
    assert "forward" not in vars(again.trainer.ema.ema.model[0])


def test_a_validation_does_not_change_the_model() -> None:
    model = YOLO("yolo11n.yaml").model.eval()
    loader = object()
    ours = Acceleration("auto", {"device": "cpu"})
    ours.choice = Choice(1, True, True, "", fused=not batchnorm_silu.KERNEL.unavailable_reason())
    trainer = SimpleNamespace(ema=SimpleNamespace(ema=model), validator=SimpleNamespace(
                                  dataloader=loader, args=SimpleNamespace(task="detect", multi_scale=0.0),
                                  preprocess=lambda batch: {**batch, "img": batch["img"] / 255}))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x, found = torch.rand(1, 3, 64, 64), []
    for _ in range(2):  # the second time, the copy of the first is used again
        with torch.no_grad(), ours.validation(trainer):
            assert trainer.ema.ema is not model
            assert trainer.validator.dataloader is ours._validation_loader
            pictures = trainer.validator.preprocess({"img": torch.ones(1, 3, 8, 8, dtype=torch.uint8)})["img"]
            assert pictures.dtype == torch.float32
            found.append(trainer.ema.ema(x)[0])
        assert trainer.ema.ema is model
        assert trainer.validator.dataloader is loader
        assert trainer.validator.preprocess({"img": torch.ones(1, 3, 8, 8, dtype=torch.uint8)})["img"].dtype == torch.float32
        assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
        assert not any("forward" in vars(module) for module in (*model.modules(), *ours._ema_copy.modules()))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter *= 1.1
        before = {key: value.clone() for key, value in model.state_dict().items()}
    assert not torch.equal(*found), "the second must use the current weights"


def test_a_choice_from_another_cpu_continues_without_the_fused_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[str] = []
    monkeypatch.setattr(acceleration.LOGGER, "info", messages.append)
    monkeypatch.setattr(batchnorm_silu.KERNEL, "unavailable_reason", lambda: "this CPU has no AVX512-BF16")
    model = YOLO("yolo11n.yaml").model
    trainer = SimpleNamespace(args=SimpleNamespace(imgsz=64), model=model, batch_size=4, device=CPU,
                              train_loader=SimpleNamespace(dataset=object()),
                              optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    ours = Acceleration("auto", {"device": "cpu"})
    ours.set_state((1, True, True, "kept", True))
    with memory.restore_threads():
        ours.begin(trainer)
    assert ours.choice == Choice(1, True, True, "kept", fused=False)
    assert ours.get_state() == (1, True, True, "kept", False)
    assert "This machine runs them as two, since this CPU has no AVX512-BF16" in messages[0]
    with ours.training(trainer):
        assert torch.isfinite(select._tensors(model.train()(torch.rand(2, 3, 32, 32)))[0]).all()
