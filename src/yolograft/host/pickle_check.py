"""Check a `.pt` file of unknown origin before stock code unpickles it, since a pickle can run any code.

`pickled` reads the file without running it and lists what the pickle names and calls. Here, it may name layers and the data
that Ultralytics stores. Layers are subclasses of `nn.Module` in PyTorch, torchvision, timm, Ultralytics and yolograft, or in
a module that the user's program has imported. It may call only what rebuilds data. A layer is made without its constructor.

A file that needs more is opened if the user says so: `trust=True`, or YOLOGRAFT_TRUST=1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

from torch import nn

from yolograft import network
from yolograft.blocks import plugin
from yolograft.errors import HostError
from yolograft.host.pickled import Call, Opened, Record, open_pickle
from yolograft.language import tr

__all__ = ["TRUST", "check_pickle", "is_trusted", "trust_file"]

TRUST = "YOLOGRAFT_TRUST"
_SHOWN = 5
_TRUSTED: set[Path] = set()  # files that the user trusts, for this process

# Packages whose layers are opened, by the start of their modules' names.
_LAYERS = ("torch.nn.", "torchvision.", "timm.", "ultralytics.nn.", "ultralytics.models.", "yolograft.blocks.",
           "yolograft.modules.", "yolograft.host.", "yolograft.runner.", "clip.", "mobileclip.")
# Classes there that are no layers. Each only holds values.
_LOSSES = ("ultralytics.utils.loss", "ultralytics.utils.tal", "ultralytics.nn.distill_model")
_DATA = {
    "ultralytics.utils.IterableSimpleNamespace", "ultralytics.yolo.utils.IterableSimpleNamespace",
    "yolograft.host.models.GraftedYaml", "types.SimpleNamespace", "argparse.Namespace", "builtins.complex",
    "numpy.dtype", "numpy.ndarray", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer",
    "torchvision.transforms.transforms.Compose", "torchvision.transforms.transforms.ToTensor",
    "torchvision.transforms.functional.InterpolationMode", "builtins.object", "__builtin__.object",
}
_OLD = {  # names that newer versions of Ultralytics no longer have, and replace when they open a checkpoint
    "ultralytics.nn.modules.block.Silence", "ultralytics.nn.tasks.YOLOv10DetectionModel",
    "ultralytics.utils.loss.v10DetectLoss",
}


def _any(_: Call) -> bool:
    return True


def _is_empty(call: Call) -> bool:
    return not call.args


def _is_empty_array(call: Call) -> bool:
    """Whether an array is made as NumPy pickles it: empty, and its values follow. Any other size is allocated at once."""
    return len(call.args) == 3 and call.args[1] in ((0,), ())


def _is_method_of_layer(call: Call) -> bool:
    """Whether `getattr` asks for `forward` of a layer, or a member of an enum. Older versions of Ultralytics store these."""
    if len(call.args) != 2 or not isinstance(call.args[1], str):
        return False
    owner, name = call.args
    path = owner.path if isinstance(owner, Record) or (isinstance(owner, type) and issubclass(owner, Record)) else ""
    if path == "torchvision.transforms.functional.InterpolationMode":
        return name.isupper()
    return name in ("forward", "forward_fuse") and _is_layer(*path.rpartition(".")[::2])


# What a pickle may call, and with what.
_CALLS: dict[str, Callable[[Call], bool]] = {
    "functools.partial": _any,  # of a function that the pickle names, and `_FUNCTIONS` are the only ones
    "torch.device": _any, "torch.torch_version.TorchVersion": _any,
    **{f"{module}.{name}": _any for module in ("pathlib", "pathlib._local")
       for name in ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")},
    **{f"datetime.{name}": _any for name in ("date", "datetime", "timedelta", "timezone")},
    **{f"numpy.{core}.multiarray.scalar": _any for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray._reconstruct": _is_empty_array for core in ("core", "_core")},
    "numpy.dtype": _any, "_codecs.encode": _any,
    "ultralytics.utils.IterableSimpleNamespace": _is_empty, "ultralytics.yolo.utils.IterableSimpleNamespace": _is_empty,
    "types.SimpleNamespace": _is_empty, "copyreg._reconstructor": _any, "copy_reg._reconstructor": _any,
    "torchvision.transforms.functional.InterpolationMode": _any,
    "builtins.getattr": _is_method_of_layer, "__builtin__.getattr": _is_method_of_layer,
    f"{plugin.__name__}.{plugin.restore.__name__}": _any,
}
_FUNCTIONS = tuple(f"yolograft.attach.apply_{name}" for name in ("out", "pre", "in", "branch", "skip"))


def trust_file(path: str | Path) -> None:
    """Open this file in this process without the check."""
    _TRUSTED.add(Path(path).resolve())


def is_trusted(path: str | Path) -> bool:
    """Whether the user says that this file, or every file, is opened without the check."""
    return network.is_allowed(TRUST) or Path(path).resolve() in _TRUSTED


def check_pickle(path: str | Path, opened: Opened | None = None) -> None:
    """Raise `HostError` if a `.pt` file could run code when it is opened, or cannot be checked.

    Args:
        path: the file. One that does not exist is accepted: Ultralytics says so, or downloads it.
        opened: the file as `open_pickle` read it, if it has been read already.
    """
    file = Path(path)
    if not file.is_file() or is_trusted(file):
        return
    try:
        opened = opened or open_pickle(file, tensors=False)
    except HostError as error:
        raise HostError(tr("{problem} It is not opened, since it cannot be checked for code. If you trust the file, add "
                           "trust=True.", problem=error)) from error
    _check_files(opened)
    problems = list(dict.fromkeys(_problems(opened)))
    if problems:
        shown = ", ".join(problems[:_SHOWN])
        shown += tr(" and {count} more", count=len(problems) - _SHOWN) if len(problems) > _SHOWN else ""
        raise HostError(tr("'{path}' is not opened: it {what}. A pickle with this can run any code. If you trust the file, "
                           "add trust=True (in Python: YOLO(..., trust=True)).", path=path, what=shown))


def _check_files(opened: Opened) -> None:
    """Raise `BlockError` if the checkpoint needs a file of its author's that the user has not named."""
    for call in opened.calls:
        if call.path == f"{plugin.__name__}.{plugin.restore.__name__}" and len(call.args) == 2:
            needs = call.args[1]
            plugin.check_needs([one for one in needs if isinstance(one, dict)] if isinstance(needs, (list, tuple)) else [])


def _problems(opened: Opened) -> Iterator[str]:
    for module, name in sorted(opened.names):
        path = f"{module}.{name}"
        if path not in _DATA | _OLD and path not in _CALLS and path not in _FUNCTIONS and not _is_layer(module, name):
            yield tr("names {path}", path=path)
    for call in opened.calls:
        if not _CALLS.get(call.path, lambda _: False)(call):
            yield tr("calls {path}", path=call.path)


def _is_layer(module: str, name: str) -> bool:
    """Whether a name is a class of a layer, or of a loss of Ultralytics. Only installed packages are imported for this."""
    if not name.isidentifier():
        return False
    if not module.startswith(_LAYERS) and module not in _LOSSES and f"{module}." not in _LAYERS:
        if module.partition(".")[0] in ("torch", "ultralytics") or module not in sys.modules:
            return False
        found = getattr(sys.modules[module], name, None)
        return isinstance(found, type) and issubclass(found, nn.Module)
    try:
        found = getattr(import_module(module), name, None)
    except ImportError:
        return True  # nothing can be called then, and the error names the missing module
    if found is None:
        return True
    return isinstance(found, type) and (issubclass(found, nn.Module) or (module in _LOSSES and found.__module__ == module))
