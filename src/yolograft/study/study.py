"""A study: its plan, the results of its trials so far, and the verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import mean

from yolograft import yaml_text
from yolograft.language import tr
from yolograft.study import race, statistics
from yolograft.study.plan import Plan, read_words
from yolograft.study.plan_record import check_fixed
from yolograft.study.sequential import Look
from yolograft.study.storage import Row, Storage
from yolograft.study.trial import Result
from yolograft.study.verdict import Verdict, Word, completed, judge

__all__ = ["Study", "read_recorded"]


def read_recorded(file: Path, storage: Storage) -> Plan:
    """Return the recorded plan of a study.

    On a server, the record includes what other machines have added. In a folder, it is the file, which a person can edit:
    what was fixed at the start must be as the data base has it. Studies of version 0.1.0 have no plan there.

    Raises:
        GraftError: there is no plan, or a value of it was changed or cannot be used.
    """
    text = storage.plan()
    if text is not None and storage.shared:
        return Plan.recorded(yaml_text.parse(text, file))
    words = read_words(file)
    if text is not None:
        check_fixed(words, yaml_text.parse(text, file), file)
    return Plan.recorded(words)


@dataclass(frozen=True)
class Study:
    """A plan, and a snapshot of its trials' attempts and results.

    >>> Study.load("runs/study").verdicts()  # doctest: +SKIP
    [Verdict(arm='se@8', word=<Word.UNDECIDED: 'no evidence either way'>, ...)]
    """

    folder: Path
    plan: Plan
    rows: tuple[Row, ...]

    @classmethod
    def load(cls, folder: str | Path, *, storage: str | None = None) -> Study:
        """Read a study from its folder, also while it runs; raises `GraftError` if the folder holds no study."""
        folder = Path(folder)
        opened = Storage(folder, storage)
        try:
            return cls(folder, read_recorded(folder / "plan.yaml", opened), tuple(opened.rows()))
        finally:
            opened.close()

    @cached_property
    def latest(self) -> Mapping[tuple[str, int], Row]:
        """(arm, seed) -> the complete attempt at that trial, or the newest attempt if none is complete."""
        by_key: dict[str, Row] = {}
        for row in self.rows:
            if row.key not in by_key or by_key[row.key].state != "complete":
                by_key[row.key] = row
        planned = (trial for trial in self.plan.trials() if trial.key in by_key)
        return {(trial.arm, trial.seed): by_key[trial.key] for trial in planned}

    @cached_property
    def results(self) -> Mapping[str, Mapping[int, Result]]:
        """Arm -> seed -> result of every finished trial; all arms of the plan are keys."""
        by_arm: dict[str, dict[int, Result]] = {arm.name: {} for arm in self.plan.arms}
        for (arm, seed), row in self.latest.items():
            if row.result is not None:
                by_arm[arm][seed] = row.result
        return by_arm

    def scores(self, metric: str | None = None) -> dict[str, dict[int, float]]:
        """Return arm -> seed -> a metric, by default the metric of the plan."""
        name = metric or self.plan.metric
        return {arm: {seed: one.metrics[name] for seed, one in by_seed.items() if name in one.metrics}
                for arm, by_seed in self.results.items()}

    def verdicts(self, metric: str | None = None) -> list[Verdict]:
        """Return a verdict on each arm except the baseline.

        Only the metric of the plan gets words, since choosing the metric afterwards is a further selection. For another
        `metric` the words are "no verdict" and the numbers are for exploration.
        """
        found = self._verdicts if metric in (None, self.plan.metric) else self._judge(self.scores(metric), margin=None)
        if metric in (None, self.plan.metric):
            return list(found)
        reason = tr("{metric} is not the metric of the plan, which was fixed as {planned}.", metric=metric,
                    planned=self.plan.metric)
        return [replace(one, word=Word.NONE, reason=reason) for one in found]

    @cached_property
    def _verdicts(self) -> list[Verdict]:
        return self._judge(self.scores(), margin=self.plan.margin)

    @cached_property
    def shared_verdicts(self) -> list[Verdict]:
        """The verdicts at the error rate that the earlier studies of the same data and model have left (see `register`)."""
        plan = self.plan
        share = plan.shared_alpha / plan.alpha  # what a look may spend is proportional to the error rate
        return self._judge(self.scores(), margin=plan.margin, alpha=plan.shared_alpha,
                           looks=tuple(replace(look, spent=look.spent * share) for look in plan.schedule))

    def _judge(self, scores: Mapping[str, Mapping[int, float]], margin: float | None, alpha: float | None = None,
               looks: tuple[Look, ...] | None = None) -> list[Verdict]:
        plan = self.plan
        return judge(scores, plan.baseline, alpha=plan.alpha if alpha is None else alpha,
                     stopped=self.stopped if plan.race else None, seeds=plan.seeds,
                     looks=plan.schedule if looks is None else looks, failed=self.failures(), margin=margin,
                     copies=plan.copies, controls=[arm.name for arm in plan.arms if arm.role])

    @cached_property
    def taken(self) -> tuple[Look, ...]:
        """The looks that are complete, which are those at which verdicts have been given."""
        plan = self.plan
        ended = {which for which, row in self.latest.items()
                 if row.state == "complete" or (row.state == "failed" and row.reason)}
        ended |= {(arm, seed) for arm in self.stopped for seed in plan.seeds}
        bases = [plan.baseline, *(plan.copies if len(plan.copies) > 1 else ())]
        return plan.schedule[:completed(plan.schedule, ended, bases, plan.seeds)]

    @property
    def spent(self) -> float:
        """The part of the error rate that the looks so far have used."""
        return max((one.used for one in self.verdicts()), default=0.0)

    @cached_property
    def needed(self) -> int:
        """Number of seeds after which every arm but the controls has its final word: all, or those of an early look."""
        if self.plan.looks and self.taken:
            arms = {arm.name for arm in self.plan.arms if not arm.role} - {self.plan.baseline}
            decided = [one.decided for one in self.verdicts() if one.arm in arms]
            if decided and all(decided):
                return self.taken[-1].seeds
        return len(self.plan.seeds)

    @cached_property
    def stopped(self) -> Mapping[str, int]:
        """Arm -> number of pairs after which the race stopped it; without arms whose runs were completed later."""
        if not self.plan.race:
            return {}
        out = race.stopped(self.scores(), self.plan.baseline, self.plan.seeds)
        return {arm: pairs for arm, pairs in out.items() if len(self.results[arm]) < len(self.plan.seeds)}

    @cached_property
    def curves(self) -> Mapping[tuple[str, int], Mapping[int, float]]:
        """(arm, seed) -> epoch -> the plan's metric, of complete trials."""
        return {which: row.by_epoch(self.plan.metric) for which, row in self.latest.items() if row.state == "complete"}

    def fidelity(self) -> list[tuple[int, float, float]]:
        """Return (epoch, tau, share of the epochs) for each recorded epoch: whether fewer epochs rank the arms equally.

        tau is Kendall's tau-b (1945) between the arms' means after that epoch and their final means, over the seeds that all
        arms with a result have. Empty while fewer than three arms have seeds in common.
        """
        return self._fidelity(self._shared[2])

    def milestones(self) -> list[tuple[int, float, float]]:
        """Return `fidelity` after about a tenth, a quarter, a half and three quarters of the epochs."""
        early, last = self._shared[2][:-1], self._shared[2][-1:]
        marks = [min((abs(epoch / last[0] - part), epoch) for epoch in early)[1] for part in (0.1, 0.25, 0.5, 0.75) if early]
        return self._fidelity(list(dict.fromkeys(marks)))

    @cached_property
    def _shared(self) -> tuple[list[str], list[int], list[int]]:
        """The arms with a result, the seeds common to all of them, and the epochs common to all these runs.

        All three are empty with fewer than three arms.
        """
        arms = [arm.name for arm in self.plan.arms if self.results[arm.name]]  # without arms whose trials all failed
        seeds = [seed for seed in self.plan.seeds if all(self.curves.get((arm, seed)) for arm in arms)]
        if len(arms) < 3 or not seeds:
            return [], [], []
        runs = [self.curves[arm, seed] for arm in arms for seed in seeds]
        return arms, seeds, sorted(set(runs[0]).intersection(*runs))

    def _fidelity(self, epochs: list[int]) -> list[tuple[int, float, float]]:
        arms, seeds, known = self._shared
        scores = self.scores()
        final = [sum(scores[arm][seed] for seed in seeds) for arm in arms]
        early = ((epoch, [sum(self.curves[arm, seed][epoch] for seed in seeds) for arm in arms]) for epoch in epochs)
        return [(epoch, statistics.rank_correlation(sums, final), epoch / known[-1]) for epoch, sums in early]

    def agreement(self, other: Study) -> float:
        """Return Kendall's tau-b between the arms' means of two studies: whether a cheaper study ranks them equally.

        >>> Study.load("runs/study/at-224").agreement(Study.load("runs/study/at-640"))  # doctest: +SKIP
        0.67

        Arms are matched by name, each with all its seeds; NaN with fewer than three common arms.
        """
        ours, theirs = self.scores(), other.scores(self.plan.metric)
        arms = [arm for arm, by in ours.items() if by and theirs.get(arm)]
        if len(arms) < 3:
            return float("nan")
        return statistics.rank_correlation([mean(ours[arm].values()) for arm in arms],
                                           [mean(theirs[arm].values()) for arm in arms])

    def folder_of(self, key: str) -> Path:
        """Return the folder of a trial's files."""
        return self.folder / "trials" / key

    def failures(self) -> dict[tuple[str, int], str]:
        """Return (arm, seed) -> the reason why that trial failed."""
        failed = ((which, row) for which, row in self.latest.items() if row.state == "failed")
        return {which: row.reason for which, row in failed if row.reason}
