"""Which images a training or a validation uses: images that are left out because of invalid labels, and shared ones.

Ultralytics leaves an image out if one line of its label file is invalid (a class that does not exist, a value outside 0 to
1), and logs a line for each. Here the number is a warning, with the reasons of three of them.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `YOLODataset.get_labels` sets `im_files` to the images that it uses. A
data set for classification lists them in `samples`, with the path first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ultralytics.data.dataset import YOLODataset

from yolograft.data.labels import label_path, parse
from yolograft.data.pictures import read_pixels
from yolograft.data.shared_files import shared_files
from yolograft.data.text import read_text
from yolograft.host.log import warn
from yolograft.language import tr
from yolograft.patch import patched

__all__ = ["image_files", "invalid_reason", "label_format", "say_shared", "say_unused", "shared_text"]

_SHOWN = 3
_HARMLESS = ("duplicate", "no area")  # kinds of problems of a line for which Ultralytics keeps the image


@contextmanager
def say_unused() -> Iterator[None]:
    """Inside this context, warn when a data set leaves images out."""
    stock: Callable[[Any], list[dict[str, Any]]] = YOLODataset.get_labels

    def get_labels(dataset: Any) -> list[dict[str, Any]]:
        listed = list(dataset.im_files)
        labels = stock(dataset)
        used = set(dataset.im_files)
        left_out = [file for file in listed if file not in used]
        if left_out:
            warn(_unused_text(left_out, len(listed), getattr(dataset, "data", None) or {}))
        return labels

    with patched((YOLODataset, "get_labels", get_labels)):
        yield


def _unused_text(left_out: Sequence[str], total: int, data: dict[str, Any]) -> str:
    names, keypoints = label_format(data)
    examples = "; ".join(tr("{name}: {reason}", name=Path(file).name, reason=invalid_reason(Path(file), names, keypoints))
                         for file in left_out[:_SHOWN])
    return tr("{count} of the {total} images in {folder} are left out, because a label or the image is invalid "
              "({examples}). List all: yolograft data check {data}", count=len(left_out), total=total,
              folder=Path(left_out[0]).parent, examples=examples, data=data.get("yaml_file", "DATA.yaml"))


def label_format(data: Mapping[str, Any]) -> tuple[dict[int, str], tuple[int, ...] | None]:
    """Return the names of the classes by number and the shape of the keypoints of a resolved data set."""
    names = data.get("names") or {}
    return (dict(enumerate(names)) if isinstance(names, (list, tuple)) else dict(names),
            tuple(data["kpt_shape"]) if data.get("kpt_shape") else None)


def invalid_reason(image: Path, names: dict[int, str], keypoints: Any = None, *, read_image: bool = True) -> str:
    """Return what is wrong with the label file of an image, or with the image.

    Args:
        image: the image file.
        names: number -> name of the classes of the data.
        keypoints: number of keypoints and of values for each, or None.
        read_image: whether the image may be the reason. Otherwise "" is returned for a label file that is right.
    """
    file = label_path(image)
    try:
        problems = parse(read_text(file)[0], names, keypoints).problems if file.is_file() else []
        wrong = [what for kind, what in problems if kind not in _HARMLESS]
        if wrong or not read_image:
            return wrong[0] if wrong else ""
        pixels = read_pixels(image.read_bytes())
    except OSError as error:
        return str(error.strerror)
    return pixels if isinstance(pixels, str) else tr("see the lines above")


def image_files(loader: Any) -> list[str]:
    """Return the image files of a data loader of Ultralytics; empty if its data set does not list them."""
    dataset = getattr(loader, "dataset", None)
    while dataset is not None and not hasattr(dataset, "im_files") and not hasattr(dataset, "samples"):
        dataset = getattr(dataset, "dataset", None)
    if dataset is None:
        return []
    found = getattr(dataset, "im_files", None)
    return list(found) if found is not None else [str(sample[0]) for sample in dataset.samples]


def say_shared(trainer: Any) -> None:
    """Callback of `on_pretrain_routine_end`: warn if images are used for training and for validation."""
    text = shared_text(image_files(trainer.train_loader), image_files(getattr(trainer, "test_loader", None)))
    if text:
        warn(text)


def shared_text(train: Sequence[str | Path], val: Sequence[str | Path]) -> str:
    """Return the warning on image files that are in both lists, or ""."""
    pairs = shared_files(train, val)
    if not pairs:
        return ""
    examples = "; ".join(str(other) if one == other else tr("{image} and {other}", image=one.name, other=other.name)
                         for one, other in pairs[:_SHOWN])
    return tr("{count} of the {total} validation images are training images too: {examples}. The metrics say nothing about "
              "new images.", count=len(pairs), total=len(val), examples=examples)
