"""Recognition of annotation formats: what a folder contains, and what to do with it.

The formats are told apart by the root of an XML file, the keys of a JSON file, the header of a CSV file, and the columns
of a text file.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from yolograft.data.annotation import decode_xml
from yolograft.data.pictures import IMAGE_SUFFIXES
from yolograft.data.text import decode, read_text
from yolograft.language import tr

__all__ = ["advice", "is_coco", "is_labelme", "kind_of_json", "kinds", "load_json", "recognize"]

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_MAX_FILES = 40  # of each type that are read to recognize the format
_XML_ROOTS = {"annotation": "voc", "doc": "voc", "annotations": "cvat", "dataset": "dlib", "hrscimage": "hrsc",
              "sequence": "detrac"}


def kinds() -> dict[str, tuple[str, str]]:
    """Return kind -> its name, and what to do with a set of this kind."""
    elsewhere = tr("Export it from that tool as Pascal VOC or COCO JSON, and convert that.")
    return {
        "voc": ("Pascal VOC XML", "yolograft data voc SOURCE DEST"),
        "coco": ("COCO JSON", "yolograft data coco SOURCE DEST"),
        "labelme": ("LabelMe JSON", "yolograft data labelme SOURCE DEST"),
        "yolo": (tr("YOLO text labels with a data YAML"), "yolograft data check DATA.yaml"),
        "yolo-txt": (tr("YOLO text labels without a data YAML"), tr(
            "Ultralytics needs a data YAML with path, train, val and names. Write one, and check it with: "
            "yolograft data check DATA.yaml")),
        "coco-results": (tr("COCO results (predictions, not annotations)"), tr("Convert the file with the annotations.")),
        "coco-captions": (tr("COCO captions or panoptic JSON, without boxes"), tr(
            "Convert the file with the boxes, named instances_....json.")),
        "createml": ("CreateML JSON", elsewhere),
        "via": ("VGG Image Annotator (VIA) JSON", elsewhere),
        "labelstudio": ("Label Studio JSON", elsewhere),
        "colabeler": ("Colabeler JSON", elsewhere),
        "bdd": ("BDD100K JSON", elsewhere),
        "supervisely": ("Supervisely JSON", elsewhere),
        "ndjson": ("Ultralytics NDJSON", tr("Ultralytics trains on it directly: data=FILE.ndjson")),
        "cvat": ("CVAT XML", elsewhere),
        "dlib": ("dlib imglab XML", elsewhere),
        "hrsc": (tr("the original XML of HRSC2016"), tr("Use a copy of the set in the XML format of roLabelImg.")),
        "detrac": (tr("UA-DETRAC XML, one file for each video"), elsewhere),
        "dota": (tr("DOTA text labels (rotated boxes)"), tr(
            "Convert it with Ultralytics: from ultralytics.data.converter import convert_dota_to_yolo_obb")),
        "csv": (tr("a CSV table of boxes"), elsewhere),
        "classify": (tr("images in one folder for each class, without boxes"), tr(
            "It is a classification set. Train on the folder itself: yolograft train task=classify data=FOLDER")),
    }


def advice(folder: Path, wanted: str) -> str:
    """Return sentences on what a folder contains instead of the wanted kind of annotation."""
    found, known = recognize(folder), kinds()
    others = [(kind, file) for kind, file in found.items() if kind != wanted]
    if wanted in found:
        has_image = any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.rglob("*"))
        return "" if has_image else tr("It contains no image. Name the folder that contains the annotations and the images.")
    if not others:
        suffix = {"voc": "XML", "yolo": "YAML"}.get(wanted, "JSON")
        has_suffix = any(path.suffix.lower() == f".{suffix.lower()}" for path in folder.rglob("*"))
        return tr("It has no {kind} file.", kind=known[wanted][0] if has_suffix else suffix)
    sentences = [tr("It has no {kind}.", kind=known[wanted][0])]
    for kind, file in others:
        name, action = known[kind]
        if action.startswith("yolograft "):
            action = tr("Use: {command}", command=action)
        sentences.append(tr("It contains {name} ({file}). {action}", name=name, file=file, action=action))
    return " ".join(sentences)


def recognize(folder: Path) -> dict[str, str]:
    """Return the kinds of annotation in a folder, each with the first file of it, in the order of `kinds`."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    found: dict[str, str] = {}

    def add(paths: Iterable[Path], kind_of: Callable[[Path], str]) -> None:
        for path in list(paths)[:_MAX_FILES]:
            kind = kind_of(path)
            if kind:
                found.setdefault(kind, str(path.relative_to(folder)))

    by_suffix: dict[str, list[Path]] = {}
    for path in files:
        by_suffix.setdefault(path.suffix.lower(), []).append(path)
    add(by_suffix.get(".xml", ()), _kind_of_xml)
    add(by_suffix.get(".json", ()), lambda path: kind_of_json(load_json(path)[0]))
    add(by_suffix.get(".ndjson", ()), lambda path: "ndjson")
    add(by_suffix.get(".csv", ()), _kind_of_csv)
    add((path for path in by_suffix.get(".txt", ()) if path.stem not in ("classes", "labels", "obj")), _kind_of_text)
    yamls = [path for suffix in (".yaml", ".yml") for path in by_suffix.get(suffix, ()) if _is_data_yaml(path)]
    if yamls:
        found.pop("yolo-txt", None)
        found["yolo"] = str(yamls[0].relative_to(folder))
    if not found and _is_classification(files, folder):
        found["classify"] = "."
    return {kind: found[kind] for kind in kinds() if kind in found}


def load_json(path: Path, usual: str = "") -> tuple[Any, str]:
    """Read a JSON file of unknown encoding; returns (None, "") if it cannot be read, and its encoding otherwise.

    Args:
        path: the file.
        usual: the usual encoding of the set that is not Unicode; see `text.usual_encoding`.
    """
    try:
        text, encoding = decode(path.read_bytes(), usual=usual)
        content = json.loads(text)
        if _SURROGATE.search(text):  # half a character, which no file can be written with
            content = json.loads(json.dumps(content, ensure_ascii=False).encode("utf-8", "replace"))
        return content, encoding
    except (OSError, ValueError, RecursionError):
        return None, ""


def is_coco(content: Any) -> bool:
    """Whether a JSON file has COCO annotations with boxes or masks, or with no annotation at all."""
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in ("images", "annotations")):
        return False
    annotations = content["annotations"]
    return not annotations or any(isinstance(one, dict) and ("bbox" in one or "segmentation" in one)
                                  for one in annotations[:100])


def is_labelme(content: Any) -> bool:
    """Whether a JSON file is one image's annotation of LabelMe."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def kind_of_json(content: Any) -> str:
    """Return the kind of annotation in a JSON file, or ""."""
    if is_labelme(content):
        return "labelme"
    if is_coco(content):
        return "coco"
    if isinstance(content, dict):
        if "images" in content and "annotations" in content:
            return "coco-captions"
        records: Sequence[Any] = list(content.values())
        if "_via_img_metadata" in content or (records and all(
                isinstance(one, dict) and "filename" in one and "regions" in one for one in records)):
            return "via"
        if isinstance(content.get("outputs"), dict):
            return "colabeler"
        return "supervisely" if isinstance(content.get("objects"), list) and "size" in content else ""
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return ""
    first = content[0]
    if {"image_id", "category_id"} <= first.keys():
        return "coco-results"
    if "annotations" in first and ("image" in first or "imagefilename" in first):
        return "createml"
    if "data" in first and ("annotations" in first or "completions" in first):
        return "labelstudio"
    return "bdd" if "name" in first and isinstance(first.get("labels"), list) else ""


def _kind_of_xml(path: Path) -> str:
    text = decode_xml(path.read_bytes())[0]
    root = re.search(r"<([A-Za-z][\w.:-]*)", text)
    return _XML_ROOTS.get(re.sub(r"[-_]", "", root[1]).lower(), "") if root else ""


def _kind_of_csv(path: Path) -> str:
    header = read_text(path)[0].partition("\n")[0].lower()
    return "csv" if sum(word in header for word in ("xmin", "ymin", "x_min", "y_min", "bbox", "region_shape")) else ""


def _kind_of_text(path: Path) -> str:
    lines = [line.split() for line in read_text(path)[0].splitlines() if line.strip()][:50]
    kinds = Counter(_kind_of_line(line) for line in lines)
    return kinds.most_common(1)[0][0] if kinds else ""


def _kind_of_line(words: list[str]) -> str:
    numbers = 0
    for word in words:
        if not re.fullmatch(r"-?\d*\.?\d+(e-?\d+)?", word, re.IGNORECASE):
            break
        numbers += 1
    if numbers == len(words) and numbers >= 5 and words[0].isdecimal():
        return "yolo-txt"
    return "dota" if numbers == 8 and len(words) >= 9 else ""


def _is_data_yaml(path: Path) -> bool:
    text = read_text(path)[0]
    return bool(re.search(r"^\s*train\s*:", text, re.MULTILINE) and re.search(r"^\s*(names|nc)\s*:", text, re.MULTILINE))


def _is_classification(files: list[Path], folder: Path) -> bool:
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    parents = {path.parent for path in images}
    return len(parents) > 1 and all(parent != folder and parent.name.lower() not in (
        "images", "jpegimages", "train", "val", "test") for parent in parents)
