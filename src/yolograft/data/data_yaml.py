"""Data YAML files as people write them: the classes and image files that they name, and what is wrong with them.

Paths are resolved as Ultralytics does. Where that finds nothing, the images are looked for beside the file, so that their
labels can be checked as well. Habits that are known from public files: Roboflow's `../train/images` with the file in the
set's own folder; paths of another computer (`E:\\data\\images`); `path:` relative to the file; backslashes; full-width
colons and commas; GBK; `nc` that disagrees with `names`; `valid:` for `val:`.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

import yaml

from yolograft import yaml_text
from yolograft.data import formats
from yolograft.data.pictures import IMAGE_SUFFIXES
from yolograft.data.report import Problem
from yolograft.data.text import read_text
from yolograft.data.values import check_values
from yolograft.errors import DataError, nearest
from yolograft.language import tr

__all__ = ["DataYaml", "read"]

SPLITS = ("train", "val", "test")
_FULL_WIDTH = {"：": ":", "，": ",", "［": "[", "］": "]", "【": "[", "】": "]", "｛": "{", "｝": "}", "　": " ",
               "“": '"', "”": '"', "‘": "'", "’": "'"}  # characters of Chinese keyboards -> those of YAML


@dataclass(kw_only=True)
class DataYaml:
    """The content of a data YAML.

    Attributes:
        file: the YAML file.
        names: class number -> name.
        images: split -> image files, in order.
        keypoints: number of keypoints and of values for each (2 or 3), or None for a set without keypoints.
        problems: what is wrong with the file.
        notes: other information.
    """

    file: Path
    names: dict[int, str] = field(default_factory=dict)
    images: dict[str, list[Path]] = field(default_factory=dict)
    keypoints: tuple[int, int] | None = None
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, what: str) -> None:
        """Add a problem of the file itself."""
        self.problems.append(Problem(self.file.name, what))


def read(path: str | Path) -> DataYaml:
    """Read a data YAML, or the only one in a folder.

    Raises:
        DataError: there is no such file, or it is no YAML file with images.
    """
    file = _find(Path(path))
    result = DataYaml(file=file)
    content = _parse(result)
    if not {*SPLITS, "validation", "valid", "names", "nc"} & content.keys():
        raise DataError(tr("'{file}' is no data YAML: it has none of the keys train, val and names.", file=file))
    # the rest is reported below, with all other problems
    check_values(file, {key: value for key, value in content.items() if key != "kpt_shape"}, types=False)
    _read_names(result, content)
    _read_keypoints(result, content)
    root = _root(result, content.get("path"))
    aliases = {"val": ("validation", "valid")}
    for split in SPLITS:
        value = content.get(split)
        for alias in aliases.get(split, ()):
            if value is None and content.get(alias) is not None:
                value = content[alias]
                result.add(tr("the key '{alias}' must be '{split}'", alias=alias, split=split))
        if value is None:
            if split != "test":
                result.add(tr("the key '{split}' is missing; Ultralytics needs it", split=split))
            continue
        result.images[split] = list(dict.fromkeys(_images(result, root, split, value)))
        if not result.images[split]:
            download = tr(" Ultralytics would download the set ('download:').") if content.get("download") else ""
            result.add(tr("{split}: no image was found in {value}.{download}", split=split, value=value,
                          download=download))
    return result


def _find(path: Path) -> Path:
    if path.is_dir():
        found = sorted([*path.glob("*.yaml"), *path.glob("*.yml")]) or sorted([*path.rglob("*.yaml"), *path.rglob("*.yml")])
        if not found:
            raise DataError(tr("'{path}' contains no data YAML. {advice}", path=path,
                               advice=formats.advice(path, "yolo")))
        if len(found) != 1:
            raise DataError(tr("'{path}' contains {count} YAML files. Name one of them.", path=path, count=len(found)))
        return found[0].absolute()
    if not path.is_file():
        beside = [other.name for other in path.parent.glob("*")]
        raise DataError(tr("'{path}' does not exist.{nearest}", path=path, nearest=nearest(path.name, beside)))
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise DataError(tr("'{path}' is no data YAML. Name the YAML file with path, train, val and names.", path=path))
    return path.absolute()


def _parse(result: DataYaml) -> dict[str, Any]:
    try:
        text, encoding = read_text(result.file)
    except OSError as error:
        raise DataError(tr("'{path}' cannot be read: {reason}", path=result.file, reason=error.strerror)) from error
    if encoding not in ("utf-8", "utf-8-sig"):
        result.add(tr("is {encoding}; Ultralytics reads UTF-8 and loses every other character. Save it as UTF-8",
                      encoding=encoding))
    lines = text.splitlines()
    for number, line in enumerate(lines):
        key = re.match(r"(\s*[^\s#:]+?\s*)：", line)  # between a key and its value no text of a class can stand
        wide = [character for character in _FULL_WIDTH if character in line.partition("#")[0]]
        if key or (wide and line.lstrip().startswith(("names", "train", "val", "test", "[", "-", "nc"))):
            shown = "".join(character for character in _FULL_WIDTH if character in line)
            result.add(tr("line {number} has full-width punctuation ({shown}), which YAML does not know: {line}",
                          number=number + 1, shown=shown, line=_cut(line)))
            lines[number] = re.sub(r":(?=\S)", ": ", "".join(_FULL_WIDTH.get(one, one) for one in line), count=1)
    try:
        content = yaml_text.load("\n".join(lines))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        if mark is None:
            raise DataError(tr("'{file}' is not YAML that can be read: {reason}.", file=result.file,
                               reason=error)) from error
        line = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
        number = mark.line + 1 if mark is not None else 1
        remedy = ""
        if "\t" in line:
            remedy = tr(" It has a tab; write spaces.")
        elif '"' in line and "\\" in line:
            remedy = tr(" A backslash in double quotes has another meaning; write / or single quotes.")
        elif re.match(r"\s*[^\s#:]+:\S", line):
            remedy = tr(" Write a space after the colon.")
        raise DataError(tr("'{file}', line {number} is not YAML: {line}.{remedy}", file=result.file, number=number,
                           line=_cut(line), remedy=remedy)) from error
    if not isinstance(content, dict):
        raise DataError(tr("'{file}' is no data YAML: it has no key with a value. Write a space after each colon, as in "
                           "'train: images/train'.", file=result.file))
    return {str(key): value for key, value in content.items()}


def _read_names(result: DataYaml, content: Mapping[str, Any]) -> None:
    names, count = content.get("names"), content.get("nc")
    if isinstance(names, str):
        result.add(tr("names must be a list, as in [cat, dog], or a table of numbers; it is the text '{text}'", text=names))
        names = [name for name in re.split(r"[\s,]+", names) if name]
    if names is None and isinstance(count, int):
        result.notes.append(tr("names is missing; Ultralytics calls the {count} classes class_0, class_1, ...", count=count))
        names = [f"class_{number}" for number in range(count)]
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        result.add(tr("the key 'names' is missing or empty; Ultralytics needs it"))
        return
    for key, name in names.items():
        number = int(str(key)) if re.fullmatch("[0-9]{1,9}", str(key)) else None
        if number is None:
            result.add(tr("names: '{key}' is no class number", key=key))
            continue
        if not isinstance(name, str):
            result.add(tr("names: YAML reads class {number} as {value}, not as text; write it in quotes", number=number,
                          value=repr(name)))
        result.names[number] = str(name)
    if sorted(result.names) != list(range(len(result.names))):
        result.add(tr("names must have the numbers 0 to {last}; it has {numbers}", last=len(result.names) - 1,
                      numbers=", ".join(map(str, sorted(result.names)))))
    twice = sorted({name for name in result.names.values() if list(result.names.values()).count(name) > 1})
    if twice:
        result.add(tr("names: the class '{name}' is there twice", name=twice[0]))
    if count is not None and str(count) != str(len(names)):
        result.add(tr("nc is {count}, but names has {names} classes; Ultralytics stops", count=count, names=len(names)))


def _read_keypoints(result: DataYaml, content: Mapping[str, Any]) -> None:
    shape = content.get("kpt_shape")
    if shape is None:
        return
    if isinstance(shape, list) and len(shape) == 2 and all(isinstance(one, int) for one in shape) and shape[1] in (2, 3):
        result.keypoints = (shape[0], shape[1])
    else:
        result.add(tr("kpt_shape must be [number of keypoints, 2 or 3]; it is {value}", value=shape))


def _root(result: DataYaml, value: object) -> Path:
    """Return the folder that the paths of the splits start from."""
    beside = result.file.parent
    if value is None or str(value).strip() in ("", "."):
        return beside
    text = str(value).strip()
    path = Path(text)
    if path.is_absolute():
        if path.is_dir():
            return path
        result.add(tr("path: '{path}' does not exist; the folder of the file is used here", path=text))
        return beside
    if PureWindowsPath(text).drive or "\\" in text:
        if sys.platform == "win32" and Path(text).is_dir():
            return Path(text).absolute()
        result.add(tr("path: '{path}' does not exist on this computer; the folder of the file is used here", path=text))
        return _relocate(text, beside) or beside
    datasets = _datasets_folder()
    places = [Path.cwd() / path, *([datasets / path] if datasets else [])]
    for place in places:
        if place.is_dir():
            if not place.samefile(beside):
                result.notes.append(tr("path: '{path}' is relative; Ultralytics finds it from the current folder or in its "
                                       "datasets folder only ({place}). An absolute path works everywhere", path=text,
                                       place=place))
            return place
    found = _relocate(text, beside)
    result.add(tr("path: '{path}' is relative, and Ultralytics does not look beside the file, but in {places}. Write an "
                  "absolute path, or delete the line if the images are beside the file", path=text,
                  places=" , ".join(map(str, places))))
    return found or beside


def _datasets_folder() -> Path | None:
    """Return the datasets folder of Ultralytics' settings, which stand in a documented file."""
    homes = [os.environ.get("YOLO_CONFIG_DIR", ""), str(Path.home() / ".config" / "Ultralytics"),
             str(Path.home() / "Library" / "Application Support" / "Ultralytics"),
             str(Path(os.environ.get("APPDATA", "")) / "Ultralytics") if os.environ.get("APPDATA") else ""]
    for home in homes:
        file = Path(home) / "settings.json"
        if home and file.is_file():
            try:
                return Path(json.loads(file.read_text(encoding="utf-8"))["datasets_dir"])
            except (OSError, ValueError, KeyError, TypeError):
                return None
    return None


def _relocate(text: str, folder: Path) -> Path | None:
    """Return the path below a folder that agrees with the longest end of a path from another place."""
    parts = [part for part in PureWindowsPath(text).parts if part not in ("/", "\\", "..", ".")]
    parts = parts[1:] if PureWindowsPath(text).drive else parts
    for start in range(len(parts)):
        found = folder.joinpath(*parts[start:])
        if found.exists():
            return found
    return None


def _images(result: DataYaml, root: Path, split: str, value: object) -> Iterator[Path]:
    """Yield the images of a split: of a folder, of a text file with a list of images, or of a list of both."""
    entries = value if isinstance(value, list) else [value]
    for entry in entries:
        if not isinstance(entry, str) or not entry.strip():
            result.add(tr("{split}: {value} is no path", split=split, value=repr(entry)))
            continue
        place = _place(result, root, split, entry.strip())
        if place is None:
            continue
        if place.is_dir():
            found = [path for path in sorted(place.rglob("*")) if path.suffix.lower() in (*IMAGE_SUFFIXES, ".mpo")]
            yield from (path for path in found if not path.name.startswith("."))
            others = [path for path in place.iterdir() if path.suffix.lower() in (".heic", ".gif", ".dng", ".psd", ".raw")]
            if others:
                result.notes.append(tr("{count} files such as {file} are no images that this check reads",
                                       count=len(others), file=others[0]))
        elif place.suffix.lower() == ".txt":
            yield from _listed_images(result, root, split, place)
        else:
            yield place


def _place(result: DataYaml, root: Path, split: str, entry: str) -> Path | None:
    """Return the existing path of an entry."""
    path = (root / entry).resolve()
    if path.exists():
        return path
    if entry.startswith("../") and (root / entry[3:]).exists():  # Ultralytics tries this as well
        return (root / entry[3:]).resolve()
    found = _relocate(entry, root) or _relocate(entry, result.file.parent)
    if found is None:
        result.add(tr("{split}: '{path}' does not exist", split=split, path=path))
    elif "\\" in entry:
        result.add(tr("{split}: '{entry}' has backslashes, which work on Windows only; write /", split=split, entry=entry))
    else:
        result.add(tr("{split}: '{path}' does not exist; {found} is checked here", split=split, path=path, found=found))
    return found


def _listed_images(result: DataYaml, root: Path, split: str, file: Path) -> Iterator[Path]:
    text, encoding = read_text(file)
    if encoding not in ("utf-8", "utf-8-sig"):
        result.problems.append(Problem(file.name, tr(
            "is {encoding}; Ultralytics reads UTF-8 and loses every other character. Save it as UTF-8", encoding=encoding)))
    relocated: list[str] = []
    missing: list[str] = []
    for line in (line.strip() for line in text.splitlines() if line.strip()):
        path = file.parent / line[2:] if line.startswith("./") else Path(line)
        if path.is_file():
            yield path.absolute()
            continue
        found = _relocate(line, file.parent) or _relocate(line, root)
        if found is not None and found.is_file():
            relocated.append(line)
            yield found
        else:
            missing.append(line)
    if relocated:
        result.problems.append(Problem(file.name, tr(
            "{count} lines, such as '{line}', are found beside the list, but not where Ultralytics looks: begin each line "
            "with ./ for a path relative to the list", count=len(relocated), line=relocated[0])))
    result.problems += [Problem(file.name, tr("{split}: the image '{image}' does not exist", split=split, image=line))
                        for line in missing]


def _cut(line: str) -> str:
    """Return a line of a file for a message: a stranger's line can have any length."""
    line = line.strip()
    return line if len(line) <= 120 else line[:117] + "..."
