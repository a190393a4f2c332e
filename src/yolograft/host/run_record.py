"""What a training run started with: versions, data and the user's files. A resumed run says what has changed since.

The record is in `graft.yaml` of the run's folder. The data are recorded as one hash of the class names, of the names and
sizes of the images, and of the label files' contents.

What this relies on in Ultralytics (8.3.0 to 8.4.x): the callback `on_pretrain_routine_end` runs when the loaders are built,
also in a resumed training, whose trainer has a true `resume` and the old `save_dir`.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import ultralytics
import yaml

from yolograft import __version__, yaml_text
from yolograft.atomic import atomic_write
from yolograft.blocks import plugin
from yolograft.data.labels import label_path
from yolograft.errors import HostError
from yolograft.host.log import warn
from yolograft.host.used_images import image_files
from yolograft.language import tr

__all__ = ["FILE", "changed_text", "hash_images", "record_run", "state_of"]

FILE = "graft.yaml"
_KEY = "started_with"


def hash_images(images: Iterable[str | Path], names: Any) -> str:
    """Return a hash of class names, of the names and sizes of images, and of the contents of their label files."""
    digest = hashlib.sha256(repr(names).encode())
    for image in sorted(map(Path, images), key=lambda path: (path.name, str(path))):
        label = label_path(image)
        content = label.read_bytes() if label.is_file() else b""
        size = image.stat().st_size if image.is_file() else -1
        digest.update(f"{image.name}\0{size}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:20]


def state_of(trainer: Any) -> dict[str, str]:
    """Return what a run depends on besides its arguments: thing -> version or hash."""
    network = getattr(trainer.model, "module", trainer.model)
    files = {need["file"] or need["module"]: need["sha256"][:20] for need in plugin.needs_of(network)}
    images = [*image_files(trainer.train_loader), *image_files(getattr(trainer, "test_loader", None))]
    return {"yolograft": __version__, "ultralytics": ultralytics.__version__, "torch": str(torch.__version__),
            "python": platform.python_version(), "data": hash_images(images, trainer.data.get("names")), **files}


def changed_text(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return the warning on what has changed since a run began, or ""."""
    changed = [key for key in dict.fromkeys([*then, *now]) if then.get(key) != now.get(key)]
    if not changed:
        return ""
    listed = "; ".join(tr("{key}: {then} then, {now} now", key=key, then=then.get(key, "-"), now=now.get(key, "-"))
                       for key in changed)
    return tr("this run continues, but not as it began ({changed}). Its epochs cannot be compared, and another run will not "
              "give the same result.", changed=listed)


def record_run(trainer: Any) -> None:
    """Callback of `on_pretrain_routine_end`: record what the run starts with, or compare with the record if it resumes."""
    file = Path(trainer.save_dir) / FILE
    if not file.is_file() or not getattr(trainer, "keeps_record", True):
        return
    found = yaml_text.read(file, error=HostError).value
    facts = found if isinstance(found, dict) else {}
    now = state_of(trainer)
    if getattr(trainer, "resume", False) and _KEY in facts:
        if text := changed_text(facts[_KEY], now):
            warn(text)
        return
    content = yaml.safe_dump({**facts, _KEY: now}, sort_keys=False)
    atomic_write(file, lambda part: part.write_text(content, encoding="utf-8"))
