"""Convert a checkpoint to safetensors and back: the form without pickle, for sharing, and the form that `yolo` opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import ultralytics
from torch import nn

from yolograft import checkpoint
from yolograft.atomic import atomic_write
from yolograft.errors import HostError
from yolograft.host import safetensors_file
from yolograft.host.open import open_model
from yolograft.language import tr

__all__ = ["pack", "unpack", "write_checkpoint"]


def pack(source: str | Path, target: str | Path | None = None, *, overwrite: bool = False) -> Path:
    """Write the model of a checkpoint as a safetensors file, and return the file's path.

    Args:
        source: a checkpoint (.pt) of Ultralytics or of ours.
        target: the file to write; by default the source with the suffix .safetensors.
        overwrite: whether an existing file may be replaced.

    Raises:
        HostError: the source cannot be opened without running its code, is no checkpoint, or the file cannot be written.
    """
    file = _target(source, target, ".pt", checkpoint.SUFFIX, overwrite)
    return safetensors_file.save_file(open_model(source).model, file)


def unpack(source: str | Path, target: str | Path | None = None, *, overwrite: bool = False) -> Path:
    """Write the model of a safetensors file as a checkpoint (.pt) that `yolo` opens, and return the file's path.

    Args:
        source: a file that `pack` wrote.
        target: the file to write; by default the source with the suffix .pt.
        overwrite: whether an existing file may be replaced.

    Raises:
        HostError: the source is damaged or no such file, or the file cannot be written.
    """
    file = _target(source, target, checkpoint.SUFFIX, ".pt", overwrite)
    return write_checkpoint(safetensors_file.open_file(source), file)


def _target(source: str | Path, target: str | Path | None, expected: str, suffix: str, overwrite: bool) -> Path:
    if Path(source).suffix.lower() != expected:
        raise HostError(tr("'{path}' has another suffix than {expected}.", path=source, expected=expected))
    file = Path(target) if target is not None else Path(source).with_suffix(suffix)
    if file.suffix != suffix:
        raise HostError(tr("to={path}: expected a file with the suffix {suffix}.", path=file, suffix=suffix))
    if file.exists() and not overwrite:
        raise HostError(tr("'{path}' exists. Name another file with to=FILE, or add overwrite=True to replace it.",
                           path=file))
    return file


def write_checkpoint(network: nn.Module, target: Path) -> Path:
    """Write a task model as Ultralytics writes a trained one, in one step, and return the path. Raises `HostError`."""
    model: Any = network
    content = {"epoch": -1, "best_fitness": None, "model": network, "ema": None, "updates": None, "optimizer": None,
               "train_args": model.args, "date": None, "version": ultralytics.__version__}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(target, lambda part: torch.save(content, part))
    except OSError as error:
        raise HostError(tr("'{path}' cannot be written: {error}", path=target, error=error.strerror or error)) from error
    return target
