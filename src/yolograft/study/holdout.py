"""Evaluation on the held-out test split: once, after the study is complete, for the baseline and the best arm.

The arm with the best validation score is selected among many, so its validation score is biased upwards. Its score on a
test split that played no part in the selection is unbiased, but only if the split is used once. The result is therefore
stored, and arms that are added later do not change it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import mean

from yolograft.atomic import atomic_write
from yolograft.errors import DataError, GraftError
from yolograft.language import tr
from yolograft.study.local import end, environment, launch
from yolograft.study.plan import Plan
from yolograft.study.study import Study
from yolograft.study.trial import Failure, Result, read_json, write_json
from yolograft.study.verdict import Verdict, judge

__all__ = ["SCORES", "Holdout", "check", "read", "score"]

SCORES = "test.json"


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """Scores on the held-out test split.

    Attributes:
        arm: the arm with the best mean validation score.
        among: number of arms from which it was selected.
        metric: the study's metric.
        baseline: the arm that it is compared with.
        scores: arm -> seed -> the metric on the test split, for the best arm and the baseline.
    """

    arm: str
    among: int
    metric: str
    baseline: str
    scores: Mapping[str, Mapping[int, float]]

    def verdict(self) -> Verdict:
        """Return the verdict on the selected arm; no correction is needed, since it is the only one on this split."""
        return judge(self.scores, self.baseline)[0]


def read(study: Study) -> Holdout | None:
    """Return the stored scores, or None if the test split has not been scored."""
    file = study.folder / SCORES
    if not file.is_file():
        return None
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        raw["scores"] = {arm: {int(seed): float(value) for seed, value in by.items()} for arm, by in raw["scores"].items()}
        return Holdout(**raw)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise DataError(tr("'{file}' is damaged: {error}. It holds the scores on the test split. Move it to another folder; "
                           "test=True then scores the same networks again.", file=file, error=error)) from error


def check(plan: Plan) -> None:
    """Raise `GraftError` if a study of this plan cannot score the test split."""
    if plan.splits is not None:
        raise GraftError(tr("test=True cannot be combined with splits={splits}: the networks of a study with splits were "
                            "trained on different images, for which there is no single best arm to test. Its test split "
                            "stays untouched.", splits=plan.splits.count))
    if len(plan.datasets) > 1:
        raise GraftError(tr("test=True cannot be combined with several data sets: the best arm on one can be another one on "
                            "the next. Start one study for each data set."))


def score(study: Study) -> Holdout:
    """Score the test split, or return the stored scores if it was scored before.

    Raises:
        GraftError: the study is not complete, the data set has no test split, or scoring failed.
    """
    check(study.plan)
    holdout = read(study)
    if holdout is not None:
        return holdout
    baseline, metric = study.plan.baseline, study.plan.metric
    scores = {arm: by for arm, by in study.scores().items() if len(by) >= study.needed}
    if len(scores) + len(study.stopped) < len(study.plan.arms) or baseline not in scores or len(study.plan.arms) < 2:
        raise GraftError(tr("The held-out test split is scored once, at the end: the study must be complete first."))
    arms = [arm for arm in study.plan.arms if arm.name != baseline]
    candidates = [arm.name for arm in arms if not arm.role] or [arm.name for arm in arms]  # a control is not a candidate
    arm = max((one for one in candidates if one in scores), key=lambda one: mean(scores[one].values()), default="")
    if not arm:
        raise GraftError(tr("The held-out test split is scored for the best arm, but the race stopped all arms."))
    test_scores = {name: {seed: _score_trial(study, name, seed, metric) for seed in study.plan.seeds[:study.needed]}
                   for name in (baseline, arm)}
    holdout = Holdout(arm=arm, among=len(candidates), metric=metric, baseline=baseline, scores=test_scores)
    text = json.dumps(asdict(holdout))
    atomic_write(study.folder / SCORES, lambda part: part.write_text(text, encoding="utf-8"))
    return holdout


def _score_trial(study: Study, arm: str, seed: int, metric: str) -> float:
    folder = study.folder_of(study.latest[arm, seed].key)
    if not folder.is_dir():
        raise GraftError(tr("The held-out test split cannot be scored here: '{arm}' with seed {seed} was trained on "
                            "another machine. Copy the folder {name} from there into '{parent}'.", arm=arm, seed=seed,
                            name=folder.name, parent=folder.parent))
    trial = next(one for one in study.plan.trials() if (one.arm, one.seed) == (arm, seed))
    write_json(folder / "trial.json", trial)
    process = launch(folder, environment(1), "test")
    try:
        process.wait()
    finally:
        end(process)  # the process has its own session, so Ctrl-C does not reach it
    result = read_json(Result, folder / SCORES)
    if result is None:
        failure = read_json(Failure, folder / "failure.json")
        why = failure.reason if failure else f"see {folder / 'log.txt'}"
        raise GraftError(tr("The held-out test split cannot be scored: {why}", why=why))
    return result.metrics[metric]
