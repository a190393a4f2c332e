"""The study as it stands: its plan, its trials' results, and what may be said of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from yolograft.study.plan import Plan
from yolograft.study.storage import Row, Storage
from yolograft.study.trial import Result
from yolograft.study.verdict import Verdict, judge

__all__ = ["Study"]


@dataclass(frozen=True)
class Study:
    """A plan and a snapshot of what is known of its trials.

    >>> Study.load("runs/study").verdicts()  # doctest: +SKIP
    [Verdict(arm='se@8', word=<Word.UNDECIDED: 'no evidence either way'>, ...)]
    """

    folder: Path
    plan: Plan
    rows: tuple[Row, ...]

    @classmethod
    def load(cls, folder: str | Path, *, storage: str | None = None) -> Study:
        """Read a study from its folder, whether or not it runs; raises `GraftError` if there is none."""
        folder = Path(folder)
        opened = Storage(folder, storage)
        try:
            return cls(folder, Plan.read(folder / "plan.yaml", recorded=True), tuple(opened.rows()))
        finally:
            opened.close()

    @cached_property
    def latest(self) -> Mapping[tuple[str, int], Row]:
        """(arm, seed) -> the attempt that counts: the complete one if there is one, else the newest."""
        by_key: dict[str, Row] = {}
        for row in self.rows:
            if row.key not in by_key or by_key[row.key].state != "complete":
                by_key[row.key] = row
        planned = (trial for trial in self.plan.trials() if trial.key in by_key)
        return {(trial.arm, trial.seed): by_key[trial.key] for trial in planned}

    @cached_property
    def results(self) -> Mapping[str, Mapping[int, Result]]:
        """Arm -> seed -> result, for every arm of the plan and what is finished."""
        found: dict[str, dict[int, Result]] = {arm.name: {} for arm in self.plan.arms}
        for (arm, seed), row in self.latest.items():
            if row.result is not None:
                found[arm][seed] = row.result
        return found

    def scores(self, metric: str | None = None) -> dict[str, dict[int, float]]:
        """Arm -> seed -> a metric, the plan's own unless named."""
        name = metric or self.plan.metric
        return {arm: {seed: one.metrics[name] for seed, one in by_seed.items() if name in one.metrics}
                for arm, by_seed in self.results.items()}

    def verdicts(self, metric: str | None = None) -> list[Verdict]:
        """Return a verdict on each arm but the baseline, by the plan's metric unless another is named."""
        return judge(self.scores(metric), self.plan.baseline)

    def folder_of(self, key: str) -> Path:
        """Return where a trial keeps its files."""
        return self.folder / "trials" / key

    def failures(self) -> dict[tuple[str, int], str]:
        """(arm, seed) -> why that trial failed."""
        failed = ((which, row) for which, row in self.latest.items() if row.state == "failed")
        return {which: row.reason for which, row in failed if row.reason}
