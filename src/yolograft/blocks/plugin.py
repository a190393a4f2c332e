"""Blocks of the user: a Python file named by `blocks=FILE.py`, and what a checkpoint with such blocks needs.

The file registers its blocks with the decorator `yolograft.block`, or it has plain `nn.Module` classes, which are then
blocks by the names of the classes. A class of the file hides one of ours that has the same name.

A checkpoint that has such blocks names the file, its classes and its digest (`needs`). A process that opens the checkpoint
without the file gets an error that says so. Pickled checkpoints refer to `restore` by this module's name: do not rename
either.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from yolograft import blocks
from yolograft.blocks._stock import keep_stock
from yolograft.errors import BlockError, GraftError, nearest
from yolograft.language import tr
from yolograft.spec import Graft

if TYPE_CHECKING:
    from torch import nn

__all__ = ["CHANGED", "LOADERS", "OPTIONS", "Plugin", "check_needs", "files_of", "find_file", "import_file", "load_plugin",
           "load_plugins", "needs_of", "restore", "split_paths"]

_LOADED: dict[str, Plugin] = {}  # by the name of the module
CHANGED: dict[str, dict[str, Any]] = {}  # by the name of the module: what it had set in Ultralytics, until that was undone
_SHOWN = 12  # of the names in one line
_ALLOWED = ("torch", "torchvision", "ultralytics", "yolograft", "builtins")  # packages whose classes need no file
_T = TypeVar("_T")
# Other arguments that name files of classes (`modules`), with the function that imports such a file. `needs_of` asks OPTIONS
# which argument a class needs. The rooms of these arguments add their entries.
LOADERS: dict[str, Callable[[str], Any]] = {}
OPTIONS: list[Callable[[type], str]] = []


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A file of the user after its import.

    Attributes:
        file: its path.
        module: the imported module. Its name is the file's name without `.py`.
        digest: the SHA-256 of the file's content at its import.
        registered: the names that it registers with the decorator.
        plain: the names of its `nn.Module` classes that it does not register.
        hidden: for each plain class that has the name of another block, the name of that block.
    """

    file: Path
    module: ModuleType
    digest: str
    registered: tuple[str, ...]
    plain: tuple[str, ...]
    hidden: Mapping[str, str]

    def __str__(self) -> str:
        lines = []
        if self.registered:
            lines.append(tr("blocks={file} registers {names}.", file=self.file.name, names=_list(self.registered)))
        if self.plain:
            lines.append(tr("blocks={file}: these classes are blocks by their own names: {names}.", file=self.file.name,
                            names=_list(map(_with_settings, self.plain))))
        for name, other in self.hidden.items():
            if name == other:
                lines.append(tr("The class '{name}' of {file} is used from now on, not the built-in block of that name.",
                                name=name, file=self.file.name))
            elif blocks.canonical(other) != name:
                lines.append(tr("The name '{name}' now means the class of {file}, not the built-in block '{other}'. "
                                "'{other}' still means the built-in block.", name=name, file=self.file.name, other=other))
            else:
                lines.append(tr("The names '{name}' and '{other}' now mean the class '{name}' of {file}, not the built-in "
                                "block '{other}'.", name=name, file=self.file.name, other=other))
        return " ".join(lines)


def load_plugins(paths: str | Path) -> list[Plugin]:
    """Import one file, or several with commas between them, and return what each contains.

    Raises:
        BlockError: a file does not exist, cannot be imported, or has no block.
    """
    found = []
    for name in split_paths(paths):
        module = load_plugin(name)
        found.append(_LOADED[module.__name__])
    return found


def load_plugin(path: str | Path) -> ModuleType:
    """Import a Python file that contains blocks. A second call with the same file returns the same module.

    The module's name is the file name without `.py`, and the file's folder is added to `sys.path`. So a checkpoint that
    contains such a block refers to it as to any other importable class.

    Raises:
        BlockError: the file does not exist, its import fails, or it has no block.
    """
    file = find_file(path, "blocks")
    name = file.stem
    known = sys.modules.get(name)
    if known is not None and name in _LOADED and _LOADED[name].module is known:
        _register_plain(known)  # again, if the registry was changed since
        return known
    blocks.names()  # the built-in blocks must be registered before those of the user
    before = set(blocks.names())
    module, digest = import_file(path, file, "blocks")
    registered = [one for one in blocks.names() if one not in before or blocks.lookup(one).__module__ == name]
    plain, hidden = _register_plain(module)
    if not registered and not plain:
        if known is None:
            del sys.modules[name]
        raise BlockError(tr("blocks={path} has no block: no class of it is a torch.nn.Module. A block is a class such as\n"
                            "    class Mine(nn.Module):\n"
                            "        def __init__(self, channels, ratio=16): ...\n"
                            "        def forward(self, x): ...    # (B, C, H, W) to (B, C, H, W)\n"
                            "which graft=Mine@8 or a row [-1, 1, Mine, [16]] then uses. A shorter name: put "
                            "@yolograft.block(\"mine\") above the class.", path=path))
    _LOADED[name] = Plugin(file=file, module=module, digest=digest,
                           registered=tuple(registered), plain=tuple(plain), hidden=hidden)
    return module


def split_paths(paths: str | Path) -> list[str]:
    """Return the paths of an argument that names one file, or several with commas between them."""
    text = str(paths)
    if Path(text).expanduser().is_file():
        return [text]
    return [part.strip() for part in text.split(",") if part.strip()] or [text]


def find_file(path: str | Path, option: str) -> Path:
    """Return the Python file that the argument `option` names.

    Raises:
        BlockError: it does not exist, or its name is that of another module.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file() or file.suffix != ".py":
        folder = file.parent
        others = [one.name for one in folder.glob("*.py")] if folder.is_dir() else []
        raise BlockError(tr("{option}={path} is not a Python file.{hint} Expected one that contains {option}, as in "
                            "{option}=my_{option}.py.", option=option, path=path, hint=nearest(file.name, others)))
    known = sys.modules.get(file.stem)
    if known is not None and not _is_file_of(known, file):
        raise BlockError(tr("{option}={path}: a module named '{name}' is already imported. Give the file another name.",
                            option=option, path=path, name=file.stem))
    if known is None and file.stem in sys.stdlib_module_names:
        raise BlockError(tr("{option}={path}: Python has a module named '{name}' itself. Give the file another name.",
                            option=option, path=path, name=file.stem))
    return file


def import_file(path: str | Path, file: Path, option: str) -> tuple[ModuleType, str]:
    """Import the file that the argument `option` names, unless it is imported; return the module and the file's SHA-256.

    Raises:
        BlockError: its import fails.
    """
    source = file.read_bytes()
    module = sys.modules.get(file.stem) or _import(path, file, file.stem, source, option)
    return module, hashlib.sha256(source).hexdigest()


def needs_of(network: nn.Module) -> list[dict[str, Any]]:
    """Return what a process needs in order to open a checkpoint of this network, besides yolograft.

    Returns:
        One entry per file (or package) that defines modules of the network: `module`, `file` (empty for an installed
        package), `sha256`, `classes`, and `option` if another argument than `blocks` names the file.
    """
    found: dict[str, set[str]] = {}
    options: dict[str, set[str]] = {}
    for one in network.modules():
        cls = type(one)
        if cls.__module__.partition(".")[0] not in _ALLOWED:
            found.setdefault(cls.__module__, set()).add(cls.__name__)
            options.setdefault(cls.__module__, set()).update(filter(None, (option(cls) for option in OPTIONS)))
    needs = []
    for name, classes in sorted(found.items()):
        origin = getattr(sys.modules.get(name), "__file__", None)
        is_file = "." not in name and origin is not None and Path(origin).is_file()
        digest = _LOADED[name].digest if name in _LOADED else hashlib.sha256(Path(str(origin)).read_bytes()).hexdigest() \
            if is_file else ""
        need = {"module": name, "file": Path(str(origin)).name if is_file else "", "sha256": digest,
                "classes": sorted(classes)}
        needs.append({**need, "option": min(options[name])} if options[name] else need)
    return needs


def files_of(graft: str | Graft) -> list[Path]:
    """Return the files of the user that define blocks of a graft. A process that is started must load them first."""
    found = []
    for part in Graft.of(graft).parts:
        module = sys.modules.get(blocks.lookup(part.block).__module__)
        origin = getattr(module, "__file__", None)
        if module is not None and origin and "." not in module.__name__ and module.__name__ != "__main__" \
                and module.__name__ not in _ALLOWED:
            found.append(Path(origin).resolve())
    return list(dict.fromkeys(found))


def restore(cls: type[_T], needs: Iterable[Mapping[str, Any]]) -> _T:
    """Return an empty object of a network's class, when a pickle is opened, after a check of what the pickle needs.

    A module that Python can import is imported, as pickle would do in its next step: a file of the user (which stands in a
    folder where Python looks for modules, since the user put it there), or a package that registers blocks or modules.

    Raises:
        BlockError: a file is missing, or a module is neither of the two. The message names it.
    """
    for need in needs:
        name = str(need.get("module", ""))
        if not need.get("file") and name not in sys.modules and name.partition(".")[0] not in _declared_packages():
            continue  # `check_needs` refuses it
        if name and name not in sys.modules:
            try:
                spec = importlib.util.find_spec(name)
            except (ImportError, ValueError):
                spec = None
            if spec is not None and spec.origin and need.get("file") and spec.origin.endswith(".py"):
                _loader(need)(spec.origin)
            elif spec is not None:
                importlib.import_module(name)
    check_needs(needs)
    return cls.__new__(cls)


def _declared_packages() -> set[str]:
    """Return the installed packages that register blocks or modules, by the names that Python imports."""
    from importlib.metadata import entry_points

    return {entry.value.partition(":")[0].partition(".")[0]
            for group in ("yolograft.blocks", "yolograft.modules") for entry in entry_points(group=group)}


def check_needs(needs: Iterable[Mapping[str, Any]], folder: Path | None = None) -> None:
    """Check that the modules which a checkpoint needs are imported. Nothing is imported here.

    Args:
        needs: as `needs_of` returns them.
        folder: where to look for a missing file, besides the current folder.

    Raises:
        BlockError: a module or a class of it is missing. The message names the file.
    """
    blocks.names()  # imports the installed packages that register blocks
    for need in needs:
        name, file = str(need.get("module", "")), str(need.get("file", ""))
        classes = [str(one) for one in need.get("classes", ())]
        module = sys.modules.get(name)
        if module is None and not file:
            if name.partition(".")[0] in sys.modules:
                continue
            raise BlockError(tr("This checkpoint has blocks of the Python package '{package}' ({classes}), which is not "
                                "installed here. Install it from where its author publishes it.",
                                package=name.partition(".")[0], classes=_list(classes)))
        if module is None:
            path = _find(file, folder)
            if need.get("option") == "modules":
                raise BlockError(tr("This checkpoint has modules of its author's own file {file} ({classes}), which are not "
                                    "part of yolograft. Get that file, and add modules={path} to the command. In Python: "
                                    "yolograft.modules.plugin.load_file('{path}') before the model is opened.",
                                    file=file, classes=_list(classes), path=path))
            raise BlockError(tr("This checkpoint has blocks of its author's own file {file} ({classes}), which are not "
                                "part of "
                                "yolograft. Get that file, and add blocks={path} to the command. In Python: "
                                "yolograft.blocks.plugin.load_plugin('{path}') before the model is opened.",
                                file=file, classes=_list(classes), path=path))
        missing = [one for one in classes if not hasattr(module, one)]
        if missing:
            raise BlockError(tr("This checkpoint has blocks of its author's own file {file}, but the imported {path} has no "
                                "{classes}. It is another file or another version of it.", file=file or name,
                                path=getattr(module, "__file__", name), classes=_list(missing)))
        if file and name != "__main__":
            _loader(need)(str(module.__file__))
            if need.get("sha256") and need["sha256"] != hashlib.sha256(Path(str(module.__file__)).read_bytes()).hexdigest():
                logging.getLogger("ultralytics").warning(tr(
                    "yolograft: {file} has changed since this checkpoint was written. Its blocks may compute "
                    "something "
                    "else now.", file=module.__file__))


def _loader(need: Mapping[str, Any]) -> Callable[[str], Any]:
    """Return the function that imports the file of an entry of `needs_of`.

    Stock Ultralytics opens a checkpoint without the other rooms. It only needs the classes.
    """
    option = need.get("option")
    return LOADERS.get(str(option), _import_only) if option else load_plugin


def _import_only(path: str) -> ModuleType:
    return import_file(path, find_file(path, "modules"), "modules")[0]


def _is_file_of(module: ModuleType, file: Path) -> bool:
    return Path(getattr(module, "__file__", None) or "").resolve() == file


def _import(path: str | Path, file: Path, name: str, source: bytes, option: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    try:
        with keep_stock(source) as changed:
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the file can raise anything
        del sys.modules[name]
        if isinstance(error, GraftError):
            raise
        raise BlockError(tr("{option}={path} cannot be imported: {error}.{hint}", option=option, path=path,
                            error=f"{type(error).__name__}: {error}".rstrip("."), hint=_explain(error, source))) from error
    if changed:
        CHANGED[name] = changed
        replaced = [f"swap={value.__name__}@{key}" for key, value in changed.items()
                    if isinstance(value, type) and value.__name__ != key and not value.__module__.startswith("ultralytics.")]
        hint = tr(" To use a class in the place of a stock one, name it in the rows, or: {swap}",
                  swap=", ".join(replaced)) if replaced else ""
        logging.getLogger("ultralytics").warning(tr(
            "yolograft: {option}={path} changes {names} of Ultralytics. This was undone, so that other models stay as they "
            "are. Rows find the classes of the file by their names.{hint}", option=option, path=path, names=_list(changed),
            hint=hint))
    return module


def _explain(error: BaseException, source: bytes) -> str:
    """Return what to do about the import error of a file; empty if that is not known."""
    if isinstance(error, SyntaxError):
        try:
            source.decode("utf-8")
        except UnicodeDecodeError:
            return tr(" The file is not in UTF-8. Save it in this encoding.")
        return tr(" See line {line}.", line=error.lineno) if error.lineno else ""
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith(("ultralytics.", "torch.")):
        return tr(" The file needs the package '{name}'. Install it, or remove the import if no block needs it.",
                  name=error.name.partition(".")[0])
    if isinstance(error, ImportError):
        relative = next((one for one in ast.walk(ast.parse(source)) if isinstance(one, ast.ImportFrom) and one.level), None)
        if relative is not None:
            parent = ".".join(["ultralytics", "nn", "modules"][: 4 - relative.level])
            names = ", ".join(alias.name for alias in relative.names)
            return tr(" Line {line} has a relative import, which works only inside a package. In a file of Ultralytics' "
                      "modules it "
                      "means: from {module} import {names}", line=relative.lineno,
                      module=f"{parent}.{relative.module}" if relative.module else parent, names=names)
    return ""


def _register_plain(module: ModuleType) -> tuple[list[str], dict[str, str]]:
    """Make the plain classes of a module blocks; return their names, and the names of the blocks that they hide."""
    from torch import nn

    exported = set(getattr(module, "__all__", ()))
    registered = {blocks.lookup(one) for one in blocks.names()}
    plain, hidden = [], {}
    for key, value in list(vars(module).items()):
        is_own = isinstance(value, type) and issubclass(value, nn.Module) and key == value.__name__ \
            and (value.__module__ == module.__name__ or key in exported)
        if is_own and value not in registered and value.__name__.isidentifier():
            other = blocks.add_plain(value)
            plain.append(value.__name__)
            if other:
                hidden[value.__name__] = other
    first = [one for one in plain if one in exported]  # `__all__` names the blocks; the other classes are parts of them
    return first + [one for one in plain if one not in exported], hidden


def _with_settings(name: str) -> str:
    settings = ", ".join(f"{key}={value}" for key, value in blocks.defaults(name).items())
    return f"{name}({settings})"


def _list(names: Iterable[str]) -> str:
    found = list(names)
    more = tr(" and {count} more", count=len(found) - _SHOWN) if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more


def _find(file: str, folder: Path | None) -> str:
    """Return the path of a file of this name that lies in the current folder or in `folder`, else the name alone."""
    for place in (Path(), *([folder] if folder else [])):
        if (place / file).is_file():
            return str(place / file)
    return file
