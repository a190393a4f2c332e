"""A C library is built once per CPU and compiler, cached, and rebuilt if changed. Failures have a readable reason."""

import shutil
import subprocess
import sys
import time
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


def unavailable_reason(source: Path) -> str:
    return build.Kernel(source=source, argtypes={}).unavailable_reason()


def compiler(folder: Path, script: str) -> str:
    file = folder / "compiler"
    file.write_bytes(b"#!/bin/sh\n" + script.encode("latin-1"))
    file.chmod(0o755)
    return str(file)


@needs
def test_a_library_is_built_once_in_a_private_folder(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert build.load_library(source).seven() == 7
    monkeypatch.setattr(build, "_compile", lambda *_: 1 / 0)
    assert build.load_library(source).seven() == 7
    assert len(libraries(tmp_path)) == 1


@needs
@pytest.mark.parametrize("content", [b"", b"no library", None])
def test_a_library_that_changed_is_built_again(source: Path, tmp_path: Path, content: bytes | None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build.ctypes, "CDLL", lambda name: None)  # so that the file is loaded for the first time below
        build.load_library(source)
    (file,) = libraries(tmp_path)
    changed = bytearray(file.read_bytes())
    changed[len(changed) // 2] ^= 1  # one bit: the system might still load it
    file.write_bytes(changed if content is None else content)
    assert build.load_library(source).seven() == 7
    assert libraries(tmp_path) == [file]


@needs
def test_processes_that_build_at_the_same_time_all_end_well(source: Path, tmp_path: Path) -> None:
    code = ("import sys; from pathlib import Path; from yolograft.fast.cpu import build; "
            "print(build.load_library(Path(sys.argv[1])).seven())")
    command = [sys.executable, "-c", code, str(source)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0].strip() for process in started] == ["7"] * 3
    assert libraries(tmp_path)
    assert not list((tmp_path / "cache" / "yolograft").glob("build-*"))


@needs
def test_each_cpu_compiler_and_flag_has_its_own_library(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.load_library(source)
    assert len(libraries(tmp_path)) == 1
    build.load_library(source, "-ffp-contract=off")
    assert len(libraries(tmp_path)) == 2
    with monkeypatch.context() as patch:
        patch.setattr(build, "cpu_features", lambda: "another")
        build.load_library(source)
    assert len(libraries(tmp_path)) == 3
    with monkeypatch.context() as patch:
        patch.setattr(build, "_compiler_version", lambda *_: "cc 99.0")
        build.load_library(source)
    assert len(libraries(tmp_path)) == 4


@needs
def test_a_compiler_without_openmp_builds_every_kernel(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = 'for word in "$@"; do [ "$word" = -fopenmp ] && { echo "unsupported" >&2; exit 1; }; done; exec cc "$@"'
    monkeypatch.setenv("CC", compiler(tmp_path, refusing))
    assert build.load_library(source).seven() == 7
    for file in Path(build.__file__).parent.glob("*.c"):
        if file.stem != "batchnorm_silu" or "avx512_bf16" in build.cpu_features().split():
            assert unavailable_reason(file) == ""


@pytest.mark.parametrize(("script", "reason"), [("echo 'f\xe9hler' >&2; exit 1", "cannot build it: f"),
                                              ("exit 1", "it prints no reason")])
def test_a_failing_compiler_gives_a_reason(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    monkeypatch.setenv("CC", compiler(tmp_path, script))
    assert reason in unavailable_reason(source)


def test_a_compiler_that_hangs_is_ended_with_all_its_processes(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_TIMEOUT", 0.5)
    monkeypatch.setenv("CC", compiler(tmp_path, f"sleep 60 & echo $! > {tmp_path}/child; wait"))
    started = time.monotonic()
    assert "timed out" in unavailable_reason(source)
    assert time.monotonic() - started < 30
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 20
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(child)


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(("script", "reason"), [
    ("exit 0", "wrote no library"),
    ('while [ "$1" != -o ]; do shift; [ $# = 0 ] && exit; done; echo nonsense > "$2"', "a library that cannot be loaded"),
])
def test_a_compiler_that_writes_nonsense_gives_a_reason(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    monkeypatch.setenv("CC", compiler(tmp_path, script))
    assert reason in unavailable_reason(source)
    assert not libraries(tmp_path)


@needs
def test_a_library_that_crashes_when_it_is_loaded_gives_a_reason(source: Path, tmp_path: Path) -> None:
    source.write_text("#include <stdlib.h>\n__attribute__((constructor)) static void f(void) { abort(); }")
    assert "it ends the process that loads it" in unavailable_reason(source)
    assert not libraries(tmp_path)


@needs
def test_a_library_without_the_function_gives_a_reason(source: Path) -> None:
    assert build.Kernel(source=source, argtypes={"eight": []}).unavailable_reason() == "the library has no function eight"


@needs
@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Darwin", "x86_64"), ("Linux", "aarch64"),
                                                 ("Windows", "AMD64"), ("FreeBSD", "amd64")])
def test_other_platforms_take_the_fallback_unless_asked(
    source: Path, monkeypatch: pytest.MonkeyPatch, system: str, machine: str
) -> None:
    monkeypatch.setattr(build.platform, "system", lambda: system)
    monkeypatch.setattr(build.platform, "machine", lambda: machine)
    assert "tested on Linux with x86-64 only; YOLOGRAFT_KERNELS=on tries them here" in unavailable_reason(source)
    monkeypatch.setenv("YOLOGRAFT_KERNELS", "on")
    assert unavailable_reason(source) == ""


def test_a_badly_quoted_compiler_and_a_missing_home_give_a_reason(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "'cc")
    assert "CC='cc cannot be split into words: No closing quotation" in unavailable_reason(source)
    monkeypatch.setenv("CC", "true")
    monkeypatch.delenv("XDG_CACHE_HOME")

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(build.Path, "home", homeless)
    assert "there is no home folder for the cache" in unavailable_reason(source)


def test_the_kernels_can_be_switched_off(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLOGRAFT_KERNELS", "off")
    assert unavailable_reason(source) == "YOLOGRAFT_KERNELS=off switches the operators in C off"
    monkeypatch.setenv("YOLOGRAFT_KERNELS", "of")
    with pytest.raises(GraftError, match="YOLOGRAFT_KERNELS=of is not known"):
        build.load_library(source)


@pytest.mark.parametrize(("text", "features"), [("flags\t\t: sse avx2\n", "sse avx2"),
                                                ("processor : 0\nFeatures\t: fp asimd sve\n", "fp asimd sve")])
def test_the_features_of_the_cpu_are_read(text: str, features: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.Path, "read_text", lambda *_, **__: text)
    assert build.cpu_features.__wrapped__() == features
    monkeypatch.setattr(build.Path, "read_text", lambda *_, **__: "processor : 0\n")
    assert build.platform.machine() in build.cpu_features.__wrapped__()


@needs
def test_other_common_flags_are_another_library(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build.load_library(source)
    monkeypatch.setattr(build, "_FLAGS", (*build._FLAGS, "-ffp-contract=off"))
    build.load_library(source)
    assert len(libraries(tmp_path)) == 2


@needs
def test_a_kernel_sets_its_argument_types_and_loads_once(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source.write_text("long twice(long x) { return 2 * x; }")
    kernel = build.Kernel(source=source, argtypes={"twice": [build.ctypes.c_int64]}, restype=build.ctypes.c_int64)
    assert kernel.library().twice(2**40) == 2**41
    monkeypatch.setattr(build, "load_library", lambda *_: 1 / 0)
    assert kernel.unavailable_reason() == ""
    assert kernel.library().twice(3) == 6


def test_a_kernel_that_this_cpu_cannot_run_gives_a_reason(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "cpu_features", lambda: "sse avx2")
    kernel = build.Kernel(source=source, argtypes={}, cpu_feature="avx512_bf16")
    assert kernel.unavailable_reason() == "this CPU has no AVX512-BF16"
    with pytest.raises(GraftError, match=r"some\.c cannot run on this machine: this CPU has no AVX512-BF16"):
        kernel.library()
