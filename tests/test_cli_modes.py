"""Each mode of `yolograft` saves the files, and returns the exit code, of the same mode of `yolo`: one process for each.

All paths have blanks and Chinese characters.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import yolograft
from yolograft import YOLO

# Each command, without the program's name. {root} is the folder of the test, and each program has its own copy of the model.
COMMANDS = {
    "train": "train model={model} data={data} epochs=1 imgsz=32 batch=4 workers=0 project={out} name=r1",
    "train again": "task=detect mode=train model={model} data={data} epochs=1 imgsz=32 batch=4 workers=0 plots=False "
                   "project={out} name=r1",
    "val": "val model={model} data={data} imgsz=32 workers=0 project={out}",
    "val without plots": "detect val model={model} data={data} imgsz=32 workers=0 plots=False save_json project={out}",
    "predict": "predict model={model} source={images} imgsz=32 project={out}",
    "predict texts": "predict model={model} source={images} imgsz=32 save_txt=True save_conf save=False project={out}",
    "predict here": "predict model={model} source={images} imgsz=32",
    "export": "export model={model} imgsz=32 format=torchscript",
    "half": "predict model={model} source={images} imgsz=32 half=False project={out}",
    "no model": "val model={out}/none.pt data={data}",
    "no data": "train model={model} data={out}/none.yaml project={out}/failed",
    "no argument": "val model={model} data={data} imgsize=32 no_such=1",
    "no number": "val model={model} data={data} imgsz=x",
    "no format": "export model={model} format=none_such",
    "no image": "predict model={model} source={out}/none.png project={out}/failed",
    "no optimizer": "train model={model} data={data} epochs=1 imgsz=32 optimizer=Best project={out}/failed",
}
TRACK = "track model={model} source={images} imgsz=32 project={out}"
# Runs all commands in one process, as two programs: the imports take longer than the commands.
RUN = """
import json, os, sys, traceback
program, commands = sys.argv[1], json.loads(sys.argv[2])
from ultralytics.cfg import entrypoint
from yolograft.cli import main
codes = {}
for name, words in commands.items():
    sys.argv[:] = [program, *words]
    try:
        codes[name] = (entrypoint() or 0) if program == "yolo" else main(words)
    except SystemExit as stop:
        codes[name] = stop.code or 0
    except Exception:
        if program != "yolo":
            traceback.print_exc()
        codes[name] = 1
print("CODES" + json.dumps(codes))
"""


def run_all(program: str, root: Path, tiny_set: Path, model: Path) -> tuple[dict[str, int], set[str], str]:
    """Run all commands with a program; return the exit codes, the paths of the new files, and the output."""
    home = root / f"{program} 运行"
    home.mkdir()
    (home / "我的 模型.pt").write_bytes(model.read_bytes())
    places = {"model": "我的 模型.pt", "data": str(tiny_set), "images": str(tiny_set.parent / "images" / "val"),
              "out": str(home / "结果 1")}
    templates = COMMANDS
    if __import__("importlib.util").util.find_spec("lap"):
        templates = {**COMMANDS, "track": TRACK}
    commands = {name: [word.format(**places) for word in text.split()] for name, text in templates.items()}
    outside = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}  # Ultralytics reads these
    environment = {**outside, "YOLO_CONFIG_DIR": str(home / "config"), "YOLO_AUTOINSTALL": "false",
                   "PYTHONPATH": os.pathsep.join([str(Path(yolograft.__file__).parents[1]), *sys.path])}
    (home / "config").mkdir()
    done = subprocess.run([sys.executable, "-c", RUN, program, json.dumps(commands)], cwd=home, env=environment, text=True,
                          capture_output=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    codes: dict[str, int] = json.loads(done.stdout.rpartition("CODES")[2])
    files = {str(path.relative_to(home)) for path in home.rglob("*")
             if path.is_file() and not {"config", "failed"} & set(path.relative_to(home).parts)}
    return codes, files, done.stdout + done.stderr


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, int], set[str], str]]:
    import conftest

    root = tmp_path_factory.mktemp("命令 行")
    tiny_set = conftest.write_tiny_set(root / "数据 集")
    YOLO("yolo11n.yaml").save(root / "model.pt")
    return {program: run_all(program, root, tiny_set, root / "model.pt") for program in ("yolo", "yolograft")}


def test_every_mode_has_the_exit_code_of_yolo(runs: dict[str, Any]) -> None:
    stock, ours = runs["yolo"][0], runs["yolograft"][0]
    assert {name: code == 0 for name, code in ours.items()} == {name: code == 0 for name, code in stock.items()}
    failed = [name for name, code in ours.items() if code]
    assert failed == [name for name in COMMANDS if name.startswith("no ")]
    assert all(ours[name] == 2 for name in failed)
    assert "Traceback" not in runs["yolograft"][2]


def test_every_mode_saves_the_files_of_yolo(runs: dict[str, Any]) -> None:
    stock, ours = runs["yolo"][1], runs["yolograft"][1]
    recorded = {path for path in ours if path.endswith("graft.yaml")}  # which graft a training had
    assert ours - recorded == stock
    folders = {Path(path).parts[0] for path in ours}
    assert folders == {"结果 1", "runs", "我的 模型.pt", "我的 模型.torchscript"}
    assert len(stock) > 25


def test_where_results_go_is_said_only_outside_the_current_folder(runs: dict[str, Any]) -> None:
    assert "setting runs_dir" not in runs["yolograft"][2]
