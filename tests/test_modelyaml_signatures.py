import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolograft import blocks
from yolograft.errors import GraftError, SpecError
from yolograft.modelyaml.signatures import SQUEEZE_EXCITATION, find_block, format_args, parse_args, row_name
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
