"""Text files in the encodings that people's tools write: UTF-8, GBK, Big5, UTF-16, Windows' Western European.

A file often declares no encoding or a wrong one. UTF-8 and UTF-16 can be recognised from the bytes. For the others this
module tries the likely encodings in a fixed order. A statistical detector is not used: a label file has too few
non-ASCII characters for it.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from pathlib import Path

__all__ = ["decode", "read_text", "usual_encoding"]

_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
         (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
# Encoding, the character set that it extends, and the first bytes of the frequent characters there (level 1 of GB2312 and
# of Big5). The same bytes mean other characters in the other encoding, and these are mostly rare ones.
_CHINESE = (("gb18030", "gb2312", range(0xB0, 0xD8)), ("big5", "big5", range(0xA4, 0xC7)))
_PUNCTUATION = set("，。：；、（）“”！？《》【】·—…　")  # part of normal text in both


def read_text(path: Path) -> tuple[str, str]:
    """Read a text file of unknown encoding; see `decode`.

    Raises:
        OSError: the file cannot be read.
    """
    return decode(path.read_bytes())


def usual_encoding(files: Iterable[bytes]) -> str:
    """Return the encoding of the files of one set that are not Unicode, from all of them together; "" if all are Unicode.

    One short file can be ambiguous: the bytes of `猫` in GBK are `è` in UTF-8. All files of a set together are not.
    """
    samples = [b"\n".join(line for line in raw.splitlines() if not line.isascii()) for raw in files
               if not raw.isascii() and not _is_unicode(raw)]
    return decode(b"\n".join(samples))[1] if any(_try(sample, "utf-8") is None for sample in samples) else ""


def decode(raw: bytes, declared: str = "", usual: str = "") -> tuple[str, str]:
    """Decode text of unknown encoding. Every sequence of bytes gives a text.

    The order: a byte order mark; UTF-16 without one; UTF-8 if the text is ASCII or has a character from U+0800 on, such as
    a Chinese one; the declared encoding; the usual one of its set; UTF-8; GB18030 (which includes GBK and GB2312) and
    Big5, if half of the non-ASCII characters are frequent there; Windows-1252; Latin-1. UTF-8 with characters below
    U+0800 only comes late because short texts in GBK can be valid UTF-8 by chance, but only with such characters.

    Args:
        raw: the bytes of the file.
        declared: the encoding that the file declares, as in the first line of an XML file.
        usual: the result of `usual_encoding` for its set. It is used where the bytes alone are ambiguous.

    Returns:
        The text, without a byte order mark, and Python's name of the encoding. Plain ASCII is `utf-8`.
    """
    if (name := _unicode_name(raw)) and (text := _try(raw, name)) is not None:
        return text, name
    text = _try(raw, "utf-8")
    if text is not None and (text.isascii() or max(text) >= "\u0800"):
        return text, "utf-8"
    declared = _known_name(declared)
    for name in (declared if declared != "utf-8" else "", usual, "utf-8"):
        if name and (found := _try(raw, name)) is not None:
            return found, name
    scores = [(_frequent_share(raw, *chinese), chinese[0]) for chinese in _CHINESE]
    score, best = max(scores, key=lambda pair: pair[0])  # GB18030 on a tie
    if score >= 0.5:
        return raw.decode(best), best
    western = _try(raw, "cp1252")
    return (western, "cp1252") if western is not None else (raw.decode("latin-1"), "latin-1")


def _unicode_name(raw: bytes) -> str:
    """Return the encoding that a byte order mark names, UTF-16 if every second byte of the start is 0, or ""."""
    for mark, name in _BOMS:
        if raw.startswith(mark):
            return name
    return "utf-16-le" if raw[1:2] == b"\0" else "utf-16-be" if raw[:1] == b"\0" else ""


def _is_unicode(raw: bytes) -> bool:
    return bool(_unicode_name(raw)) or max(_try(raw, "utf-8") or "", default="") >= "\u0800"


def _try(raw: bytes, encoding: str) -> str | None:
    try:
        return raw.decode(encoding)
    except (UnicodeError, LookupError):
        return None


def _known_name(declared: str) -> str:
    """Return Python's name of a declared encoding, with GBK and GB2312 as GB18030; "" for an unknown one."""
    try:
        name = codecs.lookup(declared).name
    except (LookupError, ValueError):
        return ""
    try:
        "".encode(name)  # codecs such as 'hex' are no text encodings
    except (LookupError, UnicodeError):
        return ""
    return {"gbk": "gb18030", "gb2312": "gb18030"}.get(name, name)


def _frequent_share(raw: bytes, encoding: str, base: str, first_bytes: range) -> float:
    """Return the share of frequent characters among the non-ASCII ones; 0 if the bytes are not in this encoding."""
    text = _try(raw, encoding)
    characters = [c for c in re.findall(r"[^\x00-\x7f]", text or "") if c not in _PUNCTUATION]
    if not characters:
        return 0.0 if text is None else 1.0
    frequent = sum((code := c.encode(base, "ignore"))[:1] != b"" and len(code) == 2 and code[0] in first_bytes
                   for c in characters)
    return frequent / len(characters)
