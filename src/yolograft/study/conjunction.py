"""The combined reading of a study on several data sets: on how many of them does an arm help?

The reading is a partial conjunction (Benjamini and Heller 2008): an arm helps on at least r of k data sets. Here r is the
number of data sets on which it has the word "helps". The arms on all data sets share one error rate (see
`verdict.judge_sets`), so with a probability of 95% all these words are right, and r is a lower bound for all arms at once.
With Holm's procedure in the place of the max-T test, this is Benjamini and Heller's own bound by Bonferroni's method. A
hierarchical test (first all data sets together, then each) was not chosen: its first step says that an arm helps "on
average", which is a statement about data sets that somebody selected, and no population.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from yolograft.language import PUNCTUATION, requested, tr
from yolograft.study.study import Study
from yolograft.study.verdict import Word, spoken

__all__ = ["Combined", "combine"]


@dataclass(frozen=True, kw_only=True)
class Combined:
    """The verdicts of one arm on all data sets: word -> the data sets on which it has this word."""

    arm: str
    sets: int
    by_word: Mapping[str, tuple[str, ...]]

    def sentence(self) -> str:
        """Return the arm and its combined reading."""
        return f"{self.arm}{PUNCTUATION[requested()].colon}{self.reading()}"

    def reading(self) -> str:
        """Return the combined reading in words."""
        marks = PUNCTUATION[requested()]
        told = [tr("{word} on at least {count} of {sets} data sets ({names})", word=spoken(word), count=len(names),
                   sets=self.sets, names=marks.items.join(names))
                for word in (Word.HELPS, Word.HURTS, Word.DIFFERS) if (names := self.by_word.get(str(word)))]
        if same := self.by_word.get(str(Word.EQUIVALENT)):
            told.append(tr("no difference larger than the margin on at least {count} of {sets} data sets ({names})",
                           count=len(same), sets=self.sets, names=marks.items.join(same)))
        return marks.semicolon.join(told) or tr("no evidence of a change on any of the {sets} data sets", sets=self.sets)


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
