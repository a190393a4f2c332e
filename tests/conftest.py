"""Shared fixtures: the real data beside the checkout (or in YOLOGRAFT_DATA), and small data sets."""

import dataclasses
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("YOLO_OFFLINE", "True")
os.environ["YOLOGRAFT_REGISTER"] = "off"  # no test writes to the register of the person who runs it
os.environ["YOLOGRAFT_LANG"] = "en"  # the tests compare English messages, on a machine with any locale

DATA = Path(os.environ.get("YOLOGRAFT_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")

MOST_WORKERS = 8  # more do not help: the longest test file bounds the time


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Return the number of worker processes for `-n auto`: at most one per CPU and per test file, and 0 for just one."""
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None  # pytest-xdist reads it
    files = {argument.partition("::")[0] for argument in config.args}
    workers = min(_cpus(), MOST_WORKERS)
    if all(file.endswith(".py") for file in files):
        workers = min(workers, len(files))
    return workers if workers > 1 else 0


def pytest_configure(config: pytest.Config) -> None:
    """Give each worker process its own Ultralytics settings, and its share of the CPUs.

    The main process sets the variables before it starts the workers. They must inherit the number of threads, because
    `yolograft.threads` distinguishes a variable that a process starts with from one that Ultralytics sets.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker:
        folder = Path(os.environ["YOLO_CONFIG_DIR"]) / worker  # Ultralytics writes its settings without a lock
        folder.mkdir()
        os.environ["YOLO_CONFIG_DIR"] = str(folder)
    elif workers := config.getoption("numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cpus() // workers)))
        os.environ["YOLO_CONFIG_DIR"] = tempfile.mkdtemp(prefix="yolograft-tests-")
        config.add_cleanup(partial(shutil.rmtree, os.environ["YOLO_CONFIG_DIR"], ignore_errors=True))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any) -> Iterator[None]:
    """List the failures of `test_0_upstream.py` first: they may explain the others, whichever worker ended first."""
    for kind in ("failed", "error"):
        terminalreporter.stats.get(kind, []).sort(key=lambda report: "test_0_upstream.py" not in report.nodeid)
    yield


@pytest.fixture(autouse=True)
def _restore_default_activation() -> Iterator[None]:
    """Restore `Conv.default_act`, which Ultralytics 8.3.0 changes when it builds a YAML with `activation:`."""
    from ultralytics.nn.modules import Conv

    before = Conv.default_act
    yield
    Conv.default_act = before


@contextmanager
def restored_blocks() -> Iterator[None]:
    """Restore the registry of blocks after a `with` block, and forget the user's files that were loaded in it."""
    from yolograft import blocks
    from yolograft.blocks import plugin

    if "torch" in sys.modules:
        blocks.names()  # registers the built-in blocks before the copies, at the first test
    registries: tuple[Any, ...] = (blocks._BLOCKS, blocks._ALIASES, blocks._PLAIN, plugin._LOADED)
    copies = [registry.copy() for registry in registries]
    path, imported = sys.path.copy(), set(sys.modules)
    yield
    if sys.path != path:
        sys.path[:] = path
    if all(registry == before for registry, before in zip(registries, copies, strict=True)):
        return
    for name in plugin._LOADED.keys() - copies[-1].keys() - imported:  # a test file that registers blocks stays
        sys.modules.pop(name, None)
    if blocks._import_all.cache_info().currsize and not copies[0]:
        return  # torch and the built-in blocks were imported in between
    for registry, before in zip(registries, copies, strict=True):
        registry.clear()
        registry.update(before)


@pytest.fixture(autouse=True)
def _restore_blocks(_restore_default_activation: None) -> Iterator[None]:
    """Keep a block that a test registers out of the other tests."""
    with restored_blocks():
        yield


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Use one torch thread. On a busy machine, waiting between two threads can cost a second per small batch."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Return a function that gives a module a new `KERNEL` and no compiler, for the rest of the test."""
    from yolograft.fast.cpu import build

    def load_library(*_: object) -> None:
        raise OSError("no C compiler is installed")

    def uncompile(module: Any) -> None:
        monkeypatch.setattr(build, "load_library", load_library)
        monkeypatch.setattr(module, "KERNEL", dataclasses.replace(module.KERNEL))

    return uncompile


@pytest.fixture
def weights_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A packaged file names weights of torchvision, which is a finding by default. The linter itself downloads nothing."""
    from yolograft import network

    monkeypatch.setenv(network.ASSETS, "1")


@pytest.fixture(scope="session")
def weights() -> Path:
    file = DATA / "weights" / "yolo11n.pt"
    if not file.is_file():
        pytest.skip(f"no pretrained weights {file.name} (set YOLOGRAFT_DATA to the folder that contains weights/)")
    return file


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detection set of 12 training and 8 validation images of noise, with one bright box each."""
    return write_tiny_set(tmp_path_factory.mktemp("tiny"))


def write_tiny_set(root: Path) -> Path:
    """Write the images and labels of `tiny_set` to a folder, and return the data YAML."""
    import cv2
    import numpy as np

    generator = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 8)):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        for number in range(count):
            picture = generator.integers(0, 90, (64, 64, 3), dtype=np.uint8)
            x, y = generator.integers(4, 36, 2)
            picture[y : y + 24, x : x + 24] = 200 if number % 2 else 140
            (root / "images" / split / f"{number}.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
            label = f"{number % 2} {(x + 12) / 64:.5f} {(y + 12) / 64:.5f} 0.375 0.375\n"
            (root / "labels" / split / f"{number}.txt").write_text(label)
    file = root / "tiny.yaml"
    file.write_text(f"path: {root}\ntrain: images/train\nval: images/val\nnames: [dim, bright]\n", encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def varied_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detection set of 24 smooth colour images in four sizes, with 0 to 3 boxes each in the top left."""
    import cv2
    import numpy as np

    root = tmp_path_factory.mktemp("varied")
    generator = np.random.default_rng(0)
    (root / "images").mkdir()
    (root / "labels").mkdir()
    for number in range(24):
        height, width = [(64, 64), (48, 80), (90, 37), (50, 51)][number % 4]
        picture = cv2.GaussianBlur(generator.integers(0, 256, (height, width, 3), dtype=np.uint8), (0, 0), 2)
        picture = cv2.normalize(picture, None, 0, 200, cv2.NORM_MINMAX) + np.array([50, 20, 0], np.uint8)
        cv2.imwrite(str(root / "images" / f"{number:02}.png"), picture)
        sizes = generator.uniform(0.15, 0.45, (number % 4, 2))
        places = sizes / 2 + generator.uniform(0, 0.2, (number % 4, 2))
        lines = [f"{at % 2} {x:.5f} {y:.5f} {w:.5f} {h:.5f}\n" for at, ((x, y), (w, h)) in
                 enumerate(zip(places, sizes, strict=True))]
        (root / "labels" / f"{number:02}.txt").write_text("".join(lines))
    file = root / "varied.yaml"
    file.write_text(f"path: {root}\ntrain: images\nval: images\nnames: [dim, bright]\n")
    return file


@pytest.fixture
def fresh_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what the test registers as modules."""
    from yolograft import modules

    modules.names()  # ours are registered before the copy
    for registry in ("_MODULES", "_ALIASES", "_CHANNELS"):
        monkeypatch.setattr(modules, registry, getattr(modules, registry).copy())
