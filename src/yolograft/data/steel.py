"""A procedural set of steel surface defects, written in seconds: for the demo, and for trying things with no download.

Six classes named and looking like those of NEU-DET (Song and Yan 2013, doi:10.1016/j.apsusc.2013.09.002), drawn on grey
rolled strips. It is a toy: what a block does on it says nothing about real steel.

A defect is drawn as a change of brightness, and its box is the extent of what visibly changed, so boxes are tight.
Every picture follows from the seed and its own number alone.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from yolograft.errors import DataError

__all__ = ["CLASSES", "picture", "write"]

Grey = NDArray[np.float32]  # (H, W), in grey levels
Draw = Callable[[np.random.Generator, int], Grey]
VISIBLE = 9.0  # grey levels that a defect must change a pixel by, for the pixel to count as part of it


def _noise(generator: np.random.Generator, size: int, width: float, height: float) -> Grey:
    """Return smooth noise of zero mean and unit deviation, (size, size), with blobs of about this width and height."""
    raw = generator.standard_normal((size, size)).astype(np.float32)
    smooth = cv2.GaussianBlur(raw, (0, 0), sigmaX=max(width, 0.3), sigmaY=max(height, 0.3))
    return np.asarray((smooth - smooth.mean()) / (smooth.std() + 1e-6), np.float32)


def _region(generator: np.random.Generator, size: int, smallest: float, largest: float) -> Grey:
    """Return a ragged elliptic mask, 0 to 1, (size, size), whose half axes are these fractions of the size."""
    a, b = generator.uniform(smallest, largest, 2) * size
    x0, y0 = generator.uniform(a, size - a), generator.uniform(b, size - b)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    radius = np.hypot((x - x0) / a, (y - y0) / b) + 0.12 * _noise(generator, size, size / 24, size / 24)
    return np.clip((1 - radius) * 8, 0, 1).astype(np.float32)


def _crazing(generator: np.random.Generator, size: int) -> Grey:
    """A net of fine dark cracks along the strip: the zero lines of a stretched noise."""
    net = np.abs(_noise(generator, size, size / 18, size / 90))
    return -38 * np.exp(-((net / 0.22) ** 2)) * _region(generator, size, 0.2, 0.42)


def _inclusion(generator: np.random.Generator, size: int) -> Grey:
    """One to three narrow dark streaks, across the strip, with ragged edges."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    x0, y0 = generator.uniform(0.15, 0.85, 2) * size
    length, found = generator.uniform(0.12, 0.3) * size, np.zeros((size, size), np.float32)
    for _ in range(int(generator.integers(1, 4))):
        at, width = x0 + generator.uniform(-0.06, 0.06) * size, generator.uniform(0.012, 0.03) * size
        middle = y0 + generator.uniform(-0.08, 0.08) * size
        bend = 0.02 * size * np.sin(y / size * 9 + generator.uniform(0, 6))
        body = np.exp(-((x - at - bend) / width) ** 2) * np.clip((length - np.abs(y - middle)) / 6, 0, 1)
        found = np.maximum(found, body)
    return (-75 * found * (1 + 0.25 * _noise(generator, size, 1.5, 2.5))).astype(np.float32)


def _patches(generator: np.random.Generator, size: int) -> Grey:
    """A dark blot, longer across the strip than along it, with a blurred and ragged edge."""
    blot = np.clip(_noise(generator, size, size / 26, size / 14) * 1.6 + 2.2, 0, 1)
    return np.asarray(-68 * blot * cv2.GaussianBlur(_region(generator, size, 0.09, 0.26), (0, 0), size / 90), np.float32)


def _pitted(generator: np.random.Generator, size: int) -> Grey:
    """Many small dark pits on a darkened ground."""
    pits = np.clip(_noise(generator, size, size / 110, size / 110) * 2 - 2.4, 0, 1)
    return (-14 - 62 * pits) * _region(generator, size, 0.18, 0.36)


def _scale(generator: np.random.Generator, size: int) -> Grey:
    """Scale that was rolled in: scattered dark flakes, longer than high, each with a bright rim below."""
    flakes = np.clip(_noise(generator, size, size / 36, size / 80) * 3 - 3.2, 0, 1)
    rim = np.roll(flakes, max(1, size // 60), axis=0)
    return (-58 * flakes + 30 * np.clip(rim - flakes, 0, 1)) * _region(generator, size, 0.18, 0.38)


def _scratches(generator: np.random.Generator, size: int) -> Grey:
    """One to three bright thin lines, nearly straight and nearly parallel."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    angle = generator.uniform(-0.25, 0.25) + (np.pi / 2 if generator.random() < 0.6 else 0)
    x0, y0 = generator.uniform(0.25, 0.75, 2) * size
    found = np.zeros((size, size), np.float32)
    for _ in range(int(generator.integers(1, 4))):
        tilt = angle + generator.uniform(-0.05, 0.05)
        across = (y - y0) * np.cos(tilt) - (x - x0) * np.sin(tilt) + generator.uniform(-0.05, 0.05) * size
        along = (x - x0) * np.cos(tilt) + (y - y0) * np.sin(tilt) + generator.uniform(-0.1, 0.1) * size
        line = np.exp(-((across / generator.uniform(0.8, 1.6)) ** 2))
        found = np.maximum(found, line * np.clip((generator.uniform(0.2, 0.42) * size - np.abs(along)) / 4, 0, 1))
    return 80 * found


_DRAW: dict[str, Draw] = {"crazing": _crazing, "inclusion": _inclusion, "patches": _patches, "pitted_surface": _pitted,
                          "rolled-in_scale": _scale, "scratches": _scratches}
CLASSES = tuple(_DRAW)


def picture(seed: int, number: int, size: int = 200) -> tuple[NDArray[np.uint8], list[tuple[int, int, int, int, int]]]:
    """Draw one picture of the set.

    Its first defect is of class `number` modulo six; every third picture has a second one, of any class, elsewhere.

    Args:
        seed: of the set.
        number: of the picture.
        size: side of the picture in pixels.

    Returns:
        The picture, (size, size) grey levels, and its boxes: class, x0, y0, x1, y1 in pixels, right and bottom excluded.
    """
    generator = np.random.default_rng([seed, number])
    light = generator.uniform(105, 165) + 14 * _noise(generator, size, size / 3, size / 3)
    bands = generator.uniform(2, 11) * np.broadcast_to(_noise(generator, size, size / 60, size)[:1], (size, size))
    grain = generator.uniform(3, 16) * _noise(generator, size, 0.6, generator.uniform(0.6, 2.5))  # drawn out by rolling
    strip = light + bands + grain
    boxes: list[tuple[int, int, int, int, int]] = []
    wanted = [number % len(CLASSES)] + ([int(generator.integers(len(CLASSES)))] if number % 3 == 2 else [])
    for index in wanted:
        for _ in range(20):  # until it lies apart from what is there, and is not a speck
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

    Every fifth round of the six classes is validation, so both sides hold all classes alike.

    Args:
        dest: the folder to make.
        images: how many pictures, 30 at least.
        size: side of a picture in pixels, 64 to 2048.
        seed: the same seed writes the same bytes.
        overwrite: replace what is at `dest`, once the new set is complete.

    Raises:
        DataError: a number makes no sense, or `dest` is there already.
    """
    dest = Path(dest)
    if images < 5 * len(CLASSES):
        raise DataError(f"images={images} is too few: {5 * len(CLASSES)} at least, for each class to be on both sides.")
    if not 64 <= size <= 2048:
        raise DataError(f"size={size}: a picture's side is 64 to 2048 pixels.")
    if dest.exists() and not overwrite:
        raise DataError(f"'{dest}' is there already. Name another folder, or say overwrite=True to replace it.")
    dest.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{dest.name}.", dir=dest.parent))
    try:
        _fill(draft, dest, images, size, seed)
        if dest.exists():
            shutil.rmtree(dest)
        os.replace(draft, dest)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return dest / "steel.yaml"


def _fill(draft: Path, dest: Path, images: int, size: int, seed: int) -> None:
    for number in range(images):
        side = "val" if number // len(CLASSES) % 5 == 4 else "train"
        grey, boxes = picture(seed, number, size)
        name = f"{CLASSES[number % len(CLASSES)]}_{number + 1}"
        (draft / "images" / side).mkdir(parents=True, exist_ok=True)
        (draft / "labels" / side).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(draft / "images" / side / f"{name}.png"), grey)
        lines = [f"{c} {(x0 + x1) / 2 / size:.6f} {(y0 + y1) / 2 / size:.6f} {(x1 - x0) / size:.6f} {(y1 - y0) / size:.6f}"
                 for c, x0, y0, x1, y1 in boxes]
        (draft / "labels" / side / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    names = "\n".join(f"  {index}: {name}" for index, name in enumerate(CLASSES))
    (draft / "steel.yaml").write_text(
        f"# {images} procedural pictures of steel defects, {size} x {size}, seed {seed}; a toy, made by yolograft\n"
        f"path: {dest.resolve()}\ntrain: images/train\nval: images/val\nnames:\n{names}\n", encoding="utf-8")
