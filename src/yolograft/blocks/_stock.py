"""Ultralytics as it was before a file of the user was imported.

Public files add their classes to Ultralytics by assignments: `setattr(ultralytics.nn.tasks, "X", X)`, `tasks.C2f = MyC2f`,
`tasks.parse_model = my_parse_model`, `C2f.forward = my_forward`. Here, rows find these classes without that. If such a
change stayed, models that do not use the file would change too.

Only what can come from the file is undone: classes and functions of the user in Ultralytics' modules and classes, and other
classes and functions under existing names. A name that Ultralytics sets itself, at a later import, stays.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any

__all__ = ["keep_stock"]

_MISSING = object()
_STOCK = ("ultralytics", "torch", "torchvision", "numpy", "cv2", "yolograft", "builtins")


@contextmanager
def keep_stock(source: bytes) -> Iterator[dict[str, Any]]:
    """Undo, at the end of a `with` block, what the block changes in Ultralytics' modules and classes.

    Args:
        source: the content of the file that is imported in the block.

    Yields:
        What the block had set, by its name (`parse_model`, `C2f.forward`). It is empty before the end of the block.
    """
    if b"ultralytics" in source:
        with suppress(ImportError):  # the file's own import then says what is missing
            import_module("ultralytics.nn.tasks")  # before the file changes it
    before = [(owner, dict(vars(owner))) for owner in _owners()]
    found: dict[str, Any] = {}
    try:
        yield found
    finally:
        for owner, names in before:
            prefix = "" if isinstance(owner, ModuleType) else f"{owner.__name__}."
            for name, value in list(vars(owner).items()):
                old = names.get(name, _MISSING)
                if old is value or not _is_of_user(value, old, isinstance(owner, type)):
                    continue
                found[prefix + name] = value
                if old is _MISSING:
                    delattr(owner, name)
                else:
                    setattr(owner, name, old)


def _owners() -> list[Any]:
    modules = [module for name, module in list(sys.modules.items())
               if name.startswith("ultralytics.") and isinstance(module, ModuleType)]
    classes = {id(value): value for module in modules for value in list(vars(module).values())
               if isinstance(value, type) and value.__module__.startswith("ultralytics.")}
    return [*modules, *classes.values()]


def _is_of_user(value: Any, old: Any, is_class: bool) -> bool:
    if isinstance(value, (type, FunctionType)) and value.__module__.partition(".")[0] not in _STOCK:
        return True
    if is_class:  # such as `Conv.default_act = nn.ReLU()`
        return old is not _MISSING and not isinstance(value, (dict, list))
    return isinstance(old, (type, FunctionType)) and isinstance(value, (type, FunctionType))
