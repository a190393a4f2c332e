"""Where arms disagree: the validation pictures on which an arm gains or loses most against the baseline.

Trials that keep `images.npz` say what was detected in each picture (`host.evaluation` has its fields); the pictures
themselves come from the data set, by name. A picture's score is its F1 at an overlap (IoU) of 0.5, counting detections of
at least 0.25 confidence; arms are compared seed by seed.
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
import yaml
from numpy.typing import NDArray

from yolograft.errors import DataError
from yolograft.report.summary import Summary
from yolograft.study.verdict import Word

__all__ = ["Box", "Example", "Gallery", "Side", "gallery"]

_SURE = 0.25  # confidence from which a detection counts, as in Ultralytics' predict
_ARMS, _EACH, _SEEDS = 2, 3, 12  # arms shown, pictures gained and lost for each, seeds compared
_SIDE = 420  # pixels that a picture is shown with at most
_SUFFIXES = frozenset((".bmp", ".dng", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"))


@dataclass(frozen=True)
class Box:
    """A box in the shown picture's pixels: a hit, a false alarm, or a missed object."""

    kind: str
    label: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Side:
    """What one arm saw in a picture."""

    arm: str
    score: float
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Example:
    """One picture, as the baseline saw it and as an arm did.

    Attributes:
        name: the picture's file name.
        width, height, source: its size as shown, and the picture itself as a data URI.
        sides: the baseline's and the arm's, in the run where they differ most.
        seed: that run's seed.
        gain: the score's mean difference over all runs, of which there are `runs`.
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
    """The examples to show; where there are none, `why` says why."""

    examples: tuple[Example, ...] = ()
    why: str = ""

    @property
    def by_arm(self) -> dict[str, list[Example]]:
        """Arm -> its examples."""
        return {arm: [one for one in self.examples if one.sides[1].arm == arm]
                for arm in dict.fromkeys(one.sides[1].arm for one in self.examples)}


def gallery(summary: Summary, folder: str | Path | None = None) -> Gallery:
    """Choose the pictures on which the clearest arms gain and lose most.

    Args:
        summary: the study.
        folder: where the data set's pictures are, if not where its YAML says.

    Raises:
        DataError: the folder given is none.
    """
    if folder is not None and not Path(folder).is_dir():
        raise DataError(f"pictures={folder} is not a folder.")
    seen = _Seen(summary)
    arms = seen.arms()
    if not arms:
        return Gallery(why="no two trials of a seed have kept what they saw in each picture (images.npz)")
    try:
        chosen = [(arm, *one) for arm in arms for one in seen.choose(arm)]
    except (OSError, EOFError, ValueError, KeyError, IndexError, BadZipFile) as error:
        return Gallery(why=f"an images.npz cannot be read ({error})")
    if not chosen:
        return Gallery(why="the arms found the same objects in every picture")
    files = _files(summary, folder, {name for _, name, _, _, _ in chosen})
    examples = [seen.example(arm, name, seed, gain, runs, files[name]) for arm, name, seed, gain, runs in chosen
                if name in files]
    found = tuple(example for example in examples if example is not None)
    if not found:
        return Gallery(why=f"the pictures of data={summary.study.plan.settings.get('data')} are not where it says; "
                           "say where they are with pictures=FOLDER")
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
            sure = arrays["detections"][:, 5] >= _SURE
            return cls([str(name) for name in arrays["names"]], arrays["shapes"], arrays["detections"][sure],
                       arrays["correct"][sure][:, 0], arrays["truths"])

    @cached_property
    def scores(self) -> dict[str, float]:
        """Picture -> F1."""
        count = len(self.names)
        owner = self.detections[:, 0].astype(int)
        found = np.bincount(owner, minlength=count)
        hits = np.bincount(owner[self.hits], minlength=count)
        there = np.bincount(self.truths[:, 0].astype(int), minlength=count)
        total = found + there
        return dict(zip(self.names, np.where(total > 0, 2 * hits / np.maximum(total, 1), 1.0).tolist(), strict=True))


class _Seen:
    """What the trials of a study saw, read when first asked for."""

    def __init__(self, summary: Summary) -> None:
        self.summary, self.records = summary, dict[tuple[str, int], _Record]()
        table = next((classes for by_seed in summary.study.results.values() for result in by_seed.values()
                      for classes in result.classes.values()), {})
        self.classes = list(table)

    def file(self, arm: str, seed: int) -> Path:
        return self.summary.study.folder_of(self.summary.study.latest[arm, seed].key) / "images.npz"

    def kept(self, arm: str, seed: int) -> bool:
        """Whether a trial is complete and says what it saw."""
        row = self.summary.study.latest.get((arm, seed))
        return row is not None and row.state == "complete" and self.file(arm, seed).is_file()

    def seeds(self, arm: str) -> list[int]:
        both = (seed for seed in self.summary.study.plan.seeds
                if self.kept(arm, seed) and self.kept(self.summary.baseline, seed))
        return list(islice(both, _SEEDS))

    def arms(self) -> list[str]:
        """Return the arms to show: those with a verdict first, then those with the largest difference."""
        verdicts = [self.summary.verdicts[row.name] for row in self.summary.rows if row.verdict and not row.control]
        clearest = sorted(verdicts, key=lambda one: (one.word not in (Word.HELPS, Word.HURTS), -abs(one.mean)))
        return list(islice((one.arm for one in clearest if one.seeds and self.seeds(one.arm)), _ARMS))

    def record(self, arm: str, seed: int) -> _Record:
        if (arm, seed) not in self.records:
            self.records[arm, seed] = _Record.read(self.file(arm, seed))
        return self.records[arm, seed]

    def choose(self, arm: str) -> Iterator[tuple[str, int, float, int]]:
        """Give picture, seed, mean gain and number of runs for what gained most and what lost most."""
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
        """Build an example; None if the picture cannot be decoded."""
        import cv2  # slow to import, and a study without pictures needs none

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
        """Give the boxes of a picture: missed objects below false alarms below hits."""
        at = record.names.index(name)
        mine = record.detections[:, 0] == at
        detections, hits = record.detections[mine], record.hits[mine]
        for truth in record.truths[record.truths[:, 0] == at]:
            of_class = detections[hits & (detections[:, 6] == truth[1])]
            if not (_overlaps(truth[2:6], of_class[:, 1:5]) >= 0.5).any():
                yield _box("missed", self.named(truth[1]), truth[2:6], factor)
        for kind in (False, True):
            for one in detections[hits == kind]:
                yield _box("hit" if kind else "false", f"{self.named(one[6])} {one[5]:.2f}", one[1:5], factor)

    def named(self, number: float) -> str:
        return self.classes[int(number)] if int(number) < len(self.classes) else str(int(number))


def _box(kind: str, label: str, corners: NDArray[np.float32], factor: float) -> Box:
    x1, y1, x2, y2 = (float(value) * factor for value in corners)
    return Box(kind, label, round(x1, 1), round(y1, 1), round(max(1.0, x2 - x1), 1), round(max(1.0, y2 - y1), 1))


def _overlaps(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the intersection over union of one box and several."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    return np.asarray(shared / np.maximum(areas - shared, 1e-9), dtype=np.float32)


def _files(summary: Summary, folder: str | Path | None, names: set[str]) -> dict[str, Path]:
    """Return where the pictures of these names are, as far as they are found."""
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
    """Give the folders and lists in which a data set says that its validation pictures are."""
    path = Path(data)
    if path.is_dir():
        yield path
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return
    try:
        words = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, UnicodeDecodeError):
        return  # the study has long been run: where its data has gone since is the page's business, no error
    if isinstance(words, Mapping):
        splits = words.get("val") or words.get("test") or ()
        root = Path(str(words.get("path") or "."))
        for split in [splits] if isinstance(splits, str) else splits:
            # Ultralytics takes a relative path from its data sets' folder, which is often beside or above the YAML
            for base in (root, path.parent / root, path.parent, path.parent.parent / root, Path("datasets") / root):
                if (base / str(split)).exists():
                    yield base / str(split)


def _listed(file: Path) -> list[Path]:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    return [file.parent / line.strip() for line in lines if line.strip()]
