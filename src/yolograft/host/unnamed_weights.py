"""Weights that Ultralytics or a library downloads for it although no argument names them: torchvision's, and CLIP's.

YOLO-World and YOLOE read class names with a text model (CLIP, MobileCLIP), whose weights they download when it is built. A
row `TorchVision` does so with a backbone, and a tracker with the model that its YAML names. `nothing_unasked` refuses these
downloads; files that are on this machine are used. Code of the user, such as a module of `modules=FILE.py`, downloads what
it likes.

What this relies on: torchvision downloads through `torch.hub.download_url_to_file`, and CLIP through
`urllib.request.urlopen`, each as an attribute of its module. Ultralytics' text models are in `ultralytics.nn.text_model`
(8.4; 8.3 calls CLIP itself), and download through `safe_download` of `utils/downloads.py`, by `attempt_download_asset` or
`download`.
"""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import torch
from ultralytics.utils import downloads

from yolograft import network
from yolograft.errors import HostError
from yolograft.language import tr

__all__ = ["replacements"]

_BETWEEN = ("torch", "torchvision", "clip", "mobileclip", "yolograft")  # packages that download for the code that calls them
_TEXT_MODELS = ("ultralytics.nn.text_model", "clip", "mobileclip")
_TRACKERS = ("ultralytics.trackers",)  # a tracker's YAML can name a model that tells objects apart (ReID)


def replacements() -> list[tuple[Any, str, Any]]:
    """Return what `patched` replaces, so that these weights are not downloaded."""
    return [(torch.hub, "download_url_to_file", _refusing(torch.hub.download_url_to_file, _is_for_ultralytics)),
            (urllib.request, "urlopen", _refusing(urllib.request.urlopen, _is_for_ultralytics)),
            (downloads, "safe_download", _refusing(downloads.safe_download, _is_for_side_model))]


def _refusing(stock: Callable[..., Any], is_refused: Callable[[], bool]) -> Callable[..., Any]:
    def download(url: Any, *args: Any, **kwargs: Any) -> Any:
        if is_refused():
            raise HostError(tr("Ultralytics would download {url}, which no argument names. {switch}=1 allows it.",
                               url=getattr(url, "full_url", url), switch=network.ASSETS))
        return stock(url, *args, **kwargs)
    return download


def _is_for_ultralytics() -> bool:
    """Whether Ultralytics is the first caller that is none of the libraries that download for others."""
    caller = next((name for name in _callers() if name.partition(".")[0] not in _BETWEEN), "")
    return caller.partition(".")[0] == "ultralytics"


def _is_for_side_model() -> bool:
    return any(name.startswith((*_TEXT_MODELS, *_TRACKERS)) for name in _callers())


def _callers() -> Iterator[str]:
    """Yield the names of the modules whose code is running, from the innermost."""
    frame = sys._getframe(1)
    while frame is not None:
        yield str(frame.f_globals.get("__name__", ""))
        frame = frame.f_back  # type: ignore[assignment]
