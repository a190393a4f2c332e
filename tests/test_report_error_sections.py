"""The sections of the page of `explain` on errors and heat maps, in both languages."""

import dataclasses
from pathlib import Path

import pytest
from errors_set import random_detections

from yolograft.analysis.error_analysis import analyse_errors
from yolograft.analysis.flips import find_flips
from yolograft.report import error_words, explain_page, explain_words
from yolograft.report.error_sections import error_sections
from yolograft.report.words import Translator


def build(tmp_path: Path, count: int) -> dict[str, str]:
    """Write a page of the errors of some networks, and return its files' texts."""
    base = random_detections(0)
    truths = {"truth_image": base.truth_image, "truth_kind": base.truth_kind, "truth_box": base.truth_box}
    detections = [base, *(dataclasses.replace(random_detections(seed), **truths) for seed in (7, 8))][:count]
    found = [analyse_errors(f"net{number}", one, [str(tmp_path / name) for name in one.names], {0: "a", 1: "b", 2: "c"})
             for number, one in enumerate(detections)]
    flips = [find_flips(found[0].detections, one.detections) for one in found[1:]]
    explain_page.write(error_sections(found, flips), tmp_path, title="t", headline=lambda _: "h", facts={},
                       texts=error_words.TEXTS)
    return {path.name: path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.suffix in (".html", ".csv")}


def test_two_networks_side_by_side(tmp_path: Path) -> None:
    files = build(tmp_path, 2)
    assert "Boxes that change" in files["explain.html"]
    assert "发生变化的框" in files["explain.zh.html"]
    assert files["errors.csv"].splitlines()[0].split(",")[1:] == ["net0", "net1"]
    assert len(files["changed-boxes.csv"].splitlines()) == 8
    assert (tmp_path / "figures" / "error-costs.png").is_file()


def test_one_network_has_no_changes(tmp_path: Path) -> None:
    files = build(tmp_path, 1)
    assert "Kinds of errors" in files["explain.html"]
    assert "changed-boxes.csv" not in files


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_text_has_its_placeholders_in_both_languages(language: str) -> None:
    say = Translator(language, {**explain_words.TEXTS, **error_words.TEXTS})
    assert say("maps_are_note", method="m", layers="l").count("m")
    for english, chinese in error_words.TEXTS.values():
        assert english.count("{") == chinese.count("{")
        assert english
        assert chinese


def test_the_texts_of_two_files_do_not_disagree() -> None:
    for key in error_words.TEXTS.keys() & explain_words.TEXTS.keys():
        assert error_words.TEXTS[key] == explain_words.TEXTS[key], key
