"""Open checkpoints without running code from them and without AutoInstall, and explain which class a checkpoint lacks.

If a checkpoint names a module that is not installed, Ultralytics runs `pip install` with this name. Anyone could publish a
package of that name, so this never happens here: not in `yolograft.YOLO`, not in our commands, and not in the processes that
they start.

What this relies on in Ultralytics (8.3.0 to 8.4.x): all code opens a checkpoint through `torch_safe_load` of `nn/tasks.py`,
a global of that module, which calls the module's `check_requirements` for a missing module. Modules that install a package
when they are imported ask `AUTOINSTALL` of `utils/checks.py` first.
"""

from __future__ import annotations

import functools
import inspect
import sys
from _compat_pickle import IMPORT_MAPPING
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ultralytics.nn import tasks
from ultralytics.utils import checks

from yolograft import modules
from yolograft.blocks import plugin
from yolograft.errors import GraftError, HostError
from yolograft.host.pickle_check import check_pickle, is_trusted
from yolograft.host.pickled import Opened, Record, open_pickle
from yolograft.host.unasked import explain_missing, nothing_unasked
from yolograft.language import tr
from yolograft.patch import patched

__all__ = ["GuardedModel", "guard"]

_STOCK = tasks.torch_safe_load
_INSTALLED = ("ultralytics", "torch", "torchvision", "numpy")  # packages that can be imported to look for a class
_SHOWN = 6


class _MissingModuleError(Exception):
    """A checkpoint needs a module that Ultralytics would install now."""


@contextmanager
def guard() -> Iterator[None]:
    """Inside this context, this process opens checkpoints without AutoInstall, and does nothing unasked.

    Where Ultralytics reports our error as another one, such as a missing file, ours is raised. A package that is not
    installed gives an error that names it.
    """
    try:
        with nothing_unasked(), patched((tasks, "torch_safe_load", _load)):
            yield
    except ModuleNotFoundError as error:
        if (told := explain_missing(error)) is not None:
            raise told from error
        raise
    except Exception as error:
        if isinstance(error.__cause__, GraftError) and not isinstance(error, GraftError):
            raise error.__cause__ from error
        raise


def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        with guard():
            return _guard_items(method(*args, **kwargs))
    return call


def _guard_items(result: Any) -> Any:
    """Return the result of a method; a generator, as with `stream=True`, so that it runs under the guard as well."""
    return _stream(result) if inspect.isgenerator(result) else result


def _stream(items: Generator[Any, Any, Any]) -> Generator[Any, None, None]:
    """Yield the items of a generator, whose code runs under the guard. The user's code between two items does not."""
    try:
        while True:
            with guard():
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item
    finally:  # also if the user stops early: the end of the generator closes files
        with guard():
            items.close()


def _load(weight: Any, *args: Any, **kwargs: Any) -> Any:
    opened = _read(weight)
    names = opened.names if opened is not None else set()
    if opened is not None and not isinstance(opened.value, (dict, Record)):
        raise HostError(tr("'{path}' is no checkpoint: it holds a value of type {kind}, not a model.", path=weight,
                           kind=type(opened.value).__name__))
    if _lacks_module(names):  # before Ultralytics logs that it will install something
        raise HostError(_explain(weight, names))
    classes = _classes_of_script(names)
    with patched(*classes):
        try:
            check_pickle(weight, opened)
        except HostError as error:
            text = _explain(weight, names)
            if text:  # it could not be opened with trust=True either
                raise HostError(text) from error
            raise
    # With ULTRALYTICS_SAFE_LOAD=1, Ultralytics reads only its own classes. A checkpoint of ours has passed our own check.
    is_ours = any(module.startswith("yolograft.") for module, _ in names) and not is_trusted(str(weight))
    own = [(tasks, "SAFE_LOAD", False)] if is_ours and hasattr(tasks, "SAFE_LOAD") else []
    with patched(*own, (tasks, "check_requirements", _refuse), (checks, "AUTOINSTALL", False), *classes):
        try:
            return _STOCK(weight, *args, **kwargs)
        except GraftError:
            raise
        except (_MissingModuleError, ModuleNotFoundError, AttributeError, TypeError) as error:
            text = _explain(weight, names)
            if text:
                raise HostError(text) from error
            if isinstance(error, _MissingModuleError):
                raise HostError(tr("model={name} needs the module '{module}', which is not installed.", name=weight,
                                   module=error)) from error
            raise


def _read(weight: Any) -> Opened | None:
    """Read what a checkpoint names and calls, without its tensors; None if there is no file, or it cannot be read."""
    try:
        return open_pickle(Path(str(weight)), tensors=False)
    except HostError:
        return None  # `check_pickle` or Ultralytics says what is wrong with it


def _classes_of_script(found: Collection[tuple[str, str]]) -> list[tuple[Any, str, type]]:
    """Return what `patched` sets in `__main__` for classes of the script that trained a checkpoint: the user's modules."""
    main = import_module("__main__")
    names = [name for module, name in found if module == "__main__" and not hasattr(main, name)]
    return [(main, name, modules.lookup(name)) for name in names if modules.has_own(name)]


def _lacks_module(found: Collection[tuple[str, str]]) -> bool:
    """Return whether a checkpoint names a module that does not exist here. Nothing is imported for this."""
    if (plugin.__name__, plugin.restore.__name__) in found:
        return False  # the checkpoint itself names the files that it needs, and the digests
    names = {module for module, _ in found}
    # pickle knows Python 2's names of modules, and Ultralytics knows its own old ones
    return any(not _can_be_found(name) for name in names
               if name not in IMPORT_MAPPING and not name.startswith("ultralytics.yolo."))


def _can_be_found(module: str) -> bool:
    is_own = module.partition(".")[0] == "ultralytics"
    try:
        return module in sys.modules or find_spec(module if is_own else module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def _refuse(requirements: Any, *args: Any, **kwargs: Any) -> bool:
    raise _MissingModuleError(requirements)


def _explain(weight: Any, found: Collection[tuple[str, str]]) -> str:
    """Return which classes of a checkpoint this installation lacks and what to do; empty if it lacks none."""
    missing = [one for one in sorted(found) if not _exists(*one)]
    if not missing:
        return ""
    shown = ", ".join(dict.fromkeys(f"{module}.{name}" for module, name in missing[:_SHOWN]))
    shown += tr(" and {count} more", count=len(missing) - _SHOWN) if len(missing) > _SHOWN else ""
    first = missing[0][0].partition(".")[0]
    if first in ("models", "utils"):
        return tr("model={name} was trained with the repository yolov5 or yolov7 ({classes}). Ultralytics' package cannot "
                  "open "
                  "it: its models have other heads. Train from a model of this package.", name=weight, classes=shown)
    if any(module.startswith("ultralytics.") for module, _ in missing):
        return tr("model={name} was trained with a changed copy of Ultralytics: it needs {classes}, which the installed "
                  "one does "
                  "not have. To make a checkpoint that opens here: yolograft adopt {name} to=adopted.pt", name=weight,
                  classes=shown)
    changed = sys.modules.get(missing[0][0])
    if changed is not None and missing[0][0] != "__main__":
        return tr("model={name} needs {classes}, but {file} has no such class. It is another file, or another version of "
                  "it.", name=weight, classes=shown, file=getattr(changed, "__file__", missing[0][0]))
    packages = {module.partition(".")[0] for module, _ in missing if "." in module}
    if packages:
        return tr("model={name} needs {classes}, but Python finds no package {package} with it. Add the folder that "
                  "contains {package} to PYTHONPATH, or install the package. Nothing was installed.", name=weight,
                  classes=shown, package=min(packages))
    folder = Path(str(weight)).parent
    files = ",".join(_find_file(f"{module}.py", folder) for module in dict(missing) if module != "__main__")
    return tr("model={name} has modules of its author's own file: it needs {classes}. Get that file, and add modules={file} "
              "to the command. In Python: yolograft.YOLO('{name}', modules='{file}'). Nothing was installed.", name=weight,
              classes=shown, file=files or "FILE.py")


def _find_file(name: str, folder: Path) -> str:
    """Return the path of a file that lies in the current folder or in `folder`, else its name."""
    return next((str(place / name) for place in (Path(), folder) if (place / name).is_file()), name)


def _exists(module: str, name: str) -> bool:
    module = IMPORT_MAPPING.get(module, module)  # PyTorch writes Python 2's names
    if module.partition(".")[0] in _INSTALLED or module.startswith("yolograft."):
        try:
            return hasattr(import_module(module), name.partition(".")[0])
        except Exception:  # a submodule that needs another package, or that does not exist
            return False
    if module == "__main__" or (module in sys.modules and module.partition(".")[0] not in sys.stdlib_module_names):
        return hasattr(import_module(module), name.partition(".")[0])
    return _can_be_found(module)


class GuardedModel:
    """Mixin of `YOLO`, over `ultralytics.engine.model.Model`: the constructor and every public method are guarded.

    The methods below are those that our own classes extend. Those that a class of Ultralytics adds, such as `set_classes`
    of YOLO-World or what a later version has, are guarded when our class of it is made.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        ours = [one for one in cls.__mro__ if one.__module__.startswith("yolograft.")]
        stock = [one for one in cls.__mro__ if one.__module__.startswith("ultralytics.")]
        for name in {name for one in stock for name, value in vars(one).items() if inspect.isfunction(value)}:
            if not name.startswith("_") and not any(name in vars(one) for one in ours):
                setattr(cls, name, _guarded(getattr(cls, name)))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # by its name, a file can become a YOLO-World or YOLOE object, whose class of Ultralytics opens it itself
        with guard():
            super().__init__(*args, **kwargs)

    def _load(self, weights: str, task: str | None = None) -> None:
        with guard():
            super()._load(weights, task=task)  # type: ignore[misc]

    def load(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights as `ultralytics.YOLO.load` does."""
        with guard():
            return super().load(*args, **kwargs)  # type: ignore[misc]

    def reset_weights(self) -> Any:
        """Reset the weights as `ultralytics.YOLO.reset_weights` does."""
        with guard():
            return super().reset_weights()  # type: ignore[misc]

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train as `ultralytics.YOLO.train` does."""
        with guard():
            return super().train(*args, **kwargs)  # type: ignore[misc]

    def val(self, *args: Any, **kwargs: Any) -> Any:
        """Validate as `ultralytics.YOLO.val` does."""
        with guard():
            return super().val(*args, **kwargs)  # type: ignore[misc]

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Predict as `ultralytics.YOLO.predict` does."""
        with guard():
            return _guard_items(super().predict(*args, **kwargs))  # type: ignore[misc]

    def track(self, *args: Any, **kwargs: Any) -> Any:
        """Track as `ultralytics.YOLO.track` does."""
        with guard():
            return super().track(*args, **kwargs)  # type: ignore[misc]  # through `predict`, as `embed` and a call

    def export(self, *args: Any, **kwargs: Any) -> Any:
        """Export as `ultralytics.YOLO.export` does."""
        with guard():
            return super().export(*args, **kwargs)  # type: ignore[misc]

    def benchmark(self, *args: Any, **kwargs: Any) -> Any:
        """Benchmark as `ultralytics.YOLO.benchmark` does."""
        with guard():
            return super().benchmark(*args, **kwargs)  # type: ignore[misc]

    def tune(self, *args: Any, **kwargs: Any) -> Any:
        """Tune as `ultralytics.YOLO.tune` does."""
        with guard():
            return super().tune(*args, **kwargs)  # type: ignore[misc]
