"""Make the golden data of one released version again: what its code writes and prints, for `tests/test_golden.py`.

Run it from a checkout of the commit whose data it makes (ae514ef for 0.1.0), with Ultralytics 8.3.0, the oldest that is
supported, so that every later version must open the files:

    YOLO_OFFLINE=True python tests/golden/make.py     # writes into tests/golden/VERSION, of yolograft.__version__

`tiny.yaml` there is written by hand; all else in the folder is replaced. Everything is seeded. The work is done in
TMP/yolograft-golden, because checkpoints and studies store paths. The stored files name no machine: the host name and the
description of the hardware are replaced, which decide no trial's key. For another release, copy `tiny.yaml` into the
folder of that version and run the script there. Files of earlier versions never change, except the texts in `printed/` and
`lint/`: when a message is reworded on purpose, its text there changes in the same commit.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import sqlite3
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from pickled import names_in

from yolograft import YOLO, Graft, __version__, attach, blocks
from yolograft.cli import main
from yolograft.host import config, rows, trial
from yolograft.study import Study, run
from yolograft.study.trial import Trial

HOME = Path(__file__).resolve().parent / __version__
WORK = Path(tempfile.gettempdir()).resolve() / "yolograft-golden"
# Blocks of five kinds, at every form of site, which use every hook; init=paper, so that each one changes the output.
GRAFT = ("se(init=paper, ratio=4)@3 + eca(init=paper)@4/pre + cbam(init=paper, ratio=4)@p3 + se(init=paper)@Bottleneck/skip"
         " + gct(init=paper)@5.cv2")
FAST = {"imgsz": 64, "batch": 4, "workers": 0, "plots": False, "verbose": False, "device": "cpu", "optimizer": "SGD",
        "lr0": 0.01, "deterministic": True}
GRAFTS = ["none", "se@8", "SE(ratio=8)@p3,p4,p5 + eca@C3k2[-1]", "cbam(kernel_size=3)@Bottleneck.cv2", "gct@16>17,20",
          "simam@backbone.-3/pre", "se@model.2.m.0/skip"]
COMMANDS = {
    "sites": ["sites", "model=tiny.yaml", "imgsz=64"],
    "show": ["show", "model=tiny.yaml", "imgsz=64", f"graft={GRAFT}"],
    "show-checkpoint": ["show", "model=grafted.pt", "imgsz=64"],
    "blocks": ["blocks"],
    "yaml": ["yaml", "model=tiny.yaml", "graft=se(ratio=4)@3 + eca@p3 + cbam@C3k2[-1]"],
    "yaml-yolo11s": ["yaml", "model=yolo11s.yaml", "graft=se(ratio=8)@p3 + eca@C3k2[-1]"],
    "lint": ["lint", *(f"lint/{name}.yaml" for name in ("yolo11-right", "yolo11-shifted", "yolo11-twice", "wrong"))],
}


def tiny_set(root: Path) -> str:
    """Write a detection set of 8 + 4 noise pictures with one bright box each."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        for number in range(count):
            picture = generator.integers(0, 90, (64, 64, 3), dtype=np.uint8)
            x, y = generator.integers(4, 36, 2)
            picture[y : y + 24, x : x + 24] = 200 if number % 2 else 140
            cv2.imwrite(str(root / "images" / split / f"{number}.png"), picture)
            label = f"{number % 2} {(x + 12) / 64:.5f} {(y + 12) / 64:.5f} 0.375 0.375\n"
            (root / "labels" / split / f"{number}.txt").write_text(label)
    (root / "tiny.yaml").write_text(f"path: {root}\ntrain: images/train\nval: images/val\nnames: [dim, bright]\n")
    return str(root / "tiny.yaml")


def outputs(file: Path, picture: np.ndarray) -> dict[str, np.ndarray]:
    """Return a checkpoint's output for a (64, 64, 3) picture, before and after folding its batch norms, and its boxes."""
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        plain = YOLO(file).model.float().eval()(x)[0]
        fused = YOLO(file).model.float().eval().fuse(verbose=False)(x)[0]
    boxes = YOLO(file).predict(picture, imgsz=64, conf=1e-6, max_det=5, device="cpu", verbose=False)[0].boxes.data
    return {"plain": plain.numpy(), "fused": fused.numpy(), "boxes": boxes.numpy()}


def pack(folder: Path, target: Path) -> None:
    """Write a study's folder into a zip file, without weights, logs and locks, and without what describes this machine."""
    plan = yaml.safe_load((folder / "plan.yaml").read_text())
    text = (folder / "plan.yaml").read_text()
    head, _, _ = text.partition("\nhardware:")
    hardware = yaml.safe_dump({"hardware": dict.fromkeys(plan["hardware"], "not kept")})
    (folder / "plan.yaml").write_text(f"{head}\n{hardware}")
    with contextlib.closing(sqlite3.connect(folder / "study.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("PRAGMA journal_mode=DELETE")
    kept = [path for path in sorted(folder.rglob("*")) if path.is_file() and "run" not in path.relative_to(folder).parts
            and path.suffix not in (".pt", ".part", ".lock") and path.name not in ("lock", "log.txt")]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for path in kept:  # with a fixed date
            packed.writestr(zipfile.ZipInfo(str(path.relative_to(folder))), path.read_bytes(), zipfile.ZIP_DEFLATED)


def told(study: Study) -> dict[str, Any]:
    """Return what a study says."""
    return {"scores": {arm: {str(seed): value for seed, value in by.items()} for arm, by in study.scores().items()},
            "verdicts": [[one.arm, str(one.word), one.why()] for one in study.verdicts()],
            "keys": [one.key for one in study.plan.trials()], "host": study.plan.host}


def printed(words: list[str]) -> str:
    """Return what a command prints, run in the data's folder."""
    with contextlib.chdir(HOME), contextlib.redirect_stdout(io.StringIO()) as text:
        main(words)
    return text.getvalue()


class Stop(KeyboardInterrupt):
    """What a user's Ctrl-C raises, and nobody else."""


def stop_after_three(study: Study, *_: object) -> None:
    """Stop a study while its fourth trial runs."""
    if sum(map(len, study.results.values())) == 3:
        raise Stop


def make() -> None:
    """Make the data."""
    import ultralytics

    socket.gethostname = lambda: "machine"  # which a study stores
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir()
    for path in HOME.iterdir():
        if path.name != "tiny.yaml":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copy(HOME / "tiny.yaml", WORK)
    os.chdir(WORK)
    data = tiny_set(WORK / "data")
    picture = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    names: set[str] = set()

    # A checkpoint of `yolograft train`, and the same as safetensors.
    torch.manual_seed(0)
    YOLO("tiny.yaml", graft=GRAFT).train(data=data, epochs=2, project=str(WORK), name="run", speed="stock", seed=0, **FAST)
    shutil.copy(WORK / "run/weights/best.pt", HOME / "grafted.pt")
    columns = [name.strip() for name in (WORK / "run/results.csv").read_text().splitlines()[0].split(",")]
    names |= names_in(WORK / "run/weights/last.pt")
    shutil.copy(HOME / "grafted.pt", WORK)
    shutil.copy(YOLO("grafted.pt").export(format="safetensors"), HOME / "grafted.safetensors")

    # A checkpoint of a study's trial with the control `params`, and what its interrupted training would leave.
    settings = {**FAST, "model": "tiny.yaml", "data": data, "epochs": 2}
    folder = WORK / "plain"
    folder.mkdir()

    def report(*_: object) -> None:
        if (folder / "state.pt").exists():
            names.update(names_in(folder / "state.pt"))

    trial.train(Trial(arm="params", graft=str(attach.spelled(Graft.parse("se(ratio=4)@3 + cbam(ratio=4)@p3"))),
                      control="params", settings=settings, host="yolograft.host.trial"), folder, report)
    shutil.copy(folder / "best.pt", HOME / "plain.pt")
    files = [HOME / "grafted.pt", HOME / "plain.pt"]
    names |= {name for file in files for name in names_in(file)}
    arrays = {f"{file.stem}_{key}": value for file in files for key, value in outputs(file, picture).items()}
    np.savez_compressed(HOME / "outputs.npz", picture=picture, **arrays)

    # Studies: finished, stopped in its last trial, and one that trains.
    dummy = {"data": "somewhere", "model": "yolo11n.pt", "epochs": 2, "host": "yolograft.study.dummy"}
    done = run({**dummy, "arms": "none; se@8 effect=0.05; cbam@8", "seeds": 6}, WORK / "study-dummy", workers=2)
    with contextlib.suppress(Stop):
        run({**dummy, "arms": "none; se@8", "seeds": 2, "pause": 1.5}, WORK / "study-stopped", view=stop_after_three)
    real = run({**FAST, "model": "tiny.yaml", "data": data, "epochs": 1, "arms": "none; se(ratio=4)@3", "seeds": 2},
               WORK / "study-trained")
    stopped = Study.load(WORK / "study-stopped")
    assert sum(map(len, stopped.results.values())) == 3, "the study was not stopped in its last trial"
    for study in (done, stopped, real):
        pack(study.folder, HOME / f"{study.folder.name}.zip")

    # What the commands print of the model, and of YAML files as a hand edit leaves them.
    (HOME / "lint").mkdir()
    stock = config.load("yolo11.yaml")
    stock = {key: stock[key] for key in ("nc", "scales", "backbone", "head")}
    right = yaml.safe_load(rows.dump(stock, "se@8"))
    shifted = {**stock, "backbone": [*stock["backbone"][:9], [-1, 1, "SE", [1024]], *stock["backbone"][9:]]}
    wrong = yaml.safe_load((HOME / "tiny.yaml").read_text())
    wrong["head"][1] = [[-1, 8], 1, "Concat", [1]]
    wrong["head"][2] = [-1, 1, "C3k3", [16, False]]
    twice = yaml.safe_load(rows.dump(stock, "se@8 + se@8"))
    for name, edited in {"yolo11-right": right, "yolo11-shifted": shifted, "yolo11-twice": twice, "wrong": wrong}.items():
        (HOME / "lint" / f"{name}.yaml").write_text(yaml.safe_dump(edited, sort_keys=False, default_flow_style=None))
    record = {
        "ultralytics": ultralytics.__version__, "torch": torch.__version__, "graft": str(attach.spelled(Graft.parse(GRAFT))),
        "names": sorted(names), "columns": columns,
        "spelled": {text: [str(Graft.parse(text)), str(attach.spelled(Graft.parse(text)))]
                    for text in [*GRAFTS, *(f"{name}@8" for name in blocks.names())]},
        "commands": COMMANDS, "studies": {one.folder.name: told(one) for one in (done, stopped, real)},
    }
    (HOME / "record.json").write_text(json.dumps(record, indent=1) + "\n")
    (HOME / "printed").mkdir()
    for name, words in COMMANDS.items():
        (HOME / "printed" / f"{name}.txt").write_text(printed(words))


if __name__ == "__main__":
    make()
