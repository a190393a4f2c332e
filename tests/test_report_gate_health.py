"""The column of gates in the report of a study, and the links to the pages of `yolograft explain`."""

import json
from types import SimpleNamespace

import pytest

from yolograft.report import page as page_module
from yolograft.report import write
from yolograft.report.gate_health import arm_gates, explain_page
from yolograft.study import run
from yolograft.study.trial import Result


def result(*words: str) -> Result:
    gates = [{"graft": graft, "health": word, "mean": 1.0, "spread": 0.0, "eta_squared": 0.0}
             for graft, word in zip(("se@8", "se@p3"), words, strict=False)]
    return Result(metrics={"mAP50": 0.5}, notes={"gates": json.dumps(gates)} if gates else {})


def test_the_words_of_all_runs_are_counted() -> None:
    study = SimpleNamespace(results={"none": {0: result()}, "se@8,p3": {
        0: result("constant", "varying"), 1: result("constant", "constant"), 2: result("varying", "constant")}})
    found = arm_gates(study)
    assert set(found) == {"se@8,p3"}, "the bare host has no gates"
    assert found["se@8,p3"].words == {"constant": 4, "varying": 2}
    assert found["se@8,p3"].blocks == {"se@8": {"constant": 2, "varying": 1}, "se@p3": {"varying": 1, "constant": 2}}


@pytest.fixture
def study(tmp_path):
    return run({"data": "somewhere", "model": "m", "epochs": 1, "host": "yolograft.study.dummy", "arms": "none; se@8",
                "seeds": 2}, tmp_path / "runs" / "study" / "s")


def explained(study, tmp_path, name="mine", arm="se@8"):
    folder = tmp_path / "runs" / "explain" / name
    folder.mkdir(parents=True)
    checkpoint = study.folder_of(study.latest[arm, 1].key) / "best.pt"
    (folder / "explain.json").write_text(json.dumps([{"checkpoint": str(checkpoint.resolve())}]))
    (folder / "explain.html").write_text("")


def test_an_arm_links_to_the_page_of_its_checkpoint(study, tmp_path) -> None:
    explained(study, tmp_path)
    (tmp_path / "runs" / "explain" / "broken").mkdir()
    for name in ("explain.json", "explain.html"):
        (tmp_path / "runs" / "explain" / "broken" / name).write_text("{")
    assert explain_page(study, study.folder / "report") == {"se@8": "../../../explain/mine/explain.html"}
    text = write(study, languages=["en"])[0].read_text()
    assert '<a class="tag" href="../../../explain/mine/explain.html">gates</a>' in text
    assert (study.folder / "report" / "../../../explain/mine/explain.html").is_file()


def test_without_gates_and_pages_the_report_has_no_column(study) -> None:
    text = write(study, languages=["en"])[0].read_text()
    assert "yolograft explain" not in text


def test_the_report_shows_the_gates_of_each_arm(study, monkeypatch) -> None:
    monkeypatch.setattr(page_module, "arm_gates", lambda _: arm_gates(SimpleNamespace(results={"se@8": {
        0: result("saturated near 1"), 1: result("class-dependent")}})))
    english, chinese = (path.read_text() for path in write(study))
    assert "saturated near 1 ×1, class-dependent ×1</td>" in english
    assert 'title="se@8: 1 saturated near 1, 1 class-dependent"' in english
    assert "饱和在 1 附近" in chinese
    heads = english[english.index('<table class="sortable" id="verdicts">'):].partition("</thead>")[0].count("<th") - 1
    rows = english[english.index('id="verdicts"'):].partition("<tbody>")[2].partition("</tbody>")[0].split("<tr ")[1:]
    assert {row.count("<td") for row in rows} == {heads}, "every row has a cell for each column"
