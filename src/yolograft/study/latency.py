"""Latency of a study's networks: measured once, after the trials, with all networks in turns; stored in latency.json.

A trial does not measure its own latency: trials that train beside it make the numbers noise. Arms whose networks are equal,
such as the baseline and its copies `aa`, are one network and have one number. The host measures (`Host.time_networks`); this
module says which networks there are, stores the times with the protocol, and computes intervals from them.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from yolograft.analysis.timing import median_interval
from yolograft.atomic import atomic_write
from yolograft.errors import GraftError
from yolograft.language import tr
from yolograft.study.plan import Plan
from yolograft.study.study import Study
from yolograft.study.trial import Trial, load_host

__all__ = ["BUSY", "FILE", "Latency", "Protocol", "Timed", "equal_networks", "is_due", "measure", "read"]

FILE = "latency.json"
BUSY = 0.1  # share of the CPU time that other programs used, above which the machine counts as busy


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How the latencies of a study were measured.

    Attributes:
        batch: images per batch.
        imgsz: side of the square images in pixels; an arm with its own `imgsz` is measured with that.
        device: `cpu` and its name, or the name of the GPU.
        threads: number of CPU threads of PyTorch.
        precision: data type of the weights and images, such as `float32`.
        fused: whether batch norms were fused into convolutions, as in `predict`.
        nms: whether the time includes NMS.
        warm_up: number of turns that were not counted.
        repeats: number of turns that were counted. In each turn every network runs once, in a random order.
        busy: share of the machine's CPU time that other programs used during the measurement, 0 to 1.
        torch: version of PyTorch.
    """

    batch: int
    imgsz: int
    device: str
    threads: int
    precision: str
    fused: bool
    nms: bool
    warm_up: int
    repeats: int
    busy: float
    torch: str

    @property
    def is_busy(self) -> bool:
        """Whether other programs disturbed the measurement."""
        return self.busy > BUSY


@dataclass(frozen=True, kw_only=True)
class Timed:
    """The latency of one network.

    Attributes:
        arms: the arms with this network.
        ms: milliseconds of a batch in each turn.
    """

    arms: tuple[str, ...]
    ms: tuple[float, ...]

    @cached_property
    def median(self) -> float:
        """Median latency of a batch in milliseconds."""
        return statistics.median(self.ms)

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95% bootstrap interval of `median` over the turns."""
        return median_interval(self.ms)


@dataclass(frozen=True, kw_only=True)
class Latency:
    """The latencies of a study's networks, and how they were measured."""

    protocol: Protocol
    networks: tuple[Timed, ...]

    def of(self, arm: str) -> Timed | None:
        """Return the latency of an arm's network; None if it was not measured."""
        return next((one for one in self.networks if arm in one.arms), None)

    def fps(self, arm: str) -> float | None:
        """Return the images per second of an arm's network; None if it was not measured."""
        one = self.of(arm)
        return None if one is None else 1000 * self.protocol.batch / one.median

    def ratio(self, arm: str, baseline: str) -> tuple[float, float, float] | None:
        """Return an arm's latency relative to the baseline's, the median over turns, with its 95% interval.

        None if one of them was not measured, or if both have the same network.
        """
        one, base = self.of(arm), self.of(baseline)
        if one is None or base is None or one is base:
            return None
        ratios = [own / other for own, other in zip(one.ms, base.ms, strict=True)]
        return statistics.median(ratios), *median_interval(ratios)

    def covers(self, plan: Plan) -> bool:
        """Whether these are all networks of a plan, with the arms that have them, in any order."""
        return {frozenset(one.arms) for one in self.networks} == {frozenset(names) for names in equal_networks(plan)}


def equal_networks(plan: Plan) -> list[tuple[str, ...]]:
    """Return the arms of a plan in groups with equal networks, in the order of the plan.

    Two networks are equal if model, rows, blocks with all settings, swapped modules and image size are equal. The weights do
    not matter, so copies of the baseline (`aa`) equal it, and `gate1` equals the arm with its block.
    """
    groups: dict[str, list[str]] = {}
    for arm in plan.arms:
        settings = {**plan.settings, **arm.settings}
        rows = plan.yamls[arm.yaml].text if arm.yaml else ""
        what = [rows, plan.spelled.get(arm.name, arm.graft), "params" if arm.control == "params" else "",
                *(str(settings.get(key) or "") for key in ("model", "swap", "modules", "blocks", "imgsz"))]
        groups.setdefault(json.dumps(what), []).append(arm.name)
    return [tuple(names) for names in groups.values()]


def is_due(study: Study) -> bool:
    """Whether all trials of a study have ended, its host can measure, and the measurement lacks some of its arms."""
    if not hasattr(load_host(study.plan.host), "time_networks"):
        return False
    ended = sum(len(by_seed) for by_seed in study.results.values()) + len(study.failures())
    stopped = sum(len(study.plan.seeds) - len(study.results[arm]) for arm in study.stopped)  # no race has several data sets
    known = read(study.folder)
    return ended + stopped >= study.planned and (known is None or not known.covers(study.plan))


def measure(study: Study) -> Latency:
    """Measure the latency of a study's networks on this machine, and store it. No trial should run meanwhile.

    With several data sets, the networks are those of the first one: they differ only in the number of classes.

    Raises:
        GraftError: the host cannot measure, or a network cannot be built on this machine, for example without the data.
    """
    plan = study.plan.parts[0]
    host: Any = load_host(plan.host)
    if not hasattr(host, "time_networks"):
        raise GraftError(tr("The host {host} does not measure latency.", host=plan.host))
    groups, by_name = equal_networks(plan), {arm.name: arm for arm in plan.arms}
    trials: list[Trial] = [plan.parts[0].trial(by_name[names[0]], plan.seeds[0]) for names in groups]
    turns, facts = host.time_networks(trials)
    found = Latency(protocol=Protocol(**facts), networks=tuple(
        Timed(arms=names, ms=tuple(round(1000 * turn[place], 4) for turn in turns)) for place, names in enumerate(groups)))
    text = json.dumps(asdict(found))
    atomic_write(study.folder / FILE, lambda part: part.write_text(text + "\n", encoding="utf-8"))
    return found


def read(folder: Path) -> Latency | None:
    """Return the latencies that are stored in a study's folder; None if they were not measured.

    Raises:
        GraftError: the file is damaged.
    """
    file = folder / FILE
    try:
        raw: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        known = {item.name for item in fields(Protocol)}
        protocol = Protocol(**{key: value for key, value in raw["protocol"].items() if key in known})
        networks = tuple(Timed(arms=tuple(map(str, one["arms"])), ms=tuple(map(float, one["ms"])))
                         for one in raw["networks"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GraftError(tr("'{file}' cannot be read ({error}). Delete it, and measure again with: yolograft study {plan}",
                            file=file, error=error, plan=folder / "plan.yaml")) from error
    return Latency(protocol=protocol, networks=networks)
