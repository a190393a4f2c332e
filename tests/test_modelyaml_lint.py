"""Files as they are hand-edited, right and wrong: every finding is the one that a careful reader would name."""

import copy
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_modelyaml_reader import CONFIGS, RECIPE, YOLO11, edited
from test_modelyaml_table import PACKAGED, load

from yolograft.cli import main
from yolograft.errors import GraftError, HostError
from yolograft.host import build
from yolograft.modelyaml import stock_match, table
from yolograft.modelyaml.lint import examine, lint
from yolograft.modelyaml.mends import apply_mends
from yolograft.modelyaml.reader import read
from yolograft.modelyaml.signatures import SQUEEZE_EXCITATION
from yolograft.modelyaml.writer import dump, write

pytestmark = pytest.mark.usefixtures("weights_are_allowed")
YOLO8 = load(next(path for path in PACKAGED if path.stem == "yolov8"))
SE = [-1, 1, "SE", [1024]]


@pytest.fixture
def save(tmp_path):
    def write_file(cfg, name="yolo11n-se.yaml"):
        file = tmp_path / name
        file.write_text(yaml.safe_dump(cfg, sort_keys=False), encoding="utf-8")
        return file

    return write_file


def brief(findings):
    return [(one.row, one.severity, one.fix) for one in findings]


def row_of(cfg, number):
    part = "backbone" if number < len(cfg["backbone"]) else "head"
    return cfg[part][number - (0 if part == "backbone" else len(cfg["backbone"]))]


def apply_fixes(cfg, findings):
    """Apply each fix: put its `from` in the row that it names."""
    return apply_mends(cfg, [mend for one in findings for mend in one.mends])


def shifted(cfg, at, row):
    """Insert a row as a careful editor does: every number of `at` or more is one more, on the plain rows."""
    made = edited((at, row), cfg=cfg)
    for number, one in enumerate(made["backbone"] + made["head"]):
        if number != at:
            many = one[0] if isinstance(one[0], list) else [one[0]]
            new = [source + 1 if source >= at else source for source in many]
            one[0] = new if isinstance(one[0], list) else new[0]
    return made


# Right files


@pytest.mark.parametrize("path", [*PACKAGED, RECIPE], ids=lambda path: path.stem)
def test_a_packaged_file_has_nothing_wrong(path):
    assert lint(path) == ()


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_a_packaged_file_is_its_own_origin(path):
    every = table.parse_rows(load(path))
    found = stock_match.match_stock(every, path.stem)
    if path.stem == "yolo11-cls-resnet18":  # two rows: too few to tell
        assert found is None
    else:
        assert (found.name, found.to_file) == (path.name, {number: number for number in range(len(every))})


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_a_block_after_any_row_of_any_packaged_file_is_a_right_edit(path, save):
    cfg = load(path)
    places = [one.number for one in table.parse_rows(cfg)[:-1] if table.has_map_output(one)]
    for number in places[:: max(1, len(places) // 4)]:
        assert lint(save(write(cfg, f"se(ratio=8)@{number}"), path.name)) == ()
    assert lint(save(write(cfg, f"se@{','.join(map(str, places[:3]))} + cbam@{places[-1]}"), path.name)) == ()


@pytest.mark.slow
@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_a_block_after_every_row_of_every_packaged_file_is_a_right_edit(path, save):
    cfg = load(path)
    for one in table.parse_rows(cfg)[:-1]:
        if table.has_map_output(one):
            assert lint(save(write(cfg, f"se(ratio=8)@{one.number}"), path.name)) == ()
            found = lint(save(shifted(cfg, one.number + 1, [-1, 1, "SE", []]), path.name))
            told = {(finding.row, finding.severity) for finding in found}
            later = [(row.number, row.number + source) for row in table.parse_rows(cfg)[one.number + 1:]
                     for source in row.sources if source < 0]
            crossing = {(number + 1, "error") for number, source in later if source < one.number}
            if crossing:  # "two before me" is another row now
                assert crossing <= told
            elif any(source == one.number for _, source in later):
                # it reads the block; a row that reads the number before the block gets a warning
                assert all("is the map before" in finding.what for finding in found)
            else:  # all go on reading the row by its number, past the block
                assert (one.number + 1, True) in [(finding.row, "no row reads it" in finding.what) for finding in found]


@pytest.mark.parametrize("graft", ["se@p3,p4,p5", "se@4>15 + se@16>17", "se@10>11&21", "se@0/pre", "se@8 + se(ratio=4)@8",
                                   "cbam@C3k2", "eca@neck.C3k2[-1] + se@backbone.C3k2"])
def test_what_the_yaml_command_writes_has_nothing_wrong(graft, tmp_path):
    file = tmp_path / "yolo11-x.yaml"
    file.write_text(dump(YOLO11, graft), encoding="utf-8")
    assert lint(file) == ()
    assert lint(tmp_path / "yolo11m-x.yaml") == ()  # the same file at scale m, as Ultralytics finds it


@pytest.mark.parametrize(("at", "row"), [
    (9, [-1, 1, "SEAttention", []]), (9, [-1, 1, "Conv", [1024, 1, 1]]), (3, [-1, 2, "C3k2", [256, False, 0.25]]),
    (1, [-1, 1, "nn.Identity", []]), (14, [13, 1, "CBAM", [512, 7]]), (11, [10, 1, "SE", [1024]]), (17, [16, 1, "ECA", []]),
])
def test_a_row_inserted_with_all_later_numbers_shifted_is_right(at, row, save):
    assert lint(save(shifted(YOLO11, at, row))) == ()


@pytest.mark.parametrize(("at", "row", "fix"), [
    (14, [-1, 1, "CBAM", [512, 7]], (19, [-1, 14])), (11, SE, (22, [-1, 11])), (17, [-1, 1, "ECA", []], (24, [17, 20, 23])),
])
def test_a_number_that_stays_before_an_inserted_row_gets_a_warning(at, row, fix, save):
    (finding,) = lint(save(shifted(YOLO11, at, row)))
    assert (finding.row, finding.severity) == (fix[0], "warning")
    assert [(mend.row, mend.value) for mend in finding.mends] == [fix]


def test_a_block_in_place_of_a_stock_row_is_right(save):
    cfg = copy.deepcopy(YOLO11)
    cfg["backbone"][10] = [-1, 1, "CBAM", [1024]]
    assert lint(save(cfg)) == ()


def test_later_rows_that_read_the_plain_map_on_purpose_are_right(save):
    cfg = shifted(YOLO11, 5, [4, 1, "SE", [512]])  # the number in its `from` says that it is a branch
    assert row_of(cfg, 16)[0] == [-1, 4]  # the neck goes on reading the plain row 4
    assert lint(save(cfg)) == ()


def test_new_structure_is_right(save):
    cfg = copy.deepcopy(YOLO11)
    cfg["head"][-1:] = [[16, 1, "Conv", [256, 3, 1]], [-1, 1, "SE", []], [[24, 19, 22], 1, "Detect", ["nc"]]]
    assert lint(save(cfg)) == ()
    cfg["head"][-1:] = [[[24, 16], 1, "Concat", [1]], [-1, 1, "C3k2", [256, False]], [[26, 19, 22], 1, "Detect", ["nc"]]]
    assert lint(save(cfg)) == ()


def test_a_file_that_came_from_no_packaged_one_is_held_to_what_is_always_true(save):
    cfg = {"nc": 2, "backbone": [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [32, 3, 2]], [-1, 1, "Conv", [64, 3, 2]],
                                [-1, 1, "SE", []]],
           "head": [[-1, 1, "nn.Upsample", [None, 2, "nearest"]], [[-1, 1], 1, "Concat", [1]],
                    [[5, 3], 1, "Detect", ["nc"]]]}
    report = examine(save(cfg, "tiny.yaml"))
    assert report.findings == ()
    assert "no packaged YAML is similar enough" in report.compared
    cfg["head"][1][0] = [-1, 0]
    assert brief(lint(save(cfg, "tiny.yaml"))) == [(5, "error", "from: [-1, 1] (the nearest map of stride 4)")]


# Broken files, as they are found


def test_nothing_shifted(save):
    cfg = edited((9, SE))
    findings = lint(save(cfg))
    assert brief(findings) == [(19, "error", "from: [-1, 14]"), (22, "error", "from: [-1, 11]"),
                               (24, "error", "from: [17, 20, 23]")]
    assert findings[0].what == "row 19 [[-1, 13], 1, Concat, [1]]: 13 is Concat, stride 16."
    assert findings[0].why == ("Row 13 (C3k2) of yolo11.yaml is row 14 in this file. "
                               "Inserted rows (9) move every later number.")


@pytest.mark.parametrize(("row", "source", "fix"), [
    (13, [-1, 7], [-1, 6]), (16, [-1, 5], [-1, 4]),  # shifted, though they stand before the inserted row
    (19, [-1, 13], [-1, 14]), (19, [-1, 15], [-1, 14]), (22, [-1, 10], [-1, 11]),
    (24, [16, 19, 22], [17, 20, 23]), (24, [17, 20, 22], [17, 20, 23]), (24, [18, 21, 24], [17, 20, 23]),
    (24, [17, 17, 23], [17, 20, 23]),
    (13, [-1, 30], [-1, 6]), (13, [-1, 16], [-1, 6]), (13, [-20, 6], [12, 6]), (13, [-1, 13], [-1, 6]),
])
def test_one_wrong_reference_is_the_one_that_is_named(row, source, fix, save):
    cfg = load(RECIPE)
    row_of(cfg, row)[0] = source
    findings = lint(save(cfg))
    assert brief(findings) == [(row, "error", f"from: {fix}")]
    assert lint(save(apply_fixes(cfg, findings))) == ()


def test_blocks_before_the_head_that_the_head_does_not_read(save):
    cfg = edited((23, [16, 1, "SE", []]), (24, [19, 1, "SE", []]), (25, [22, 1, "SE", []]))
    findings = lint(save(cfg))
    assert [one.row for one in findings] == [23, 24, 25]
    assert {one.fix for one in findings} == {"from: [23, 24, 25] in row 26 (Detect), so that it reads this row."}
    assert str(read(apply_fixes(cfg, findings)).graft) == "se@p3,p4,p5"


def test_blocks_before_the_head_whose_own_numbers_were_not_shifted(save):
    cfg = shifted(YOLO11, 9, SE)
    cfg["head"][-1:] = [[16, 1, "SE", []], [19, 1, "SE", []], [22, 1, "SE", []], [[24, 25, 26], 1, "Detect", ["nc"]]]
    assert brief(lint(save(cfg))) == [(24, "error", "from: 17"), (25, "error", "from: 20"), (26, "error", "from: 23")]


def test_a_row_that_reads_minus_one_and_gets_another_rows_block(save):
    cfg = shifted(YOLO11, 17, [13, 1, "SE", []])  # row 18, a Conv, reads -1: row 16 until now
    (finding,) = (one for one in lint(save(cfg)) if one.row == 18)
    assert (finding.severity, finding.fix) == ("error", "from: 16")


@pytest.mark.parametrize(("width", "name", "why"), [
    (512, "yolo11n-se.yaml", "It is its width at scale s, m, l."), (256, "yolo11s-se.yaml", "It is its width at scale n."),
    (300, "yolo11n-se.yaml", "It is not its width at any scale."),
])
def test_channels_of_another_scale(width, name, why, save):
    cfg = load(RECIPE)
    cfg["backbone"][9][3] = [width, 16]
    (finding,) = lint(save(cfg, name))
    assert finding.severity == "error"
    assert why in finding.why
    assert "[-1, 1, SE, [1024, 16]]" in finding.fix
    cfg["backbone"][9][3] = [256, 16]
    assert lint(save(cfg, "yolo11n-se.yaml")) == ()  # the width as it is at this scale is right


def test_torchvision_rows_must_have_the_width_at_this_scale(save):
    cfg = load(RECIPE)
    cfg["backbone"][9][2:] = [SQUEEZE_EXCITATION, [256, 16]]
    assert lint(save(cfg)) == ()
    (finding,) = lint(save(cfg, "yolo11s-se.yaml"))
    assert "has 512 at scale s" in finding.what
    assert "[512, 32]" in finding.fix


@pytest.mark.parametrize(("name", "near"), [
    ("SEAttenton", "seattention"), ("CBMA", "CBAM"), ("C3K3", "C3k2"), ("Xyzzy", ""),
])
def test_an_unknown_module(name, near, save):
    cfg = load(RECIPE)
    cfg["backbone"][9][2] = name
    (finding,) = lint(save(cfg))
    assert f"no module is named '{name}'" in finding.what
    assert ("Did you mean" in finding.fix) == bool(near)
    assert near in finding.fix


def test_a_forks_module_in_place_of_a_stock_row_hides_no_other_finding(save):
    cfg = edited((9, SE))
    cfg["backbone"][6][2] = "C3k2_DCN"
    assert [one.row for one in lint(save(cfg))] == [6, 19, 22, 24]


def test_blocks_behind_four_rows_of_yolov8_with_nothing_shifted(save):
    cfg = edited((3, [-1, 1, "SE", [128]]), (6, [-1, 1, "SE", [256]]), (9, [-1, 1, "SE", [512]]), (12, SE), cfg=YOLO8)
    findings = lint(save(cfg, "yolov8n-se.yaml"))
    assert brief(findings) == [(15, "error", "from: [-1, 9]"), (18, "error", "from: [-1, 6]"),
                               (21, "error", "from: [-1, 16]"), (24, "error", "from: [-1, 13]"),
                               (26, "error", "from: [19, 22, 25]")]
    assert str(read(apply_fixes(cfg, findings)).graft) == "se@2,4,6,8"


def test_a_stock_row_removed_with_nothing_shifted(save):
    cfg = copy.deepcopy(YOLO11)
    del cfg["backbone"][10]
    findings = lint(save(cfg))
    assert brief(findings) == [(17, "error", "from: [-1, 12]"), (20, "error", "from: [-1, 9]"),
                               (22, "error", "from: [15, 18, 21]")]
    assert lint(save(apply_fixes(cfg, findings))) == ()


def test_two_rows_where_one_was_meant(save):
    cfg = write(YOLO11, "se@8 + se@8")
    assert lint(save(cfg))[0].severity == "warning"
    assert [one.row for one in lint(save(cfg))] == [10]
    cfg = load(RECIPE)
    cfg["backbone"][9][1] = 3
    (finding,) = lint(save(cfg))
    assert (finding.row, finding.severity) == (9, "warning")
    assert "2 blocks at this scale" in finding.what


@pytest.mark.parametrize(("row", "said"), [
    ([[-1, 4], 1, "SE", []], "reads a list"), ([9, 1, "SE", []], "9 is the row itself"), ([-1, 0, "SE", []], "0 repeats"),
    ([-1, 1, "SE", ["x"]], "is the value of 'ratio'"),
    ([-1, 1, "SE", [16, "avg", "sigmoid", "identity", True, 9]], "more than"),
    ([-1, "SE", [1024]], "is not a row"), (["-1", 1, "SE", []], "`from`"), ([-1, 1, "SE", 1024], "the arguments"),
])
def test_a_row_that_the_reader_refuses_is_a_finding(row, said, save):
    cfg = edited((9, row))
    with pytest.raises(GraftError):
        read(cfg)
    assert said in " ".join(one.what for one in lint(save(cfg)) if one.row == 9)


def test_a_block_after_the_head_or_in_its_place(save):
    assert [one.row for one in lint(save(edited((24, SE))))] == [24]
    assert "head" in lint(save(edited((24, [22, 1, "SE", []]))))[0].fix


def test_a_rewiring_that_fits_is_a_warning_only(save):
    cfg = copy.deepcopy(YOLO11)
    row_of(cfg, 12)[0] = [-1, 5]  # another map of the same stride, in a file without any inserted row
    row_of(cfg, 15)[0] = [-1, 3]
    assert brief(lint(save(cfg))) == [(12, "warning", "from: [-1, 6], unless the change is intended"),
                                      (15, "warning", "from: [-1, 4], unless the change is intended")]


def test_the_file_as_a_whole(save):
    cfg = load(RECIPE)
    assert "No scale can be chosen" in lint(save(cfg, "se.yaml"))[0].what
    assert lint(save(cfg, "yolo11-mine.yaml")) == ()
    assert "says scale n" in lint(save({**cfg, "scales": {"s": [1, 1, 512], "m": [1, 1, 512]}}, "yolo11n-a.yaml"))[0].what
    bare = {key: value for key, value in cfg.items() if key not in ("scales", "nc")}
    assert [one.severity for one in lint(save(bare))] == ["error", "warning"]


# Garbage


@pytest.mark.parametrize("text", [
    "", "7", "[]", "a: [1", "\0", "backbone: 3\nhead: []", "backbone: []\nhead: []", "- &a [*a]", "!!python/object:os.x {}",
    "nc: 1\nscales: {n: 3}\nbackbone: [[-1, 1, Conv, [8]]]\nhead: []",
])
def test_garbage_is_refused_in_words(text, tmp_path):
    file = tmp_path / "yolo11n.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(HostError):
        lint(file)


@pytest.mark.parametrize("name", ["missing.yaml", "folder", "model.pt", "big.yaml", "binary.yaml", "loop.yaml"])
def test_what_is_no_yaml_file_is_refused_in_words(name, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "model.pt").write_bytes(b"PK\3\4\x80")
    (tmp_path / "big.yaml").write_text("#" * 1_000_001)
    (tmp_path / "binary.yaml").write_bytes(bytes(range(256)))
    (tmp_path / "loop.yaml").write_text("[" * 100_000)
    with pytest.raises(HostError):
        lint(tmp_path / name)


def check_survives(cfg, folder):
    file = folder / "yolo11n.yaml"
    try:
        file.write_text(yaml.safe_dump(cfg), encoding="utf-8")
    except (yaml.YAMLError, ValueError, UnicodeError):
        return  # nothing that could stand in a file
    try:
        report = examine(file)
    except GraftError:
        return
    assert str(report)
    if not report.errors:
        read(yaml.safe_load(file.read_text(encoding="utf-8")))  # what has no error can be read


@given(CONFIGS)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_file_ends_lint_in_anything_but_a_graft_error(tmp_path, cfg):
    check_survives(cfg, tmp_path)


@st.composite
def broken(draw):
    """A packaged file with a few values of a few rows changed, rows inserted, or rows removed."""
    cfg = load(draw(st.sampled_from(PACKAGED)))
    rows = cfg["backbone"] + cfg["head"]
    cut = len(cfg["backbone"])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(rows) - 1))
        change = draw(st.sampled_from(["from", "list", "module", "insert", "remove", "args"]))
        source = st.integers(-4, len(rows) + 2)
        if change == "insert":
            name = draw(st.sampled_from(["SE", "CBAM", "SEx", SQUEEZE_EXCITATION, "Conv"]))
            rows.insert(at, [draw(source), draw(st.integers(0, 3)), name,
                             draw(st.lists(st.sampled_from([16, 256, 1024, "nc", None, 1.5]), max_size=3))])
        elif change == "remove" and len(rows) > 1:
            del rows[at]
        elif change == "module":
            rows[at][2] = draw(st.sampled_from(["SE", "Detect", "Concat", "CBLinear", "nn.Upsample", "C3k3"]))
        elif change == "args":
            rows[at][3] = draw(st.lists(st.sampled_from([16, 0, -1, "nc", None, True, 10**9, [3]]), max_size=3))
        else:
            rows[at][0] = draw(st.lists(source, min_size=1, max_size=3)) if change == "list" else draw(source)
    return {**cfg, "backbone": rows[:cut], "head": rows[cut:]}


@given(broken())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_broken_file_ends_lint_in_anything_but_a_graft_error(tmp_path, cfg):
    check_survives(cfg, tmp_path)


TEXTS = st.text(max_size=80) | st.text(alphabet="backbone: head[],-1SEConv\n 0123\"'{}&*!|>#%@", max_size=120) | st.lists(
    st.sampled_from(["nc: 1\n", "backbone:\n", "head:\n", "  - [-1, 1, SE, []]\n", "  - [-1, 1, Conv, [64, 3, 2]]\n",
                     "  - [", "]\n", "  - [[-1, 6], 1, Concat, [1]]\n", "scales: {n: [1, 1, 1]}\n", "\t", "-1",
                     "  - &a [*a, 1, SE, []]\n"]), max_size=8).map("".join)


def check_text_survives(text, folder):
    file = folder / "yolo11n.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        said = str(examine(file))
    except GraftError as error:
        said = str(error)
    assert said


@given(TEXTS)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_text_ends_lint_in_anything_but_a_graft_error(tmp_path, text):
    check_text_survives(text, tmp_path)


@pytest.mark.slow
@given(TEXTS)
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
def test_ten_thousand_texts_end_lint_in_nothing_but_a_graft_error(tmp_path, text):
    check_text_survives(text, tmp_path)


@pytest.mark.slow
@given(CONFIGS | broken())
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
def test_ten_thousand_files_end_lint_in_nothing_but_a_graft_error(tmp_path, cfg):
    check_survives(cfg, tmp_path)


# The commands


def test_the_lint_command_prints_and_exits_for_a_script(save, capsys):
    good, bad = save(load(RECIPE), "yolo11-good.yaml"), save(edited((9, SE)), "yolo11-bad.yaml")
    assert main(["lint", str(good)]) == 0
    printed = capsys.readouterr().out
    assert "no problems (compared with yolo11.yaml, row 9 inserted; at scale n, the first in the file" in printed
    assert main(["lint", str(good), str(bad)]) == 1
    printed = capsys.readouterr().out
    assert "3 errors" in printed
    assert "fix:  from: [17, 20, 23]" in printed
    assert main(["lint", str(save(write(YOLO11, "se@8 + se@8")))]) == 0  # warnings only
    assert "1 warning" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "said"), [
    ([], "needs a model YAML"), (["nix.yaml"], "nix.yaml does not exist"), (["blocks=nix.py", "a.yaml"], "nix.py"),
])
def test_what_the_lint_command_cannot_read_is_said(words, said, capsys):
    assert main(["lint", *words]) == 2
    assert said in capsys.readouterr().err


def test_the_lint_command_knows_blocks_of_ones_own(save, tmp_path, capsys):
    cfg = load(RECIPE)
    cfg["backbone"][9][2] = "MyLintedBlock"
    file = save(cfg)
    assert main(["lint", str(file)]) == 1
    (tmp_path / "mine.py").write_text(
        "from torch import nn\nimport yolograft\n\n"
        "@yolograft.block('my_linted_block', aliases=('MyLintedBlock',))\n"
        "class MyLintedBlock(nn.Module):\n"
        "    def __init__(self, channels):\n        super().__init__()\n"
        "    def forward(self, x):\n        return x\n")
    assert main(["lint", str(file), f"blocks={tmp_path / 'mine.py'}"]) == 0
    assert "no problems" in capsys.readouterr().out


def test_the_yaml_command_writes_what_reads_back(tmp_path, capsys):
    assert main(["yaml", "model=yolo11n.yaml", "graft=se@8"]) == 0
    text = capsys.readouterr().out
    assert str(read(yaml.safe_load(text)).graft) == "se@8"
    file = tmp_path / "yolo11-mine.yaml"
    assert main(["yaml", "model=yolo11s.yaml", "graft=se(ratio=8)@p3 + eca@C3k2[-1]", f"to={file}"]) == 0
    assert str(read(load(file)).graft) == "eca@22 + se(ratio=8)@p3"
    assert next(iter(load(file)["scales"])) == "s"  # what Ultralytics takes for a name without a scale
    capsys.readouterr()


@pytest.mark.parametrize(("words", "said"), [
    (["graft=se@Bottleneck.cv2"], "name a row, such as '8'"), (["graft=se@99"], "0 to 23"), ([], "needs a graft"),
    (["graft=see@8"], "Did you mean 'se'"), (["graft=se@8", "model=nix.yaml"], "does not exist"),
    (["graft=se@8", "model=yolo11n.pt"], "yolo11n.pt"),
    (["graft=se@8", "too=x"], "Did you mean 'to'"), (["graft=se@8", "to=/dev/null/x.yaml"], "cannot be written"),
])
def test_what_the_yaml_command_cannot_do_is_said(words, said, capsys):
    assert main(["yaml", *words]) == 2
    assert said in capsys.readouterr().err


def test_the_yaml_command_overwrites_nothing(tmp_path, capsys):
    file = tmp_path / "yolo11-mine.yaml"
    file.write_text("mine")
    assert main(["yaml", "graft=se@8", f"to={file}"]) == 2
    assert "exists and is not overwritten" in capsys.readouterr().err
    assert file.read_text() == "mine"
    assert main(["yaml", "graft=se@99", f"to={tmp_path / 'new.yaml'}"]) == 2
    assert [path.name for path in Path(tmp_path).iterdir()] == ["yolo11-mine.yaml"]


def test_a_broken_file_is_warned_of_when_it_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cfg = copy.deepcopy(YOLO11)
    cfg["backbone"].insert(9, [-1, 1, "SE", []])
    (tmp_path / "yolo11-mine.yaml").write_text(yaml.safe_dump(cfg, sort_keys=False))
    with caplog.at_level("WARNING", logger="ultralytics"):
        build.model_config(tmp_path / "yolo11n-mine.yaml")
        assert "row 19" in caplog.text
        caplog.clear()
        build.model_config("yolo11n-se.yaml")
        assert "yolograft lint" not in caplog.text
