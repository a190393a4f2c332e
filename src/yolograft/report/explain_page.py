"""The page of `yolograft explain`: sections in each language, and the folder with its figures and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import jinja2

from yolograft import __version__
from yolograft.atomic import atomic_write
from yolograft.errors import GraftError
from yolograft.language import tr
from yolograft.report import tables
from yolograft.report.explain_words import TEXTS
from yolograft.report.section import Build, Section
from yolograft.report.style import inline, save
from yolograft.report.words import LANGUAGES, Translator

__all__ = ["write"]

_FORMATS = ("svg", "pdf", "png")


def write(sections: Sequence[Build], folder: str | Path, *, title: str, headline: Callable[[Translator], str],
          facts: Mapping[str, str], languages: Sequence[str] = LANGUAGES,
          texts: Mapping[str, tuple[str, str]] | None = None, stem: str = "explain") -> list[Path]:
    """Write the page in each language, its figures and its tables, and return the pages' paths.

    The folder gets `explain.html`, `explain.zh.html` in Chinese, `figures` with each figure as SVG, PDF and PNG (300 dpi),
    and `tables` with each table as CSV, Markdown and LaTeX, all in English.

    Args:
        sections: the functions that make the sections, in the order of the page.
        folder: where to write. It is created.
        title: the name at the top of the page.
        headline: makes the first sentence of the page, and below it a line for each other line of the text.
        facts: key of a text -> value, in the line below the headline.
        languages: `en`, `zh` or both.
        texts: texts of the sections, besides those of `explain_words`: key -> (English, Chinese).
        stem: the name of the page's file, without its ending.

    Raises:
        GraftError: the language does not exist, or the folder cannot be written.
    """
    known = {**TEXTS, **(texts or {})}
    folder = Path(folder)
    pages = {folder / _name(stem, language): Translator(language, known) for language in languages}
    try:
        for kind in ("figures", "tables"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        for section in [build(Translator("en", known)) for build in sections]:
            _write_files(section, folder)
        for path, say in pages.items():
            other = next((sibling.name for sibling in pages if sibling != path), None)
            built = [build(say) for build in sections]
            drawings = {one.name: inline(one.draw, one.name) for section in built for one in section.figures}
            content = _template().render(say=say, title=title, headline=headline(say), facts=facts, sections=built,
                                         drawings=drawings, other=other, version=__version__)
            _save(path, content.encode())
    except OSError as error:
        raise GraftError(tr("The page cannot be written to '{folder}': {error}.", folder=folder, error=error)) from error
    return list(pages)


def _write_files(section: Section, folder: Path) -> None:
    for drawing in section.figures:
        for format in _FORMATS:
            content = save(drawing.draw, format)
            if content is not None:
                _save(folder / "figures" / f"{drawing.name}.{format}", content)
    for table in section.tables:
        for format in tables.FORMATS:
            _save(folder / "tables" / f"{table.name}.{format}", tables.render(table.plain(), format).encode())


def _save(path: Path, content: bytes) -> None:
    atomic_write(path, lambda part: part.write_bytes(content))


def _name(stem: str, language: str) -> str:
    return f"{stem}.html" if language == "en" else f"{stem}.{language}.html"


@cache
def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("yolograft.report", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined,
                                     trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("explain.html.j2")
