"""Keep Ultralytics from installing, sending and downloading what the user did not ask for, while a model works.

Named weights, data and sources are asked for, and are downloaded as with `yolo`. `yolograft.network` has the switches.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `check_requirements` asks `AUTOINSTALL` of `utils/checks.py`; 8.3
runs pip for Ray without asking, and some versions apt. `engine/model.py` calls `checks.check_pip_update_available`.
`events` is one object with `enabled`. `check_font` and `check_amp` are globals of the modules that call them.
`attempt_download_asset` and `check_font` download through `downloads.safe_download`, and `check_amp` skips its test after a
`ConnectionError`.
"""

from __future__ import annotations

import inspect
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ultralytics.data import utils as data_utils
from ultralytics.engine import exporter
from ultralytics.engine import trainer as engine_trainer
from ultralytics.utils import LOGGER, checks, downloads, plotting
from ultralytics.utils import tuner as ray_tuner

from yolograft import network
from yolograft.errors import HostError
from yolograft.host import unnamed_weights
from yolograft.language import tr
from yolograft.patch import patched

__all__ = ["explain_missing", "nothing_unasked"]

# 8.4 caches the result, which differs when downloads are allowed
_CHECK_FONT, _CHECK_AMP = inspect.unwrap(checks.check_font), checks.check_amp
_IS_URL = downloads.is_url
_MORE_EXPORTERS = ("ultralytics.utils.export.tensorflow",)  # since 8.4
# what Ultralytics would install for these imports; PyPI has other packages of the same names
_ADDRESSES = {name: f"git+https://github.com/ultralytics/{repository}.git"
              for name, repository in (("clip", "CLIP"), ("mobileclip", "mobileclip"))}
_EVENTS = ("ultralytics.utils.events", "ultralytics.hub.utils")  # 8.4, and 8.3


@contextmanager
def nothing_unasked() -> Iterator[None]:
    """Inside this context, Ultralytics does in this process only what the switches of `yolograft.network` allow."""
    replaced: list[tuple[Any, str, Any]] = []
    if not network.is_allowed(network.INSTALL):
        replaced += [(module, "AUTOINSTALL", False) for module in (checks, *_exporters()) if hasattr(module, "AUTOINSTALL")]
        replaced += [(module, "subprocess", _NoInstaller()) for module in (checks, ray_tuner, *_exporters())
                     if hasattr(module, "subprocess")]
    if not network.is_allowed(network.TELEMETRY):
        replaced.append((_events(), "enabled", False))
        replaced += _openvino_events()
    if not network.is_allowed(network.UPDATE_CHECK):
        replaced.append((checks, "check_pip_update_available", _no_update))
    if not network.is_allowed(network.ASSETS):
        replaced += [(data_utils, "check_font", _local_font), (plotting, "check_font", _local_font),
                     (engine_trainer, "check_amp", _check_amp), (downloads, "get_github_assets", _no_github_assets)]
        replaced += unnamed_weights.replacements()
        # some formats download a program and run it, or images
        replaced += [(module, name, _refuse_tool) for module in _exporters()
                     for name in ("safe_download", "get_github_assets", "attempt_download_asset") if hasattr(module, name)]
    with patched(*replaced):
        yield


def explain_missing(error: ImportError) -> HostError | None:
    """Return what to tell the user about a package that is not installed; None if the error has another cause."""
    package = (error.name or "").partition(".")[0]
    if not package or find_spec(package) is not None:
        return None
    return HostError(tr("This needs the package {package}, which is not installed. yolograft installs nothing unasked: "
                        "pip install {source}", package=package, source=_ADDRESSES.get(package, package)))


@cache
def _exporters() -> tuple[Any, ...]:
    return (exporter, *(import_module(name) for name in _MORE_EXPORTERS if _exists(name)))


def _exists(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that would contain it
        return False


@cache
def _events() -> Any:
    for name in _EVENTS:
        if _exists(name) and hasattr(module := import_module(name), "events"):
            return module.events
    raise HostError(tr("Ultralytics has no usage events at {names}.", names=", ".join(_EVENTS)))


@cache
def _openvino_events() -> list[tuple[Any, str, Any]]:
    """Return what keeps OpenVINO and NNCF from sending usage events when they convert a model. No variable does."""
    try:
        return [(import_module("openvino_telemetry.utils.sender").TelemetrySender, "send", _send_nothing)]
    except ImportError:  # it is not installed
        return []


def _send_nothing(*_: Any, **__: Any) -> None:
    pass


def _no_update() -> bool:
    return False


def _no_github_assets(*_: Any, **__: Any) -> tuple[str, list[str]]:
    """For the name of a model that is neither a file nor official, such as a misspelt path: nothing on GitHub has it."""
    return "", []


@contextmanager
def _no_downloads() -> Iterator[None]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise ConnectionError(tr("nothing is downloaded unasked; {switch}=1 allows it", switch=network.ASSETS))

    def is_url(url: Any, check: bool = False) -> bool:
        return not check and _IS_URL(url)  # with a check, it would connect

    with patched((downloads, "safe_download", refuse), (downloads, "is_url", is_url)):
        yield


@cache
def _warn_of_font(font: str) -> None:
    LOGGER.warning(tr("yolograft: the font {font} is not installed, so class names that need it are drawn as boxes. "
                      "{switch}=1 lets Ultralytics download it.", font=font, switch=network.ASSETS))


def _local_font(font: str = "Arial.ttf") -> Any:
    """Return a font of this machine as `check_font` does, or None."""
    with _no_downloads():
        found = _CHECK_FONT(font)
    if found is None and "Unicode" in str(font):  # the default font of Pillow has Latin letters
        _warn_of_font(str(font))
    return found


def _check_amp(model: Any) -> bool:
    """Test mixed precision with the weights that `check_amp` uses if they are on this machine; without, skip the test."""
    with _no_downloads():
        return bool(_CHECK_AMP(model))


def _refuse_tool(*_: Any, **__: Any) -> Any:
    raise HostError(tr("This export needs a file that Ultralytics would download, some of them programs. {switch}=1 allows "
                       "it.", switch=network.ASSETS))


class _NoInstaller:
    """The module `subprocess` with a `run` that starts no installer."""

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    def run(self, args: Any, *more: Any, **options: Any) -> Any:
        text = args if isinstance(args, str) else " ".join(map(str, args))
        words = text.split()
        if "pip" in words and "install" in words:
            return subprocess.CompletedProcess(args, 0)  # the import that follows says which package is missing
        if words[:1] == ["curl"] or {"apt", "apt-get"} & set(words[:2]):
            raise HostError(tr("This needs a program that Ultralytics would install with '{command}'. yolograft installs "
                               "nothing unasked. Install it, or set {switch}=1.", command=text, switch=network.INSTALL))
        return subprocess.run(args, *more, **options)
