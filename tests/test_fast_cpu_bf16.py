"""The bfloat16 body: close to float32, boxes decoded in float32, and no change to the model afterwards."""

import pytest
import torch
from torch import Tensor

from yolograft import YOLO
from yolograft.fast.cpu import bf16
from yolograft.fast.cpu.select import _tensors as tensors

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings


def test_bfloat16_is_close_to_float32_and_is_undone() -> None:
    torch.manual_seed(0)
    model = YOLO("yolo11n.yaml", graft="se@8").model.eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        plain = model(x)[0]
        with bf16.bf16_body(model):
            half = model(x)[0]
        again = model(x)[0]
    assert half.dtype == torch.float32
    assert not torch.equal(half, plain), "nothing ran in bfloat16"
    torch.testing.assert_close(half, plain, atol=0.05 * float(plain.abs().max()), rtol=0.05)
    assert torch.equal(plain, again)
    assert "predict" not in vars(model)
    assert "_inference" not in vars(model.model[-1])


def test_boxes_are_decoded_in_float32() -> None:
    model, seen = YOLO("yolo11n.yaml").model.eval(), []
    head = model.model[-1]
    stock = head._inference

    def recorded(maps: object) -> Tensor:
        seen.extend(tensors(maps))
        seen.append(torch.tensor(float(torch.is_autocast_enabled("cpu"))))
        return stock(maps)

    head._inference = recorded
    with torch.no_grad(), bf16.bf16_body(model):
        model(torch.rand(1, 3, 64, 64))
    *maps, autocast = seen
    assert maps
    assert all(one.dtype == torch.float32 for one in maps)
    assert not autocast


def test_an_error_inside_undoes_it() -> None:
    model = YOLO("yolo11n.yaml").model
    with pytest.raises(ZeroDivisionError), bf16.bf16_body(model):
        _ = 1 / 0
    assert "predict" not in vars(model)
