"""The ablation table of a study for a paper: the cells, which of them are bold, and the footnote. No file format here.

The bold numbers claim no more than the study shows. Only the metric of the test has any. Bold are the arms that help; an arm
is left out if its interval lies wholly below that of another one. The intervals are simultaneous, so this comparison
spends none of the error rate. The baseline is bold only if every other arm hurts. Controls are never bold.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yolograft.language import PUNCTUATION
from yolograft.report.summary import ArmRow, Summary
from yolograft.report.words import Translator
from yolograft.study.verdict import Word

__all__ = ["MARKS", "Cell", "PaperTable", "Row", "alarms", "best", "paper_table"]

MARKS = {Word.HELPS: "↑", Word.HURTS: "↓", Word.DIFFERS: "◇", Word.EQUIVALENT: "=", Word.UNDECIDED: "•", Word.FEW: "○",
         Word.NONE: "○"}
_METRICS = ("precision", "recall", "mAP50", "mAP50-95", "accuracy")
_SETTINGS = ("epochs", "imgsz", "batch")
_VERSIONS = ("yolograft", "ultralytics", "torch", "dummy")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A number of the table: its text, the text of its standard deviation ("" without one), and whether it is bold."""

    text: str
    spread: str = ""
    bold: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """An arm of the table: its name, the mark and the word of its verdict ("" for the baseline), and its numbers."""

    arm: str
    mark: str
    word: str
    cells: tuple[Cell, ...]
    control: bool = False


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """The ablation table.

    Attributes:
        head: the texts of the columns after the arm's.
        rows: the baseline first, the controls last.
        caption: one sentence.
        footnote: sentences below the table.
        language: `en` or `zh`.
        arm, verdict, spread: the headings of these columns; `spread` has the placeholder `{metric}`.
    """

    head: tuple[str, ...]
    rows: tuple[Row, ...]
    caption: str
    footnote: tuple[str, ...]
    language: str
    arm: str
    verdict: str
    spread: str

    @property
    def note(self) -> str:
        """The footnote as one text."""
        return PUNCTUATION[self.language].space.join(self.footnote)


def paper_table(summary: Summary, say: Translator) -> PaperTable:
    """Return the ablation table of a study, with its texts in one language."""
    plan = summary.study.plan
    metrics = [name for name in _METRICS if name in summary.metrics]
    metrics += [summary.metric] if summary.metric not in metrics else []
    costs = _costs(summary)
    bold, head = best(summary), [*map(say, metrics), *(say(name) for name, _ in costs)]
    columns = [summary.study.scores(name) for name in metrics]
    rows = []
    for row in summary.rows:
        cells = [_cell(list(scores[row.name].values()), row.name in bold and name == summary.metric)
                 for name, scores in zip(metrics, columns, strict=True)]
        cells += [Cell(text=texts.get(row.name, "–")) for _, texts in costs]
        verdict = row.verdict
        rows.append(Row(arm=row.name, cells=tuple(cells), control=bool(row.control),
                        mark="" if verdict is None else MARKS[verdict.word],
                        word=say("baseline") if verdict is None else say(str(verdict.word),
                                                                         margin=f"{verdict.margin or 0:g}")))
    most = max((row.metrics[summary.metric].runs for row in summary.rows), default=0)
    caption = say("caption one" if most < 2 else "caption", data=_stem(plan.settings["data"]),
                  model=_stem(plan.settings["model"]), seeds=most)
    return PaperTable(head=tuple(head), rows=tuple(rows), caption=caption, language=say.language, arm=say("arm"),
                      footnote=tuple(_footnote(summary, say, bold, most)), verdict=say("verdict"),
                      spread=say("SD", metric="{metric}"))


def alarms(summary: Summary) -> list[str]:
    """Return the A/A controls that differ from the baseline. Then the study's verdicts are not to be trusted."""
    return [row.name for row in summary.rows if row.control == "aa" and row.verdict is not None
            and row.verdict.word is Word.DIFFERS]


def best(summary: Summary) -> set[str]:
    """Return the arms whose number is bold in the column of the metric of the test."""
    tested = [row.verdict for row in summary.rows if row.verdict is not None and not row.control]
    if alarms(summary) or not tested:
        return set()
    helpful = [one for one in tested if one.word is Word.HELPS]
    if not helpful:
        return {summary.baseline} if all(one.word is Word.HURTS for one in tested) else set()
    floor = max(one.interval[0] for one in helpful)
    return {one.arm for one in helpful if one.interval[1] >= floor}


def _cell(values: Sequence[float], bold: bool) -> Cell:
    if not values:
        return Cell(text="–")
    return Cell(text=f"{statistics.fmean(values):.3f}", bold=bold,
                spread=f"{statistics.stdev(values):.3f}" if len(values) > 1 else "")


def _costs(summary: Summary) -> list[tuple[str, dict[str, str]]]:
    """Return the columns of costs that were measured: name -> arm -> text."""
    millions = {row.name: row.costs["parameters"] / 1e6 for row in summary.rows if "parameters" in row.costs}
    gflops = {row.name: row.costs["gflops"] for row in summary.rows if "gflops" in row.costs}
    found = [("parameters", millions, 2), ("gflops", gflops, 1), ("fps", _fps(summary), 0)]
    return [(name, _formatted(values, digits)) for name, values, digits in found if values]


def _formatted(values: dict[str, float], digits: int) -> dict[str, str]:
    """Format numbers with as few digits as given, or one more if different ones would look equal."""
    short = {arm: f"{value:.{digits}f}" for arm, value in values.items()}
    is_ambiguous = len(set(short.values())) < len({round(value, 6) for value in values.values()})
    return {arm: f"{value:.{digits + 1}f}" for arm, value in values.items()} if is_ambiguous and digits else short


def _fps(summary: Summary) -> dict[str, float]:
    latency = summary.latency
    found = {row.name: latency.fps(row.name) for row in summary.rows} if latency is not None else {}
    return {arm: value for arm, value in found.items() if value is not None and math.isfinite(value)}


def _footnote(summary: Summary, say: Translator, bold: set[str], most: int) -> list[str]:
    plan, study = summary.study.plan, summary.study
    comma, semicolon = say.punctuation.items, say.punctuation.semicolon
    texts = []
    if summary.done < summary.planned:
        texts.append(say("unfinished", done=summary.done, planned=summary.planned))
    if most > 1:
        texts.append(say("spread"))
    fewer = [row for row in summary.rows if row.metrics[summary.metric].runs < most]
    if fewer:
        texts.append(say("fewer", arms=comma.join(say("fewer arm", arm=row.name, runs=row.metrics[summary.metric].runs)
                                                  for row in fewer)))
    if alarmed := alarms(summary):
        texts.append(say("alarm", arms=comma.join(alarmed)))
    else:
        key = "bold none" if not bold else "bold base" if summary.baseline in bold else "bold some"
        texts.append(say(key, metric=say(summary.metric)))
    if marks := _marks(summary.rows, say):
        texts.append(say("marks", marks=semicolon.join(marks)))
    texts.append(_data(summary, say))
    looks = len(plan.schedule)
    margin = say("without margin") if plan.margin is None else say("with margin", margin=f"{plan.margin:g}")
    facts = {"metric": summary.metric, "arms": len(summary.verdicts), "alpha": f"{100 * plan.alpha:g}", "margin": margin}
    if plan.splits is not None:
        texts += [say("test splits", **facts, splits=plan.splits.count, train=plan.splits.train, val=plan.splits.val),
                  say("intervals splits")]
    else:
        sets = len(study.whole.parts) if study.whole is not None else 1
        more = (say("and sets", sets=sets) if sets > 1 else "") + (say("and looks", looks=looks) if looks > 1 else "")
        texts += [say("test Holm" if plan.race else "test max-T", **facts, looks=more), say("intervals")]
    if looks > 1:
        texts.append(say("looks_note", taken=comma.join(str(look.seeds) for look in study.taken) or "–",
                         planned=comma.join(str(look.seeds) for look in plan.schedule),
                         used=f"{100 * study.spent:.1f}", alpha=f"{100 * plan.alpha:.1f}"))
    if earlier := plan.registered.get("earlier", 0):
        words = semicolon.join(f"{one.arm}: {say(str(one.word), margin=f'{one.margin or 0:g}')}"
                               for one in study.shared_verdicts)
        texts.append(say("register_note", number=earlier + 1, alpha=f"{100 * plan.shared_alpha:.1f}", words=words))
    texts += _protocol(summary, say)
    versions = [f"{name} {plan.versions[name]}" for name in _VERSIONS if name in plan.versions]
    return [*texts, say("versions", versions=comma.join(versions))]


def _marks(rows: Sequence[ArmRow], say: Translator) -> list[str]:
    """Return what the marks of the verdicts mean, of those that the table has."""
    words = Counter(row.verdict.word for row in rows if row.verdict is not None)
    margin = next((f"{row.verdict.margin or 0:g}" for row in rows if row.verdict is not None), "")
    texts = []
    if words[Word.HELPS] or words[Word.HURTS]:
        texts.append(say("mark helps", mark=MARKS[Word.HELPS], mark2=MARKS[Word.HURTS]))
    for word, key in ((Word.DIFFERS, "mark differs"), (Word.EQUIVALENT, "mark equivalent"), (Word.UNDECIDED, "mark open")):
        if words[word]:
            texts.append(say(key, mark=MARKS[word], margin=margin))
    if words[Word.FEW] or words[Word.NONE]:
        texts.append(say("mark few", mark=MARKS[Word.FEW]))
    return texts


def _data(summary: Summary, say: Translator) -> str:
    plan = summary.study.plan
    settings = say.punctuation.clauses.join(f"{key} {plan.settings[key]}" for key in _SETTINGS if key in plan.settings)
    return say("data", data=_name(plan.settings["data"]), model=_name(plan.settings["model"]), settings=settings or "–",
               seeds=_spans(plan.seeds), images=say("images", description=plan.pictures["val"]) if plan.pictures.get(
                   "val") else "")


def _spans(seeds: Sequence[int]) -> str:
    """Return numbers as text, with rows of successive ones shortened: `0-5, 8`."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def _protocol(summary: Summary, say: Translator) -> list[str]:
    latency = summary.latency
    if latency is None or not _fps(summary):
        return []
    one = latency.protocol
    texts = [say("FPS", device=one.device, batch=one.batch, imgsz=one.imgsz, precision=one.precision, threads=one.threads,
                 nms=say("with NMS" if one.nms else "without NMS"), repeats=one.repeats, warm_up=one.warm_up)]
    return [*texts, say("busy", share=round(100 * one.busy))] if one.is_busy else texts


def _stem(file: object) -> str:
    return ", ".join(Path(name).stem or name for name in _name(file).split(", "))


def _name(file: object) -> str:
    """Return the names of files without their folders, which are of no use to a reader of a paper."""
    return ", ".join(Path(part.strip()).name for part in str(file).split(","))
