"""The command `heatmap`: heat maps of pictures as PNG files in a new folder, with their numbers as JSON."""

from __future__ import annotations

import glob
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ultralytics import __version__ as ultralytics_version

from yolograft import __version__
from yolograft.analysis import heatmap_findings
from yolograft.analysis.heatmap import on_picture
from yolograft.analysis.heatmap_picture import Outline, draw, side_by_side
from yolograft.analysis.heatmap_run import (
    Choice,
    Explained,
    Explanation,
    Settings,
    Subject,
    agreement,
    chance_agreement,
    evenly,
    explain_pictures,
    open_subjects,
    plain,
)
from yolograft.atomic import atomic_write
from yolograft.data import data_yaml
from yolograft.data.pictures import IMAGE_SUFFIXES
from yolograft.errors import DataError, nearest
from yolograft.host.data_download import check_download
from yolograft.host.run_folder import new_folder
from yolograft.language import pad, tr, width_of

__all__ = ["find_pictures", "write_heat_maps"]


def write_heat_maps(models: Sequence[str], source: str | None, settings: Settings, *, box: str | None = None,
                    data: str | None = None, limit: int | None = None, project: str = "runs/heatmap",
                    name: str = "heatmap") -> Path:
    """Write heat maps of pictures to a new folder, print their numbers, and return the folder.

    The folder gets one PNG for each picture and model at the picture's size, one more with all models side by side if there
    are several, and `heatmap.json`.

    Args:
        models: checkpoints, grafted or not.
        source: an image, a folder, a pattern such as `images/*.jpg`, or a text file with a list of images. None for the
            validation images of `data`.
        settings: how the maps are made.
        box: which box is explained; see `Choice.parse`. By default `truth` with `data`, else `best`.
        data: a data YAML, whose label files give the ground truth.
        limit: the number of pictures, chosen evenly; None for all.
        project, name: the folder is PROJECT/NAME, or NAME2, NAME3, ... if that exists.

    Raises:
        GraftError: an argument is wrong; nothing was written then.
        KeyboardInterrupt: the user stopped it; the folder has the results so far.
    """
    known = None
    if data is not None:
        check_download(data)  # a wrong value is refused as in the other commands
        known = data_yaml.read(data)
    files = find_pictures(source) if source is not None else _validation_images(known)
    if limit is not None:
        files = evenly(files, limit)
    choice = Choice.parse(box if box is not None else "truth" if known is not None else "best")
    if choice.rule == "truth" and known is None:
        raise DataError(tr("box=truth needs the labels of the pictures: give the data YAML with data="))
    subjects = open_subjects(models, settings)
    folder = new_folder(project, name)
    explained = explain_pictures(subjects, files, settings, choice, known)
    found: list[Explained] = []
    try:
        for number, one in enumerate(explained, 1):
            if not found:
                folder.mkdir(parents=True)
            found.append(one)
            _write_pictures(folder, number, len(files), one, subjects)
            print(f"{number}/{len(files)} {one.path.name}: {_line(one, subjects)}", flush=True)
    except KeyboardInterrupt:
        if not found:
            raise
        _write_record(folder, found, subjects, settings, choice)
        raise KeyboardInterrupt(tr("{count} of {total} pictures are in {folder}", count=len(found), total=len(files),
                                   folder=folder)) from None
    _write_record(folder, found, subjects, settings, choice)
    for line in report(found, subjects, settings):
        print(line)
    print(tr("\nPictures and numbers: {folder}", folder=folder))
    return folder


def find_pictures(source: str) -> list[Path]:
    """Return the image files of a source.

    Raises:
        DataError: there is none.
    """
    path = Path(source)
    if path.is_dir():
        found = sorted(one for one in path.iterdir() if _is_image(one))
        if not found:
            raise DataError(tr("source={source} has no images. Known endings: {endings}.", source=source,
                               endings=" ".join(IMAGE_SUFFIXES)))
        return found
    if path.suffix.lower() == ".txt" and path.is_file():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        listed = [path.parent / line.strip() for line in lines if line.strip()]
        missing = [one for one in listed if not one.is_file()]
        if missing or not listed:
            raise DataError(tr("source={source} lists {count} images that do not exist, such as '{first}'.", source=source,
                               count=len(missing), first=missing[0] if missing else ""))
        return listed
    if path.is_file():
        return [path]
    found = sorted(Path(one) for one in glob.glob(source) if _is_image(Path(one)))
    if not found:
        beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(tr("source={source} does not exist.{nearest} Expected an image, a folder, a pattern such as "
                           "\"images/*.jpg\", or a text file with a list of images.", source=source,
                           nearest=nearest(path.name, beside)))
    return found


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _validation_images(data: data_yaml.DataYaml | None) -> list[Path]:
    if data is None:
        raise DataError(tr("Which pictures? Give source=, or data= for the validation images of a data set."))
    found = data.images.get("val") or []
    if not found:
        raise DataError(tr("data={data} has no validation images: {problems}", data=data.file,
                           problems="; ".join(map(str, data.problems))))
    return found


def _line(one: Explained, subjects: Sequence[Subject]) -> str:
    if one.why:
        return one.why
    parts = []
    for subject, each in zip(subjects, one.explanations, strict=True):
        text = tr("no box") if each is None else f"{each.target.name} {each.target.confidence:.2f}"
        if each is not None and each.is_empty:
            text += " " + tr("(empty map)")
        parts.append(f"{subject.name} {text}" if len(subjects) > 1 else text)
    return ", ".join(parts)


def picture_of(one: Explained, each: Explanation, names: dict[int, str]) -> Any:
    """Draw one explanation at the size of the picture: (H, W, 3), blue first."""
    heat = on_picture(each.heat, each.window, one.picture.shape[:2])
    return draw(one.picture, heat, predictions=[Outline(points=points) for points in each.candidates.outlines],
                truths=[Outline.of(truth.box, names.get(truth.kind, "")) for truth in one.truths],
                target=Outline.of(each.target.box, f"{each.target.name} {each.target.confidence:.2f}"))


def _write_pictures(folder: Path, number: int, total: int, one: Explained, subjects: Sequence[Subject]) -> None:
    drawn: dict[str, Any] = {}
    for subject, each in zip(subjects, one.explanations, strict=True):
        if each is not None:
            drawn[subject.name] = picture_of(one, each, subject.detector.names)
    stem = f"{number:0{len(str(total))}}-{one.path.stem}"  # pictures of two folders can have the same name
    for name, picture in drawn.items():
        _write_png(folder / (f"{stem}-{name}.png" if len(subjects) > 1 else f"{stem}.png"), picture)
    if len(drawn) > 1:
        _write_png(folder / f"{stem}.png", side_by_side(list(drawn.values()), list(drawn)))


def _write_png(path: Path, picture: Any) -> None:
    raw = cv2.imencode(".png", np.ascontiguousarray(picture))[1].tobytes()
    atomic_write(path, lambda part: part.write_bytes(raw))


def report(found: Sequence[Explained], subjects: Sequence[Subject], settings: Settings) -> list[str]:
    """Return the tables and conclusions as lines of text."""
    lines = []
    for table in heatmap_findings.tables(found, subjects):
        widths = [max(width_of(row[at]) for row in table) for at in range(len(table[0]))]
        lines.append("")
        lines += ["  ".join(pad(cell, width, "<" if not at else ">") for at, (cell, width) in
                            enumerate(zip(row, widths, strict=True))).rstrip() for row in table]
    texts = heatmap_findings.conclusions(found, subjects, settings)
    return [*lines, "", *texts] if texts else lines


def _write_record(folder: Path, found: Sequence[Explained], subjects: Sequence[Subject], settings: Settings,
                  choice: Choice) -> None:
    names = [one.name for one in subjects]
    record = {
        "yolograft": __version__, "ultralytics": ultralytics_version, "method": settings.method,
        "layers": list(settings.sites) or "inputs of the head", "map_depends_on_box": settings.method != "eigencam",
        "imgsz": subjects[0].imgsz, "conf": settings.conf, "iou": settings.iou, "seed": settings.seed,
        "box": {"rule": choice.rule, "number": choice.number, "class": choice.name, "corners": choice.corners},
        "models": [{"name": one.name, "file": one.file, "graft": one.graft, "seed": one.seed} for one in subjects],
        "pictures": [_picture_record(one, subjects) for one in found],
        "mean_rank_correlation": {f"{names[one]} / {names[other]}": plain(value)
                                  for (one, other), value in agreement(found, len(subjects)).items()},
        "mean_rank_correlation_of_different_pictures": plain(chance_agreement(found)),
        "conclusions": heatmap_findings.conclusions(found, subjects, settings),
    }
    text = json.dumps(record, indent=1, ensure_ascii=False)
    atomic_write(folder / "heatmap.json", lambda part: part.write_text(text, encoding="utf-8"))


def _picture_record(one: Explained, subjects: Sequence[Subject]) -> dict[str, Any]:
    names = subjects[0].detector.names
    return {"file": str(one.path), "height": one.picture.shape[0], "width": one.picture.shape[1], "box": one.box,
            "class": None if one.kind is None else names.get(one.kind, str(one.kind)), "why_not": one.why,
            "truths": [{"class": names.get(truth.kind, str(truth.kind)), "box": truth.box} for truth in one.truths],
            "models": {subject.name: None if each is None else each.record()
                       for subject, each in zip(subjects, one.explanations, strict=True)}}
