import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolograft import blocks
from yolograft.errors import GraftError, SpecError
from yolograft.modelyaml.implementations import IMPLEMENTATIONS
from yolograft.modelyaml.signatures import SQUEEZE_EXCITATION, find_block, format_args, parse_args, row_name, understand
from yolograft.modelyaml.table import Row

WIDTHS = frozenset({1024, 256, 512})  # row 8 of yolo11: as written, at n, at s


def row(args, module="SE"):
    return Row(9, "backbone", (-1,), False, 1, module, args)


# Every habit found in public forks, with the settings that the fork means by it.
@pytest.mark.parametrize(("args", "expected", "said"), [
    ([], {}, ""),
    ([16], {"ratio": 16}, ""),
    ([4], {"ratio": 4}, ""),
    ([1024], {}, "1024 is channels, read off the host"),
    ([256], {}, "256 is channels, read off the host"),
    ([192], {}, "192 is channels, read off the host"),
    ([1024, 16], {"ratio": 16}, "1024 is channels, read off the host"),
    ([1024, 2], {"ratio": 2}, "1024 is channels, read off the host"),
    ([1024, 1024], {}, "1024 and 1024 are channels, read off the host"),
    ([256, 256, 8], {"ratio": 8}, "256 and 256 are channels, read off the host"),
    (["16"], {"ratio": 16}, ""),
    ([{"ratio": 64}], {"ratio": 64}, ""),
    ([1024, {"gate": "tanh", "ratio": 8}], {"gate": "tanh", "ratio": 8}, "1024 is channels, read off the host"),
])
def test_what_the_arguments_of_se_mean(args, expected, said):
    assert parse_args(row(args), "se", WIDTHS) == (tuple(sorted(expected.items())), said)


def test_a_width_below_64_is_channels_only_where_another_number_follows():
    narrow = frozenset({32, 64})
    assert parse_args(row([32, 16]), "se", narrow)[0] == (("ratio", 16),)
    assert parse_args(row([32]), "se", narrow)[0] == (("ratio", 32),)
    assert parse_args(row([8]), "se", narrow)[0] == (("ratio", 8),)


def test_a_number_more_than_the_block_takes_is_channels():
    assert parse_args(row([48, 4]), "se") == ((("ratio", 4),), "48 is channels, read off the host")


@pytest.mark.parametrize(("args", "ratio"), [([256, 16], 16), ([1024, 64], 16), ([512, 24], 512 / 24), ([8, 8], 1)])
def test_torchvision_squeeze_excitation_keeps_its_hidden_width(args, ratio):
    found = dict(parse_args(row(args, SQUEEZE_EXCITATION), "se")[0])
    assert found == {"ratio": ratio}
    assert blocks.create("se", args[0], **found).fc1.out_channels == args[1]


@pytest.mark.parametrize("args", [[], [16], [16, 32], [16, 8, 4], [16, 0], [16, 2.0], ["a", "b"]])
def test_torchvision_squeeze_excitation_takes_two_widths(args):
    with pytest.raises(SpecError, match=r"row 9 .*channels, squeeze_channels"):
        parse_args(row(args, SQUEEZE_EXCITATION), "se")


@pytest.mark.parametrize(("args", "said"), [
    ([float("nan")], "'ratio'"), ([float("inf")], "'ratio'"), (["a", "b"], "'ratio' of 'se', which takes a number"),
    ([None], "'ratio'"), ([True], "'ratio'"), ([{"rato": 8}], "Did you mean 'ratio'"), ([{8: 8}], "no setting 8"),
    ([8, {"ratio": 8}], "given twice"), ([1024, 1024, 16, "avg", "sigmoid", True, "paper", 1], "more than"),
    ([{"gate": 3}], "takes a word"), ([{"ratio": {"a": 1}}], "'ratio'"), ([[1, 2]], "'ratio'"),
    ([{"ratio": 10**13}], "'ratio'"),
])
def test_arguments_that_mean_nothing_are_refused_with_the_row(args, said):
    with pytest.raises(SpecError, match="row 9 ") as caught:
        parse_args(row(args), "se", WIDTHS)
    assert said in str(caught.value)


def test_names_are_blocks_unless_ultralytics_has_them():
    names = ("SE", "SEAttention", "SE_Block", "selayer", "nn.SE", SQUEEZE_EXCITATION)
    assert [find_block(name) for name in names] == ["se"] * 6
    assert [find_block(name) for name in ("Conv", "nn.Identity", "PSA", "torchvision.ops.Permute", "Nonsense")] == [None] * 5


def test_a_users_block_never_takes_a_name_from_ultralytics(monkeypatch):
    monkeypatch.setitem(blocks._ALIASES, "c3k2", "se")
    assert find_block("C3k2") is None


@pytest.mark.parametrize("name", blocks.names())
def test_every_block_is_spelled_so_that_it_reads_back(name):
    assert find_block(row_name(name)) == name


@pytest.mark.parametrize("name", blocks.names())
def test_every_setting_of_every_block_reads_back(name):
    for key, default in blocks.defaults(name).items():
        for value in [default] + ([1, 7, 8, 63, 64, 1024] if isinstance(default, (int, float)) else []):
            if isinstance(default, bool) != isinstance(value, bool):
                continue
            wanted = ((key, value),)
            assert parse_args(row(format_args(row([], name), name, wanted), name), name)[0] == wanted


def test_the_short_form_is_used_where_forks_take_it():
    assert format_args(row([]), "se", ()) == []
    assert format_args(row([]), "se", (("ratio", 8),)) == [8]
    assert format_args(row([]), "se", (("ratio", 64),)) == [{"ratio": 64}]
    assert format_args(row([]), "se", (("gate", "tanh"),)) == [{"gate": "tanh"}]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from([16, 1024, "16", "nc", 10**400]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["ratio", "gate"]) | st.text(max_size=3), inner),
    max_leaves=6,
)


@given(args=st.lists(JUNK, max_size=5), name=st.sampled_from(blocks.names()), widths=st.frozensets(st.integers(1, 70)))
@settings(max_examples=300, deadline=None)
def test_no_arguments_end_in_anything_but_a_graft_error(args, name, widths):
    try:
        found, _ = parse_args(row(args, name), name, widths)
    except GraftError as error:
        said = str(error)
    else:
        said = "row 9 "
        assert {key for key, _ in found} <= set(blocks.defaults(name))
        assert parse_args(row(format_args(row([], name), name, found), name), name)[0] == found
    assert "row 9 " in said


# The rows of public implementations: (class, arguments) -> what each number means.
AUTHORS = [
    ("ShuffleAttention", [1024, 16, 8], {"groups": 8}, (1024,)), ("ShuffleAttention", [1024, 16], {}, (1024,)),
    ("ShuffleAttention", [16], {"groups": 16}, ()), ("sa_layer", [256, 64], {"groups": 64}, (256,)),
    ("MHSA", [14, 14, 4], {"heads": 4}, ()), ("MHSA", [256, 14, 14, 4], {"heads": 4}, (256,)),
    ("MHSA", [4], {"heads": 4}, ()),
    ("MHSA", [14], {}, ()), ("MHSA", [80, 80, 4], {"heads": 4}, ()), ("MHSA", [20, 20, 4, True], {"heads": 4}, ()),
    ("ECAAttention", [256, 2, 1], {"gamma": 2, "beta": 1}, (256,)), ("ECAAttention", [3], {"kernel_size": 3}, ()),
    ("eca_layer", [1024, 5], {"kernel_size": 5}, (1024,)),
    ("EfficientChannelAttention", [256, 1, 2], {"gamma": 2, "beta": 1},
                                                             (256,)),
    ("CBAM", [256, 7], {"kernel_size": 7}, (256,)),
    ("CBAMBlock", [512, 16, 49], {"ratio": 16, "kernel_size": 49}, (512,)),
    ("CBAM", [256, 16, ["avg", "max"], False], {"ratio": 16}, (256,)),
    ("CoordAtt", [256, 256, 32], {"ratio": 32}, (256, 256)),
    ("CoordAtt", [256, 32, 8], {"ratio": 32, "minimum": 8}, (256,)),
    ("SimAM", ["1e-4"], {"energy": 1e-4}, ()), ("SimAM", [256, "1e-4"], {"energy": 1e-4}, (256,)),
    ("NAMAttention", [256, None, True], {}, (256,)), ("GAMAttention", [256, 256, True, 4], {"ratio": 4}, (256, 256)),
    ("GAM_Attention", [256, 4], {"ratio": 4}, (256,)), ("EMA", [256, None, 32], {"groups": 32}, (256,)),
    ("EMA", [256, 8], {"groups": 8}, (256,)),
    ("SequentialPolarizedSelfAttention", [256], {"form": "sequential"}, (256,)),
    ("PSA_p", [256, 256, 1, 1], {}, (256, 256)),
    ("SKAttention", [1024, [3, 5, 7], 16], {"branches": 3, "ratio": 16}, (1024,)),
    ("SKAttention", [256, 8], {"ratio": 8}, (256,)),
    ("SKConv", [256, 32, 2, 8, 2, 1, 32], {"branches": 2, "groups": 8, "ratio": 2, "minimum": 32}, (256,)),
    ("LSKBlock", [256], {}, (256,)), ("LSKA", [256, 11], {"kernel_size": 11}, (256,)),
    ("LSKA", [11], {"kernel_size": 11}, ()),
    ("DoubleAttention", [256, 128, 128], {"ratio": 2}, (256,)), ("DoubleAttention", [128, 128], {"ratio": 2}, ()),
    ("BAMBlock", [512, 16, 2], {"ratio": 16, "dilation": 2}, (512,)),
    ("GCT", [256, "1e-5", "l2", False], {"epsilon": 1e-5, "norm": "l2"}, (256,)),
    ("ContextBlock", [256, "1/16"], {"ratio": 16}, (256,)),
    ("ContextBlock", [256, 0.25, "att", ["channel_mul"]], {"ratio": 4, "pool": "attention", "fuse": "scale"}, (256,)),
    ("GlobalContext", [256, False, False, True], {"pool": "avg", "fuse": "scale"}, (256,)),
    ("GatherExcite", [256, None, True, 4], {"gather": "conv", "extent": 4}, (256,)),
    ("MultiSpectralAttentionLayer", [256, 56, 56, 16, "top16"], {"size": 56, "ratio": 16, "frequencies": 16}, (256,)),
    ("ELA", [256, "L"], {"kernel_size": 7, "norm_groups": 16, "width": 8}, (256,)),
    ("ELA", [256, 5], {"kernel_size": 5}, (256,)),
    ("MLCA", [256, 5, 2, 1, 0.5], {"local_size": 5, "gamma": 2, "beta": 1, "local_weight": 0.5}, (256,)),
    ("TripletAttention", [True], {"spatial": False}, ()), ("TripletAttention", [7], {"kernel_size": 7}, ()),
    ("SCSEModule", [256, 16], {"ratio": 16}, (256,)), ("SRMLayer", [256, None], {}, (256,)),
    ("NONLocalBlock2D", [256, 128, True], {"ratio": 2, "subsample": 2}, (256,)), ("ParNetAttention", [512], {}, (512,)),
    ("PAM_Module", [256], {}, (256,)), ("PositionAttentionModule", [512, 3, 7, 7], {}, (512,)),
    ("ChannelAttentionModule", [512, 3, 7, 7], {}, (512,)), ("CecaModule", [256, 3], {"kernel_size": 3}, (256,)),
    ("SpatialGroupEnhance", [8], {"groups": 8}, ()), ("SpatialGroupEnhance", [64], {"groups": 64}, ()),
    ("EffectiveSEModule", [256, False, "hard_sigmoid"], {"gate": "hardsigmoid"}, (256,)),
    ("EffectiveSELayer", [256, "sigmoid"], {"gate": "sigmoid"}, (256,)),
    ("SqueezeExcite", [256, 0.25], {"ratio": 4}, (256,)),
    ("SELayerV1", [256, 16], {"ratio": 16}, (256,)), ("SE", [{"reduction": 8}], {"ratio": 8}, ()),
]


@pytest.mark.parametrize(("name", "args", "expected", "channels"), AUTHORS)
def test_arguments_mean_what_their_author_means(name, args, expected, channels):
    understood = understand(row(args, name), find_block(name), WIDTHS, 256)
    assert (dict(understood.settings), understood.channels) == (expected, channels)
    blocks.create(find_block(name), 256, **dict(understood.settings))


def test_the_rows_of_authors_cover_every_block():
    assert {find_block(name) for name, *_ in AUTHORS} == set(blocks.names())


def test_every_implementation_names_our_block_our_settings_and_its_source():
    assert {one.block for one in IMPLEMENTATIONS} == set(blocks.names())
    for one in IMPLEMENTATIONS:
        assert {blocks.canonical(name) for name in one.classes} == {one.block}
        assert {parameter.setting for parameter in one.parameters} - {""} <= set(blocks.defaults(one.block))
        assert {key for key, _ in one.implied} <= set(blocks.defaults(one.block))
        assert one.source


def test_what_was_understood_is_said():
    assert understand(row([14, 14, 4], "MHSA"), "mhsa", WIDTHS).note == (
        "14 is width, which 'mhsa' does not use; 14 is height, which 'mhsa' does not use; "
        "the order is that of MHSA(n_dims, width, height, heads, pos_emb)")
    said = understand(row([1024, 16, 8], "ShuffleAttention"), "shuffle").note
    assert "16 is reduction, which 'shuffle' does not use" in said


@pytest.mark.parametrize(("name", "block"), [
    ("SELayerV1", "se"), ("EffectiveSELayer", "ese"), ("EffectiveSEModule", "ese"), ("SqueezeExcite", "se"),
    ("SEBlock", "se"), ("CoordinateAttention", "coordatt"), ("GCModule", "gc"), ("SELayerV2", None), ("SENetV2", None),
])
def test_the_names_of_public_classes_lead_to_their_block(name, block):
    assert find_block(name) == block
