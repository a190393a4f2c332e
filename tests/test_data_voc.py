"""Conversion from Pascal VOC: every box arrives, every problem is named, and nothing half-written is left."""

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
from yolograft.errors import DataError


def xml(*boxes: tuple[str, float, float, float, float], size: tuple[int, int] = (40, 30), name: str = "") -> str:
    objects = "".join(f"<object><name>{kind}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
                      "</bndbox></object>" for kind, a, b, c, d in boxes)
    return (f"<annotation><filename>{name}</filename><size><width>{size[0]}</width><height>{size[1]}</height></size>"
            f"{objects}</annotation>")


def add(folder: Path, name: str, text: str | None, *, where: str = "", shade: int | None = None) -> None:
    pictures, told = folder / where / "IMAGES", folder / where / "ANNOTATIONS"
    pictures.mkdir(parents=True, exist_ok=True)
    told.mkdir(parents=True, exist_ok=True)
    shade = sum(name.encode()) * 7 % 251 if shade is None else shade
    picture = np.random.default_rng(shade).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    cv2.imwrite(str(pictures / f"{name}.png"), picture)
    if text is not None:
        (told / f"{name}.xml").write_text(text)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    for number in range(1, 11):
        kind = "cat" if number <= 5 else "dog"
        add(folder, f"{kind}_{number}", xml((kind, 1, 1, 20, 30), ("dog", 11, 6, 40, 30)), shade=number)
    return folder


def test_boxes_are_pixels_from_one_with_both_ends(source: Path, tmp_path: Path) -> None:
    report = voc.convert(source, tmp_path / "set")
    assert report.exit_code == 0
    lines = next((tmp_path / "set" / "labels").rglob("cat_1.txt")).read_text().splitlines()
    assert lines[0] == "0 0.250000 0.500000 0.500000 1.000000"
    assert lines[1] == "1 0.625000 0.583333 0.750000 0.833333"
    told = yaml.safe_load(report.yaml.read_text())
    assert told == {"path": str(tmp_path / "set"), "train": "images/train", "val": "images/val",
                    "names": {0: "cat", 1: "dog"}}
    assert report.pictures == {"train": 8, "val": 2}
    assert report.boxes == {"train": {"cat": 4, "dog": 12}, "val": {"cat": 1, "dog": 3}}


def test_a_set_that_counts_from_zero_is_read_so(source: Path, tmp_path: Path) -> None:
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
        ("<annotation><object>", "is no XML"),
        ("<html/>", "is no VOC annotation"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><annotation/>', "declares a document type"),
        (xml(("cat", 5, 5, 4, 9)), r"has no area"),
        (xml(("cat", 90, 5, 99, 9)), r"lies outside the picture of 40 x 30"),
        (xml(("cat", 30, 5, 60, 9)), r"reaches out of the picture; cut at its edge"),
        (xml(("cat", 1, 1, 9, 9), ("cat", 1, 1, 9, 9)), "twice; the second is left out"),
        (xml(("cta", 1, 1, 9, 9)), "class 'cta' is unknown. Did you mean 'cat'"),
        (xml(("", 1, 1, 9, 9)), "has no class name"),
        (xml(("cat", "x", 1, 9, 9)), "has no whole box"),  # type: ignore[arg-type]
        (xml(("cat", "nan", 1, 9, 9)), "has no whole box"),  # type: ignore[arg-type]
        (xml(("cat", 1, 1, 9, 9), size=(30, 40)), "says 30 x 40 pixels, the picture has 40 x 30"),
    ],
)
def test_what_is_broken_is_named_and_the_rest_converted(
    source: Path, tmp_path: Path, text: str | None, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    add(source, "odd_1", text)
    assert main(["data", "voc", str(source), str(tmp_path / "set"), "names=cat,dog"]) == 1
    shown = capsys.readouterr().out
    assert what in shown
    assert "odd_1" in shown
    assert shown.strip() == (tmp_path / "set" / "report.txt").read_text().strip()
    assert len(list((tmp_path / "set" / "images").rglob("cat_*.png"))) == 5


def test_pictures_that_cannot_be_read_or_are_missing_are_named(source: Path, tmp_path: Path) -> None:
    add(source, "bad_1", xml(("cat", 1, 1, 9, 9)))
    (source / "IMAGES" / "bad_1.png").write_bytes(b"not a picture")
    (source / "ANNOTATIONS" / "gone_1.xml").write_text(xml(("cat", 1, 1, 9, 9)))
    text = voc.convert(source, tmp_path / "set").text()
    assert "bad_1.png: cannot be read as a picture" in text
    assert "gone_1.xml: has no picture" in text


def test_identical_pictures_stay_on_one_side_and_the_counts_stay(tmp_path: Path) -> None:
    for number in range(1, 16):
        add(tmp_path / "s", f"cat_{number}", xml(("cat", 1, 1, 9, 9)), shade=4 if number == 5 else number)
    report = voc.convert(tmp_path / "s", tmp_path / "set")
    assert report.identical == (("cat_4", "cat_5"),)
    assert report.pictures == {"train": 12, "val": 3}
    assert (tmp_path / "set" / "images" / "train" / "cat_5.png").is_file()
    assert "cat_6 is in val for cat_5" in report.text()
    assert report.exit_code == 0


def test_the_sources_own_split_is_kept_on_request(tmp_path: Path) -> None:
    for side, count in (("train", 4), ("validation", 2), ("test", 1)):
        for number in range(count):
            add(tmp_path / "s", f"{side}{number}", xml(("cat", 1, 1, 9, 9)), where=side)
    assert voc.convert(tmp_path / "s", tmp_path / "a", split="source").pictures == {"train": 4, "val": 2, "test": 1}
    add(tmp_path / "s", "homeless", xml(("cat", 1, 1, 9, 9)))
    with pytest.raises(DataError, match="'homeless'"):
        voc.convert(tmp_path / "s", tmp_path / "b", split="source")
    with pytest.raises(DataError, match="Did you mean 'source'"):
        voc.convert(tmp_path / "s", tmp_path / "b", split="sources")
    assert not (tmp_path / "b").exists()


def test_two_pictures_of_one_name_are_told_apart_or_reported(tmp_path: Path) -> None:
    for where in ("train", "validation"):
        add(tmp_path / "s", "one", xml(("cat", 1, 1, 9, 9)), where=where, shade=len(where))
    add(tmp_path / "s", "two", xml(("cat", 1, 1, 9, 9)), where="train")
    assert "a second picture is named 'one'" in voc.convert(tmp_path / "s", tmp_path / "set").text()


def test_a_mistake_leaves_the_destination_as_it_was(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dest = tmp_path / "set"
    dest.mkdir()
    (dest / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="is there already"):
        voc.convert(source, dest)
    with pytest.raises(DataError, match="holds the source"):
        voc.convert(source, tmp_path, overwrite=True)
    with pytest.raises(DataError, match=r"does not exist\. Did you mean 'source'"):
        voc.convert(tmp_path / "sorce", dest, overwrite=True)

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(DataError, match="No space left"):
            voc.convert(source, dest, overwrite=True)
    assert (dest / "thesis.txt").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "source"]
    voc.convert(source, dest, overwrite=True)
    assert not (dest / "thesis.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "source"]


def test_nothing_to_convert_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no XML file is below it"):
        voc.convert(tmp_path / "empty", tmp_path / "set")
    with pytest.raises(DataError, match="neither a folder nor a zip"):
        voc.convert(Path(__file__), tmp_path / "set")
    with pytest.raises(DataError, match=r"faculty\.neu\.edu\.cn"):
        neudet.convert(tmp_path / "nothing.zip", tmp_path / "set")
    add(tmp_path / "other", "a", xml(("cat", 1, 1, 9, 9)))
    with pytest.raises(DataError, match="Not one usable box"):
        neudet.convert(tmp_path / "other", tmp_path / "set")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("name", ["../evil.xml", "/evil.xml", "C:\\evil.xml", "a/../../evil.xml"])
def test_a_zip_that_points_out_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        archive.writestr(name, xml(("cat", 1, 1, 9, 9)))
    with pytest.raises(DataError, match="points out of the folder"):
        voc.convert(tmp_path / "s.zip", tmp_path / "set")


def test_a_zip_that_would_fill_the_disk_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "s.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.xml", b"\0" * 50_000_000)
    with pytest.raises(DataError, match="would unpack to 48 MiB"):
        voc.convert(tmp_path / "s.zip", tmp_path / "set")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet="<>/annotiobjecdxm &;!-1290.", max_size=200).map(str.encode))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
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


def test_neu_det_converts_whole(tmp_path: Path) -> None:
    report = neudet.convert(neu(), tmp_path / "NEU-DET")
    assert report.pictures == {"train": 1440, "val": 360}
    assert sum(sum(side.values()) for side in report.boxes.values()) == 4189 - 3
    assert report.exit_code == 0
    assert report.identical == (("patches_101", "patches_105"),)
    assert sum("twice" in note for note in report.notes) == 3
    val = sorted(path.stem for path in (tmp_path / "NEU-DET" / "images" / "val").iterdir())
    assert [stem for stem in val if int(stem.rsplit("_", 1)[1]) % 5] == ["patches_106"]
    assert report.yaml == tmp_path / "NEU-DET" / "NEU-DET.yaml"


def test_kaggles_layout_gives_the_same_set(tmp_path: Path) -> None:
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
    assert report.pictures == {"train": 120, "val": 12}
    assert neudet.convert(tmp_path / "kaggle", tmp_path / "b").pictures == {"train": 108, "val": 24}


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
def test_a_wrong_command_is_told(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err
