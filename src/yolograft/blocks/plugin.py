"""Blocks of the user: a Python file that registers its blocks when it is imported (`blocks=my_blocks.py`)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from yolograft.errors import BlockError

__all__ = ["load_plugin"]


def load_plugin(path: str | Path) -> ModuleType:
    """Import a Python file that registers blocks. A second call with the same file returns the same module.

    The module's name is the file name without `.py`, and the file's folder is added to `sys.path`. So a checkpoint that
    contains such a block refers to it as to any other importable class.

    Raises:
        BlockError: the file does not exist, or its import fails.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file() or file.suffix != ".py":
        raise BlockError(f"blocks={path} is not a Python file. Expected one that registers blocks with "
                         "@yolograft.block('name').")
    name = file.stem
    loaded = sys.modules.get(name)
    if loaded is not None:
        if Path(getattr(loaded, "__file__", None) or "").resolve() == file:
            return loaded
        raise BlockError(f"blocks={path}: a module named '{name}' is already imported. Give the file another name.")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        if isinstance(error, BlockError):
            raise
        raise BlockError(f"blocks={path} cannot be imported: {type(error).__name__}: {error}") from error
    return module
