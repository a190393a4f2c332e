"""Libraries are loaded only from a folder that no other user can change, and only with the content that was kept."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from yolograft.fast.cpu.private_cache import cache_folder, find_library, keep_library

CODE = b"the content of a library"


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def keep(folder: Path, content: bytes = CODE) -> Path:
    built = folder.parent / "built"
    built.write_bytes(content)
    return keep_library("some", built)


def test_the_folder_is_made_private(parent: Path) -> None:
    assert cache_folder() == parent / "yolograft"
    assert stat.S_IMODE(cache_folder().stat().st_mode) == 0o700
    cache_folder().chmod(0o755)
    assert stat.S_IMODE(cache_folder().stat().st_mode) == 0o700, "others may not read it either"


def test_a_kept_library_is_found_and_only_its_owner_may_write_it(parent: Path) -> None:
    cache_folder()
    mask = os.umask(0)
    try:
        library = keep(parent)
    finally:
        os.umask(mask)
    assert find_library("some") == library
    assert library.read_bytes() == CODE
    assert not library.stat().st_mode & 0o077
    assert find_library("other") is None


NEEDS_ROOT = pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files away")


def planted_link(folder: Path, library: Path) -> None:
    elsewhere = folder.parent / "elsewhere.so"
    elsewhere.write_bytes(CODE)
    library.unlink()
    library.symlink_to(elsewhere)


def another_owner(folder: Path, library: Path) -> None:
    os.chown(library, 12345, -1)


@pytest.mark.parametrize("plant", [
    planted_link,
    pytest.param(another_owner, marks=NEEDS_ROOT),
    lambda folder, library: library.chmod(0o722),
    lambda folder, library: library.write_bytes(b"other content"),
    lambda folder, library: library.replace(library.with_name("some-0123456789abcdef0123456789abcdef.so")),
], ids=["link", "owner", "mode", "content", "name"])
def test_a_planted_library_is_deleted_and_not_returned(plant: Callable[[Path, Path], object], parent: Path) -> None:
    library = keep(parent)
    plant(parent, library)
    assert find_library("some") is None
    assert not list((parent / "yolograft").glob("*.so"))


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o702, 0o1777])
def test_a_folder_that_others_can_write_is_refused(parent: Path, mode: int) -> None:
    keep(parent)
    (parent / "yolograft").chmod(mode)
    for action in (cache_folder, lambda: find_library("some"), lambda: keep(parent)):
        with pytest.raises(OSError, match="other users can write to the cache folder"):
            action()
    (parent / "yolograft").chmod(0o700)


def test_a_folder_that_is_a_link_is_refused(parent: Path) -> None:
    (parent / "mine").mkdir(parents=True)
    (parent / "yolograft").symlink_to(parent / "mine")
    with pytest.raises(OSError, match="is a link or a file"):
        cache_folder()


def test_a_folder_in_one_that_all_may_write_is_refused_unless_it_is_sticky(parent: Path) -> None:
    cache_folder()
    parent.chmod(0o777)
    with pytest.raises(OSError, match="they could replace the cache"):
        cache_folder()
    parent.chmod(0o1777)
    assert cache_folder().is_dir()


@NEEDS_ROOT
def test_a_folder_of_another_user_is_refused(parent: Path) -> None:
    os.chown(cache_folder(), 12345, -1)
    with pytest.raises(OSError, match="belongs to another user"):
        cache_folder()
