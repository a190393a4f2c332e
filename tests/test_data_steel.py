"""The steel data set: the same seed gives the same bytes, boxes are tight, and a mistake deletes no file."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from yolograft.data import steel
from yolograft.errors import DataError


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    one, two = steel.write(tmp_path / "a", images=30, size=64), steel.write(tmp_path / "b", images=30, size=64)
    files = sorted(path.relative_to(one.parent) for path in one.parent.rglob("*.*") if path.suffix in (".png", ".txt"))
    assert len(files) == 60
    assert all((one.parent / file).read_bytes() == (two.parent / file).read_bytes() for file in files)
    other = steel.write(tmp_path / "c", images=30, size=64, seed=1)
    assert all((one.parent / f).read_bytes() != (other.parent / f).read_bytes() for f in files if f.suffix == ".png")


def test_both_splits_have_every_class_and_the_yaml_has_their_paths(tmp_path: Path) -> None:
    content = yaml.safe_load(steel.write(tmp_path / "s", images=60, size=64).read_text())
    assert list(content["names"].values()) == list(steel.CLASSES)
    for split, count in (("train", 48), ("val", 12)):
        pictures = sorted((Path(content["path"]) / content[split]).glob("*.png"))
        labels = [Path(content["path"]) / "labels" / split / f"{picture.stem}.txt" for picture in pictures]
        assert len(pictures) == count
        assert {int(line.split()[0]) for label in labels for line in label.read_text().splitlines()} == set(range(6))
        assert cv2.imread(str(pictures[0])).shape == (64, 64, 3)


@pytest.mark.parametrize("number", range(36))
def test_a_box_encloses_the_pixels_that_change_visibly(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, np.ndarray]] = []
    for index, (name, draw) in enumerate(list(steel._DRAW.items())):
        def recorded(generator: np.random.Generator, size: int, index: int = index, draw: steel.Draw = draw) -> np.ndarray:
            drawn.append((index, draw(generator, size)))
            return drawn[-1][1]

        monkeypatch.setitem(steel._DRAW, name, recorded)
    grey, boxes = steel.draw_image(7, number, 160)
    assert grey.shape == (160, 160)
    assert 1 <= len(boxes) <= 4
    for index, x0, y0, x1, y1 in boxes:
        tight = []
        for kind, change in drawn:
            seen = np.abs(change) > steel.VISIBLE
            edges = [seen[y0, x0:x1], seen[y1 - 1, x0:x1], seen[y0:y1, x0], seen[y0:y1, x1 - 1]]
            tight.append(kind == index and all(map(np.any, edges)) and seen.sum() == seen[y0:y1, x0:x1].sum())
        assert any(tight)


@pytest.mark.parametrize("number", range(0, 36, 5))
def test_boxes_do_not_overlap_and_contain_all_visible_changes(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    grey, boxes = steel.draw_image(7, number, 160)
    covered = np.zeros(grey.shape, int)
    for _, x0, y0, x1, y1 in boxes:
        covered[y0:y1, x0:x1] += 1
    assert covered.max() == 1
    monkeypatch.setattr(steel, "VISIBLE", np.inf)  # no change is visible, so no defect is drawn
    strip, none = steel.draw_image(7, number, 160)
    assert not none
    changed = np.abs(grey.astype(int) - strip) > 10
    assert changed[covered == 1].any()
    assert not changed[covered == 0].any()


def test_a_mistake_deletes_no_file(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="exists"):
        steel.write(tmp_path / "mine")
    with pytest.raises(DataError, match=r"contains 'thesis\.txt'"):
        steel.write(tmp_path / "mine", overwrite=True)
    with pytest.raises(DataError, match="is not a folder"):
        steel.write(tmp_path / "mine" / "thesis.txt", overwrite=True)
    with pytest.raises(DataError, match="cannot be written"):
        steel.write(tmp_path / "mine" / "thesis.txt" / "set")
    with pytest.raises(DataError, match="expected 0 or more"):
        steel.write(tmp_path / "negative", seed=-1)
    with pytest.raises(DataError, match="at least 30"):
        steel.write(tmp_path / "few", images=6)
    with pytest.raises(DataError, match="64 to 2048"):
        steel.write(tmp_path / "small", size=8)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    steel.write(tmp_path / "set", images=30, size=64)
    steel.write(tmp_path / "set", images=36, size=64, overwrite=True)
    assert len(list((tmp_path / "set" / "images").rglob("*.png"))) == 36


def test_an_error_during_writing_keeps_the_old_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = steel.write(tmp_path / "set", images=30, size=64).read_text()
    monkeypatch.setattr(steel, "draw_image", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        steel.write(tmp_path / "set", images=30, size=64, overwrite=True)
    assert (tmp_path / "set" / "steel.yaml").read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
