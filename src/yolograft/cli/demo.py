"""The command `demo`: trains a YOLO without and with a graft, briefly, on the procedural steel data set."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yolograft import shell
from yolograft.cli.arguments import parse_positive_int, parse_seed
from yolograft.cli.command import Argument, Command
from yolograft.errors import HostError
from yolograft.language import tr
from yolograft.spec import Graft

__all__ = ["Result", "commands", "compare", "run"]


def commands() -> list[Command]:
    """Return the description of the command."""
    return [Command(
        name="demo", summary=tr("a first comparison on a small data set that it draws, in minutes"), usage="[key=value ...]",
        arguments=[
            Argument("graft", "se@8", tr("the blocks of the second training")),
            Argument("model", "", tr("a checkpoint or a model YAML; by default yolo11n.pt if that file exists, else "
                                     "yolo11n.yaml")),
            Argument("epochs", "", tr("epochs of each training; by default 10 with pretrained weights and 30 from scratch")),
            Argument("imgsz", "128", tr("image size in pixels")),
            Argument("images", "300", tr("number of images")),
            Argument("seed", "0", tr("random seed of the images and of both trainings")),
            Argument("project", "runs/demo", tr("the folder for the data set and the results"))],
        example="yolograft demo")]



@dataclass(frozen=True)
class Result:
    """The result of one training.

    Attributes:
        graft: its text; "none" for the bare host.
        map50: mAP at an IoU of 0.5, on the validation images.
        map50_95: mAP averaged over IoU 0.5 to 0.95.
        parameters: of the model.
        seconds: of the training, with its validation.
        folder: the run's folder.
    """

    graft: str
    map50: float
    map50_95: float
    parameters: int
    seconds: float
    folder: Path


def run(words: Sequence[str]) -> int:
    """Run the demo with the command line's arguments."""
    arguments = commands()[0].read(words)
    numbers = {key: parse_positive_int(key, arguments[key]) for key in ("epochs", "imgsz", "images") if key in arguments}
    compare(model=arguments.get("model", ""), graft=arguments["graft"], project=arguments["project"],
            seed=parse_seed(arguments["seed"]), **numbers)
    return 0


def compare(*, graft: str, imgsz: int, images: int, seed: int, project: str, model: str = "",
            epochs: int = 0) -> list[Result]:
    """Write the steel data set, train the bare host and the grafted one, and print both results with their folders.

    Args:
        graft: the graft of the second training.
        imgsz: image size of the trainings in pixels.
        images: number of images in the data set.
        seed: of the data set and of both trainings.
        project: the folder for the data set and the runs.
        model: weights or a model YAML; by default `yolo11n.pt` if that file exists, and `yolo11n.yaml` otherwise.
        epochs: of each training; by default 10 with pretrained weights and 30 from scratch.

    Raises:
        GraftError: the model, the graft or a number is invalid.
    """
    from yolograft.data import steel
    from yolograft.host import YOLO

    value = Graft.parse(graft)
    if not value:
        raise HostError(tr("graft=none: the demo compares a graft with the bare host, so it needs one, as in graft=se@8."))
    name = model or ("yolo11n.pt" if Path("yolo11n.pt").is_file() else "yolo11n.yaml")
    pretrained = name.endswith((".pt", ".safetensors"))
    epochs = epochs or (10 if pretrained else 30)
    YOLO(name, graft=value)  # raises if the graft does not fit, before a file is written
    folder = Path(project).resolve()
    data_folder = folder / f"steel-{images}-seed{seed}"
    data = data_folder / "steel.yaml"
    if not data.is_file():
        steel.write(data_folder, images=images, seed=seed)
    print(tr("{images} images of steel defects: {folder}", images=images, folder=data_folder))
    weights = tr("pretrained") if pretrained else tr("from scratch")
    print(tr("{model}, {epochs} epochs at {imgsz} pixels, {start}, seed {seed}: first bare, then with {graft}\n", model=name,
             epochs=epochs, imgsz=imgsz, start=weights, seed=seed, graft=value))
    results = []
    for text, run_name in (("none", "bare"), (str(value), "grafted")):
        start, yolo = time.perf_counter(), YOLO(name)
        yolo.train(data=str(data), graft=text, epochs=epochs, imgsz=imgsz, batch=16, seed=seed, workers=0,
                   project=str(folder), name=run_name, verbose=False)
        trainer = yolo.trainer
        metrics = trainer.metrics
        results.append(Result(
            graft=text, map50=float(metrics["metrics/mAP50(B)"]), map50_95=float(metrics["metrics/mAP50-95(B)"]),
            parameters=sum(p.numel() for p in trainer.model.parameters()), seconds=time.perf_counter() - start,
            folder=Path(trainer.save_dir)))
    print(f"\n{_table(results)}\n")
    print(tr("One run of each does not show whether the block helps: another seed changes these numbers more than "
             "most blocks\ndo. To find out, compare several seeds:"))
    study = shell.command("study", f"data={data}", f"model={name}", f"arms=none; {value}", "seeds=6", f"epochs={epochs}",
                          f"imgsz={imgsz}", "batch=16")
    print(f"  {study}")
    return results


def _table(results: list[Result]) -> str:
    width = max(7, *(len(result.graft) for result in results))
    lines = [f"{'graft':<{width}}  {'mAP50':>7}  {'mAP50-95':>8}  {'parameters':>10}  {'seconds':>7}  {tr('results')}"]
    lines += [f"{r.graft:<{width}}  {r.map50:7.3f}  {r.map50_95:8.3f}  {r.parameters:10,}  {r.seconds:7.0f}  {r.folder}"
              for r in results]
    return "\n".join(lines)
