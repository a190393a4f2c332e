"""Measure what SE costs beside the bare host, as a graft and as hand-edited YAML rows.

    python benchmarks/graft_cost.py [runtime=torch,onnxruntime,openvino] [batch=1] [imgsz=640] [repeats=40] [train=16@224]
                                    [threads=N]

The hand-edited files have `torchvision.ops.SqueezeExcitation` rows at the same places. `yolograft yaml` writes the
rows, and stock Ultralytics builds them. All five networks take turns in random order. Each ratio to the bare host is
formed within a turn, and its 95% interval is a bootstrap over turns. `train=BATCH@SIZE` times a training step (forward,
loss, backward) in the same way, and `train=0` leaves it out. The default is to use all cores. With `threads=1` the
benchmark compares CPU seconds, which other programs disturb far less than wall seconds.

The lower bound is the least that any form of SE can cost in PyTorch on this machine, as a ratio to the same bare host:
each map is read once for its mean, then read and written once to be scaled, into memory that is already allocated.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import ultralytics
import yaml
from torchvision.ops import SqueezeExcitation
from ultralytics.cfg import get_cfg

import yolograft
from yolograft.analysis import profile, runtimes
from yolograft.analysis.timing import median_interval, time_in_turns
from yolograft.blocks.se import SE
from yolograft.fast.cpu.memory import keep_freed_memory
from yolograft.host import build, models
from yolograft.modelyaml import writer

MODEL, GRAFTS = "yolo11n.yaml", {"se@8": 1, "se@C3k2": 8}
DEFAULTS = {"runtime": "torch,onnxruntime,openvino", "batch": "1", "imgsz": "640", "repeats": "40", "train": "16@224",
            "threads": str(os.cpu_count() or 1)}


def checkpoints(folder: Path) -> dict[str, Path]:
    """Write each network into a checkpoint, and return the files by arm."""
    found = {"none": folder / "none.pt"}
    yolograft.YOLO(MODEL).save(found["none"])
    for graft in GRAFTS:
        name = graft.replace("@", "-")
        found[graft] = folder / f"{name}.pt"
        grafted = yolograft.YOLO(MODEL, graft=graft)
        grafted.save(found[graft])
        edited = folder / f"yolo11n-{name}.yaml"
        widths = ((m.fc1.in_channels, m.fc1.out_channels) for m in grafted.model.modules() if isinstance(m, SE))
        written = yaml.safe_load(writer.dump(build.load(MODEL), graft))
        for row in (*written["backbone"], *written["head"]):
            if row[2] == "SE":  # stock Ultralytics has no SE, but it can build torchvision's from two widths
                row[2], row[3] = "torchvision.ops.SqueezeExcitation", list(next(widths))
        edited.write_text(yaml.safe_dump(written))
        found[f"{graft} as YAML rows"] = folder / f"{name}-rows.pt"
        stock = ultralytics.YOLO(edited)
        assert sum(isinstance(one, SqueezeExcitation) for one in stock.model.modules()) == GRAFTS[graft]
        stock.save(found[f"{graft} as YAML rows"])
    return found


def lower_bound(network: torch.nn.Module, images: torch.Tensor) -> Callable[[], None]:
    """Return a function that only reads and writes the inputs of the SE blocks."""
    maps = []
    for module in network.modules():
        if isinstance(module, SE):
            module.register_forward_pre_hook(lambda _, args: maps.append(args[0].clone()))
    with torch.no_grad():
        network(images)
    buffers = [(x, torch.empty_like(x), torch.ones(*x.shape[:2], 1, 1), torch.empty(x.shape[:2])) for x in maps]

    def run() -> None:
        for x, y, gate, mean in buffers:
            torch.mean(x, (2, 3), out=mean)
            torch.mul(x, gate, out=y)

    return run


def step(file: Path, batch: int, imgsz: int) -> Callable[[], None]:
    """Return a function that runs one training step of a checkpoint on noise images with one box each."""
    model: Any = yolograft.YOLO(file).model.float().train()
    for parameter in model.parameters():
        parameter.requires_grad_()
    model.args = get_cfg()
    inputs = {"img": torch.rand(batch, 3, imgsz, imgsz), "batch_idx": torch.arange(batch).float(),
              "cls": torch.zeros(batch, 1), "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4]]).repeat(batch, 1)}

    def run() -> None:
        loss, _ = model(inputs)
        loss.sum().backward()
        model.zero_grad()

    return run


def table(title: str, arms: list[str], runs: list[Callable[[], object]], repeats: int, threads: int) -> dict[str, Any]:
    """Run the arms in turns, print their rows, and return them."""
    torch.set_num_threads(threads)  # an export leaves fewer
    turns = time_in_turns(runs, repeats, time.process_time if threads == 1 else time.perf_counter)
    found = {}
    for index, arm in enumerate(arms):
        ratios = [turn[index] / turn[0] for turn in turns]
        low, high = median_interval(ratios)
        found[arm] = {"ms": 1000 * statistics.median(turn[index] for turn in turns), "ratio": statistics.median(ratios),
                      "low": low, "high": high}
        print(f"| {title if not index else ''} | {arm} | {found[arm]['ms']:.2f} | {found[arm]['ratio']:.3f} "
              f"| {low:.3f} to {high:.3f} |", flush=True)
    return found


def main(words: list[str]) -> None:
    """Measure, and print a table and one line of JSON."""
    settings = dict(word.partition("=")[::2] for word in words)
    if set(settings) - set(DEFAULTS):
        sys.exit(__doc__)
    settings = {**DEFAULTS, **settings}
    batch, imgsz, repeats, threads = (int(settings[key]) for key in ("batch", "imgsz", "repeats", "threads"))
    report: dict[str, Any] = {}
    print("| | arm | ms | x bare | 95% interval |\n|---|---|---|---|---|")
    # keep_freed_memory: otherwise it is chance which arm pays for new pages, a tenth of its time
    with keep_freed_memory(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = checkpoints(folder)
        arms = list(files)
        for runtime in filter(None, settings["runtime"].split(",")):
            runtimes.check(runtime)
            title = f"{runtimes.describe(runtime)}, batch {batch}"
            with torch.inference_mode():
                if runtime == "torch":
                    images = torch.rand(batch, 3, imgsz, imgsz)
                    networks = [profile.fused_copy(yolograft.YOLO(file).model) for file in files.values()]
                    runs: list[Any] = [partial(network, images) for network in networks]
                    bounds = [lower_bound(models.graft_onto(yolograft.YOLO(MODEL).model.eval(), graft), images)
                              for graft in GRAFTS]
                    report[title] = table(title, [*arms, *(f"lower bound for {graft}, alone" for graft in GRAFTS)],
                                          [*runs, *bounds], repeats, threads)
                    continue
                noise = torch.rand(batch, 3, imgsz, imgsz).numpy()
                sessions = [runtimes.export_and_load(str(file), "none" if "rows" in arm or arm == "none" else arm, runtime,
                                            folder / f"{runtime}{index}", imgsz=imgsz, batch=batch,
                                              threads=threads)
                            for index, (arm, file) in enumerate(files.items())]
                report[title] = table(title, arms, [partial(session, noise) for session in sessions], repeats, threads)
        if settings["train"] != "0":
            train_batch, _, size = settings["train"].partition("@")
            title = f"training step, batch {train_batch} at {size}"
            report[title] = table(title, arms, [step(file, int(train_batch), int(size)) for file in files.values()], repeats,
                                  threads)
    print(json.dumps({"machine": f"{platform.machine()}, {os.cpu_count()} cores", "threads": threads,
                      "torch": torch.__version__, "ultralytics": ultralytics.__version__, "load": os.getloadavg()[0],
                      "imgsz": imgsz, "repeats": repeats, "measured": report}))


if __name__ == "__main__":
    main(sys.argv[1:])
