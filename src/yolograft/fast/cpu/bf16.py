"""Run a detection network's body in bfloat16 on a CPU, with its outputs, box decoding and weights in float32.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `BaseModel.forward` runs the network through `self.predict`;
`Detect.forward` decodes boxes in `self._inference`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.modules import Detect

from yolograft.fast.cpu import batchnorm_silu, upsample
from yolograft.language import tr
from yolograft.patch import patched

__all__ = ["bf16_body", "images_to_channels_last", "to_channels_last", "unavailable_reason"]


def unavailable_reason(model: nn.Module) -> str:
    """Return why this CPU cannot run an Ultralytics task model's body in bfloat16, or ""."""
    head = _head(model)
    if not isinstance(head, Detect):
        return tr("{name} does not decode boxes from maps", name=type(head).__name__)
    return "" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else tr("this CPU has no bfloat16")


def to_channels_last(model: nn.Module) -> nn.Module:
    """Convert a model's weights to the channels-last memory format, in place. Returns the model."""
    return model.to(memory_format=torch.channels_last)


def images_to_channels_last(images: Tensor) -> Tensor:
    """Return images (B, C, H, W) in the channels-last memory format. Their data type stays: autocast converts it."""
    return images.contiguous(memory_format=torch.channels_last)


@contextmanager
def bf16_body(model: nn.Module, enabled: bool = True, fused: bool = False) -> Iterator[None]:
    """Run a model's body in bfloat16, and its outputs and box decoding in float32, inside a `with` block.

    Gradients have the weights' float32. The model's class and state do not change.

    Args:
        model: an Ultralytics task model with a `Detect` head. It is fastest in the channels-last memory format.
        enabled: False makes this context do nothing.
        fused: whether batch norm and SiLU also become one operator.
    """
    if not enabled:
        yield
        return
    head: Any = _head(model)
    stock_predict, stock_inference = model.predict, getattr(head, "_inference", None)

    def predict(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return _to_float(stock_predict(*args, **kwargs))  # type: ignore[operator]

    def inference(maps: Any, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", enabled=False):  # a box decoded in bfloat16 is wrong by up to 1 pixel in 256
            return stock_inference(_to_float(maps), *args, **kwargs)  # type: ignore[misc]

    decoding = [] if stock_inference is None else [(head, "_inference", inference)]
    with (patched((model, "predict", predict), *decoding),
          batchnorm_silu.patch_conv(model) if fused else nullcontext(), upsample.patch_upsample(model)):
        yield


def _head(model: nn.Module) -> nn.Module:
    layers: Any = model.model
    head: nn.Module = layers[-1]
    return head


def _to_float(value: Any) -> Any:
    """Return a nested output with its bfloat16 tensors as float32."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype == torch.bfloat16 else value
    if isinstance(value, dict):
        return {key: _to_float(item) for key, item in value.items()}
    return type(value)(map(_to_float, value)) if isinstance(value, (list, tuple)) else value
