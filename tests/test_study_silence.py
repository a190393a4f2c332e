"""What a study says against its own results: seeds that changed nothing, and blocks that were not trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from yolograft.report.page import notes
from yolograft.report.summary import Summary
from yolograft.report.words import Translator
from yolograft.study import Study, run, silence
from yolograft.study.progress import status
from yolograft.study.storage import Row, Storage

WORDS = {"data": "somewhere", "model": "yolo11n.pt", "epochs": 2, "host": "yolograft.study.dummy", "arms": "none; se@8",
         "seeds": 3}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return run(WORDS, tmp_path_factory.mktemp("silence") / "s")


def changed(study: Study, seed: int, like: int | None = None, notes: Mapping[str, str] | None = None) -> Study:
    """Return the study with the run of one seed of se@8 like that of another, or with other notes."""
    rows = list(study.rows)
    def find(one: int) -> int:
        return next(at for at, row in enumerate(rows) if (row.arm, row.seed) == ("se@8", one))

    row: Row = rows[find(seed)]
    assert row.result is not None
    if like is not None:
        row = replace(row, points=rows[find(like)].points, result=rows[find(like)].result)
    if notes is not None:
        row = replace(row, result=replace(row.result, notes={**row.result.notes, **notes}))
    rows[find(seed)] = row
    return replace(study, rows=tuple(rows))


def page_notes(study: Study, language: str) -> list[str]:
    return [text for kind, text in notes(Summary(study), Translator(language)) if kind == "warn"]


def test_a_sound_study_says_nothing(study: Study) -> None:
    assert silence.sentences(study) == []
    assert not any("identical" in text or "did not change" in text for text in page_notes(study, "en"))


def test_equal_seeds_are_named_in_the_status_and_on_the_page(study: Study) -> None:
    equal = changed(study, 2, like=0)
    assert silence.equal_seeds(equal) == {"se@8": (0, 2)}
    (sentence,) = silence.sentences(equal)
    assert "se@8: the runs of the seeds 0, 2 are identical" in sentence
    assert any("the runs of the seeds 0, 2 are identical" in text for text in page_notes(equal, "en"))
    assert any("种子 0、2 的运行结果完全相同" in text for text in page_notes(equal, "zh"))


def test_equal_metrics_with_other_losses_are_not_equal_runs(study: Study) -> None:
    equal = changed(study, 2, like=0)
    rows = [replace(row, points=json.dumps([{"epoch": 1, "train/box_loss": row.seed}])) for row in equal.rows]
    assert silence.equal_seeds(replace(equal, rows=tuple(rows))) == {}


def test_a_block_that_was_not_trained_is_named_in_the_status_and_on_the_page(study: Study) -> None:
    still = changed(study, 1, notes={"unmoved": json.dumps({"model.8.graft.0": "frozen"})})
    assert silence.unmoved_runs(still) == {"se@8": (1, ("model.8.graft.0",))}
    (sentence,) = silence.sentences(still)
    assert "se@8: runs in which a grafted block did not change: 1 (model.8.graft.0)" in sentence
    assert any("a grafted block did not change in the training: 1" in text for text in page_notes(still, "en"))
    assert any("没有任何变化（model.8.graft.0）" in text for text in page_notes(still, "zh"))


def test_the_status_prints_them(study: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "identical" not in status(study.folder)
    equal = changed(study, 2, like=0)
    monkeypatch.setattr(Storage, "rows", lambda self: list(equal.rows))
    assert "the runs of the seeds 0, 2 are identical" in status(study.folder).replace("\n", " ")
