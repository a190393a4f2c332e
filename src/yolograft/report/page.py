"""The page and the folder of tables and figures around it."""

from __future__ import annotations

import math
import os
from pathlib import Path
from statistics import median

import jinja2

from yolograft import __version__
from yolograft.errors import GraftError
from yolograft.report import figures, tables
from yolograft.report.summary import Summary
from yolograft.report.words import LANGUAGES, Speaker
from yolograft.study import Study
from yolograft.study.arms import CONTROLS
from yolograft.study.statistics import seeds_to_resolve, smallest_p
from yolograft.study.verdict import Word

__all__ = ["page", "write"]


def write(study: Study | str | Path, folder: str | Path | None = None, *, language: str = "en",
          storage: str | None = None) -> Path:
    """Write a study's report and return the page's path.

    The folder, by default `report` under the study's own, gets `report.html` (`report.zh.html` in Chinese),
    and under `tables` and `figures` what papers need. Only files of these names are ever replaced.

    >>> write("runs/study")  # doctest: +SKIP
    PosixPath('runs/study/report/report.html')

    Raises:
        GraftError: there is no study, no such language, or the folder cannot be written.
    """
    say = Speaker(language)
    study = study if isinstance(study, Study) else Study.load(study, storage=storage)
    folder = Path(folder) if folder is not None else study.folder / "report"
    summary = Summary(study)
    name = "report.html" if language == "en" else f"report.{language}.html"
    try:
        for kind in ("tables", "figures"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        for table, build in tables.TABLES.items():
            for format in tables.FORMATS:
                _put(folder / "tables" / f"{table}.{format}", tables.render(build(summary), format).encode())
        for figure in figures.FIGURES:
            for format in ("svg", "pdf"):
                content = figures.save(figure, summary, format)
                if content is not None:
                    _put(folder / "figures" / f"{figure}.{format}", content)
        _put(folder / name, page(summary, say).encode())
    except OSError as error:
        raise GraftError(f"The report cannot be written to '{folder}': {error}.") from error
    return folder / name


def _put(path: Path, content: bytes) -> None:
    draft = path.with_name(path.name + ".part")
    draft.write_bytes(content)
    os.replace(draft, path)


def page(summary: Summary, say: Speaker) -> str:
    """Return the whole page: no file, script or font from anywhere else."""
    loader = jinja2.PackageLoader("yolograft.report", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined,
                                     trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(number=tables.number)
    drawn = {name: figures.inline(name, summary, say) for name in figures.FIGURES}
    return environment.get_template("report.html.j2").render(
        s=summary, study=summary.study, plan=summary.study.plan, say=say, figures=drawn, version=__version__,
        languages=LANGUAGES, controls=CONTROLS, headline=headline(summary, say), notes=notes(summary, say),
        Word=Word, finite=math.isfinite, metrics_table=tables.metrics(summary), mark=_mark,
        plan_text=(summary.study.folder / "plan.yaml").read_text(encoding="utf-8"),
    )


def headline(summary: Summary, say: Speaker) -> str:
    """Return the study's answer in one sentence."""
    by_word = summary.headline
    said = []
    for word, verb in ((Word.HELPS, "help"), (Word.HURTS, "hurt")):
        arms = by_word[word]
        if arms:
            joined = ("、" if say.language == "zh" else ", ").join(arms)
            said.append(f"{joined} {say(f'{verb}s_one' if len(arms) == 1 else verb)}")
    if said:
        return "；".join(said) + "。" if say.language == "zh" else "; ".join(said) + "."
    if not by_word[Word.UNDECIDED] and by_word[Word.FEW]:
        return say("There are too few runs to say anything yet.")
    return say("No arm is known to help or to hurt.")


def notes(summary: Summary, say: Speaker) -> list[str]:
    """Return what a reader must know before believing the table."""
    plan, found = summary.study.plan, []
    need = seeds_to_resolve()
    if len(plan.seeds) < need:
        found.append(say("few_note", p=f"{smallest_p(len(plan.seeds)):.2g}", n=need))
    for row in summary.rows:
        if row.control == "aa" and row.verdict is not None and row.verdict.word is not Word.FEW:
            fine = row.verdict.word is Word.UNDECIDED
            found.append(f"{say('aa_word')}: {say('aa_ok' if fine else 'aa_bad')}")
    gains = [gain for gain in summary.pairing.values() if math.isfinite(gain)]
    if gains:
        found.append(say("pair_note", gain=f"{median(gains):.1f}"))
    needed = {effect: summary.seeds_for(effect) for effect in (0.005, 0.01, 0.02)}
    if all(needed.values()):
        found.append(say("need_note", effects=" / ".join(map(str, needed)),
                         seeds=" / ".join(map(str, needed.values()))))
    if len(summary.verdicts) > 1:
        found.append(say("select_note"))
    return found


def _mark(word: Word) -> str:
    return {Word.HELPS: "helps", Word.HURTS: "hurts", Word.UNDECIDED: "open", Word.FEW: "few"}[word]
