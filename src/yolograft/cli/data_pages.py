"""The help pages of `yolograft data KIND`. `cli.data` runs these commands and takes their defaults from here."""

from __future__ import annotations

from collections.abc import Iterable

from yolograft.cli.command import Argument, Command
from yolograft.language import tr

__all__ = ["commands", "defaults"]


def commands(kinds: Iterable[str]) -> list[Command]:
    """Return the description of each kind of data."""
    known = {page.name: page for page in (_voc(), _coco(), _labelme(), _neu_det(), _check(), _steel())}
    return [known[f"data {kind}"] for kind in kinds]


def defaults(kind: str) -> dict[str, str]:
    """Return each key of `yolograft data KIND` with its default."""
    return commands([kind])[0].defaults()


def _split() -> Argument:
    return Argument("split", "", tr("stratified: every fifth image of each class is for validation; source: the "
                                    "splits of the source. By default source if the format names splits, and "
                                    "stratified otherwise"))


def _classes() -> list[Argument]:
    return [Argument("names", "", tr("the classes and their order, as in names=cat,dog; by default all")),
            Argument("merge", "", tr("class names that mean the same, as in merge=Cat:cat"))]


def _overwrite() -> Argument:
    return Argument("overwrite", "", tr("True replaces an existing data set at DEST"))


def _voc() -> Command:
    return Command(
        name="data voc", usage="SOURCE DEST [key=value ...]",
        summary=tr("convert any Pascal VOC data set to the format of Ultralytics"),
        arguments=[*_classes(), _split(), _overwrite()], example="yolograft data voc my-voc-folder datasets/mine",
        notes=[tr("SOURCE is a folder or a zip file with images and XML annotations. DEST is a new folder; the data "
                  "YAML is in it.")])


def _coco() -> Command:
    return Command(
        name="data coco", usage="SOURCE DEST [key=value ...]",
        summary=tr("convert a data set with COCO JSON to the format of Ultralytics"),
        arguments=[*_classes(), _split(), Argument("crowd", "", tr("True keeps the objects that are marked as a crowd")),
                   _overwrite()],
        example="yolograft data coco my-coco-folder datasets/mine",
        notes=[tr("SOURCE is a folder or a zip file with images and COCO JSON. DEST is a new folder; the data YAML is "
                  "in it.")])


def _labelme() -> Command:
    return Command(
        name="data labelme", usage="SOURCE DEST [key=value ...]",
        summary=tr("convert a data set that was annotated with LabelMe to the format of Ultralytics"),
        arguments=[*_classes(), _split(), _overwrite()], example="yolograft data labelme my-labelme-folder datasets/mine",
        notes=[tr("SOURCE is a folder or a zip file with images and LabelMe JSON. DEST is a new folder; the data YAML "
                  "is in it.")])


def _neu_det() -> Command:
    return Command(
        name="data neu-det", usage="SOURCE DEST [key=value ...]", summary=tr("convert NEU-DET to the format of Ultralytics"),
        arguments=[_split(), _overwrite()], example="yolograft data neu-det NEU-DET.zip datasets/NEU-DET",
        notes=[tr("SOURCE is the official zip file or folder (IMAGES, ANNOTATIONS), or the one from Kaggle. DEST is a new "
                  "folder; the data YAML is in it.")])


def _check() -> Command:
    return Command(
        name="data check", usage="DATA.yaml [key=value ...]",
        summary=tr("check a data set in the format of Ultralytics, and change nothing"),
        arguments=[Argument("all", "", tr("True lists every problem, not only the first 20"))],
        example="yolograft data check datasets/mine/mine.yaml")


def _steel() -> Command:
    return Command(
        name="data steel", usage="DEST [key=value ...]",
        summary=tr("draw a small data set of steel defects, in seconds and without a download"),
        arguments=[Argument("images", "300", tr("number of images")),
                   Argument("size", "200", tr("side of the images in pixels")),
                   Argument("seed", "0", tr("random seed of the images")), _overwrite()],
        example="yolograft data steel datasets/steel", notes=[tr("DEST is a new folder; the data YAML is in it.")])
