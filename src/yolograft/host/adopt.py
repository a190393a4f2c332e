"""Make a checkpoint of ours from that of a fork of Ultralytics with attention rows, without the fork.

The tensors are read without running the pickle's code (`pickled`). The model YAML says which rows are attention; the reader
of hand-edited YAML files turns them into a graft on the host. The host's tensors move with their rows, and `match_block`
finds the settings of each block.

What this relies on in Ultralytics (8.3.0 to 8.4.x): a checkpoint is a dict with `ema` or `model`, a pickled task model,
which has `yaml` and `names`; row N's tensors have the prefix `model.N.`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from ultralytics.nn import tasks
from ultralytics.utils import DEFAULT_CFG_DICT

from yolograft import attach, blocks, checkpoint
from yolograft.errors import HostError
from yolograft.host import models, safetensors_file
from yolograft.host.match_block import Match, match_block, match_exactly
from yolograft.host.pack import write_checkpoint
from yolograft.host.pickled import Record, children, open_pickle, state_of
from yolograft.language import tr
from yolograft.modelyaml import catalog, reader
from yolograft.modelyaml.load import GRAFT_KEY, load, unmarked
from yolograft.modelyaml.signatures import find_block
from yolograft.modelyaml.table import Row, parse_rows
from yolograft.sites import Probe, probe, resolve
from yolograft.spec import Graft, Part

__all__ = ["Adopted", "BlockRow", "adopt"]

_CLASSES = {"detect": "DetectionModel", "segment": "SegmentationModel", "classify": "ClassificationModel",
            "pose": "PoseModel", "obb": "OBBModel", "semantic": "SemanticSegmentationModel"}
_SHOWN = 8
_ARGUMENTS = ("imgsz", "data", "single_cls")


@dataclass(frozen=True, kw_only=True)
class BlockRow:
    """One attention row of the fork, and the block that it became.

    Attributes:
        row: the row's text.
        graft: the block with all settings and its site.
        total: how many tensors the fork's module has.
        match: its tensors, and what was assumed.
    """

    row: str
    graft: str
    total: int
    match: Match


@dataclass(frozen=True, kw_only=True)
class Adopted:
    """The result of `adopt`.

    Attributes:
        path: the written checkpoint.
        graft: its graft.
        host: how many of the host's tensors the fork's checkpoint has.
        total: how many tensors the host has.
        rows: the attention rows.
        left: tensors that do not fit; empty unless `force` was given.
        notes: how each row was read.
    """

    path: Path
    graft: Graft
    host: int
    total: int
    rows: tuple[BlockRow, ...]
    left: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [tr("host: {found} of {total} tensors", found=self.host, total=self.total)]
        assumed = False
        for one in self.rows:
            lines.append(tr("{row} -> {graft}: {found} of {total} tensors", row=one.row, graft=models.short_text(one.graft),
                            found=one.total - len(one.match.problems), total=one.total))
            lines += [f"    {theirs} -> {ours}" for theirs, ours in one.match.pairs.items() if theirs != ours]
            lines += [tr("    assumed: {what}", what=what) for what in one.match.assumptions]
            assumed = assumed or bool(one.match.assumptions)
        lines += [tr("does not fit: {what}", what=what) for what in self.left]
        if assumed:
            lines.append(tr("A checkpoint has no code, so these assumptions cannot be checked here. Compare the mAP of "
                            "'yolograft val "
                            "model={path} data=...' with the fork's own. With the fork's file of the block, "
                            "blocks=FILE.py, nothing "
                            "has to be assumed.", path=self.path))
        lines.append(tr("Written: {path}", path=self.path))
        return "\n".join(lines)


@dataclass(frozen=True)
class _Fork:
    """What a fork's checkpoint says.

    Attributes:
        tensors: the state dict of the model, with keys `model.N...`.
        record: the pickled model; None if the file has only tensors.
        config: the model's YAML dict; empty if the file does not have it.
        names: the classes' names.
        args: the train arguments.
    """

    tensors: dict[str, Tensor]
    record: Record | None
    config: dict[str, Any]
    names: dict[int, str]
    args: dict[str, Any] = field(default_factory=dict)


def adopt(source: str | Path, to: str | Path, *, model: str | Path | None = None, force: bool = False) -> Adopted:
    """Write a checkpoint of ours that predicts as the checkpoint of a fork does.

    Args:
        source: the fork's `.pt` file. Its code does not run.
        to: the file to write, `.pt` or `.safetensors`.
        model: the fork's model YAML; by default the one in the checkpoint.
        force: whether to write the checkpoint even if some tensors do not fit. Their counterparts keep initial weights.

    Raises:
        GraftError: a file cannot be read or written, the YAML is not that of this checkpoint, or a tensor does not fit.
    """
    target = Path(to)
    if target.suffix not in (".pt", checkpoint.SUFFIX):
        raise HostError(tr("to={path} must end with .pt or .safetensors.", path=to))
    if target.exists():
        raise HostError(tr("to={path} exists and is not overwritten. Name another file, or remove this one first.", path=to))
    fork = _read_fork(source)
    config = _config(fork, source, model)
    reading = reader.read(config)
    rows = parse_rows(config)
    _check_rows(rows, reading, source)
    host_numbers = _host_numbers(rows)
    network = _build(fork, reading.host, rows, host_numbers)
    mapped, left = _move_host(fork.tensors, host_numbers)
    safetensors_file.fit_class_branches(network, models.host_yaml(reading.host), mapped)
    host_state = network.state_dict()
    fitting = {key: mapped[key] for key in host_state if key in mapped and mapped[key].shape == host_state[key].shape}
    missing = [key for key in host_state if key not in fitting and not key.endswith("num_batches_tracked")]
    left += [key for key in mapped if key not in fitting]
    adopted, block_tensors = _match_rows(fork, network, reading, rows)
    problems = [tr("the host's {key} {shape} is not in the checkpoint", key=key, shape=tuple(host_state[key].shape))
                if key not in mapped else tr("{key} is {theirs} in the checkpoint and {ours} in the host", key=key,
                                             theirs=tuple(mapped[key].shape), ours=tuple(host_state[key].shape))
                for key in missing]
    problems += [tr("{key} of the checkpoint has no place in the host", key=key) for key in left if key not in host_state]
    problems += [f"{one.row}: {problem}" for one in adopted for problem in one.match.problems]
    if problems and not force:
        listed = "\n".join(f"- {problem}" for problem in problems[:_SHOWN])
        more = tr("\n- and {count} more", count=len(problems) - _SHOWN) if len(problems) > _SHOWN else ""
        raise HostError(tr("'{source}' does not fit, so nothing was written:\n{problems}\nIf the fork's block computes "
                           "something "
                           "else than ours, add blocks=FILE.py with the fork's own class. To write what fits: force=True.",
                           source=source, problems=listed + more))
    network.load_state_dict({**fitting, **block_tensors}, strict=False)
    _finish(network, fork, target)
    return Adopted(path=_write(network, target), graft=attach.grafted(network), host=len(fitting), total=len(host_state),
                   rows=tuple(adopted), left=tuple(problems), notes=reading.notes)


def _read_fork(source: str | Path) -> _Fork:
    opened = open_pickle(source)
    value: Any = opened.value
    saved = value if isinstance(value, dict) else {}
    network = saved.get("ema") or saved.get("model") or saved.get("state_dict") or value
    record = network if isinstance(network, Record) else None
    if record is not None and record.path.startswith("yolograft."):
        raise HostError(tr("'{source}' is a checkpoint of yolograft already. Open it as it is.", source=source))
    if any(module.partition(".")[0] == "models" for module, _ in opened.names):
        raise HostError(tr("'{source}' was trained with the repository yolov5 or yolov7. Its heads have anchors, and "
                           "those of "
                           "Ultralytics' package have none, so it cannot be adopted. Train from a model of this package.",
                           source=source))
    while record is not None and "model" in children(record) and "0" not in children(children(record)["model"]):
        record = children(record)["model"]  # a pickled `YOLO`, or a wrapper of several GPUs
    tensors = state_of(record) if record is not None else {
        key: one for key, one in network.items() if isinstance(key, str) and isinstance(one, Tensor)
    } if isinstance(network, dict) else {}
    for prefix in ("module.", "model."):
        while tensors and all(key.startswith(f"{prefix}model.") for key in tensors):
            tensors = {key.removeprefix(prefix): one for key, one in tensors.items()}
    if not any(key.startswith("model.0.") for key in tensors):
        raise HostError(tr("'{source}' has no tensors of a YOLO model: expected keys such as model.0.conv.weight.",
                           source=source))
    state = record.state if record is not None else {}
    config = _plain(state.get("yaml")) if state.get("yaml") is not None else {}
    names = _plain(state.get("names"))
    args = _plain(saved.get("train_args") or state.get("args"))
    return _Fork({key: one.float() if one.is_floating_point() else one for key, one in tensors.items()}, record,
                 unmarked(config) if isinstance(config, dict) else {},
                 {int(key): str(one) for key, one in names.items() if str(key).isdecimal()} if isinstance(names, dict) else
                 dict(enumerate(map(str, names))) if isinstance(names, (list, tuple)) else {},
                 args if isinstance(args, dict) else {})


def _plain(value: Any) -> Any:
    """Return a pickled value with plain containers; an object becomes the dict of its items or attributes."""
    if isinstance(value, Record):
        return _plain(value.items or value.elements or value.state)
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def _config(fork: _Fork, source: str | Path, model: str | Path | None) -> dict[str, Any]:
    """Return the YAML dict: the rows of the file or the checkpoint, and the classes and the scale of the checkpoint."""
    if model is None and not fork.config:
        raise HostError(tr("'{source}' has only tensors. Name the fork's model YAML: model=FILE.yaml", source=source))
    config = load(model) if model is not None else dict(fork.config)
    count = fork.config.get("nc") or len(fork.names) or config.get("nc")
    config = {**config, "nc": count}
    for key in ("scale", "ch"):
        if fork.config.get(key):
            config[key] = fork.config[key]
    scales = config.get("scales")
    if not fork.config.get("scale") and isinstance(scales, dict) and len(scales) > 1 and not config.get("scale"):
        config["scale"] = _guess_scale(fork.tensors, scales)
    config.pop(GRAFT_KEY, None)
    return config


def _guess_scale(tensors: Mapping[str, Tensor], scales: Mapping[str, Any]) -> str:
    """Return the scale whose width gives the first row's channels, and whose depth gives the number of tensors best."""
    first = next((one for key, one in tensors.items() if key.startswith("model.0.") and one.ndim == 4), None)
    width = int(first.shape[0]) if first is not None else 0
    fitting = [name for name, entry in scales.items() if math.ceil(64 * float(entry[1]) / 8) * 8 == width]
    return fitting[0] if fitting else next(iter(scales))


def _check_rows(rows: list[Row], reading: reader.Reading, source: str | Path) -> None:
    unknown = [row for row in rows if find_block(row.module) is None and not catalog.has_module(row.module)]
    if unknown:
        listed = "\n".join(f"- {row}" for row in unknown[:_SHOWN])
        raise HostError(tr("'{source}' has rows that neither Ultralytics nor yolograft knows:\n{rows}\nAdd blocks=FILE.py "
                           "with "
                           "the fork's file of these classes, if they keep the shape of their input.", source=source,
                           rows=listed))
    if reading.edges:
        raise HostError(tr("'{source}': a row reads one map both attended and plain, through two of its inputs. A graft "
                           "cannot "
                           "express this.", source=source))


def _host_numbers(rows: list[Row]) -> dict[int, int]:
    """Return, for each host row's number in the fork, its number in the host."""
    found: dict[int, int] = {}
    for row in rows:
        if find_block(row.module) is None:
            found[row.number] = len(found)
    return found


def _build(fork: _Fork, host: dict[str, Any], rows: list[Row], numbers: Mapping[int, int]) -> nn.Module:
    name = fork.record.path.rpartition(".")[2] if fork.record is not None else ""
    config = models.host_yaml(host)
    task = tasks.guess_model_task(config)
    cls = getattr(tasks, name, None) or getattr(tasks, _CLASSES.get(str(task), ""), None)
    if rows[-1].module == "RTDETRDecoder":
        cls = tasks.RTDETRDetectionModel
    if not (isinstance(cls, type) and issubclass(cls, tasks.BaseModel)):
        raise HostError(tr("The installed Ultralytics has no model for the task '{task}'.", task=task))
    try:
        with models.building():
            network: nn.Module = cls(config, verbose=False)
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError, AssertionError, NotImplementedError) as error:
        raise HostError(tr("The installed Ultralytics cannot build the fork's host: {error}.",
                           error=f"{type(error).__name__}: {error}".rstrip("."))) from error
    network.task = task
    return network


def _move_host(tensors: Mapping[str, Tensor], numbers: Mapping[int, int]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the host rows' tensors under their keys in the host, and the keys that belong to no row."""
    mapped, left = {}, []
    for key, tensor in tensors.items():
        _, number, rest = [*key.split(".", 2), "", ""][:3]
        if not number.isdecimal():
            left.append(key)
        elif int(number) in numbers:
            mapped[f"model.{numbers[int(number)]}.{rest}"] = tensor
    return mapped, left


def _match_rows(fork: _Fork, network: nn.Module, reading: reader.Reading,
                rows: list[Row]) -> tuple[list[BlockRow], dict[str, Tensor]]:
    """Graft every attention row in order; return what was matched, and the blocks' tensors under their keys."""
    shapes = probe(network)
    parts = [Part(part.block, (site,), part.settings) for part in reading.graft.parts for site in part.sites]
    seen: dict[int, int] = {}
    found, tensors = [], {}
    for number, part in zip(reading.origins, parts, strict=True):
        repeat = seen.get(number, 0)
        seen[number] = repeat + 1
        prefix = f"model.{number}." + (f"{repeat}." if reading.origins.count(number) > 1 else "")
        own = {key.removeprefix(prefix): one for key, one in fork.tensors.items() if key.startswith(prefix)}
        record = _record_at(fork.record, prefix.rstrip("."))
        channels = _channels(network, part, shapes)
        search = match_exactly if _is_own(part.block) else match_block
        match = search(part.block, channels, dict(part.settings), own, record)
        full = Part(blocks.canonical(part.block), part.sites, tuple(sorted(match.settings.items())))
        before = set(attach.grafts(network))
        models.graft_onto(network, Graft((full,)))
        for key in [key for key in attach.grafts(network) if key not in before]:
            tensors.update({f"{key}.{name}": one for name, one in match.tensors.items()})
        found.append(BlockRow(row=str(rows[number]), graft=str(full), total=len(own), match=match))
    return found, tensors


def _is_own(block: str) -> bool:
    return not blocks.lookup(block).__module__.startswith("yolograft.")


def _record_at(record: Record | None, path: str) -> Record | None:
    for name in path.split("."):
        record = children(record).get(name) if record is not None else None
    return record


def _channels(network: nn.Module, part: Part, shapes: Probe) -> int:
    place = resolve(network, part.sites[0], shapes)[0]
    shape = shapes.inputs[place.module][0] if place.side in ("pre", "skip") else shapes.outputs[place.module]
    if shape is None or len(shape) != 4:
        raise HostError(tr("'{part}' is not at one map (B, C, H, W).", part=part))
    return shape[1]


def _finish(network: Any, fork: _Fork, target: Path) -> None:
    if fork.names:
        network.names = fork.names
    kept = {key: fork.args[key] for key in _ARGUMENTS if isinstance(fork.args.get(key), (int, str))}
    network.args = {**DEFAULT_CFG_DICT, **kept, "task": network.task, "model": str(target)}
    network.eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)


def _write(network: nn.Module, target: Path) -> Path:
    if target.suffix == checkpoint.SUFFIX:
        return safetensors_file.save_file(network, target)
    return write_checkpoint(network, target)

