"""The page, and the folder of tables and figures around it."""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import mean, median

import jinja2
import yaml

from yolograft import __version__
from yolograft.errors import GraftError
from yolograft.report import tables
from yolograft.report.figures import FIGURES
from yolograft.report.ink import inline, save
from yolograft.report.pictures import Gallery, gallery
from yolograft.report.summary import Summary
from yolograft.report.words import LANGUAGES, Speaker
from yolograft.study import Study
from yolograft.study.statistics import seeds_to_resolve, smallest_p
from yolograft.study.verdict import Word

__all__ = ["page", "write"]

_SIGNS = {Word.HELPS: "▲", Word.HURTS: "▼", Word.UNDECIDED: "●", Word.FEW: "○"}
_CLASSES = {Word.HELPS: "helps", Word.HURTS: "hurts", Word.UNDECIDED: "open", Word.FEW: "few"}
_EFFECTS = (0.005, 0.01, 0.02)  # differences in mAP that papers report


def write(study: Study | str | Path, folder: str | Path | None = None, *, languages: Sequence[str] = LANGUAGES,
          pictures: str | Path | None = None, storage: str | None = None,
          cheaper: str | Path | None = None) -> list[Path]:
    """Write a study's report and return the pages' paths, one for each language.

    The folder, by default `report` under the study's own, gets `report.html` (`report.zh.html` in Chinese), and under
    `tables` and `figures` what papers need. Only files of these names are ever replaced.

    >>> write("runs/study")  # doctest: +SKIP
    [PosixPath('runs/study/report/report.html'), PosixPath('runs/study/report/report.zh.html')]

    Args:
        study: a study, or its folder.
        folder: where to write.
        languages: `en`, `zh` or both.
        pictures: where the data set's pictures are, if no longer where its YAML says.
        storage: the study's storage, if it is not in the study's folder.
        cheaper: the folder of a study of the same arms with fewer epochs or smaller pictures: does it rank them alike?

    Raises:
        GraftError: there is no study, no such language, or the folder cannot be written.
    """
    speakers = [Speaker(language) for language in languages]
    study = study if isinstance(study, Study) else Study.load(study, storage=storage)
    folder = Path(folder) if folder is not None else study.folder / "report"
    summary = Summary(study, Study.load(cheaper) if cheaper is not None else None)
    shown = gallery(summary, pictures)
    pages = {folder / _name(say.language): say for say in speakers}
    gc.freeze()  # figures leave much to collect, and collecting would walk through all of the study every time
    try:
        for kind in ("tables", "figures"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        for name, build in tables.TABLES.items():
            table = build(summary)
            for format in tables.FORMATS:
                _put(folder / "tables" / f"{name}.{format}", tables.render(table, format).encode())
        for figure, draw in FIGURES.items():
            for format in ("svg", "pdf"):
                content = save(draw, summary, Speaker("en"), format)
                if content is not None:
                    _put(folder / "figures" / f"{figure}.{format}", content)
        for path, say in pages.items():
            other = next((one.name for one in pages if one != path), None)
            _put(path, page(summary, say, shown, other=other).encode())
    except OSError as error:
        raise GraftError(f"The report cannot be written to '{folder}': {error}.") from error
    finally:
        gc.unfreeze()
    return list(pages)


def _name(language: str) -> str:
    return "report.html" if language == "en" else f"report.{language}.html"


def _put(path: Path, content: bytes) -> None:
    draft = path.with_name(path.name + ".part")
    draft.write_bytes(content)
    os.replace(draft, path)


def page(summary: Summary, say: Speaker, shown: Gallery, *, other: str | None = None) -> str:
    """Return the whole page, which loads nothing from anywhere; `other` is the same page in the other language."""
    plan = summary.study.plan
    results = [result for by_seed in summary.study.results.values() for result in by_seed.values()]
    return _template().render(
        s=summary, plan=plan, say=say, gallery=shown, other=other, version=__version__,
        title=summary.study.folder.resolve().name,
        headline=headline(summary, say), notes=notes(summary, say), signs=_SIGNS, classes=_CLASSES, finite=math.isfinite,
        figures={name: inline(draw, name, summary, say) for name, draw in FIGURES.items()},
        controls=list(dict.fromkeys(arm.role for arm in plan.arms if arm.role)),
        p_note="race_note" if plan.race else "p_note",
        costs=list(dict.fromkeys(name for row in summary.rows for name in row.costs)),
        devices=sorted({result.notes["device"] for result in results if "device" in result.notes}),
        seconds=sum(row.seconds for row in summary.study.rows), folder=summary.study.folder,
        plan_text=yaml.safe_dump(plan.words(), sort_keys=False, allow_unicode=True, width=100),
    )


@cache
def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("yolograft.report", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined,
                                     trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(number=_number, duration=_duration)
    return environment.get_template("report.html.j2")


def headline(summary: Summary, say: Speaker) -> str:
    """Return the study's answer in one sentence."""
    by_word, chinese = summary.headline, say.language == "zh"
    comma, semicolon, stop = ("、", "；", "。") if chinese else (", ", "; ", ".")
    said = []
    for word, plural in ((Word.HELPS, "help"), (Word.HURTS, "hurt")):
        arms = by_word[word]
        if arms:
            named = comma.join(arms[:6]) + (" …" if len(arms) > 6 else "")
            size = _number(summary.verdicts[arms[0]].mean, sign=True) if len(arms) == 1 else ""
            verb = say(str(word) if len(arms) == 1 else plural)
            said.append(f"{named} {verb}" + (f" ({size} {summary.metric})" if size else ""))
    if not said:
        if not summary.verdicts:
            return say("alone")
        return say("too few" if by_word[Word.FEW] and not by_word[Word.UNDECIDED] else "nothing")
    for word, key in ((Word.UNDECIDED, "open arms"), (Word.FEW, "few arms")):
        if by_word[word]:
            said.append(say(key, n=len(by_word[word])))
    return semicolon.join(said) + stop


def notes(summary: Summary, say: Speaker) -> list[tuple[str, str]]:
    """Return what a reader must know before believing the table, each with its kind: plain or a warning."""
    plan, found = summary.study.plan, []
    need = seeds_to_resolve()
    if len(plan.seeds) < need:
        found.append(("warn", say("few_note", p=f"{smallest_p(len(plan.seeds)):.2g}", n=need)))
    for row in summary.rows:
        if row.control == "aa" and row.verdict is not None and row.verdict.word is not Word.FEW:
            fine = row.verdict.word is Word.UNDECIDED
            found.append(("plain" if fine else "warn", say("aa_ok" if fine else "aa_bad")))
    gains = [gain for gain in summary.pairing.values() if math.isfinite(gain)]
    if gains:
        gain = median(gains)
        found.append(("plain", say("pair_note" if gain >= 1.1 else "no_pair_note", gain=f"{gain:.1f}")))
    needed = {effect: summary.seeds_for(effect) for effect in _EFFECTS}
    if all(needed.values()):
        found.append(("plain", say("need_note", effects=" / ".join(map(str, needed)),
                                   seeds=" / ".join(map(str, needed.values())))))
    if summary.test is not None:
        test, verdict = summary.test, summary.test.verdict()
        low, high = (_number(one, sign=True) if math.isfinite(one) else "?" for one in verdict.t_interval)
        found.append(("plain", say("test_note", arm=test.arm, among=test.among, word=say(str(verdict.word)),
                                   size=_number(verdict.mean, sign=True), low=low, high=high, p=f"{verdict.p:.3f}")))
    elif len(summary.verdicts) > 1:
        found.append(("plain", say("select_note")))
    taus = [say("after epoch", tau=_number(tau, 2, sign=True), epoch=epoch, share=round(100 * share))
            for epoch, tau, share in summary.study.milestones() if math.isfinite(tau)]
    if taus:
        comma = "，" if say.language == "zh" else ", "
        found.append(("plain", say("epochs_note", arms=len(plan.arms), taus=comma.join(taus))))
    if summary.cheaper is not None:
        found.append(_cheaper(summary.study, summary.cheaper, say))
    return found


def _cheaper(study: Study, other: Study, say: Speaker) -> tuple[str, str]:
    """Say how well a cheaper study ranked the same arms, and what it saved."""
    theirs, arms = other.scores(study.plan.metric), [arm for arm, by in study.scores().items() if by]
    shared = [arm for arm in arms if theirs.get(arm)]
    tau = study.agreement(other)
    if not math.isfinite(tau):
        known = ", ".join(arm for arm, by in theirs.items() if by) or "none"
        raise GraftError(f"cheaper={other.folder} cannot be compared: that takes three arms that both have run, and not all "
                         f"alike. There: {known}. Here: {', '.join(arms) or 'none'}.")
    settings = [one.plan.settings for one in (other, study)]
    differ = [f"{key} {settings[0].get(key)} / {settings[1].get(key)}" for key in dict.fromkeys([*settings[1], *settings[0]])
              if settings[0].get(key) != settings[1].get(key)]
    times = [mean(result.costs.get("seconds", 0.0) for arm in shared for result in one.results[arm].values())
             for one in (other, study)]
    if all(times):
        differ.append(say("cheaper time", share=f"{100 * times[0] / times[1]:.0f}"))
    return "plain", say("cheaper_note", name=other.folder.resolve().name, arms=len(shared), tau=_number(tau, 2, sign=True),
                        differ=("，" if say.language == "zh" else ", ").join(differ))


def _number(value: float, digits: int = 4, *, sign: bool = False) -> str:
    """Write a number as print does, with a true minus sign; nothing where there is none."""
    return tables.number(value, digits, sign=sign).replace("-", "−")


def _duration(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{seconds:.1f} s"
