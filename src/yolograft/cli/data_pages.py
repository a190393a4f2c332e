"""The help pages of `yolograft data KIND`. `cli.data` runs these commands and takes their defaults from here."""

from __future__ import annotations

from yolograft.cli.command import Argument, Command
from yolograft.language import tr

__all__ = ["commands", "defaults"]


def commands() -> list[Command]:
    """Return the description of each kind of data."""
    overwrite = Argument("overwrite", "", tr("True replaces an existing data set at DEST"))
    return [
        Command(
            name="data neu-det", usage="SOURCE DEST [key=value ...]",
            summary=tr("convert NEU-DET to the format of Ultralytics"),
            arguments=[
                Argument("split", "stratified", tr("stratified: every fifth image of each class is for validation; source: the "
                                                   "splits of the source, if it has them")),
                overwrite],
            example="yolograft data neu-det NEU-DET.zip datasets/NEU-DET",
            notes=[tr("SOURCE is the official zip file or folder (IMAGES, ANNOTATIONS), or the one from Kaggle. DEST is a new "
                      "folder; the data YAML is in it.")]),
        Command(
            name="data voc", usage="SOURCE DEST [key=value ...]",
            summary=tr("convert any Pascal VOC data set to the format of Ultralytics"),
            arguments=[
                Argument("names", "", tr("the classes and their order, as in names=cat,dog; by default all, in alphabetical order")),
                Argument("split", "stratified", tr("stratified: every fifth image of each class is for validation; source: the "
                                                   "splits of the source, if it has them")),
                overwrite],
            example="yolograft data voc my-voc-folder datasets/mine",
            notes=[tr("SOURCE is a folder or a zip file with images and XML annotations. DEST is a new folder; the data YAML is "
                      "in it.")]),
        Command(
            name="data steel", usage="DEST [key=value ...]",
            summary=tr("draw a small data set of steel defects, in seconds and without a download"),
            arguments=[
                Argument("images", "300", tr("number of images")),
                Argument("size", "200", tr("side of the images in pixels")),
                Argument("seed", "0", tr("random seed of the images")),
                overwrite],
            example="yolograft data steel datasets/steel",
            notes=[tr("DEST is a new folder; the data YAML is in it.")]),
    ]


def defaults(kind: str) -> dict[str, str]:
    """Return each key of `yolograft data KIND` with its default."""
    return next(command.defaults() for command in commands() if command.name == f"data {kind}")
