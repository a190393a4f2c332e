"""Fingerprints of the data: the same images as Ultralytics trains on, however they are listed. The recorded cv2 version."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ultralytics.data.base import BaseDataset

from yolograft.errors import DataError
from yolograft.runner import fingerprint
from yolograft.runner import train as runner_train
from yolograft.runner.train import fingerprints, pictures

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings


@pytest.fixture
def root(tiny_set: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    shutil.copytree(tiny_set.parent, folder)
    for file in folder.rglob("*.cache"):
        file.unlink()
    return folder


def settings_for(root: Path, train: object) -> dict[str, Any]:
    (root / "data.yaml").write_text(f"path: {root}\ntrain: {train}\nval: images/val\nnames: [dim, bright]\n")
    return {"model": "yolo11n.yaml", "data": str(root / "data.yaml")}


def data_fingerprint(root: Path, train: object) -> str:
    return fingerprints(settings_for(root, train))["data"]


def write_list(root: Path, lines: list[str], name: str = "list.txt") -> str:
    (root / name).write_text("\n".join(lines) + "\n")
    return name


def move_into_subfolders(root: Path) -> list[str]:
    """Move some images and labels into a subfolder, and return the paths of all images, relative to `root`."""
    for kind in ("images", "labels"):
        (root / kind / "train" / "deep" / "er").mkdir(parents=True)
        for file in sorted((root / kind / "train").glob("1*.*")):
            file.rename(file.parent / "deep" / "er" / file.name)
    return [path.relative_to(root).as_posix() for path in sorted((root / "images" / "train").rglob("*.png"))]


def train_entries(root: Path) -> dict[str, object]:
    """Return different values of `train:` in a data YAML that list the same images."""
    names = move_into_subfolders(root)
    half = len(names) // 2
    outside = root / "lists"
    outside.mkdir()
    return {
        "folder": "images/train",
        "relative to the list": write_list(root, [f"./{name}" for name in names]),
        "relative to the current folder": write_list(root, [f"set/{name}" for name in names], "cwd.txt"),
        "absolute": write_list(root, [f"{root}/{name}" for name in names], "lists/absolute.txt"),
        "two lists": [write_list(root, [f"./{name}" for name in names[:half]], "a.txt"),
                      write_list(root, [f"./{name}" for name in names[half:]] + ["notes.md", ""], "b.txt")],
    }


def test_all_ways_to_list_the_same_images_have_the_same_fingerprint(
        root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    found = {kind: data_fingerprint(root, train) for kind, train in train_entries(root).items()}
    assert len(set(found.values())) == 1, found


def test_a_changed_image_or_label_changes_the_fingerprint_however_it_is_listed(
        root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    entries = train_entries(root)
    before = {kind: data_fingerprint(root, train) for kind, train in entries.items()}
    image = root / "images" / "train" / "deep" / "er" / "11.png"
    content = image.read_bytes()
    image.write_bytes(content + b"changed")
    for kind, train in entries.items():
        assert data_fingerprint(root, train) != before[kind], kind
    image.write_bytes(content)
    label = root / "labels" / "train" / "deep" / "er" / "10.txt"
    label.write_text(label.read_text() * 2)
    for kind, train in entries.items():
        assert data_fingerprint(root, train) != before[kind], kind


def test_images_are_those_that_ultralytics_lists(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    for kind, train in {**train_entries(root), "both": ["images/train/deep", "a.txt"]}.items():
        settings = settings_for(root, train)
        found = fingerprint.resolve_dataset(settings["data"], "detect")
        stock = BaseDataset.get_img_files(SimpleNamespace(prefix="", fraction=1.0), found["train"])
        ours = fingerprint.list_images(settings["data"], found, "train", "detect")
        assert [str(path) for path in ours] == sorted(str(Path(file).absolute()) for file in stock), kind
        assert pictures(settings)["train"].startswith(f"{len(stock)} pictures")


@pytest.mark.parametrize("train", ["list.txt", ["images/train", "list.txt"]])
def test_missing_images_raise_an_error(root: Path, monkeypatch: pytest.MonkeyPatch, train: object) -> None:
    monkeypatch.chdir(root.parent)
    write_list(root, ["./images/train/0.png", "images/train/1.png", "images/train/2.png"])
    for function in (fingerprints, pictures):
        with pytest.raises(DataError, match=r"2 of the \d+ images of its train set do not exist") as raised:
            function(settings_for(root, train))
        assert "The first is images/train/1.png." in str(raised.value), "it is relative to the current folder"


@pytest.mark.parametrize("train", ["images/train/*.png", "images/nowhere", "empty.txt"])
def test_a_split_without_images_raises_an_error(root: Path, train: str) -> None:
    (root / "empty.txt").write_text("notes.md\n")
    with pytest.raises(DataError, match=r"no images in .* its train set"):
        fingerprints(settings_for(root, train))


@pytest.mark.parametrize(("build", "expected"), [
    ({"opencv_version": "4.10.0.84", "contrib": False, "headless": False}, "4.10.0.84"),
    ({"opencv_version": "4.10.0.84", "contrib": False, "headless": True}, "4.10.0.84 (opencv-python-headless)"),
    ({"opencv_version": "4.10.0.84", "contrib": True, "headless": False}, "4.10.0.84 (opencv-contrib-python)"),
    ({"opencv_version": "4.9.0.80", "contrib": True, "headless": True}, "4.9.0.80 (opencv-contrib-python-headless)"),
    (None, "4.6.0")])
def test_the_version_of_the_imported_cv2_is_recorded(
        monkeypatch: pytest.MonkeyPatch, build: dict[str, Any] | None, expected: str) -> None:
    module = SimpleNamespace(__version__="4.6.0", **({"version": SimpleNamespace(**build)} if build else {}))
    monkeypatch.setattr(runner_train, "cv2", module)
    assert runner_train.versions()["opencv-python"] == expected


def test_the_recorded_version_of_cv2_is_that_of_its_package() -> None:
    from importlib.metadata import distributions

    packages = {package.metadata["Name"].lower(): package.version for package in distributions()
                if package.metadata["Name"]}
    found = runner_train.versions()["opencv-python"]
    number, _, name = found.partition(" ")
    assert packages[name.strip("()") or "opencv-python"] == number
