"""The ablation table of a paper as LaTeX, Markdown and CSV. Names are escaped in each; see `escapes`."""

from __future__ import annotations

from yolograft import __version__
from yolograft.escapes import csv_text, latex, markdown
from yolograft.language import width_of
from yolograft.report.paper_table import Cell, PaperTable, Row

__all__ = ["as_csv", "as_latex", "as_markdown"]

_BREAK_AFTER = "@,(+=;:/_ "
_LONGEST = 10  # characters of a name without a break
_NARROW, _WIDE = 0.14, 0.30  # of the column's width, for the names of arms


def as_latex(table: PaperTable) -> str:
    """Return the table as a LaTeX float that fits one column of a two-column paper. It needs the package booktabs.

    Names of arms can break after punctuation. The Chinese table needs XeLaTeX or LuaLaTeX with the package ctex.
    """
    needs = r"\usepackage{ctex,booktabs}, XeLaTeX" if table.language == "zh" else r"\usepackage{booktabs}"
    longest = max((width_of(row.arm) + 1 for row in table.rows), default=1)
    width = min(_WIDE, max(_NARROW, 0.018 * longest))
    spec = rf"@{{}}p{{{width:.2f}\columnwidth}}{'c' * len(table.head)}@{{}}"
    lines = [f"% yolograft {__version__}; needs {needs}", r"\begin{table}[t]", r"\centering",
             rf"\caption{{{latex(table.caption)}}}", r"\label{tab:ablation}", r"\scriptsize",
             r"\setlength{\tabcolsep}{2.2pt}", rf"\begin{{tabular}}{{{spec}}}", r"\toprule",
             " & ".join([_breakable(table.arm), *(latex(name) for name in table.head)]) + r" \\", r"\midrule"]
    for before, row in zip((None, *table.rows), table.rows, strict=False):
        if before is not None and row.control and not before.control:
            lines.append(r"\midrule")
        mark = rf"\,{latex(row.mark)}" if row.mark else ""
        lines.append(" & ".join([r"\raggedright " + _breakable(row.arm) + mark, *map(_latex_cell, row.cells)])
                     + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", "", r"\vspace{2pt}",
                      rf"\parbox{{\columnwidth}}{{\scriptsize {latex(table.note)}}}", r"\end{table}", ""])


def _breakable(name: str) -> str:
    """Return a name for LaTeX that can break after punctuation, and in long words."""
    pieces, piece = [], ""
    for character in name:
        piece += character
        if character in _BREAK_AFTER or len(piece) >= _LONGEST:
            pieces.append(piece)
            piece = ""
    return r"\allowbreak{}".join(latex(one) for one in [*pieces, piece] if one)


def _latex_cell(cell: Cell) -> str:
    text = rf"\textbf{{{cell.text}}}" if cell.bold else latex(cell.text)
    return text + (rf"{{\tiny$\,\pm\,${cell.spread.removeprefix('0')}}}" if cell.spread else "")


def as_markdown(table: PaperTable) -> str:
    """Return the table, its caption and its footnote as Markdown."""
    lines = [markdown(table.caption), "", _line([table.arm, *table.head]), _line(["---", *["---:"] * len(table.head)])]
    for row in table.rows:
        lines.append(_line([markdown(row.arm) + (f" {row.mark}" if row.mark else ""), *map(_markdown_cell, row.cells)]))
    return "\n".join([*lines, "", markdown(table.note), ""])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(cell: Cell) -> str:
    text = f"**{cell.text}**" if cell.bold else cell.text
    return f"{text} ± {cell.spread}" if cell.spread else text


def as_csv(table: PaperTable) -> bytes:
    """Return the table as CSV in UTF-8, with means and standard deviations in columns of their own, and the verdict.

    It begins with a byte order mark, without which Excel reads Chinese in another encoding. pandas skips the mark.
    """
    has_spread = [any(row.cells[place].spread for row in table.rows) for place in range(len(table.head))]
    head = [table.arm]
    for name, spread in zip(table.head, has_spread, strict=True):
        head += [name, table.spread.format(metric=name)] if spread else [name]
    lines = [[*head, table.verdict], *(_csv_row(row, has_spread) for row in table.rows)]
    return csv_text(lines).encode("utf-8-sig")


def _csv_row(row: Row, has_spread: list[bool]) -> list[str]:
    cells = [row.arm]
    for cell, spread in zip(row.cells, has_spread, strict=True):
        text = "" if cell.text == "–" else cell.text
        cells += [text, cell.spread] if spread else [text]
    return [*cells, row.word]
