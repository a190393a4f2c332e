"""The demo: a bare YOLO and the same with a block on it, trained briefly from one seed on the embedded steel set."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from yolograft.data import steel
from yolograft.errors import HostError
from yolograft.spec import Graft

__all__ = ["Outcome", "run"]


@dataclass(frozen=True)
class Outcome:
    """What one training of the demo came to."""

    graft: str
    map50: float
    map50_95: float
    parameters: int
    seconds: float
    folder: Path


def run(*, model: str = "", graft: str = "se@8", epochs: int = 0, imgsz: int = 128, images: int = 300, seed: int = 0,
        project: str = "runs/demo") -> list[Outcome]:
    """Write the steel set, train the bare host and the grafted one, and print both results and where they lie.

    Args:
        model: what to train; by default `yolo11n.pt` where that file is, and else `yolo11n.yaml`, from scratch.
        graft: what to put on it the second time.
        epochs: of each training; by default 10 with pretrained weights and 30 from scratch.
        imgsz: side that pictures are scaled to, in pixels.
        images: how many pictures the set has.
        seed: of the set and of both trainings.
        project: the folder for the set and the runs.

    Raises:
        GraftError: the model, the graft or a number makes no sense.
    """
    from yolograft.host import YOLO

    value = Graft.parse(graft)
    if not value:
        raise HostError("graft=none: the demo compares a graft with the bare host, so name one, as in graft=se@8.")
    name = model or ("yolo11n.pt" if Path("yolo11n.pt").is_file() else "yolo11n.yaml")
    pretrained = name.endswith((".pt", ".safetensors"))
    epochs = epochs or (10 if pretrained else 30)
    YOLO(name, graft=value)  # a misfit is told before anything is written
    folder = Path(project).resolve()
    home = folder / f"steel-{images}-seed{seed}"
    data = home / "steel.yaml" if (home / "steel.yaml").is_file() else steel.write(home, images=images, seed=seed)
    print(f"{images} pictures of steel defects: {data.parent}")
    print(f"{name}, {epochs} epochs at {imgsz} pixels, {'pretrained' if pretrained else 'from scratch'}, seed {seed}: "
          f"first bare, then with {value}\n")
    outcomes = []
    for text, run_name in (("none", "bare"), (str(value), "grafted")):
        start, network = time.perf_counter(), YOLO(name)
        network.train(data=str(data), graft=text, epochs=epochs, imgsz=imgsz, batch=16, seed=seed, workers=0,
                      project=str(folder), name=run_name, verbose=False)
        trainer = network.trainer
        scores = trainer.metrics
        outcomes.append(Outcome(
            graft=text, map50=float(scores["metrics/mAP50(B)"]), map50_95=float(scores["metrics/mAP50-95(B)"]),
            parameters=sum(p.numel() for p in trainer.model.parameters()), seconds=time.perf_counter() - start,
            folder=Path(trainer.save_dir)))
    print(f"\n{table(outcomes)}\n")
    print("One run of each says how to use yolograft, not whether the block helps: the next seed moves these numbers by\n"
          "more than most blocks do. To find out: yolograft study --help")
    return outcomes


def table(outcomes: list[Outcome]) -> str:
    """Return the outcomes as lines of text."""
    width = max(7, *(len(outcome.graft) for outcome in outcomes))
    lines = [f"{'graft':<{width}}  {'mAP50':>7}  {'mAP50-95':>8}  {'parameters':>10}  {'seconds':>7}  results"]
    lines += [f"{o.graft:<{width}}  {o.map50:7.3f}  {o.map50_95:8.3f}  {o.parameters:10,}  {o.seconds:7.0f}  {o.folder}"
              for o in outcomes]
    return "\n".join(lines)
