"""One mode of Ultralytics (train, val, predict, track, export, tune) run with arguments from the command line.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `DEFAULT_CFG_DICT` lists every argument, `get_cfg` checks their
types and values, `smart_value` reads a value as `yolo` does, and `check_file(hard=False)` finds a data YAML or is falsy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultralytics.cfg import get_cfg, smart_value
from ultralytics.utils import DEFAULT_CFG_DICT, LOGGER
from ultralytics.utils.checks import check_file

from yolograft import checkpoint
from yolograft.blocks import plugin
from yolograft.errors import GraftError, HostError, nearest
from yolograft.fast import select
from yolograft.host.open import open_model
from yolograft.spec import Graft

__all__ = ["run"]


def run(mode: str, pairs: dict[str, str]) -> Any:
    """Run `mode` with arguments as the command line gives them; returns what Ultralytics returns.

    Raises:
        GraftError: an argument, the graft, the model or the data cannot be used; nothing was run.
    """
    given = {key: value if key in ("graft", "blocks") else smart_value(value) for key, value in pairs.items()}
    # the run folder of a training that Ultralytics launches is given to it in `save_dir`, which is no default's key
    known = {**DEFAULT_CFG_DICT, "graft": None, "blocks": None, "speed": None, "save_dir": None}
    for key in given:
        if key not in known and not (mode == "tune" and key in ("iterations", "use_ray")):
            raise HostError(f"'{key}' is no argument of 'yolograft {mode}'.{nearest(key, known)} "
                            "List them: yolo cfg, and graft=, blocks=")
    graft, blocks = given.pop("graft", None), given.pop("blocks", None)
    if blocks:
        plugin.load_plugin(blocks)
    if graft is not None:
        Graft.parse(graft)
    if "speed" in given and mode not in ("train", "tune"):
        raise HostError(f"'speed' is no argument of 'yolograft {mode}': it is one of train and tune.")
    if "speed" in given:
        select.check(str(given["speed"]))
    try:
        get_cfg(overrides={key: value for key, value in given.items() if key in DEFAULT_CFG_DICT})
    except (TypeError, ValueError, SyntaxError) as error:
        raise HostError(str(error)) from error
    if mode in ("train", "val", "tune"):
        _check_data(given.get("data"))
    resume = given.get("resume")
    name = given.pop("model", None) or (resume if isinstance(resume, str) else None) or "yolo11n.pt"
    model = open_model(name, given.pop("task", None))
    if mode == "train" and graft is not None:
        given["graft"] = graft
    elif graft is not None:
        model._apply_graft(graft)
    if blocks and mode in ("train", "tune"):
        given["blocks"] = blocks
    try:
        made = getattr(model, mode)(**given)
        if mode == "export" and given.get("format") == checkpoint.SUFFIX[1:]:
            LOGGER.info(f"yolograft: {made}")  # of every other format Ultralytics tells where it lies
        return made
    except KeyboardInterrupt:
        last = getattr(model.trainer, "last", None) if mode == "train" else None
        if last is None or not Path(last).is_file():
            raise
        raise KeyboardInterrupt(f"go on from its last whole epoch with: yolograft train resume=True model={last}") from None
    except FileNotFoundError as error:
        raise HostError(str(error)) from error
    except RuntimeError as error:  # Ultralytics wraps whatever is wrong with a data YAML in a RuntimeError
        if isinstance(error, GraftError) or "Dataset" not in str(error):
            raise
        raise HostError(str(error)) from error


def _check_data(data: Any) -> None:
    # Ultralytics looks for the data after it has made the run's folder, and says less
    for one in data if isinstance(data, (list, tuple)) else [data]:
        text = str(one)
        if text.endswith((".yaml", ".yml")) and "://" not in text and not check_file(text, download=False, hard=False):
            folder = Path(text).parent
            beside = [path.name for path in folder.glob("*.y*ml")] if folder.is_dir() else []
            raise HostError(f"data={text} does not exist.{nearest(Path(text).name, beside)} Expected a data YAML as "
                            "Ultralytics defines it; 'yolograft data' makes one from a Pascal VOC set, NEU-DET, or nothing.")
