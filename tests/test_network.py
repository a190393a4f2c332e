"""Commands connect to nothing and install nothing unless they are asked to. A guard records each attempt and refuses it."""

import ast
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import ultralytics
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import checks, downloads

from yolograft import YOLO, network
from yolograft.cli import COMMANDS
from yolograft.cli.modes import MODES
from yolograft.errors import GraftError
from yolograft.host import unasked
from yolograft.host.commands import run

HERE = Path(__file__).parent
RUNTIMES = {"ORT_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0"}  # what switches off the events of runtimes
SMALL = ["imgsz=32", "epochs=1", "batch=4", "workers=0", "device=cpu", "plots=True"]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the variables of a process under the guard, with a home of its own that has no fonts or settings."""
    (folder / "record").touch()
    (folder / "settings").mkdir(exist_ok=True)
    kept = {key: value for key, value in os.environ.items()
            if key not in ("YOLO_OFFLINE", "YOLO_AUTOINSTALL", *RUNTIMES)
            and not key.startswith(("YOLOGRAFT_ALLOW", "PYTEST"))}
    path = os.pathsep.join([str(HERE / "network_guard"), *(one for one in sys.path if one)])
    return {**kept, "PYTHONPATH": path, "GUARD_RECORD": str(folder / "record"), "HOME": str(folder), "MPLBACKEND": "Agg",
            "YOLO_CONFIG_DIR": str(folder / "settings"), **more}


def drive(folder: Path, commands: list[list[str]]) -> list[dict[str, Any]]:
    done = subprocess.run([sys.executable, str(HERE / "network_driver.py")], input=json.dumps(commands), text=True,
                          capture_output=True, cwd=folder, env=environment(folder), timeout=1800, check=False)
    found = [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert len(found) == len(commands), done.stdout[-3000:] + done.stderr[-3000:]
    return found


def commands(data: Path, folder: Path) -> list[list[str]]:
    """Return the commands in their order: later ones use files that earlier ones write."""
    runs = folder / "run"
    best, study = f"model={runs}/one/weights/best.pt", str(runs / "two")
    where = [f"project={runs}", "exist_ok=True"]
    picture = data.parent / "images" / "val" / "0.png"
    return [
        ["--help"], ["blocks"], ["modules"], ["completion", "bash"],
        ["lint", "yolo11n.yaml"],
        ["sites", "model=yolo11n.yaml"], ["show", "model=yolo11n.yaml", "graft=se@8"],
        ["bench", "model=yolo11n.yaml", "graft=se@8", "imgsz=32", "repeats=1", "runtime=onnxruntime"],
        ["data", "check", str(data)],
        ["train", "model=yolo11n.yaml", "graft=se@8", f"data={data}", "name=one", *where, *SMALL],
        ["val", "model=misspelt/best.pt", f"data={data}"],
        ["val", best, f"data={data}", *where, "imgsz=32", "device=cpu"],
        ["predict", best, f"source={data.parent / 'images' / 'val'}", *where, "imgsz=32", "device=cpu"],
        ["export", best, "format=onnx", "imgsz=32"],
        ["explain", best, f"data={data}", f"project={runs}", "imgsz=64", "heatmaps=0"],
        ["fold", best, f"data={data}", f"project={runs}", "imgsz=32"],
        ["study", "model=yolo11n.yaml", "arms=none; se@8", "seeds=1", f"data={data}", f"project={runs}", "name=two",
         *(word for word in SMALL if word.partition("=")[0] not in ("workers", "plots"))],
        ["status", study], ["report", study], ["paper", study, "formats=md", "lang=en"],
        ["compare", str(runs / "one"), str(folder / "other"), f"project={runs}", "lang=en"],
        ["yaml", "model=yolo11n.yaml", "graft=se@8"],
        ["adopt", str(folder / "fork.pt"), f"to={folder / 'adopted.pt'}"],
        ["pack", str(runs / "one" / "weights" / "best.pt")],
        ["unpack", str(runs / "one" / "weights" / "best.safetensors"), f"to={folder / 'unpacked.pt'}"],
        ["heatmap", best, f"source={picture}", "box=8,8,40,40", "imgsz=32", "checks=False", f"project={runs}"],
        ["track", best, f"source={data.parent / 'images' / 'val'}", *where, "imgsz=32", "device=cpu"],
    ]


def costly_commands(data: Path, folder: Path) -> list[list[str]]:
    """Return the commands that train several times or export to every format, after the training that they need."""
    runs = folder / "run"
    best = f"model={runs}/one/weights/best.pt"
    train = ["model=yolo11n.yaml", f"data={data}", f"project={runs}", "imgsz=32", "epochs=1", "batch=4"]
    return [
        next(words for words in commands(data, folder) if words[0] == "train"),
        ["demo", "images=30", "epochs=1", "imgsz=32", f"project={runs / 'demo'}"],
        ["screen", *train, "block=se"],
        ["tune", *train, "graft=se@8", "iterations=1", "workers=0", "device=cpu"],
        ["deploy-check", best, f"data={data}", "imgsz=64", "repeats=1", f"project={runs}"],
        ["benchmark", best, f"data={data}", "imgsz=32", "device=cpu"],
    ]


def check(found: list[dict[str, Any]], folder: Path) -> None:
    """Assert that commands ran to their end, and tried no connection and no installation, nor did their processes."""
    assert [(one["words"], one["tried"]) for one in found if one["tried"]] == []
    failed = [(one["words"][0], one["code"], one["said"]) for one in found
              if one["code"] not in ((2,) if "model=misspelt/best.pt" in one["words"] else (0, 1))]
    assert not failed, failed
    assert not (folder / "record").read_text(encoding="utf-8"), "a process that a command started"
    # the guard sees no connection of compiled code; ONNX Runtime makes this folder, for a device's number, before it sends
    assert not (folder / ".cache" / "Microsoft").exists()


def write_fork(file: Path) -> None:
    """Write a checkpoint as Ultralytics writes it."""
    model = DetectionModel("yolo11n.yaml", nc=2, verbose=False)
    model.names, model.args, model.task = {0: "dim", 1: "bright"}, {"imgsz": 32}, "detect"
    torch.save({"epoch": -1, "model": model.half(), "ema": None, "train_args": {"imgsz": 32}}, file)


def write_run(folder: Path) -> None:
    """Write the files of a finished run that `compare` reads."""
    folder.mkdir()
    (folder / "results.csv").write_text("epoch,train/box_loss,metrics/mAP50(B),metrics/mAP50-95(B)\n1,0.5,0.2,0.1\n")
    (folder / "args.yaml").write_text("task: detect\ndata: other.yaml\nepochs: 1\npatience: 100\n")


def test_the_main_commands_connect_to_nothing_and_install_nothing(tiny_set: Path, tmp_path: Path) -> None:
    write_fork(tmp_path / "fork.pt")
    write_run(tmp_path / "other")
    check(drive(tmp_path, commands(tiny_set, tmp_path)), tmp_path)


@pytest.mark.slow
def test_the_costly_commands_connect_to_nothing_and_install_nothing(tiny_set: Path, tmp_path: Path) -> None:
    check(drive(tmp_path, costly_commands(tiny_set, tmp_path)), tmp_path)


def test_the_guard_sees_what_stock_ultralytics_does(tmp_path: Path) -> None:
    """So that the test above can fail: importing Ultralytics alone asks for a network."""
    subprocess.run([sys.executable, "-c", "import ultralytics.utils"], env=environment(tmp_path), check=True,
                   capture_output=True)
    assert (tmp_path / "record").read_text(encoding="utf-8")


def test_the_guard_sees_an_installer_and_a_connection(tmp_path: Path) -> None:
    for code in ("import subprocess; subprocess.run(['pip', 'install', 'x'])",
                 "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"):
        done = subprocess.run([sys.executable, "-c", code], env=environment(tmp_path), check=False, capture_output=True)
        assert done.returncode
    assert len((tmp_path / "record").read_text(encoding="utf-8").splitlines()) == 2


# Each switch, in a process whose Ultralytics was imported before yolograft and is online.


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put this process online, and record what would connect or install."""
    found: list[str] = []

    def record(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            found.append(name)
            raise OSError(f"no {name} in this test")
        return call

    for variable in (network.INSTALL, network.TELEMETRY, network.UPDATE_CHECK, network.ASSETS):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(checks, "ONLINE", True)
    monkeypatch.setattr(checks, "AUTOINSTALL", True)
    monkeypatch.setattr(checks, "IS_PIP_PACKAGE", True)
    monkeypatch.setattr(checks, "check_latest_pypi_version", record("update check"))
    check_output = subprocess.check_output

    def start(words: Any, *args: Any, **kwargs: Any) -> Any:
        is_pip = "pip" in (words if isinstance(words, str) else " ".join(words))
        return (record("pip") if is_pip else check_output)(words, *args, **kwargs)  # Matplotlib starts fc-list

    monkeypatch.setattr(checks.subprocess, "check_output", start)
    monkeypatch.setattr(downloads, "safe_download", record("download"))
    monkeypatch.setattr(downloads, "get_github_assets", record("GitHub"))
    monkeypatch.setattr(downloads, "is_url", lambda url, check=False: found.append("is_url") or True)
    monkeypatch.setattr(unasked, "_IS_URL", downloads.is_url)
    events = unasked._events()
    monkeypatch.setattr(events, "enabled", True)
    return found


def send_event() -> bool:
    return bool(unasked._events().enabled)


SWITCHES: dict[str, Callable[[], Any]] = {
    network.INSTALL: lambda: checks.check_requirements("surely-not-installed-package"),
    network.UPDATE_CHECK: lambda: checks.check_pip_update_available(),
    network.ASSETS: lambda: unasked.data_utils.check_font("Surely.Unicode.ttf"),
}


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_switch_allows_what_is_off_by_default(switch: str, tried: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with unasked.nothing_unasked():
        SWITCHES[switch]()
    assert tried == []
    monkeypatch.setenv(switch, "1")
    with unasked.nothing_unasked(), contextlib.suppress(OSError):
        SWITCHES[switch]()
    assert tried


def test_usage_events_are_off_unless_they_are_allowed(tried: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with unasked.nothing_unasked():
        assert not send_event()
    assert send_event(), "it stays off"
    monkeypatch.setenv(network.TELEMETRY, "1")
    with unasked.nothing_unasked():
        assert send_event()


class OnGpu:
    """A model whose parameters say that they are on a GPU."""

    def parameters(self) -> Any:
        yield type("Parameter", (), {"device": torch.device("cuda:0")})()


def test_the_test_of_mixed_precision_downloads_no_weights(
        tried: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "NVIDIA H100")
    with unasked.nothing_unasked():
        assert unasked.engine_trainer.check_amp(OnGpu()) is True
    assert tried == []


def test_ray_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    done = unasked._NoInstaller().run(["pip", "install", "ray[tune]"], check=True)
    assert done.returncode == 0
    for words in ("sudo apt-get install edgetpu-compiler", ["sudo", "apt", "update"], ["apt", "install", "-y", "openjdk"]):
        with pytest.raises(GraftError, match="installs nothing unasked"):
            unasked._NoInstaller().run(words, check=True)


def test_a_package_that_is_missing_is_named(tiny_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'surely_missing'", name="surely_missing.part")

    monkeypatch.setattr(ultralytics.YOLO, "val", fail)
    with pytest.raises(GraftError, match=r"needs the package surely_missing, which is not installed.*pip install"):
        YOLO("yolo11n.yaml").val(data=str(tiny_set))


@pytest.mark.parametrize(("mode", "pairs", "words"), [
    ("val", {}, "'model' is missing"), ("train", {"model": "yolo11n.yaml"}, "'data' is missing")])
def test_a_default_that_is_not_here_is_not_downloaded(
        mode: str, pairs: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("yolograft.host.commands.WEIGHTS_DIR", tmp_path)
    monkeypatch.setattr("yolograft.host.commands.is_here", lambda _: False)
    with pytest.raises(GraftError, match=f"{words}.*downloads nothing that was not named"):
        run(mode, pairs)


def test_usage_events_of_runtimes_are_off_unless_they_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepared(**user: str) -> dict[str, str | None]:
        for variable in RUNTIMES:
            monkeypatch.delenv(variable, raising=False)
        for variable, value in user.items():
            monkeypatch.setenv(variable, value)
        network.prepare()
        return {variable: os.environ.get(variable) for variable in RUNTIMES}

    monkeypatch.delenv(network.TELEMETRY, raising=False)
    assert prepared() == RUNTIMES
    own = {"ORT_DISABLE_TELEMETRY": "0", "RAY_USAGE_STATS_ENABLED": "1"}
    assert prepared(**own) == own
    monkeypatch.setenv(network.TELEMETRY, "1")
    assert prepared() == dict.fromkeys(RUNTIMES)


def test_openvino_sends_no_usage_events(monkeypatch: pytest.MonkeyPatch) -> None:
    sender = pytest.importorskip("openvino_telemetry.utils.sender").TelemetrySender()
    sent: list[Any] = []
    backend = type("Backend", (), {"send": staticmethod(sent.append)})

    def send(message: str) -> list[Any]:
        sender.send(backend, message)
        sender.executor.submit(int).result()  # the message before it, by the one thread
        return sent

    sender.executor._max_workers = 1
    monkeypatch.delenv(network.TELEMETRY, raising=False)
    with unasked.nothing_unasked():
        assert send("unasked") == []
    assert send("of the user") == ["of the user"]
    monkeypatch.setenv(network.TELEMETRY, "1")
    with unasked.nothing_unasked():
        assert send("allowed") == ["of the user", "allowed"]
    sender.executor.shutdown()


def test_the_variables_of_the_user_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("true", "false"):
        monkeypatch.setenv("YOLO_OFFLINE", value)
        monkeypatch.setenv("YOLO_AUTOINSTALL", value)
        network.prepare()
        assert (os.environ["YOLO_OFFLINE"], os.environ["YOLO_AUTOINSTALL"]) == (value, value)
    for variable in ("YOLO_OFFLINE", "YOLO_AUTOINSTALL"):
        monkeypatch.delenv(variable)
    network.prepare()
    assert (os.environ["YOLO_OFFLINE"], os.environ["YOLO_AUTOINSTALL"]) == ("true", "false")
    for variable in ("YOLO_OFFLINE", "YOLO_AUTOINSTALL"):
        monkeypatch.delenv(variable)
    monkeypatch.setenv(network.INSTALL, "1")
    network.prepare()
    assert "YOLO_OFFLINE" not in os.environ
    assert "YOLO_AUTOINSTALL" not in os.environ


def test_every_command_is_driven() -> None:
    driven = {words[0] for which in (commands, costly_commands) for words in which(Path("data.yaml"), Path())}
    assert driven - {"--help"} == set(COMMANDS) | set(MODES)


def test_every_file_that_checks_a_data_set_with_ultralytics_asks_for_nothing_more() -> None:
    """`check_det_dataset` downloads a font, and such a call is outside the guarded methods of `YOLO`."""
    def checks_data(path: Path) -> bool:
        calls = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
        return any(getattr(call.func, "id", "") in ("check_det_dataset", "check_cls_dataset") for call in calls)

    calling = [path for path in (HERE.parent / "src" / "yolograft").rglob("*.py") if checks_data(path)]
    assert len(calling) >= 3
    for path in calling:
        assert "with nothing_unasked():" in path.read_text(encoding="utf-8"), path
