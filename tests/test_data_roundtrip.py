"""A box that is written in any format comes out of the conversion as the same box."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from data_sets import Objects, coco, labelme, labels, unpack, voc, write_json, write_picture
from hypothesis import given, settings
from hypothesis import strategies as st

from yolograft.data import annotation, neudet
from yolograft.data import coco as coco_format
from yolograft.data import labelme as labelme_format
from yolograft.data import voc as voc_format
from yolograft.data.check import check
from yolograft.data.report import Report

Images = dict[str, tuple[tuple[int, int], Objects]]  # file name -> size and objects
NAMES = ["cat", "dog", "划痕", "rolled-in scale"]


def write_voc(folder: Path, images: Images) -> None:
    is_from_zero = any(min(box[1:3]) < 0.5 for _, objects in images.values() for box in objects)
    for name, (size, objects) in images.items():
        text = voc(objects, size, name, first=0 if is_from_zero else 1)
        (folder / name).with_suffix(".xml").write_text(text, encoding="utf-8")


def write_coco(folder: Path, images: Images) -> None:
    write_json(folder / "instances.json", coco(images, NAMES))


def write_labelme(folder: Path, images: Images) -> None:
    for name, (size, objects) in images.items():
        write_json((folder / name).with_suffix(".json"), labelme(objects, name, size))


FORMATS: dict[str, tuple[Callable[[Path, Images], None], Callable[..., Report]]] = {
    "voc": (write_voc, voc_format.convert), "coco": (write_coco, coco_format.convert),
    "labelme": (write_labelme, labelme_format.convert)}


def expected(images: Images, names: list[str]) -> dict[str, list[list[float]]]:
    rows = {}
    for name, ((width, height), objects) in images.items():
        rows[Path(name).stem] = sorted([names.index(kind), (x0 + x1) / 2 / width, (y0 + y1) / 2 / height,
                                        (x1 - x0) / width, (y1 - y0) / height] for kind, x0, y0, x1, y1 in objects)
    return rows


def same(one: dict[str, list[list[float]]], other: dict[str, list[list[float]]], tolerance: float) -> bool:
    """Whether two sets of rows are equal, where rounding may change the order of rows in an image."""
    return one.keys() == other.keys() and all(
        len(one[name]) == len(other[name]) and all(
            any(a[0] == b[0] and np.allclose(a, b, rtol=0, atol=tolerance) for b in other[name]) for a in one[name])
        for name in one)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[str, float, float, float, float]:
    x0, y0 = draw(st.integers(0, 380)) / 10, draw(st.integers(0, 280)) / 10
    x1, y1 = draw(st.integers(int(x0 * 10) + 11, 400)) / 10, draw(st.integers(int(y0 * 10) + 11, 300)) / 10
    return draw(st.sampled_from(NAMES)), x0, y0, x1, y1


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=15, deadline=None)
@given(lists=st.lists(st.lists(boxes(), max_size=4, unique=True), min_size=2, max_size=4).filter(any))
def test_a_box_comes_back_from_every_format(tmp_path_factory: pytest.TempPathFactory, name: str,
                                            lists: list[list[tuple[str, float, float, float, float]]]) -> None:
    folder = tmp_path_factory.mktemp("round")
    images: Images = {f"p{number}.png": ((40, 30), objects) for number, objects in enumerate(lists)}
    for number, file in enumerate(images):
        write_picture(folder / "s" / file, number)
    write, convert = FORMATS[name]
    write(folder / "s", images)
    report = convert(folder / "s", folder / "set", names=NAMES)
    assert report.problems == ()
    assert same(labels(folder / "set"), expected(images, NAMES), 2e-6)
    assert check(report.yaml).problems == ()


@pytest.mark.parametrize("name", FORMATS)
def test_coco128_comes_back_from_every_format(tmp_path: Path, name: str) -> None:
    root = unpack("coco128.zip", tmp_path / "real") / "coco128"
    classes = [f"{number:02}" for number in range(80)]
    pictures = sorted((root / "images" / "train2017").iterdir())
    images: Images = {}
    for picture in pictures if name != "voc" else pictures[:40]:
        height, width = cv2.imread(str(picture)).shape[:2]
        file = root / "labels" / "train2017" / f"{picture.stem}.txt"
        rows = np.loadtxt(file, ndmin=2) if file.is_file() else np.zeros((0, 5))
        images[picture.name] = ((width, height), [
            (classes[int(c)], (x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
            for c, x, y, w, h in rows.tolist()])
        (tmp_path / "s").mkdir(exist_ok=True)
        picture.rename(tmp_path / "s" / picture.name)
    used = sorted({box[0] for _, objects in images.values() for box in objects})
    names = classes if name == "coco" else used
    if name == "coco":
        write_json(tmp_path / "s" / "instances.json", coco(images, classes))
    else:
        FORMATS[name][0](tmp_path / "s", images)
    report = FORMATS[name][1](tmp_path / "s", tmp_path / "set")
    assert [problem for problem in report.problems if "is clipped" not in problem.what] == []
    assert same(labels(tmp_path / "set"), expected(images, names), 2e-5)


@pytest.mark.parametrize("numbers", [
    pytest.param(range(1, 301), marks=pytest.mark.slow, id="all"),
    pytest.param([*range(1, 11), *range(101, 111), *range(196, 201)], id="some")])
@pytest.mark.parametrize("name", ["coco", "labelme"])
def test_neu_det_is_the_same_in_every_format_and_language(
        tmp_path: Path, name: str, numbers: Sequence[int], monkeypatch: pytest.MonkeyPatch) -> None:
    root = unpack("NEU-DET.zip", tmp_path / "real") / "NEU-DET"
    images: Images = {}
    for picture in sorted((root / "IMAGES").iterdir()):
        file = root / "ANNOTATIONS" / f"{picture.stem}.xml"
        if int(picture.stem.rsplit("_", 1)[1]) not in numbers:
            picture.unlink()
            file.unlink()
            continue
        images[picture.name] = ((200, 200), [(box.name, box.corners[0] - 1, box.corners[1] - 1, *box.corners[2:])
                                             for box in annotation.read(file).boxes])
    with monkeypatch.context() as patch:
        patch.setenv("YOLOGRAFT_LANG", "zh")
        direct = neudet.convert(root, tmp_path / "direct")
        assert "数据集 YAML" in direct.text()
    assert direct.problems == ()  # the known duplicates are notes in every language
    if name == "coco":
        write_json(root / "IMAGES" / "instances.json", coco(images, neudet.CLASSES))
    else:
        write_labelme(root / "IMAGES", images)
    report = FORMATS[name][1](root / "IMAGES", tmp_path / "set", names=neudet.CLASSES)
    assert len(images) == 6 * len(numbers)
    assert labels(tmp_path / "set") == labels(tmp_path / "direct")
    assert report.identical == direct.identical == (("patches_101", "patches_105"),)
    assert sum(kind in ("duplicate box", "identical image") for kind in (one.kind for one in report.problems)) == len(
        report.problems) == len(direct.notes)
    found = check(direct.yaml)
    assert found.problems == ()
    assert (found.images, found.boxes) == (direct.images, direct.boxes)
