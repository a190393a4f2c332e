"""Laws over random input: no reader crashes, no image loses its objects without a report, and Ultralytics agrees."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import coco, labelme, labels, voc, write_json, write_picture
from hypothesis import given, settings
from hypothesis import strategies as st

from yolograft.data import coco as coco_format
from yolograft.data import labelme as labelme_format
from yolograft.data import voc as voc_format
from yolograft.data.check import check
from yolograft.data.report import Report
from yolograft.errors import DataError

BOXES = [("cat", 3, 4, 23, 14), ("dog", 10, 10, 30, 25)]
VALUES = [None, True, 0, -1, 1, 0.5, 7, 39, 40, 1e9, -1e9, 10**400, float("nan"), "", "cat", "1_0", "12,5", "nan", [], {},
          [[]], [1, 2], [[1, 2], [20, 20]], [3, 4, 9, 9], {"size": [30, 40], "counts": [5, 5]}, "dog", "point", "mask"]


def places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place of a JSON value, as its container and its key."""
    if isinstance(content, (dict, list)):
        for key in list(content) if isinstance(content, dict) else range(len(content)):
            yield content, key
            yield from places(content[key])


def damage(content: Any, generator: random.Random) -> None:
    """Replace or remove a few values at random places."""
    for _ in range(generator.randint(1, 3)):
        container, key = generator.choice(list(places(content)))
        if isinstance(container, dict) and generator.random() < 0.25:
            container.pop(key, None)
        else:
            container[key] = copy.deepcopy(generator.choice(VALUES))


def is_accounted(report: Report, folder: Path, annotated: set[str]) -> None:
    """Check that no image with objects became a background image, and that each absent image has a problem."""
    found = labels(folder)
    assert sum(report.images.values()) == len(found)
    for name in annotated:
        assert found.get(name) != [], f"{name} became a background image"
        assert name in found or report.problems
    for rows in found.values():
        for row in rows:
            assert np.isfinite(row).all()
            assert row[3] > 0
            assert row[4] > 0
            assert min(row[1] - row[3] / 2, row[2] - row[4] / 2) > -1e-5
            assert max(row[1] + row[3] / 2, row[2] + row[4] / 2) < 1 + 1e-5
    assert check(report.yaml).problems == ()


def source(folder: Path) -> None:
    for number in range(4):
        write_picture(folder / f"p{number}.png", number)


COUNT = 60  # random files for each format in the default tests, and ten times as many in the slow ones


@pytest.mark.parametrize("block", [0, *(pytest.param(number, marks=pytest.mark.slow) for number in range(1, 10))])
@pytest.mark.parametrize("name", ["coco", "labelme", "voc"])
def test_damaged_annotations_are_converted_or_refused(tmp_path: Path, name: str, block: int) -> None:
    source(tmp_path / "s")
    outcomes = {"converted": 0, "reported": 0, "refused": 0}
    for number in range(COUNT * block, COUNT * (block + 1)):
        generator = random.Random(number)
        try:
            report, annotated = _convert_damaged(tmp_path, name, generator)
        except DataError:
            outcomes["refused"] += 1
            continue
        outcomes["reported" if report.problems else "converted"] += 1
        is_accounted(report, tmp_path / "set", annotated)
    assert outcomes["reported"] > COUNT / 4, outcomes  # the damage matters


def _convert_damaged(tmp_path: Path, name: str, generator: random.Random) -> tuple[Report, set[str]]:
    """Convert a damaged set; returns the names of the images whose annotations still have objects."""
    folder = tmp_path / "s"
    if name == "coco":
        content = coco({f"p{number}.png": ((40, 30), BOXES) for number in range(4)}, ["cat", "dog"])
        damage(content, generator)
        write_json(folder / "a.json", content)
        report = coco_format.convert(folder, tmp_path / "set", overwrite=True)
        listed = content["annotations"] if isinstance(content.get("annotations"), list) else []
        objects = {str(one.get("image_id")) for one in listed if isinstance(one, dict)}
        return report, {Path(str(image.get("file_name"))).stem for image in content.get("images") or []
                        if isinstance(image, dict) and str(image.get("id")) in objects}
    annotated: set[str] = set()
    for number in range(4):
        stem = f"p{number}"
        if name == "labelme":
            content = labelme(BOXES, f"{stem}.png")
            if number % 2:
                damage(content, generator)
            write_json(folder / f"{stem}.json", content)
            has_objects = bool(content.get("shapes"))
        else:
            text = voc(BOXES)
            if number % 2:
                text = _damage_text(text, generator)
            (folder / f"{stem}.xml").write_text(text, encoding="utf-8")
            has_objects = "<object>" in text
        if has_objects:
            annotated.add(stem)
    convert = labelme_format.convert if name == "labelme" else voc_format.convert
    return convert(folder, tmp_path / "set", overwrite=True), annotated


def _damage_text(text: str, generator: random.Random) -> str:
    """Replace or remove the text between two tags, or a tag."""
    parts = text.replace("<", "\0<").replace(">", ">\0").split("\0")
    for _ in range(generator.randint(1, 3)):
        at = generator.randrange(len(parts))
        is_tag = parts[at].startswith("<")
        parts[at] = generator.choice(["", "<polygon>", "<x/>"] if is_tag else ["", "1_0", "-5", "99", "12,5", "cow"])
    return "".join(parts)


NUMBERS = ["0", "1", "0.5", "0.25", "1.0", "1.2", "-0.1", "2", "5", "x", "1_0", "nan", "0,5", ".5", "1e-1"]
KEYS = ["images", "annotations", "shapes", "categories", "id", "points", "a"]
numbers = st.one_of(st.sampled_from(NUMBERS),
                    st.floats(0, 1).map(lambda value: f"{value:.4f}"))
lines = st.one_of(
    st.tuples(st.sampled_from(["0", "1", "2", "-1", "0.5", "cat", "1.0"]), st.lists(numbers, min_size=3, max_size=8)).map(
        lambda pair: " ".join([pair[0], *pair[1]])),
    st.tuples(st.sampled_from("01"), st.lists(st.floats(0.2, 0.4), min_size=4, max_size=4)).map(
        lambda pair: " ".join([pair[0], *(f"{value:.3f}" for value in pair[1])])))


@settings(max_examples=150, deadline=None)
@given(content=st.lists(lines, max_size=4).map("\n".join))
def test_a_label_file_that_passes_is_read_by_ultralytics(tmp_path_factory: pytest.TempPathFactory, content: str) -> None:
    from ultralytics.data.utils import verify_image_label

    root = tmp_path_factory.getbasetemp() / "agree"
    if not root.exists():
        for split in ("train", "val"):
            write_picture(root / "images" / split / "a.png", len(split))
            (root / "labels" / split).mkdir(parents=True)
            (root / "labels" / split / "a.txt").write_text("0 0.5 0.5 0.25 0.5\n")
        (root / "d.yaml").write_text("train: images/train\nval: images/val\nnames: [cat, dog]\n")
    file = root / "labels" / "train" / "a.txt"
    file.write_text(content)
    report = check(root / "d.yaml")
    arguments = (str(root / "images" / "train" / "a.png"), str(file), "", False, 2, 0, 0, False)
    try:
        result = verify_image_label(arguments)
    except ValueError:  # Ultralytics 8.3.0 has no argument single_cls
        result = verify_image_label(arguments[:-1])
    if result[0] is None:  # Ultralytics ignores the image
        assert report.problems, content
    elif not report.problems:
        assert len(result[1]) == sum(report.boxes["train"].values()), content


@settings(max_examples=100, deadline=None)
@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(KEYS), inner, max_size=4), max_leaves=20))
def test_any_json_is_recognized_or_not(tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    write_picture(folder / "a.png", 1)
    (folder / "a.json").write_text(json.dumps(content))
    for convert in (coco_format.convert, labelme_format.convert, voc_format.convert):
        with pytest.raises(DataError):  # one image gives no two splits, and most content is no annotation
            convert(folder, folder / "set")
