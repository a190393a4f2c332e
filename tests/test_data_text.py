"""Text in the encodings of people's tools: the same text comes back, whatever the file declares."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolograft.data.text import decode, usual_encoding

SIMPLIFIED = ["划痕", "裂纹", "夹杂 氧化皮", "褶皱", "行人", "斑块：大，小"]
TRADITIONAL = ["刮痕", "車輛 行人", "裂紋", "夾雜"]


@pytest.mark.parametrize("declared", ["", "utf-8", "UTF-8", "nonsense", "hex"])
@pytest.mark.parametrize(("text", "encoding", "name"), [
    *((text, "gbk", "gb18030") for text in SIMPLIFIED),
    *((text, "big5", "big5") for text in TRADITIONAL),
    *((text, "utf-8", "utf-8") for text in SIMPLIFIED + TRADITIONAL),
    *((f"<a>{text}</a>", encoding, name) for text in SIMPLIFIED for encoding, name in (
        ("utf-16", "utf-16"), ("utf-16-le", "utf-16-le"), ("utf-16-be", "utf-16-be"), ("utf-8-sig", "utf-8-sig"),
        ("utf-32", "utf-32"))),
    ("Größe", "latin-1", "cp1252"), ("señal", "cp1252", "cp1252"), ("plain", "ascii", "utf-8"), ("", "ascii", "utf-8"),
])
def test_text_is_read_in_its_encoding(text: str, encoding: str, name: str, declared: str) -> None:
    assert decode(text.encode(encoding), declared) == (text, name)


@pytest.mark.parametrize(("text", "declared"), [("划痕", "gbk"), ("猫", "GB2312"), ("刮痕", "big5"), ("é", "latin-1")])
def test_a_right_declaration_is_followed(text: str, declared: str) -> None:
    assert decode(text.encode(declared), declared)[0] == text


def test_a_wrong_declaration_is_not_followed() -> None:
    assert decode("划痕".encode(), "gb2312") == ("划痕", "utf-8")
    assert decode("刮痕".encode("big5"), "utf-8") == ("刮痕", "big5")


def test_all_files_of_a_set_decide_about_an_ambiguous_one() -> None:
    cat = "猫".encode("gbk")
    assert decode(cat) == ("è", "utf-8")
    usual = usual_encoding([cat, "狗 划痕".encode("gbk"), b"plain", "裂纹".encode()])
    assert decode(cat, "utf-8", usual) == ("猫", "gb18030")
    assert usual_encoding([b"plain", "裂纹".encode(), "裂纹".encode("utf-16")]) == ""


@settings(deadline=None)
@given(st.binary(max_size=60), st.sampled_from(["", "gbk", "utf-16", "rot13", "utf-7", "idna"]))
def test_any_bytes_give_a_text(raw: bytes, declared: str) -> None:
    text, name = decode(raw, declared)
    assert text == raw.decode(name)


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1),
       st.sampled_from(["utf-8-sig", "utf-16"]))
def test_unicode_text_with_a_mark_comes_back(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == (text, encoding)
