"""The held-out test split: scored once, for the arm that validation chose and the baseline, after everything else.

Validation chooses among many arms, so the chosen one's validation score flatters it; a split that chose nothing does not.
It keeps that virtue only while it is looked at once: the answer is written down, and later arms do not reopen it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import mean

from yolograft.atomic import atomic_write
from yolograft.errors import GraftError
from yolograft.study.local import end, environment, launch
from yolograft.study.study import Study
from yolograft.study.trial import Failure, Result, read_json, write_json
from yolograft.study.verdict import Verdict, judge

__all__ = ["Holdout", "read", "score"]

_FILE = "test.json"


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """What came out on the held-out split.

    Attributes:
        arm: the arm that validation chose.
        among: how many arms it was chosen from.
        metric: the study's metric.
        baseline: what it is compared with.
        scores: arm -> seed -> the metric on the test split, for these two.
    """

    arm: str
    among: int
    metric: str
    baseline: str
    scores: Mapping[str, Mapping[int, float]]

    def verdict(self) -> Verdict:
        """Judge the chosen arm on the test split, where it is the only one."""
        return judge(self.scores, self.baseline)[0]


def read(study: Study) -> Holdout | None:
    """Return what was written when the split was scored, or None if it has not been."""
    file = study.folder / _FILE
    if not file.is_file():
        return None
    raw = json.loads(file.read_text(encoding="utf-8"))
    raw["scores"] = {arm: {int(seed): value for seed, value in by.items()} for arm, by in raw["scores"].items()}
    return Holdout(**raw)


def score(study: Study) -> Holdout:
    """Score the test split, or return what was found when that was done.

    Raises:
        GraftError: the study is not complete, the data set has no test split, or scoring failed.
    """
    found = read(study)
    if found is not None:
        return found
    baseline, metric = study.plan.baseline, study.plan.metric
    scores = {arm: by for arm, by in study.scores().items() if len(by) == len(study.plan.seeds)}
    if len(scores) + len(study.stopped) < len(study.plan.arms) or baseline not in scores or len(study.plan.arms) < 2:
        raise GraftError("The held-out test split is scored once, after everything else: the study must be complete first.")
    arms = [arm for arm in study.plan.arms if arm.name != baseline]
    wanted = [arm.name for arm in arms if not arm.role] or [arm.name for arm in arms]  # nobody would choose a control
    arm = max((one for one in wanted if one in scores), key=lambda one: mean(scores[one].values()), default="")
    if not arm:
        raise GraftError("The held-out test split is scored for the arm that validation chose, and racing stopped them all.")
    table = {one: {seed: _one(study, one, seed, metric) for seed in study.plan.seeds} for one in (baseline, arm)}
    found = Holdout(arm=arm, among=len(wanted), metric=metric, baseline=baseline, scores=table)
    text = json.dumps(asdict(found))
    atomic_write(study.folder / _FILE, lambda part: part.write_text(text, encoding="utf-8"))
    return found


def _one(study: Study, arm: str, seed: int, metric: str) -> float:
    folder = study.folder_of(study.latest[arm, seed].key)
    if not folder.is_dir():
        raise GraftError(f"The held-out test split cannot be scored here: '{arm}' with seed {seed} was trained on another "
                         f"machine, which has its network. Copy its {folder.name} into '{folder.parent}'.")
    trial = next(one for one in study.plan.trials() if (one.arm, one.seed) == (arm, seed))
    write_json(folder / "trial.json", trial)
    process = launch(folder, environment(1), "test")
    try:
        process.wait()
    finally:
        end(process)  # Ctrl-C does not reach it: it is in a session of its own
    result = read_json(Result, folder / _FILE)
    if result is None:
        failure = read_json(Failure, folder / "failure.json")
        why = failure.reason if failure else f"see {folder / 'log.txt'}"
        raise GraftError(f"The held-out test split cannot be scored: {why}")
    return result.metrics[metric]
