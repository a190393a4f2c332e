"""The page of `yolograft explain`: sections with tables and figures, in both languages, with files for papers."""

import re
import struct

import pytest
from matplotlib.figure import Figure

from yolograft.errors import GraftError
from yolograft.report.explain_page import write
from yolograft.report.section import Cell, Drawing, Section, Table
from yolograft.report.style import Tips, tip

TEXTS = {"Gates": ("Gates", "门控"), "gates_note": ("What the gates did.", "门控的作用。")}


def drawn():
    figure, tips = Figure(figsize=(3, 2)), Tips()
    tip(tips, figure.add_subplot().plot([1, 2])[0], None, "a line <1>")
    return figure, tips


def gates(say):
    table = Table(name="gates", head=("graft", Cell(text="mean", hint="over images")), rows=(
        (Cell(text="se@8", look="arm"), Cell(text="1.02", value=1.0213)), ("a|b & c", "")), note="note below")
    return Section(title=say("Gates"), paragraphs=(say("gates_note"),), tables=(table,),
                   figures=(Drawing(name="line", draw=drawn, caption="a caption"), Drawing(name="empty", draw=lambda: None)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain") / "new"
    write([gates], folder, title="best.pt", headline=lambda say: say("Gates"), facts={"model": "a & b"}, texts=TEXTS)
    return folder


def test_both_pages_have_the_section_in_their_language(folder):
    english, chinese = ((folder / name).read_text(encoding="utf-8") for name in ("explain.html", "explain.zh.html"))
    assert "What the gates did." in english
    assert "门控的作用。" in chinese
    assert 'href="explain.zh.html"' in english
    assert 'lang="zh-CN"' in chinese
    for text in (english, chinese):
        assert '<td class="left arm">se@8</td>' in text
        assert 'data-value="1.0213">1.02</td>' in text
        assert "a|b &amp; c" in text
        assert "a &amp; b" in text
        assert 'data-tip="a line &lt;1&gt;"' in text


def test_the_page_loads_no_other_file(folder):
    text = (folder / "explain.html").read_text()
    assert not re.search(r'(src|href)="(?!#|data:|explain)', text.replace('href="explain.zh.html"', ""))


def test_every_figure_is_saved_for_papers(folder):
    files = {file.name for file in (folder / "figures").iterdir()}
    assert files == {"line.svg", "line.pdf", "line.png"}, "and none for a figure without data"
    width, height = struct.unpack(">II", (folder / "figures" / "line.png").read_bytes()[16:24])
    assert (width, height) == (900, 600)


def test_every_table_is_saved_for_papers(folder):
    assert (folder / "tables" / "gates.csv").read_text() == "graft,mean\nse@8,1.02\na|b & c,\n"
    assert (folder / "tables" / "gates.tex").read_text().count(r"\\") == 3


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GraftError, match=r"page cannot be written to .*file"):
        write([gates], tmp_path / "file" / "x", title="", headline=lambda say: "", facts={}, texts=TEXTS)


def test_a_figure_without_data_says_so(folder):
    assert "there are no data for it" in (folder / "explain.html").read_text()
