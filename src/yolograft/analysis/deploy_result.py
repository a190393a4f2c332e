"""What a deployment check found: one value for each export, each target and the whole check, and the printed table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from yolograft.analysis import targets
from yolograft.analysis.matrix import nearest_passing
from yolograft.host.half_precision import Peak
from yolograft.language import pad, tr, wrap
from yolograft.spec import Graft

__all__ = ["Build", "DeployCheck", "TargetResult", "suggestion"]


@dataclass(frozen=True, kw_only=True)
class Build:
    """One export of one network, and how its outputs compare with PyTorch's.

    Attributes:
        network: 0 is the bare host.
        size: the image size of the export, in pixels.
        dynamic: whether it was exported with `dynamic=True`.
        step: the last step: export, load or run.
        failure: why that step failed; empty if it did not.
        errors: image size -> largest error of each group of outputs, relative to the group's largest value.
        operators: operator of the exported graph -> how many.
        deep: operators with an output of five or more dimensions.
        open_reshapes: reshapes with a size of -1.
        notes: what the converter says that it left out.
        seconds: duration of the export.
    """

    network: int
    size: int
    dynamic: bool
    step: str = "export"
    failure: str = ""
    errors: Mapping[str, Sequence[float]] = field(default_factory=dict)
    operators: Mapping[str, int] = field(default_factory=dict)
    deep: int = 0
    open_reshapes: int = 0
    notes: Sequence[str] = ()
    seconds: float = 0.0

    @property
    def error(self) -> float:
        """The largest of all errors; NaN without a run."""
        return max((value for values in self.errors.values() for value in values), default=float("nan"))


@dataclass(frozen=True, kw_only=True)
class TargetResult:
    """What one target did with one grafted network.

    Attributes:
        target: its name.
        status: `passes`, `fails` or `not checked`.
        reason: why it fails or was not checked.
        versions: package -> version.
        error: the largest error of the grafted network; NaN if it did not run.
        host_error: that of the bare host.
        added: operators of the grafted graph, beyond those of the host: operator -> how many more.
        new: those of them that the host's graph does not have at all.
        deep: how many more operators have an output of five or more dimensions.
        open_reshapes: how many more reshapes have a size of -1.
        latency_ms, host_latency_ms: medians; NaN if they were not measured.
        ratio: of the two, as estimate, low and high.
        builds: all exports, those of the host included.
    """

    target: str
    status: str
    reason: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    error: float = float("nan")
    host_error: float = float("nan")
    added: Mapping[str, int] = field(default_factory=dict)
    new: Sequence[str] = ()
    deep: int = 0
    open_reshapes: int = 0
    latency_ms: float = float("nan")
    host_latency_ms: float = float("nan")
    ratio: tuple[float, float, float] | None = None
    builds: Sequence[Build] = ()


@dataclass(frozen=True, kw_only=True)
class DeployCheck:
    """The whole check of one graft.

    Attributes:
        model: the file that was checked.
        graft: its graft, with the settings that differ from the defaults.
        sizes: the two image sizes, in pixels.
        threads: number of CPU threads.
        effect: how far the graft moves the outputs, in the unit of the errors. An error far below it means something.
        prepared: whether new blocks were changed at random, so that they do something.
        results: one for each target.
        half: the largest 16-bit value of each part of the grafted network.
        int8: the INT8 run, if there was one.
        date: when, in UTC.
    """

    model: str
    graft: str
    sizes: tuple[int, int]
    threads: int
    effect: float
    prepared: bool
    results: tuple[TargetResult, ...]
    half: tuple[Peak, ...]
    int8: Any = None
    date: str = ""

    @property
    def failed(self) -> bool:
        """Whether a checked target fails."""
        return any(result.status == "fails" for result in self.results)

    def json(self) -> str:
        """Return all fields as JSON. A number that was not measured is null."""
        return json.dumps(_without_nan(asdict(self)), indent=1)

    def __str__(self) -> str:
        lines = [f"{pad(tr('target'), 14)}{pad(tr('result'), 13)}{pad(tr('error'), 9, '>')}{pad(tr('host'), 9, '>')}"
                 f"{'ms':>9}{pad(tr('x bare'), 8, '>')}   {tr('95% interval')}"]
        for one in self.results:
            title = targets.TARGETS[one.target].title
            speed = "" if one.ratio is None else f"{one.latency_ms:>9.2f}{one.ratio[0]:>8.3f}   " + tr(
                "{low:.3f} to {high:.3f}", low=one.ratio[1], high=one.ratio[2])
            numbers = "" if one.error != one.error else f"{one.error:>9.1e}{one.host_error:>9.1e}"
            lines.append(f"{pad(title, 14)}{pad(_status(one.status), 13)}{numbers}{speed}".rstrip())
        lines.append("")
        for one in self.results:
            title = targets.TARGETS[one.target].title
            if one.reason:
                lines += wrap(f"{title}: {one.reason}")
                lines += [f"  {line}" for block in self._blocks() if one.status == "fails"
                          and (line := suggestion(block, one.target))]
            if one.added:
                listed = ", ".join(f"{count} {key}" for key, count in one.added.items() if key in one.new)
                lines += wrap(tr("{title}: operators that the host does not have: {listed}",
                                 title=title, listed=listed or tr("none")) + (
                    tr("; {count} with five or more dimensions", count=one.deep) if one.deep > 0 else ""))
        if self.half:
            largest = max((peak for peak in self.half if peak.block), key=lambda peak: peak.magnitude, default=self.half[0])
            over = [peak for peak in self.half if peak.overflows]
            lines.append("")
            if over:
                lines += wrap(tr("float16: {part} gives values up to {magnitude} (in {operator}), and float16 ends at "
                                 "65504. Export without half=True, and train with amp=False.", part=over[0].part,
                                 magnitude=f"{over[0].magnitude:.3g}", operator=over[0].operator))
            else:
                lines += wrap(tr("float16: no overflow. The largest value in a block is {magnitude} ({part}, in "
                                 "{operator}), of at most 65504.", magnitude=f"{largest.magnitude:.3g}", part=largest.part,
                                 operator=largest.operator))
        if self.int8 is not None:
            lines += ["", str(self.int8)]
        lines += ["", *wrap(tr("{model} with {graft}: exported at {first} and {second} pixels, and with dynamic=True where "
                               "the format has it. The error is the largest, relative to the largest box or score. The "
                               "graft moves the outputs by {effect}. {threads} CPU threads.", model=self.model,
                               graft=self.graft, first=self.sizes[0], second=self.sizes[1],
                               effect=f"{self.effect:.1e}", threads=self.threads))]
        if self.prepared:
            lines += wrap(tr("New blocks return their input. For this check their parameters were changed at random."))
        return "\n".join(lines)

    def _blocks(self) -> list[str]:
        return list(dict.fromkeys(part.block for part in Graft.parse(self.graft).parts))


def _status(status: str) -> str:
    return {"passes": tr("passes"), "fails": tr("fails"), "not checked": tr("not checked")}[status]


def suggestion(block: str, target: str) -> str:
    """Return a sentence with the nearest block that passes on a target, from the published matrix; empty if none does."""
    nearest = nearest_passing(block, target)
    return tr("The nearest block to {block} that passes there: {nearest}.", block=block, nearest=nearest) if nearest else ""


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
