"""The help pages of the modes of Ultralytics (train, val, predict, track, export, tune). `host.commands` runs the modes."""

from __future__ import annotations

from collections.abc import Iterable

from yolograft.cli import ultralytics_arguments
from yolograft.cli.command import Argument, Command, Stock
from yolograft.language import tr

__all__ = ["commands"]

_BEST = "runs/detect/train/weights/best.pt"
_EXAMPLES = {
    "train": "yolograft train model=yolo11n.pt graft=se@8 data=NEU-DET.yaml epochs=100 imgsz=640",
    "val": f"yolograft val model={_BEST} data=NEU-DET.yaml",
    "predict": f"yolograft predict model={_BEST} source=images",
    "track": f"yolograft track model={_BEST} source=video.mp4",
    "export": f"yolograft export model={_BEST} format=onnx",
    "benchmark": f"yolograft benchmark model={_BEST} data=NEU-DET.yaml imgsz=640",
    "tune": "yolograft tune model=yolo11n.pt graft=se@8 data=NEU-DET.yaml epochs=10 iterations=20",
}


def commands(modes: Iterable[str]) -> list[Command]:
    """Return the description of each mode."""
    summaries = {
        "train": tr("train a model, with blocks if you name some"),
        "val": tr("validate a checkpoint (precision, recall, mAP)"),
        "predict": tr("detect objects in images and videos, and save the results"),
        "track": tr("track objects in a video, and save the results"),
        "export": tr("write a checkpoint in another format, such as ONNX or safetensors"),
        "benchmark": tr("export a checkpoint in every format, and measure speed and accuracy of each"),
        "tune": tr("search for good hyperparameters in many short trainings"),
    }
    return [_describe(mode, summaries[mode]) for mode in modes]


def _describe(mode: str, summary: str) -> Command:
    own = [
        Argument("graft", "", tr('the blocks to add, as in graft=se@8 or graft="se(ratio=8)@p3,p4,p5 + eca@C3k2"')),
        Argument("swap", "", tr('modules that take the place of the model\'s own, with the same shapes, as in '
                                'swap=dysample@Upsample or swap="c3k2_faster@backbone.C3k2 + spdconv@3"')),
        Argument("blocks", "", tr("a Python file that defines your own blocks")),
        Argument("modules", "", tr("a Python file whose classes rows of the model YAML name")),
    ]
    own.append(Argument("replace", "", tr("True lets graft= and swap= remove blocks and modules of the checkpoint that were "
                                          "trained")))
    if mode in ("train", "val", "export", "tune", "benchmark"):
        own.append(Argument("allow_download", "False",
                            tr("True lets the `download:` key of your data YAML run or download")))
    if mode in ("train", "tune"):
        own.append(Argument("speed", "auto", tr("how to train. On a CPU: auto times the ways and takes the fastest; "
                                                "stock is Ultralytics unchanged; float32 and bfloat16 choose the "
                                                "number type. On a GPU: resident keeps the images in GPU memory; "
                                                "graphed also uses CUDA graphs")))
    if mode == "tune":
        own += [Argument("iterations", "10", tr("number of trainings")),
                Argument("use_ray", "", tr("True runs the search with Ray Tune"))]
    stock = Stock(tr("Arguments of Ultralytics, with their defaults (`yolo` documents them; each argument of `yolo` "
                     "is allowed):"),
                  ultralytics_arguments.for_mode(mode))
    site = tr("A site is the place of a block: a row number (se@8), a head "
               "input (se@p3), a class (se@C3k2) or a module inside a row "
               "(se@Bottleneck.cv2). List the sites of a model: yolograft "
               "sites model=yolo11n.yaml")
    return Command(name=mode, summary=summary, usage="model=MODEL [key=value ...]", arguments=own, more=[stock],
                   example=_EXAMPLES[mode], notes=[*_box_loss(mode), site])


def _box_loss(mode: str) -> list[str]:
    """Return the note about `iou`, which is an argument of Ultralytics too, and is in its list."""
    return [tr("A name in iou= chooses the box loss: ciou (stock), giou, diou, eiou, siou, wiou, mpdiou, nwd, "
               "inner-ciou, ..., as in iou=wiou or iou=\"nwd(constant=12.8)\". A number is the IoU threshold of NMS, as "
               "in Ultralytics.")] if mode in ("train", "tune") else []
