"""What a study records of its data and packages: the pictures that Ultralytics trains on, and the cv2 that reads them."""

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


def described(root: Path, train: object) -> dict[str, Any]:
    (root / "data.yaml").write_text(f"path: {root}\ntrain: {train}\nval: images/val\nnames: [dim, bright]\n")
    return {"model": "yolo11n.yaml", "data": str(root / "data.yaml")}


def data_of(root: Path, train: object) -> str:
    return fingerprints(described(root, train))["data"]


def listed(root: Path, lines: list[str], name: str = "list.txt") -> str:
    (root / name).write_text("\n".join(lines) + "\n")
    return name


def nested(root: Path) -> list[str]:
    """Move some pictures and labels into a folder of the folder, and return all pictures' paths in the set."""
    for kind in ("images", "labels"):
        (root / kind / "train" / "deep" / "er").mkdir(parents=True)
        for file in sorted((root / kind / "train").glob("1*.*")):
            file.rename(file.parent / "deep" / "er" / file.name)
    return [path.relative_to(root).as_posix() for path in sorted((root / "images" / "train").rglob("*.png"))]


def shapes(root: Path) -> dict[str, object]:
    """Return ways to name the same pictures."""
    names = nested(root)
    half = len(names) // 2
    outside = root / "lists"
    outside.mkdir()
    return {
        "folder": "images/train",
        "relative to the list": listed(root, [f"./{name}" for name in names]),
        "relative to the current folder": listed(root, [f"set/{name}" for name in names], "cwd.txt"),
        "absolute": listed(root, [f"{root}/{name}" for name in names], "lists/absolute.txt"),
        "two lists": [listed(root, [f"./{name}" for name in names[:half]], "a.txt"),
                      listed(root, [f"./{name}" for name in names[half:]] + ["notes.md", ""], "b.txt")],
    }


def test_all_ways_to_name_the_same_pictures_have_the_same_fingerprint(
        root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    found = {way: data_of(root, train) for way, train in shapes(root).items()}
    assert len(set(found.values())) == 1, found


def test_a_changed_picture_or_label_changes_the_fingerprint_however_it_is_named(
        root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    ways = shapes(root)
    before = {way: data_of(root, train) for way, train in ways.items()}
    picture = root / "images" / "train" / "deep" / "er" / "11.png"
    kept = picture.read_bytes()
    picture.write_bytes(kept + b"changed")
    for way, train in ways.items():
        assert data_of(root, train) != before[way], way
    picture.write_bytes(kept)
    label = root / "labels" / "train" / "deep" / "er" / "10.txt"
    label.write_text(label.read_text() * 2)
    for way, train in ways.items():
        assert data_of(root, train) != before[way], way


def test_pictures_are_those_that_ultralytics_lists(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    for way, train in {**shapes(root), "both": ["images/train/deep", "a.txt"]}.items():
        settings = described(root, train)
        found = fingerprint.resolve_dataset(settings["data"], "detect")
        stock = BaseDataset.get_img_files(SimpleNamespace(prefix="", fraction=1.0), found["train"])
        ours = fingerprint.list_images(settings["data"], found, "train", "detect")
        assert [str(path) for path in ours] == sorted(str(Path(file).absolute()) for file in stock), way
        assert pictures(settings)["train"].startswith(f"{len(stock)} pictures")


@pytest.mark.parametrize("train", ["list.txt", ["images/train", "list.txt"]])
def test_missing_pictures_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch, train: object) -> None:
    monkeypatch.chdir(root.parent)
    listed(root, ["./images/train/0.png", "images/train/1.png", "images/train/2.png"])
    for ask in (fingerprints, pictures):
        with pytest.raises(DataError, match=r"2 of the \d+ images of its train set do not exist") as told:
            ask(described(root, train))
        assert "The first is images/train/1.png." in str(told.value), "which is relative to the current folder"


@pytest.mark.parametrize("train", ["images/train/*.png", "images/nowhere", "empty.txt"])
def test_a_split_without_pictures_is_refused(root: Path, train: str) -> None:
    (root / "empty.txt").write_text("notes.md\n")
    with pytest.raises(DataError, match=r"no images in .* its train set"):
        fingerprints(described(root, train))


@pytest.mark.parametrize(("built", "says"), [
    ({"opencv_version": "4.10.0.84", "contrib": False, "headless": False}, "4.10.0.84"),
    ({"opencv_version": "4.10.0.84", "contrib": False, "headless": True}, "4.10.0.84 (opencv-python-headless)"),
    ({"opencv_version": "4.10.0.84", "contrib": True, "headless": False}, "4.10.0.84 (opencv-contrib-python)"),
    ({"opencv_version": "4.9.0.80", "contrib": True, "headless": True}, "4.9.0.80 (opencv-contrib-python-headless)"),
    (None, "4.6.0")])
def test_the_cv2_that_is_imported_is_on_record(
        monkeypatch: pytest.MonkeyPatch, built: dict[str, Any] | None, says: str) -> None:
    module = SimpleNamespace(__version__="4.6.0", **({"version": SimpleNamespace(**built)} if built else {}))
    monkeypatch.setattr(runner_train, "cv2", module)
    assert runner_train.versions()["opencv-python"] == says


def test_the_installed_cv2_is_on_record_as_its_package_says() -> None:
    from importlib.metadata import distributions

    packages = {one.metadata["Name"].lower(): one.version for one in distributions() if one.metadata["Name"]}
    found = runner_train.versions()["opencv-python"]
    number, _, package = found.partition(" ")
    assert packages[package.strip("()") or "opencv-python"] == number
