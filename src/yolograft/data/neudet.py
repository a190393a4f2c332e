"""NEU-DET, the steel surface defects of Northeastern University (He et al. 2020, doi:10.1109/TIM.2019.2915404).

1,800 grey images of 200 x 200 pixels, 300 of each of six classes, in the official layout (IMAGES, ANNOTATIONS) or in
Kaggle's layout (train and validation, with a folder per class).
"""

from __future__ import annotations

import re
from pathlib import Path

from yolograft.data import voc
from yolograft.data.report import Report
from yolograft.language import tr

__all__ = ["CLASSES", "convert", "where"]

CLASSES = ("crazing", "inclusion", "patches", "pitted_surface", "rolled-in_scale", "scratches")
# known duplicates in the official set: (file, kind, detail). Their reports are notes, not problems.
_KNOWN = (
    ("crazing_120", "duplicate box", "crazing (1, 81, 117, 146)"),
    ("inclusion_62", "duplicate box", "inclusion (39, 77, 59, 140)"),
    ("patches_198", "duplicate box", "patches (158, 68, 200, 158)"),
    ("patches_105", "identical image", "patches_101"),
)


def where() -> str:
    """Return where to download the set."""
    return tr("Get NEU-DET from http://faculty.neu.edu.cn/songkechen/zh_CN/zdylm/263270/list/index.htm, or from Kaggle as "
              "'kaustubhdikshit/neu-surface-defect-database'.")


def convert(source: str | Path, dest: str | Path, *, split: str = "stratified", overwrite: bool = False) -> Report:
    """Convert NEU-DET; `voc.convert` describes how boxes and problems are treated.

    The stratified split puts an image into validation if its number is divisible by five: 1,440 images for training and
    360 for validation, 60 of each class. The official set contains one image twice, as `patches_101` and `patches_105`.
    One copy would be in training and one in validation, so both are in training and `patches_106` is in validation.

    Raises:
        DataError: the source has no usable image, or `dest` cannot be written. `dest` is unchanged.
    """
    return voc.convert(source, dest, names=CLASSES, split=split, overwrite=overwrite, hint=where(), known=_KNOWN,
                       is_validation=_has_number_divisible_by_5)


def _has_number_divisible_by_5(name: str, rank: int) -> bool:
    number = re.search(r"(\d+)$", name)
    return int(number.group()) % 5 == 0 if number else rank % 5 == 4
