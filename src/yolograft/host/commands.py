"""Run a mode of Ultralytics (train, val, predict, track, export, benchmark, tune) as its command `yolo` runs it.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `DEFAULT_CFG_DICT` lists every argument, `_handle_deprecation` renames
old ones, `get_cfg` checks their types and values, `smart_value` parses a value as `yolo` does, and `check_file(hard=False)`
returns a data YAML's path, or a falsy value if there is no such file. `TASK2MODEL` and `TASK2DATA` have the defaults of
`yolo`. `Model.predict` saves its results if `ARGV`, a global of its module, says that the program is `yolo`.
"""

from __future__ import annotations

import traceback
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from ultralytics.cfg import TASK2DATA, TASK2MODEL, _handle_deprecation, get_cfg, smart_value
from ultralytics.engine import model as engine_model
from ultralytics.utils import ASSETS, DEFAULT_CFG_DICT, LOGGER, WEIGHTS_DIR
from ultralytics.utils.checks import check_file

from yolograft import checkpoint, network, shell, system_errors, yaml_text
from yolograft.errors import GraftError, HostError, nearest
from yolograft.fast.modes import check_mode
from yolograft.host.box_loss import check_threshold, without_box_loss
from yolograft.host.change_swap import set_swap
from yolograft.host.data_download import allow_download, check_download, is_here
from yolograft.host.log import warn
from yolograft.host.open import open_model
from yolograft.host.yolo import set_graft
from yolograft.language import tr
from yolograft.modules.plugin import load_own
from yolograft.patch import patched
from yolograft.spec import Graft, Swap

__all__ = ["check_device", "find_data", "run"]

_OWN = ("graft", "swap", "blocks", "modules", "speed", "replace", "allow_download")
_TEXTS = ("graft", "swap", "blocks", "modules", "name", "project")  # never read as a number: a run can be named 2024_08
_PATHS = ("model", "data", "source", "pretrained", "resume", "cfg", "tracker", "save_dir", "distill_model")
_BOATS = "https://ultralytics.com/images/boats.jpg"  # the image that `yolo` predicts by default with an OBB model


def run(mode: str, pairs: dict[str, str]) -> Any:
    """Run a mode and return what Ultralytics returns. Files are saved as `yolo` saves them.

    Args:
        mode: `train`, `val`, `predict`, `track`, `export`, `benchmark` or `tune`.
        pairs: the arguments, as text from the command line.

    Raises:
        GraftError: an argument, the graft, the model or the data cannot be used. Nothing was run then.
    """
    arguments = _read_arguments(mode, pairs)
    graft, swap, replace = (arguments.pop(key, default) for key, default in (
        ("graft", None), ("swap", None), ("replace", False)))
    files = {key: arguments.pop(key) for key in ("blocks", "modules") if arguments.get(key)}
    for one in load_own(files):
        LOGGER.info(f"yolograft: {one}")
    if graft is not None:
        Graft.parse(graft)
    if swap is not None:
        Swap.parse(swap)
    allow = arguments.pop("allow_download", False)
    for key, value in (("replace", replace), ("allow_download", allow)):
        if not isinstance(value, bool):
            raise HostError(tr("{key}={text}: expected True or False.", key=key, text=value))
    if allow:
        allow_download()
    if "speed" in arguments and mode not in ("train", "tune"):
        raise HostError(tr("'speed' is not an argument of 'yolograft {mode}', only of train and tune.", mode=mode))
    if "speed" in arguments:
        check_mode(str(arguments["speed"]))
    if mode not in ("train", "tune"):
        check_threshold(mode, arguments.get("iou"))
    try:
        get_cfg(overrides={key: value for key, value in without_box_loss(arguments).items() if key in DEFAULT_CFG_DICT})
    except (TypeError, ValueError, SyntaxError) as error:
        raise HostError(str(error)) from error
    sizes = arguments.get("imgsz", 1)
    if not all(isinstance(size, int) and size > 0 for size in (sizes if isinstance(sizes, (list, tuple)) else [sizes])):
        raise HostError(tr("imgsz={text}: expected a number of pixels, such as 640, or height and width, such as 480,640.",
                           text=sizes))
    if "device" in arguments:
        arguments["device"] = check_device(arguments["device"])
    if mode in ("train", "val", "tune", "benchmark") and arguments.get("data") is not None:
        arguments["data"] = find_data(arguments["data"], arguments.get("task"))
        if mode == "benchmark" and arguments.get("task") != "classify":  # the other modes check it themselves
            check_download(arguments["data"])
    name = _model_name(arguments)
    model = open_model(name, arguments.pop("task", None))
    if mode != "train":
        set_swap(model, swap, replace=replace)
        set_graft(model, graft, replace=replace)
    else:
        arguments.update({key: value for key, value in (("graft", graft), ("swap", swap)) if value is not None},
                         replace=replace)
    _add_defaults(mode, model.task, arguments)
    if isinstance(arguments.get("classes"), str) and hasattr(model, "set_classes"):  # YOLO-World, as in classes="cat, dog"
        model.set_classes([name.strip() for name in arguments.pop("classes").split(",")])
    if mode in ("train", "tune"):
        arguments.update(files)
    try:
        with _as_yolo(mode):
            result = getattr(model, mode)(**arguments)
        if mode == "export" and arguments.get("format") == checkpoint.SUFFIX[1:]:
            LOGGER.info(f"yolograft: {result}")  # Ultralytics logs the path of every other format itself
        if mode == "train":
            _log_next(model, files)
        return result
    except KeyboardInterrupt:
        resume = _resume_command(model) if mode == "train" else ""
        if not resume:
            raise
        raise KeyboardInterrupt(tr("to continue from the last complete epoch: {command}", command=resume)) from None
    except GraftError:
        raise
    except Exception as error:
        reason = system_errors.explain(error)  # a full disk, an image that was removed, missing memory
        if reason is None and not isinstance(error, OSError) and not _is_raised_for_the_user(error):
            raise
        resume = _resume_command(model) if mode == "train" and reason else ""
        more = "\n" + tr("To continue from the last complete epoch: {command}", command=resume) if resume else ""
        raise HostError((reason or str(error)) + more) from error


def _resume_command(model: Any) -> str:
    """Return the command that continues a training; empty if it has no checkpoint yet."""
    last = getattr(model.trainer, "last", None)
    return f"yolograft train resume=True model={last}" if last is not None and Path(last).is_file() else ""


def _log_next(model: Any, files: dict[str, str]) -> None:
    best = Path(model.trainer.best)
    if best.is_file():  # with save=False there is none
        own = [f"{key}={value}" for key, value in files.items()]
        command = shell.command("val", f"model={best}", f"data={model.trainer.args.data}", *own)
        LOGGER.info(tr("yolograft: validate the trained model with:\n  {command}", command=command))


def _is_raised_for_the_user(error: Exception) -> bool:
    """Return whether a `raise` or `assert` of Ultralytics raised an error: its message is then written for the user.

    Any other error, such as an index out of range, is a defect, and its traceback is needed.
    """
    frames = traceback.extract_tb(error.__traceback__)
    place = frames[-1]
    is_theirs = Path(place.filename).is_relative_to(Path(engine_model.__file__).parents[1])
    return is_theirs and bool(str(error)) and (place.line or "").startswith(("raise ", "assert "))


def _as_yolo(mode: str) -> AbstractContextManager[None]:
    """Inside this context, `predict` and `track` save and print as they do in the command `yolo`."""
    return patched((engine_model, "ARGV", ["yolo", mode]))


def _read_arguments(mode: str, pairs: dict[str, str]) -> dict[str, Any]:
    """Return the arguments with their types, those of a `cfg` file included.

    Raises:
        HostError: an argument does not exist, or the `cfg` file cannot be read.
    """
    arguments = {key: _read_value(key, text) for key, text in pairs.items()}
    if isinstance(arguments.get("cfg"), str):
        arguments = _read_cfg(mode, arguments)
    try:
        arguments = _handle_deprecation(arguments)
    except TypeError as error:
        raise HostError(str(error)) from error
    # Ultralytics passes `save_dir` to the trainings that it starts in subprocesses, but DEFAULT_CFG_DICT lacks this key
    known = {*DEFAULT_CFG_DICT, *_OWN, "save_dir", *(("iterations", "use_ray") if mode == "tune" else ())}
    for key in arguments:
        if key in known:
            continue
        if key.endswith((".pt", checkpoint.SUFFIX)):
            raise HostError(tr("'{word}' has no key. Write key=value: model={word}", word=key))
        if not key.isidentifier():
            raise HostError(tr("'{word}' has no key. Write key=value, as in model=yolo11n.pt, and put quotes around a value "
                               "with blanks: data=\"my data/data.yaml\"", word=key))
        raise HostError(tr("'{key}' is not an argument of 'yolograft {mode}'.{hint} List them: yolo cfg, and graft=, "
                           "swap=, blocks=, modules=, speed=, replace=, allow_download=", key=key, mode=mode,
                           hint=nearest(key, known)))
    return arguments


def _read_value(key: str, text: str) -> Any:
    """Return the value of an argument. A path stays text: as Python code, `C:\\new` would have a line break."""
    constant = {"none": None, "true": True, "false": False}.get(text.lower(), text)
    if key in _TEXTS:
        return text if key in ("graft", "swap", "blocks", "modules") or constant is not None else None
    if key == "iou" and not isinstance(smart_value(text), (int, float, type(None))):
        return text  # the name of a box loss
    if key not in _PATHS:
        return smart_value(text)
    if text[:1] in ("[", "("):
        value = smart_value(text)
        return value if not isinstance(value, str) else [_read_path(item.strip(" '\"")) for item in text[1:-1].split(",")]
    return _read_path(text) if isinstance(constant, str) else constant


def _read_path(text: str) -> str:
    """Return a path; one of Windows with '/' for each backslash, if that file exists and the text as it stands does not."""
    other = text.replace("\\", "/")
    return other if other != text and not Path(text).exists() and Path(other).exists() else text


def _read_cfg(mode: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments with those of the `cfg` file, or with it as the model if it is a model YAML, as in YOLOv5."""
    name = arguments["cfg"]
    rest = {key: value for key, value in arguments.items() if key != "cfg"}
    content = yaml_text.read(name, error=HostError).value if Path(name).is_file() else {"backbone": []}
    if not isinstance(content, dict):
        raise HostError(tr("cfg={name} has no lines such as 'epochs: 100'.", name=name))
    if "backbone" not in content and "head" not in content:
        LOGGER.info(tr("yolograft: arguments from {name}", name=name))
        return {**{key: value for key, value in content.items() if key != "cfg"}, **rest}
    if mode not in ("train", "tune") and rest.get("model"):
        raise HostError(tr("cfg={name} is a model YAML, and model={model} has its own. Leave cfg out.", name=name,
                           model=rest["model"]))
    weights = rest.pop("model", None)
    if weights is not None:
        rest["pretrained"] = weights or False
    LOGGER.info(tr("yolograft: cfg={name} is a model YAML, so it is read as model={name}", name=name))
    return {**rest, "model": name}


def _model_name(arguments: dict[str, Any]) -> str:
    """Remove the model from the arguments and return its name, or the name of Ultralytics' default model of the task."""
    resume, name = arguments.get("resume"), arguments.pop("model", None)
    name = name or (resume if isinstance(resume, str) else None)
    if name:
        return str(name)
    default: str = TASK2MODEL.get(arguments.get("task") or "detect", TASK2MODEL["detect"])
    if not any((folder / default).is_file() for folder in (Path(), WEIGHTS_DIR)) and not network.is_allowed(network.ASSETS):
        raise HostError(tr("'model' is missing, and yolograft downloads nothing that was not named. Name the model, or "
                           "{key}={value} for the default of Ultralytics.", key="model", value=default))
    warn(tr("'model' is missing. Using the default: model={name}", name=default))
    return default


def _add_defaults(mode: str, task: str, arguments: dict[str, Any]) -> None:
    """Add the arguments that `yolo` adds, and warn about each."""
    added: dict[str, Any] = {}
    if mode in ("predict", "track") and "source" not in arguments:
        added["source"] = _BOATS if task == "obb" and network.is_allowed(network.ASSETS) else ASSETS
    elif mode == "train" and arguments.get("data") is None and not arguments.get("resume"):
        added["data"] = TASK2DATA.get(task)
        if not is_here(str(added["data"])) and not network.is_allowed(network.ASSETS):
            raise HostError(tr("'data' is missing, and yolograft downloads nothing that was not named. Name the data YAML, "
                               "or {key}={value} for the default of Ultralytics.", key="data", value=added["data"]))
    elif mode == "export" and "format" not in arguments:
        added["format"] = DEFAULT_CFG_DICT["format"] or "torchscript"
    for key, value in added.items():
        warn(tr("'{key}' is missing. Using the default: {key}={value}", key=key, value=value))
    arguments.update(added)


def check_device(device: Any) -> Any:
    """Return a device as Ultralytics names it: `gpu` is the first GPU.

    Raises:
        HostError: this machine lacks the GPU.
    """
    text = str(device).lower().replace(" ", "")
    for name in ("gpu", "cuda"):
        if text.startswith(name):
            device = text = text[len(name):].lstrip(":") or "0"
    numbers = [int(number) for number in text.strip("[]()").split(",") if number.isdecimal()]
    count = torch.cuda.device_count()
    if numbers and max(numbers) >= count:
        raise HostError(tr("device={device}: PyTorch {version} finds {count} CUDA GPUs on this machine. Use device=cpu, or "
                           "install a PyTorch with CUDA: https://pytorch.org/get-started/locally", device=device,
                           version=torch.__version__, count=count))
    return device


def find_data(data: Any, task: Any) -> Any:
    """Return the data with each name completed: `coco8` is coco8.yaml, and a folder with one data YAML is that file.

    Raises:
        HostError: a data YAML does not exist.
    """
    if isinstance(data, (list, tuple)):
        return [find_data(item, task) for item in data]
    # Ultralytics looks for the data only after it has made the run folder, and its message is less helpful
    text, found = str(data), str(data)
    path = Path(text)
    if "://" in text or path.is_file():
        _check_data_text(path, text)
        return data
    if path.is_dir() and task != "classify":
        files = sorted(path.glob("*.y*ml"))
        chosen = [file for file in files if file.stem == "data"] or files
        found = str(chosen[0]) if len(chosen) == 1 else text
    elif text.endswith((".yaml", ".yml")):
        if not check_file(text, download=False, hard=False):
            neighbours = [other.name for other in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
            raise HostError(tr("data={name} does not exist.{hint} Expected a data YAML as Ultralytics defines it. "
                               "'yolograft data' makes one from a Pascal VOC set, from NEU-DET, or from generated images.",
                               name=text, hint=nearest(path.name, neighbours)))
    elif not path.exists() and task != "classify":
        found = next((f"{text}{suffix}" for suffix in (".yaml", ".yml")
                      if check_file(f"{text}{suffix}", download=False, hard=False)), text)
    if found != text:
        LOGGER.info(tr("yolograft: data={name} is read as data={found}", name=text, found=found))
    _check_data_text(Path(str(check_file(found, download=False, hard=False) or found)), found)
    return found


def _check_data_text(file: Path, shown: str) -> None:
    """Check the text of a data YAML, before Ultralytics reads it.

    Raises:
        HostError: Ultralytics would read it wrongly, or not at all.
    """
    if file.suffix not in (".yaml", ".yml") or not file.is_file():
        return
    content = yaml_text.read(file, error=HostError)
    if content.is_lossy:
        raise HostError(tr("data={path} is encoded in {encoding}. Ultralytics reads UTF-8 only, and would lose characters "
                           "of paths and class names. Save it as UTF-8 ('Save with Encoding' in most editors).", path=shown,
                           encoding=content.encoding))
    yaml_text.check_keys(file, content, ("train", "val"), error=HostError)
