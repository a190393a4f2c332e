"""A short run of the fuzz targets: the seeds, what the fuzzer found earlier, and inputs that Hypothesis makes of them."""

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent / "fuzz"))
import targets

PIECES = [b"[", b"]", b"{", b"}", b"(", b")", b"&a ", b"*a", b"<<: ", b": ", b"- ", b"!!int ''", b"nan", b"1e999", b"\0",
          b"\xff\xfe", b"0x" + b"f" * 400, b"-1", b"10000000000000000000000", b"@", b" + ", b"/pre", b"'", b'"', b"\\ud800",
          b"none", b"null", "：".encode(), "０".encode(), b"<!DOCTYPE x>", b"</a>", b"\x85", b"R.",
          b"seeds: 1..9999999999\n"]


@pytest.mark.parametrize("name", targets.TARGETS)
def test_seeds_and_former_findings_are_read(name: str) -> None:
    files = targets.seeds(name)
    assert files, "a target without seeds is not fuzzed well"
    for file in files:
        targets.check(name, file.read_bytes())


@st.composite
def changed(draw: st.DrawFn, name: str) -> bytes:
    """Return a seed with some of its bytes replaced by a piece, or by bytes of another seed."""
    data = draw(st.sampled_from([file.read_bytes() for file in targets.seeds(name)]))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 20)))
        piece = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=8)))
        data = data[:start] + piece + data[end:]
    return data


@pytest.mark.parametrize("name", targets.TARGETS)
def test_changed_seeds_end_with_a_value_or_our_error(name: str) -> None:
    @settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(changed(name))
    def run(data: bytes) -> None:
        targets.check(name, data)

    run()


def test_a_target_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: bytes) -> None:
        raise KeyError("a defect")

    monkeypatch.setitem(targets.TARGETS, "graft", fail)
    with pytest.raises(KeyError):
        targets.check("graft", b"")
