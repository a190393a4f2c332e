"""Escapes of users' texts (names of arms, classes and files) for the tables that the project writes: CSV, Markdown, LaTeX.

HTML pages are escaped by Jinja. Every writer of a table uses these functions, because a name can come from a stranger's
data set: a spreadsheet runs a cell that begins with `=`, a Markdown viewer shows `<script>` as HTML, and LaTeX reads a file
at `\\input`.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Sequence

__all__ = ["csv_cell", "csv_text", "latex", "markdown", "visible"]

_FORMULA = "=+-@\uff1d\uff0b\uff0d\uff20"  # with the full-width forms, which Excel reads in East Asian languages
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?%?"
_NUMBERS = re.compile(rf"{_NUMBER}(?:\s*(?:to|至|±|/)\s*{_NUMBER})?", re.IGNORECASE)
_MARKDOWN = re.compile(r"([\\`*_{}\[\]|$~])")  # characters that GitHub's Markdown, or a viewer with formulas, reads
_LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
          "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}",
          "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "{''}", "`": "{}`{}",
          "[": "{[}", "]": "{]}", "*": "{*}",  # after a line break they would be its arguments
          "↑": r"$\uparrow$", "↓": r"$\downarrow$", "◇": r"$\diamond$", "•": r"$\bullet$", "○": r"$\circ$",
          "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "–": "--", "—": "---", "…": r"\ldots{}", "≤": r"$\le$",
          "≥": r"$\ge$", "“": "``", "”": "''", "‘": "`", "’": "'", "τ": r"$\tau$"}
_LIGATURES = re.compile(r"(?<=-)(?=-)|(?<=,)(?=,)")  # they would become a dash and a quotation mark


def visible(text: str) -> str:
    r"""Return a text in one line, with every invisible character written as an escape such as `\u202e`.

    Marks of the direction of writing would otherwise change what a reader sees, and two different names would look the same.
    """
    return "".join(_shown(character) for character in re.sub(r"[\r\n\t\v\f\x85\u2028\u2029]+", " ", text))


def _shown(character: str) -> str:
    if character.isprintable() or character == " ":
        return character
    if unicodedata.category(character) == "Zs":
        return " "
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"


def csv_cell(text: str) -> str:
    """Return a cell that no spreadsheet reads as a formula; numbers and intervals of numbers do not change.

    An apostrophe before `=`, `+`, `-` or `@` makes a text of it, also after a separator that another language setting of the
    spreadsheet uses.
    """
    shown = visible(text)
    if _NUMBERS.fullmatch(shown):
        return shown
    return re.sub(rf"(^|[;,|\"])(\s*)(?=[{re.escape(_FORMULA)}])", r"\1\2'", shown)


def csv_text(table: Sequence[Sequence[str]]) -> str:
    """Return a table as CSV. Write it with a byte order mark if Excel should open texts that are not English."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([csv_cell(cell) for cell in row] for row in table)
    return text.getvalue()


def markdown(text: str) -> str:
    r"""Return a text for a cell or a line of Markdown.

    >>> markdown("<b> a|b")
    '&lt;b&gt; a\\|b'
    """
    shown = _MARKDOWN.sub(r"\\\1", visible(text)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"^(\s*)([#+=-])(?=[\s#+=-])", r"\1\\\2", shown)  # no list or heading at the start of a line


def latex(text: str) -> str:
    r"""Return a text for LaTeX, for pdfLaTeX as far as it has the characters.

    >>> latex("se_1 & 5%")
    'se\\_1 \\& 5\\%'
    """
    pieces = _LIGATURES.split(visible(text))
    return "{}".join("".join(_LATEX.get(character, character) for character in piece) for piece in pieces)
