import copy
from pathlib import Path

import pytest
import torch
import ultralytics
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from test_modelyaml_table import PACKAGED, load
from ultralytics.nn import tasks

import yolograft
from yolograft import YOLO, blocks, prune
from yolograft.attach import grafts
from yolograft.errors import BlockError, GraftError, HostError, SiteError, SpecError
from yolograft.modelyaml import table
from yolograft.modelyaml.reader import Reading, read
from yolograft.modelyaml.signatures import SQUEEZE_EXCITATION, find_block, parse_args
from yolograft.modelyaml.writer import dump, write
from yolograft.spec import Graft, Part

YOLO11 = load(next(path for path in PACKAGED if path.stem == "yolo11"))
RECIPE = Path(yolograft.__file__).parent / "modelyaml" / "shipped" / "yolo11-se.yaml"


def edited(*changes, cfg=YOLO11):
    """Insert rows as an editor does: (position in the file, row), with nothing shifted."""
    cfg = copy.deepcopy(cfg)
    rows, backbone = cfg["backbone"] + cfg["head"], len(cfg["backbone"])
    for at, row in changes:
        rows.insert(at, row)
        backbone += at <= backbone
    return {**cfg, "backbone": rows[:backbone], "head": rows[backbone:]}


# What a file means: for each host row and input, which host row it reads through which blocks. Blocks are numbered as
# they are met, so that two blocks and one shared block differ. Written twice, naively: once for files, once for readings.


def meaning_of_file(cfg):
    rows = table.parse_rows(cfg)
    hosts = [one.number for one in rows if find_block(one.module) is None]
    depth = table.scales(cfg)[0]

    def follow(number):
        if number not in hosts and number >= 0:
            one = rows[number]
            origin, chain = follow(one.reads()[0])
            found = (find_block(one.module), parse_args(one, find_block(one.module))[0])
            return origin, chain + [((number, k), *found) for k in range(depth.repeats(one.repeats))]
        return (hosts.index(number) if number >= 0 else -1), []

    uses = {(hosts.index(n), at): follow(target) for n in hosts for at, target in enumerate(rows[n].reads())}
    return _numbered(uses | {("output", 0): follow(len(rows) - 1)})


def meaning_of_reading(reading):
    rows = table.parse_rows(reading.host)
    uses = {(one.number, at): (target, []) for one in rows for at, target in enumerate(one.reads())}
    uses["output", 0] = (len(rows) - 1, [])
    steps = table.strides(rows)
    for ordinal, (part, site) in enumerate((one, site) for one in reading.graft.parts for site in one.sites):
        if site.path.startswith("p"):
            (picked,) = [key for key, (origin, _) in uses.items()
                         if key[0] == len(rows) - 1 and f"p{int(steps[origin]).bit_length() - 1}" == site.path]
            chosen = [picked]
        elif site.pre:
            chosen = [key for key in uses if key[0] == int(site.path)]
        else:
            chosen = [key for key, (origin, _) in uses.items() if origin == int(site.path)
                      and (not site.readers or key[0] in site.readers)]
            assert set(site.readers) <= {reader for reader, _ in chosen}
        for key in chosen:
            uses[key][1].append((("graft", ordinal), part.block, part.settings))
    for edge in reading.edges:
        assert uses[edge.reader, edge.position][0] == int(edge.part.sites[0].path)
        uses[edge.reader, edge.position][1].append((("edge", edge.shared), edge.part.block, edge.part.settings))
    return _numbered(uses)


def _numbered(uses):
    seen = {}
    return [(key, origin, [(seen.setdefault(name, len(seen)), *rest) for name, *rest in chain])
            for key, (origin, chain) in uses.items()]


def check_kept(cfg):
    before = copy.deepcopy(cfg)
    reading = read(cfg)
    assert meaning_of_reading(reading) == meaning_of_file(cfg)
    assert cfg == before
    assert not any(find_block(one.module) for one in table.parse_rows(reading.host))
    return reading


def test_the_recipe_that_ships_is_se_third_from_last_in_the_backbone():
    reading = check_kept(load(RECIPE))
    assert (str(reading.graft), reading.edges) == ("se@8", ())
    assert reading.host == YOLO11
    assert reading.notes == ("row 9 [-1, 1, SE, [1024]] -> se@8 (1024 is channels, read off the host)",)
    assert write(YOLO11, "se@8") == {**load(RECIPE), "backbone": write(YOLO11, "se@8")["backbone"]}


def test_a_file_without_attention_rows_is_its_own_host():
    assert read(YOLO11) == Reading(host=YOLO11, graft=Graft())
    assert read(YOLO11).host is not YOLO11


@pytest.mark.parametrize(("row", "graft", "note"), [
    (["SE", []], "se@8", "row 9 [-1, 1, SE, []] -> se@8"),
    (["SEAttention", [16]], "se(ratio=16)@8", "row 9 [-1, 1, SEAttention, [16]] -> se(ratio=16)@8"),
    (["SELayer", [1024, 4]], "se(ratio=4)@8",
     "row 9 [-1, 1, SELayer, [1024, 4]] -> se(ratio=4)@8 (1024 is channels, read off the host)"),
    (["nn.SE_Block", [256, 256]], "se@8",
     "row 9 [-1, 1, nn.SE_Block, [256, 256]] -> se@8 (256 and 256 are channels, read off the host)"),
    (["torchvision.ops.SqueezeExcitation", [256, 16]], "se(ratio=16)@8",
     "row 9 [-1, 1, torchvision.ops.SqueezeExcitation, [256, 16]] -> se(ratio=16)@8 "
     "(256 is channels, read off the host; ratio = 256 / 16)"),
])
def test_habits_of_one_row(row, graft, note):
    cfg = write(YOLO11, "se@8")
    cfg["backbone"][9] = [-1, 1, *row]
    reading = check_kept(cfg)
    assert (str(reading.graft), reading.host, reading.notes) == (graft, YOLO11, (note,))


def test_rows_stacked_are_grafts_in_their_order():
    cfg = write(YOLO11, "se(ratio=8)@8 + se@8 + se(gate=tanh)@8")
    assert str(check_kept(cfg).graft) == "se(ratio=8)@8 + se@8 + se(gate=tanh)@8"


def test_neighbours_that_differ_in_their_sites_are_one_graft():
    assert str(check_kept(write(YOLO11, "se@22 + se@4 + se@8,6")).graft) == "se@4,6,8,22"


@pytest.mark.parametrize(("scale", "graft"), [
    ("n", "se@8 + se@8"), ("l", "se@8 + se@8 + se@8 + se@8"), (None, "se@8 + se@8"),
])
def test_repeats_are_applied_that_often_at_the_depth_of_the_scale(scale, graft):
    cfg = write({**YOLO11, "scale": scale}, "se@8")
    cfg["backbone"][9][1] = 4
    assert str(check_kept(cfg).graft) == graft


def test_one_row_that_some_read_and_others_pass_by_is_one_block_on_those_edges():
    cfg = edited((17, [16, 1, "SE", []]))  # after row 16, which row 17 (now 18) and Detect (now 24) read
    cfg["head"][-1][0] = [16, 20, 23]  # Detect goes on reading row 16 itself
    cfg["head"][-3][0], cfg["head"][-6][0] = [-1, 10], [-1, 13]
    reading = check_kept(cfg)
    assert str(reading.graft) == "se@16>17"
    assert reading.host == YOLO11


def test_one_shared_block_and_two_blocks_differ():
    assert str(check_kept(write(YOLO11, "se@10>11&21")).graft) == "se@10"
    assert str(check_kept(write(YOLO11, "se@4>5 + se@4>15")).graft) == "se@4>5,4>15"


def test_a_row_that_reads_one_map_attended_and_plain_is_kept_as_edges():
    cfg = {"nc": 1, "backbone": [[-1, 1, "Conv", [64, 3, 2]], [-1, 1, "SE", [8]]],
           "head": [[[0, -1], 1, "Concat", [1]], [1, 1, "Conv", [8]], [[-2, -1], 1, "Detect", ["nc"]]]}
    reading = check_kept(cfg)
    assert not reading.graft
    assert [(edge.reader, edge.position, str(edge.part), edge.shared) for edge in reading.edges] == [
        (1, 1, "se(ratio=8)@0>1", 1), (2, 0, "se(ratio=8)@0>2", 1)]
    assert reading.host["head"] == [[[0, -1], 1, "Concat", [1]], [0, 1, "Conv", [8]], [[-2, -1], 1, "Detect", ["nc"]]]
    with pytest.raises(HostError, match="attended and plain"):
        write(cfg, "se@0")


def test_rows_written_for_the_head_are_its_edges():
    for sites in ("p3", "p4", "p5", "p3,p4,p5"):
        assert str(check_kept(write(YOLO11, f"se@{sites}")).graft) == f"se@{sites}"


def test_the_image_and_the_ends_of_the_backbone():
    for graft in ("se@0/pre", "se@0", "se@10", "se@11", "se@22"):
        reading = check_kept(write(YOLO11, graft))
        assert (str(reading.graft), reading.host) == (graft, YOLO11)


def test_a_row_that_nobody_reads_is_left_out_and_said():
    cfg = edited((23, [-1, 1, "SE", []]))
    reading = check_kept(cfg)
    assert (reading.graft, reading.host) == (Graft(), YOLO11)
    assert reading.notes == ("row 23 [-1, 1, SE, []] -> nothing: no row reads it",)


def test_relative_numbers_shrink_and_grow():
    cfg = {"nc": 1, "backbone": [[-1, 1, "Conv", [8]], [-1, 1, "Conv", [8]], [-2, 1, "Conv", [8]],
                                [[-1, -3], 1, "Concat", [1]]],
           "head": [[-1, 1, "Classify", ["nc"]]]}
    made = write(cfg, "se@1")
    assert made["backbone"] == [[-1, 1, "Conv", [8]], [-1, 1, "Conv", [8]], [-1, 1, "SE", []], [-3, 1, "Conv", [8]],
                                [[-1, -4], 1, "Concat", [1]]]
    assert check_kept(made).host == cfg


@pytest.mark.parametrize(("changes", "error", "said"), [
    ([(9, [[-1, 4], 1, "SE", []])], HostError, "row 9 [[-1, 4], 1, SE, []] reads a list"),
    ([(9, [9, 1, "SE", []])], HostError, "row 9 [9, 1, SE, []] reads 9, itself"),
    ([(9, [30, 1, "SE", []])], HostError, "reads 30"),
    ([(9, [10**30, 1, "SE", []])], HostError, "more than 12 digits"),
    ([(24, [-1, 1, "SE", []])], HostError, "gives no single map"),
    ([(24, [4, 1, "SE", []])], HostError, "the file's last row"),
    ([(9, [-1, 0, "SE", []])], SpecError, "0 repeats"),
    ([(9, [-1, 10**9, "SE", []])], SpecError, "repeats"),
    ([(9, [-1, float("nan"), "SE", []])], SpecError, "nan repeats"),
    ([(9, [-1, 1, "SE", [float("nan")]])], SpecError, "row 9 [-1, 1, SE, [nan]]"),
    ([(9, [-1, 1, "SE", []]), (10, 7)], HostError, "Row 10 (backbone), 7, is not a row"),
])
def test_rows_that_mean_nothing_are_refused_by_number(changes, error, said):
    with pytest.raises(error) as caught:
        read(edited(*changes))
    assert said in str(caught.value)


@pytest.mark.parametrize(("graft", "error", "said"), [
    ("se@Bottleneck.cv2", SiteError, "inside a row"), ("se@model.8.cv1", SiteError, "inside a row"),
    ("se@Bottleneck", SiteError, "no row of it is of that class"), ("se@C3k", SiteError, "Did you mean 'C3k2'"),
    ("se@p6", SiteError, "p6"), ("se@24", SiteError, "0 to 23"), ("se@23", SiteError, "gives no map"),
    ("se@-3", SiteError, "backbone.-3"),
    ("se@12/pre", SiteError, "reads 2 maps"), ("se@8>12", SiteError, "these rows read it: 9"),
    ("se@C3k2[9]", SiteError, "8 row"),
    ("nonsense@8", BlockError, "nonsense"), ("se(rato=8)@8", BlockError, "rato"), ("se(ratio=0)@8", BlockError, "ratio"),
    ("se@4>5 + se@4>5&15", SiteError, "different maps"), ("se@neck.23", SiteError, "11 to 22"),
    ("se@backbne.8", SiteError, "Did you mean 'backbone.8'"), ("se@nek.-1", SiteError, "Did you mean 'neck.-1'"),
])
def test_what_cannot_be_a_row_is_refused_with_why(graft, error, said):
    with pytest.raises(error) as caught:
        write(YOLO11, graft)
    assert said in str(caught.value)


@pytest.mark.parametrize(("graft", "same"), [
    ("se@backbone.-3", "se@8"), ("se@neck.-1", "se@22"), ("se@model.8", "se@8"), ("se@C3k2[-1]", "se@22"),
    ("se@9/pre", "se@8"),
    ("se@backbone.C3k2", "se@2,4,6,8"), ("se@Upsample", "se@11,14"), ("none", "none"), ("se@16>17&23", "se@16"),
])
def test_other_names_for_rows(graft, same):
    assert str(check_kept(write(YOLO11, graft)).graft) == same


def test_rows_are_added_to_an_edited_file():
    assert str(read(write(load(RECIPE), "se(ratio=4)@16")).graft) == "se@8 + se(ratio=4)@16"


def test_the_text_of_a_file_is_the_dict_that_was_written():
    cfg = {**YOLO11, "kpt_shape": [17, 3], "scale": "s", "yaml_file": "somewhere/yolo11s.yaml"}
    text = dump(cfg, "se(gate=tanh)@8 + se(ratio=8)@p3")
    expected = write(cfg, "se(gate=tanh)@8 + se(ratio=8)@p3")
    del expected["yaml_file"], expected["scale"]
    assert yaml.safe_load(text) == expected
    assert list(yaml.safe_load(text)["scales"]) == ["s", "n", "m", "l", "x"]
    assert "  - [-1, 1, SE, [{gate: tanh}]]  # 9\n" in text


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_every_packaged_file_is_its_own_host_and_takes_a_row_after_every_map(path):
    cfg = load(path)
    assert read(cfg) == Reading(host=cfg, graft=Graft())
    for one in table.parse_rows(cfg)[:-1]:
        if table.has_map_output(one):
            reading = read(write(cfg, f"se(ratio=8)@{one.number}"))
            assert (str(reading.graft), reading.host, reading.edges) == (f"se(ratio=8)@{one.number}", cfg, ())


# Random files: every wiring of host rows and attention rows that Ultralytics could run.


@st.composite
def files(draw):
    rows = []
    for number in range(draw(st.integers(2, 12))):
        def source(number=number):
            return draw(st.just(-1) | st.integers(0, max(0, number - 1)) | st.integers(-number or -1, -1)) if number else -1

        if draw(st.booleans()) and number:
            repeats = draw(st.sampled_from([1, 1, 1, 3]))
            args = draw(st.sampled_from([[], [8], [4]]))
            rows.append([source(), repeats, draw(st.sampled_from(["SE", "SELayer"])), args])
        elif draw(st.booleans()) and number:
            rows.append([[source() for _ in range(draw(st.integers(1, 3)))], 1, "Concat", [1]])
        else:
            rows.append([source(), 1, "Conv", [64, 3, draw(st.sampled_from([1, 2]))]])
    rows.append([[draw(st.integers(0, len(rows) - 1)) for _ in range(draw(st.integers(1, 3)))], 1, "Detect", ["nc"]])
    cut = draw(st.integers(0, len(rows) - 1))
    return {"nc": 3, "scales": {"n": [0.7, 0.25, 1024]}, "backbone": rows[:cut], "head": rows[cut:]}


def check_kept_or_refused(cfg):
    try:
        check_kept(cfg)
    except HostError as error:  # the one wiring that is refused: an edge of its own for a row with repeats
        repeated = any(row[1] > 1 for row in cfg["backbone"] + cfg["head"])
        if not repeated or "both its result and the plain map" not in str(error):
            raise


@given(files())
@settings(max_examples=400, deadline=None)
def test_every_wiring_is_kept_exactly(cfg):
    check_kept_or_refused(cfg)


@given(st.lists(st.tuples(st.integers(0, 22), st.sampled_from(["se", "se(ratio=8)", "se(gate=tanh)", "se(ratio=64)"]))))
@settings(max_examples=100, deadline=None)
def test_what_is_written_reads_back(pairs):
    graft = Graft.of([f"{block}@{row}" for row, block in pairs])
    reading = check_kept(write(YOLO11, graft))
    assert reading.host == YOLO11
    assert by_row(reading.graft) == by_row(graft)


def by_row(graft):
    found = {}
    for part in graft.parts:
        for site in part.sites:
            found.setdefault(site.path, []).append((part.block, part.settings))
    return found


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 30) | st.integers() | st.floats() | st.text(max_size=4)
    | st.sampled_from(["Conv", "SE", "Concat", "Detect", "nc", 10**400, "None", "CBAM", "nn.Upsample"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
ROWS = st.lists(
    st.tuples(st.integers(-3, 9) | st.lists(st.integers(-3, 9), max_size=3) | VALUES,
              st.integers(0, 3) | VALUES,
              st.sampled_from(["Conv", "SE", "SEAttention", "Concat", "Detect", "C3k2", "nn.Upsample", "Conw"]) | VALUES,
              st.lists(st.sampled_from([16, 64, 1024, 3, 2]) | VALUES, max_size=4) | VALUES).map(list) | VALUES,
    max_size=6)
CONFIGS = st.fixed_dictionaries(
    {"backbone": ROWS, "head": ROWS},
    optional={"nc": VALUES, "scale": VALUES, "depth_multiple": VALUES, "width_multiple": VALUES,
              "scales": st.dictionaries(st.text(max_size=2), st.lists(st.floats(0, 2), min_size=3, max_size=3)) | VALUES},
) | VALUES


def check_survives(cfg):
    try:
        reading = read(cfg)
    except GraftError as error:
        said = str(error)
    else:
        said = str(reading.graft)
    assert said


@given(CONFIGS)
@settings(max_examples=300, deadline=None)
def test_no_file_ends_in_anything_but_a_graft_error(cfg):
    check_survives(cfg)


@pytest.mark.slow
@given(CONFIGS)
@settings(max_examples=10_000, deadline=None)
def test_ten_thousand_files_end_in_nothing_but_a_graft_error(cfg):
    check_survives(cfg)


@pytest.mark.slow
@given(files())
@settings(max_examples=10_000, deadline=None)
def test_ten_thousand_wirings_are_kept_exactly(cfg):
    check_kept_or_refused(cfg)


def test_all_blocks_survive_being_written():
    for name in blocks.names():
        assert read(write(YOLO11, f"{name}@8")).graft == Graft.parse(f"{name}@8")


# A file of torchvision rows is one that stock Ultralytics can build as it stands: the network to be equal to.


@pytest.mark.parametrize("sites", [["8"], ["4>15"], ["16", "p4"], ["4>5", "8", "8", "13>14", "p3"], ["0/pre", "22"]])
def test_the_graft_is_the_network_that_stock_ultralytics_builds_from_the_file(sites):
    if tuple(map(int, ultralytics.__version__.split(".")[:2])) < (8, 4):
        pytest.skip("this Ultralytics builds no torchvision rows")
    cfg = {**YOLO11, "nc": 2, "scale": "n"}
    made = write(cfg, " + ".join(f"se@{site}" for site in sites))
    wide = table.channels(table.parse_rows(made), table.scales(made)[0], frozenset(attention_rows(made)))
    for one in table.parse_rows(made):
        if one.module == "SE":
            c = wide[one.number]
            raw = made[one.part][one.number - (one.part == "head") * len(made["backbone"])]
            raw[2:] = [SQUEEZE_EXCITATION, [c, max(1, c // 4)]]
    torch.manual_seed(0)
    stock = tasks.DetectionModel(copy.deepcopy(made), verbose=False).eval()
    reading = read(made)
    assert {part.block for part in reading.graft.parts} == {"se"}
    ours = tasks.DetectionModel(copy.deepcopy(reading.host), verbose=False)
    paper = Graft(tuple(Part(p.block, p.sites, (*p.settings, ("init", "paper"))) for p in reading.graft.parts))
    yolograft.graft(ours, paper).eval()
    numbers = [one.number for one in table.parse_rows(made) if one.module != SQUEEZE_EXCITATION]
    with torch.no_grad():
        for at, number in enumerate(numbers):
            named = dict(stock.model[number].state_dict())
            mine = {key: value for key, value in ours.model[at].state_dict().items() if "graft" not in key}
            assert named.keys() == mine.keys()
            for key, value in mine.items():
                value.copy_(named[key])
        placed = [part for part in reading.graft.parts for _ in part.sites]
        squeezes = [module for module in stock.model if type(module).__name__ == "SqueezeExcitation"]
        grafted = {id(block): block for block in grafts(ours).values()}.values()
        assert len(placed) == len(squeezes) == len(grafted)
        for block in grafted:  # the same weights in every block, so that the order in which they are met is no matter
            for parameter in block.parameters():
                parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))
        for module in squeezes:
            for parameter in module.parameters():
                parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))
        # In double precision: in float32 the kernels of some CPUs sum a matrix product and a 1x1 convolution differently.
        x = torch.rand(2, 3, 64, 64).double()
        models = (ours.double(), stock.double(), yolograft.prune(copy.deepcopy(ours)))
        features, expected, bare = (inputs_of_head(model, x) for model in models)
    assert all(distance(one, other) < 1e-12 for one, other in zip(features, expected, strict=True))
    assert not all(distance(one, plain) < 1e-9 for one, plain in zip(features, bare, strict=True))


def distance(one, other):
    """Return the relative distance of two maps, which in a network with random weights may have any magnitude."""
    return ((one - other).norm() / one.norm()).item()


@pytest.mark.parametrize("scale", ["n", "s", *(pytest.param(scale, marks=pytest.mark.slow) for scale in "mlx")])
def test_the_recipe_that_ships_and_the_graft_build_the_same_network(scale):
    by_file = YOLO(f"yolo11{scale}-se.yaml").model
    by_graft = YOLO(f"yolo11{scale}.yaml", graft="se@8").model
    shapes = [[(key, value.shape) for key, value in model.state_dict().items()] for model in (by_file, by_graft)]
    assert shapes[0] == shapes[1]
    assert by_file.yaml["scale"] == by_graft.yaml["scale"] == scale
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        for norm in (module for module in by_graft.modules() if isinstance(module, torch.nn.BatchNorm2d)):
            norm.momentum = 1.0
        by_graft.train()(x)  # settles the batch norms, so that the block shows
        for parameter in by_graft.get_submodule("model.8.graft").parameters():
            parameter.add_(torch.randn_like(parameter))
        assert not torch.equal(by_file.eval()(x)[0], by_graft.eval()(x)[0])
        by_file.load_state_dict(by_graft.state_dict(), strict=True)
        assert torch.equal(by_file(x)[0], by_graft(x)[0])
        assert all(map(torch.equal, inputs_of_head(by_file, x), inputs_of_head(by_graft, x)))
        bare = prune(copy.deepcopy(by_graft))
        assert not all(map(torch.equal, inputs_of_head(bare, x), inputs_of_head(by_graft, x)))


def inputs_of_head(model, x):
    kept = []
    handle = model.model[-1].register_forward_pre_hook(lambda module, args: kept.extend(one.clone() for one in args[0]))
    model(x)
    handle.remove()
    return kept


def attention_rows(cfg):
    return [one.number for one in table.parse_rows(cfg) if find_block(one.module)]
