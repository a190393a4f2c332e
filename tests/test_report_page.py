import csv
import gc
import json
import re
import shutil
import subprocess
import warnings
from collections import Counter
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from yolograft import report
from yolograft.cli import main
from yolograft.errors import GraftError
from yolograft.report import compare_words, error_words, explain_words, paper_words, tables, write
from yolograft.report.figures import FIGURES
from yolograft.report.page import notes, page
from yolograft.report.pictures import gallery
from yolograft.report.summary import Summary
from yolograft.report.words import LANGUAGES, TEXTS, Translator
from yolograft.study import Study, run
from yolograft.study import study as study_module
from yolograft.study.storage import Row

ARMS = "none; se@8 effect=0.05; cbam@8; se@8 fail=error; aa; params(se@8)"
WORDS = {"data": "somewhere", "model": "yolo11n.pt", "epochs": 4, "host": "yolograft.study.dummy"}

DRAWN = set(FIGURES) - {"network"}  # the dummy has no network


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return run({**WORDS, "arms": ARMS, "seeds": 6}, tmp_path_factory.mktemp("a") / "s", workers=2)


@pytest.fixture(scope="module")
def pages(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return dict(zip(("en", "zh"), write(study, folder), strict=True))


def read_csv(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_the_headline_is_above_the_table(pages):
    text = pages["en"].read_text()
    assert text.index("se@8 effect=0.05 helps (+0.0") < text.index("<table")
    assert "no evidence either way" in text
    assert "the dummy was told to fail" in text
    assert "A/A control" in text
    assert 'data: somewhere' in text, "the plan is on the page"


def test_the_page_loads_no_other_file(pages):
    class Links(HTMLParser):
        found: list[str] = []

        def handle_starttag(self, tag, attrs):
            self.found += [value or "" for key, value in attrs if key in ("src", "href", "xlink:href")]

    for path in pages.values():
        parser = Links()
        parser.feed(path.read_text())
        siblings = {other.name for other in pages.values()}
        assert all(link.startswith(("#", "data:")) or link in siblings for link in parser.found), parser.found
        assert "@import" not in path.read_text()


def test_figures_use_the_colours_of_the_page_and_have_tooltips(pages):
    text = pages["en"].read_text()
    assert text.count("<svg") == len(DRAWN)
    assert "#123456" not in text
    assert "currentColor" in text
    assert 'data-arm="1" data-tip="se@8 effect=0.05: helps\n+0.0' in text
    ids = re.findall(r'id="([^"]+)"', text)
    assert len(ids) == len(set(ids)), "ids of several figures differ"
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    assert used <= set(ids)


def test_the_chinese_page_has_the_same_results(pages):
    text = pages["zh"].read_text()
    assert "se@8 effect=0.05 有提升 (+0.0" in text
    assert "没有证据表明有变化" in text
    visible = re.sub(r"<(style|script|svg).*?</\1>|class=\"[^\"]*\"|data: somewhere.*?</pre>", "", text, flags=re.S)
    assert "helps" not in visible


def test_tables_are_written_in_three_formats_with_the_study_s_values(study, pages):
    folder = pages["en"].parent / "tables"
    rows = read_csv(folder / "trials.csv")
    for row in rows:
        if row["state"] == "complete":
            assert float(row["mAP50-95"]) == study.scores()[row["arm"]][int(row["seed"])]
    assert len(rows) == 36
    verdicts = {row["arm"]: row["verdict"] for row in read_csv(folder / "verdicts.csv")}
    assert verdicts["none"] == "baseline"
    assert verdicts["se@8 effect=0.05"] == "helps"
    assert verdicts["se@8 fail=error"] == "no verdict"
    latex = (folder / "verdicts.tex").read_text()
    assert latex.startswith(r"\begin{tabular}")
    assert r"95\% interval" in latex
    assert (folder / "metrics.md").read_text().splitlines()[1].startswith("| --- | ---:")


def test_figures_are_written_for_papers(pages):
    folder = pages["en"].parent / "figures"
    assert {path.name for path in folder.iterdir()} == {f"{n}.{f}" for n in DRAWN for f in ("svg", "pdf")}
    assert all(path.read_bytes()[:4] in (b"%PDF", b"<?xm") for path in folder.iterdir())


def test_the_same_study_gives_the_same_bytes(study, pages, tmp_path):
    again = write(study, tmp_path)
    for path in (*again, *sorted((tmp_path / "tables").iterdir()), *sorted((tmp_path / "figures").iterdir())):
        assert path.read_bytes() == (pages["en"].parent / path.relative_to(tmp_path)).read_bytes(), path.name


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_page_of_a_study_with_few_seeds_states_it(tmp_path, seeds):
    study = run({**WORDS, "arms": "none; se@8", "seeds": seeds}, tmp_path / "s")
    text = write(study)[0].read_text()
    assert "There are too few runs for a verdict." in text
    assert "At least 6 seeds are needed" in text


def test_a_study_without_results_has_a_page(tmp_path):
    run({**WORDS, "arms": "none; se@8", "seeds": 1}, tmp_path / "s", budget=0)
    study = Study.load(tmp_path / "s")
    assert not any(study.scores().values())
    assert "0 of 2 trials have a result (not run 2)" in write(study)[0].read_text()


def test_a_study_read_from_its_folder_equals_the_one_that_ran(study):
    loaded = Summary(Study.load(study.folder))
    assert repr(loaded.verdicts) == repr(Summary(study).verdicts)
    assert loaded.curves == Summary(study).curves


def test_no_arm_beats_an_arm_of_the_pareto_front(study):
    summary = Summary(study)
    for cost in ("parameters", "gflops"):
        points = {row.name: (row.costs[cost], row.metrics[summary.metric].mean) for row in summary.rows
                  if row.costs}
        front = summary.front(cost)
        assert front
        for name, (x, y) in points.items():
            beaten = any(u <= x and v >= y and (u, v) != (x, y) for u, v in points.values())
            assert (name in front) == (not beaten), name


def test_class_differences_are_paired(study):
    summary = Summary(study)
    results = study.results
    expected = [results["cbam@8"][s].classes["AP50-95"]["crazing"] - results["none"][s].classes["AP50-95"]["crazing"]
                for s in range(6)]
    assert summary.classes["cbam@8"]["crazing"].mean == pytest.approx(sum(expected) / 6)


def test_both_languages_have_the_same_fields():
    for key, texts in TEXTS.items():
        assert len(texts) == len(LANGUAGES), key
        fields = {tuple(sorted(set(re.findall(r"\{\w+\}", text)))) for text in texts}
        assert len(fields) == 1, key
    with pytest.raises(GraftError, match="Expected one of: en, zh"):
        Translator("fr")


def test_every_text_of_the_page_is_in_both_languages():
    said = set()
    for path in Path(report.__file__).parent.rglob("*"):
        if path.suffix in (".j2", ".py"):
            said |= set(re.findall(r"\bsay\('([^']+)'", path.read_text()))
            said |= set(re.findall(r'\bsay\("([^"]+)"', path.read_text()))
    assert len(said) > 40
    assert said <= {*TEXTS, *explain_words.TEXTS, *error_words.TEXTS, *compare_words.TEXTS, *paper_words.TEXTS}


def test_a_report_changes_only_its_own_files(study, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    write(study, tmp_path, languages=["en"])
    assert not (tmp_path / "report.zh.html").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(GraftError, match="cannot be written"):
        write(study, tmp_path / "notes.txt")


def test_the_command_writes_the_pages_and_prints_their_paths(study, tmp_path, capsys):
    assert main(["report", str(study.folder), f"out={tmp_path / 'r'}", "lang=zh"]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "r" / "report.zh.html")]
    assert main(["report", str(study.folder), f"out={tmp_path / 'r'}"]) == 0
    assert len(capsys.readouterr().out.split()) == 2


@pytest.mark.parametrize(("words", "said"), [
    ([], "needs the study's folder"),
    (["lang=zh"], "needs the study's folder"),
    (["nowhere"], "There is no study"),
    (["{study}", "lang=fr"], "Expected one of: en, zh"),
    (["{study}", "langue=zh"], "Did you mean 'lang'?"),
    (["{study}", "pictures=nowhere"], "not a folder"),
])
def test_a_wrong_command_gives_a_message(study, capsys, words, said):
    assert main(["report", *(word.format(study=study.folder) for word in words)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", 'x" onload="alert(1)', "a & b <i>"])
def test_texts_of_others_are_escaped(study, tmp_path, name):
    plan = replace(study.plan, settings={**study.plan.settings, "model": name}, hardware={name: name}, versions={name: name})
    rows = tuple(replace(row, reason=name) if row.reason else row for row in study.rows)
    odd = Study(tmp_path / "s", plan, rows)
    for path in write(odd, tmp_path / "r"):
        assert name not in path.read_text()
        assert escape(name).replace("&quot;", "&#34;") in path.read_text()


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to load the page in (apt-get install chromium)")


def browse(folder, *words):
    return subprocess.run([CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                           "--disable-component-update", "--disable-sync", "--no-first-run",
                           f"--user-data-dir={folder / 'profile'}", *words],
                          capture_output=True, text=True, timeout=120, check=True)


@needs_chromium
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_browser_loads_the_page_without_errors_and_sorts_its_table(pages, tmp_path, language):
    probe = """<script>
      window.addEventListener("load", () => {
        const heads = document.querySelectorAll("#verdicts th");
        const column = i => [...document.querySelectorAll("#verdicts tbody tr")].map(r =>
        r.cells[i].textContent.trim()); heads[2].click(); const up = column(2);
        heads[2].click(); const down = column(2);
        document.body.setAttribute("data-up", up.join(",")); document.body.setAttribute("data-down",
        down.join(","));
        const table = document.querySelector("#verdicts");
        document.body.setAttribute("data-room", table.parentElement.clientWidth - table.scrollWidth);
      });
      window.addEventListener("error", e => document.body.setAttribute("data-error", e.message));
    </script>"""
    path = tmp_path / "page.html"
    path.write_text(pages[language].read_text().replace("</head>", probe + "</head>"))
    answer = browse(tmp_path, "--window-size=1280,900", "--enable-logging=stderr", "--dump-dom", f"file://{path}")
    assert "CONSOLE" not in answer.stderr, answer.stderr
    assert "data-error=" not in answer.stdout
    up = re.search(r'data-up="([^"]*)"', answer.stdout)[1].split(",")
    down = re.search(r'data-down="([^"]*)"', answer.stdout)[1].split(",")
    numbers = [float(text) for text in up if text]
    assert numbers == sorted(numbers)
    assert [float(text) for text in down if text] == numbers[::-1]
    assert up[-1] == down[-1] == "", "rows without a value stay last"
    assert int(re.search(r'data-room="([^"]*)"', answer.stdout)[1]) >= 0, "the verdicts fit a window of 1280 pixels"


@needs_chromium
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_a_browser_follows_the_reader_s_colours_and_prints(pages, tmp_path, colours):
    import cv2

    scheme = f"--blink-settings=preferredColorScheme={['dark', 'light'].index(colours)}"
    page = f"file://{pages['en']}"
    browse(tmp_path, "--window-size=1280,900", scheme, f"--screenshot={tmp_path / 'page.png'}", page)
    corner = cv2.imread(str(tmp_path / "page.png"))[-40:, :20]
    assert (corner.mean() < 60) == (colours == "dark")
    browse(tmp_path, scheme, f"--print-to-pdf={tmp_path / 'page.pdf'}", page)
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def said(study, cheaper=None, language="en"):
    return " ".join(note for _, note in notes(Summary(study, cheaper), Translator(language)))


def test_the_held_out_split_is_on_the_page_after_it_was_scored(study, tmp_path):
    copy = replace(study, folder=tmp_path)
    assert "score the chosen arm" in said(copy)
    scores = {"none": {str(s): 0.5 + 0.01 * s for s in range(6)}, "cbam@8": {str(s): 0.6 + 0.012 * s for s in range(6)}}
    (tmp_path / "test.json").write_text(json.dumps({"arm": "cbam@8", "among": 4, "metric": "mAP50-95", "baseline": "none",
                                                    "scores": scores}))
    assert "cbam@8 (chosen by validation among 4) helps: difference +0.105" in said(copy)
    assert "score the chosen arm" not in said(copy)
    assert "差值 +0.105" in said(copy, language="zh")


@pytest.mark.parametrize(("gains", "words"), [
    ((2.4, 3.0), "smaller (median over arms)"), ((0.7, 0.8), "would be about 0.8 times that with pairing"), ((), ""),
])
def test_the_effect_of_pairing_on_the_variance_is_on_the_page(study, monkeypatch, gains, words):
    monkeypatch.setattr(Summary, "pairing", {f"arm {at}": gain for at, gain in enumerate(gains)})
    text = said(study)
    assert words in text
    assert text.count("Pairing by seed") == bool(gains)


def test_rank_agreement_with_fewer_epochs_and_a_cheaper_study_is_on_the_page(study, tmp_path, capsys):
    cheap = run({**WORDS, "arms": ARMS, "seeds": 2, "epochs": 1}, tmp_path / "cheap", workers=2)
    text = said(study, cheap)
    assert f"Kendall's tau {study.agreement(cheap):+.2f} (epochs 1 / 4)".replace("-", "−") in text
    early = {epoch: value for epoch, value, _ in study.fidelity()}
    assert f"{early[1]:+.2f} after epoch 1 (25%)".replace("-", "−") in text
    assert main(["report", str(study.folder), f"out={tmp_path / 'r'}", f"cheaper={tmp_path / 'nix'}"]) == 2
    assert "There is no study" in capsys.readouterr().err
    with pytest.raises(GraftError, match="at least three common arms"):
        said(study, run({**WORDS, "arms": "none; eca@p3", "seeds": 1}, tmp_path / "other"))


def test_a_race_states_the_correction_of_its_verdicts(study):
    raced = Summary(replace(study, plan=replace(study.plan, race=True)))
    assert "corrected over all arms by Holm" in page(raced, Translator("en"), gallery(raced, None))


def test_shared_numbers_of_both_pages_are_computed_once(study, tmp_path, monkeypatch):
    done = Counter()

    def count(owner, name, at=None):
        real = getattr(owner, name) if at is None else owner[at]

        def counted(*given, **named):
            done[at or name] += 1
            return real(*given, **named)

        monkeypatch.setattr(owner, name, counted) if at is None else monkeypatch.setitem(owner, at, counted)

    count(Row, "by_epoch")
    count(study_module, "judge_sets")
    count(Figure, "savefig")
    for table in tables.TABLES:
        count(tables.TABLES, "", table)
    assert len(write(Study(study.folder, study.plan, study.rows), tmp_path)) == 2
    assert done.pop("savefig") == 4 * len(DRAWN), "an SVG and a PDF, and one for each language's page"
    assert done.pop("by_epoch") == sum(row.state == "complete" for row in study.rows)
    assert done == {"judge_sets": 1, **dict.fromkeys(tables.TABLES, 1)}
    assert gc.get_freeze_count() == 0


def test_a_report_gives_no_warning(study, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(study, tmp_path)
