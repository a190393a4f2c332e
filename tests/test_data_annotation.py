"""XML annotations in the spellings of public tools and data sets: each gives the box that encloses the object."""

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolograft.data import annotation
from yolograft.data.box import mask_corners, parse_number, rotated_corners
from yolograft.errors import DataError


def tags(**values: object) -> str:
    return "".join(f"<{name}>{value}</{name}>" for name, value in values.items())


def read(tmp_path: Path, body: str, root: str = "annotation") -> annotation.Annotation:
    (tmp_path / "a.xml").write_text(f"<{root}>{body}</{root}>", encoding="utf-8")
    return annotation.read(tmp_path / "a.xml")


POINTS = [(3, 4), (30, 5), (10, 22)]  # enclosed by 3, 4, 30, 22
NUMBERED = "".join(f"<x{n}>{x}</x{n}><y{n}>{y}</y{n}>" for n, (x, y) in enumerate(POINTS, 1))
SHAPES = {  # spelling -> (XML of the shape, kind)
    "VOC": (f"<bndbox>{tags(xmin=3, ymin=4, xmax=30, ymax=22)}</bndbox>", "box"),
    "other order": (f"<bndbox>{tags(ymax=22, xmax=30, ymin=4, xmin=3)}</bndbox>", "box"),
    "floats": (f"<bndbox>{tags(xmin='3.0', ymin='4.', xmax='3e1', ymax=' 22.00 ')}</bndbox>", "box"),
    "decimal commas": (f"<bndbox>{tags(xmin='3,0', ymin='4,0', xmax='30,0', ymax='22,0')}</bndbox>", "box"),
    "full-width digits": (f"<bndbox>{tags(xmin='３', ymin='４', xmax='３０', ymax='２２')}</bndbox>", "box"),
    "capital tags": (f"<BndBox>{tags(XMin=3, YMin=4, XMax=30, YMax=22)}</BndBox>", "box"),
    "underscores": (f"<bbox>{tags(x_min=3, y_min=4, x_max=30, y_max=22)}</bbox>", "box"),
    "edges": (f"<box>{tags(left=3, top=4, right=30, bottom=22)}</box>", "box"),
    "in the object": (tags(xmin=3, ymin=4, xmax=30, ymax=22), "box"),
    "roLabelImg": (f"<type>robndbox</type><robndbox>{tags(cx=16.5, cy=13, w=27, h=18, angle=0.0)}</robndbox>",
                   "rotated box"),
    "roLabelImg, quarter turn": (f"<robndbox>{tags(cx=16.5, cy=13, w=18, h=27, angle=math.pi / 2)}</robndbox>",
                                 "rotated box"),
    "degrees in <angle>": (f"<robndbox>{tags(cx=16.5, cy=13, w=18, h=27, angle=90)}</robndbox>", "rotated box"),
    "SSDD": ("<rotated_bndbox>" + tags(rotated_bbox_cx=16.5, rotated_bbox_cy=13, rotated_bbox_w=18, rotated_bbox_h=27,
                                       rotated_bbox_theta=90) + "</rotated_bndbox>", "rotated box"),
    "DIOR-R": ("<robndbox>" + tags(x_left_top=3, y_left_top=6, x_right_top=20, y_right_top=4, x_right_bottom=30,
                                   y_right_bottom=10, x_left_bottom=9, y_left_bottom=22) + "</robndbox>", "polygon"),
    "four corners in <bndbox>": (f"<bndbox>{tags(x0=3, y0=6, x1=20, y1=4, x2=30, y2=10, x3=9, y3=22)}</bndbox>", "polygon"),
    "two corners in <bndbox>": (f"<bndbox>{tags(x1=3, y1=4, x2=30, y2=22)}</bndbox>", "box"),
    "Labelbox": (f"<polygon>{NUMBERED}</polygon>", "polygon"),
    "LabelMe for the web": ("<polygon><username/>" + "".join(f"<pt>{tags(x=x, y=y)}</pt>" for x, y in POINTS) + "</polygon>",
                            "polygon"),
    "FAIR1M": ("<points>" + "".join(f"<point>{x}.0,{y}.0</point>" for x, y in [*POINTS, POINTS[0]])
               + "</points>", "polygon"),
    "points with names": ("<polygon>" + "".join(f"<point{n}>{x},{y}</point{n}>" for n, (x, y) in enumerate(POINTS))
                          + "</polygon>", "polygon"),
    "segmentation, numbers": ("<segmentation>3 4 30 5 10 22</segmentation>", "polygon"),
    "segmentation, commas": ("<segmentation>3,4 30,5 10,22</segmentation>", "polygon"),
    "segmentation, lists": ("<segmentation>[[3, 4, 30, 5, 10, 22]]</segmentation>", "polygon"),
    "segmentation, points": ("<segmentation>" + "".join(f"<points>{tags(x=x, y=y)}</points>" for x, y in POINTS)
                             + "</segmentation>", "polygon"),
    "segmentation, point": ("<segmentation>" + "".join(f"<point>{tags(x=x, y=y)}</point>" for x, y in POINTS)
                            + "</segmentation>", "polygon"),
    "a box of zeros and a polygon": (f"<bndbox>{tags(xmin=0, ymin=0, xmax=0, ymax=0)}</bndbox><polygon>{NUMBERED}</polygon>",
                                     "polygon"),
    "Roboflow, box and polygon": (f"<bndbox>{tags(xmin=3, xmax=30, ymin=4, ymax=22)}</bndbox><polygon>{NUMBERED}</polygon>",
                                  "box"),
}


@pytest.mark.parametrize("spelling", SHAPES)
def test_every_spelling_gives_the_enclosing_box(tmp_path: Path, spelling: str) -> None:
    shape, kind = SHAPES[spelling]
    read_back = read(tmp_path, f"<object><name>ship</name>{shape}</object>")
    assert read_back.problems == ()
    (box,) = read_back.boxes
    assert (box.name, box.shape) == ("ship", kind)
    assert box.corners == pytest.approx((3, 4, 30, 22))
    assert box.is_comma == (spelling == "decimal commas")


@pytest.mark.parametrize(("wrong", "message"), [
    (f"<bndbox>{tags(xmin='1_0', ymin=4, xmax=30, ymax=22)}</bndbox>", "<xmin>1_0 is no number"),
    (f"<bndbox>{tags(xmin='1,2,3', ymin=4, xmax=30, ymax=22)}</bndbox>", "is no number"),
    (f"<bndbox>{tags(xmin='', ymin=4, xmax=30, ymax=22)}</bndbox>", "incomplete box"),
    (f"<bndbox>{tags(x=1, y=4, w=30, h=22)}</bndbox>", "incomplete box"),
    (f"<robndbox>{tags(cx=1, cy=4, w=30, h=22, angle='left')}</robndbox>", "<angle>left is no number"),
    ("<polygon><x1>1</x1><y1>2</y1><x2>3</x2></polygon>", "a shape that cannot be read (<polygon>"),
    ("<polygon><pt><x>1</x><y>2</y></pt><pt><x>a</x><y>2</y></pt></polygon>", "cannot be read"),
    ("<segmentation>{'size': [9, 9], 'counts': 'a'}</segmentation>", "cannot be read"),
    ("<ellipse><cx>9</cx></ellipse>", "cannot be read"),
    ("", "incomplete box"),
])
def test_an_unreadable_shape_is_a_problem(tmp_path: Path, wrong: str, message: str) -> None:
    read_back = read(tmp_path, f"<object><name>ship</name>{wrong}</object>")
    assert read_back.boxes == ()
    assert message in read_back.problems[0]


def test_colabeler_wraps_its_objects(tmp_path: Path) -> None:
    items = "".join(f"<item><name>{name}</name><bndbox>{tags(xmin=1, ymin=2, xmax=3, ymax=4)}</bndbox></item>"
                    for name in ("异常", "正常"))
    read_back = read(tmp_path, f"<path>D:\\图片\\1.jpg</path><outputs><object>{items}</object></outputs>"
                     f"<size>{tags(width=9, height=8)}</size>", root="doc")
    assert [box.name for box in read_back.boxes] == ["异常", "正常"]
    assert (read_back.image, read_back.size) == ("D:\\图片\\1.jpg", (9, 8))


def test_fair1m_keeps_the_class_beside_the_object(tmp_path: Path) -> None:
    body = ("<objects><object><possibleresult><name>A220</name></possibleresult><points><point>1,2</point><point>5,9</point>"
            "</points></object></objects>")
    assert [str(box) for box in read(tmp_path, body).boxes] == ["A220 (1, 2, 5, 9)"]


def test_deleted_objects_are_left_out(tmp_path: Path) -> None:
    shape = SHAPES["Labelbox"][0]
    body = "".join(f"<object><name>a</name><deleted>{deleted}</deleted>{shape}</object>" for deleted in (0, 1))
    assert (len(read(tmp_path, body).boxes), read(tmp_path, body).deleted) == (1, 1)


def test_boxes_outside_objects_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="outside <object>"):
        read(tmp_path, f"<thing>{SHAPES['VOC'][0]}</thing>")


@pytest.mark.parametrize(("text", "number"), [
    ("1", 1), ("-1.5", -1.5), ("+2", 2), (".5", 0.5), ("5.", 5), ("1,5", 1.5), ("1e2", 100), (" 7 ", 7), ("１２．５", 12.5),
    ("1_0", None), ("", None), ("nan", None), ("inf", None), ("1e999", None), ("0x1", None), ("1.2.3", None), ("٣", None),
    (True, None), (None, None), (10**400, None), (3, 3), (2.5, 2.5), ([1], None),
])
def test_numbers(text: object, number: float | None) -> None:
    assert parse_number(text) == number


@settings(deadline=None)
@given(st.floats(0, 100), st.floats(0, 100), st.floats(1, 50), st.floats(1, 50), st.floats(-7, 7))
def test_a_rotated_box_is_enclosed(x: float, y: float, width: float, height: float, angle: float) -> None:
    points = [(x + across * math.cos(angle) - down * math.sin(angle), y + across * math.sin(angle) + down * math.cos(angle))
              for across in (-width / 2, width / 2) for down in (-height / 2, height / 2)]
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    assert rotated_corners(x, y, width, height, angle) == pytest.approx((min(xs), min(ys), max(xs), max(ys)), abs=1e-6)


def runs(rows: list[list[bool]]) -> list[int]:
    flat = [row[x] for x in range(len(rows[0])) for row in rows]
    found, value = [0], False
    for pixel in flat:
        if pixel != value:
            found.append(0)
            value = pixel
        found[-1] += 1
    return found


@settings(deadline=None)
@given(st.integers(1, 8).flatmap(lambda width: st.lists(st.lists(st.booleans(), min_size=width, max_size=width), min_size=1,
                                                        max_size=8)))
def test_a_mask_is_enclosed(rows: list[list[bool]]) -> None:
    pixels = [(x, y) for y, row in enumerate(rows) for x, is_on in enumerate(row) if is_on]
    xs, ys = [x for x, _ in pixels], [y for _, y in pixels]
    expected = (min(xs), min(ys), max(xs) + 1, max(ys) + 1) if pixels else None
    assert mask_corners(runs(rows), len(rows)) == expected


@pytest.mark.parametrize(("counts", "height", "corners"), [  # texts that pycocotools 2.0.11 wrote for these masks
    ("`01<2J0007", 9, (1, 2, 6, 8)),
    ("bm^1f4Z:000ZVQ3\\KZnnL0^QY1Z>n`V2", 480, (100, 10, 401, 470)),
    ("0i0", 5, (0, 0, 5, 5)), ("i0", 5, None), ("\u3000", 5, None), ([1, -2], 5, None), ([1, 2], 0, None)])
def test_compressed_masks_are_enclosed(counts: str | list[int], height: int, corners: tuple[int, ...] | None) -> None:
    assert mask_corners(counts, height) == corners
