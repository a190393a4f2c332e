"""A user's own blocks: a Python file whose blocks register themselves when it is read (`blocks=my_blocks.py`)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from yolograft.errors import BlockError

__all__ = ["load_blocks"]


def load_blocks(path: str | Path) -> ModuleType:
    """Read a Python file that registers blocks; a second reading of the same file gives the same module.

    The module goes by the file's stem and its folder is put on the module search path, so that checkpoints which carry
    such a block name it as an ordinary import would.

    Raises:
        BlockError: no such file, or it cannot be imported; the message says why.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file() or file.suffix != ".py":
        raise BlockError(f"blocks={path} is not a Python file. Expected one whose blocks carry @yolograft.block('name').")
    name = file.stem
    known = sys.modules.get(name)
    if known is not None:
        if Path(getattr(known, "__file__", None) or "").resolve() == file:
            return known
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
