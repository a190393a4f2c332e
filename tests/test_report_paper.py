"""The paper kit: what is bold, what the sentences say, which files are kept, and the command."""

from __future__ import annotations

import csv
import io
import re
import string
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from generated_studies import make

from yolograft.cli import main
from yolograft.errors import GraftError
from yolograft.report import paper, paper_docx, paper_words
from yolograft.report.paper_files import RECORD, write_files
from yolograft.report.paper_formats import as_csv, as_latex, as_markdown
from yolograft.report.paper_sentences import sentence, sentences
from yolograft.report.paper_table import MARKS, best, paper_table
from yolograft.report.signed import number
from yolograft.report.summary import Summary
from yolograft.report.words import LANGUAGES, Translator
from yolograft.study import Study, run
from yolograft.study.verdict import Verdict, Word

WORDS = {"data": "somewhere/NEU-DET.yaml", "model": "yolo11n.pt", "epochs": 2, "host": "yolograft.study.dummy", "seeds": 6}
ARMS = "none; se@8 effect=0.05; cbam@8 effect=0.01; eca@8; se@p3 fail=error; aa; params(se@8)"
EN, ZH = (Translator(language, paper_words.TEXTS) for language in LANGUAGES)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("study")
    (folder / "NEU-DET.yaml").write_text("names: [a]\n")
    return run({**WORDS, "data": str(folder / "NEU-DET.yaml"), "arms": ARMS}, folder / "demo", workers=2)


def with_words(study: Study, **words: tuple[Word, float, float]) -> Summary:
    """Return a summary whose arms have these words and intervals, by the arm's first letters."""
    summary = Summary(replace(study))
    changed = {}
    for arm, verdict in summary.verdicts.items():
        word, low, high = next((value for key, value in words.items() if arm.startswith(key)), (Word.UNDECIDED, -0.01, 0.01))
        changed[arm] = replace(verdict, word=word, interval=(low, high), narrow=(low, high), reason="x",
                               mean=(low + high) / 2)
    summary.__dict__["verdicts"] = changed
    return summary


@pytest.mark.parametrize(("words", "expected"), [
    ({}, set()),
    ({"se@8": (Word.HELPS, 0.04, 0.06)}, {"se@8 effect=0.05"}),
    ({"se@8": (Word.HELPS, 0.04, 0.06), "cbam": (Word.HELPS, 0.01, 0.03)}, {"se@8 effect=0.05"}),
    ({"se@8": (Word.HELPS, 0.02, 0.06), "cbam": (Word.HELPS, 0.01, 0.03)}, {"se@8 effect=0.05", "cbam@8 effect=0.01"}),
    ({"se@8": (Word.EQUIVALENT, 0.001, 0.006)}, set()),
    ({"se@8": (Word.FEW, -1, 1), "cbam": (Word.NONE, -1, 1)}, set()),
    ({"se": (Word.HURTS, -0.2, -0.1), "cbam": (Word.HURTS, -0.2, -0.1), "eca": (Word.HURTS, -0.2, -0.1)}, {"none"}),
    ({"se": (Word.HURTS, -0.2, -0.1), "cbam": (Word.HURTS, -0.2, -0.1)}, set()),
    ({"se@8": (Word.HELPS, 0.04, 0.06), "params": (Word.DIFFERS, 0.1, 0.2)}, {"se@8 effect=0.05"}),
    ({"se@8": (Word.HELPS, 0.04, 0.06), "aa": (Word.DIFFERS, 0.1, 0.2)}, set()),
])
def test_bold_needs_evidence(study: Study, words: dict[str, tuple[Word, float, float]], expected: set[str]) -> None:
    summary = with_words(study, **words)
    assert best(summary) == expected
    table = paper_table(summary, EN)
    assert {row.arm for row in table.rows if any(cell.bold for cell in row.cells)} == expected
    place = table.head.index("mAP50-95")
    assert not [cell for row in table.rows for at, cell in enumerate(row.cells) if cell.bold and at != place]
    assert ("Nothing is bold" in table.note or "A/A control" in table.note) == (not expected)


def test_the_table_has_means_spreads_costs_and_the_facts(study: Study) -> None:
    table = paper_table(Summary(study), EN)
    assert table.head == ("P", "R", "mAP50", "mAP50-95", "Params (M)", "GFLOPs")
    scores = list(study.scores()["none"].values())
    mean = sum(scores) / 6
    spread = (sum((one - mean) ** 2 for one in scores) / 5) ** 0.5
    cell = table.rows[0].cells[3]
    assert (cell.text, cell.spread) == (f"{mean:.3f}", f"{spread:.3f}")
    assert table.rows[-1].control
    assert [row.cells[0].text for row in table.rows if row.arm.startswith("se@p3")] == ["–"]
    for fact in ("NEU-DET.yaml", "yolo11n.pt", "epochs 2", "seeds 0–5", "margin 0.01", "family-wise error rate 5%", "max-T",
                 "sample standard deviation", "dummy 1", "Fewer runs: se@p3 fail=error 0"):
        assert fact in table.note, fact
    assert "somewhere" not in table.note + table.caption
    assert str(study.folder.parent) not in table.note, "no folder of this machine"


def test_fps_stands_in_the_table_only_where_the_study_measured_latency(study: Study) -> None:
    summary = Summary(replace(study))
    assert "FPS" not in paper_table(summary, EN).head, "what trials measure beside other trainings is noise"
    protocol = SimpleNamespace(device="cpu", batch=1, imgsz=64, precision="float32", threads=1, nms=False, repeats=9,
                               warm_up=3, is_busy=True, busy=0.5)
    summary.__dict__["latency"] = SimpleNamespace(fps=lambda arm: None if arm == "aa" else 123.4, protocol=protocol)
    table = paper_table(summary, EN)
    assert table.head[-1] == "FPS"
    assert {row.arm: row.cells[-1].text for row in table.rows}["none"] == "123"
    assert {row.arm: row.cells[-1].text for row in table.rows}["aa"] == "–"
    assert "batch 1" in table.note
    assert "50% of the CPU" in table.note


@pytest.mark.parametrize("word", Word)
@pytest.mark.parametrize("say", [EN, ZH], ids=LANGUAGES)
def test_a_sentence_says_no_more_than_the_verdict(study: Study, word: Word, say: Translator) -> None:
    summary = with_words(study, eca=(word, 0.004, 0.006))
    verdict = summary.verdicts["eca@8"]
    text = sentence(verdict, summary, say)
    claims = {Word.HELPS: ("helps", "有提升"), Word.HURTS: ("hurts", "有下降"), Word.DIFFERS: ("differs from", "有差异"),
              Word.EQUIVALENT: ("no difference larger than", "影响不超过")}
    said = {one for one, texts in claims.items() if texts[LANGUAGES.index(say.language)] in text}
    assert said == ({word} & claims.keys())
    assert "eca@8" in text
    if word in (*claims, Word.UNDECIDED):
        for value in (verdict.mean, 0.004, 0.006):
            assert number(value, sign=True) in text
        assert str(verdict.seeds) in text
        assert ("90%" if word is Word.EQUIVALENT else "95%") in text


def test_an_alarm_of_the_control_silences_every_sentence(study: Study) -> None:
    found = sentences(with_words(study, se=(Word.HELPS, 0.1, 0.2), aa=(Word.DIFFERS, 0.1, 0.2)), EN)
    assert len(found) == 6
    assert sum("supports no statement" in text for text in found) == 5
    assert not any("helps" in text for text in found)


def test_weak_and_failed_pairs_are_told(study: Study) -> None:
    summary = with_words(study, eca=(Word.HELPS, 0.001, 0.002))
    verdict: Verdict = replace(summary.verdicts["eca@8"], detectable=0.5, failed=2, margin=0.01)
    text = sentence(verdict, summary, EN)
    assert "probably overestimated" in text
    assert "2 of 8 pairs have a failed run" in text
    assert "not larger than 0.01" in text


def test_every_format_has_every_arm_and_number(study: Study) -> None:
    table = paper_table(Summary(study), ZH)
    raw = as_csv(table)
    assert raw.startswith(b"\xef\xbb\xbf"), "Excel reads Chinese by the byte order mark"
    lines = list(csv.reader(io.StringIO(raw.decode("utf-8-sig"))))
    assert [line[0] for line in lines[1:]] == [row.arm for row in table.rows]
    assert len({len(line) for line in lines}) == 1
    assert lines[0][-1] == "结论"
    for text in (as_latex(table), as_markdown(table)):
        for row in table.rows:
            for cell in row.cells:
                assert cell.text.removeprefix("0").replace("–", "") in text
    document = pytest.importorskip("docx").Document(io.BytesIO(paper_docx.as_docx(table, ["一句话。"])))
    assert len(document.tables[0].rows) == len(table.rows) + 1
    assert any("一句话。" in paragraph.text for paragraph in document.paragraphs)


def test_latex_has_as_many_cells_in_each_row(study: Study) -> None:
    text = as_latex(paper_table(Summary(study), EN))
    body = text[text.index(r"\toprule"):text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {6}
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert r"\usepackage{booktabs}" in text


def test_an_edited_file_is_kept(tmp_path: Path) -> None:
    first = write_files(tmp_path, {"table.tex": b"one", "figures/a.png": b"x"})
    assert not first.kept
    assert (tmp_path / "figures" / "a.png").read_bytes() == b"x"
    assert write_files(tmp_path, {"table.tex": b"two"}).kept == ()
    (tmp_path / "table.tex").write_bytes(b"mine")
    for content in (b"three", b"four"):
        kept = write_files(tmp_path, {"table.tex": content}).kept
        assert kept == ((tmp_path / "table.tex", tmp_path / "table.new.tex"),)
        assert (tmp_path / "table.new.tex").read_bytes() == content
    (tmp_path / "table.new.tex").write_bytes(b"mine too")
    write_files(tmp_path, {"table.tex": b"five"})
    assert [(tmp_path / name).read_bytes() for name in ("table.tex", "table.new.tex", "table.new2.tex")] == [
        b"mine", b"mine too", b"five"]
    (tmp_path / RECORD).write_text("broken")
    assert write_files(tmp_path, {"table.tex": b"six"}).kept, "without its record, every file counts as edited"


def test_the_command_writes_the_kit_and_says_what_it_kept(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["paper", str(study.folder), "formats=tex,csv"]) == 0
    folder = study.folder / "paper"
    assert {"table.tex", "table.zh.tex", "table.csv", "sentences.txt", "sentences.zh.txt"} <= {
        path.name for path in folder.iterdir()}
    assert (folder / "figures" / "forest.png").read_bytes()[:4] == b"\x89PNG"
    assert (folder / "figures" / "forest.pdf").exists()
    assert "没有证据表明" in (folder / "sentences.zh.txt").read_text(encoding="utf-8")
    (folder / "table.tex").write_text("my table")
    capsys.readouterr()
    assert main(["paper", str(study.folder), "formats=tex", "lang=en"]) == 0
    printed = capsys.readouterr()
    assert (folder / "table.tex").read_text() == "my table"
    assert "has been edited and is kept" in printed.err
    assert "table.new.tex" in printed.out


def test_mistakes_are_one_line(study: Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for words, expected in (([], "needs the study's folder"), ([str(study.folder), "formats=doc"], "Did you mean 'docx'?"),
                            ([str(study.folder), "lang=fr"], "no language 'fr'"), (["nowhere"], "no study in 'nowhere'")):
        assert main(["paper", *words]) == 2
        assert expected in capsys.readouterr().err
    monkeypatch.setattr(paper_docx, "find_spec", lambda name: None)
    with pytest.raises(GraftError, match=r'pip install "yolograft\[paper\]"') as found:
        paper.write(study, formats=["docx"])
    assert "\n" not in str(found.value)
    written = paper.write(study, study.folder / "other", languages=["en"])
    assert not [path for path in written.files if path.suffix == ".docx"]
    assert "python-docx" in written.notes[0]


def test_both_languages_take_the_same_values() -> None:
    for key, (english, chinese) in paper_words.TEXTS.items():
        fields = [{name for _, name, _, _ in string.Formatter().parse(text) if name} for text in (english, chinese)]
        assert fields[0] == fields[1], key


def test_every_word_has_a_mark() -> None:
    assert set(MARKS) == set(Word)


@pytest.mark.parametrize(("words", "texts"), [
    ({"splits": 5, "seeds": 10}, ("corrected resampled t-test", "5 splits into 80 and 20 images", "other splits of")),
    ({"data": "steel,tin"}, ("exact sign-flip test", "over 2 arms on 2 data sets by max-T"))], ids=["splits", "data sets"])
def test_the_footnote_names_the_test_that_was_used(tmp_path: Path, words: dict[str, Any], texts: tuple[str, ...]) -> None:
    summary = Summary(make(tmp_path / "study", "none; se@8; aa", **words).parts[0])
    note = paper_table(summary, EN).note
    assert all(text in note for text in texts), note
    assert ("sign-flip" in note) == (summary.study.plan.splits is None)
