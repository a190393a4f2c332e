"""The validation images with the largest gain and loss of an arm against the baseline.

The file `images.npz` of a trial has its detections in each image (`runner.evaluate` documents the fields). The images
come from the data set, by name. The score of an image is F1 at an IoU of 0.5, for detections with a confidence of at least
0.25. Arms are compared seed by seed.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from yolograft import yaml_text
from yolograft.analysis.matching import box_iou
from yolograft.errors import DataError, GraftError
from yolograft.language import tr
from yolograft.report.summary import Summary
from yolograft.study.verdict import Word

__all__ = ["Box", "Example", "Gallery", "Side", "gallery"]

_MIN_CONFIDENCE = 0.25  # the default of Ultralytics' predict
_ARMS, _EACH, _SEEDS = 2, 3, 12  # arms, images with a gain (and with a loss) for each, seeds
_SIDE = 420  # maximum side of an image on the page, in pixels
_SUFFIXES = frozenset((".bmp", ".dng", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"))


@dataclass(frozen=True)
class Box:
    """A box in pixels of the image on the page.

    `kind` is `hit` (true positive), `false` (false positive) or `missed` (false negative).
    """

    kind: str
    label: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Side:
    """The detections of one arm in an image, with their F1."""

    arm: str
    score: float
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Example:
    """One image with the detections of the baseline and of an arm.

    Attributes:
        name: the file name.
        width, height: size on the page in pixels.
        source: the image as a data URI.
        sides: the baseline and the arm, for the seed with the largest difference.
        seed: that seed.
        gain: mean difference of F1 over all runs.
        runs: number of runs.
    """

    name: str
    width: int
    height: int
    source: str
    sides: tuple[Side, Side]
    seed: int
    gain: float
    runs: int


@dataclass(frozen=True)
class Gallery:
    """The examples to show, or the reason `why` there are none."""

    examples: tuple[Example, ...] = ()
    why: str = ""

    @property
    def by_arm(self) -> dict[str, list[Example]]:
        """Arm -> its examples."""
        return {arm: [one for one in self.examples if one.sides[1].arm == arm]
                for arm in dict.fromkeys(one.sides[1].arm for one in self.examples)}


def gallery(summary: Summary, folder: str | Path | None = None) -> Gallery:
    """Choose the images with the largest gain and loss, for the arms with the clearest verdicts.

    Args:
        summary: the study.
        folder: the folder of the data set's images, if they are not at the path in its YAML.

    Raises:
        DataError: `folder` is not a folder.
    """
    if folder is not None and not Path(folder).is_dir():
        raise DataError(tr("pictures={folder} is not a folder.", folder=folder))
    detections = _Detections(summary)
    arms = detections.arms()
    if not arms:
        return Gallery(why=tr("no arm and the baseline have both saved their detections (images.npz) for the same seed"))
    try:
        chosen = [(arm, *one) for arm in arms for one in detections.choose(arm)]
    except (OSError, EOFError, ValueError, KeyError, IndexError, BadZipFile) as error:
        return Gallery(why=tr("an images.npz cannot be read ({error})", error=error))
    if not chosen:
        return Gallery(why=tr("the arms detect the same objects in every image"))
    files = _files(summary, folder, {name for _, name, _, _, _ in chosen})
    examples = [detections.example(arm, name, seed, gain, runs, files[name]) for arm, name, seed, gain, runs in chosen
                if name in files]
    found = tuple(example for example in examples if example is not None)
    if not found:
        return Gallery(why=tr("the images of data={data} are not at its path; give their folder with pictures=FOLDER",
                              data=summary.study.plan.settings.get("data")))
    return Gallery(found)


@dataclass(frozen=True)
class _Record:
    """One trial's images.npz."""

    names: list[str]
    shapes: NDArray[np.int32]
    detections: NDArray[np.float32]
    hits: NDArray[np.bool_]
    truths: NDArray[np.float32]

    @classmethod
    def read(cls, path: Path) -> _Record:
        with path.open("rb") as file, np.load(file) as arrays:
            sure = arrays["detections"][:, 5] >= _MIN_CONFIDENCE
            return cls([str(name) for name in arrays["names"]], arrays["shapes"], arrays["detections"][sure],
                       arrays["correct"][sure][:, 0], arrays["truths"])

    @cached_property
    def scores(self) -> dict[str, float]:
        """Image -> F1."""
        count = len(self.names)
        owner = self.detections[:, 0].astype(int)
        found = np.bincount(owner, minlength=count)
        hits = np.bincount(owner[self.hits], minlength=count)
        there = np.bincount(self.truths[:, 0].astype(int), minlength=count)
        total = found + there
        return dict(zip(self.names, np.where(total > 0, 2 * hits / np.maximum(total, 1), 1.0).tolist(), strict=True))


class _Detections:
    """The detections of a study's trials, each read at its first use."""

    def __init__(self, summary: Summary) -> None:
        self.summary, self.records = summary, dict[tuple[str, int], _Record]()
        table = next((classes for by_seed in summary.study.results.values() for result in by_seed.values()
                      for classes in result.classes.values()), {})
        self.classes = list(table)

    def file(self, arm: str, seed: int) -> Path:
        return self.summary.study.folder_of(self.summary.study.latest[arm, seed].key) / "images.npz"

    def is_available(self, arm: str, seed: int) -> bool:
        """Whether a trial is complete and has saved its detections."""
        row = self.summary.study.latest.get((arm, seed))
        return row is not None and row.state == "complete" and self.file(arm, seed).is_file()

    def seeds(self, arm: str) -> list[int]:
        both = (seed for seed in self.summary.study.plan.seeds
                if self.is_available(arm, seed) and self.is_available(self.summary.baseline, seed))
        return list(islice(both, _SEEDS))

    def arms(self) -> list[str]:
        """Return the arms to show: first those that help or hurt, then those with the largest difference."""
        verdicts = [self.summary.verdicts[row.name] for row in self.summary.rows if row.verdict and not row.control]
        clearest = sorted(verdicts, key=lambda one: (one.word not in (Word.HELPS, Word.HURTS), -abs(one.mean)))
        return list(islice((one.arm for one in clearest if one.seeds and self.seeds(one.arm)), _ARMS))

    def record(self, arm: str, seed: int) -> _Record:
        if (arm, seed) not in self.records:
            self.records[arm, seed] = _Record.read(self.file(arm, seed))
        return self.records[arm, seed]

    def choose(self, arm: str) -> Iterator[tuple[str, int, float, int]]:
        """Yield (image, seed, mean gain, number of runs) for the images with the largest gain and the largest loss."""
        seeds = self.seeds(arm)
        gains: dict[str, list[float]] = {}
        for seed in seeds:
            base = self.record(self.summary.baseline, seed).scores
            for name, score in self.record(arm, seed).scores.items():
                gains.setdefault(name, []).append(score - base[name])
        ranked = sorted(gains, key=lambda name: (np.mean(gains[name]), name))
        for names, sign in ((ranked[::-1][:_EACH], 1), (ranked[:_EACH], -1)):
            for name in names:
                mean = float(np.mean(gains[name]))
                if mean * sign > 0:
                    best = int(np.argmax(np.asarray(gains[name]) * sign))
                    yield name, seeds[best], mean, len(gains[name])

    def example(self, arm: str, name: str, seed: int, gain: float, runs: int, path: Path) -> Example | None:
        """Build an example; None if the image cannot be decoded."""
        import cv2  # imported here, since it is slow and a study without images does not need it

        picture: Any = cv2.imread(str(path))
        if picture is None:
            return None
        height, width = picture.shape[:2]
        factor = min(1.0, _SIDE / max(height, width))
        shown = cv2.resize(picture, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)
        jpeg = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes()
        sides = [Side(one, self.record(one, seed).scores[name], tuple(self.boxes(self.record(one, seed), name, factor)))
                 for one in (self.summary.baseline, arm)]
        return Example(name, shown.shape[1], shown.shape[0], f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}",
                       (sides[0], sides[1]), seed, gain, runs)

    def boxes(self, record: _Record, name: str, factor: float) -> Iterator[Box]:
        """Yield the boxes of an image in drawing order: false negatives, false positives, true positives."""
        at = record.names.index(name)
        mine = record.detections[:, 0] == at
        detections, hits = record.detections[mine], record.hits[mine]
        for truth in record.truths[record.truths[:, 0] == at]:
            of_class = detections[hits & (detections[:, 6] == truth[1])]
            if not (box_iou(truth[None, 2:6], of_class[:, 1:5]) >= 0.5).any():
                yield _box("missed", self.class_name(truth[1]), truth[2:6], factor)
        for kind in (False, True):
            for one in detections[hits == kind]:
                yield _box("hit" if kind else "false", f"{self.class_name(one[6])} {one[5]:.2f}", one[1:5], factor)

    def class_name(self, number: float) -> str:
        return self.classes[int(number)] if int(number) < len(self.classes) else str(int(number))


def _box(kind: str, label: str, corners: NDArray[np.float32], factor: float) -> Box:
    x1, y1, x2, y2 = (float(value) * factor for value in corners)
    return Box(kind, label, round(x1, 1), round(y1, 1), round(max(1.0, x2 - x1), 1), round(max(1.0, y2 - y1), 1))


def _files(summary: Summary, folder: str | Path | None, names: set[str]) -> dict[str, Path]:
    """Return the paths of the images with these names that are found."""
    found: dict[str, Path] = {}
    for source in [Path(folder)] if folder is not None else _sources(str(summary.study.plan.settings.get("data", ""))):
        listed = source.rglob("*") if source.is_dir() else _listed(source)
        for path in listed:
            if path.name in names and path.suffix.lower() in _SUFFIXES and path.is_file():
                found.setdefault(path.name, path)
        if len(found) == len(names):
            break
    return found


def _sources(data: str) -> Iterator[Path]:
    """Yield the folders and list files of the validation images of a data YAML."""
    path = Path(data)
    if path.is_dir():
        yield path
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return
    try:
        words = yaml_text.read(path).value
    except GraftError:
        return  # the data may have moved since the study ran; the page reports it
    if isinstance(words, Mapping):
        splits = words.get("val") or words.get("test") or ()
        root = Path(str(words.get("path") or "."))
        for split in [splits] if isinstance(splits, str) else splits:
            # Ultralytics resolves a relative path in its folder for data sets, which is often next to or above the YAML
            for base in (root, path.parent / root, path.parent, path.parent.parent / root, Path("datasets") / root):
                if (base / str(split)).exists():
                    yield base / str(split)


def _listed(file: Path) -> list[Path]:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    return [file.parent / line.strip() for line in lines if line.strip()]
