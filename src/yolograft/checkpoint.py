"""Checkpoints without pickle: a model's tensors and its graft's text in one safetensors file.

Opening a `.pt` file runs code from it; opening one of these runs none, and needs no class of the same name where it is
opened. The file's metadata, all of it text, holds the graft with every setting spelled and our version; `host` adds
there what it needs to build an Ultralytics model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from yolograft import __version__, attach
from yolograft.atomic import atomic_write
from yolograft.errors import GraftError, HostError, nearest
from yolograft.spec import Graft

__all__ = ["SUFFIX", "Saved", "fill", "load", "read", "save"]

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Saved:
    """What a file holds.

    Attributes:
        graft: with every setting spelled; falsy for a bare host.
        tensors: the state dict, graft included.
        facts: the rest of the metadata, as text.
    """

    graft: Graft
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, str] = field(default_factory=dict)


def save(model: nn.Module, path: str | Path, *, facts: Mapping[str, str] | None = None) -> Path:
    """Write a model's tensors and its graft to a file and return its path; a reader never sees half a file.

    Args:
        model: any module, grafted or bare.
        path: the file to write; its suffix becomes `.safetensors`.
        facts: further metadata.

    Raises:
        GraftError: the file cannot be written.
    """
    file = Path(path).with_suffix(SUFFIX)
    seen: dict[int, str] = {}
    tensors = {}
    for key, tensor in model.state_dict().items():
        # safetensors refuses tensors that share memory: each is written for itself, and `load` shares them again
        shared = seen.setdefault(tensor.data_ptr(), key) != key
        tensors[key] = tensor.detach().cpu().clone() if shared else tensor.detach().cpu().contiguous()
    metadata = {**(facts or {}), "format": "pt", "graft": str(attach.grafted(model)), "yolograft": __version__}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, lambda part: save_file(tensors, part, metadata))
    except (OSError, SafetensorError) as error:
        raise HostError(f"'{file}' cannot be written: {error}") from error
    return file


def read(path: str | Path) -> Saved:
    """Read a file that `save` wrote (or any safetensors file, whose graft is then `none`).

    Raises:
        HostError: no such file, or not a safetensors file.
    """
    file = Path(path)
    if not file.is_file():
        beside = [other.name for other in file.parent.glob(f"*{SUFFIX}")] if file.parent.is_dir() else []
        raise HostError(f"'{file}' does not exist.{nearest(file.name, beside)}")
    try:
        with safe_open(file, framework="pt") as opened:
            facts = dict(opened.metadata() or {})
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (it is no dict)
    except (OSError, SafetensorError) as error:
        raise HostError(f"'{file}' is no safetensors file: {error}") from error
    return Saved(Graft.parse(facts.pop("graft", "none")), tensors, facts)


def load(host: nn.Module, path: str | Path | Saved) -> nn.Module:
    """Put the graft of a file on a bare `host` and load all tensors, in place; returns the host.

    Raises:
        GraftError: the graft or a tensor does not fit this host; it is then as it was.
    """
    saved = path if isinstance(path, Saved) else read(path)
    if attach.grafted(host):
        raise HostError(f"The host carries a graft already ('{attach.grafted(host)}'). Prune it first.")
    attach.graft(host, saved.graft)
    try:
        fill(host, saved.tensors)
    except GraftError:
        attach.prune(host)
        raise
    return host


def fill(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load a state dict that must fit exactly; raises `HostError` with the first misfits, and then loads nothing."""
    ours = model.state_dict()
    problems = [f"{key} is missing" for key in ours if key not in tensors]
    problems += [f"{key} has no place in this host" for key in tensors if key not in ours]
    problems += [f"{key} is {tuple(tensors[key].shape)} there and {tuple(ours[key].shape)} here"
                 for key in ours if key in tensors and tensors[key].shape != ours[key].shape]
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise HostError(f"The tensors do not fit: {'; '.join(problems[:3])}{more}. Is it the same model at the same scale?")
    model.load_state_dict(dict(tensors))
