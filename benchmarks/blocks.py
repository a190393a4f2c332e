"""Compare blocks with their best public implementations, at the shapes of YOLO11n.

    python benchmarks/blocks.py [se eca ...] [seconds=1.0]

Training is the forward and backward pass of a batch of 16, inference the forward pass of a batch of 1, in both memory
formats. The two sides take turns, so that other load on the machine affects both. The numbers are medians of the CPU
seconds of one thread. `memory` is what one training step stores for its backward pass, each tensor once, with the
input. `seconds` is the CPU time for each cell.
"""

from __future__ import annotations

import ctypes
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial

import timm.layers as timm_layers
import torch
from timm.layers.cbam import CbamModule
from timm.layers.coord_attn import CoordAttn
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from yolograft.blocks import create
from yolograft.blocks._settings import hidden_channels

# (channels, height = width) of the rows of YOLO11n at 640: rows 2, 4 and 16, 6 and 13, 8 and 22
SHAPES = [(64, 160), (64, 80), (128, 40), (256, 20)]
SMALL = SHAPES[2:]  # the N x N attention weights of larger maps would not fit into memory


class Attention(nn.Module):
    """`nn.MultiheadAttention` over the positions, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(2).transpose(1, 2)
        y, _ = self.attention(z, z, z, need_weights=False)
        return x + y.transpose(1, 2).reshape(x.shape)


# (block, its settings, the name of its counterpart, a function that builds the counterpart for a width, shapes)
PAIRS: list[tuple[str, dict, str, Callable[[int], nn.Module], list[tuple[int, int]]]] = [
    ("se", {}, "torchvision SqueezeExcitation", lambda c: SqueezeExcitation(c, hidden_channels(c, 16)), SHAPES),
    ("se", {}, "timm SEModule", lambda c: timm_layers.SEModule(c, rd_channels=hidden_channels(c, 16)), SHAPES),
    ("ese", {}, "timm EffectiveSEModule", timm_layers.EffectiveSEModule, SHAPES),
    ("eca", {}, "timm EcaModule", timm_layers.EcaModule, SHAPES),
    ("ceca", {}, "timm CecaModule", timm_layers.CecaModule, SHAPES),
    ("cbam", {}, "timm CbamModule", lambda c: CbamModule(c, rd_channels=hidden_channels(c, 16), mlp_bias=True), SHAPES),
    ("coordatt", {}, "timm CoordAttn", lambda c: CoordAttn(c, rd_channels=hidden_channels(c, 32, 8), bias=True), SHAPES),
    ("gc", {"ratio": 8, "fuse": "scale"}, "timm GlobalContext", timm_layers.GlobalContext, SHAPES),
    ("sk", {}, "timm SelectiveKernel",
     lambda c: timm_layers.SelectiveKernel(c, groups=32, split_input=False, rd_channels=max(32, c // 16)), SMALL),
    ("nonlocal", {"ratio": 8}, "timm NonLocalAttn", lambda c: timm_layers.NonLocalAttn(c, use_scale=False), SMALL),
    ("mhsa", {}, "torch MultiheadAttention", Attention, SMALL),
]


def step(module: nn.Module, x: Tensor) -> None:
    """Run one training step. The incoming gradient is a whole map in the layout of the output, as in a network."""
    y = module(x)
    y.backward(x.detach())


def infer(module: nn.Module, x: Tensor) -> None:
    with torch.inference_mode():
        module(x)


def medians(sides: list[Callable[[], None]], seconds: float) -> list[float]:
    """Run both sides in turns for `seconds` (five turns at least), and return their medians in milliseconds."""
    for side in sides:
        side()
    times: list[list[float]] = [[] for _ in sides]
    end = time.process_time() + seconds
    while time.process_time() < end or len(times[0]) < 5:
        for side, seen in zip(sides, times, strict=True):
            start = time.process_time()
            side()
            seen.append(time.process_time() - start)
    return [1e3 * statistics.median(seen) for seen in times]


def saved_for_backward(module: nn.Module, x: Tensor) -> float:
    """Return the MB that one forward pass stores for the backward pass."""
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = module(x)
    del result
    return sum(sizes.values()) / 1e6


def compare(sides: list[nn.Module], shape: tuple[int, int], seconds: float) -> list[str]:
    """Return the cells of one table row."""
    channels, size = shape
    cells = []
    for batch in (16, 1):
        for memory_format in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(batch, channels, size, size).to(memory_format=memory_format)
            if batch == 16:
                x.requires_grad_()
            run = step if batch == 16 else infer
            for side in sides:
                side.train(batch == 16)
            ours, theirs = medians([partial(run, side, x) for side in sides], seconds)
            cells.append(f"{ours:.2f} / {theirs:.2f} = **{ours / theirs:.2f}**")
    x = torch.randn(16, channels, size, size, requires_grad=True)
    ours, theirs = (saved_for_backward(side.train(), x) for side in sides)
    return [*cells, f"{ours:.0f} / {theirs:.0f} = **{ours / theirs:.2f}**"]


def main(words: list[str]) -> None:
    torch.set_num_threads(1)
    if sys.platform == "linux":  # keep freed memory: otherwise it is chance which side pays for new pages
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, at its upper bound
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
    warnings.simplefilter("ignore")
    seconds = next((float(word[8:]) for word in words if word.startswith("seconds=")), 1.0)
    chosen = {word for word in words if "=" not in word}
    print("| block | compared with | shape | training NCHW, ms | training channels_last, ms | inference NCHW, ms "
          "| inference channels_last, ms | memory, MB |\n|---|---|---|---|---|---|---|---|")
    for name, settings, title, build, shapes in PAIRS:
        if chosen and name not in chosen:
            continue
        for shape in shapes:
            torch.manual_seed(0)
            cells = compare([create(name, shape[0], **settings), build(shape[0])], shape, seconds)
            label = f"{shape[0]} x {shape[1]} x {shape[1]}"
            print("|", " | ".join([f"`{name}`", title, label, *cells]), "|", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
