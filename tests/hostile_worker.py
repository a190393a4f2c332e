"""Open hostile files with our commands in a process of their own, which measures what each command does.

`run` starts the process and gives it one (file, command) after the other. The process has a limit of its memory, so a bomb
raises `MemoryError` there and does not take down the machine. A command that hangs is ended after `SECONDS`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SECONDS = 60  # after which a command is ended
ADDRESS_SPACE = 12 * 2**30  # bytes; PyTorch alone maps 4 GiB
# A command is words with the file's path for {file}. The first of each kind is part of the default tests.
COMMANDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "model": (("show", "model={file}"), ("lint", "{file}"), ("sites", "model={file}"),
              ("bench", "model={file}", "graft=none", "repeats=1", "imgsz=32"), ("yaml", "model={file}", "graft=se@1"),
              ("train", "model={file}", "data={set}", "epochs=1", "imgsz=32"),
              ("train", "model=yolo11n.yaml", "cfg={file}", "data={set}", "epochs=1", "imgsz=32"),
              ("val", "model={file}", "data={set}", "imgsz=32"), ("predict", "model={file}", "source={image}", "imgsz=32"),
              ("export", "model={file}", "format=safetensors"), ("pack", "{file}"),
              ("screen", "model={file}", "data={set}", "blocks=se", "sites=1"),
              ("fold", "{file}", "data={set}"), ("deploy-check", "model={file}"),
              ("study", "model={file}", "data={set}", "arms=none", "seeds=1", "epochs=1"),
              ("study", "model=yolo11n.yaml", "data={set}", "arms={file}", "seeds=1", "epochs=1"),
              ("adopt", "{golden}", "model={file}", "to=out.pt")),
    "data": (("val", "model={host}", "data={file}", "imgsz=32"), ("data", "check", "{file}"),
             ("train", "model={host}", "data={file}", "epochs=1", "imgsz=32"),
             ("tune", "model={host}", "data={file}", "iterations=1", "epochs=1", "imgsz=32"),
             ("export", "model={host}", "data={file}", "format=openvino", "int8=True", "imgsz=32"),
             ("explain", "{golden}", "data={file}"), ("fold", "{golden}", "data={file}"),
             ("screen", "model={host}", "data={file}", "blocks=se", "sites=1"),
             ("heatmap", "model={golden}", "source={image}", "data={file}"),
             ("deploy-check", "model={golden}", "data={file}"),
             ("study", "model={host}", "data={file}", "arms=none", "seeds=1", "epochs=1")),
    "cfg": (("train", "model={host}", "cfg={file}", "data={set}", "imgsz=32"),
            ("track", "model={host}", "source={image}", "tracker={file}", "imgsz=32")),
    "plan": (("status", "{folder}"), ("study", "{file}", "project={folder}/.."), ("report", "{folder}"),
             ("paper", "{folder}")),
    "run": (("compare", "{folder}", "{folder}"),),
    "checkpoint": (("show", "model={file}"), ("sites", "model={file}"), ("yaml", "model={file}", "graft=se@1"),
                   ("bench", "model={file}", "graft=none", "repeats=1", "imgsz=32"), ("explain", "{file}", "data={set}"),
                   ("heatmap", "model={file}", "source={image}"), ("fold", "{file}", "data={set}"),
                   ("deploy-check", "model={file}"), ("adopt", "{file}", "to=out.pt"), ("pack", "{file}"),
                   ("train", "model={file}", "data={set}", "epochs=1"), ("train", "resume=True", "model={file}"),
                   ("train", "resume={file}"),
                   ("train", "model={host}", "pretrained={file}", "data={set}", "epochs=1", "imgsz=32"),
                   ("val", "model={file}", "data={set}"), ("predict", "model={file}", "source={image}"),
                   ("track", "model={file}", "source={image}"), ("export", "model={file}"),
                   ("benchmark", "model={file}", "data={set}"), ("tune", "model={file}", "data={set}", "iterations=1"),
                   ("screen", "model={file}", "data={set}", "blocks=se", "sites=8"),
                   ("study", "model={file}", "data={set}", "arms=none; se@8", "seeds=1", "epochs=1")),
    "safetensors": (("show", "model={file}"), ("unpack", "{file}"), ("sites", "model={file}"),
                    ("val", "model={file}", "data={set}", "imgsz=32"), ("predict", "model={file}", "source={image}"),
                    ("train", "model={file}", "data={set}", "epochs=1", "imgsz=32"),
                    ("train", "model={host}", "pretrained={file}", "data={set}", "epochs=1", "imgsz=32"),
                    ("export", "model={file}"), ("explain", "{file}", "data={set}"), ("fold", "{file}", "data={set}")),
    "archive": (("data", "voc", "{file}", "out"), ("data", "coco", "{file}", "out"), ("data", "labelme", "{file}", "out"),
                ("data", "neu-det", "{file}", "out"), ("data", "check", "{file}")),
    "voc": (("data", "voc", "{file}", "out"), ("data", "check", "{file}"), ("data", "coco", "{file}", "out")),
    "coco": (("data", "coco", "{file}", "out"), ("data", "labelme", "{file}", "out"), ("data", "check", "{file}")),
    "labelme": (("data", "labelme", "{file}", "out"), ("data", "coco", "{file}", "out")),
    "image": (("data", "voc", "{file}", "out"), ("predict", "model={host}", "source={file}", "imgsz=32"),
              ("heatmap", "model={golden}", "source={file}", "imgsz=32")),
    "labels": (("val", "model={host}", "data={file}", "imgsz=32"), ("data", "check", "{file}"),
               ("train", "model={host}", "data={file}", "epochs=1", "imgsz=32")),
}
_EVENTS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn", "socket.connect", "socket.getaddrinfo",
           "urllib.Request", "webbrowser.open", "ftplib.connect")
_STOCK = ("github.com", "api.github.com")  # what Ultralytics looks up in a training with any file; no file here names it


@dataclass(frozen=True)
class Outcome:
    """What one command did with one file.

    Attributes:
        code: its exit code; None if it was ended, for its time or its memory.
        error: what it wrote to stderr.
        output: what it wrote to stdout.
        crash: the traceback of an exception that left `main`; empty for none.
        ran: what it ran or reached: a payload, a process, an address, an imported module.
        seconds: its time.
        megabytes: by how much the memory in use grew at most.
    """

    code: int | None
    error: str = ""
    output: str = ""
    crash: str = ""
    ran: tuple[str, ...] = ()
    seconds: float = 0.0
    megabytes: float = 0.0


def run(jobs: Iterable[tuple[str, tuple[str, ...]]]) -> Iterator[tuple[str, tuple[str, ...], Outcome]]:
    """Run each (file, command), and yield it with its outcome."""
    worker: Any = None
    config = Path(tempfile.mkdtemp(prefix="yolograft-hostile-config-"))
    for font in ("Arial.ttf", "Arial.Unicode.ttf"):  # Ultralytics would download them for any data set
        (config / font).touch()
    try:
        for name, words in jobs:
            if worker is None:
                worker = _start(config)
                worker.stdout.readline()  # it is ready
            worker.stdin.write(json.dumps([name, words]).encode() + b"\n")
            worker.stdin.flush()
            started = time.monotonic()
            ready = select.select([worker.stdout], [], [], SECONDS)[0]
            line = worker.stdout.readline() if ready else b""
            if line:
                found = json.loads(line)
                yield name, words, Outcome(**{**found, "ran": tuple(found["ran"])})
                continue
            if not ready:
                worker.kill()
            reason = f"the process ended with {worker.wait()}" if ready else "it hangs"
            _end(worker)
            worker = None
            yield name, words, Outcome(code=None, crash=reason, seconds=time.monotonic() - started)
    finally:
        if worker is not None:
            _end(worker)
        shutil.rmtree(config, ignore_errors=True)


def _end(worker: Any) -> None:
    with contextlib.suppress(BrokenPipeError):
        worker.stdin.close()
    worker.wait(timeout=60)
    worker.stdout.close()


def _start(config: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "YOLO_OFFLINE": "True", "YOLOGRAFT_LANG": "en", "YOLOGRAFT_REGISTER": "off",
                   "YOLO_AUTOINSTALL": "False", "YOLO_CONFIG_DIR": str(config),
                   "YOLOGRAFT_KERNELS": "off"}  # a compiler is a process that no file asks for
    for key in ("YOLOGRAFT_TRUST", "YOLOGRAFT_ALLOW_DOWNLOAD"):
        environment.pop(key, None)
    return subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, env=environment)


def _asks_about_the_machine(command: Any) -> bool:
    """Whether a command is one with which Python's `platform` and Ultralytics ask for the names of the CPU and of GPUs."""
    words = [str(word) for word in command] if isinstance(command, (list, tuple)) else [str(command)]
    return words[0] in ("file", "uname", "xpu-smi") or (words[1:2] != [] and words[1].endswith("/cpuinfo/cpuinfo.py"))


class _Guard:
    """An audit hook, which can be switched on and off but never removed."""

    def __init__(self) -> None:
        self.active = False
        self.found: list[str] = []
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event == "socket.getaddrinfo" and arguments[0] in _STOCK:
            return
        if event in _EVENTS:
            self.found.append(f"{event} {arguments}"[:200])
        elif event == "subprocess.Popen" and not _asks_about_the_machine(arguments[1]):
            self.found.append(f"process {arguments[1]}"[:200])
        elif event == "import" and arguments[0] in ("antigravity", "no_such_package_anywhere"):
            self.found.append(f"import {arguments[0]}")


def _work() -> None:
    """Read jobs from stdin, and write outcomes to stdout as it was at the start."""
    import resource

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print to stdout
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    import hostile_files
    import matplotlib.pyplot  # noqa: F401  # processes and files of the import are not those of a command
    from conftest import write_tiny_set
    from PIL import Image

    from yolograft.cli import main
    from yolograft.host.yolo import YOLO

    base = Path(tempfile.mkdtemp(prefix="yolograft-hostile-"))
    try:
        (base / "host.yaml").write_text(hostile_files._model_text())
        Image.new("RGB", (64, 64)).save(base / "one.png")
        YOLO(base / "host.yaml")
        words = {"host": str(base / "host.yaml"), "set": str(write_tiny_set(base / "set")), "image": str(base / "one.png"),
                 "golden": str(Path(__file__).parent / "golden" / "0.1.0" / "grafted.pt")}
        guard = _Guard()
        answers.write(b"ready\n")
        answers.flush()
        for line in sys.stdin.buffer:
            name, command = json.loads(line)
            folder = Path(tempfile.mkdtemp(dir=base))
            outcome = _one(main, guard, hostile_files.FILES[name], command, folder, words)
            shutil.rmtree(folder, ignore_errors=True)
            answers.write(json.dumps(asdict(outcome)).encode() + b"\n")
            answers.flush()
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _one(main: Any, guard: _Guard, hostile: Any, command: list[str], folder: Path, words: dict[str, str]) -> Outcome:
    os.chdir(folder)
    file = hostile.make(folder)
    kept = {path: os.environ.get(path) for path in ("YOLOGRAFT_TRUST", "YOLOGRAFT_ALLOW_DOWNLOAD")}
    outside = Path("/tmp/yolograft-outside.txt")
    before, started = _memory(), time.monotonic()
    Path("/proc/self/clear_refs").write_text("5")  # the peak of the memory counts from here
    error, output, crash, code = io.StringIO(), io.StringIO(), "", None
    guard.found, guard.active = [], True
    try:
        with contextlib.redirect_stderr(error), contextlib.redirect_stdout(output):
            code = main([word.format(file=file, folder=file.parent, **words) for word in command])
    except BaseException:
        crash = traceback.format_exc()[-3000:]
    finally:
        guard.active = False
    ran = [*dict.fromkeys(guard.found), *(["the payload"] if (folder / hostile_files_mark()).exists() else [])]
    if outside.exists():
        outside.unlink()
        ran.append("wrote outside")
    if (folder.parent / "outside.txt").exists():
        ran.append("wrote outside")
    for key, value in kept.items():
        if value is None:
            os.environ.pop(key, None)
    os.chdir("/")
    return Outcome(code=code, error=error.getvalue()[-6000:], output=output.getvalue()[-6000:], crash=crash, ran=tuple(ran),
                   seconds=time.monotonic() - started, megabytes=max(0.0, _memory("VmHWM") - before))


def hostile_files_mark() -> str:
    import hostile_files

    return hostile_files.MARK


def _memory(key: str = "VmRSS") -> float:
    """Return the memory of this process in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 1024


def problem(hostile: Any, outcome: Outcome, is_first: bool = True) -> str:
    """Return what a command did wrong with a hostile file; empty if nothing. The first of its kind names what is wrong."""
    if outcome.crash:
        return f"crash: {outcome.crash}"
    if outcome.ran:
        return f"it ran: {outcome.ran}"
    if "Traceback" in outcome.error:
        return f"traceback in stderr: {outcome.error[-1500:]}"
    if outcome.seconds > 30 or outcome.megabytes > 1500:
        return f"{outcome.seconds:.0f} s and {outcome.megabytes:.0f} MiB"
    if hostile.refused and outcome.code == 0:
        return "accepted"
    if outcome.code == 0 and is_first and hostile.named not in outcome.output:
        return f"accepted in silence: {outcome.output[-300:]}"
    lines = [line for line in outcome.error.splitlines() if line.startswith("yolograft: ")]
    if outcome.code == 2 and len(lines) < 1:
        return f"no line of ours: {outcome.error[-500:]}"
    last = outcome.error[outcome.error.rfind("yolograft: "):]
    if outcome.code == 2 and len(last) > 2500:
        return f"the message has {len(last)} characters: {last[:300]}"
    return ""


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    if len(sys.argv) == 1:
        _work()
    else:  # python tests/hostile_worker.py KIND[:NAME] [all] [every=N] [verbose]: print what goes wrong
        import hostile_files

        chosen = {name: one for name, one in hostile_files.FILES.items()
                  if sys.argv[1] == "all" or name.startswith(sys.argv[1])}
        step = next((int(word[6:]) for word in sys.argv[2:] if word.startswith("every=")), 1)
        chosen = dict([*chosen.items()][::step])
        commands = [(name, words) for name, one in chosen.items()
                    for words in COMMANDS[one.kind][:None if "all" in sys.argv[2:] else 1]]
        wrong = 0
        for name, words, outcome in run(commands):
            what = problem(chosen[name], outcome, words == COMMANDS[chosen[name].kind][0])
            wrong += bool(what)
            last = outcome.error[outcome.error.rfind("yolograft: "):].strip() if outcome.error else ""
            if what or "verbose" in sys.argv[2:]:
                print(f"{name} | {words[0]} {words[1] if words[0] in ('data', 'study', 'train') else ''} | code "
                      f"{outcome.code} {outcome.seconds:.1f} s {outcome.megabytes:.0f} MiB | {what or last}", flush=True)
        print(f"{len(commands)} commands, {wrong} wrong")
