"""A procedural data set of steel surface defects, drawn in seconds: for the demo and for trials without a download.

It has the six classes of NEU-DET (Song and Yan 2013, doi:10.1016/j.apsusc.2013.09.002), drawn on grey rolled strips. It
is a toy data set: results on it do not apply to real steel.

A defect is drawn as a change of brightness. Its box encloses all pixels that change visibly, so boxes are tight. An image
depends only on the seed and on its number.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from yolograft.data import destination
from yolograft.errors import DataError
from yolograft.language import tr

__all__ = ["CLASSES", "draw_image", "write"]

Grey = NDArray[np.float32]  # (H, W), in grey levels
Draw = Callable[[np.random.Generator, int], Grey]
VISIBLE = 9.0  # grey levels: a pixel belongs to a defect if its value changes by more


def _noise(generator: np.random.Generator, size: int, width: float, height: float) -> Grey:
    """Return smooth noise, (size, size), with mean 0, standard deviation 1 and blobs of about `width` x `height` pixels."""
    across, down = max(1, int(width / 2)), max(1, int(height / 2))  # wide blobs need few points, which saves time
    raw = generator.standard_normal((size // down + 2, size // across + 2)).astype(np.float32)
    smooth = cv2.GaussianBlur(raw, (0, 0), sigmaX=max(width / across, 0.3), sigmaY=max(height / down, 0.3))
    if across > 1 or down > 1:
        smooth = cv2.resize(smooth, None, fx=across, fy=down, interpolation=cv2.INTER_CUBIC)
    smooth = smooth[:size, :size]
    return np.asarray((smooth - smooth.mean()) / (smooth.std() + 1e-6), np.float32)


def _region(generator: np.random.Generator, size: int, smallest: float, largest: float) -> Grey:
    """Return a mask, (size, size), 0 to 1: a rounded rectangle with a rough edge.

    Its half axes are random fractions of `size`, between `smallest` and `largest`.
    """
    a, b = generator.uniform(smallest, largest, 2) * size
    x0, y0 = generator.uniform(a, size - a), generator.uniform(b, size - b)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    radius = ((np.abs(x - x0) / a) ** 3 + (np.abs(y - y0) / b) ** 3) ** (1 / 3)
    return np.clip((1 - radius - 0.1 * _noise(generator, size, size / 30, size / 30)) * 6, 0, 1).astype(np.float32)


def _crazing(generator: np.random.Generator, size: int) -> Grey:
    """A dense net of broken hairline cracks, most of them along the strip."""
    cracks = np.zeros((size, size), np.float32)
    for width, height in ((size / 40, size / 110), (size / 70, size / 70)):
        line = np.exp(-((_noise(generator, size, width, height) / 0.13) ** 2))
        cracks = np.maximum(cracks, line * np.clip(_noise(generator, size, size / 50, size / 50) + 0.6, 0, 1))
    return -58 * cracks * _region(generator, size, 0.2, 0.42)


def _inclusion(generator: np.random.Generator, size: int) -> Grey:
    """One to three soft dark streaks side by side, across the strip, with varying width."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    x0, y0 = generator.uniform(0.12, 0.88) * size, generator.uniform(0.2, 0.8) * size
    length, found = generator.uniform(0.1, 0.3) * size, np.zeros((size, size), np.float32)
    for _ in range(int(generator.integers(1, 4))):
        at, width = x0 + generator.uniform(-0.06, 0.06) * size, generator.uniform(0.015, 0.04) * size
        middle = y0 + generator.uniform(-0.08, 0.08) * size
        bend = 0.015 * size * np.sin(y / size * 9 + generator.uniform(0, 6))
        swell = np.clip(1 + 0.35 * _noise(generator, size, size, size / 20)[:, :1], 0.2, 2)
        body = np.exp(-(((x - at - bend) / (width * swell)) ** 4)) * np.clip((length - np.abs(y - middle)) / 8, 0, 1)
        found = np.maximum(found, body)
    depth = generator.uniform(32, 68)
    mottle = 1 + 0.12 * _noise(generator, size, 1, 3)
    return np.asarray(-depth * cv2.GaussianBlur(found, (0, 0), size / 150) * mottle, np.float32)


def _patches(generator: np.random.Generator, size: int) -> Grey:
    """A dark patch with a rough, speckled edge and a mottled inside."""
    blot = cv2.GaussianBlur(_region(generator, size, 0.09, 0.27), (0, 0), size / 60)
    specks = 0.13 * _noise(generator, size, 1.2, 1.2) + 0.16 * _noise(generator, size, size / 40, size / 40)
    body = np.clip((blot + specks * (blot > 0.12) - 0.35) * 5, 0, 1)
    mottle = 1 + 0.18 * _noise(generator, size, size / 25, size / 25)
    return np.asarray(-generator.uniform(62, 100) * cv2.GaussianBlur(body, (0, 0), 0.7) * mottle, np.float32)


def _pitted(generator: np.random.Generator, size: int) -> Grey:
    """Many small soft pits in loose columns, on a slightly darker region."""
    pits = np.clip(_noise(generator, size, size / 130, size / 90) * 1.6 - 1.5, 0, 1)
    columns = np.clip(0.7 + 0.5 * _noise(generator, size, size / 50, size)[:1], 0.2, 1)
    return np.asarray((-11 - 58 * pits * columns) * _region(generator, size, 0.24, 0.46), np.float32)


def _scale(generator: np.random.Generator, size: int) -> Grey:
    """Rolled-in scale: scattered dark flakes with a tail, all with the same slant, each with a bright rim."""
    flakes = np.clip(_noise(generator, size, size / 60, size / 110) * 2.2 - 2.9, 0, 1)
    shear = np.array([[1, generator.uniform(-0.4, 0.4), 0], [generator.uniform(-0.5, 0.1), 1, 0]], np.float32)
    shear[:, 2] = size / 2 - shear[:, :2] @ np.full(2, size / 2, np.float32)
    flakes = cv2.warpAffine(flakes, shear, (size, size), borderMode=cv2.BORDER_REFLECT)
    rim = np.roll(cv2.GaussianBlur(flakes, (0, 0), size / 140), max(1, size // 80), axis=0)
    change = -82 * flakes + 30 * np.clip(rim - flakes, 0, 1)
    return np.asarray(change * _region(generator, size, 0.16, 0.36), np.float32)


def _scratches(generator: np.random.Generator, size: int) -> Grey:
    """One to four thin bright lines, nearly straight and parallel, most of them vertical, with varying brightness."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    angle = generator.normal(0, 0.05) + (np.pi / 2 if generator.random() < 0.8 else 0)
    x0, y0 = generator.uniform(0.15, 0.85, 2) * size
    length, found = generator.uniform(0.18, 0.48) * size, np.zeros((size, size), np.float32)
    for _ in range(int(generator.integers(1, 5))):
        tilt = angle + generator.uniform(-0.02, 0.02)
        across = (y - y0) * np.cos(tilt) - (x - x0) * np.sin(tilt) + generator.uniform(-0.04, 0.04) * size
        along = (x - x0) * np.cos(tilt) + (y - y0) * np.sin(tilt) + generator.uniform(-0.06, 0.06) * size
        line = np.exp(-((across / generator.uniform(0.7, 1.6)) ** 2)) * generator.uniform(0.6, 1)
        found = np.maximum(found, line * np.clip((length - np.abs(along)) / 6, 0, 1))
    faint = np.clip(0.85 + 0.2 * _noise(generator, size, size / 12, size / 12), 0.4, 1)
    return np.asarray(generator.uniform(60, 115) * found * faint, np.float32)


_DRAW: dict[str, Draw] = {"crazing": _crazing, "inclusion": _inclusion, "patches": _patches, "pitted_surface": _pitted,
                          "rolled-in_scale": _scale, "scratches": _scratches}
CLASSES = tuple(_DRAW)


def draw_image(seed: int, number: int, size: int = 200) -> tuple[NDArray[np.uint8], list[tuple[int, int, int, int, int]]]:
    """Draw one image of the set.

    It has one to three defects of the class `number` modulo six. About 15% of the images get one more defect of any class.
    A defect that finds no free position in eight trials is skipped.

    Args:
        seed: of the set.
        number: of the image.
        size: width and height of the image in pixels.

    Returns:
        The image, (size, size) grey levels, and its boxes: class, x0, y0, x1, y1 in pixels, right and bottom excluded.
    """
    generator = np.random.default_rng([seed, number])
    light = generator.uniform(85, 175) + generator.uniform(4, 20) * _noise(generator, size, size / 2, size / 2)
    bands = generator.uniform(1, 6) * np.broadcast_to(_noise(generator, size, size / 40, size)[:1], (size, size))
    grain = generator.uniform(2, 13) * _noise(generator, size, 0.6, generator.uniform(0.5, 1.4))  # stretched by rolling
    stains = generator.uniform(0, 8) * _noise(generator, size, size / 60, size / 40)
    strip = light + bands + grain + stains
    boxes: list[tuple[int, int, int, int, int]] = []
    wanted = [number % len(CLASSES)] * int(generator.integers(1, 4))
    wanted += [int(generator.integers(len(CLASSES)))] * (generator.random() < 0.15)
    for index in wanted:
        for _ in range(8):  # until the defect is large enough and overlaps no other
            change = _DRAW[CLASSES[index]](generator, size)
            ys, xs = np.nonzero(np.abs(change) > VISIBLE)
            if not len(xs):
                continue
            box = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
            big = min(box[2] - box[0], box[3] - box[1]) >= 3 and max(box[2] - box[0], box[3] - box[1]) >= size / 10
            apart = all(min(box[2], b[3]) <= max(box[0], b[1]) or min(box[3], b[4]) <= max(box[1], b[2]) for b in boxes)
            if big and apart:
                strip = strip + change
                boxes.append((index, *box))
                break
    return np.clip(strip, 0, 255).astype(np.uint8), boxes


def write(dest: str | Path, *, images: int = 300, size: int = 200, seed: int = 0, overwrite: bool = False) -> Path:
    """Write the set in Ultralytics' layout and return the path of its data YAML.

    Every fifth group of six images, one of each class, is for validation, so all classes are equally frequent in both
    splits.

    Args:
        dest: the folder to create.
        images: number of images, at least 30.
        size: width and height of an image in pixels, 64 to 2048.
        seed: the same seed gives the same bytes.
        overwrite: replace the data set at `dest` when the new one is complete.

    Raises:
        DataError: a number is out of range, or `dest` exists or cannot be written.
    """
    dest = Path(dest).resolve()
    if images < 5 * len(CLASSES):
        raise DataError(tr("images={images} is too few: at least {least}, so that each class is in both splits.",
                           images=images, least=5 * len(CLASSES)))
    if not 64 <= size <= 2048:
        raise DataError(tr("size={size}: expected 64 to 2048 pixels.", size=size))
    if seed < 0:
        raise DataError(tr("seed={seed}: expected 0 or more.", seed=seed))
    with destination.replace_folder(dest, overwrite) as draft:
        _write_files(draft, dest, images, size, seed)
    return dest / "steel.yaml"


def _write_files(draft: Path, dest: Path, images: int, size: int, seed: int) -> None:
    for number in range(images):
        split = "val" if number // len(CLASSES) % 5 == 4 else "train"
        grey, boxes = draw_image(seed, number, size)
        name = f"{CLASSES[number % len(CLASSES)]}_{number + 1}"
        (draft / "images" / split).mkdir(parents=True, exist_ok=True)
        (draft / "labels" / split).mkdir(parents=True, exist_ok=True)
        (draft / "images" / split / f"{name}.png").write_bytes(cv2.imencode(".png", grey)[1].tobytes())
        lines = [f"{c} {(x0 + x1) / 2 / size:.6f} {(y0 + y1) / 2 / size:.6f} {(x1 - x0) / size:.6f} {(y1 - y0) / size:.6f}"
                 for c, x0, y0, x1, y1 in boxes]
        (draft / "labels" / split / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    names = "\n".join(f"  {index}: {name}" for index, name in enumerate(CLASSES))
    (draft / "steel.yaml").write_text(
        f"# {images} procedural images of steel defects, {size} x {size}, seed {seed}; a toy data set, made by yolograft\n"
        f"path: {json.dumps(str(dest), ensure_ascii=False)}\n"  # quoted for special characters of YAML
        f"train: images/train\nval: images/val\nnames:\n{names}\n", encoding="utf-8")
