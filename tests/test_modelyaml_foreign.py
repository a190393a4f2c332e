"""Files of other repositories, and modules that join a stock module and a block: read as host and graft, or named once."""

import copy
import logging

import pytest
import yaml
from test_modelyaml_table import PACKAGED, load

from yolograft import YOLO, blocks
from yolograft.analysis.profile import shape_only
from yolograft.attach import grafts
from yolograft.cli import main
from yolograft.errors import GraftError, HostError, nearest
from yolograft.modelyaml import catalog, dialects, table
from yolograft.modelyaml.compounds import split_name
from yolograft.modelyaml.lint import examine
from yolograft.modelyaml.reader import read
from yolograft.modelyaml.unknown import explain_unknown

STOCK = {path.stem: load(path) for path in PACKAGED}
ANCHORS = [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]]


def yolov5(head="anchors", conv=None, csp="C3", pool=None, last="C3"):
    """Return a file of the yolov5 repository with SE third from last in its backbone. Releases 1 to 6 differ in few rows."""
    backbone = [[-1, 1, *(conv or ["Conv", [64, 6, 2, 2]])], [-1, 1, "Conv", [128, 3, 2]], [-1, 3, csp, [128]],
                [-1, 1, "Conv", [256, 3, 2]], [-1, 6, csp, [256]], [-1, 1, "Conv", [512, 3, 2]], [-1, 9, csp, [512]],
                [-1, 1, "Conv", [1024, 3, 2]], [-1, 3, last, [1024]], [-1, 1, "SE", [1024]],
                [-1, 1, *(pool or ["SPPF", [1024, 5]])]]
    neck = [[-1, 1, "Conv", [512, 1, 1]], [-1, 1, "nn.Upsample", ["None", 2, "nearest"]], [[-1, 6], 1, "Concat", [1]],
            [-1, 3, csp, [512, False]], [-1, 1, "Conv", [256, 1, 1]], [-1, 1, "nn.Upsample", ["None", 2, "nearest"]],
            [[-1, 4], 1, "Concat", [1]], [-1, 3, csp, [256, False]], [-1, 1, "Conv", [256, 3, 2]],
            [[-1, 15], 1, "Concat", [1]], [-1, 3, csp, [512, False]], [-1, 1, "Conv", [512, 3, 2]],
            [[-1, 11], 1, "Concat", [1]], [-1, 3, csp, [1024, False]], [[18, 21, 24], 1, "Detect", ["nc", head]]]
    return {"nc": 80, "depth_multiple": 0.33, "width_multiple": 0.25, "anchors": ANCHORS, "backbone": backbone, "head": neck}


def save(tmp_path, cfg, name):
    file = tmp_path / name
    file.write_text(yaml.safe_dump(cfg, sort_keys=False), encoding="utf-8")
    return file


RELEASES = {
    "v6": {}, "v6 with written anchors": {"head": ANCHORS}, "transformer": {"last": "C3TR"}, "ghost": {"csp": "C3Ghost"},
    "v5": {"conv": ["Focus", [64, 3]], "pool": ["SPP", [1024, [5, 9, 13]]]},
    "v3": {"conv": ["Focus", [64, 3]], "csp": "BottleneckCSP", "last": "BottleneckCSP", "pool": ["SPP", [1024, [5, 9, 13]]]},
}


@pytest.mark.parametrize("release", RELEASES)
def test_a_file_of_the_yolov5_repository_opens_and_lints_clean(release, tmp_path, caplog):
    file = save(tmp_path, yolov5(**RELEASES[release]), "yolov5n-se.yaml")
    report = examine(file)
    assert report.findings == ()
    assert sum("read as [nc]" in note for note in report.notes) == 1
    caplog.set_level(logging.INFO, logger="ultralytics")
    with shape_only():
        model = YOLO(file)
    assert [(part.block, str(part.sites[0])) for part in model.graft.parts] == [("se", "8")]
    assert model.model.yaml["head"][-1][3] == ["nc"]


def test_show_and_sites_open_a_file_of_the_yolov5_repository(tmp_path, capsys):
    file = save(tmp_path, yolov5(), "yolov5n-se.yaml")
    assert main(["show", f"model={file}"]) == 0
    assert "SE (" in capsys.readouterr().out


def test_a_segment_head_of_the_yolov5_repository_loses_its_anchors_only():
    cfg = yolov5()
    cfg["head"][-1] = [[18, 21, 24], 1, "Segment", ["nc", "anchors", 32, 256]]
    translated, notes = dialects.translate(cfg)
    assert translated["head"][-1][3] == ["nc", 32, 256]
    assert (len(notes), cfg["head"][-1][3][1]) == (1, "anchors")


@pytest.mark.parametrize("name", [name for name, cfg in STOCK.items()
                                  if cfg["head"][-1][2] in ("Detect", "Segment", "Pose")])
def test_anchors_change_nothing_else_of_any_packaged_file(name):
    cfg = {**copy.deepcopy(STOCK[name]), "anchors": ANCHORS}
    cfg["head"][-1][3].insert(1, "anchors")
    reading = read(cfg)
    assert {key: value for key, value in reading.host.items() if key != "anchors"} == STOCK[name]
    assert len(reading.notes) == 1


def test_the_head_of_the_yolov9_repository_is_read_as_detect():
    cfg = copy.deepcopy(STOCK["yolov9c"])
    cfg["head"][-1][2] = "DDetect"
    assert read(cfg).host == STOCK["yolov9c"]
    assert "DDetect of the yolov9 repository" in read(cfg).notes[0]


@pytest.mark.parametrize(("family", "rows"), [
    ("YOLOv7", [[-1, 1, "MP", []], [-1, 1, "SPPCSPC", [512]], [[1, 2], 1, "IDetect", ["nc", "anchors"]]]),
    ("YOLOv7", [[-1, 1, "MP", []], [-1, 1, "SP", [5]], [[1, 2], 1, "Detect", ["nc", "anchors"]]]),
    ("YOLOv7", [[-1, 1, "ReOrg", []], [[1], 1, "IAuxDetect", ["nc", "anchors"]]]),
    ("YOLOv9", [[-1, 1, "Silence", []], [[1], 1, "DualDDetect", ["nc"]]]),
    ("YOLOv13", [[-1, 1, "DSC3k2", [64]], [-1, 1, "HyperACE", [64]], [[1], 1, "Detect", ["nc"]]]),
])
def test_a_model_that_ultralytics_does_not_have_is_named_once(family, rows, tmp_path):
    cfg = {"nc": 2, "anchors": ANCHORS, "backbone": [[-1, 1, "Conv", [32, 3, 2]]], "head": rows}
    file = save(tmp_path, cfg, "yolov7-se.yaml")
    (finding,) = examine(file).findings
    assert family in finding.what
    with pytest.raises(HostError, match=family) as caught:
        YOLO(file)
    assert "\n" not in str(caught.value)


def test_the_first_yolov5_releases_are_named(tmp_path):
    cfg = yolov5()
    cfg["head"].insert(-1, [-1, 1, "nn.Conv2d", ["na * (nc + 5)", 1, 1]])
    with pytest.raises(HostError, match="first yolov5 releases"):
        YOLO(save(tmp_path, cfg, "yolov5n-v1.yaml"))


def test_no_packaged_file_is_of_another_repository():
    for cfg in STOCK.values():
        assert dialects.translate(cfg) == (cfg, ())


# Names that join a stock module and a block


@pytest.mark.parametrize(("name", "parts"), [
    ("C2fSE", ("C2f", "se")), ("C2f_SE", ("C2f", "se")), ("C2f_ECA", ("C2f", "eca")), ("C2f_eca", ("C2f", "eca")),
    ("SE_C2f", ("C2f", "se")), ("C3k2_EMA", ("C3k2", "ema")), ("C2PSA_SE", ("C2PSA", "se")), ("SPPF_LSKA", ("SPPF", "lska")),
    ("C3_CBAM", ("C3", "cbam")), ("C3SE", ("C3", "se")), ("C3CA", ("C3", "coordatt")), ("C2f_SEAttention", ("C2f", "se")),
    ("C3k2_SENetV1", ("C3k2", "se")), ("ConvCBAM", ("Conv", "cbam")), ("C3k2_CoordAtt", ("C3k2", "coordatt")),
    ("C3TR", None), ("C2fPSA", None), ("C2f_PSA", None), ("C3Ghost", None), ("C2f_DCN", None), ("SPPFCSPC", None),
    ("C3GC", None), ("CBAM", None), ("SKConv", None), ("C2f_SENetV2", None), ("C2f", None), ("Conv", None), ("", None),
])
def test_a_joined_name_is_a_stock_module_and_a_block(name, parts):
    assert split_name(name) == parts


@pytest.mark.parametrize("name", blocks.names())
@pytest.mark.parametrize("host", ["C2f", "C3k2", "SPPF"])
def test_every_block_can_be_joined_to_a_stock_module(name, host):
    if catalog.has_module(host):
        cls = blocks.lookup(name).__name__
        expected = (host, name) if not catalog.has_module(cls) else None  # PSA in Ultralytics is another module
        assert split_name(f"{host}_{cls}") == expected


def test_no_module_of_a_packaged_file_is_a_joined_name():
    for cfg in STOCK.values():
        assert not any(split_name(row.module) for row in table.parse_rows(cfg))


def renamed(model, number, module, *extra, scale="n"):
    cfg = {**copy.deepcopy(STOCK[model]), "scale": scale}
    row = (cfg["backbone"] + cfg["head"])[number]
    row[2:] = [module, [*row[3], *extra]]
    return cfg


@pytest.mark.parametrize(("model", "number", "module", "graft", "host"), [
    ("yolov8", 4, "C2f_SE", "se@4", "C2f"), ("yolov8", 4, "C2fSE", "se@4", "C2f"), ("yolov8", 4, "C2f_ECA", "eca@4", "C2f"),
    ("yolo11", 6, "C3k2_EMA", "ema@6.m.*.m.*.cv2", "C3k2"), ("yolo11", 4, "C3k2_EMA", "ema@4.m.*.cv2", "C3k2"),
    ("yolo11", 9, "SPPF_LSKA", "lska(kernel_size=11)@9.cv2/pre", "SPPF"), ("yolo11", 10, "C2PSA_SE", "se@10", "C2PSA"),
    ("yolov5", 8, "C3SE", "se@8.m.*.cv2", "C3"), ("yolov5", 8, "C3_CBAM", "cbam@8.m.*.cv2", "C3"),
    ("yolov8", 1, "Conv_CBAM", "cbam@1", "Conv"),
])
def test_a_joined_row_is_its_stock_row_and_a_graft_that_attaches(model, number, module, graft, host, tmp_path):
    cfg = renamed(model, number, module)
    reading = read(cfg)
    assert str(reading.graft) == graft
    assert [reading.host[part] for part in ("backbone", "head")] == [STOCK[model][part] for part in ("backbone", "head")]
    (note,) = reading.notes
    assert module in note
    assert f"write {host} in the row and graft=" in note
    file = save(tmp_path, {key: value for key, value in cfg.items() if key != "scale"}, f"{model}-x.yaml")
    report = examine(file)
    assert [finding for finding in report.findings if finding.severity == "error"] == []
    assert note in report.notes
    with shape_only():
        built = YOLO(file)
    assert grafts(built.model)
    other = note.partition("graft=")[2].removesuffix(")")
    with shape_only():
        YOLO(f"{model}.yaml", graft=other)


def test_where_the_bottlenecks_of_c3k2_are_depends_on_the_scale():
    assert str(read(renamed("yolo11", 4, "C3k2_EMA", scale="n")).graft) == "ema@4.m.*.cv2"
    assert str(read(renamed("yolo11", 4, "C3k2_EMA", scale="m")).graft) == "ema@4.m.*.m.*.cv2"


def test_the_bottlenecks_of_a_c3k2_with_self_attention(tmp_path):
    if "yolo26" not in STOCK:
        pytest.skip("this Ultralytics has no such C3k2")
    number = next(row.number for row in table.parse_rows(STOCK["yolo26"])
                  if row.module == "C3k2" and list(row.args[1:4]) == [True, 0.5, True])
    assert str(read(renamed("yolo26", number, "C3k2_EMA")).graft) == f"ema@{number}.m.*.0.cv2"
    with shape_only():
        assert grafts(YOLO("yolo26n.yaml", graft=f"ema@{number}.m.*.0.cv2").model)


def test_arguments_behind_those_of_the_stock_module_are_the_blocks():
    assert str(read(renamed("yolov8", 4, "C2f_SE", 1, 0.5, 8)).graft) == "se(ratio=8)@4"
    assert read(renamed("yolov8", 4, "C2f_SE", 1, 0.5, 8)).host["backbone"][4] == [-1, 6, "C2f", [256, True, 1, 0.5]]
    assert str(read(renamed("yolo11", 9, "SPPF_LSKA", 23)).graft) == "lska(kernel_size=23)@9.cv2/pre"


def test_a_joined_row_and_an_attention_row_behind_it_apply_in_their_order():
    cfg = renamed("yolov8", 4, "C2f_SE")
    cfg["backbone"].insert(5, [-1, 1, "CBAM", []])
    head = cfg["head"]
    for row, old, new in ((head[1], 6, 7), (head[4], 4, 5), (head[7], 12, 13), (head[10], 9, 10)):
        assert row[0][1] == old
        row[0][1] = new
    cfg["head"][-1][0] = [16, 19, 22]
    assert str(read(cfg).graft) == "se@4 + cbam@4"


# Errors end as one line that names the row of the file


def edit(number, change):
    cfg = copy.deepcopy(STOCK["yolo11"])
    cfg["backbone"].insert(3, [-1, 1, "SE", []])  # so that the file's numbers are not the host's
    for row in cfg["head"]:
        if isinstance(row[0], list):
            row[0] = [source + 1 if source > 2 else source for source in row[0]]
    change((cfg["backbone"] + cfg["head"])[number])
    return cfg


@pytest.mark.parametrize(("number", "change", "said"), [
    (7, lambda row: row.__setitem__(2, "C2f_DCN"), "no module is named 'C2f_DCN'"),
    (7, lambda row: row.__setitem__(2, "C3k3"), "Did you mean 'C3k2'"),
    (7, lambda row: row.__setitem__(3, [512, True, 1, 2, 3, 4, 5, 6, 7]), "positional arguments"),
    (7, lambda row: row.__setitem__(3, []), "index out of range"),
    (7, lambda row: row.__setitem__(3, ["many"]), "cannot be built"),
    (13, lambda row: row.__setitem__(0, [-1, 4]), "Sizes of tensors must match"),
    (1, lambda row: row.__setitem__(3, [128, 3, 2, None, 7]), "cannot be built"),
])
def test_an_error_of_the_build_is_one_line_that_names_the_row(number, change, said, tmp_path, capsys):
    file = save(tmp_path, edit(number, change), "yolo11-x.yaml")
    with pytest.raises(HostError) as caught:
        YOLO(file)
    for text in (f"row {number} [", said, str(file)):
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert main(["show", f"model={file}"]) == 2
    assert f"row {number} [" in capsys.readouterr().err


@pytest.mark.parametrize(("key", "value"), [("activation", "nn.Nonsense()"), ("nc", None), ("width_multiple", None)])
def test_an_error_outside_the_rows_is_one_line_too(key, value, tmp_path):
    cfg = {key: value} | {name: rows for name, rows in STOCK["yolo11"].items() if name not in (key, "scales")}
    if key == "activation":
        cfg["activation"] = value
    with pytest.raises(GraftError) as caught:
        YOLO(save(tmp_path, cfg, "yolo11-x.yaml"))
    assert "\n" not in str(caught.value)


def test_too_many_arguments_of_a_stock_module_are_a_finding(tmp_path):
    cfg = edit(7, lambda row: row.__setitem__(3, [512, True, 1, 2, 3, 4, 5, 6, 7]))
    (finding,) = examine(save(tmp_path, cfg, "yolo11-x.yaml")).findings
    assert (finding.row, "takes at most" in finding.what) == (7, True)


def test_no_row_of_a_packaged_file_has_too_many_arguments():
    for cfg in STOCK.values():
        for row in table.parse_rows(cfg):
            most = catalog.most_arguments(row.module)
            assert most is None or row.module not in table.SCALED_WIDTH or len(row.args) <= most, row


def test_a_warning_says_so_once(tmp_path, caplog):
    cfg = copy.deepcopy(STOCK["yolo11"])
    cfg["backbone"].insert(9, [-1, 1, "SE", [512]])
    with caplog.at_level("WARNING", logger="ultralytics"), shape_only():
        YOLO(save(tmp_path, cfg, "yolo11-x.yaml"))
    (said,) = [record.getMessage() for record in caplog.records if "has an error" in record.getMessage()]
    assert said.count("WARNING") <= 1


# Suggestions


@pytest.mark.parametrize(("name", "choices", "suggestion"), [
    ("C2f_ECA", ["CECA"], ""), ("C2f_ECA", ["CECA", "C2f_SE", "C2f_ECB"], "C2f_ECB"), ("24", ["4", "14"], ""),
    ("SEAttetion", ["SEAttention"], "SEAttention"), ("seattetion", ["SEAttention"], "SEAttention"),
    ("C2f_SE", ["se", "sk", "sge"], "se"),
    ("x.yaml", ["x.yaml"], ""), ("X.yaml", ["x.yaml"], "x.yaml"), ("batch_size", ["batch"], "batch"),
    ("backbone.12", ["backbone.10", "neck.12"], "backbone.10"), ("rato", ["ratio"], "ratio"), ("cbma", ["cbam"], "cbam"),
])
def test_a_suggestion_has_the_words_of_the_name(name, choices, suggestion):
    assert nearest(name, choices) == (f" Did you mean '{suggestion}'?" if suggestion else "")


def test_the_given_file_is_never_suggested(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path, {"nc": 1}, "yolo11-mine.yaml")
    with pytest.raises(GraftError) as caught:
        YOLO("yolo11-mine.yaml")
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize(("module", "said"), [
    ("SPPCSPC", "WongKinYiu/yolov7"), ("GSConv", "slim-neck"), ("C2f_DCN", "stock module C2f"), ("SENetV2", "SENetV2"),
    ("SEAttetion", "fork"),
])
def test_an_unknown_module_is_explained(module, said):
    assert said in explain_unknown(module, ["SEAttention"])[0]


def test_a_module_of_a_newer_ultralytics_is_named_so(monkeypatch):
    monkeypatch.setattr(catalog, "has_module", lambda name: False)
    assert "newer versions do" in explain_unknown("A2C2f", [])[0]


