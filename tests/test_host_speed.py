"""Fast training is the same training: what is chosen is said, stock is stock, and nothing of it gets into a checkpoint."""

import csv
from pathlib import Path

import pytest
import torch
import ultralytics
from torch import Tensor

from yolograft import YOLO, GraftError
from yolograft.cli import main
from yolograft.host import speed
from yolograft.host.speed import Choice

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings
FAST = {"imgsz": 32, "batch": 4, "nbs": 4, "workers": 0, "plots": False, "verbose": False, "close_mosaic": 0}


def results(folder: Path) -> list[list[str]]:
    rows = list(csv.reader((folder / "results.csv").read_text().splitlines()))
    timed = [at for at, cell in enumerate(rows[0]) if cell.strip() == "time"]
    return [[cell for at, cell in enumerate(row) if at not in timed] for row in rows]


def test_half_precision_is_close_and_leaves_no_trace() -> None:
    torch.manual_seed(0)
    model = YOLO("yolo11n.yaml", graft="se@8").model.eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        plain = model(x)[0]
        with speed.faster(model):
            half = model(x)[0]
        again = model(x)[0]
    assert half.dtype == torch.float32
    assert not torch.equal(half, plain), "nothing ran in bfloat16"
    torch.testing.assert_close(half, plain, atol=0.05 * float(plain.abs().max()), rtol=0.05)
    assert torch.equal(plain, again)
    assert "predict" not in vars(model)
    assert "_inference" not in vars(model.model[-1])


def test_boxes_are_decoded_in_single_precision() -> None:
    model, seen = YOLO("yolo11n.yaml").model.eval(), []
    head = model.model[-1]
    stock = head._inference

    def watched(maps: object) -> Tensor:
        seen.extend(speed._tensors(maps))
        seen.append(torch.tensor(float(torch.is_autocast_enabled("cpu"))))
        return stock(maps)

    head._inference = watched
    with torch.no_grad(), speed.faster(model):
        model(torch.rand(1, 3, 64, 64))
    *maps, autocast = seen
    assert maps
    assert all(one.dtype == torch.float32 for one in maps)
    assert not autocast


def test_an_error_inside_leaves_no_trace_either() -> None:
    model = YOLO("yolo11n.yaml").model
    with pytest.raises(ZeroDivisionError), speed.faster(model):
        _ = 1 / 0
    assert "predict" not in vars(model)


@pytest.mark.parametrize(("plain", "half", "chosen"), [(1.0, 0.5, True), (1.0, 0.9, False), (0.5, 1.0, False)])
def test_bfloat16_is_chosen_by_measurement(monkeypatch: pytest.MonkeyPatch, plain: float, half: float, chosen: bool) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(speed, "_measured", lambda *args: (plain, half))
    choice = speed.choose(YOLO("yolo11n.yaml").model, 64, 4)
    assert choice.bfloat16 is chosen
    assert f"{plain / half:.2f}x" in choice.why


def test_a_cpu_without_bfloat16_is_not_even_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    monkeypatch.setattr(speed, "_measured", lambda *args: 1 / 0)
    assert "no bfloat16" in speed.choose(YOLO("yolo11n.yaml").model, 64, 4).why


def test_choosing_leaves_the_model_and_the_random_state_alone() -> None:
    model = YOLO("yolo11n.yaml", graft="se@8").model
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    speed._measured(model, 32, 2)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


@pytest.fixture
def half(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU where bfloat16 pays, whatever this one is."""
    monkeypatch.setattr(speed, "choose", lambda *args: Choice(1, True, True, "bfloat16, for this test"))


@pytest.mark.usefixtures("half")
def test_the_same_seed_gives_the_same_results_and_a_plain_checkpoint(tiny_set: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        YOLO("yolo11n.yaml").train(data=str(tiny_set), graft="se@8", epochs=2, project=str(tmp_path), name=name, **FAST)
    assert results(tmp_path / "one") == results(tmp_path / "two")
    opened = ultralytics.YOLO(str(tmp_path / "one" / "weights" / "best.pt"))
    assert "predict" not in vars(opened.model)
    assert all(p.is_contiguous() and p.dtype == torch.float32 for p in opened.model.parameters())
    opened.val(data=str(tiny_set), plots=False, imgsz=32, workers=0, project=str(tmp_path), name="v")


@pytest.mark.usefixtures("half")
def test_stock_speed_is_stock(tiny_set: Path, tmp_path: Path) -> None:
    stock = ultralytics.YOLO("yolo11n.yaml")
    stock.train(data=str(tiny_set), epochs=2, project=str(tmp_path), name="stock", **FAST)
    for name, mode in (("ours", "stock"), ("fast", "auto")):
        YOLO("yolo11n.yaml").train(data=str(tiny_set), epochs=2, speed=mode, project=str(tmp_path), name=name, **FAST)
    assert results(tmp_path / "ours") == results(tmp_path / "stock")
    assert results(tmp_path / "fast") != results(tmp_path / "stock")


def test_a_typo_is_told(tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "model=yolo11n.yaml", f"data={tiny_set}", "speed=stok"]) == 2
    assert "Did you mean 'stock'" in capsys.readouterr().err
    assert main(["val", "model=yolo11n.yaml", f"data={tiny_set}", "speed=stock"]) == 2
    assert not list(tmp_path.iterdir())
    with pytest.raises(GraftError):
        YOLO("yolo11n.yaml").train(data=str(tiny_set), speed="fast", project=str(tmp_path), **FAST)
