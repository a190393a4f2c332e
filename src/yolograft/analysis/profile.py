"""What a network costs when it is deployed, counted in one way for all who say it: `bench`, `show` and a study's report.

What this relies on in Ultralytics (8.3.0 to 8.4.x): a task model's `fuse(verbose=False)` folds batch norms in place and
returns it.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

__all__ = ["FORMULAS", "ShapesAlone", "deployed", "gflops", "parameters", "pictures"]

_ATEN = torch.ops.aten
FORMULAS = {  # operator -> operations; up to 2.14 PyTorch's own list lacks the attention that runs on a CPU
    _ATEN._scaled_dot_product_flash_attention_for_cpu: flop_registry[_ATEN._scaled_dot_product_flash_attention],
    **flop_registry,
}


def parameters(model: nn.Module) -> int:
    """Return how many numbers are trained, before anything is fused."""
    return sum(one.numel() for one in model.parameters())


def deployed(model: nn.Module) -> nn.Module:
    """Return a copy as `predict` runs it: float32, fused, in eval mode."""
    twin: Any = copy.deepcopy(model).float()
    with torch.no_grad():
        return twin.fuse(verbose=False).eval()


def gflops(network: nn.Module, imgsz: int) -> float:
    """Return the operations of one square picture: two for each multiply-add of convolutions and matrix products.

    Deploy it first: fusing merges the branches of some convolutions.
    """
    picture = pictures(network, imgsz)
    with torch.no_grad(), _Products() as products, ShapesAlone() as convolutions:
        network(picture)
    return (products.flops + convolutions.flops) / 1e9


def pictures(network: nn.Module, imgsz: int, batch: int = 1) -> Tensor:
    """Return black pictures as the network takes them."""
    first = next((one for one in network.modules() if isinstance(one, nn.Conv2d)), None)
    weight = next(network.parameters(), torch.zeros(()))
    channels = 3 if first is None else first.in_channels
    return torch.zeros(batch, channels, imgsz, imgsz, dtype=weight.dtype, device=weight.device)


class _Products(TorchDispatchMode):
    """Counts as `FlopCounterMode` does and by its formulas, without PyTorch's compiler, which that one loads."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # newer versions of PyTorch wrap the method below for the compiler unless told this

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator and count it."""
        result = func(*args, **(kwargs or {}))
        if (count := FORMULAS.get(func._overloadpacket)) is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=result)
        return result


class ShapesAlone(TorchFunctionMode):
    """While it is entered, a network can be built and run for its shapes, in a fraction of the time; its values are void.

    What takes the time is left out: a convolution (the first of each shape has code compiled for it) gives zeros, a batch
    norm its input, and new weights are not drawn. All else is done. `flops` counts the convolutions' operations.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one function of PyTorch, or stand in for it."""
        if func is functional.conv2d:
            return self._convolve(*args, **(kwargs or {}))
        if func in _SHAPE_KEPT:
            return args[0] if args else (kwargs or {})["input"]
        return func(*args, **(kwargs or {}))

    def _convolve(self, input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
                  dilation: Any = 1, groups: int = 1) -> Tensor:
        strides, gaps = _pair(stride), _pair(dilation)
        reach = [gap * (kernel - 1) for gap, kernel in zip(gaps, weight.shape[2:], strict=True)]
        pads = reach if padding == "same" else [0, 0] if padding == "valid" else [2 * one for one in _pair(padding)]
        size = [(have + pad - far - 1) // step + 1
                for have, pad, far, step in zip(input.shape[-2:], pads, reach, strides, strict=True)]
        made = input.new_zeros((*input.shape[:-3], weight.shape[0], *size))
        self.flops += 2 * made.numel() * weight[0].numel()
        return made


def _pair(value: Any) -> Any:
    return value if isinstance(value, (tuple, list)) else (value, value)


_SHAPE_KEPT = (functional.batch_norm, Tensor.uniform_, Tensor.normal_)
