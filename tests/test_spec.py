"""The text form of a graft is canonical, survives a round trip, and raises only SpecError for invalid text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolograft.errors import GraftError, SpecError
from yolograft.spec import Graft, Part, Site

EXAMPLES = {
    "none": "none",
    " se@8": "se@8",
    "se(ratio = 16) @ backbone.8": "se(ratio=16)@backbone.8",
    "cbam@p3, p4 ,p5": "cbam@p3,p4,p5",
    "se@C3k2": "se@C3k2",
    "se@Bottleneck.cv2": "se@Bottleneck.cv2",
    "eca@neck.C3k2[-1]/pre": "eca@neck.C3k2[-1]/pre",
    "se@model.*.m.**.cv2": "se@model.*.m.**.cv2",
    "se(b=2,a=1)@008+eca@8": "se(a=1, b=2)@8 + eca@8",
    "x(a=[1,'b'],c='None',d=1e-3,e=true)@1": "x(a=[1,'b'], c='None', d=0.001, e=True)@1",
    "se@8>9&13": "se@8>9&13",
}


@pytest.mark.parametrize(("text", "canonical"), EXAMPLES.items())
def test_examples_parse_to_their_canonical_form(text: str, canonical: str) -> None:
    graft = Graft.parse(text)
    assert str(graft) == canonical
    assert Graft.parse(canonical) == graft


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("se", "names no site"),
        ("se@", "is not a site"),
        ("se@8@9", "more than one '@'"),
        ("se(16)@8", "'16' is not a setting"),
        ("se(ratio=16@8", "lacks a closing )"),
        ("se)@8", "without an opening one"),
        ("se(ratio=1,ratio=2)@8", "given twice"),
        ("se(ratio=a b)@8", "is not a value"),
        ("se(ratio=1e999)@8", "is not a value"),
        ("se@8,8", "8 twice"),
        ("8@se", "is not a block's name"),
        ("se@C3k2[a]", "is not a site"),
        ("se@a..b", "separates names"),
        ("se@a**.b", "must stand alone"),
        ("se@8 + ", "names no site"),
    ],
)
def test_an_invalid_text_raises_an_error_that_names_the_problem(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message.replace("(", r"\(").replace(")", r"\)")):
        Graft.parse(text)


names = st.from_regex(r"[A-Za-z_][A-Za-z_0-9]{0,8}", fullmatch=True)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)
paths = st.lists(names | st.just("*") | st.integers(-99, 99).map(str), min_size=1, max_size=4).map(".".join)
sites = st.builds(
    lambda path, index, side: Site(path, index, side == "pre", side if isinstance(side, tuple) else (), side == "skip"),
    paths,
    st.none() | st.integers(-99, 99),
    st.sampled_from(["", "pre", "skip", (9,), (9, 13)]),
)
parts = st.builds(
    lambda block, where, keys: Part(block, tuple(where), tuple(sorted(keys.items()))),
    names,
    st.lists(sites, min_size=1, max_size=3, unique=True),
    st.dictionaries(names, values, max_size=3),
)


@given(st.lists(parts, max_size=3).map(lambda items: Graft(tuple(items))))
@settings(max_examples=300, deadline=None)
def test_every_graft_survives_the_round_trip_through_text(graft: Graft) -> None:
    assert Graft.parse(str(graft)) == graft
    assert str(Graft.parse(str(graft))) == str(graft)


@given(st.text(max_size=60) | st.text(alphabet="se@8,.*[]()='\"+ >/p-&\\", max_size=40))
@settings(max_examples=10_000, deadline=None)
def test_any_text_parses_or_raises_a_graft_error(text: str) -> None:
    try:
        graft = Graft.parse(text)
    except GraftError:
        return
    assert Graft.parse(str(graft)) == graft


def test_several_grafts_join_in_order() -> None:
    joined = Graft.of(["se@8", Graft.parse("eca@p3 + se@9")])
    assert str(joined) == "se@8 + eca@p3 + se@9"
    assert not Graft.of([])
    with pytest.raises(SpecError, match="must be a text"):
        Graft.of(8)  # type: ignore[arg-type]
