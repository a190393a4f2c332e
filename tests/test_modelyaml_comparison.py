"""Wirings of attention rows as people publish them, and what the linter says about them."""

import copy

import pytest
from test_modelyaml_lint import save  # noqa: F401
from test_modelyaml_reader import YOLO11, edited
from test_modelyaml_table import PACKAGED, load

from yolograft.modelyaml.lint import examine
from yolograft.modelyaml.mends import apply_mends

STOCK = {name: load(next(path for path in PACKAGED if path.stem == name)) for name in ("yolov8", "yolo11", "yolov5")}
V8, V11 = "ultralytics/cfg/models/v8/", "ultralytics/cfg/models/11/"

# Public hand edits: the stock file, the rows that were inserted (their number in the file, the block), and the `from` of the
# rows that read by number, with the file that they come from. Only the wiring is kept.
PUBLIC_RIGHT = {  # every number follows the inserted rows, and the neck and the head read what the next row reads
    f"20191844308/SLA-YOLO: {V8}yolov8-CBAM.yaml": ("yolov8", {9: "CBAM"}, {18: [-1, 13], 21: [-1, 10], 23: [16, 19, 22]}),
    f"6renmei/CubeFusionNet: {V8}yolov8-CBAM.yaml": (
        "yolov8", dict.fromkeys((13, 17, 21, 25), "CBAM"), {19: [-1, 13], 23: [-1, 9], 26: [17, 21, 25]}),
    f"IamSunday/Enhanced-YOLOv8-for-Detecting-Multiple-Defects-on-Bridge-Surfaces: {V8}yolov8-SE.yaml": (
        "yolov8", {10: "SEAttention"}, {18: [-1, 13], 21: [-1, 10], 23: [16, 19, 22]}),
    f"heartbeat-tech/yolo: {V11}yolo11-CBAM.yaml": (
        "yolo11", {11: "CBAM"}, {19: [-1, 14], 22: [-1, 11], 24: [17, 20, 23]}),
    f"INVINCIBLE2297/ultralytics_attention: {V11}yolo11-CBAM.yaml": (
        "yolo11", dict.fromkeys((14, 18, 22, 26), "CBAM"), {20: [-1, 14], 24: [-1, 10], 27: [18, 22, 26]}),
    f"112345434/diedao: {V8}yolov8-EMA.yaml": (
        "yolov8", dict.fromkeys((16, 20, 24), "EMA"), {18: [-1, 12], 22: [-1, 9], 25: [16, 20, 24]}),
    f"666xkk/ES-YOLOv8: {V8}yolov8-EMA.yaml": (
        "yolov8", dict.fromkeys((13, 17, 21, 25), "EMA"), {19: [-1, 13], 23: [-1, 9], 26: [17, 21, 25]}),
    f"huangyicong0769/ultralytics: {V8}yolov8_SE.yaml": (
        "yolov8", {10: "SEAttention"}, {18: [-1, 13], 21: [-1, 10], 23: [16, 19, 22]}),
    f"PhucThinhHuynh/SD-YOLO: {V8}yolov8_SE.yaml": (
        "yolov8", dict.fromkeys((13, 17, 21, 25), "SEAttention"), {19: [-1, 13], 23: [-1, 9], 26: [17, 21, 25]}),
    f"truongan-2704/yolov8-bifpn-v2: {V8}yolov8-cbam.yaml": (
        "yolov8", {10: "CBAM"}, {18: [-1, 13], 21: [-1, 10], 23: [16, 19, 22]}),
    "xrwy777/yolov5-e-bike: models/yolov5s_SE.yaml": (
        "yolov5", {9: "SE"}, {20: [-1, 15], 23: [-1, 11], 25: [18, 21, 24]}),
}
PUBLIC_BYPASSED = {  # the numbers follow the inserted rows, but one reader has the number before a block: (reader, mend)
    f"chaizwj/yolov8-tricks: {V8}yolov8-cbam.yaml": (
        "yolov8", {5: "CBAM"}, {12: [-1, 7], 15: [-1, 4], 18: [-1, 13], 21: [-1, 10], 23: [16, 19, 22]}, {15: [-1, 5]}),
    f"datnguyentin/Helmet_Detection: {V8}yolov8_CBAM.yaml": (
        "yolov8", dict.fromkeys((13, 17, 21, 25), "CBAM"), {19: [-1, 12], 23: [-1, 9], 26: [17, 21, 25]}, {19: [-1, 13]}),
}
PUBLIC_WRONG = {  # some or all numbers were not shifted: the mends
    f"ZCosmicc/YOLOv8-CBAM: {V8}yolov8-CBAM.yaml": (
        "yolov8", dict.fromkeys((4, 10, 15, 25), "CBAM"), {26: [15, 18, 21]},
        {13: [-1, 7], 17: [-1, 5], 20: [-1, 15], 23: [-1, 11], 26: [18, 21, 25]}),
    f"lymn54040/plant_identify: {V8}yolov8-SE.yaml": (  # only the head was shifted
        "yolov8", {9: "SE"}, {23: [16, 19, 22]}, {18: [-1, 13], 21: [-1, 10]}),
    f"beiweidedagongren/pedestrian-detection: {V8}yolov8-ECA.yaml": (
        "yolov8", {9: "ECA"}, {23: [16, 19, 22]}, {18: [-1, 13], 21: [-1, 10]}),
    f"NA110-coder/BT-YOLO: {V11}yolo11-CBAM.yaml": (  # 17 is CBAM, 20 is the C3k2 before CBAM, 23 is a Concat
        "yolo11", dict.fromkeys((17, 21, 25), "CBAM"), {19: [-1, 13], 23: [-1, 10], 26: [17, 20, 23]}, {26: [17, 21, 25]}),
    f"Paperdesolate/TumorDetection: {V11}yolo11_CBAM.yaml": (
        "yolo11", {9: "CBAM", 18: "CBAM"}, {20: [-1, 14], 23: [-1, 11], 25: [16, 19, 22]}, {25: [18, 21, 24]}),
}


def wired(stock, inserted, numbers):
    cfg = copy.deepcopy(STOCK[stock])
    rows, backbone = cfg["backbone"] + cfg["head"], len(cfg["backbone"])
    for number, block in sorted(inserted.items()):
        rows.insert(number, [-1, 1, block, []])
        backbone += number <= backbone
    for number, sources in numbers.items():
        assert isinstance(rows[number][0], list)
        rows[number][0] = sources
    return {**cfg, "backbone": rows[:backbone], "head": rows[backbone:]}


def mended_rows(cfg, findings, severities=("error", "warning")):
    before = cfg["backbone"] + cfg["head"]
    after = apply_mends(cfg, [mend for one in findings if one.severity in severities for mend in one.mends])
    return {number: row[0] for number, (row, old) in
            enumerate(zip(after["backbone"] + after["head"], before, strict=True)) if row != old}


@pytest.mark.parametrize("source", PUBLIC_RIGHT)
def test_a_public_file_with_every_number_shifted_gets_no_finding(source, save):  # noqa: F811
    stock, inserted, numbers = PUBLIC_RIGHT[source]
    report = examine(save(wired(stock, inserted, numbers), f"{stock}-mine.yaml"))
    assert report.findings == ()
    assert len([note for note in report.notes if "the map after it" in note]) == len(inserted)


@pytest.mark.parametrize("source", PUBLIC_BYPASSED)
def test_a_reader_left_on_the_number_before_a_block_gets_a_warning(source, save):  # noqa: F811
    stock, inserted, numbers, mends = PUBLIC_BYPASSED[source]
    cfg = wired(stock, inserted, numbers)
    report = examine(save(cfg, f"{stock}-mine.yaml"))
    assert {(one.row, one.severity) for one in report.findings} == {(row, "warning") for row in mends}
    assert mended_rows(cfg, report.findings) == mends


@pytest.mark.parametrize("source", PUBLIC_WRONG)
def test_a_public_file_with_numbers_not_shifted_is_mended(source, save):  # noqa: F811
    stock, inserted, numbers, mends = PUBLIC_WRONG[source]
    cfg = wired(stock, inserted, numbers)
    findings = examine(save(cfg, f"{stock}-mine.yaml")).findings
    assert {one.row for one in findings if one.severity == "error"} >= set(mends)
    assert mended_rows(cfg, findings) == mends
    again = apply_mends(cfg, [mend for one in findings for mend in one.mends])
    assert examine(save(again, f"{stock}-mended.yaml")).findings == ()


# The cases of attention that some readers bypass


def test_blocks_that_only_the_next_row_reads_get_warnings(save):  # noqa: F811
    cfg = wired("yolo11", {5: "CBAM", 8: "CBAM"}, {14: [-1, 7], 17: [-1, 4], 20: [-1, 15], 23: [-1, 12], 25: [18, 21, 24]})
    report = examine(save(cfg))
    assert [(one.row, one.severity) for one in report.findings] == [(14, "warning"), (17, "warning")]
    assert "7 is the map before CBAM (row 8)" in report.findings[0].what
    assert mended_rows(cfg, report.findings) == {14: [-1, 8], 17: [-1, 5]}
    assert "rows that read the map after it: 6; rows that read the map before it (C3k2, 4): 17" in " ".join(report.notes)
    assert "note: row 5" in str(report)
    assert "2 warnings" in str(report)


def test_a_block_with_a_number_as_its_from_is_a_branch_for_some_readers(save):  # noqa: F811
    cfg = wired("yolo11", {5: "CBAM"}, {13: [-1, 7], 16: [-1, 4], 19: [-1, 14], 22: [-1, 11], 24: [17, 20, 23]})
    (finding,) = examine(save(cfg)).findings
    assert "[4, 1, CBAM, []]" in finding.fix
    cfg["backbone"][5][0] = 4
    assert examine(save(cfg)).findings == ()


@pytest.mark.parametrize("head", [[17, 20, 23], [17, 21, 24], [16, 19, 22], [17, 20, 25], [16, 21, 25]])
def test_a_half_shifted_head_is_wired_to_the_blocks(head, save):  # noqa: F811
    cfg = wired("yolo11", dict.fromkeys((17, 21, 25), "SE"), {26: head})
    findings = examine(save(cfg)).findings
    assert mended_rows(cfg, findings) == {26: [17, 21, 25]}
    again = apply_mends(cfg, [mend for one in findings for mend in one.mends])
    assert examine(save(again)).findings == ()


# A stock file that does not fit explains nothing


def top_down_p2():
    cfg = copy.deepcopy(YOLO11)
    cfg["head"][6:] = [[-1, 1, "nn.Upsample", [None, 2, "nearest"]], [[-1, 2], 1, "Concat", [1]],
                       [-1, 2, "C3k2", [128, False]], [[19, 16, 13], 1, "Detect", ["nc"]]]
    return cfg


def test_a_head_without_a_bottom_up_path_is_sound(save):  # noqa: F811
    assert examine(save(top_down_p2())).findings == ()


def test_no_mend_makes_the_maps_of_a_concat_unequal(save):  # noqa: F811
    cfg = edited((9, [-1, 1, "SE", []]), cfg=top_down_p2())  # row 19 reads [-1, 2], and the head was not shifted
    findings = examine(save(cfg)).findings
    assert 19 not in {one.row for one in findings}
    assert examine(save(apply_mends(cfg, [mend for one in findings for mend in one.mends]))).errors == 0


def test_rows_that_no_stock_file_has_are_checked_by_themselves(save):  # noqa: F811
    cfg = {"nc": 2, "backbone": [[-1, 1, "Conv", [16 * 2**k, 3, 2]] for k in range(4)],
           "head": [[-1, 1, "nn.Upsample", [None, 2, "nearest"]], [[-1, 2], 1, "Concat", [1]],
                    [[5, 3, 9], 1, "Detect", ["nc"]]]}
    report = examine(save(cfg, "tiny.yaml"))
    assert "no packaged YAML is similar enough" in report.compared
    assert [(one.row, one.severity, one.mends) for one in report.findings] == [(6, "error", ())]
    assert "9 is not a row of this file" in report.findings[0].what
