"""Conversion of Pascal VOC sets: every box is converted, every problem is reported, no partial result remains."""

import os
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from conftest import DATA
from hypothesis import given, settings
from hypothesis import strategies as st

from yolograft.cli import main
from yolograft.data import annotation, neudet, voc
from yolograft.data.source import open_source
from yolograft.errors import DataError


def xml(*boxes: tuple[str, float, float, float, float], size: tuple[int, int] = (40, 30), name: str = "") -> str:
    objects = "".join(f"<object><name>{kind}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
                      "</bndbox></object>" for kind, a, b, c, d in boxes)
    return (f"<annotation><filename>{name}</filename><size><width>{size[0]}</width><height>{size[1]}</height></size>"
            f"{objects}</annotation>")


def add(folder: Path, name: str, text: str | None, *, where: str = "", shade: int | None = None) -> None:
    images, annotations = folder / where / "IMAGES", folder / where / "ANNOTATIONS"
    images.mkdir(parents=True, exist_ok=True)
    annotations.mkdir(parents=True, exist_ok=True)
    shade = sum(name.encode()) * 7 % 251 if shade is None else shade
    picture = np.random.default_rng(shade).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    cv2.imwrite(str(images / f"{name}.png"), picture)
    if text is not None:
        (annotations / f"{name}.xml").write_text(text)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    for number in range(1, 11):
        kind = "cat" if number <= 5 else "dog"
        add(folder, f"{kind}_{number}", xml((kind, 1, 1, 20, 30), ("dog", 11, 6, 40, 30)), shade=number)
    return folder


def test_corners_are_pixel_numbers_from_1_with_both_ends_included(source: Path, tmp_path: Path) -> None:
    report = voc.convert(source, tmp_path / "set")
    assert report.exit_code == 0
    lines = next((tmp_path / "set" / "labels").rglob("cat_1.txt")).read_text().splitlines()
    assert lines[0] == "0 0.250000 0.500000 0.500000 1.000000"
    assert lines[1] == "1 0.625000 0.583333 0.750000 0.833333"
    content = yaml.safe_load(report.yaml.read_text())
    assert content == {"path": str(tmp_path / "set"), "train": "images/train", "val": "images/val",
                    "names": {0: "cat", 1: "dog"}}
    assert report.images == {"train": 8, "val": 2}
    assert report.boxes == {"train": {"cat": 4, "dog": 12}, "val": {"cat": 1, "dog": 3}}


def test_corners_that_count_from_0_are_edges(source: Path, tmp_path: Path) -> None:
    add(source, "cat_99", xml(("cat", 0, 0, 20, 15)))
    voc.convert(source, tmp_path / "set")
    assert next((tmp_path / "set").rglob("cat_99.txt")).read_text() == "0 0.250000 0.250000 0.500000 0.500000\n"


def test_the_same_source_gives_the_same_bytes(source: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "source.zip", "w") as archive:
        for path in sorted(source.rglob("*"), reverse=True):
            archive.write(path, path.relative_to(source))
    for name, given_source in (("a", source), ("b", tmp_path / "source.zip")):
        voc.convert(given_source, tmp_path / name)
    one, two = tmp_path / "a", tmp_path / "b"
    files = [path.relative_to(one) for path in one.rglob("*_*.*") if path.suffix in (".txt", ".png")]
    assert len(files) == 20
    assert all((one / file).read_bytes() == (two / file).read_bytes() for file in files)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, "has no annotation"),
        ("<annotation><object>", "is not XML"),
        ("<html/>", "is not a VOC annotation"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><annotation/>', "declares a document type"),
        (xml(("cat", 5, 5, 4, 9)), "has swapped corners; they are reordered"),
        (xml(("cat", 0, 0, 9, 9), ("cat", 5, 5, 5, 9)), "has no area"),
        (xml(("cat", 90, 5, 99, 9)), r"lies outside the image of 40 x 30"),
        (xml(("cat", 30, 5, 60, 9)), r"extends beyond the image; it is clipped"),
        (xml(("cat", 1, 1, 9, 9), ("cat", 1, 1, 9, 9)), "twice; the second is skipped"),
        (xml(("cta", 1, 1, 9, 9)), "class 'cta' is unknown. Did you mean 'cat'"),
        (xml(("", 1, 1, 9, 9)), "has no class name"),
        (xml(("cat", "x", 1, 9, 9)), "has an incomplete box"),  # type: ignore[arg-type]
        (xml(("cat", "nan", 1, 9, 9)), "has an incomplete box"),  # type: ignore[arg-type]
        (xml(("cat", 1, 1, 9, 9), size=(30, 40)), "says 30 x 40 pixels, but the image has 40 x 30"),
    ],
)
def test_problems_are_reported_and_the_rest_is_converted(
    source: Path, tmp_path: Path, text: str | None, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    add(source, "odd_1", text)
    assert main(["data", "voc", str(source), str(tmp_path / "set"), "names=cat,dog"]) == 1
    printed = capsys.readouterr().out
    assert what in printed
    assert "odd_1" in printed
    assert printed.strip() == (tmp_path / "set" / "report.txt").read_text().strip()
    assert len(list((tmp_path / "set" / "images").rglob("cat_*.png"))) == 5


def test_unreadable_and_missing_images_are_reported(source: Path, tmp_path: Path) -> None:
    add(source, "bad_1", xml(("cat", 1, 1, 9, 9)))
    (source / "IMAGES" / "bad_1.png").write_bytes(b"not a picture")
    (source / "ANNOTATIONS" / "gone_1.xml").write_text(xml(("cat", 1, 1, 9, 9)))
    text = voc.convert(source, tmp_path / "set").text()
    assert "bad_1.png: cannot be read as an image" in text
    assert "gone_1.xml: has no image" in text


def test_identical_images_are_in_one_split_and_the_counts_stay_the_same(tmp_path: Path) -> None:
    for number in range(1, 16):
        add(tmp_path / "s", f"cat_{number}", xml(("cat", 1, 1, 9, 9)), shade=4 if number == 5 else number)
    report = voc.convert(tmp_path / "s", tmp_path / "set")
    assert report.identical == (("cat_4", "cat_5"),)
    assert report.images == {"train": 12, "val": 3}
    assert (tmp_path / "set" / "images" / "train" / "cat_5.png").is_file()
    assert "cat_5: is the same image as cat_4; both are in train (cat_6 is in val for cat_5)" in report.text()
    assert report.exit_code == 1


def test_the_sources_own_split_is_kept_on_request(tmp_path: Path) -> None:
    for side, count in (("train", 4), ("validation", 2), ("test", 1)):
        for number in range(count):
            add(tmp_path / "s", f"{side}{number}", xml(("cat", 1, 1, 9, 9)), where=side)
    assert voc.convert(tmp_path / "s", tmp_path / "a", split="source").images == {"train": 4, "val": 2, "test": 1}
    add(tmp_path / "s", "homeless", xml(("cat", 1, 1, 9, 9)))
    with pytest.raises(DataError, match="'homeless'"):
        voc.convert(tmp_path / "s", tmp_path / "b", split="source")
    with pytest.raises(DataError, match="Did you mean 'source'"):
        voc.convert(tmp_path / "s", tmp_path / "b", split="sources")
    assert not (tmp_path / "b").exists()


def test_two_images_with_one_name_are_matched_or_reported(tmp_path: Path) -> None:
    for where in ("train", "validation"):
        add(tmp_path / "s", "one", xml(("cat", 1, 1, 9, 9)), where=where, shade=len(where))
    add(tmp_path / "s", "two", xml(("cat", 1, 1, 9, 9)), where="train")
    assert "another image is also named 'one'" in voc.convert(tmp_path / "s", tmp_path / "set").text()


def test_a_mistake_does_not_change_the_destination(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dest = tmp_path / "set"
    dest.mkdir()
    (dest / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="exists"):
        voc.convert(source, dest)
    with pytest.raises(DataError, match=r"contains 'thesis\.txt', which is not part of a data set"):
        voc.convert(source, dest, overwrite=True)
    with pytest.raises(DataError, match="is not a folder"):
        voc.convert(source, dest / "thesis.txt", overwrite=True)
    with pytest.raises(DataError, match="contains 'set'"):
        voc.convert(source, tmp_path, overwrite=True)
    with pytest.raises(DataError, match=r"does not exist\. Did you mean 'source'"):
        voc.convert(tmp_path / "sorce", tmp_path / "new", overwrite=True)

    assert (dest / "thesis.txt").read_text() == "years of work"
    (dest / "thesis.txt").unlink()
    before = voc.convert(source, dest, overwrite=True).yaml.read_text()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(DataError, match="No space left"):
            voc.convert(source, dest, overwrite=True)
    assert (dest / "set.yaml").read_text() == before
    assert len(list((dest / "images").rglob("*.png"))) == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "source"]
    add(source, "cat_11", xml(("cat", 1, 1, 9, 9)), shade=11)
    voc.convert(source, dest, overwrite=True)
    assert len(list((dest / "images").rglob("*.png"))) == 11
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "source"]


def test_a_conversion_into_its_source_does_not_read_its_own_result(source: Path) -> None:
    first = voc.convert(source, source / "out")
    second = voc.convert(source, source / "out", overwrite=True)
    assert first == second
    assert first.exit_code == 0
    with pytest.raises(DataError, match=r"contains 'ANNOTATIONS'|contains the source"):
        voc.convert(source, source, overwrite=True)


@pytest.mark.skipif(os.name == "nt", reason="permissions are not POSIX's")
def test_the_set_has_the_permissions_of_any_new_folder(source: Path, tmp_path: Path) -> None:
    (tmp_path / "usual").mkdir()
    dest = voc.convert(source, tmp_path / "set").yaml.parent
    assert dest.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_truncated_image_is_reported(source: Path, tmp_path: Path) -> None:
    for name, suffix in (("half_1", ".jpg"), ("half_2", ".png")):
        raw = cv2.imencode(suffix, np.random.default_rng(5).integers(0, 255, (90, 90, 3), dtype=np.uint8))[1].tobytes()
        (source / "IMAGES" / f"{name}{suffix}").write_bytes(raw[: len(raw) * 2 // 3])
        (source / "ANNOTATIONS" / f"{name}.xml").write_text(xml(("cat", 1, 1, 9, 9), size=(90, 90)))
    (source / "IMAGES" / "empty_1.jpg").write_bytes(b"")
    (source / "ANNOTATIONS" / "empty_1.xml").write_text(xml(("cat", 1, 1, 9, 9)))
    report = voc.convert(source, tmp_path / "set")
    assert len(report.problems) == 3
    assert "half_1.jpg: is a truncated image; skipped" in report.text()
    assert sum(report.images.values()) == 10


def test_an_invalid_box_does_not_show_that_the_set_counts_from_0(source: Path, tmp_path: Path) -> None:
    add(source, "odd_1", xml(("cat", 0, 0, 0, 0), ("cat", -9, 5, 9, 9)))
    report = voc.convert(source, tmp_path / "set")
    assert next((tmp_path / "set" / "labels").rglob("cat_1.txt")).read_text().startswith("0 0.250000 0.500000")
    assert [problem.file for problem in report.problems] == ["odd_1", "odd_1"]
    assert not report.notes
    add(source, "odd_2", xml(("cat", 0, 0, 20, 15)))
    assert "corners count from 0 in this set, as in odd_2" in voc.convert(source, tmp_path / "other").text()


def test_the_layout_of_pascal_voc_with_lists_and_masks(tmp_path: Path) -> None:
    root = tmp_path / "VOCdevkit" / "VOC2007"
    for folder in ("Annotations", "JPEGImages", "SegmentationClass", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for number in range(6):
        name = f"00000{number}"
        picture = np.random.default_rng(number).integers(0, 255, (30, 40, 3), dtype=np.uint8)
        cv2.imwrite(str(root / "JPEGImages" / f"{name}.jpg"), picture)
        cv2.imwrite(str(root / "SegmentationClass" / f"{name}.png"), picture)
        (root / "Annotations" / f"{name}.xml").write_text(xml(("cat", 1, 1, 9, 9), name=f"{name}.jpg"))
    (root / "ImageSets" / "Main" / "train.txt").write_text("000000\n000001\n000002\n")
    (root / "ImageSets" / "Main" / "val.txt").write_text("000003\n")
    (root / "ImageSets" / "Main" / "test.txt").write_text("000004\n000005\n")
    (root / "ImageSets" / "Main" / "cat_val.txt").write_text("000000  1\n")
    report = voc.convert(tmp_path / "VOCdevkit", tmp_path / "set", split="source")
    assert report.images == {"train": 3, "val": 1, "test": 2}
    assert report.exit_code == 0
    assert (tmp_path / "set" / "images" / "val" / "000003.jpg").is_file()


def test_of_images_with_one_name_the_one_in_filename_is_used(tmp_path: Path) -> None:
    for number in range(3):
        add(tmp_path / "s", f"a{number}", xml(("cat", 1, 1, 9, 9), name=f"C:\\pictures\\a{number}.png"), shade=number)
        cv2.imwrite(str(tmp_path / "s" / "IMAGES" / f"a{number}.bmp"), np.full((30, 40, 3), 9 * number, np.uint8))
    report = voc.convert(tmp_path / "s", tmp_path / "set")
    assert sorted(path.name for path in (tmp_path / "set" / "images").rglob("a*")) == ["a0.png", "a1.png", "a2.png"]
    assert [problem.what for problem in report.problems] == ["has no annotation; skipped"] * 3


def test_a_small_set_has_both_splits(tmp_path: Path) -> None:
    for number, kind in enumerate(("cat", "dog", "dog")):
        add(tmp_path / "s", f"p{number}", xml((kind, 1, 1, 9, 9)), shade=number)
    report = voc.convert(tmp_path / "s", tmp_path / "set")
    assert report.images == {"train": 2, "val": 1}
    assert "p2 is in" in report.text()
    for number in (5, 10):
        add(tmp_path / "n", f"crazing_{number}", xml(("crazing", 1, 1, 9, 9)), shade=number)
    assert neudet.convert(tmp_path / "n", tmp_path / "neu").images == {"train": 1, "val": 1}
    add(tmp_path / "one", "p", xml(("cat", 1, 1, 9, 9)))
    with pytest.raises(DataError, match="1 usable images cannot be split"):
        voc.convert(tmp_path / "one", tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("names", [["cat", "cat"], ["cat", ""], "cat"])
def test_invalid_class_names_are_errors(source: Path, tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(DataError, match="each once"):
        voc.convert(source, tmp_path / "set", names=names)


def test_leaking_source_splits_are_reported(tmp_path: Path) -> None:
    for side in ("train", "val"):
        for number in range(2):
            add(tmp_path / "s", f"{side}{number}", xml(("cat", 1, 1, 9, 9)), where=side, shade=number)
    report = voc.convert(tmp_path / "s", tmp_path / "set", split="source")
    assert "val0: is the same image as train0; they are in different splits" in report.text()
    assert report.exit_code == 1
    assert report.images == {"train": 2, "val": 2}


def test_chinese_names_paths_and_encodings_are_supported(tmp_path: Path) -> None:
    folder = tmp_path / "钢材"
    for number in range(5):
        add(folder, f"划痕_{number}", None, shade=number)
        text = '<?xml version="1.0" encoding="GB2312"?>' + xml(("划痕", 1, 1, 9, 9), name=f"划痕_{number}.png")
        (folder / "ANNOTATIONS" / f"划痕_{number}.xml").write_bytes(text.encode("gb2312"))
    report = voc.convert(folder, tmp_path / "数据: #1")
    assert report.exit_code == 0
    content = yaml.safe_load(report.yaml.read_text(encoding="utf-8"))
    assert content["names"] == {0: "划痕"}
    assert Path(content["path"]).is_dir()


def test_nothing_to_convert_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="It has no XML file"):
        voc.convert(tmp_path / "empty", tmp_path / "set")
    with pytest.raises(DataError, match="neither a folder nor a zip"):
        voc.convert(Path(__file__), tmp_path / "set")
    with pytest.raises(DataError, match=r"faculty\.neu\.edu\.cn"):
        neudet.convert(tmp_path / "nothing.zip", tmp_path / "set")
    add(tmp_path / "other", "a", xml(("cat", 1, 1, 9, 9)))
    with pytest.raises(DataError, match="No usable box"):
        neudet.convert(tmp_path / "other", tmp_path / "set")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("name", ["../evil.xml", "/evil.xml", "C:\\evil.xml", "a/../../evil.xml"])
def test_a_zip_with_a_path_outside_its_folder_is_an_error(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        archive.writestr(name, xml(("cat", 1, 1, 9, 9)))
    with pytest.raises(DataError, match="a path outside the folder"):
        voc.convert(tmp_path / "s.zip", tmp_path / "set")


def test_a_zip_with_a_duplicate_file_is_an_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        archive.writestr("a.xml", xml(("cat", 1, 1, 9, 9)))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.xml", xml(("dog", 1, 1, 9, 9)))
    with pytest.raises(DataError, match=r"contains 'a\.xml' twice"):
        voc.convert(tmp_path / "s.zip", tmp_path / "set")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=12), st.integers(0, 10**6))
def test_a_damaged_zip_is_read_or_is_an_error(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, int]], cut: int
) -> None:
    folder = tmp_path_factory.mktemp("zip")
    with zipfile.ZipFile(folder / "s.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"a{number}.xml", xml(*[("cat", 1, 1, 9, 9)] * 9))
            archive.writestr(f"a{number}.png", bytes(range(256)))
    raw = bytearray((folder / "s.zip").read_bytes())
    for at, value in damage:
        raw[at % len(raw)] = value
    (folder / "s.zip").write_bytes(raw[: len(raw) - cut % 3])
    with pytest.raises(DataError), open_source(folder / "s.zip") as unpacked:
        raise DataError(str(unpacked))  # the damage did no harm
    assert sorted(path.name for path in folder.iterdir()) == ["s.zip"]


def test_a_zip_with_an_extreme_compression_ratio_is_an_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "s.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.xml", b"\0" * 50_000_000)
    with pytest.raises(DataError, match="would unpack to 48 MiB"):
        voc.convert(tmp_path / "s.zip", tmp_path / "set")


BOMB = ('<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><annotation><filename>&b;</filename>'
        "</annotation>")


@pytest.mark.parametrize("raw", [
    BOMB.encode(), BOMB.encode("utf-16"), b'<?xml version="1.0" encoding="GBK"?>' + BOMB.encode("gbk"),
    b'<!DOCTYPE annotation SYSTEM "file:///etc/passwd"><annotation/>',
])
def test_document_types_are_errors_in_every_encoding(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "a.xml").write_bytes(raw)
    with pytest.raises(DataError, match="declares a document type"):
        annotation.read(tmp_path / "a.xml")


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=9),
                          *[st.integers(-50, 500)] * 4), max_size=6))
def test_written_boxes_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, boxes: list[tuple[str, int, int, int, int]]
) -> None:
    path = tmp_path_factory.mktemp("xml") / "a.xml"
    path.write_text(xml(*boxes, name="p.png"), encoding="utf-8")
    read = annotation.read(path)
    assert [(box.name, *box.corners) for box in read.boxes] == [(kind, *map(float, rest)) for kind, *rest in boxes]
    assert (read.image, read.size, read.problems) == ("p.png", (40, 30), ())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet="<>/annotiobjecdxm &;!-1290.", max_size=200).map(str.encode))
def test_any_file_is_read_or_is_an_error(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.mktemp("xml") / "a.xml"
    for content in (raw, b"<annotation><object>" + raw + b"</object></annotation>"):
        path.write_bytes(content)
        try:
            annotation.read(path)
        except DataError as error:
            assert str(error)  # noqa: PT017 (either outcome is right)


def neu() -> Path:
    if not (DATA / "NEU-DET.zip").is_file():
        pytest.skip("needs NEU-DET.zip (set YOLOGRAFT_DATA to the folder that has it)")
    return DATA / "NEU-DET.zip"


def test_neu_det_is_converted_completely(tmp_path: Path) -> None:
    report = neudet.convert(neu(), tmp_path / "NEU-DET")
    assert report.images == {"train": 1440, "val": 360}
    assert sum(sum(side.values()) for side in report.boxes.values()) == 4189 - 3
    assert report.exit_code == 0
    assert report.identical == (("patches_101", "patches_105"),)
    assert sum("twice" in note for note in report.notes) == 3
    assert sum("patches_105: is the same image as patches_101; both are in train" in note for note in report.notes) == 1
    val = sorted(path.stem for path in (tmp_path / "NEU-DET" / "images" / "val").iterdir())
    assert [stem for stem in val if int(stem.rsplit("_", 1)[1]) % 5] == ["patches_106"]
    assert report.yaml == tmp_path / "NEU-DET" / "NEU-DET.yaml"


def coco() -> Path:
    if not (DATA / "coco128.zip").is_file():
        pytest.skip("needs coco128.zip (set YOLOGRAFT_DATA to the folder that has it)")
    return DATA / "coco128.zip"


def test_a_real_set_written_as_voc_is_converted_back(tmp_path: Path) -> None:
    labels: dict[str, list[list[float]]] = {}
    with zipfile.ZipFile(coco()) as archive:
        members = [name for name in archive.namelist() if name.endswith(".txt") and "/labels/" in name]
        pictures = {Path(name).stem: name for name in archive.namelist() if name.endswith(".jpg")}
        for member in [name for name in members if Path(name).stem in pictures][:40]:
            stem = Path(member).stem
            raw = archive.read(pictures[stem])
            height, width = cv2.imdecode(np.frombuffer(raw, np.uint8), 1).shape[:2]
            rows = np.loadtxt(archive.read(member).decode().splitlines(), ndmin=2)
            labels[stem] = rows.tolist()
            boxes = [(f"{int(c):02}", (x - w / 2) * width + 1, (y - h / 2) * height + 1, (x + w / 2) * width,
                      (y + h / 2) * height) for c, x, y, w, h in rows]
            (tmp_path / "s").mkdir(exist_ok=True)
            (tmp_path / "s" / f"{stem}.jpg").write_bytes(raw)
            (tmp_path / "s" / f"{stem}.xml").write_text(xml(*boxes, size=(width, height)))
    report = voc.convert(tmp_path / "s", tmp_path / "set", names=[f"{number:02}" for number in range(80)])
    assert sum(report.images.values()) == 40
    for file in (tmp_path / "set" / "labels").rglob("*.txt"):
        assert np.allclose(np.loadtxt(file, ndmin=2), labels[file.stem], atol=2e-5)


def test_the_layout_of_kaggle_is_supported(tmp_path: Path) -> None:
    with zipfile.ZipFile(neu()) as archive:
        for member in archive.namelist():
            stem = Path(member).stem
            number = int(stem.rsplit("_", 1)[1]) if stem[-1:].isdigit() else 0
            if number not in (*range(1, 21), 241, 242):
                continue
            side = "validation" if number > 240 else "train"
            where = "annotations" if member.endswith(".xml") else f"images/{stem.rsplit('_', 1)[0]}"
            path = tmp_path / "kaggle" / "NEU-DET" / side / where / Path(member).name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(member))
    report = neudet.convert(tmp_path / "kaggle", tmp_path / "a", split="source")
    assert report.images == {"train": 120, "val": 12}
    assert neudet.convert(tmp_path / "kaggle", tmp_path / "b").images == {"train": 108, "val": 24}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data"], "Expected: yolograft data"),
        (["data", "neu_det"], "Did you mean 'neu-det'"),
        (["data", "neu-det"], "faculty.neu.edu.cn"),
        (["data", "voc", "only-one"], "got 1 of them"),
        (["data", "steel", "x", "image=3"], "Did you mean 'images'"),
        (["data", "steel", "x", "overwrite=maybe"], "expected True or False"),
    ],
)
def test_a_wrong_command_gives_a_message(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err
