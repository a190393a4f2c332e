"""A study: its plan, the results of its trials so far, and the verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import TypeVar

from yolograft import yaml_text
from yolograft.language import tr
from yolograft.study import race, statistics
from yolograft.study.plan import Plan, read_words, restorable
from yolograft.study.plan_record import check_fixed
from yolograft.study.sequential import Look
from yolograft.study.storage import Row, Storage
from yolograft.study.trial import Result, Trial
from yolograft.study.verdict import Verdict, Word, completed, judge_sets

__all__ = ["Study", "named_trials", "read_recorded"]

_K = TypeVar("_K", str, tuple[str, int])
_V = TypeVar("_V")


def _named(key: _K, dataset: str) -> _K:
    """Return an arm, or an arm and a seed, with the data set in the arm's name."""
    if isinstance(key, str):
        return f"{key} [{dataset}]"
    return f"{key[0]} [{dataset}]", key[1]


def named_trials(plan: Plan) -> dict[tuple[str, int], Trial]:
    """Return (arm, seed) -> trial; with several data sets, the name of the arm has its data set."""
    if len(plan.parts) < 2:
        return {(trial.arm, trial.seed): trial for trial in plan.trials()}
    return {_named((trial.arm, trial.seed), part.dataset): trial for part in plan.parts for trial in part.trials()}


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
    with restorable(file):
        words = read_words(file)
        if text is None:
            return Plan.recorded(words)
        stored = yaml_text.parse(text, file)
        check_fixed(words, stored, file)
        Plan.recorded(words)  # an edit that cannot be used is said, and not ignored
        return Plan.recorded(stored)  # with the arms and seeds that the file may have lost


@dataclass(frozen=True)
class Study:
    """A plan, and a snapshot of its trials' attempts and results.

    >>> Study.load("runs/study").verdicts()  # doctest: +SKIP
    [Verdict(arm='se@8', word=<Word.UNDECIDED: 'no evidence either way'>, ...)]
    """

    folder: Path
    plan: Plan
    rows: tuple[Row, ...]
    whole: Study | None = field(default=None, repr=False, compare=False)  # of one data set: the study on all of them

    @cached_property
    def parts(self) -> tuple[Study, ...]:
        """The study on each of its data sets, with the verdicts that all of them share; the study itself if it has one.

        The study on all data sets names an arm with its data set, as in `se@8 [NEU-DET]`.
        """
        if len(self.plan.datasets) < 2:
            return (self,)
        return tuple(replace(self, plan=part, whole=self) for part in self.plan.parts)

    @property
    def planned(self) -> int:
        """Number of trials, without those that an early look has made needless."""
        return self.needed * len(self.plan.arms) * len(self.parts)

    def _flat(self, found: Callable[[Study], Mapping[_K, _V]]) -> dict[_K, _V]:
        """Join what each part has, with the data set in the names of the arms."""
        return {_named(key, part.plan.dataset): value for part in self.parts for key, value in found(part).items()}

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
        if len(self.parts) > 1:
            return self._flat(lambda part: part.latest)
        by_key: dict[str, Row] = {}
        for row in self.rows:
            if row.key not in by_key or by_key[row.key].state != "complete":
                by_key[row.key] = row
        planned = (trial for trial in self.plan.trials() if trial.key in by_key)
        return {(trial.arm, trial.seed): by_key[trial.key] for trial in planned}

    @cached_property
    def results(self) -> Mapping[str, Mapping[int, Result]]:
        """Arm -> seed -> result of every finished trial; all arms of the plan are keys."""
        if len(self.parts) > 1:
            return self._flat(lambda part: part.results)
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
        if metric in (None, self.plan.metric):
            return self._of_this(self._verdicts)
        reason = tr("{metric} is not the metric of the plan, which was fixed as {planned}.", metric=metric,
                    planned=self.plan.metric)
        return [replace(one, word=Word.NONE, reason=reason) for one in self._of_this(self._judge(metric, margin=None))]

    def _of_this(self, found: Mapping[str, list[Verdict]]) -> list[Verdict]:
        """Return the verdicts of this data set, or of all data sets with their names."""
        if self.whole is not None:
            return list(found[self.plan.dataset])
        if len(self.parts) > 1:
            return [replace(one, arm=_named(one.arm, name)) for name, verdicts in found.items() for one in verdicts]
        return [one for verdicts in found.values() for one in verdicts]

    @cached_property
    def _verdicts(self) -> Mapping[str, list[Verdict]]:
        return self.whole._verdicts if self.whole is not None else self._judge(None, margin=self.plan.margin)

    @cached_property
    def shared_verdicts(self) -> list[Verdict]:
        """The verdicts at the error rate that the earlier studies of the same data and model have left (see `register`)."""
        plan = self.plan
        share = plan.shared_alpha / plan.alpha if plan.alpha else 0.0  # what a look may spend is proportional to the rate
        return self._of_this(self._judge(None, margin=plan.margin, alpha=plan.shared_alpha,
                                         looks=tuple(replace(look, spent=look.spent * share) for look in plan.schedule)))

    def _judge(self, metric: str | None, margin: float | None, alpha: float | None = None,
               looks: tuple[Look, ...] | None = None) -> dict[str, list[Verdict]]:
        """Return the verdicts on all data sets of the study: data set -> verdicts."""
        if self.whole is not None:
            return self.whole._judge(metric, margin, alpha, looks)
        plan = self.plan
        return judge_sets({part.plan.dataset: part.scores(metric) for part in self.parts}, plan.baseline,
                          alpha=plan.alpha if alpha is None else alpha, stopped=self.stopped if plan.race else None,
                          seeds=plan.seeds, looks=plan.schedule if looks is None else looks, margin=margin,
                          failed={part.plan.dataset: part.failures() for part in self.parts}, copies=plan.copies,
                          controls=[arm.name for arm in plan.arms if arm.role], splits=plan.splits)

    @cached_property
    def taken(self) -> tuple[Look, ...]:
        """The looks that are complete, which are those at which verdicts have been given."""
        if self.whole is not None:
            return self.whole.taken
        return self.plan.schedule[:min(part._completed() for part in self.parts)]

    def _completed(self) -> int:
        """Return the number of looks for which this data set has all runs."""
        plan = self.plan
        ended = {which for which, row in self.latest.items()
                 if row.state == "complete" or (row.state == "failed" and row.reason)}
        ended |= {(arm, seed) for arm in self.stopped for seed in plan.seeds}
        bases = [plan.baseline, *(plan.copies if len(plan.copies) > 1 else ())]
        return completed(plan.schedule, ended, bases, plan.seeds)

    @property
    def spent(self) -> float:
        """The part of the error rate that the looks so far have used."""
        return max((one.used for one in self.verdicts()), default=0.0)

    @cached_property
    def needed(self) -> int:
        """Number of seeds after which every arm but the controls has its final word: all, or those of an early look."""
        if self.whole is not None:
            return self.whole.needed
        if self.plan.looks and self.taken:
            arms = {arm.name for arm in self.plan.arms if not arm.role} - {self.plan.baseline}
            decided = [one.decided for part in self.parts for one in part.verdicts() if one.arm in arms]
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
        if len(self.parts) > 1:  # the means of several data sets cannot be ranked together
            return [], [], []
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
