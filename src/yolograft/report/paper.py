"""The paper kit of a study: an ablation table, a sentence for each arm and the figures, as files for a paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from yolograft.errors import GraftError, nearest
from yolograft.language import speaking, tr
from yolograft.report.figures import FIGURES
from yolograft.report.paper_docx import as_docx, check_docx
from yolograft.report.paper_files import Written, write_files
from yolograft.report.paper_formats import as_csv, as_latex, as_markdown
from yolograft.report.paper_sentences import sentences
from yolograft.report.paper_table import PaperTable, paper_table
from yolograft.report.paper_words import TEXTS
from yolograft.report.style import chinese_fonts, save
from yolograft.report.summary import Summary
from yolograft.report.words import LANGUAGES, Translator
from yolograft.study import Study

__all__ = ["FORMATS", "WIDTH", "write"]

WIDTH = 7.0  # inches: both columns of a two-column paper
_FIGURES = ("png", "pdf", "svg")
FORMATS: dict[str, Callable[[PaperTable, Sequence[str]], bytes]] = {
    "tex": lambda table, _: as_latex(table).encode(), "md": lambda table, _: as_markdown(table).encode(),
    "csv": lambda table, _: as_csv(table), "docx": as_docx}


def write(study: Study | str | Path, folder: str | Path | None = None, *, languages: Sequence[str] = LANGUAGES,
          formats: Sequence[str] | None = None, storage: str | None = None) -> Written:
    """Write the paper kit of a study: `table.*`, `sentences.txt` and `figures/`; Chinese files have `.zh` in their names.

    A file that the user has edited is kept, and the new one is written beside it. A study on several data sets has a folder
    for each of them.

    >>> write("runs/study/se").files  # doctest: +SKIP
    (PosixPath('runs/study/se/paper/table.tex'), ...)

    Args:
        study: a study, or its folder.
        folder: where to write; by default the folder `paper` of the study.
        languages: `en`, `zh` or both.
        formats: of the table: `tex`, `md`, `csv`, `docx`; by default all, without `docx` where its package is missing.
        storage: URL of the study's storage, if it is not in the study's folder.

    Raises:
        GraftError: the study, a language or a format does not exist, the package of `docx` is missing, or the folder cannot
            be written.
    """
    wanted, notes = _formats(formats)
    translators = [Translator(language, TEXTS) for language in languages]
    study = study if isinstance(study, Study) else Study.load(study, storage=storage)
    place = Path(folder) if folder is not None else study.folder / "paper"
    if len(study.parts) > 1:  # a table for each data set, as the report has a page for each
        each = [write(part, place / part.plan.dataset, languages=languages, formats=formats) for part in study.parts]
        return Written(files=tuple(file for one in each for file in one.files), notes=each[0].notes,
                       kept=tuple(pair for one in each for pair in one.kept))
    contents: dict[str, bytes] = {}
    for say in translators:
        infix = "" if say.language == "en" else f".{say.language}"
        with speaking(say.language):
            summary = Summary(replace(study))  # the reasons of its verdicts are in the language in which they are computed
            table, lines = paper_table(summary, say), sentences(summary, say)
        contents |= {f"table{infix}.{name}": FORMATS[name](table, lines) for name in wanted}
        contents[f"sentences{infix}.txt"] = _text([*lines, table.note]).encode()
        if say.language == "zh" and not chinese_fonts():
            notes.append(tr("The figures are in English only: matplotlib finds no font with Chinese glyphs. Install one, "
                            "such as Noto Sans CJK SC."))
            continue
        page = Translator(say.language)
        for name, draw in FIGURES.items():
            for format in _FIGURES:
                content = save(partial(draw, summary, page), format, width=WIDTH)
                if content is not None:
                    contents[f"figures/{name}{infix}.{format}"] = content
    return replace(write_files(place, contents), notes=tuple(notes))


def _text(paragraphs: Sequence[str]) -> str:
    return "".join(f"{paragraph}\n\n" for paragraph in paragraphs).rstrip("\n") + "\n"


def _formats(formats: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Return the formats of the table, and a note if one of the default ones is left out."""
    for name in formats or ():
        if name not in FORMATS:
            raise GraftError(tr("The paper kit has no format '{name}'.{nearest} Expected some of: {formats}.", name=name,
                                nearest=nearest(name, FORMATS), formats=", ".join(FORMATS)))
    if formats is not None:
        if "docx" in formats:
            check_docx()
        return list(dict.fromkeys(formats)), []
    try:
        check_docx()
    except GraftError as error:
        return [name for name in FORMATS if name != "docx"], [str(error)]
    return list(FORMATS), []
