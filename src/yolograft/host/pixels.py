"""Pictures of bytes as a network in bfloat16 wants them: between 0 and 1, channels-last, in one pass over them.

Ultralytics makes floats of the bytes and divides them by 255; laying these out and rounding them are two passes more. The
numbers are the same, bit for bit. Without a compiler, PyTorch's operators do the work.

What this relies on in Ultralytics (8.3.0 to 8.4.x): for detection, `preprocess_batch` of a trainer (unless it changes sizes,
`multi_scale`) and `preprocess` of a validator make `batch["img"].float() / 255` of the pictures, and want nothing of them
beside it but, maybe, their height and width.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolograft.host import native
from yolograft.host.instead import instead

__all__ = ["enough", "prepared", "quicker", "refused", "scaled"]

_SOURCE = Path(__file__).with_name("pixels.c")
_P, _N = ctypes.c_void_p, ctypes.c_int64


def scaled(pictures: Tensor) -> Tensor:
    """Return `(pictures.float() / 255).bfloat16()`, channels-last.

    Args:
        pictures: (B, C, H, W), uint8, on the CPU.
    """
    batch, channels, height, width = pictures.shape
    if not pictures.is_contiguous() and not pictures.is_contiguous(memory_format=torch.channels_last):
        pictures = pictures.contiguous()
    apart = pictures.is_contiguous()
    out = torch.empty(pictures.shape, dtype=torch.bfloat16, memory_format=torch.channels_last)
    steps = (height * width, 1) if apart else (1, channels)
    _library().pixels(pictures.data_ptr(), out.data_ptr(), _table().data_ptr(), batch, channels, height * width, *steps,
                      torch.get_num_threads())
    return out


def enough(args: Any) -> bool:
    """Return whether pictures are nothing but `scaled` in a training or evaluation with these arguments."""
    return args.task == "detect" and not args.multi_scale


def prepared(batch: dict[str, Any], stock: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Prepare a batch as `stock` does, Ultralytics' own way, but for its pictures, which are `scaled` where they can be."""
    pictures = batch["img"]
    if pictures.dtype != torch.uint8 or pictures.device.type != "cpu" or refused():
        batch = stock(batch)
        batch["img"] = batch["img"].contiguous(memory_format=torch.channels_last)
        return batch
    batch = stock({**batch, "img": pictures[:0]})
    batch["img"] = scaled(pictures)
    return batch


@contextmanager
def quicker(validator: Any) -> Iterator[None]:
    """Let a validator prepare its batches in our way meanwhile, where that is enough."""
    stock = validator.preprocess
    ours = instead((validator, "preprocess", lambda batch: prepared(batch, stock)))
    with ours if enough(validator.args) else nullcontext():
        yield


@functools.cache
def refused() -> str:
    """Return why this machine cannot do it, or nothing; builds what it needs."""
    return native.missing(_library)


@functools.cache
def _table() -> Tensor:
    return (torch.arange(256).float() / 255).bfloat16()


@functools.cache
def _library() -> ctypes.CDLL:
    library = native.built(_SOURCE)
    library.pixels.argtypes = [_P, _P, _P, _N, _N, _N, _N, _N, ctypes.c_int]
    library.pixels.restype = None
    return library
