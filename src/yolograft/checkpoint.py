"""Checkpoints without pickle: a model's tensors and the text of its graft in one safetensors file.

Opening a `.pt` file can run code from the file and needs the model's classes. Opening a safetensors file does neither. The
file's metadata is text: the graft with all settings, and the version of yolograft. `host` adds the data that it needs in
order to build an Ultralytics model.
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
from yolograft.language import tr
from yolograft.spec import Graft

__all__ = ["SUFFIX", "Saved", "load", "load_tensors", "read", "save"]

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Saved:
    """The content of one file.

    Attributes:
        graft: the graft with all settings; falsy for a bare host.
        tensors: the state dict, with the blocks' tensors.
        facts: the rest of the metadata, as text.
    """

    graft: Graft
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, str] = field(default_factory=dict)


def save(model: nn.Module, path: str | Path, *, facts: Mapping[str, str] | None = None) -> Path:
    """Write a model's tensors and its graft to a file and return the path. The write is atomic.

    Args:
        model: any module, grafted or bare.
        path: the file to write; its suffix is changed to `.safetensors`.
        facts: more metadata, as text.

    Raises:
        GraftError: the file cannot be written.
    """
    file = Path(path).with_suffix(SUFFIX)
    seen: dict[int, str] = {}
    tensors = {}
    for key, tensor in model.state_dict().items():
        # safetensors does not accept tensors that share memory, so each is written as a copy; `load` fills the shared one
        shared = seen.setdefault(tensor.data_ptr(), key) != key
        tensors[key] = tensor.detach().cpu().clone() if shared else tensor.detach().cpu().contiguous()
    metadata = {**(facts or {}), "format": "pt", "graft": str(attach.grafted(model)), "yolograft": __version__}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, lambda part: save_file(tensors, part, metadata))
    except (OSError, SafetensorError) as error:
        raise HostError(tr("'{path}' cannot be written: {error}", path=file, error=error)) from error
    return file


def read(path: str | Path) -> Saved:
    """Read a file that `save` wrote, or any other safetensors file (its graft is then `none`).

    Raises:
        HostError: the file does not exist or is not a safetensors file.
    """
    file = Path(path)
    if not file.is_file():
        beside = [other.name for other in file.parent.glob(f"*{SUFFIX}")] if file.parent.is_dir() else []
        raise HostError(tr("'{path}' does not exist.{hint}", path=file, hint=nearest(file.name, beside)))
    try:
        with safe_open(file, framework="pt") as opened:
            facts = dict(opened.metadata() or {})
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError) as error:
        raise HostError(tr("'{path}' is not a safetensors file: {error}", path=file, error=error)) from error
    return Saved(Graft.parse(facts.pop("graft", "none")), tensors, facts)


def load(host: nn.Module, path: str | Path | Saved) -> nn.Module:
    """Graft a bare `host` as in the file and load all tensors, in place; return the host.

    Raises:
        GraftError: the graft or a tensor does not fit this host; the host is then unchanged.
    """
    saved = path if isinstance(path, Saved) else read(path)
    if attach.grafted(host):
        raise HostError(tr("The host is grafted already ('{graft}'). Prune it first.", graft=attach.grafted(host)))
    attach.graft(host, saved.graft)
    try:
        load_tensors(host, saved.tensors)
    except GraftError:
        attach.prune(host)
        raise
    return host


def load_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load a state dict with exactly the model's keys, shapes and kinds of numbers.

    Raises:
        HostError: a key, a shape or a kind differs, or a value is not finite; the message names the first three, and the
            model is unchanged.
    """
    ours = model.state_dict()
    problems = [tr("{key} is missing from the file", key=key) for key in ours if key not in tensors]
    problems += [tr("{key} does not exist in this host", key=key) for key in tensors if key not in ours]
    problems += [tr("{key} is {theirs} in the file and {ours} in the host", key=key, theirs=tuple(tensors[key].shape),
                    ours=tuple(ours[key].shape))
                 for key in ours if key in tensors and tensors[key].shape != ours[key].shape]
    problems += [tr("{key} is {theirs} in the file and {ours} in the host", key=key, theirs=_kind(tensors[key]),
                    ours=_kind(ours[key])) for key in ours if key in tensors and _kind(tensors[key]) != _kind(ours[key])]
    problems += [tr("{key} has values that are not finite (NaN or infinite)", key=key) for key in ours
                 if key in tensors and not tensors[key].float().isfinite().all()]
    if problems:
        more = tr("; and {count} more", count=len(problems) - 3) if len(problems) > 3 else ""
        raise HostError(tr("The tensors do not fit: {problems}. Is it the same model at the same scale?",
                           problems="; ".join(problems[:3]) + more))
    model.load_state_dict(dict(tensors))


def _kind(tensor: Tensor) -> str:
    """Return the kind of a tensor's numbers. Precision does not matter: `load_state_dict` converts it."""
    return "float" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
