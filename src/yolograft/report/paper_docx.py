"""The ablation table and the sentences as a Word document, through the optional package python-docx."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from yolograft.errors import GraftError
from yolograft.escapes import visible
from yolograft.language import tr
from yolograft.report.paper_table import PaperTable, Row

__all__ = ["as_docx", "check_docx"]

_SMALL, _TEXT = 8, 10  # points
_FONTS = {"en": "Times New Roman", "zh": "SimSun"}


def check_docx() -> None:
    """Raise `GraftError` if the package python-docx is not installed."""
    if find_spec("docx") is None:
        raise GraftError(tr("A Word document needs the package python-docx: pip install \"yolograft[paper]\""))


def as_docx(table: PaperTable, sentences: Sequence[str]) -> bytes:
    """Return a Word document with the table as three lines, its footnote and the sentences.

    Raises:
        GraftError: the package python-docx is not installed.
    """
    check_docx()
    from docx import Document
    from docx.shared import Cm, Pt

    document: Any = Document()
    page = document.sections[0]
    page.left_margin = page.right_margin = Cm(2)
    normal = document.styles["Normal"]
    normal.font.name, normal.font.size = "Times New Roman", Pt(_TEXT)
    normal.element.rPr.rFonts.set(_qualified("w:eastAsia"), _FONTS["zh"])
    _write(document.add_paragraph(), table.caption, _TEXT, bold=True)
    grid = document.add_table(rows=1 + len(table.rows), cols=1 + len(table.head))
    for place, (cell, text) in enumerate(zip(grid.rows[0].cells, [table.arm, *table.head], strict=True)):
        _write(cell.paragraphs[0], text, _SMALL, bold=True, centred=place > 0)
    for line, row in zip(grid.rows[1:], table.rows, strict=True):
        _fill(line.cells, row)
    control = next((place for place, row in enumerate(table.rows, 1) if row.control), 0)
    for place, line in enumerate(grid.rows):
        _rule(line.cells, top=12 if place == 0 else 6 if place == control else 0,
              bottom=6 if place == 0 else 12 if place == len(table.rows) else 0)
    _write(document.add_paragraph(), table.note, _SMALL)
    for sentence in sentences:
        _write(document.add_paragraph(), sentence, _TEXT)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def _fill(cells: Sequence[Any], row: Row) -> None:
    _write(cells[0].paragraphs[0], f"{row.arm} {row.mark}".rstrip(), _SMALL)
    for cell, one in zip(cells[1:], row.cells, strict=True):
        paragraph = cell.paragraphs[0]
        _write(paragraph, one.text, _SMALL, bold=one.bold, centred=True)
        if one.spread:
            _write(paragraph, f" ± {one.spread}", _SMALL, centred=True)


def _write(paragraph: Any, text: str, points: int, *, bold: bool = False, centred: bool = False) -> None:
    from docx.enum.text import WD_ALIGN_PARAGRAPH
    from docx.shared import Pt

    run = paragraph.add_run(visible(text))
    run.bold, run.font.size = bold, Pt(points)
    paragraph.paragraph_format.space_after = Pt(2)
    if centred:
        paragraph.alignment = WD_ALIGN_PARAGRAPH.CENTER


def _rule(cells: Sequence[Any], *, top: int = 0, bottom: int = 0) -> None:
    """Draw lines above and below cells, in eighths of a point; 0 draws none."""
    from docx.oxml import OxmlElement

    for cell in cells:
        borders = OxmlElement("w:tcBorders")
        for side, size in (("top", top), ("bottom", bottom)):
            if size:
                line = OxmlElement(f"w:{side}")
                for key, value in (("val", "single"), ("sz", str(size)), ("space", "0"), ("color", "000000")):
                    line.set(_qualified(f"w:{key}"), value)
                borders.append(line)
        cell._tc.get_or_add_tcPr().append(borders)


def _qualified(name: str) -> str:
    from docx.oxml.ns import qn

    return str(qn(name))
