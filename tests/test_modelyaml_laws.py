"""The laws of the linter, over every packaged file, every position, and every kind of hand edit.

1. A mend never makes the maps of a Concat unequal in height and width.
2. Applying all mends leaves a file without findings, and the file that was meant: a correct edit with some numbers left as
   they were before is mended to the correct edit.
3. A sound file gets no error.
4. Without a stock file that fits, only the file itself is checked, and a sound file gets no error.

The default run takes a sample by a fixed seed. `python -m pytest -m slow tests/test_modelyaml_laws.py` takes every edit.
"""

import random
from pathlib import Path

import pytest
from modelyaml_edits import Edit, double_edits, edits, insert, variants
from test_modelyaml_table import PACKAGED, UNRUNNABLE, load, shapes

from yolograft.modelyaml import comparison, lint, reader, table
from yolograft.modelyaml.mends import apply_mends
from yolograft.modelyaml.signatures import find_block

pytestmark = pytest.mark.usefixtures("weights_are_allowed")

BYPASSED = "insert, some readers before"


def examine(cfg, path):
    return lint._examine_config({**cfg, "scale": ""}, path)


def mended(cfg, findings, *severities):
    return apply_mends(cfg, [mend for one in findings if one.severity in severities for mend in one.mends])


def meaning(cfg):
    """Return the rows that each row reads, whatever numbers say so."""
    return [(row.module, [row.target(source) for source in row.sources]) for row in table.parse_rows(cfg)]


def unequal_concats(cfg):
    rows = table.parse_rows(cfg)
    strides = table.strides(rows, frozenset(row.number for row in rows if find_block(row.module)))
    found = set()
    for row in rows:
        known = {strides[target] for target in map(row.target, row.sources) if target is not None and target >= 0} - {None}
        if row.module == "Concat" and len(known) > 1:
            found.add(row.number)
    return found


def check_sound(kind, edit, path):
    report = examine(edit.file(), path)
    assert report.errors == 0, (edit.name, str(report))
    own = {BYPASSED: "is the map before", "replace": "is repeated"}.get(kind, "")  # such an edit has a warning of its own
    assert all(own and own in one.what for one in report.findings), (edit.name, str(report))


def check_slip(kind, edit, path, slip, wrong, correct=None):
    """Check laws 1 and 2 for one slip; `correct` has the files that it may be mended to."""
    report = examine(wrong, path)
    by_errors, by_all = mended(wrong, report.findings, "error"), mended(wrong, report.findings, "error", "warning")
    said = (path.stem, edit.name, slip, str(report))
    assert unequal_concats(by_errors) <= unequal_concats(wrong), said
    assert unequal_concats(by_all) <= unequal_concats(wrong), said
    assert examine(by_errors, path).errors == 0, said
    assert examine(by_all, path).findings == () or kind == "replace", said
    for allowed, file in ((correct, by_all), (correct, by_errors if kind == BYPASSED else by_all)):
        assert allowed is None or meaning(file) in allowed, said


def files_meant(kind, edit, cfg):
    meant = [meaning(edit.file())]
    if kind == BYPASSED:  # the same file without any slip is that of an edit for all readers with one slip
        at = next(number for number, node in enumerate(edit.nodes) if node.written is None)
        meant.append(meaning(insert(cfg, at, "SE", []).file()))
    return meant


def check_edit(kind, edit, cfg, path, slips):
    check_sound(kind, edit, path)
    for slip, wrong in slips:
        check_slip(kind, edit, path, slip, wrong, files_meant(kind, edit, cfg))


def check_variant(variant, path, places, slips_of):
    """Check laws 1 to 3 for a file with another structure, and for blocks inserted into it."""
    good = variant.file()
    report = examine(good, path)
    assert report.findings == (), (variant.name, str(report))
    for at in places:
        edit = insert(good, at, "SE", [])
        edit = Edit(f"{variant.name}, {edit.name}", edit.base, edit.nodes)
        assert examine(edit.file(), path).errors == 0, (path.stem, edit.name, str(examine(edit.file(), path)))
        for slip, wrong in slips_of(edit):
            check_slip("variant", edit, path, slip, wrong)


def places_of(cfg):
    return [row.number + 1 for row in table.parse_rows(cfg)[:-1] if table.has_map_output(row)]


def every_edit(cfg):
    return edits(cfg) + (double_edits(cfg, seed=1, count=20) if len(cfg["backbone"]) > 3 else [])


def some(items, count, seed):
    items = list(items)
    return random.Random(seed).sample(items, min(count, len(items)))


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_a_sample_of_edits_of_each_file_is_mended_to_what_was_meant(path: Path) -> None:
    cfg = load(path)
    for kind, make in some(every_edit(cfg), 3, path.stem):
        edit = make()
        if edit is not None:
            check_edit(kind, edit, cfg, path, some(edit.slips(), 2, edit.name))


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_a_sample_of_variants_of_each_file_has_no_error(path: Path) -> None:
    for variant in some(variants(load(path)), 1, path.stem):
        check_variant(variant, path, some(places_of(variant.file()), 1, path.stem), lambda edit: some(edit.slips(), 1, 0))


@pytest.mark.parametrize("path", [path for path in PACKAGED if path.stem not in UNRUNNABLE][::9], ids=lambda path: path.stem)
def test_a_mended_file_opens(path: Path) -> None:
    cfg = load(path)
    for kind, make in some([one for one in every_edit(cfg) if one[0].startswith(("insert", "drop"))], 2, path.stem):
        edit = make()
        for _, wrong in some(edit.slips(), 1, path.stem) if edit is not None else []:
            good = mended(wrong, examine(wrong, path).findings, "error", "warning")
            scales = good.get("scales")
            assert shapes(reader.read(good).host, next(iter(scales)) if scales else None), (kind, edit.name)


@pytest.mark.parametrize("path", PACKAGED[::4], ids=lambda path: path.stem)
def test_without_a_stock_file_a_sound_file_gets_no_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison.stock_match, "match_stock", lambda rows, name="": None)
    cfg = load(path)
    report = examine(cfg, path)
    assert "no packaged YAML is similar enough" in report.compared
    assert report.errors == 0, str(report)
    for _, make in some([one for one in edits(cfg) if one[0] in ("insert", "drop", "repeat")], 2, path.stem):
        edit = make()
        assert examine(edit.file(), path).errors == 0, (edit.name, str(examine(edit.file(), path)))
        for slip, wrong in some(edit.slips(), 2, edit.name):
            good = mended(wrong, examine(wrong, path).findings, "error", "warning")
            assert unequal_concats(good) <= unequal_concats(wrong), (edit.name, slip)


@pytest.mark.slow
@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_every_edit_of_each_file_is_mended_to_what_was_meant(path: Path) -> None:
    cfg = load(path)
    for kind, make in every_edit(cfg):
        edit = make()
        if edit is not None:
            check_edit(kind, edit, cfg, path, edit.slips())


@pytest.mark.slow
@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_no_variant_of_each_file_has_an_error(path: Path) -> None:
    for variant in variants(load(path)):
        check_variant(variant, path, places_of(variant.file()), lambda edit: edit.slips())
