"""The style of figures: colours, markers, tooltips, and the output as SVG for the page or as a file for a paper.

Text and verdicts are drawn in placeholder colours. For the page they are replaced by CSS variables, so that a figure fits
the light and the dark theme. An element with a tooltip gets a numbered id, which is replaced by its arm and its text.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from functools import cache
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from yolograft.report.summary import Summary
from yolograft.report.words import Translator
from yolograft.study.verdict import Word

__all__ = ["COLOURS", "PAPER", "WORDS", "Draw", "Drawn", "Plain", "Tips", "chinese_fonts", "colour", "dash",
           "inline", "legend", "marker", "save", "short", "text_colour", "tip"]

_TEXT, PAPER = "#123456", "#fefdfc"  # placeholders for the page's text and background colours
WORDS = {Word.HELPS: "#1a7f37", Word.HURTS: "#c8321f", Word.DIFFERS: "#9a6300", Word.EQUIVALENT: "#1d63a8",
         Word.UNDECIDED: "#6b7079", Word.FEW: "#8a8f97", Word.NONE: "#8b9098"}
_PAGE = {_TEXT: "currentColor", PAPER: "var(--paper)", WORDS[Word.HELPS]: "var(--helps)",
         WORDS[Word.HURTS]: "var(--hurts)", WORDS[Word.DIFFERS]: "var(--warn)", WORDS[Word.EQUIVALENT]: "var(--accent)",
         WORDS[Word.NONE]: "var(--few)", WORDS[Word.UNDECIDED]: "var(--open)", WORDS[Word.FEW]: "var(--few)"}
COLOURS = ("#3b82c4", "#e0781e", "#1f9e77", "#c4629b", "#a88a14", "#8a6fd1", "#2aa5c0")  # legible on white and black
_BASELINE = "#7d828b"
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)))  # for arms that share a colour
_MARKERS = "osD^"
_STYLE: Any = {
    "text.parse_math": False,  # a class or a file can have a name with $
    "axes.formatter.useoffset": False,  # no offset such as "+4.072e-1" beside an axis
    "axes.formatter.limits": (-6, 9),  # and no factor such as "1e-5"
    "font.size": 10, "font.family": "sans-serif", "svg.fonttype": "none", "svg.hashsalt": "yolograft", "pdf.fonttype": 42,
    "figure.constrained_layout.use": True, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "axes.linewidth": 0.8, "xtick.major.width": 0.8, "ytick.major.width": 0.8, "grid.alpha": 0.13, "grid.linewidth": 0.8,
}
_CHINESE = ("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Microsoft YaHei", "SimHei", "PingFang SC",
            "Heiti SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Noto Sans CJK JP")  # installed on the usual systems
_COLOUR_KEYS: Any = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color")

Tips = list[tuple["int | None", str]]  # (index of the arm or None, text of the tooltip)
Drawn = tuple[Figure, Tips]
Draw = Callable[[Summary, Translator], "Drawn | None"]
Plain = Callable[[], "Drawn | None"]  # draws a figure in the current style


def text_colour() -> str:
    """Return the colour of text and axes in the current figure."""
    return str(mpl.rcParams["text.color"])


def colour(summary: Summary, arm: str) -> str:
    """Return an arm's colour. With more than seven arms, `dash` and `marker` distinguish arms of one colour."""
    place = summary.places[arm]
    return COLOURS[(place - 1) % len(COLOURS)] if place else _BASELINE


def dash(summary: Summary, arm: str) -> Any:
    """Return an arm's line style."""
    return _DASHES[(summary.places[arm] - 1) // len(COLOURS) % len(_DASHES)] if summary.places[arm] else "-"


def marker(summary: Summary, arm: str) -> str:
    """Return an arm's marker."""
    return _MARKERS[(summary.places[arm] - 1) // len(COLOURS) % len(_MARKERS)] if summary.places[arm] else "o"


def short(text: str, most: int = 34) -> str:
    """Shorten a text in its middle to `most` characters."""
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:most - 1 - half]}…{text[-half:]}"


def tip(tips: Tips, artist: Any, arm: int | None, text: str) -> None:
    """Give an artist a tooltip with a text, and the index of its arm (or None)."""
    artist.set_gid(f"tip-{len(tips)}")
    tips.append((arm, text))


def legend(figure: Figure, tips: Tips, summary: Summary, arms: list[str], columns: int = 4, *, lines: bool = False) -> None:
    """Draw the legend of the arms below a figure, with their markers or their lines."""
    handles = []
    for arm in arms:
        look: Any = {"linestyle": dash(summary, arm), "linewidth": 1.7} if lines else \
            {"linestyle": "", "marker": marker(summary, arm), "markersize": 7}
        handles.append(Line2D([], [], color=colour(summary, arm), label=short(arm, 30), **look))
    drawn = figure.legend(handles=handles, loc="outside lower center", ncols=min(columns, len(arms)), fontsize=9,
                          handlelength=2.6 if lines else 1.2)
    for arm, text, handle in zip(arms, drawn.get_texts(), drawn.legend_handles, strict=True):
        tip(tips, text, summary.places[arm], arm)
        tip(tips, handle, summary.places[arm], arm)


def inline(draw: Plain, name: str) -> str | None:
    """Return a figure as SVG for the page, with CSS colours, arms and tooltips; None if it has no data."""
    with mpl.rc_context({**_STYLE, **dict.fromkeys(_COLOUR_KEYS, _TEXT)}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # Chinese, which the fonts of the browser have
        drawn = draw()
        if drawn is None:
            return None
        figure, tips = drawn
        text = _bytes(figure, "svg").decode()
    text = text[text.index("<svg"):]
    for sentinel, own in _PAGE.items():
        text = text.replace(sentinel, own)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)  # use the fonts of the page, which have Chinese glyphs
    text = re.sub(r'<g id="tip-(\d+)">', lambda m: _marked(*tips[int(m[1])]), text)
    # several figures are on one page, so their ids must differ
    text = re.sub(r'(id="|url\(#|href="#)', lambda m: m[1] + name + "-", text)
    width = round(figure.get_figwidth() * 104)
    return re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', lambda m: (
        f'<svg viewBox="{m[1]}" style="width:{width}px" role="img" aria-label="{escape(name)}">'), text, count=1)


def _marked(arm: int | None, text: str) -> str:
    owned = "" if arm is None else f' class="mark" data-arm="{arm}"'
    return f'<g{owned} data-tip="{escape(text)}">'


def save(draw: Plain, format: str, *, width: float | None = None) -> bytes | None:
    """Return a figure for a paper, in black, as `svg`, `pdf` or `png` (300 dpi, on white); None if it has no data.

    Args:
        draw: draws the figure.
        format: the file format.
        width: the largest width in inches. The text keeps its size, so that it is legible in print.
    """
    fonts: Any = {"font.family": ["sans-serif", *chinese_fonts()]}
    with mpl.rc_context({**_STYLE, **fonts, **dict.fromkeys(_COLOUR_KEYS, "black")}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a file of an arm can have a Chinese name
        drawn = draw()
        if drawn is None:
            return None
        if width is not None:
            drawn[0].set_figwidth(min(width, drawn[0].get_figwidth()))
        return _bytes(drawn[0], format)


@cache
def chinese_fonts() -> tuple[str, ...]:
    """Return the installed fonts with Chinese glyphs, which figures use where their main font has no glyph."""
    known = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(name for name in _CHINESE if name in known)[:1]


def _bytes(figure: Figure, format: str) -> bytes:
    FigureCanvasAgg(figure)
    file = io.BytesIO()
    if format == "png":
        figure.savefig(file, format=format, dpi=300, facecolor="white")
        return file.getvalue()
    dateless = {"Date": None} if format == "svg" else {"CreationDate": None}
    figure.savefig(file, format=format, dpi=300, transparent=True, metadata=dateless)  # the dpi of pictures in it
    return file.getvalue()
