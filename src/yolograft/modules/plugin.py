"""Modules of the user: Python files named by `modules=FILE.py`, whose classes rows of a model YAML can name.

Such a file registers its classes with the decorator `module`. Its other `nn.Module` classes are modules by the names of the
classes. How a class takes its channels is only read when a row uses it, so a file can have any other class too. One file
can be named by `blocks=` and by `modules=`; in a row, its classes are then modules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from yolograft import modules
from yolograft.blocks import plugin
from yolograft.errors import ModuleError
from yolograft.language import tr

__all__ = ["ModuleFile", "files_of", "learn", "load_file", "load_files", "load_own"]

_LOADED: dict[str, ModuleFile] = {}  # by the name of the Python module
_SHOWN = 12  # of the names in one line


@dataclass(frozen=True, kw_only=True)
class ModuleFile:
    """A file of the user after its import.

    Attributes:
        file: its path.
        module: the imported Python module. Its name is the file's name without `.py`.
        digest: the SHA-256 of the file's content at its import.
        names: the names of its classes in rows.
    """

    file: Path
    module: ModuleType
    digest: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        more = tr(" and {count} more", count=len(self.names) - _SHOWN) if len(self.names) > _SHOWN else ""
        return tr("modules={file}: rows can name these classes: {names}.", file=self.file.name,
                  names=", ".join(self.names[:_SHOWN]) + more)


def load_files(paths: str | Path) -> list[ModuleFile]:
    """Import one file, or several with commas between them, and return what each contains.

    Raises:
        GraftError: a file does not exist, cannot be imported, or has no `nn.Module` class.
    """
    return [_LOADED[load_file(path).__name__] for path in plugin.split_paths(paths)]


def load_file(path: str | Path) -> ModuleType:
    """Import a Python file whose classes rows of a model YAML can name.

    The Python module's name is the file's name without `.py`, and the file's folder is added to `sys.path`, so that a
    checkpoint refers to its classes as to any other importable class.

    Raises:
        GraftError: the file does not exist, its import fails, or it has no `nn.Module` class.
    """
    file = plugin.find_file(path, "modules")
    modules.names()  # our modules must be registered before those of the user
    module, digest = plugin.import_file(path, file, "modules")
    names = _register(module)
    if not names:
        raise ModuleError(tr("modules={path} has no module: no class of it is a torch.nn.Module. A module is a class such "
                             "as\n"
                             "    class Mine(nn.Module):\n"
                             "        def __init__(self, c1, c2, k=3): ...\n"
                             "        def forward(self, x): ...    # (B, c1, H, W) to (B, c2, H2, W2)\n"
                             "which a row [-1, 1, Mine, [128, 3]] then uses.", path=path))
    known = _LOADED.get(module.__name__)
    if known is None or known.module is not module:
        _LOADED[module.__name__] = ModuleFile(file=file, module=module, digest=digest, names=tuple(names))
    return module


def load_own(arguments: Mapping[str, Any]) -> list[plugin.Plugin | ModuleFile]:
    """Import the files of the arguments `blocks` and `modules`, if there are any, and return what each contains.

    Raises:
        GraftError: a file cannot be imported, or has no class that the argument needs.
    """
    found: list[plugin.Plugin | ModuleFile] = []
    if arguments.get("modules"):
        found += load_files(str(arguments["modules"]))
    if arguments.get("blocks"):
        found += plugin.load_plugins(str(arguments["blocks"]))
    return found


def files_of(names: Iterable[str]) -> list[Path]:
    """Return the files of the user that define modules of these names. A process that is started must load them first."""
    classes = {modules.lookup(name).__module__ for name in names if modules.has_own(name)}
    return [one.file for one in _LOADED.values() if one.module.__name__ in classes]


def learn(name: str, cls: type) -> None:
    """Make the class of a row of an opened checkpoint known by the name of the row, unless there is such a module."""
    is_own = cls.__module__.partition(".")[0] not in ("torch", "torchvision", "ultralytics", "yolograft")
    if is_own and cls.__name__ == name and not modules.has_own(name):
        modules.add_plain(cls)


def _register(module: ModuleType) -> list[str]:
    from torch import nn

    exported = set(getattr(module, "__all__", ()))
    added = plugin.CHANGED.get(module.__name__, {})  # such as setattr(ultralytics.nn.tasks, "X", X) of an imported class
    own = [value for key, value in list(vars(module).items())
           if key in exported or getattr(value, "__module__", "") == module.__name__]
    own += [value for value in added.values() if not getattr(value, "__module__", "").startswith("ultralytics.")]
    classes = [value for value in own
               if isinstance(value, type) and issubclass(value, nn.Module) and value.__name__.isidentifier()]
    registered = {modules.lookup(name): name for name in modules.names() if modules.has_own(name)}
    for cls in classes:
        if cls not in registered:
            modules.add_plain(cls)
            registered[cls] = cls.__name__
    return list(dict.fromkeys(registered[cls] for cls in classes))


def _option(cls: type) -> str:
    return "modules" if any(modules.has_own(name) and modules.lookup(name) is cls for name in (cls.__name__, *_names(cls))) \
        else ""


def _names(cls: type) -> list[str]:
    loaded = _LOADED.get(cls.__module__)
    return list(loaded.names) if loaded else []


plugin.LOADERS["modules"] = load_file
plugin.OPTIONS.append(_option)
