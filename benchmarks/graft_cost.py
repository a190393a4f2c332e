"""What SE costs beside the bare host, as a graft and as what users write instead: rows of a hand-edited YAML.

    python benchmarks/graft_cost.py [runtime=torch,onnxruntime,openvino] [batch=1] [imgsz=640] [repeats=40] [train=16@224]
                                    [threads=N]

The hand-edited files hold `torchvision.ops.SqueezeExcitation` rows at the same places, written as `yolograft yaml` writes
them and built by stock Ultralytics. All five networks take turns in random order; each ratio to the bare host is formed
within a turn, and its 95% interval is a bootstrap over turns. `train=BATCH@SIZE` times a training step (forward, loss,
backward) the same way; `train=0` leaves it out. All of the machine's cores are used unless `threads` says otherwise; with
`threads=1` CPU seconds are compared, which a busy machine disturbs far less than wall seconds.

`floor` is what no form of SE can go below on this machine in PyTorch: each map read once for its averages, and read and
written once to be scaled, into memory that is there already, as a ratio to the same bare host.
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
from yolograft.analysis.bench import _interval, _turns
from yolograft.blocks.se import SE
from yolograft.fast import select
from yolograft.host import build, models
from yolograft.modelyaml import writer

MODEL, GRAFTS = "yolo11n.yaml", {"se@8": 1, "se@C3k2": 8}
DEFAULTS = {"runtime": "torch,onnxruntime,openvino", "batch": "1", "imgsz": "640", "repeats": "40", "train": "16@224",
            "threads": str(os.cpu_count() or 1)}


def checkpoints(folder: Path) -> dict[str, Path]:
    """Write every network into a checkpoint; returns them by the arm's name."""
    found = {"none": folder / "none.pt"}
    yolograft.YOLO(MODEL).save(found["none"])
    for graft in GRAFTS:
        name = graft.replace("@", "-")
        found[graft] = folder / f"{name}.pt"
        grafted = yolograft.YOLO(MODEL, graft=graft)
        grafted.save(found[graft])
        edited = folder / f"yolo11n-{name}.yaml"
        widths = ((one.fc1.in_channels, one.fc1.out_channels) for one in grafted.model.modules() if isinstance(one, SE))
        written = yaml.safe_load(writer.dump(build.load(MODEL), graft))
        for row in (*written["backbone"], *written["head"]):
            if row[2] == "SE":  # stock Ultralytics knows no SE, but builds torchvision's from its two widths
                row[2], row[3] = "torchvision.ops.SqueezeExcitation", list(next(widths))
        edited.write_text(yaml.safe_dump(written))
        found[f"{graft} as YAML rows"] = folder / f"{name}-rows.pt"
        stock = ultralytics.YOLO(edited)
        assert sum(isinstance(one, SqueezeExcitation) for one in stock.model.modules()) == GRAFTS[graft]
        stock.save(found[f"{graft} as YAML rows"])
    return found


def floor(network: torch.nn.Module, pictures: torch.Tensor) -> Callable[[], None]:
    """Return what reads and writes the blocks' maps and does nothing else."""
    passes = []
    for module in network.modules():
        if isinstance(module, SE):
            module.register_forward_pre_hook(lambda _, args: passes.append(args[0].clone()))
    with torch.no_grad():
        network(pictures)
    buffers = [(x, torch.empty_like(x), torch.ones(*x.shape[:2], 1, 1), torch.empty(x.shape[:2])) for x in passes]

    def run() -> None:
        for x, y, gate, mean in buffers:
            torch.mean(x, (2, 3), out=mean)
            torch.mul(x, gate, out=y)

    return run


def step(file: Path, batch: int, imgsz: int) -> Callable[[], None]:
    """Return a training step of a checkpoint's network on pictures of noise with one box each."""
    model: Any = yolograft.YOLO(file).model.float().train()
    for parameter in model.parameters():
        parameter.requires_grad_()
    model.args = get_cfg()
    given = {"img": torch.rand(batch, 3, imgsz, imgsz), "batch_idx": torch.arange(batch).float(),
             "cls": torch.zeros(batch, 1), "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4]]).repeat(batch, 1)}

    def run() -> None:
        loss, _ = model(given)
        loss.sum().backward()
        model.zero_grad()

    return run


def table(title: str, arms: list[str], runs: list[Callable[[], object]], repeats: int, threads: int) -> dict[str, Any]:
    """Run the arms in turns, print their rows, and return them."""
    torch.set_num_threads(threads)  # an export leaves fewer
    turns = _turns(runs, repeats, time.process_time if threads == 1 else time.perf_counter)
    found = {}
    for at, arm in enumerate(arms):
        ratios = [turn[at] / turn[0] for turn in turns]
        low, high = _interval(ratios)
        found[arm] = {"ms": 1000 * statistics.median(turn[at] for turn in turns), "ratio": statistics.median(ratios),
                      "low": low, "high": high}
        print(f"| {title if not at else ''} | {arm} | {found[arm]['ms']:.2f} | {found[arm]['ratio']:.3f} "
              f"| {low:.3f} to {high:.3f} |", flush=True)
    return found


def main(words: list[str]) -> None:
    """Measure, and print a table and one line of JSON."""
    given = dict(word.partition("=")[::2] for word in words)
    if set(given) - set(DEFAULTS):
        sys.exit(__doc__)
    given = {**DEFAULTS, **given}
    batch, imgsz, repeats, threads = (int(given[key]) for key in ("batch", "imgsz", "repeats", "threads"))
    report: dict[str, Any] = {}
    print("| | arm | ms | x bare | 95% interval |\n|---|---|---|---|---|")
    # keep_memory: otherwise it is chance which arm's maps come as new pages, a tenth of its time
    with select.keep_memory(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = checkpoints(folder)
        arms = list(files)
        for runtime in filter(None, given["runtime"].split(",")):
            runtimes.check(runtime)
            title = f"{runtimes.title(runtime)}, batch {batch}"
            with torch.inference_mode():
                if runtime == "torch":
                    pictures = torch.rand(batch, 3, imgsz, imgsz)
                    networks = [profile.deployed(yolograft.YOLO(file).model) for file in files.values()]
                    runs: list[Any] = [partial(one, pictures) for one in networks]
                    floors = [floor(models.graft_onto(yolograft.YOLO(MODEL).model.eval(), graft), pictures)
                              for graft in GRAFTS]
                    report[title] = table(title, [*arms, *(f"floor of {graft}, by itself" for graft in GRAFTS)],
                                          [*runs, *floors], repeats, threads)
                    continue
                noise = torch.rand(batch, 3, imgsz, imgsz).numpy()
                opened = [runtimes.deployed(str(file), "none" if "rows" in arm or arm == "none" else arm, runtime,
                                            folder / f"{runtime}{at}", imgsz=imgsz, batch=batch,
                                            threads=threads)
                          for at, (arm, file) in enumerate(files.items())]
                report[title] = table(title, arms, [partial(one, noise) for one in opened], repeats, threads)
        if given["train"] != "0":
            of, _, size = given["train"].partition("@")
            title = f"training step, batch {of} at {size}"
            report[title] = table(title, arms, [step(file, int(of), int(size)) for file in files.values()], repeats,
                                  threads)
    print(json.dumps({"machine": f"{platform.machine()}, {os.cpu_count()} cores", "threads": threads,
                      "torch": torch.__version__, "ultralytics": ultralytics.__version__, "load": os.getloadavg()[0],
                      "imgsz": imgsz, "repeats": repeats, "measured": report}))


if __name__ == "__main__":
    main(sys.argv[1:])
