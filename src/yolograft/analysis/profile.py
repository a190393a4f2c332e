"""Parameters and GFLOPs of a network, as `bench`, `show` and the studies report them.

What this relies on in Ultralytics (8.3.0 to 8.4.x): a task model's `fuse(verbose=False)` fuses batch norms into convolutions
in place and returns the model.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, shape_wrapper

from yolograft.language import tr

__all__ = ["FORMULAS", "count_flops", "count_gflops", "count_parameters", "dummy_images", "fused_copy", "shape_only"]

_ATEN = torch.ops.aten
FORMULAS = {  # operator -> function that counts FLOPs; up to 2.14, PyTorch's registry lacks attention on the CPU
    **({_ATEN._scaled_dot_product_flash_attention_for_cpu: flop_registry[_ATEN._scaled_dot_product_flash_attention]}
       if hasattr(_ATEN, "_scaled_dot_product_flash_attention_for_cpu") else {}),  # PyTorch has it since 2.3
    **flop_registry,
}
_RESULT = "out_val" if "out_val" in inspect.getsource(shape_wrapper) else "out"  # `out` in PyTorch 2.2


def count_flops(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> int:
    """Return the FLOPs of one call of an operator, by PyTorch's formula for it; 0 for an operator without a formula."""
    formula = FORMULAS.get(operator)
    return 0 if formula is None else int(formula(*args, **kwargs, **{_RESULT: result}))


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters. Count before fusing, which removes those of batch norms."""
    return sum(parameter.numel() for parameter in model.parameters())


def fused_copy(model: nn.Module) -> nn.Module:
    """Return a copy of a task model as `predict` runs it: float32, fused, in eval mode."""
    copied: Any = copy.deepcopy(model).float()
    with torch.no_grad():
        return copied.fuse(verbose=False).eval()


def count_gflops(network: nn.Module, imgsz: int) -> float:
    """Return the GFLOPs of one square image: two operations per multiply-add of convolutions and matrix products.

    Args:
        network: a fused network (see `fused_copy`), because fusing merges the branches of some convolutions.
        imgsz: side of the image in pixels.
    """
    image = dummy_images(network, imgsz)
    with torch.no_grad(), _MatmulCounter() as products, shape_only() as convolutions:
        network(image)
    return (products.flops + convolutions.flops) / 1e9


def dummy_images(network: nn.Module, imgsz: int, batch: int = 1) -> Tensor:
    """Return black images (B, C, imgsz, imgsz) with the channels, data type and device that the network takes."""
    first_conv = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    weight = next(network.parameters(), torch.zeros(()))
    channels = 3 if first_conv is None else first_conv.in_channels
    return torch.zeros(batch, channels, imgsz, imgsz, dtype=weight.dtype, device=weight.device)


class _MatmulCounter(TorchDispatchMode):
    """Counts FLOPs with the formulas of `FlopCounterMode`, but does not load PyTorch's compiler."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else newer versions of PyTorch wrap __torch_dispatch__ for the compiler

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and count its FLOPs."""
        result = func(*args, **(kwargs or {}))
        self.flops += count_flops(func._overloadpacket, args, kwargs or {}, result)
        return result


def shape_only() -> _ShapeOnlyMode:
    """Return a context in which networks are built and run for their shapes only, in a fraction of the time.

    The values are meaningless: a convolution returns zeros, a batch norm returns its input, and new weights are not
    initialized. (oneDNN compiles code for the first convolution of each shape.) All other functions run as usual. The
    context's attribute `flops` counts the operations of the convolutions.
    """
    return _ShapeOnlyMode()


class _ShapeOnlyMode(TorchFunctionMode):

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of PyTorch, or return a result of the right shape without running it."""
        if func is functional.conv2d:
            return self._convolve(*args, **(kwargs or {}))
        if func in _SAME_SHAPE:
            return args[0] if args else (kwargs or {})["input"]
        return func(*args, **(kwargs or {}))

    def _convolve(self, input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
                  dilation: Any = 1, groups: int = 1) -> Tensor:
        if input.shape[-3] != weight.shape[1] * groups:
            raise RuntimeError(tr("the input has {count} channels, but the convolution takes {expected}",
                                  count=input.shape[-3], expected=weight.shape[1] * groups))
        strides, dilations = _pair(stride), _pair(dilation)
        spans = [dilation * (kernel - 1) for dilation, kernel in zip(dilations, weight.shape[2:], strict=True)]
        pads = spans if padding == "same" else [0, 0] if padding == "valid" else [2 * pad for pad in _pair(padding)]
        sizes = [(size + pad - span - 1) // step + 1
                 for size, pad, span, step in zip(input.shape[-2:], pads, spans, strides, strict=True)]
        output = input.new_zeros((*input.shape[:-3], weight.shape[0], *sizes))
        self.flops += 2 * output.numel() * weight[0].numel()
        return output


def _pair(value: Any) -> Any:
    return value if isinstance(value, (tuple, list)) else (value, value)


_SAME_SHAPE = (functional.batch_norm, Tensor.uniform_, Tensor.normal_)
