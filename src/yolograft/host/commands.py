"""Run a mode of Ultralytics (train, val, predict, track, export, tune) with arguments from the command line.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `DEFAULT_CFG_DICT` lists every argument, `get_cfg` checks their
types and values, `smart_value` parses a value as `yolo` does, and `check_file(hard=False)` returns a data YAML's path, or
a falsy value if there is no such file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultralytics.cfg import get_cfg, smart_value
from ultralytics.utils import DEFAULT_CFG_DICT, LOGGER
from ultralytics.utils.checks import check_file

from yolograft import checkpoint, shell
from yolograft.blocks import plugin
from yolograft.errors import GraftError, HostError, nearest
from yolograft.fast.modes import check_mode
from yolograft.host.open import open_model
from yolograft.host.yolo import set_graft
from yolograft.language import tr
from yolograft.spec import Graft

__all__ = ["run"]


def run(mode: str, pairs: dict[str, str]) -> Any:
    """Run a mode and return what Ultralytics returns.

    Args:
        mode: `train`, `val`, `predict`, `track`, `export` or `tune`.
        pairs: the arguments, as text from the command line.

    Raises:
        GraftError: an argument, the graft, the model or the data cannot be used. Nothing was run then.
    """
    arguments = {key: value if key in ("graft", "blocks") else smart_value(value) for key, value in pairs.items()}
    # Ultralytics passes `save_dir` to the trainings that it starts in subprocesses, but DEFAULT_CFG_DICT lacks this key
    known = {**DEFAULT_CFG_DICT, "graft": None, "blocks": None, "speed": None, "save_dir": None}
    for key in arguments:
        if key not in known and not (mode == "tune" and key in ("iterations", "use_ray")):
            raise HostError(f"'{key}' is not an argument of 'yolograft {mode}'.{nearest(key, known)} "
                            "List them: yolo cfg, and graft=, blocks=")
    graft, blocks = arguments.pop("graft", None), arguments.pop("blocks", None)
    if blocks:
        plugin.load_plugin(blocks)
    if graft is not None:
        Graft.parse(graft)
    if "speed" in arguments and mode not in ("train", "tune"):
        raise HostError(f"'speed' is not an argument of 'yolograft {mode}', only of train and tune.")
    if "speed" in arguments:
        check_mode(str(arguments["speed"]))
    try:
        get_cfg(overrides={key: value for key, value in arguments.items() if key in DEFAULT_CFG_DICT})
    except (TypeError, ValueError, SyntaxError) as error:
        raise HostError(str(error)) from error
    if mode in ("train", "val", "tune"):
        _check_data(arguments.get("data"))
    resume = arguments.get("resume")
    name = arguments.pop("model", None) or (resume if isinstance(resume, str) else None) or "yolo11n.pt"
    model = open_model(name, arguments.pop("task", None))
    if mode == "train" and graft is not None:
        arguments["graft"] = graft
    elif graft is not None:
        set_graft(model, graft)
    if blocks and mode in ("train", "tune"):
        arguments["blocks"] = blocks
    try:
        result = getattr(model, mode)(**arguments)
        if mode == "export" and arguments.get("format") == checkpoint.SUFFIX[1:]:
            LOGGER.info(f"yolograft: {result}")  # Ultralytics logs the path of every other format itself
        if mode == "train":
            _log_next(model, blocks)
        return result
    except KeyboardInterrupt:
        last = getattr(model.trainer, "last", None) if mode == "train" else None
        if last is None or not Path(last).is_file():
            raise
        command = f"yolograft train resume=True model={last}"
        raise KeyboardInterrupt(f"to continue from the last complete epoch: {command}") from None
    except FileNotFoundError as error:
        raise HostError(str(error)) from error
    except RuntimeError as error:  # Ultralytics raises any error in a data YAML as a RuntimeError
        if isinstance(error, GraftError) or "Dataset" not in str(error):
            raise
        raise HostError(str(error)) from error


def _log_next(model: Any, blocks: str | None) -> None:
    best = Path(model.trainer.best)
    if best.is_file():  # with save=False there is none
        own = [f"blocks={blocks}"] if blocks else []
        command = shell.command("val", f"model={best}", f"data={model.trainer.args.data}", *own)
        LOGGER.info(tr("yolograft: validate the trained model with:\n  {command}", command=command))


def _check_data(data: Any) -> None:
    # Ultralytics looks for the data only after it has made the run folder, and its message is less helpful
    for item in data if isinstance(data, (list, tuple)) else [data]:
        text = str(item)
        if text.endswith((".yaml", ".yml")) and "://" not in text and not check_file(text, download=False, hard=False):
            folder = Path(text).parent
            neighbours = [path.name for path in folder.glob("*.y*ml")] if folder.is_dir() else []
            raise HostError(f"data={text} does not exist.{nearest(Path(text).name, neighbours)} Expected a data YAML as "
                            "Ultralytics defines it. 'yolograft data' makes one from a Pascal VOC set, from NEU-DET, or "
                            "from generated images.")
