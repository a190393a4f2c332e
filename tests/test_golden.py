"""Files and texts of earlier versions, one folder each in `golden/`, are read and printed the same by today's code.

`golden/make.py` made the data. A text that is reworded on purpose is changed in the data in the same commit.
"""

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from yolograft import YOLO, Graft, attach, report
from yolograft.cli import main
from yolograft.study import Study
from yolograft.study.plan import Plan
from yolograft.study.trial import host_name

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings
GOLDEN = Path(__file__).parent / "golden"
VERSIONS = sorted(path for path in GOLDEN.iterdir() if (path / "record.json").is_file())
SOURCE = Path(__file__).resolve().parents[1] / "src"
STUDIES = ["study-dummy", "study-stopped", "study-trained"]


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def home(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def record(home: Path) -> dict[str, Any]:
    return json.loads((home / "record.json").read_text())


@pytest.fixture
def arrays(home: Path) -> dict[str, np.ndarray]:
    with np.load(home / "outputs.npz") as found:
        return dict(found)


def unpacked(home: Path, name: str, to: Path) -> Path:
    with zipfile.ZipFile(home / f"{name}.zip") as packed:
        packed.extractall(to / name)
    return to / name


def close(ours: Any, golden: np.ndarray) -> None:
    assert golden.size
    np.testing.assert_allclose(np.asarray(ours), golden, rtol=1e-5, atol=1e-5)


def run_python(code: str, folder: Path, *words: str, path: tuple[Path, ...] = ()) -> str:
    inherited = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, path), *inherited, str(SOURCE)])}
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("file", ["grafted.pt", "plain.pt", "grafted.safetensors"])
def test_a_stored_checkpoint_gives_its_output(home: Path, arrays: dict[str, np.ndarray], file: str) -> None:
    x = torch.from_numpy(arrays["picture"]).permute(2, 0, 1)[None].float() / 255
    kind = Path(file).stem
    with torch.no_grad():
        close(YOLO(home / file).model.float().eval()(x)[0], arrays[f"{kind}_plain"])
        close(YOLO(home / file).model.float().eval().fuse(verbose=False)(x)[0], arrays[f"{kind}_fused"])
    found = YOLO(home / file).predict(arrays["picture"], imgsz=64, conf=1e-6, max_det=5, device="cpu", verbose=False)
    close(found[0].boxes.data, arrays[f"{kind}_boxes"])


@pytest.mark.parametrize("kind", ["grafted", "plain"])
def test_stock_ultralytics_opens_a_stored_checkpoint(
        home: Path, arrays: dict[str, np.ndarray], tmp_path: Path, kind: str) -> None:
    code = ("import sys, numpy as np; from ultralytics import YOLO; picture = np.load(sys.argv[2])['picture']; "
            "found = YOLO(sys.argv[1]).predict(picture, imgsz=64, conf=1e-6, max_det=5, device='cpu', verbose=False); "
            "np.save('boxes.npy', found[0].boxes.data.numpy())")
    run_python(code, tmp_path, str(home / f"{kind}.pt"), str(home / "outputs.npz"))
    close(np.load(tmp_path / "boxes.npy"), arrays[f"{kind}_boxes"])


def test_a_stored_checkpoint_carries_its_graft_which_comes_off(home: Path, record: dict[str, Any]) -> None:
    model = YOLO(home / "grafted.pt").model
    assert str(attach.grafted(model)) == record["graft"]
    attach.prune(model)
    assert not attach.grafts(model)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_names_that_stored_checkpoints_import_are_those_of_today(home: Path, record: dict[str, Any]) -> None:
    spec = importlib.util.spec_from_file_location("names_in_pickles", GOLDEN / "pickled.py")
    assert spec is not None
    assert spec.loader is not None
    pickled = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pickled)
    assert {name for file in home.glob("*.pt") for name in pickled.names_in(file)} <= set(record["names"])
    assert len(record["names"]) >= 10
    for name in [*record["names"]]:
        module, _, inside = name.partition(":")
        found = getattr(import_module(module), inside)
        assert getattr(import_module(found.__module__), found.__qualname__) is found, name


@pytest.mark.parametrize("name", STUDIES)
def test_a_stored_study_says_the_same(home: Path, record: dict[str, Any], tmp_path: Path, name: str) -> None:
    folder, told = unpacked(home, name, tmp_path), record["studies"][name]
    study = Study.load(folder)
    assert {arm: {str(seed): value for seed, value in by.items()} for arm, by in study.scores().items()} == told["scores"]
    assert [[one.arm, str(one.word), one.why()] for one in study.verdicts()] == told["verdicts"]
    assert [one.key for one in study.plan.trials()] == told["keys"]
    assert {path.name for path in (folder / "trials").iterdir()} <= set(told["keys"])
    stored = yaml.safe_load((folder / "plan.yaml").read_text())
    assert study.plan.words() == {**stored, "host": host_name(stored["host"])}
    assert callable(import_module(told["host"]).train)
    assert [path.name for path in report.write(study, tmp_path / "report")] == ["report.html", "report.zh.html"]


PRETEND = "import yolograft\nyolograft.__version__ = {!r}\n"


def test_a_stopped_study_goes_on_without_what_is_finished(home: Path, record: dict[str, Any], tmp_path: Path) -> None:
    """The recorded versions enter every trial's key, so that a rewritten record would begin every trial again.

    The process of the study and those of its trials claim to be the recorded version of yolograft instead.
    """
    folder = unpacked(home, "study-stopped", tmp_path)
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("trials/*/result.json")}
    assert len(finished) == 3
    version = Plan.read(folder / "plan.yaml", recorded=True).versions["yolograft"]
    (tmp_path / "sitecustomize.py").write_text(PRETEND.format(version))  # which Python imports when it starts
    run_python("from yolograft.cli import main; raise SystemExit(main(['study', 'study-stopped/plan.yaml']))", tmp_path,
               path=(tmp_path,))
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert sorted(path.read_text().split()[0] for path in folder.glob("trials/*/finished")) == sorted(
        record["studies"]["study-stopped"]["keys"])
    assert [len(path.read_text().split()) for path in folder.glob("trials/*/finished")] == [1] * 4
    study = Study.load(folder)
    assert [len(by) for by in study.scores().values()] == [2, 2]


def test_grafts_are_spelled_the_same(record: dict[str, Any]) -> None:
    assert len(record["spelled"]) > 20
    for text, (short, full) in record["spelled"].items():
        assert str(Graft.parse(text)) == short
        assert str(attach.spelled(Graft.parse(text))) == full


def test_commands_print_the_same(
        home: Path, record: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(home)
    for name, words in record["commands"].items():
        main(words)
        assert capsys.readouterr().out == (home / "printed" / f"{name}.txt").read_text(), name


def test_a_training_writes_the_same_columns(
        home: Path, record: dict[str, Any], tiny_set: Path, tmp_path: Path) -> None:
    YOLO(home / "tiny.yaml", graft=record["graft"]).train(
        data=str(tiny_set), epochs=1, imgsz=64, batch=4, workers=0, device="cpu", plots=False, project=str(tmp_path),
        name="r")
    header = (tmp_path / "r" / "results.csv").read_text().splitlines()[0].split(",")
    # newer versions of Ultralytics add the time
    assert [name.strip() for name in header if name.strip() != "time"] == record["columns"]
