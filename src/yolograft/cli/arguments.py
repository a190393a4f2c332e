"""Reading of `key=value` arguments, shared by all commands. Standard library only, so that the help starts fast.

People type commands as they know them from elsewhere: `--img 640` (YOLOv5, YOLOv7), `imgsz 640`, a value with blanks and
no quotes, full-width characters of a Chinese keyboard. `parse_pairs` reads these forms, and `rename` the argument names of
the older repositories.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from yolograft.errors import GraftError, nearest
from yolograft.language import tr

__all__ = ["PATH_KEYS", "UsageError", "parse_bool", "parse_pairs", "parse_positive_int", "parse_seed", "rename",
           "unknown_argument", "with_defaults"]

# Names of arguments in other repositories -> Ultralytics' names. Read off the argparse options of train.py, detect.py,
# val.py (test.py) and export.py of ultralytics/yolov5 (v7.0) and WongKinYiu/yolov7 (main), and of scripts that call
# Ultralytics: `lr`, `learning_rate`, `num_workers`, `gpu` and `dataset`.
_NAMES = {
    "weights": "model", "checkpoint": "model", "ckpt": "model", "img": "imgsz", "img_size": "imgsz", "imgsize": "imgsz",
    "image_size": "imgsz", "size": "imgsz", "batch_size": "batch", "batchsize": "batch", "conf_thres": "conf",
    "conf_threshold": "conf", "iou_thres": "iou", "iou_threshold": "iou", "cache_images": "cache", "include": "format",
    "view_img": "show", "lr": "lr0", "learning_rate": "lr0", "num_workers": "workers", "epoch": "epochs", "gpu": "device",
    "gpus": "device", "gpu_id": "device", "dataset": "data", "save_crops": "save_crop",
}
# Options that set an argument to one value, from the same files.
_VALUES = {
    "nosave": ("save", "False"), "noval": ("val", "False"), "notest": ("val", "False"), "noplots": ("plots", "False"),
    "noamp": ("amp", "False"), "no_amp": ("amp", "False"), "adam": ("optimizer", "Adam"),
}
# Options of the same files that Ultralytics has no argument for.
_GONE = ("noautoanchor", "bucket", "image_weights", "sync_bn", "local_rank", "quad", "upload_dataset", "bbox_interval",
         "artifact_alias", "entity", "linear_lr", "v5_metric", "no_trace", "log_imgs", "ndjson_console", "ndjson_file")
# Keys whose value is a path or a name of the user's: it is never normalized, since files have such names.
PATH_KEYS = frozenset({"model", "data", "source", "project", "name", "blocks", "modules", "to", "out", "pictures", "cheaper",
                       "storage", "cfg", "tracker", "pretrained", "resume", "save_dir", "weights", "hyp", "distill_model",
                       "dataset", "names", "merge"})
# Keys that take a word, so that `device cpu` is one argument and not two switches.
_WORD_KEYS = PATH_KEYS | {"device", "task", "mode", "optimizer", "graft", "swap", "format", "split", "cache", "arms",
                          "speed", "runtime", "metric", "lang", "copy_paste_mode", "auto_augment", "executor"}
_DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2212\uff0d"  # word processors and web pages change '--' to a longer dash
_EQUALS = "=\uff1d"
_QUOTES = {"'": "'", '"': '"', "`": "`", "\u2018": "\u2019", "\u201c": "\u201d", "\u300c": "\u300d"}
_PAIR = re.compile(rf"[{_DASHES}]*(?P<key>[^\W\d][\w\-]*)\s*[{_EQUALS}]\s*(?P<value>.*)", re.DOTALL)
_FLAG = re.compile(rf"[{_DASHES}]+(?P<key>[^\W\d][\w\-]*)")
_WORD = re.compile(r"[^\W\d][\w\-]*")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


class UsageError(GraftError, ValueError):
    """The command line has an unknown command or argument, a missing one, or a value that cannot be read."""


def parse_pairs(words: Iterable[str]) -> dict[str, str]:
    """Parse the arguments of a command.

    Besides `key=value`, with or without spaces around '=', it reads `--key value`, `key value` (where the value cannot be
    another argument), a value with blanks whose quotes are missing, and full-width characters. A key without a value means
    True.

    Raises:
        UsageError: a key has an empty value.
    """
    todo, pairs = list(words), dict[str, str]()
    last = ""  # the key whose value the next word can continue
    while todo:
        word = todo.pop(0)
        if word == "":
            continue
        if last and _continues(last, pairs[last], word, todo):
            pairs[last] += f" {word}"
        elif match := _PAIR.fullmatch(word):
            last, value = match["key"], match["value"]
            if not value and todo and not _is_argument(todo[0]):
                value = todo.pop(0)
            if not value:
                raise UsageError(tr("'{word}' has no value. Expected key=value.", word=word))
            pairs[last] = value
        elif match := _FLAG.fullmatch(word):
            last = match["key"]
            pairs[last] = _take_values(todo)
        elif todo and todo[0][0:1] in _EQUALS and todo[0]:
            todo[0] = word + todo[0]
        elif _WORD.fullmatch(word) and todo and not _is_argument(todo[0]) and (
                word in _WORD_KEYS or not _WORD.fullmatch(todo[0])):
            last = word
            pairs[last] = todo.pop(0)
        else:
            last = ""
            pairs[word] = "True"
    read: dict[str, str] = {}
    for key, value in pairs.items():
        name = key if not _WORD.fullmatch(key) else key.replace("-", "_")
        read[name] = _clean(name, value)
        if not read[name] and name != "weights":  # YOLOv5's --weights '' trains from scratch
            raise UsageError(tr("'{word}' has no value. Expected key=value.", word=f"{key}={value}"))
    return read


def _is_argument(word: str) -> bool:
    return bool(_PAIR.fullmatch(word) or _FLAG.fullmatch(word)) or word[0:1] in _EQUALS


def _take_values(todo: list[str]) -> str:
    """Remove the value of `--key` from the words that follow, and return it: one word, or several numbers."""
    if not todo or (todo[0] and _is_argument(todo[0])):  # YOLOv5's --weights '' is no argument and no flag
        return "True"
    values = [todo.pop(0)]
    while _NUMBER.fullmatch(values[0]) and todo and _NUMBER.fullmatch(todo[0]):
        values.append(todo.pop(0))
    return ",".join(values)


def _continues(key: str, value: str, word: str, todo: Sequence[str]) -> bool:
    """Return whether a word belongs to the value before it, because the shell split a value that had no quotes."""
    quote = _QUOTES.get(value[0:1])
    if quote and (len(value) == 1 or not value.rstrip(",").endswith(quote)):
        return True
    if key not in PATH_KEYS and any(value.count(left) > value.count(right) and any(right in later for later in (word, *todo))
                                    for left, right in ("[]", "()")):
        return True
    if _is_argument(word):
        return False
    if value[-1:] in "+;@(,\uff1b\uff0c" or word[0] in "+;@)":
        return True
    if key not in PATH_KEYS or os.path.exists(value):
        return False
    path = f"{value} {word}"
    return any(os.path.exists(" ".join([path, *todo[:more]])) for more in range(len(todo[:8]) + 1))


def _clean(key: str, value: str) -> str:
    """Return a value without quotes around it, and without a comma behind it."""
    value = value.strip().rstrip(",\uff0c").strip()
    while len(value) > 1 and _QUOTES.get(value[0]) == value[-1]:  # cmd.exe passes single quotes on
        value = value[1:-1].strip()
    if _QUOTES.get(value) == value:
        return ""
    if key in PATH_KEYS or os.path.exists(value):
        return value
    return unicodedata.normalize("NFKC", value).replace("\u3001", ",")


def rename(pairs: Mapping[str, str], known: Iterable[str] | None = None) -> dict[str, str]:
    """Return the arguments with the names of other repositories replaced by Ultralytics', and print which were replaced.

    Args:
        pairs: the arguments.
        known: the names that the command has; a name is replaced only by one of these. None: all names of Ultralytics.

    Raises:
        UsageError: an argument exists only in other repositories, or twice, under two names.
    """
    own = None if known is None else set(known)
    renamed: dict[str, str] = {}
    notes = []
    for key, value in pairs.items():
        target, new = (_NAMES[key], value) if key in _NAMES else _VALUES.get(key, (key, value))
        if key in _VALUES and value.lower() in ("false", "0"):
            continue  # --nosave=False asks for the default
        if target == key or (own is not None and (key in own or target not in own)):
            target, new = key, value
        if target == key and key in _GONE and (own is None or key not in own):
            raise UsageError(tr("'{key}' is an argument of the YOLOv5 or YOLOv7 repository. Ultralytics has none for it: "
                                "leave it out.", key=key))
        if target != key:
            if target in pairs or target in renamed:
                raise UsageError(tr("'{key}' and '{target}' are the same argument. Give one of them.", key=key,
                                    target=target))
            notes.append(f"{key}={value} -> {target}={new}")
        renamed[target] = new
    if notes:
        print(tr("yolograft: read with Ultralytics' names: {changes}", changes="; ".join(notes)), file=sys.stderr)
    return renamed


def unknown_argument(command: str, key: str, known: Iterable[str], rest: str) -> UsageError:
    """Return the error for an argument that a command does not have.

    Args:
        command: its name.
        key: the argument.
        known: the names of the command's arguments.
        rest: a sentence that says how to list them.
    """
    if key.lower().endswith((".pt", ".safetensors", ".onnx")):
        return UsageError(tr("'{word}' has no key. Write key=value: model={word}", word=key))
    if not _WORD.fullmatch(key):
        return UsageError(tr("'{word}' has no key. Write key=value, as in model=yolo11n.pt, and put quotes around a value "
                             "with blanks: data=\"my data/data.yaml\"", word=key))
    return UsageError(tr("'{key}' is no argument of '{command}'.{hint} {rest}", key=key, command=command,
                         hint=nearest(key, known), rest=rest))


def with_defaults(command: str, pairs: Mapping[str, str], defaults: Mapping[str, str]) -> dict[str, str]:
    """Check the keys of `pairs` and add the defaults of the absent ones.

    Args:
        command: its name, for the message.
        pairs: the arguments from the command line.
        defaults: every key of the command with its default; a key with the default "" stays absent.

    Raises:
        UsageError: the command has no such key.
    """
    given = dict(pairs)
    if "cfg" in given and "cfg" not in defaults and "model" in defaults and "model" not in given:
        given["model"] = given.pop("cfg")  # in YOLOv5, cfg is the model YAML
    given = rename(given, defaults)
    for key in given:
        if key not in defaults:
            listed = ", ".join(f"{name}={value}" for name, value in defaults.items())
            raise unknown_argument(command, key, defaults, tr("It takes: {listed}", listed=listed))
    return {**{key: value for key, value in defaults.items() if value}, **given}


def parse_positive_int(key: str, text: str) -> int:
    """Parse a whole number of at least 1.

    Raises:
        UsageError: the text is not such a number.
    """
    if not re.fullmatch("[0-9]{1,12}", text) or not int(text):
        raise UsageError(tr("{key}={text} is not a positive whole number.", key=key, text=text))
    return int(text)


def parse_seed(text: str) -> int:
    """Parse a seed: a whole number of at least 0.

    Raises:
        UsageError: the text is not such a number.
    """
    if not re.fullmatch("[0-9]{1,12}", text):
        raise UsageError(tr("seed={text} is not a whole number of at least 0.", text=text))
    return int(text)


def parse_bool(key: str, text: str) -> bool:
    """Parse True, False, 1 or 0, in upper or lower case.

    Raises:
        UsageError: the text is something else.
    """
    if text.lower() not in ("true", "false", "1", "0"):
        raise UsageError(tr("{key}={text}: expected True or False.", key=key, text=text))
    return text.lower() in ("true", "1")
