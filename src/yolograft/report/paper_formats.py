"""The ablation table of a paper as LaTeX, Markdown and CSV. Names are escaped in each; see `escapes`."""

from __future__ import annotations

from yolograft import __version__
from yolograft.escapes import csv_text, latex, markdown, visible
from yolograft.language import width_of
from yolograft.report.paper_table import Cell, PaperTable, Row

__all__ = ["as_csv", "as_latex", "as_markdown"]

_BREAK_AFTER = "@,(+=;:/_ "
_LONGEST = 6  # characters of a name without a break
_COLUMN = 232.0  # points: the column of CVPR's style, the narrowest of the usual ones (237; IEEE: 252), and some room
_GAP = 1.1  # points to the left and to the right of a cell
_SIZES = ((r"\scriptsize", 1.0), (r"\fontsize{6}{7.2}\selectfont", 0.87))  # 7 points, and 6
_SPREAD = 19.6  # points: the width of ` ± .016` at 7 points, as a subscript, which has 5 points in both
_LEAST, _MOST = 0.10, 0.30  # of the column's width, for the names of arms


def as_latex(table: PaperTable) -> str:
    """Return the table as a LaTeX float that fits one column of a two-column paper. It needs the package booktabs.

    Names of arms can break after punctuation. A table with many columns has a smaller font, or takes both columns of the
    paper. The Chinese table needs XeLaTeX or LuaLaTeX with the package ctex.
    """
    needs = r"\usepackage{ctex,booktabs}, XeLaTeX" if table.language == "zh" else r"\usepackage{booktabs}"
    heads = [_two_lines(name) for name in table.head]
    columns = [(head, [row.cells[place] for row in table.rows]) for place, head in enumerate(heads)]
    fitting = [(size, 1 - sum(_points(head, cells, scale) + 2 * _GAP for head, cells in columns) / _COLUMN)
               for size, scale in _SIZES]
    size, left = next((one for one in fitting if one[1] >= _LEAST), fitting[0])
    float_ = "table" if left >= _LEAST else "table*"
    spec = rf"@{{}}p{{{min(_MOST, max(left, _LEAST)):.2f}\columnwidth}}{'c' * len(heads)}@{{}}"
    lines = [f"% yolograft {__version__}: {needs}", rf"\begin{{{float_}}}[t]", r"\centering",
             r"\setlength{\belowcaptionskip}{4pt}", rf"\caption{{{latex(table.caption)}}}", r"\label{tab:ablation}", size,
             rf"\setlength{{\tabcolsep}}{{{_GAP}pt}}", rf"\begin{{tabular}}{{{spec}}}", r"\toprule",
             " & ".join(["", *(latex(upper) for upper, _ in heads)]) + r" \\",
             " & ".join([latex(table.arm), *(latex(lower) for _, lower in heads)]) + r" \\", r"\midrule"]
    for before, row in zip((None, *table.rows), table.rows, strict=False):
        if before is not None and row.control and not before.control:
            lines.append(r"\midrule")
        mark = rf"\,{latex(row.mark)}" if row.mark else ""
        lines.append(" & ".join([r"\raggedright " + _breakable(row.arm) + mark, *map(_latex_cell, row.cells)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", "", r"\vspace{2pt}",
                      rf"\parbox{{\linewidth}}{{\scriptsize {latex(table.note)}}}", rf"\end{{{float_}}}", ""])


def _two_lines(name: str) -> tuple[str, str]:
    """Return a column's heading in two lines, which makes it narrow: `mAP`, `50-95` and `Params`, `(M)`."""
    if name.startswith("mAP") and name != "mAP":
        return "mAP", name.removeprefix("mAP")
    upper, bracket, lower = name.partition(" (")
    return (upper, f"({lower}") if bracket else ("", name)


def _points(head: tuple[str, str], cells: list[Cell], scale: float) -> float:
    """Return the estimated width of a column in points."""
    numbers = [scale * _wide(cell.text.removeprefix("0")) + _SPREAD if cell.spread else scale * _wide(cell.text)
               for cell in cells]
    return max([*numbers, *(scale * _wide(line) for line in head)])


def _wide(text: str) -> float:
    """Return the estimated width of a text at 7 points, in Computer Modern, which is wider than Times."""
    return sum(7.2 if width_of(one) == 2 else 5.3 if one.isupper() else 4.3 if one.islower() else 2 if one in ".()" else 4
               for one in text)


def _breakable(name: str) -> str:
    """Return a name for LaTeX that can break after punctuation, and in long words."""
    pieces, piece = [], ""
    for character in visible(name):
        piece += character
        if character in _BREAK_AFTER or len(piece) >= _LONGEST:
            pieces.append(piece)
            piece = ""
    return r"\allowbreak{}".join(latex(one) for one in [*pieces, piece] if one)


def _latex_cell(cell: Cell) -> str:
    number = cell.text.removeprefix("0") if cell.spread else cell.text  # .412, as the column is narrow
    text = rf"\textbf{{{latex(number)}}}" if cell.bold else latex(number)
    return text + (rf"$_{{\pm{cell.spread.removeprefix('0')}}}$" if cell.spread else "")


def as_markdown(table: PaperTable) -> str:
    """Return the table, its caption and its footnote as Markdown."""
    lines = [markdown(table.caption), "", _line([table.arm, *map(markdown, table.head)]),
             _line(["---", *["---:"] * len(table.head)])]
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
