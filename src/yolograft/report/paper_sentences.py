"""One sentence on each arm of a study, which may be pasted into a paper: the effect, its interval, the seeds, the verdict.

The numbers and words are those of the study's verdicts, so a sentence never says more than the page.
"""

from __future__ import annotations

import math

from yolograft.report.paper_table import alarms
from yolograft.report.signed import number
from yolograft.report.summary import Summary
from yolograft.report.words import Translator
from yolograft.study.verdict import Verdict, Word

__all__ = ["sentence", "sentences"]

_KEYS = {Word.HELPS: "up", Word.HURTS: "down", Word.DIFFERS: "differing", Word.EQUIVALENT: "equivalent",
         Word.UNDECIDED: "undecided", Word.FEW: "few", Word.NONE: "none"}


def sentences(summary: Summary, say: Translator) -> list[str]:
    """Return the sentences on all arms in the order of the table, and one on the held-out test split if it was scored."""
    comma, alarmed = say.punctuation.items, alarms(summary)
    found = []
    for row in summary.rows:
        if row.verdict is None:
            continue
        if alarmed and row.control != "aa":
            found.append(say("distrusted", arm=row.name, alarms=comma.join(alarmed)))
            continue
        text = sentence(row.verdict, summary, say)
        if row.control:
            text = say("control aa" if row.control == "aa" else "control", sentence=text, what=say(row.control))
        found.append(text)
    if summary.test is not None and not alarmed:
        verdict = summary.test.verdict()
        low, high = (number(end, sign=True) or "?" for end in verdict.interval)
        word = say(str(verdict.word), margin=f"{verdict.margin or 0:g}")
        found.append(say("test_note", arm=summary.test.arm, among=summary.test.among, word=word, low=low, high=high,
                         size=number(verdict.mean, sign=True), p=f"{verdict.p:.3f}"))
    return found or [say("alone")]


def sentence(verdict: Verdict, summary: Summary, say: Translator) -> str:
    """Return the sentence on one arm, with a second one where the first could be misread."""
    plan = summary.study.plan
    base = say("pooled", base=summary.baseline) if len(plan.copies) > 1 else summary.baseline
    seeds = say("seed" if verdict.seeds == 1 else "seeds", n=verdict.seeds)
    interval = verdict.narrow if verdict.word is Word.EQUIVALENT else verdict.interval
    low, high = (number(end, sign=True) or "?" for end in interval)
    margin = f"{verdict.margin or 0:g}"
    key = "stopped" if verdict.stopped is not None else _KEYS[verdict.word]
    texts = [say(key, arm=verdict.arm, metric=summary.metric, base=base, seeds=seeds, low=low, high=high, margin=margin,
                 difference=number(verdict.mean, sign=True), p=f"{verdict.p_adjusted:.3g}",
                 reason=verdict.reason)]
    detectable = number(verdict.detectable)
    if verdict.word in (Word.HELPS, Word.HURTS):
        is_within = verdict.margin is not None and -verdict.margin < verdict.narrow[0] and verdict.narrow[1] < verdict.margin
        if is_within:
            texts.append(say("within", margin=margin))
        if abs(verdict.mean) < verdict.detectable and detectable:
            texts.append(say("overestimated", detectable=detectable, seeds=seeds))
    if verdict.word is Word.UNDECIDED and verdict.stopped is None and math.isfinite(verdict.detectable):
        texts.append(say("missed", detectable=detectable, seeds=seeds))
    if verdict.failed:
        texts.append(say("failed", failed=verdict.failed, pairs=verdict.failed + verdict.seeds))
    shared = {one.arm: one for one in summary.study.shared_verdicts} if plan.registered.get("earlier", 0) else {}
    if verdict.arm in shared and shared[verdict.arm].word is not verdict.word:
        texts.append(say("shared", word=say(str(shared[verdict.arm].word), margin=margin)))
    return say.punctuation.space.join(texts)
