"""Small annotated images in every format, written as people's tools write them."""

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import DATA
from PIL import Image

Objects = Sequence[tuple[str, float, float, float, float]]  # class, and the edges of its box in pixels


def picture(seed: int, size: tuple[int, int] = (40, 30)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)


def write_picture(path: Path, seed: int, size: tuple[int, int] = (40, 30), orientation: int = 1) -> None:
    """Write noise. With an EXIF orientation, `size` is that of the stored image, before it is turned."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if orientation == 1:
        path.write_bytes(cv2.imencode(path.suffix, picture(seed, size))[1].tobytes())
        return
    image = Image.fromarray(picture(seed, size))
    exif = image.getexif()
    exif[274] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    path.write_bytes(buffer.getvalue())


def voc(objects: Objects, size: tuple[int, int] = (40, 30), name: str = "", first: int = 1) -> str:
    """Return VOC XML; corners count pixels from `first`, or are edges for `first=0`."""
    parts = [f"<object><name>{kind}</name><bndbox><xmin>{x0 + first}</xmin><ymin>{y0 + first}</ymin><xmax>{x1}</xmax><ymax>"
             f"{y1}</ymax></bndbox></object>" for kind, x0, y0, x1, y1 in objects]
    return (f"<annotation><filename>{name}</filename><size><width>{size[0]}</width><height>{size[1]}</height></size>"
            f"{''.join(parts)}</annotation>")


def coco(images: dict[str, tuple[tuple[int, int], Objects]], names: Sequence[str], first: int = 1) -> dict[str, Any]:
    """Return COCO JSON of file name -> (size, objects); the number of a category is three times its place."""
    numbers = {name: first + 3 * at for at, name in enumerate(names)}
    return {
        "images": [{"id": at, "file_name": name, "width": size[0], "height": size[1]}
                   for at, (name, (size, _)) in enumerate(images.items())],
        "annotations": [{"id": 100 * at + n, "image_id": at, "category_id": numbers[kind], "iscrowd": 0,
                         "bbox": [x0, y0, x1 - x0, y1 - y0]} for at, (_, objects) in enumerate(images.values())
                        for n, (kind, x0, y0, x1, y1) in enumerate(objects)],
        "categories": [{"id": number, "name": name, "supercategory": ""} for name, number in numbers.items()]}


def labelme(objects: Objects, image: str, size: tuple[int, int] = (40, 30)) -> dict[str, Any]:
    return {"version": "5.4.1", "flags": {}, "imagePath": image, "imageData": None, "imageHeight": size[1],
            "imageWidth": size[0], "shapes": [
                {"label": kind, "points": [[x0, y0], [x1, y1]], "group_id": None, "shape_type": "rectangle", "flags": {}}
                for kind, x0, y0, x1, y1 in objects]}


def write_json(path: Path, content: object, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))


def labels(folder: Path) -> dict[str, list[list[float]]]:
    """Return name of an image -> its rows: class, x, y, width, height, sorted."""
    return {file.stem: sorted([float(word) for word in line.split()] for line in file.read_text().splitlines())
            for file in folder.joinpath("labels").rglob("*.txt")}


def real_set(name: str) -> Path:
    if not (DATA / name).is_file():
        pytest.skip(f"needs {name} (set YOLOGRAFT_DATA to the folder that has it)")
    return DATA / name


def unpack(name: str, folder: Path) -> Path:
    with zipfile.ZipFile(real_set(name)) as archive:
        archive.extractall(folder)
    return folder
