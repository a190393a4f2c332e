"""Weights that no argument names are not downloaded for Ultralytics, and are for the user's own code."""

import io
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from ultralytics.utils import downloads

from yolograft import GraftError, network
from yolograft.host import YOLO, models
from yolograft.host.unasked import nothing_unasked

# a module and what it calls: (its name, its code, whether it is refused)
TORCH = "import torch\ndef fetch(): return torch.hub.load_state_dict_from_url('https://example.invalid/a.pth')\n"
VISION = "import torchvision\ndef fetch(): return torchvision.models.resnet18(weights='DEFAULT')\n"
CLIP = "import urllib.request\ndef fetch(): return urllib.request.urlopen('https://example.invalid/clip.pt')\n"
ASSET = "from ultralytics.utils import downloads\ndef fetch(): return downloads.attempt_download_asset('yolo11n-cls.pt')\n"
CALLERS: dict[str, tuple[str, str, bool]] = {
    "torch.hub for Ultralytics": ("ultralytics.nn.modules.later", TORCH, True),
    "torchvision for Ultralytics": ("ultralytics.nn.modules.later", VISION, True),
    "CLIP of a text model": ("ultralytics.nn.text_model", ASSET, True),
    "a model of a tracker": ("ultralytics.trackers.utils.reid", ASSET, True),
    "named weights": ("ultralytics.nn.tasks_later", ASSET, False),
    "torch.hub for a module of the user": ("my_modules", TORCH, False),
    "torchvision for a module of the user": ("my_modules", VISION, False),
    "a library of the user": ("my_clip_user", CLIP, False),
}


def module(name: str, code: str, **names: Any) -> Any:
    made = ModuleType(name)
    vars(made).update(names)
    exec(compile(code, name, "exec"), vars(made))
    return made


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would be downloaded: this process downloads nothing."""
    found: list[str] = []

    def record(url: Any, *_: Any, **__: Any) -> Any:
        found.append(str(url))
        raise OSError("no download in this test")

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(network.ASSETS, raising=False)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    for owner, name in ((torch.hub, "download_url_to_file"), (urllib.request, "urlopen"), (downloads, "safe_download")):
        monkeypatch.setattr(owner, name, record)
    return found


@pytest.mark.parametrize("name", CALLERS)
def test_who_asks_decides(name: str, fetched: list[str]) -> None:
    caller, code, is_refused = CALLERS[name]
    with nothing_unasked(), pytest.raises(GraftError if is_refused else OSError, match=r"no argument names|no download"):
        module(caller, code).fetch()
    assert bool(fetched) is not is_refused


def test_clip_downloads_nothing_for_ultralytics(fetched: list[str]) -> None:
    """8.3 calls `clip.load` itself."""
    clip = module("clip.clip", CLIP)
    theirs = module("ultralytics.nn.tasks", "def fetch(): return clip.fetch()\n", clip=clip)
    with nothing_unasked(), pytest.raises(GraftError, match=f"no argument names. {network.ASSETS}=1"):
        theirs.fetch()
    assert not fetched


def test_the_switch_allows_it(fetched: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(network.ASSETS, "1")
    caller, code, _ = CALLERS["torch.hub for Ultralytics"]
    with nothing_unasked(), pytest.raises(OSError, match="no download"):
        module(caller, code).fetch()
    assert fetched == ["https://example.invalid/a.pth"]


def test_afterwards_all_is_as_before() -> None:
    def now() -> list[Callable[..., Any]]:
        return [torch.hub.download_url_to_file, urllib.request.urlopen, downloads.safe_download]

    before = now()
    with nothing_unasked(), nothing_unasked():
        assert all(one is not other for one, other in zip(now(), before, strict=True))
    assert now() == before


def test_building_a_model_is_guarded(fetched: list[str]) -> None:
    with models.building(), pytest.raises(GraftError, match="no argument names"):
        module("ultralytics.nn.modules.later", TORCH).fetch()
    assert not fetched


def test_an_answer_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(b"x"))
    with nothing_unasked():
        assert module("my_clip_user", CLIP).fetch().read() == b"x"


def test_class_names_of_yolo_world_name_the_package_and_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyPI has another package with the name clip."""
    model = YOLO("yolov8s-worldv2.yaml")

    def set_classes(*_: Any, **__: Any) -> None:
        raise ModuleNotFoundError("No module named 'clip'", name="clip")

    monkeypatch.setattr("yolograft.host.unasked.find_spec", lambda _: None)
    monkeypatch.setattr(model.model, "set_classes", set_classes, raising=False)
    with pytest.raises(GraftError, match=r"package clip.*pip install git\+https://github.com/ultralytics/CLIP.git"):
        model.set_classes(["cat"])
