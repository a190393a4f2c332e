"""Names from strangers in tables: a law over every writer of CSV, Markdown, LaTeX, DOCX and HTML."""

from __future__ import annotations

import csv
import html
import io
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from yolograft.analysis.average_precision import Interval
from yolograft.analysis.screen import Screening, Value
from yolograft.escapes import csv_cell, csv_text, latex, markdown, visible
from yolograft.report import explain_page, tables
from yolograft.report.paper_docx import as_docx
from yolograft.report.paper_formats import as_csv, as_latex, as_markdown
from yolograft.report.paper_table import Cell, PaperTable, Row
from yolograft.report.section import Drawing, Section, Table

HOSTILE = ("=cmd|' /C calc'!A0", "+1+cmd", "-2+3+cmd|' /C calc'!A0", "@SUM(1)", "\t=1+1", "\r=1+1", "\n=1+1", " =1+1",
           "a;=1+1", "a\t=1+1", "＝1+1", '"=1+1', "<script>alert(1)</script>", "<img src=x onerror=alert(1)>",
           "$\\input{/etc/passwd}$",
           "\\write18{id}", "a|b", "`id`", "[a](javascript:alert(1))", "a\nb", "\u202egnp.exe", "\u200bse",
           "100% & _x_ #1 ~^{}", "[2cm]", "*", "--", "\x00\x07", "缺陷", "a & b \\\\")
FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
NUMBERS = ("-0.0123", "+0.0456", "0.5", "1e-05", "-3", "+0.0100 to -0.0200", "")


def paper(names: tuple[str, ...]) -> PaperTable:
    one = Cell(text="0.500", spread="0.010", bold=True)
    rows = tuple(Row(arm=name, mark="↑", word=name, cells=(one,)) for name in names)
    return PaperTable(head=(names[0],), rows=rows, caption=names[0], footnote=names, language="en", arm="arm",
                      verdict="verdict", spread="{metric} SD")


def cell(text: str) -> Cell:
    return Cell(text=text)


def grid(names: tuple[str, ...]) -> list[list[str]]:
    return [list(names), list(names)]


def screen(names: tuple[str, ...]) -> str:
    interval = Interval(estimate=0.1, low=0.0, high=0.2)
    values = tuple(Value(place="8", graft=name, loss=interval, loss_by_seed=(0.1,), map=None, map_by_seed=())
                   for name in names)
    found = SimpleNamespace(values=values)
    found.table = lambda: Screening.table(found)  # type: ignore[arg-type]
    return Screening.markdown(found)  # type: ignore[arg-type]


CSV: dict[str, Callable[[tuple[str, ...]], str]] = {
    "report": lambda names: tables.render(grid(names), "csv"),
    "paper": lambda names: as_csv(paper(names)).decode("utf-8-sig")}
MARKDOWN: dict[str, Callable[[tuple[str, ...]], str]] = {
    "report": lambda names: tables.render(grid(names), "md"), "paper": lambda names: as_markdown(paper(names)),
    "screen": screen}
LATEX: dict[str, Callable[[tuple[str, ...]], str]] = {
    "report": lambda names: tables.render(grid(names), "tex"), "paper": lambda names: as_latex(paper(names))}


@pytest.mark.parametrize("writer", CSV)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_no_cell_of_a_csv_file_is_a_formula(writer: str, separator: str) -> None:
    for name in HOSTILE:
        text = CSV[writer]((name, "-0.5"))
        # a spreadsheet whose separator is another one reads quotation marks as text
        quoting = csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE
        cells = [cell for line in csv.reader(io.StringIO(text), delimiter=separator, quoting=quoting) for cell in line]
        assert cells
        cells = [cell for cell in cells if not cell.startswith("-0.5")]
        assert not [cell for cell in cells if FORMULA.match(cell)], (name, cells)
        assert not [cell for cell in cells if FORMULA.match(cell.lstrip('"'))], (name, cells)


def test_numbers_and_intervals_stay_what_they_are() -> None:
    assert [csv_cell(text) for text in NUMBERS] == list(NUMBERS)
    assert csv_text([["a", "-1"], ["b,c", "+0.1"]]) == 'a,-1\n"b,c",+0.1\n'


def columns(line: str) -> int:
    return len(re.findall(r"(?<!\\)\|", line))


@pytest.mark.parametrize("writer", MARKDOWN)
def test_markdown_has_no_html_no_link_and_no_further_column(writer: str) -> None:
    plain = [columns(line) for line in MARKDOWN[writer](("a", "b")).splitlines() if line.startswith("|")]
    for name in HOSTILE:
        lines = MARKDOWN[writer]((name, "b")).splitlines()
        assert [columns(line) for line in lines if line.startswith("|")] == plain, name
        for line in lines:
            assert "<" not in line, name
            assert ">" not in line, name
            assert not re.search(r"(?<!\\)\]\(", line), name
            assert not re.search(r"(?<!\\)[`$]", line), name


@pytest.mark.parametrize("writer", LATEX)
def test_latex_has_no_command_of_a_name(writer: str) -> None:
    ours = set(re.findall(r"\\([a-zA-Z]+)", LATEX[writer](("a", "b"))))
    escapes = {"textasciitilde", "textasciicircum", "textbackslash", "textless", "textgreater", "textbar", "allowbreak",
               "uparrow", "raggedright"}
    for name in HOSTILE:
        text = LATEX[writer]((name, "b"))
        assert set(re.findall(r"\\([a-zA-Z]+)", text)) <= ours | escapes, name
        body = re.sub(r"\\.", "", text)
        assert body.count("{") == body.count("}"), name
        plain = re.sub(r"\\.", "", LATEX[writer](("a", "b")))
        assert body.count("&") == plain.count("&"), name
        assert body.count("%") == plain.count("%"), name
        assert not re.search(r"\\\\\s*[\[*]", text), f"{name} is read as an argument of the line break"


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")
def test_latex_compiles_and_fits_one_column(tmp_path: Path) -> None:
    names = tuple(name for name in HOSTILE if name.isascii())
    table = paper(names)
    head = ("P", "R", "mAP50", "mAP50-95", "Params (M)", "GFLOPs", "FPS")
    wide = replace(table, head=head, footnote=("note",), rows=tuple(
        replace(row, control=row.arm == "*", cells=(*(Cell(text="0.500", spread="0.010"),) * 3, row.cells[0],
                                                    *map(cell, ("2.59", "6.4", "120"))))
        for row in table.rows))
    (tmp_path / "paper.tex").write_text(
        "\\documentclass[10pt,twocolumn]{article}\\usepackage{booktabs}\\setlength{\\columnsep}{20pt}"
        "\\textwidth=492pt\\begin{document}\\sloppy\n" + as_latex(wide) + "\\end{document}", encoding="utf-8")
    done = subprocess.run(["pdflatex", "-interaction=nonstopmode", "paper.tex"], cwd=tmp_path, capture_output=True,
                          timeout=120)
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert done.returncode == 0, log[-3000:]
    assert "\\begin{table}[t]" in as_latex(wide), "it takes one column"
    assert not re.findall(r"Overfull .*in alignment", log)
    assert not [width for width in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log) if float(width) > 2], log[-3000:]


def test_a_word_document_holds_the_names_as_text() -> None:
    docx = pytest.importorskip("docx")
    document = docx.Document(io.BytesIO(as_docx(paper(HOSTILE), HOSTILE)))
    shown = [cell.text for row in document.tables[0].rows for cell in row.cells[:1]][1:]
    assert shown == [f"{visible(name)} ↑" for name in HOSTILE]


def test_html_pages_escape_names(tmp_path: Path) -> None:
    def build(_: object) -> Section:
        from matplotlib.figure import Figure

        def draw() -> tuple[Figure, list[tuple[int | None, str]]]:
            figure = Figure()
            axes = figure.add_subplot()
            axes.set_title(" ".join(visible(name) for name in HOSTILE))
            line = axes.plot([0, 1], label="x")[0]
            line.set_gid("tip-0")
            return figure, [(0, " ".join(HOSTILE))]

        return Section(title=HOSTILE[12], paragraphs=HOSTILE, code=HOSTILE[13], figures=(Drawing(name="one", draw=draw),),
                       tables=(Table(name="two", head=HOSTILE, rows=(HOSTILE,)),))

    page, = explain_page.write([build], tmp_path, title=HOSTILE[12], headline=lambda _: HOSTILE[12],
                               facts={"data": HOSTILE[12]}, languages=["en"])
    text = page.read_text()
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert html.escape(HOSTILE[12]) in text
    assert "<script>" not in (tmp_path / "figures" / "one.svg").read_text()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_one_line_without_hidden_characters(name: str) -> None:
    for escape in (visible, markdown, latex, csv_cell):
        shown = escape(name)
        assert shown.isprintable(), shown
    assert visible("\u202ea") != visible("a")


@pytest.mark.parametrize("text", ["7e831e26acca28bfd098", "640 pixels", "0.5x", ":name", ";", "1,440 images", "a; b", "<3"])
def test_a_cell_without_a_formula_does_not_change(text: str) -> None:
    assert csv_cell(text) == text
