"""A library in C is built for this CPU and compiler, kept, and built again if damaged; what fails is told in words."""

import shutil
import stat
from pathlib import Path

import pytest

from yolograft import GraftError
from yolograft.fast.cpu import build

needs = pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler is installed")
CODE = "int seven(void) { return 7; }"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("YOLOGRAFT_KERNELS", raising=False)
    file = tmp_path / "some.c"
    file.write_text(CODE)
    return file


def libraries(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "yolograft").glob("*.so"))


def compiler(folder: Path, script: str) -> str:
    file = folder / "compiler"
    file.write_bytes(b"#!/bin/sh\n" + script.encode("latin-1"))
    file.chmod(0o755)
    return str(file)


@needs
def test_it_is_built_once_in_a_folder_of_the_users_own(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert build.built(source).seven() == 7
    monkeypatch.setattr(build, "_compile", lambda *_: 1 / 0)
    assert build.built(source).seven() == 7
    assert stat.S_IMODE((tmp_path / "cache" / "yolograft").stat().st_mode) == 0o700


@needs
@pytest.mark.parametrize("damaged", [b"", b"no library"])
def test_a_damaged_library_is_built_again(source: Path, tmp_path: Path, damaged: bytes) -> None:
    build._compile(source, build.cache() / "first.so", ["cc", *build._FLAGS])
    (tmp_path / "cache" / "yolograft" / "first.so").unlink()
    key = tmp_path / "cache" / "yolograft"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build.ctypes, "CDLL", lambda name: None)  # not loaded yet, so that the file is looked at below
        build.built(source)
    (file,) = key.glob("*.so")
    file.write_bytes(damaged)
    assert build.built(source).seven() == 7


@needs
def test_another_cpu_compiler_or_flag_is_another_library(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.built(source)
    assert len(libraries(tmp_path)) == 1
    build.built(source, "-ffp-contract=off")
    assert len(libraries(tmp_path)) == 2
    with monkeypatch.context() as patch:
        patch.setattr(build, "cpu", lambda: "another")
        build.built(source)
    assert len(libraries(tmp_path)) == 3
    with monkeypatch.context() as patch:
        patch.setattr(build, "_version", lambda *_: "cc 99.0")
        build.built(source)
    assert len(libraries(tmp_path)) == 4


@needs
def test_a_compiler_without_openmp_builds_every_operator(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = 'for word in "$@"; do [ "$word" = -fopenmp ] && { echo "unsupported" >&2; exit 1; }; done; exec cc "$@"'
    monkeypatch.setenv("CC", compiler(tmp_path, refusing))
    assert build.built(source).seven() == 7
    for file in Path(build.__file__).parent.glob("*.c"):
        if file.stem != "norm_act" or "avx512_bf16" in build.cpu().split():
            assert build.missing(lambda file=file: build.built(file)) == ""


@pytest.mark.parametrize(("script", "said"), [("echo 'f\xe9hler' >&2; exit 1", "cannot build it: f"),
                                              ("exit 1", "it does not say why")])
def test_a_compiler_that_fails_is_told(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    monkeypatch.setenv("CC", compiler(tmp_path, script))
    assert said in build.missing(lambda: build.built(source))


def test_a_badly_quoted_compiler_and_a_missing_home_are_told(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "'cc")
    assert "CC='cc cannot be split into words: No closing quotation" in build.missing(lambda: build.built(source))
    monkeypatch.setenv("CC", "true")
    monkeypatch.delenv("XDG_CACHE_HOME")

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(build.Path, "home", homeless)
    assert "there is no home folder for the cache" in build.missing(lambda: build.built(source))


def test_the_operators_can_be_switched_off(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLOGRAFT_KERNELS", "off")
    assert build.missing(lambda: build.built(source)) == "YOLOGRAFT_KERNELS=off switches the operators in C off"
    monkeypatch.setenv("YOLOGRAFT_KERNELS", "of")
    with pytest.raises(GraftError, match="YOLOGRAFT_KERNELS=of is not known"):
        build.built(source)


@pytest.mark.parametrize(("told", "features"), [("flags\t\t: sse avx2\n", "sse avx2"),
                                                ("processor : 0\nFeatures\t: fp asimd sve\n", "fp asimd sve")])
def test_the_cpus_features_are_read(told: str, features: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.Path, "read_text", lambda *_, **__: told)
    assert build.cpu.__wrapped__() == features
    monkeypatch.setattr(build.Path, "read_text", lambda *_, **__: "processor : 0\n")
    assert build.platform.machine() in build.cpu.__wrapped__()


@needs
def test_other_common_flags_are_another_library(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build.built(source)
    monkeypatch.setattr(build, "_FLAGS", (*build._FLAGS, "-ffp-contract=off"))
    build.built(source)
    assert len(libraries(tmp_path)) == 2
