"""Several data sets in one study: the key `data` of a plan, its checks, and the combined reading.

The reading is a partial conjunction (Benjamini and Heller 2008): an arm helps on at least r of k data sets. Here r is the
number of data sets on which it has the word "helps". The arms on all data sets share one error rate (see
`verdict.judge_sets`), so with a probability of 95% all these words are right, and r is a lower bound for all arms at once.
With Holm's procedure in the place of the max-T test, this is Benjamini and Heller's own bound by Bonferroni's method. A
hierarchical test (first all data sets together, then each) was not chosen: its first step says that an arm helps "on
average", which is a statement about data sets that somebody selected, and no population.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from yolograft.errors import SpecError
from yolograft.language import tr

if TYPE_CHECKING:
    from yolograft.study.arms import Arm
    from yolograft.study.plan import Plan
    from yolograft.study.study import Study

__all__ = ["Combined", "check_data", "check_sets", "combine", "join", "labels", "part_of", "read_data"]


def read_data(value: Any, *, recorded: bool = False) -> Any:
    """Return the value of `data`: one name, or a list of several.

    Raises:
        SpecError: a name is empty or given twice.
    """
    names = value
    if isinstance(value, str) and "," in value and not recorded and not Path(value).exists():
        names = [name.strip() for name in value.split(",")]
    if not isinstance(names, (list, tuple)):
        return value
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise SpecError(tr("data={data} must name each data set once, as in data=a.yaml,b.yaml", data=value))
    return list(names) if len(names) > 1 else names[0]


def check_sets(data: Any, *, race: bool, splits: bool) -> None:
    """Raise `SpecError` if several data sets are combined with something that has no valid test."""
    if not isinstance(data, (list, tuple)):
        return
    if race:
        raise SpecError(tr("race=True cannot be combined with several data sets: it stops an arm by its runs on one. Leave "
                           "out race, or start one study for each data set."))
    if splits:
        raise SpecError(tr("splits= cannot be combined with several data sets: the corrected t-test is one of a single data "
                           "set. Leave out splits, or start one study for each data set."))


def check_data(plan: Plan, arms: Sequence[Arm]) -> None:
    """Raise `SpecError` if an arm has data of its own in a study with splits or with several data sets."""
    if plan.splits is None and len(plan.datasets) < 2:
        return
    for arm in arms:
        own = [key for key in ("data", "fraction") if key in arm.settings]
        if own and (own[0] == "data" or plan.splits is not None):
            raise SpecError(tr("The arm '{arm}' has its own {key}, but in a study with splits or with several data sets all "
                               "arms train on the same images.", arm=arm.name, key=own[0]))


def labels(datasets: Sequence[str]) -> list[str]:
    """Return a short name of each data set: its file's name, with as many of its folders as it takes to differ."""
    paths = [PurePath(name.replace("\\", "/")) for name in datasets]
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        found = ["/".join((*path.parts[-depth:-1], path.stem)) for path in paths]
        if len(set(found)) == len(found):
            return found
    return list(datasets)


def join(found: Sequence[tuple[str, Mapping[str, str]]]) -> dict[str, str]:
    """Return the fingerprints of an arm on several data sets as one mapping, with the key `data NAME` for each data set."""
    joined: dict[str, str] = {}
    for name, prints in found:
        joined |= {f"data {name}" if key == "data" else key: text for key, text in prints.items()}
    return joined


def part_of(joined: Mapping[str, str], name: str) -> dict[str, str]:
    """Return the fingerprints of an arm on one data set, as a study on it alone has them."""
    return {"data" if key == f"data {name}" else key: text for key, text in joined.items()
            if not key.startswith("data ") or key == f"data {name}"}


@dataclass(frozen=True, kw_only=True)
class Combined:
    """The verdicts of one arm on all data sets: word -> the data sets on which it has this word."""

    arm: str
    sets: int
    by_word: Mapping[str, tuple[str, ...]]

    def sentence(self) -> str:
        """Return the combined reading in one sentence."""
        from yolograft.study.verdict import Word, spoken

        told = [tr("{word} on at least {count} of {sets} data sets ({names})", word=spoken(word), count=len(names),
                   sets=self.sets, names=", ".join(names))
                for word in (Word.HELPS, Word.HURTS, Word.DIFFERS) if (names := self.by_word.get(str(word)))]
        if same := self.by_word.get(str(Word.EQUIVALENT)):
            told.append(tr("no difference larger than the margin on at least {count} of {sets} data sets ({names})",
                           count=len(same), sets=self.sets, names=", ".join(same)))
        return f"{self.arm}: " + ("; ".join(told) or tr("no word on any of the {sets} data sets", sets=self.sets))


def combine(study: Study) -> list[Combined]:
    """Return the combined reading of each arm; empty for a study on one data set."""
    whole = study.whole or study
    if len(whole.parts) < 2:
        return []
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for part in whole.parts:
        for verdict in part.verdicts():
            by_word = found.setdefault(verdict.arm, {})
            by_word[str(verdict.word)] = (*by_word.get(str(verdict.word), ()), part.plan.dataset)
    return [Combined(arm=arm, sets=len(whole.parts), by_word=by_word) for arm, by_word in found.items()]
