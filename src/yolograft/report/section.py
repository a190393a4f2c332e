"""The parts of a page made of sections: paragraphs, figures and tables, with texts in one language.

A section is made by a function of a `Translator`, so that one function makes it in each language:

    def flips(say: Translator) -> Section:
        return Section(title=say("Boxes that change"), paragraphs=(say("sort_note"),), tables=(table,))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from yolograft.language import pad, width_of
from yolograft.report.style import Plain
from yolograft.report.words import Translator

__all__ = ["Build", "Cell", "Drawing", "Section", "Table"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of a table that is more than a text.

    Attributes:
        text: what is shown.
        value: the number by which the column is sorted; None sorts by the text.
        look: CSS classes of the page: `helps`, `hurts`, `open`, `few`, `sub` (soft), `word` (bold), `arm` (code).
        hint: the tooltip.
    """

    text: str
    value: float | None = None
    look: str = ""
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table. The first column is aligned to the left, and the other ones where `left` does not name them to the right.

    Attributes:
        name: the name of its files and its id, in small letters and `-`; unique on the page.
        head: the texts of the columns.
        rows: the cells of each row, as many as there are columns.
        left: the columns that are aligned to the left, besides the first.
        note: a text below the table.
    """

    name: str
    head: tuple[str | Cell, ...]
    rows: tuple[tuple[str | Cell, ...], ...]
    left: tuple[int, ...] = ()
    note: str = ""

    def plain(self) -> list[list[str]]:
        """Return the texts of all cells, the columns' first."""
        return [[cell.text if isinstance(cell, Cell) else cell for cell in row] for row in (self.head, *self.rows)]

    def lines(self) -> list[str]:
        """Return the table as lines of text in columns, for the console."""
        rows = self.plain()
        widths = [max(width_of(row[column]) for row in rows) for column in range(len(self.head))]
        return ["  ".join(pad(cell, width, "<" if column in (0, *self.left) else ">")
                          for column, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip() for row in rows]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure, which is drawn once for the page and once for each file format.

    Attributes:
        name: the name of its files and its id, in small letters and `-`; unique on the page.
        draw: returns a matplotlib figure and its tooltips (see `style.tip`), in the current style; None if it has no data.
        caption: a text below the figure.
    """

    name: str
    draw: Plain
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section of a page. The page shows paragraphs, tables, figures and code in this order.

    Attributes:
        title: the heading.
        paragraphs: texts below the heading.
        figures: the figures.
        tables: the tables.
        code: a command line or a file's content, below all others.
    """

    title: str
    paragraphs: tuple[str, ...] = ()
    figures: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()
    code: str = ""


Build = Callable[[Translator], Section]
