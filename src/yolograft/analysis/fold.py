"""Fold the blocks of a checkpoint that are constants on given data, and write the smaller checkpoint.

The constants are measured on training images, and their effect on the images of another split:

1. A block that is a constant per channel is folded exactly, where the network's structure allows it.
2. Any other block is replaced by its best constant, or by 1 where a constant cannot be folded. It is folded if mAP50-95 then
   falls by no more than the tolerance, even at the lower end of its paired bootstrap interval over the images
   (a non-inferiority test).
3. The blocks of 2 are tested together. As long as the test fails, the block with the largest loss is kept.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `RUNS_DIR` is the folder of all runs, and `increment_path` gives a new
one its number. A checkpoint is a dict with `model`, `ema`, `optimizer` and `train_args`, and its tensors may be float32.
"""

from __future__ import annotations

import copy
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.utils import LOGGER, RUNS_DIR
from ultralytics.utils.files import increment_path

from yolograft import __version__, attach
from yolograft.analysis import profile
from yolograft.analysis.average_precision import Detections, Interval, difference
from yolograft.analysis.constant_gate import EXACT, Constant, identity, observe_constants
from yolograft.analysis.fold_blocks import blocked_alone, blocked_together, fold_blocks, largest_error, with_constants
from yolograft.analysis.gates import Place, places
from yolograft.analysis.timing import median_interval, time_in_turns
from yolograft.analysis.validation import quiet, validate
from yolograft.atomic import atomic_write
from yolograft.errors import HostError
from yolograft.host import models
from yolograft.host.open import open_model
from yolograft.host.run_folder import check_writable
from yolograft.language import pad, tr

__all__ = ["Folding", "Latency", "PlaceFolding", "fold"]

_TOLERANCE = 0.005  # of mAP50-95
_SHOWN_IMAGES = 16  # on which the outputs are compared


@dataclass(frozen=True, kw_only=True)
class PlaceFolding:
    """What was done with one block, and why.

    Attributes:
        place: where the block is, such as `8` or `6.m.0.cv2`.
        graft: the text of its graft.
        result: `exact`, `tolerance` or `kept`.
        replaced_by: `constant` or `one`; "" for a kept block.
        reason: why it was kept.
        error: how far the block is from its best constant, relative to its output (root mean square, worst channel).
        varies: along what it varies: `image`, `position` or "".
        factors: the smallest, mean and largest factor of its best constant.
        difference: the change of mAP50-95 if only this block is replaced; None if it was not measured.
    """

    place: str
    graft: str
    result: str
    replaced_by: str
    reason: str
    error: float
    varies: str
    factors: tuple[float, float, float]
    difference: Interval | None


@dataclass(frozen=True, kw_only=True)
class Latency:
    """The latency of one image before and after, in ms (medians), and the ratio after / before with its 95% interval."""

    before_ms: float
    after_ms: float
    ratio: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Folding:
    """The result of `fold`. `str` gives a table.

    Attributes:
        model: the checkpoint.
        data: the data YAML, or the folder of a classification data set.
        split: the split on which mAP was measured.
        imgsz: size of the images in pixels.
        tolerance: the largest allowed loss of mAP50-95.
        places: one entry per block.
        weights: the new checkpoint; "" if no block could be folded.
        graft: the blocks that it carries; "none" if it is a stock checkpoint.
        needs_yolograft: whether the checkpoint opens only where yolograft is installed.
        before, after: metrics of the validation.
        difference: the change of mAP50-95 with its interval; None for a task other than detect.
        algebra_error: largest error of the raw outputs against fixed constants, relative to the largest output, in float64.
        output_error: the same against the blocks themselves, on validation images, in float32.
        parameters, gflops: before and after.
        latency: None if nothing was folded.
    """

    model: str
    data: str
    split: str
    imgsz: int
    tolerance: float
    places: tuple[PlaceFolding, ...]
    weights: str
    graft: str
    needs_yolograft: bool
    before: dict[str, float]
    after: dict[str, float]
    difference: Interval | None
    algebra_error: float
    output_error: float
    parameters: tuple[int, int]
    gflops: tuple[float, float]
    latency: Latency | None

    def json(self) -> str:
        """Return all fields as JSON."""
        return json.dumps({**asdict(self), "yolograft": __version__}, indent=1)

    def __str__(self) -> str:
        words = {"exact": tr("folded exactly"), "tolerance": tr("folded within tolerance"), "kept": tr("kept")}
        lines = [f"{pad(tr('place'), 18)}{pad(tr('result'), 25)}{pad(tr('error'), 9, '>')}  {pad(tr('factors'), 20)}"
                 f"{tr('change of mAP50-95 if replaced alone')}"]
        for one in self.places:
            low, _, high = one.factors
            change = _format_interval(one.difference) if one.difference else "-"
            is_dropped = one.result == "tolerance" and one.replaced_by == "one"
            result = tr("dropped within tolerance") if is_dropped else words[one.result]
            lines.append(f"{one.place:<18}{pad(result, 25)}{one.error:>9.2g}  {f'{low:.3f} .. {high:.3f}':<20}"
                         f"{change}")
            if one.reason:
                lines.append(f"  {one.reason}")
        lines.append("")
        metric = next((key for key in self.before if "mAP50-95" in key), next(iter(self.before), ""))
        if metric:
            change = f" ({_format_interval(self.difference)})" if self.difference else ""
            lines.append(tr("{metric} on {split}: {before:.4f} before, {after:.4f} after{change}", metric=metric,
                            split=self.split, before=self.before[metric], after=self.after[metric], change=change))
        if self.latency is not None:
            lines.append(tr("largest error of the outputs: {algebra:.1g} against constants (float64), {output:.1g} against "
                            "the blocks (float32)", algebra=self.algebra_error, output=self.output_error))
            lines.append(tr("parameters: {before:,} before, {after:,} after; GFLOPs: {first:.4f} before, {second:.4f} after",
                            before=self.parameters[0], after=self.parameters[1], first=self.gflops[0],
                            second=self.gflops[1]))
            lines.append(tr("latency: {before:.2f} ms before, {after:.2f} ms after, ratio {ratio:.3f} ({low:.3f} to "
                            "{high:.3f})", before=self.latency.before_ms, after=self.latency.after_ms,
                            ratio=self.latency.ratio, low=self.latency.low, high=self.latency.high))
        lines.append(self._outcome())
        return "\n".join(lines)

    def _outcome(self) -> str:
        if not self.weights:
            return tr("No block could be folded, so no checkpoint was written.")
        if self.graft != "none":
            return tr("{weights} carries the other blocks: {graft}", weights=self.weights, graft=self.graft)
        if self.needs_yolograft:
            return tr("{weights} has no blocks. It has modules of yolograft, so it opens only where yolograft is installed.",
                      weights=self.weights)
        return tr("{weights} is a stock Ultralytics checkpoint", weights=self.weights)


def _format_interval(one: Interval) -> str:
    return f"{one.estimate:+.4f} " + tr("({low:+.4f} to {high:+.4f})", low=one.low, high=one.high)


def fold(model: str, data: str | None = None, *, tolerance: float | None = None, name: str | None = None,
         project: str | None = None, imgsz: int | None = None, batch: int = 16, device: str = "cpu", split: str = "val",
         images: int = 300, repeats: int = 30, seed: int = 0) -> Folding:
    """Fold the blocks of a checkpoint that are constants on the data, and write the new checkpoint and fold.json.

    Args:
        model: a grafted checkpoint.
        data: a data YAML; by default that of the checkpoint's training.
        tolerance: the largest allowed loss of mAP50-95; 0 folds exact constants only. None: 0.005 for detection. Other tasks
            have no interval over images, so they allow only 0.
        name: name of the run, below `project`.
        project: folder of the run; by default `fold` in Ultralytics' folder of runs.
        imgsz: size of the images in pixels; by default that of the checkpoint's training.
        batch: images per batch.
        device: as in Ultralytics, for the validations.
        split: the split on which mAP is measured.
        images: the number of training images on which the constants are measured.
        repeats: number of timed forward passes of each network.
        seed: of the random choice of training images and of the bootstrap.

    Raises:
        GraftError: the model carries no blocks, an argument is not valid, or the data cannot be read.
    """
    opened = open_model(model)
    network: Any = opened.model
    if not isinstance(network, nn.Module):
        raise HostError(tr("'{model}' is an exported model already. Fold the .pt file that it was made from.", model=model))
    if not attach.grafts(network):
        raise HostError(tr("{model} carries no blocks, so there is nothing to fold. Expected a checkpoint that was trained "
                           "with graft=, such as runs/detect/train/weights/best.pt.", model=model))
    data = data or opened.overrides.get("data")
    if not data:
        raise HostError(tr("fold needs data=DATA.yaml: the checkpoint names no data set."))
    is_detection = opened.task == "detect"
    if tolerance is None:
        tolerance = _TOLERANCE if is_detection else 0.0
    if not 0 <= tolerance <= 1:
        raise HostError(tr("tolerance={value} is no loss of mAP50-95. Expected a number from 0 to 1, such as 0.005.",
                           value=tolerance))
    if tolerance and not is_detection:
        raise HostError(tr("tolerance={value} works for detection only, because other tasks have no interval over images. "
                           "For task={task}, exact constants can be folded: tolerance=0", value=tolerance, task=opened.task))
    parent = Path(project) if project else Path(RUNS_DIR) / "fold"
    check_writable(parent.absolute(), tr("Choose another folder: project=FOLDER"))
    network = network.float().eval()
    validation = _Validation(opened=opened, data=str(data), imgsz=imgsz or int(opened.overrides.get("imgsz") or 640),
                             batch=batch, device=device, split=split, seed=seed)
    all_places = places(network)
    LOGGER.info(tr("yolograft: measure the constants of {count} blocks on training images", count=len(all_places)))
    with observe_constants(network, all_places) as observation:
        validation.run(network, split="train", limit=images, on_batch=observation.commit)
    constants = observation.constants()
    LOGGER.info(tr("yolograft: validate the model"))
    with _latest_images(network) as latest:
        shown: list[Tensor] = []
        before = validation.run(network, on_batch=lambda: shown.extend(latest[:1 - len(shown)]))
    search = _Search(network, constants, validation, before[1], tolerance)
    chosen, results = search.choose()
    graft, weights, after = str(attach.grafted(network)), "", before
    algebra, output, latency, new = 0.0, 0.0, None, network
    if chosen:
        folded = fold_blocks(network, chosen)
        new, algebra = folded.network, folded.error
        output = largest_error(new, network, shown[0])
        LOGGER.info(tr("yolograft: validate the folded network"))
        after = validation.run(new)
        latency = _latency(network, new, validation.imgsz, repeats)
        graft = str(attach.grafted(new))
        run = Path(increment_path(parent / (name or "fold")))
        weights = str(run / "weights" / "best.pt")
    stock = not any(type(module).__module__.partition(".")[0] == "yolograft" for module in new.modules())
    change = difference(after[1], before[1], seed=seed) if after[1] and before[1] else None
    result = Folding(
        model=model, data=str(data), split=split, imgsz=validation.imgsz, tolerance=tolerance, places=tuple(results),
        weights=weights, graft=models.short_text(graft), needs_yolograft=not stock, before=before[0], after=after[0],
        difference=change, algebra_error=algebra, output_error=output,
        parameters=(profile.count_parameters(network), profile.count_parameters(new)),
        gflops=(_gflops(network, validation.imgsz), _gflops(new, validation.imgsz)), latency=latency)
    if weights:
        _write(opened, new, graft, Path(weights), result)
    return result


@dataclass(frozen=True, kw_only=True)
class _Validation:
    """How networks are validated."""

    opened: Any
    data: str
    imgsz: int
    batch: int
    device: str
    split: str
    seed: int

    def run(self, network: nn.Module, *, split: str | None = None, limit: int | None = None,
            on_batch: Callable[[], object] = lambda: None) -> tuple[dict[str, float], Detections | None]:
        """Return the metrics of a network, and its detections if it is one for detection."""
        if self.opened.task == "detect":
            found = validate(network, self.data, imgsz=self.imgsz, batch=self.batch, device=self.device,
                             split=split or self.split, limit=limit, seed=self.seed, on_batch=lambda _: on_batch())
            return found.metrics, found.detections
        runner = copy.copy(self.opened)
        runner.model = copy.deepcopy(network)  # the validator fuses it
        runner.callbacks = {event: list(calls) for event, calls in self.opened.callbacks.items()}
        runner.add_callback("on_val_batch_end", lambda _: on_batch())
        with tempfile.TemporaryDirectory() as folder, quiet():
            metrics = runner.val(data=self.data, imgsz=self.imgsz, batch=self.batch, device=self.device, workers=0,
                                 split=split or self.split, plots=False, verbose=False, project=folder, name="run")
        return {key.removeprefix("metrics/"): float(value) for key, value in metrics.results_dict.items()}, None


@contextmanager
def _latest_images(network: nn.Module) -> Iterator[list[Tensor]]:
    """Hold the latest images that the network, or a copy of it, gets inside this context: a list of one batch."""
    latest: list[Tensor] = []

    def hook(_: nn.Module, args: tuple[Any, ...]) -> None:  # not a method: a copy of the network would copy its object
        if isinstance(args[0], Tensor):
            latest[:] = [args[0][:_SHOWN_IMAGES].detach().cpu().float()]

    handle = network.register_forward_pre_hook(hook)
    try:
        yield latest
    finally:
        handle.remove()


class _Search:
    """Chooses the blocks to fold, by the change of mAP50-95 where they are no exact constants."""

    def __init__(self, network: nn.Module, constants: Mapping[Place, Constant], validation: _Validation,
                 before: Detections | None, tolerance: float) -> None:
        self.network, self.constants, self.validation, self.before = network, constants, validation, before
        self.tolerance = tolerance

    def choose(self) -> tuple[dict[Place, Constant], list[PlaceFolding]]:
        """Return the constants to fold, and what becomes of each block."""
        exact = {place: one for place, one in self.constants.items() if one.error <= EXACT}
        reasons = blocked_together(self.network, exact) if exact else {}
        chosen = {place: one for place, one in exact.items() if place not in reasons}
        candidates: dict[Place, Constant] = {}
        differences: dict[Place, Interval] = {}
        rest = [place for place in self.constants if place not in chosen]
        if self.tolerance and rest:
            candidates, differences = self._measure(rest, reasons)
            chosen.update(self._within_tolerance(chosen, candidates, differences, reasons))
        else:
            for place in rest:
                reasons.setdefault(place, _varies(self.constants[place]))
        return chosen, [self._result(place, chosen.get(place), reasons.get(place, ""), differences.get(place),
                                     place in exact) for place in self.constants]

    def _measure(self, rest: list[Place], reasons: dict[Place, str]) -> tuple[dict[Place, Constant], dict[Place, Interval]]:
        """Measure the change of mAP with each block replaced by a constant that can be folded."""
        blocked = blocked_alone(self.network, {place: self.constants[place] for place in rest})
        candidates, differences = {}, {}
        for number, place in enumerate(rest, 1):
            candidates[place] = identity(place.channels) if place in blocked else self.constants[place]
            differences[place] = self._difference({place: candidates[place]})
            LOGGER.info(tr("yolograft: {number} of {total}: without the block at {place}, mAP50-95 changes by {change}",
                           number=number, total=len(rest), place=place.name, change=_format_interval(differences[place])))
            if differences[place].low < -self.tolerance:
                reasons[place] = tr("replaced by {what}, mAP50-95 changes by {change}: the loss can exceed the tolerance "
                                    "{tolerance:g}", what=_what(candidates[place]), tolerance=self.tolerance,
                                    change=_format_interval(differences[place]))
                if place in blocked:
                    reasons[place] += "; " + tr("its own constant cannot be folded: {why}", why=blocked[place])
        return candidates, differences

    def _within_tolerance(self, exact: Mapping[Place, Constant], candidates: Mapping[Place, Constant],
                          differences: Mapping[Place, Interval], reasons: dict[Place, str]) -> dict[Place, Constant]:
        """Return the replacements whose loss together is within the tolerance."""
        accepted = {place: one for place, one in candidates.items() if differences[place].low >= -self.tolerance}
        while accepted:
            blocked = blocked_together(self.network, {**exact, **accepted})
            if blocked:
                for place in blocked:
                    reasons[place] = blocked[place]
                    accepted.pop(place, None)
                continue
            alone = next(iter(accepted))
            together = self._difference(accepted) if len(accepted) > 1 else differences[alone]
            LOGGER.info(tr("yolograft: without these {count} blocks together, mAP50-95 changes by {change}",
                           count=len(accepted), change=_format_interval(together)))
            if together.low >= -self.tolerance:
                break
            worst = min(accepted, key=lambda place: (differences[place].estimate, differences[place].low))
            del accepted[worst]
            reasons[worst] = tr("together with the other blocks, the loss can exceed the tolerance {tolerance:g}: {change}",
                                tolerance=self.tolerance, change=_format_interval(together))
        for place in accepted:
            reasons.pop(place, None)
        return accepted

    def _difference(self, constants: Mapping[Place, Constant]) -> Interval:
        after = self.validation.run(with_constants(self.network, constants))[1]
        assert after is not None and self.before is not None  # noqa: PT018 (only detection has a tolerance)
        return difference(after, self.before, seed=self.validation.seed)

    def _result(self, place: Place, used: Constant | None, reason: str, change: Interval | None,
                is_exact: bool) -> PlaceFolding:
        own = self.constants[place]
        result = "kept" if used is None else "exact" if is_exact and used is own else "tolerance"
        return PlaceFolding(
            place=place.name, graft=place.graft, result=result, reason=reason, error=own.error, varies=own.varies,
            replaced_by="" if used is None else "one" if used.is_identity else "constant", difference=change,
            factors=(float(own.factor.min()), float(own.factor.mean()), float(own.factor.max())))


def _varies(one: Constant) -> str:
    return tr("it varies from image to image") if one.varies == "image" else tr("it varies from position to position")


def _what(one: Constant) -> str:
    return "1" if one.is_identity else tr("its constant")


def _gflops(network: nn.Module, imgsz: int) -> float:
    return profile.count_gflops(profile.fused_copy(network), imgsz)


def _latency(before: nn.Module, after: nn.Module, imgsz: int, repeats: int) -> Latency:
    networks = [profile.fused_copy(network).cpu() for network in (before, after)]
    image = torch.rand_like(profile.dummy_images(networks[0], imgsz))

    def run_of(network: nn.Module) -> Callable[[], object]:
        return lambda: network(image)

    with torch.inference_mode():
        turns = time_in_turns([run_of(network) for network in networks], repeats)
    ratios = [second / first for first, second in turns]
    low, high = median_interval(ratios)
    return Latency(before_ms=1000 * statistics.median(turn[0] for turn in turns),
                   after_ms=1000 * statistics.median(turn[1] for turn in turns), ratio=statistics.median(ratios), low=low,
                   high=high)


def _write(opened: Any, network: nn.Module, graft: str, file: Path, result: Folding) -> None:
    """Write the checkpoint, in float32 since folded weights are no float16 numbers, and fold.json beside its folder."""
    stored = dict(opened.ckpt or {})
    arguments = {key: value for key, value in dict(stored.get("train_args") or opened.model.args).items()
                 if key not in ("graft", "speed")}
    if graft != "none":
        arguments["graft"] = graft
    model: Any = copy.deepcopy(network)
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.args = arguments
    checkpoint = {**stored, "epoch": -1, "model": model, "ema": None, "updates": None, "optimizer": None,
                  "train_args": arguments, "date": datetime.now().isoformat()}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, lambda part: torch.save(checkpoint, part))
        atomic_write(file.parent.parent / "fold.json", lambda part: part.write_text(result.json(), encoding="utf-8"))
    except OSError as error:
        raise HostError(tr("'{path}' cannot be written: {error}", path=file, error=error)) from error
