"""Laws of the page of a study, on a set of generated studies of different kinds."""

import math
import re
from html import unescape
from html.parser import HTMLParser
from itertools import combinations, pairwise
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from generated_studies import KINDS, make
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from yolograft.errors import GraftError
from yolograft.language import speaking
from yolograft.patch import patched
from yolograft.report import style, tables, write
from yolograft.report.captions import caption
from yolograft.report.figures import FIGURES
from yolograft.report.page import page
from yolograft.report.pictures import Gallery, gallery
from yolograft.report.summary import Summary
from yolograft.report.words import TEXTS, Translator
from yolograft.study import holdout

DRAWN = [name for name in FIGURES if name != "network"]  # the dummy host has no network
MINUS_ZERO = re.compile(r"(?<![\d.])[-−]0(\.0*)?(?![\d.])")
HALF_WIDTH = re.compile(r"[,;:] ?[\u4e00-\u9fff]|[\u4e00-\u9fff][,;:](?!\S)|[，。；：、）] +[\u4e00-\u9fff]")
SENTENCE = re.compile(r"(?:\b[A-Za-z]{2,}[ ,;:.]+){3}[a-z]{2,}")


@pytest.fixture(scope="module", params=list(KINDS))
def summary(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return Summary(make(tmp_path_factory.mktemp("studies") / "study", **KINDS[request.param]).parts[0])


@pytest.fixture(scope="module")
def pages(summary: Summary) -> dict[str, str]:
    found = {}
    for language in ("en", "zh"):
        with speaking(language):
            images = gallery(summary)  # there are none, for a reason in this language
        found[language] = page(summary, Translator(language), images)
    return found


class _Shown(HTMLParser):
    """Collects what a reader sees: texts and tooltips, without code, the plan and the names of the study."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.hidden = 0
        self.figures: list[int] = []  # number of captions of each figure

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag in ("style", "script", "pre", "code")
        if tag == "figure":
            self.figures.append(0)
        elif tag == "figcaption":
            self.figures[-1] += 1
        self.texts += [value or "" for key, value in attrs if key in ("title", "data-tip", "aria-label")]

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("style", "script", "pre", "code")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.texts.append(data)


def shown(html: str) -> _Shown:
    parser = _Shown()
    parser.feed(html)
    return parser


@pytest.fixture(scope="module")
def figures(summary: Summary) -> dict[str, Figure]:
    """The figures of a study as they are drawn for a page."""
    found: list[Figure] = []

    def keep(figure: Figure, format: str) -> bytes:
        FigureCanvasAgg(figure).draw()
        found.append(figure)
        return b""

    named = {}
    with patched((style, "_bytes", keep)):
        for name in DRAWN:
            if style.save(lambda name=name: FIGURES[name](summary, Translator("en")), "svg") is not None:
                named[name] = found[-1]
    return named


def test_intervals_of_single_sizes_and_classes_are_those_of_the_verdicts(summary: Summary) -> None:
    """The dummy's value of each size and class is the metric times a number, so its interval is, too."""
    if len(summary.study.plan.copies) > 1:
        return  # the verdicts compare with the mean of all copies, the exploratory tables with the baseline
    for arm, verdict in summary.verdicts.items():
        for name, factor in (("small", 0.5), ("large", 1.1)) if summary.sizes else ():
            if verdict.seeds and math.isfinite(verdict.t_interval[0]):
                own = summary.sizes[arm][name]
                assert (own.low, own.high) == pytest.approx([factor * end for end in verdict.t_interval])
        if "patches" in summary.classes.get(arm, {}) and math.isfinite(verdict.t_interval[0]):
            own = summary.classes[arm]["patches"]
            assert (own.low, own.high) == pytest.approx([1.2 * end for end in verdict.t_interval])


def test_no_number_that_rounds_to_0_has_a_minus_sign(summary: Summary, pages: dict[str, str]) -> None:
    for language, html in pages.items():
        for text in shown(html).texts:
            assert not MINUS_ZERO.search(text), (language, text)
    for build in tables.TABLES.values():
        for row in build(summary):
            assert not any(MINUS_ZERO.search(cell) for cell in row), row


def test_no_language_is_left_on_the_page_of_the_other(summary: Summary, pages: dict[str, str]) -> None:
    names = {row.name for row in summary.rows} | {row.reason for row in summary.study.rows if row.reason}
    for text in shown(pages["zh"]).texts:
        for name in sorted(names, key=len, reverse=True):
            text = text.replace(name, "")
        assert not SENTENCE.search(unescape(text)), text
    assert set(re.findall(r"[\u4e00-\u9fff]+", " ".join(shown(pages["en"]).texts))) <= {"中文"}


def test_the_chinese_page_has_chinese_punctuation(summary: Summary, pages: dict[str, str]) -> None:
    names = {row.reason for row in summary.study.rows if row.reason}
    for text in shown(pages["zh"]).texts:
        for name in names:
            text = text.replace(name, "")
        assert not HALF_WIDTH.search(unescape(text)), text


def test_the_page_of_a_data_set_leads_to_those_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("steel.yaml", "a/tin one.yaml", "a/steel.yaml"):  # two have the same name, so their folders tell them apart
        (tmp_path / name).write_text(f"names: [{name}]")
    data = ",".join(str(tmp_path / name) for name in ("steel.yaml", "a/tin one.yaml", "a/steel.yaml"))
    study = make(tmp_path / "study", "none; se@8 effect=0.05; cbam@8; aa", data=data)
    written = write(study, tmp_path / "report")
    assert len(written) == 6
    for file in written:
        table = re.search(r'<table id="sets">.*?</table>', file.read_text(encoding="utf-8"), re.DOTALL)
        assert table is not None
        links = [(file.parent / unquote(link)).resolve() for link in re.findall(r'href="(.*?)"', table[0])]
        assert sorted(links) == sorted(one.resolve() for one in written if one.name == file.name and one != file)
        assert table[0].count("<tr data-arm") == 3
        assert len(re.findall(r'class="word helps"', table[0])) == 3


def test_the_page_of_splits_names_them_and_offers_no_test_that_is_refused(summary: Summary, pages: dict[str, str]) -> None:
    splits, text = summary.study.plan.splits, "".join(shown(pages["en"]).texts)
    assert ("splits" in re.findall(r"<span>(\w+) <b>", pages["en"])) == (splits is not None)
    if splits is not None:
        with pytest.raises(GraftError):
            holdout.check(summary.study.plan)
        assert "test=True" not in text


def test_chinese_is_not_left_on_the_english_page_of_a_chinese_terminal(
    summary: Summary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YOLOGRAFT_LANG", "zh")
    html = page(Summary(summary.study), Translator("en"), Gallery())
    assert not re.findall(r"[\u4e00-\u9fff]+", " ".join(shown(html).texts))


def test_every_figure_has_one_caption(pages: dict[str, str]) -> None:
    for html in pages.values():
        parser = shown(html)
        assert parser.figures == [1] * html.count("<svg viewBox")
        assert "<figcaption class=\"note\"></figcaption>" not in html


def test_a_caption_speaks_of_what_is_drawn_and_of_nothing_else(summary: Summary, figures: dict[str, Figure]) -> None:
    say = Translator("en")

    def lines(name: str) -> list[str]:
        return [str(line.get_label()) for axes in figures[name].axes for line in axes.get_lines()]

    def has_bands(name: str) -> bool:
        return any(isinstance(one, PolyCollection) for axes in figures[name].axes for one in axes.collections)

    marks = {
        "forest_bars": lambda: any(line.get_linewidth() == 2.6 for line in figures["forest"].axes[0].get_lines()),
        "forest_band": lambda: bool(figures["forest"].axes[0].patches),
        "cost_front": lambda: "_front" in lines("tradeoff"),
        "cost_intervals": lambda: "_interval" in lines("tradeoff"),
        "curve_both": lambda: len(figures["curves"].axes) == 2,
        "curve_bands": lambda: has_bands("curves") and len(summary.banded) == len(summary.curves),
        "curve_some_bands": lambda: has_bands("curves") and len(summary.banded) < len(summary.curves),
    }
    names = {"forest": "forest", "cost": "tradeoff", "curve": "curves"}
    for key, is_drawn in marks.items():
        name = names[key.partition("_")[0]]
        if name in figures:
            assert (TEXTS[key][0] in caption(name, summary, say)) == is_drawn(), key


def test_no_texts_of_a_figure_overlap(figures: dict[str, Figure]) -> None:
    for name, figure in figures.items():
        renderer = FigureCanvasAgg(figure).get_renderer()
        upright: list[Text] = []
        for axes in figure.axes:
            ticks = []
            for axis in (axes.xaxis, axes.yaxis):
                low, high = sorted(axis.get_view_interval())
                room = 1e-6 * (high - low)
                labels = [tick.label1 for tick in axis.get_major_ticks()
                          if low - room <= tick.get_loc() <= high + room and tick.label1.get_text()
                          and tick.label1.get_visible()]
                ticks += labels
                slanted = [label for label in labels if label.get_rotation()]
                for one, other in pairwise(slanted):  # their distance across the slant
                    boxes = [label.get_window_extent(renderer) for label in (one, other)]
                    distance = abs(boxes[1].x1 - boxes[0].x1) * np.sin(np.radians(one.get_rotation()))
                    assert distance >= one.get_fontsize() * figure.dpi / 72, (name, one.get_text(), other.get_text())
            upright += [label for label in ticks if not label.get_rotation()]
            upright += [text for text in (axes.xaxis.label, *axes.texts) if text.get_text() and text.get_visible()]
        upright += [text for legend in figure.legends for text in legend.get_texts()]
        boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in upright]
        for (first, box), (second, other) in combinations(boxes, 2):
            assert not box.shrunk(0.98, 0.9).overlaps(other.shrunk(0.98, 0.9)), (name, first, second)


def test_all_dots_and_intervals_of_the_costs_are_inside_the_axes(figures: dict[str, Figure]) -> None:
    for axes in figures["tradeoff"].axes if "tradeoff" in figures else []:
        (left, right), (low, high) = sorted(axes.get_xlim()), sorted(axes.get_ylim())
        for x, y in (point for line in axes.get_lines() for point in line.get_xydata()):
            assert left < x < right
            assert low < y < high


def test_colour_scales_are_centred_on_0(summary: Summary, figures: dict[str, Figure]) -> None:
    if "classes" not in figures:
        assert not summary.classes or len(summary.rows) == 1 or set(summary.classes) == {summary.baseline}
        return
    bars = [axes for axes in figures["classes"].axes if axes.get_label() == "<colorbar>"]
    assert len(bars) == 1
    low, high = bars[0].get_ylim()
    assert low == pytest.approx(-high)
    assert high >= 0.001, "differences that are printed as 0 do not look strong"
    labels = [label.get_text() for label in bars[0].get_yticklabels()]
    assert labels[2] == "0.000" or float(labels[2]) == 0
    assert len(set(labels)) == 5


def test_ratios_that_mean_nothing_are_not_printed(pages: dict[str, str]) -> None:
    for number in re.findall(r"([\d.]+) times smaller", pages["en"]):
        assert float(number) <= 100, number


def test_a_missing_figure_has_a_reason(pages: dict[str, str]) -> None:
    assert pages["en"].count("No figure") == len(FIGURES) - pages["en"].count("<svg viewBox")


def test_the_tables_say_the_same_as_the_page(summary: Summary, pages: dict[str, str]) -> None:
    header, *rows = tables.verdicts(summary)
    body = re.search(r'<table class="sortable" id="verdicts">.*?</table>', pages["en"], re.DOTALL)
    assert body is not None
    cells = [[unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in re.findall(r"<td.*?</td>", line, re.DOTALL)]
             for line in re.findall(r"<tr data-arm.*?</tr>", body[0], re.DOTALL)]
    assert len(cells) == len(rows) == len(summary.rows)
    for row, seen in zip(rows, cells, strict=True):
        record = dict(zip(header, row, strict=True))
        assert seen[0].startswith(record["arm"])
        assert seen[1].lstrip("▲▼◆＝●○ ") == record["verdict"]
        assert seen[2] == record[summary.metric]
        assert seen[3] == record["difference"].replace("-", "−")
        interval = record["difference 95% interval"].replace("-", "−").replace(" to ", " … ")
        assert seen[4] == interval
