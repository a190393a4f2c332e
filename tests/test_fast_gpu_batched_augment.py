"""Augmentation on the device equals Ultralytics': same images and boxes for the same random numbers, same distributions."""

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor
from ultralytics.cfg import get_cfg
from ultralytics.data import augment as stock
from ultralytics.data.build import build_yolo_dataset
from ultralytics.data.utils import check_det_dataset

from yolograft.fast.gpu import batched_augment, resident_dataset
from yolograft.fast.gpu.batched_augment import Plan, Recipe

pytestmark = [pytest.mark.filterwarnings("default"),  # Ultralytics' own warnings
              pytest.mark.usefixtures("one_thread")]
CPU = torch.device("cpu")
ALL = {"mosaic": 1.0, "degrees": 20.0, "translate": 0.2, "scale": 0.5, "shear": 10.0, "hsv_h": 0.1, "hsv_s": 0.7,
       "hsv_v": 0.4, "flipud": 0.5, "fliplr": 0.5}
NONE = {**dict.fromkeys(ALL, 0.0), "perspective": 0.0}
GEOMETRY = {**ALL, "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0}


def dataset(file: Path, **settings: Any) -> Any:
    data = check_det_dataset(str(file))
    cfg = get_cfg(overrides={"task": "detect", "imgsz": 64, **settings})
    return build_yolo_dataset(cfg, data["train"], 16, data, mode="train", stride=32)


def ours(built: Any, seed: int, epoch: int, recipe: Recipe | None = None,
         images: resident_dataset.ResidentImages | None = None) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return each image of an epoch as (image, classes, boxes)."""
    images = images or resident_dataset.load_images(built, CPU)
    recipe = recipe or batched_augment.read_recipe(built)[0]
    plan, sizes = batched_augment.draw_plan(recipe, images.sizes, seed, epoch), torch.from_numpy(images.sizes)
    rendered = batched_augment.render_images(images.table, sizes, plan, recipe)
    owner, classes, found = batched_augment.transform_boxes(images.labels, images.counts, sizes, plan, recipe)
    return [(rendered[at], classes[owner == at], found[owner == at]) for at in range(len(rendered))]


class Script:
    """Replaces the random generators of Ultralytics: returns the numbers of a row of the plan's table."""

    def __init__(self) -> None:
        self.numbers: list[float] = []
        self.partners: list[int] = []

    def random(self) -> float:
        return self.numbers.pop(0)

    def uniform(self, low: float, high: float, size: int | None = None) -> Any:
        if size is not None:
            return np.array([self.uniform(low, high) for _ in range(size)])
        return low + (high - low) * self.numbers.pop(0)

    def choices(self, _: Any, k: int) -> list[int]:
        return self.partners[:k]


class Scripted:
    """A transform that takes its own columns of the row, independent of earlier draws."""

    def __init__(self, inner: Any, script: Script, row: NDArray[Any], count: int) -> None:
        self.inner, self.script, self.row, self.count = inner, script, row, count

    def __call__(self, labels: Any) -> Any:
        row, kind = self.row, type(self.inner).__name__
        own = {"Mosaic": [row[0], row[4], row[5]], "RandomPerspective": row[6:14], "RandomHSV": row[14:17]}
        flip = row[17 if getattr(self.inner, "direction", "") == "vertical" else 18]
        self.script.numbers = list(own.get(kind, [flip, 0.5]))
        self.script.partners = [int(one * self.count) for one in row[1:4]]
        return self.inner(labels)


def theirs(built: Any, seed: int, epoch: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return each image after Ultralytics' own transforms, with the random numbers of the plan's table."""
    bits = np.random.PCG64(batched_augment.derive_seed("augment", seed, epoch))
    table = np.random.Generator(bits).random((len(built), batched_augment._DRAWS))
    script, found = Script(), []
    monkeypatch.setattr(stock, "random", script)
    monkeypatch.setattr(np.random, "uniform", script.uniform)
    for index, row in enumerate(table):
        labels = built.get_image_and_label(index)
        for one in batched_augment._flatten(built.transforms):
            labels = Scripted(one, script, row, len(built))(labels)
        found.append((labels["img"], labels["cls"].view(-1, 1), labels["bboxes"]))
    monkeypatch.undo()
    return found


@pytest.mark.parametrize("settings", [
    NONE, {**GEOMETRY, "mosaic": 0.0}, GEOMETRY, {**GEOMETRY, "mosaic": 0.5}, {**GEOMETRY, "perspective": 0.001},
    {**NONE, "mosaic": 1.0}, {**NONE, "scale": 0.9}, {**NONE, "fliplr": 0.5}, {**NONE, "flipud": 1.0},
], ids=["nothing", "no mosaic", "mosaic", "half mosaic", "perspective", "mosaic alone", "scale", "fliplr", "flipud"])
def test_the_same_random_numbers_give_the_same_image_and_boxes(
    varied_set: Path, settings: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = dataset(varied_set, **settings)
    tolerance = 1 if int(cv2.__version__.split(".")[0]) >= 5 else 8  # OpenCV 4 rounds coordinates to 1/32
    total = 0
    for (image, classes, found), (wanted, their_classes, their_boxes) in zip(
            ours(built, 3, 1), theirs(built, 3, 1, monkeypatch), strict=True):
        assert int((image.int() - wanted.int()).abs().max()) <= tolerance
        assert torch.equal(classes, their_classes)
        torch.testing.assert_close(found, their_boxes, atol=2e-6, rtol=1e-5)
        total += len(found)
    assert total > 20


def test_without_augmentation_the_image_is_the_loaders(varied_set: Path) -> None:
    built = dataset(varied_set, **NONE)
    for index, (image, classes, found) in enumerate(ours(built, 0, 0)):
        item = built[index]
        assert int((image.int() - item["img"].int()).abs().max()) <= 1
        assert torch.equal(classes, item["cls"].view(-1, 1))
        assert torch.equal(found, item["bboxes"])


def test_the_affine_of_a_mosaic_equals_opencvs(varied_set: Path) -> None:
    built = dataset(varied_set, **{**GEOMETRY, "flipud": 0.0, "fliplr": 0.0})
    recipe, images = batched_augment.read_recipe(built)[0], resident_dataset.load_images(built, CPU)
    sizes, plan = torch.from_numpy(images.sizes), batched_augment.draw_plan(recipe, images.sizes, 0, 0)
    rendered = batched_augment.render_images(images.table, sizes, plan, recipe)
    canvases = batched_augment._canvas(images.table, sizes, plan, recipe)
    for canvas, image, matrix in zip(canvases, rendered, plan.forward, strict=True):
        mosaic = np.ascontiguousarray(canvas.permute(1, 2, 0).byte().numpy())
        wanted = cv2.warpAffine(mosaic, matrix.numpy()[:2], (64, 64), borderValue=(114, 114, 114))
        apart = np.abs(wanted.astype(int) - image.permute(1, 2, 0).numpy())
        assert apart.max() <= (1 if int(cv2.__version__.split(".")[0]) >= 5 else 8)


@pytest.mark.parametrize("gains", [
    (0.0, 0.0, 0.0), (0.4123, 0.0, 0.0), (-0.3123, 0.6321, 0.0), (0.0153, -0.7123, 0.4321), (0.0, 0.0, -0.8765)])
def test_hsv_equals_opencvs(gains: tuple[float, float, float], monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    image[:10] = image[:10, :, :1]  # grey
    image[10:12], image[12:14] = 0, 255
    monkeypatch.setattr(np.random, "uniform", lambda *_: np.array(gains))
    labels = {"img": image.copy()}
    labels = stock.RandomHSV(1.0, 1.0, 1.0)(labels) or labels
    monkeypatch.undo()
    given = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None].float()
    coloured = batched_augment._adjust_hsv(given, torch.tensor([gains]), batched_augment._rotates_hue())
    found = coloured[0].permute(1, 2, 0).numpy()[..., ::-1]
    assert np.abs(found - labels["img"].astype(int)).max() <= 1


def measured(samples: list[tuple[Tensor, Tensor, Tensor]]) -> dict[str, list[float]]:
    """Return statistics of each image, and of one box per image: boxes of one image are not independent."""
    table: dict[str, list[float]] = {}
    for image, classes, found in samples:
        pixels = image.float()
        row = {"count": float(len(found)), "grey": float((image == batched_augment.GREY).all(0).float().mean()),
               **{f"mean {name}": float(pixels[at].mean()) for at, name in enumerate("rgb")},
               **{f"std {name}": float(pixels[at].std()) for at, name in enumerate("rgb")},
               "red less blue": float((pixels[0] - pixels[2]).mean())}
        if len(found):
            x, y, w, h = found[0].tolist()
            row |= {"x": x, "y": y, "w": w, "h": h, "aspect": w / h, "class": float(classes[0])}
        for key, value in row.items():
            table.setdefault(key, []).append(value)
    return table


def p_values(some: dict[str, list[float]], others: dict[str, list[float]]) -> dict[str, float]:
    """Return the p-value of a two-sample Kolmogorov-Smirnov test for each statistic."""
    return {key: float(stats.ks_2samp(some[key], others[key], method="asymp").pvalue) for key in some}


EPOCHS = 40
FLIPS = {"flipud": 0.2, "fliplr": 0.2}
DRAWN = {  # HSV hides the grey padding, and a mosaic hides changes of single images
    "single": {**GEOMETRY, **FLIPS, "mosaic": 0.0, "degrees": 45.0}, "mosaic": {**GEOMETRY, **FLIPS},
    "colours": {**NONE, "hsv_h": 0.1, "hsv_s": 0.7, "hsv_v": 0.4},
}


@pytest.fixture(scope="module")
def sampled(varied_set: Path) -> dict[str, SimpleNamespace]:
    found = {}
    for name, settings in DRAWN.items():
        built = dataset(varied_set, **settings)
        random.seed(0)
        np.random.seed(0)
        items = [built[index] for _ in range(EPOCHS + 1) for index in random.sample(range(len(built)), len(built))]
        kept = items[len(built):]  # the first pass fills Mosaic's buffer
        found[name] = SimpleNamespace(built=built, images=resident_dataset.load_images(built, CPU),
                                      theirs=measured([(one["img"], one["cls"], one["bboxes"]) for one in kept]))
    return found


def compared(sample: SimpleNamespace, **change: Any) -> dict[str, float]:
    """Return the p-values of Ultralytics' samples against ours, with a changed recipe."""
    recipe = Recipe(**{**vars(batched_augment.read_recipe(sample.built)[0]), **change})
    drawn = [one for epoch in range(EPOCHS) for one in ours(sample.built, 1, epoch, recipe, sample.images)]
    return p_values(sample.theirs, measured(drawn))


@pytest.mark.parametrize("name", DRAWN)
def test_the_distributions_equal_the_loaders(sampled: dict[str, SimpleNamespace], name: str) -> None:
    found = compared(sampled[name])
    assert len(found) == 15
    assert min(found.values()) > 0.001, found


@pytest.mark.parametrize(("name", "change"), [
    ("mosaic", {"scale": (0.8, 1.2)}), ("mosaic", {"mosaic": 0.7}), ("single", {"scale": (0.7, 1.3)}),
    ("single", {"translate": 0.05}), ("single", {"degrees": 0.0}), ("single", {"flips": (0.2, 0.4)}),
    ("single", {"flips": (0.4, 0.2)}), ("colours", {"hsv": (0.1, 0.7, 0.25)}), ("colours", {"hsv": (0.5, 0.7, 0.4)}),
    ("colours", {"hsv": (0.1, 0.3, 0.4)}),
], ids=["scale in a mosaic", "mosaic", "scale", "translate", "degrees", "fliplr", "flipud", "value", "hue", "saturation"])
def test_a_changed_distribution_is_detected(
    sampled: dict[str, SimpleNamespace], name: str, change: dict[str, Any]
) -> None:
    found = compared(sampled[name], **change)
    assert min(found.values()) < 1e-4, found


def test_seed_epoch_and_image_alone_decide_a_row() -> None:
    recipe = Recipe(side=64, mosaic=1.0, degrees=10.0, scale=(0.5, 1.5), translate=0.1, hsv=(0.1, 0.5, 0.5),
                    flips=(0.5, 0.5))
    sizes = np.full((40, 2), 64)

    def row(plan: Plan, at: int, without: str = "") -> list[Any]:
        return [value[at].tolist() for key, value in vars(plan).items() if key != without]

    plan = batched_augment.draw_plan(recipe, sizes, 5, 3)
    assert row(plan, 7) == row(batched_augment.draw_plan(recipe, sizes, 5, 3), 7)
    # other images change only the indices of the tiles
    assert row(plan, 7, "tiles") == row(batched_augment.draw_plan(recipe, sizes[:20], 5, 3), 7, "tiles")
    for other in (batched_augment.draw_plan(recipe, sizes, 6, 3), batched_augment.draw_plan(recipe, sizes, 5, 4)):
        assert row(plan, 7) != row(other, 7)
    assert row(plan, 7) != row(plan, 8)


def test_large_sets_are_indexed_in_64_bits(varied_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = dataset(varied_set, **ALL)
    narrow = ours(built, 0, 0)
    monkeypatch.setattr(batched_augment, "_SMALL", 1)
    assert all(torch.equal(one[0], other[0]) for one, other in zip(narrow, ours(built, 0, 0), strict=True))


@pytest.mark.parametrize(("settings", "named"), [
    ({"mixup": 0.1}, "mixup=0.1"), ({"copy_paste": 0.2}, "copy_paste=0.2"), ({"bgr": 0.5}, "bgr=0.5"), ({}, "")])
def test_unsupported_transforms_are_named(varied_set: Path, settings: dict[str, float], named: str) -> None:
    assert batched_augment.read_recipe(dataset(varied_set, **settings))[1] == ([named] if named else [])


def test_an_unknown_transform_is_named(varied_set: Path) -> None:
    built = dataset(varied_set)
    built.transforms.append(SimpleNamespace())
    assert batched_augment.read_recipe(built)[1] == ["the transform SimpleNamespace"]
