"""Heat maps of several models on the same pictures and boxes, with checks, as `yolograft heatmap` writes them.

For each picture, all models explain the same box: a ground-truth object, or a detection of the first model. Each model's
target is its own candidate that the task-aligned assigner would give that box. So maps of a host, an arm and a control, or
of several seeds, can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from statistics import mean
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from yolograft.analysis.candidates import Candidates, Detector, Letterbox, Target
from yolograft.analysis.heatmap import HeatMap, Layer, check_method, heat_map, on_picture, tap_layers
from yolograft.analysis.heatmap_checks import STAGES, Agreement, Deletion, RandomisedCascade, deletion
from yolograft.analysis.matching import box_iou
from yolograft.data.data_yaml import DataYaml
from yolograft.data.labels import label_path
from yolograft.data.labels import parse as parse_labels
from yolograft.data.text import read_text
from yolograft.errors import DataError, GraftError, HostError
from yolograft.host.open import open_model
from yolograft.language import tr

__all__ = ["Choice", "Explained", "Explanation", "Settings", "Subject", "Summary", "Truth", "agreement",
           "chance_agreement", "evenly", "explain_picture", "explain_pictures", "open_subjects", "plain", "read_picture",
           "read_truths", "summarize"]

Picture = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How heat maps are made.

    Attributes:
        method: a name from `heatmap.METHODS`.
        sites: of the layers; empty for the inputs of the head.
        imgsz: size of the network's input in pixels; None for the size of the first model's training.
        conf: the confidence that a detection must exceed.
        iou: the IoU threshold of non-maximum suppression.
        checks: whether deletion and randomised weights are computed.
        seed: of the checks.
    """

    method: str = "layercam"
    sites: tuple[str, ...] = ()
    imgsz: int | None = None
    conf: float = 0.25
    iou: float = 0.7
    checks: bool = True
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Truth:
    """A ground-truth object: its class, and x1, y1, x2, y2 in pixels of the picture."""

    kind: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which box of a picture is explained.

    Attributes:
        rule: `truth` (a ground-truth object), `best` (a detection of the first model), `class` or `corners`.
        number: for `truth`, the number of the object by decreasing area; for `best` and `class`, the number of the detection
            by decreasing confidence. It starts at 1.
        name: for `class`, its name.
        corners: for `corners`, x1, y1, x2, y2 in pixels of the picture.
    """

    rule: str = "best"
    number: int = 1
    name: str = ""
    corners: tuple[float, float, float, float] | None = None

    @classmethod
    def parse(cls, text: str) -> Choice:
        """Parse `best`, `2`, `truth`, `truth:2`, `x1,y1,x2,y2`, or the name of a class.

        Raises:
            GraftError: a number is missing or no number.
        """
        word, _, number = text.partition(":")
        if text.count(",") == 3:
            try:
                x1, y1, x2, y2 = (float(part) for part in text.split(","))
            except ValueError:
                x1 = x2 = y1 = y2 = math.nan
            if not (x1 < x2 and y1 < y2):
                raise GraftError(tr("box={text} is no box. Expected x1,y1,x2,y2 in pixels, with x1 < x2 and y1 < y2.",
                                    text=text))
            return cls(rule="corners", corners=(x1, y1, x2, y2))
        if text.isdecimal() or (number and not number.isdecimal()) or (number.isdecimal() and not int(number)):
            if text.isdecimal() and int(text):
                return cls(number=int(text))
            raise GraftError(tr("box={text}: the number of a box starts at 1, as in box=2 or box=truth:2.", text=text))
        place = int(number) if number else 1
        return cls(rule=word, number=place) if word in ("best", "truth") else cls(rule="class", name=word, number=place)


@dataclass(kw_only=True)
class Subject:
    """One of the compared models.

    Attributes:
        name: short and unique among the models.
        file: the checkpoint.
        graft: the text of its graft; "none" for a bare host.
        seed: of its training; None if the checkpoint does not say.
        imgsz: image size of its training.
        detector: the model.
        sites: of the layers of its heat maps; empty for the inputs of the head.
        method: of its heat maps.
    """

    name: str
    file: str
    graft: str
    seed: int | None
    imgsz: int
    detector: Detector
    sites: tuple[str, ...] = ()
    method: str = "layercam"

    @cached_property
    def layers(self) -> list[Layer]:
        """The layers of the heat maps."""
        return tap_layers(self.detector, self.sites)

    @cached_property
    def cascade(self) -> RandomisedCascade:
        """A copy of the detector for the check with random weights."""
        return RandomisedCascade(self.detector, self.sites, self.method)


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The heat map of one model for one box.

    Attributes:
        target: the explained logit.
        overlap: IoU of the target's box with the chosen box.
        heat: (H, W) at the size of the network's input, 0 to 1.
        window: the part of it that shows the picture.
        candidates: all boxes of the model in the picture.
        deletion: None without checks.
        randomised: stage -> agreement with the map of randomised weights; empty without checks.
    """

    target: Target
    overlap: float
    heat: HeatMap
    window: tuple[slice, slice]
    candidates: Candidates
    deletion: Deletion | None = None
    randomised: Mapping[str, Agreement] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether the map is 0 everywhere: no positive evidence for the box in this layer."""
        return not bool(self.heat[self.window].any())

    def record(self) -> dict[str, Any]:
        """Return the numbers for JSON."""
        one = self.target
        checks: dict[str, Any] = {}
        if self.deletion is not None:
            drop = self.deletion
            checks = {"deletion": {"removed": drop.removed, "by_map": drop.by_map, "by_centre": drop.by_centre,
                                   "by_chance": drop.by_chance, "area": drop.area, "centre_area": drop.centre_area,
                                   "chance_areas": drop.chance_areas},
                      "randomised": {stage: plain(value) for stage, value in self.randomised.items()}}
        return {"class": one.name, "confidence": one.confidence, "logit": one.logit, "box": one.box,
                "iou_with_chosen_box": self.overlap, "anchor_point": one.anchor, "map_is_empty": self.is_empty,
                "detections": [{"class": each.name, "confidence": each.confidence, "box": each.box}
                               for each in self.candidates.detections()], **checks}


@dataclass(frozen=True, kw_only=True)
class Explained:
    """One picture with the explanations of all models.

    Attributes:
        path: the image file.
        picture: its pixels (H, W, 3), blue first.
        truths: ground truth, if known.
        box: the chosen box, x1, y1, x2, y2 in pixels; None if there is none.
        kind: its class.
        explanations: for each model; None where no candidate of the model overlaps the box.
        why: the reason if there is no chosen box.
    """

    path: Path
    picture: Picture
    truths: tuple[Truth, ...]
    box: tuple[float, float, float, float] | None
    kind: int | None
    explanations: tuple[Explanation | None, ...]
    why: str = ""

    def agreement(self, one: int, other: int) -> Agreement | None:
        """Return how far the maps of two models agree; None if a model has none."""
        first, second = self.explanations[one], self.explanations[other]
        if first is None or second is None or self.box is None:
            return None
        maps = [on_picture(each.heat, each.window, self.picture.shape[:2]) for each in (first, second)]
        return Agreement.of(maps[0], maps[1], self.box)


def open_subjects(models: Sequence[str], settings: Settings) -> list[Subject]:
    """Open the models that are compared, and attach taps to copies of their networks.

    Raises:
        GraftError: a method, a model or a layer does not exist.
    """
    check_method(settings.method)
    found: list[Subject] = []
    for number, (file, name) in enumerate(zip(models, _short_names(models), strict=True)):
        model = open_model(file)
        stored = model.ckpt if isinstance(model.ckpt, dict) else {}
        arguments: Mapping[str, Any] = stored.get("train_args") or {}
        seed, imgsz = arguments.get("seed"), settings.imgsz or arguments.get("imgsz") or 640
        if not isinstance(imgsz, int):
            imgsz = max(imgsz)
        size = found[0].imgsz if number else imgsz
        subject = Subject(name=name, file=file, graft=str(model.graft), seed=seed, imgsz=size, detector=Detector(model),
                          sites=settings.sites, method=settings.method)
        if number and subject.detector.names != found[0].detector.names:
            raise HostError(tr("'{model}' and '{other}' have different classes, so their boxes cannot be compared.",
                               model=file, other=found[0].file))
        if subject.layers:  # finds them, so that a wrong site is an error before the first picture
            found.append(subject)
    return found


def _short_names(files: Sequence[str]) -> list[str]:
    """Return a short and unique name for each checkpoint: the run's folder of `RUN/weights/best.pt`, or the file's name."""
    names: list[str] = []
    for file in files:
        path = Path(file)
        name = path.parent.parent.name if path.parent.name == "weights" and path.parent.parent.name else path.stem
        names.append(name if name not in names else f"{name}-{len(names) + 1}")
    return names


def evenly(files: Sequence[Path], count: int) -> list[Path]:
    """Return `count` of the files, evenly spaced in their order; all if there are fewer."""
    if count >= len(files):
        return list(files)
    return [files[round(number * (len(files) - 1) / max(1, count - 1))] for number in range(count)]


def read_picture(path: Path) -> Picture | None:
    """Return the pixels of an image file as (H, W, 3), blue first; None if it cannot be decoded."""
    try:
        raw = np.fromfile(path, np.uint8)  # unlike cv2.imread, it opens paths with any character on Windows
    except OSError:
        return None
    try:
        return cv2.imdecode(raw, cv2.IMREAD_COLOR) if raw.size else None  # type: ignore[return-value]
    except cv2.error:  # more pixels than OpenCV allows
        return None


def read_truths(path: Path, shape: tuple[int, ...], data: DataYaml) -> tuple[Truth, ...]:
    """Return the objects in a picture's label file, by decreasing area; none if there is no file."""
    file = label_path(path)
    if not file.is_file():
        return ()
    labels = parse_labels(read_text(file)[0], data.names, data.keypoints).labels
    height, width = shape[:2]
    found = [Truth(kind=one.index, box=(one.corners[0] * width, one.corners[1] * height, one.corners[2] * width,
                                        one.corners[3] * height)) for one in labels]
    return tuple(sorted(found, key=lambda one: (one.box[0] - one.box[2]) * (one.box[3] - one.box[1])))


def explain_pictures(subjects: Sequence[Subject], files: Sequence[Path], settings: Settings, choice: Choice,
                     data: DataYaml | None = None) -> Iterator[Explained]:
    """Explain one box of each picture. A picture that cannot be decoded is skipped with the reason.

    Args:
        subjects: the models.
        files: the pictures.
        settings: how.
        choice: which box.
        data: the data set, for ground truth.

    Raises:
        DataError: the classes of the data set are not those of the models.
        GraftError: `choice` names a class that does not exist.
    """
    names = subjects[0].detector.names
    if data is not None and data.names and data.names != names:
        raise DataError(tr("The classes of data={data} are not those of model={model}: {theirs} and {ours}.", data=data.file,
                           model=subjects[0].file, theirs=", ".join(data.names.values()),
                           ours=", ".join(map(str, names.values()))))
    if choice.rule == "class" and choice.name not in names.values():
        raise GraftError(tr("box={name} names no class of model={model}, which has: {names}. A box is also best, 2, truth "
                            "or x1,y1,x2,y2.", name=choice.name, model=subjects[0].file,
                            names=", ".join(map(str, names.values()))))
    for path in files:
        picture = read_picture(path)
        if picture is None:
            yield Explained(path=path, picture=np.zeros((1, 1, 3), np.uint8), truths=(), box=None, kind=None,
                            explanations=(None,) * len(subjects), why=tr("cannot be read as an image"))
            continue
        truths = read_truths(path, picture.shape, data) if data is not None else ()
        yield explain_picture(subjects, picture, settings, choice, truths, path)


def explain_picture(subjects: Sequence[Subject], picture: Picture, settings: Settings, choice: Choice,
                    truths: Sequence[Truth] = (), path: Path = Path()) -> Explained:
    """Explain one box of one picture with each model; see `explain_pictures`."""
    letterbox = Letterbox.of(picture.shape, subjects[0].imgsz)
    images = [one.detector.images(picture, letterbox) for one in subjects]
    candidates = [one.detector.candidates(image, letterbox, conf=settings.conf, iou=settings.iou)
                  for one, image in zip(subjects, images, strict=True)]
    box, kind, why = _choose(choice, candidates[0], truths, settings.conf)
    explanations: list[Explanation | None] = [None] * len(subjects)
    if box is not None:
        for number, (subject, image, found) in enumerate(zip(subjects, images, candidates, strict=True)):
            target = found.closest(box, kind)
            if target is not None:
                explanations[number] = _explain(subject, image, found, target, box, letterbox, settings)
                kind = target.kind if kind is None else kind
        if not any(explanations):
            why = tr("no candidate box of a model overlaps the chosen box")
    return Explained(path=path, picture=picture, truths=tuple(truths), box=box, kind=kind,
                     explanations=tuple(explanations), why=why)


def _choose(choice: Choice, candidates: Candidates, truths: Sequence[Truth], conf: float
            ) -> tuple[tuple[float, float, float, float] | None, int | None, str]:
    """Return the chosen box, its class, and the reason if there is none."""
    if choice.rule == "corners":
        return choice.corners, None, ""
    if choice.rule == "truth":
        if len(truths) < choice.number:
            return None, None, tr("the picture has {count} ground-truth objects", count=len(truths))
        return truths[choice.number - 1].box, truths[choice.number - 1].kind, ""
    kind = next((number for number, name in candidates.names.items() if name == choice.name), None)
    detections = candidates.detections(kind)
    if len(detections) < choice.number:
        if not detections:
            return None, None, tr("no detection above conf={conf}", conf=conf)
        return None, None, tr("{count} detections above conf={conf}", count=len(detections), conf=conf)
    return detections[choice.number - 1].box, detections[choice.number - 1].kind, ""


def _explain(subject: Subject, images: Any, candidates: Candidates, target: Target, box: Sequence[float],
             letterbox: Letterbox, settings: Settings) -> Explanation:
    heat = heat_map(subject.detector, images, target, subject.layers, settings.method)
    overlap = float(box_iou(np.asarray([box]), np.asarray([target.box]))[0, 0])
    checked: dict[str, Any] = {}
    if settings.checks and heat[letterbox.window].any():
        # of the head's inputs, the map of the box's own level has all of the gradient
        cell = min(one.stride for one in subject.layers) if subject.sites else int(candidates.strides[target.anchor])
        checked = {"deletion": deletion(subject.detector, images, target, heat, letterbox, cell=cell, seed=settings.seed),
                   "randomised": subject.cascade.correlations(images, target, heat, letterbox, seed=settings.seed)}
    return Explanation(target=target, overlap=overlap, heat=heat, window=letterbox.window, candidates=candidates, **checked)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The checks of one model, over all pictures.

    Attributes:
        maps: number of maps that are not empty.
        area, chance_area, centre_area: mean areas of the deletion curves.
        beats_chance, beats_centre: in how many pictures the map's area is below every random order, and below the centre's.
        randomised: stage -> mean agreement.
    """

    maps: int
    area: float
    chance_area: float
    centre_area: float
    beats_chance: int
    beats_centre: int
    randomised: Mapping[str, Agreement]


def summarize(found: Sequence[Explained], number: int) -> Summary | None:
    """Summarize the checks of the model `number`; None if no picture has them."""
    mine = [one.explanations[number] for one in found]
    drops = [one.deletion for one in mine if one is not None and one.deletion is not None]
    if not drops:
        return None
    randomised = {stage: Agreement.mean([one.randomised[stage] for one in mine if one is not None and one.randomised])
                  for stage in STAGES}
    return Summary(maps=len(drops), area=mean(one.area for one in drops),
                   chance_area=mean(mean(one.chance_areas) for one in drops),
                   centre_area=mean(one.centre_area for one in drops), beats_chance=sum(one.beats_chance for one in drops),
                   beats_centre=sum(one.beats_centre for one in drops), randomised=randomised)


def agreement(found: Sequence[Explained], count: int) -> dict[tuple[int, int], Agreement]:
    """Return the mean agreement of the maps of each pair of models, over all pictures."""
    return {pair: Agreement.mean([value for one in found if (value := one.agreement(*pair)) is not None])
            for pair in combinations(range(count), 2)}


def chance_agreement(found: Sequence[Explained]) -> Agreement:
    """Return the mean agreement of the first model's maps of different pictures: what two unrelated maps share.

    A map is scaled to the size of the picture that it is compared with, and the box is that picture's.
    """
    mine = [(one, each) for one in found if (each := one.explanations[0]) is not None and one.box is not None]
    values = []
    for (one, first), (_, second) in combinations(mine, 2):
        maps = [on_picture(each.heat, each.window, one.picture.shape[:2]) for each in (first, second)]
        values.append(Agreement.of(maps[0], maps[1], one.box or ()))
    return Agreement.mean(values)


def plain(value: Agreement) -> dict[str, float | None]:
    """Return an agreement for JSON, which has no nan."""
    return {part: number if math.isfinite(number := getattr(value, part)) else None for part in ("picture", "box")}
