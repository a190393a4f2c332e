"""Model YAML files of other YOLO repositories: what Ultralytics can read of them, and which models it does not have.

A file of the yolov5 repository differs from Ultralytics' in its head, `[nc, anchors]`. Here it becomes a file that
Ultralytics can build. Files of the yolov7 repository and others name modules that Ultralytics lacks; they are named once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from yolograft.errors import HostError
from yolograft.language import tr
from yolograft.modelyaml import catalog
from yolograft.modelyaml.table import short_text

__all__ = ["FAMILIES", "Family", "ForeignModelError", "find_family", "translate"]


class ForeignModelError(HostError):
    """The file is a model of another repository, which Ultralytics cannot build.

    Attributes:
        what: which model it is.
        why: what Ultralytics lacks.
        fix: what to do.
    """

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(" ".join(text for text in (what, why, fix) if text))
        self.what, self.why, self.fix = what, why, fix


@dataclass(frozen=True, kw_only=True)
class Family:
    """Models of another repository, which Ultralytics does not have.

    Attributes:
        name: its name.
        source: the repository; its model YAML files are in the folder after the colon.
        heads: modules of which one identifies the family.
        modules: modules of which two identify the family.
        instead: packaged files of Ultralytics that are closest.
    """

    name: str
    source: str
    heads: frozenset[str]
    modules: frozenset[str]
    instead: str


FAMILIES = (
    Family(name="YOLOv7", source="WongKinYiu/yolov7: cfg",
           heads=frozenset({"IDetect", "IAuxDetect", "IKeypoint", "IBin"}),
           modules=frozenset({"MP", "SP", "SPPCSPC", "GhostSPPCSPC", "ReOrg", "DownC", "Chuncat", "Shortcut", "Foldcut",
                              "RepVGGBlock", "BottleneckCSPA", "BottleneckCSPB", "BottleneckCSPC"}),
           instead="yolov8.yaml, yolo11.yaml"),
    Family(name="YOLOv9", source="WongKinYiu/yolov9: models/detect",
           heads=frozenset({"DualDetect", "DualDDetect", "TripleDetect", "TripleDDetect", "DualDSegment", "Panoptic",
                            "DSegment"}),
           modules=frozenset({"Silence", "DDetect"}), instead="yolov9c.yaml, yolov9e.yaml"),
    Family(name="YOLOv4 / YOLOR", source="WongKinYiu/PyTorch_YOLOv4 and WongKinYiu/yolor: models, cfg",
           heads=frozenset(),
           modules=frozenset({"BottleneckCSP2", "BottleneckCSPF", "SPPCSP", "VoVCSP", "DWT", "ReOrg", "DownC"}),
           instead="yolov5.yaml, yolov8.yaml"),
    Family(name="YOLOX / YOLOAir", source="iscyy/yoloair: configs",
           heads=frozenset({"DetectX", "DetectYoloX", "Decoupled_Detect", "ASFF_Detect"}),
           modules=frozenset(), instead="yolov5.yaml, yolov8.yaml"),
    Family(name="YOLOv13", source="iMoonLab/yolov13: ultralytics/cfg/models/v13",
           heads=frozenset(), modules=frozenset({"HyperACE", "FullPAD_Tunnel", "DownsampleConv", "DSC3k2", "DSConv"}),
           instead="yolo12.yaml, yolo11.yaml"),
    Family(name="Mamba-YOLO", source="HZAI-ZJNU/Mamba-YOLO: ultralytics/cfg/models/mamba-yolo",
           heads=frozenset(), modules=frozenset({"SimpleStem", "XSSBlock", "VSSBlock", "VisionClueMerge"}),
           instead="yolov8.yaml"),
    Family(name="Hyper-YOLO", source="iMoonLab/Hyper-YOLO: ultralytics/cfg/models/hyper-yolo",
           heads=frozenset(), modules=frozenset({"MANet", "HyperComputeModule"}), instead="yolov8.yaml"),
)

_ANCHOR_HEADS = ("Detect", "Segment", "Pose")  # of the yolov5 repository and its forks
_SAME_AS_DETECT = ("DDetect",)  # the yolov9 repository's name for an anchor-free head like Ultralytics'


def find_family(modules: set[str]) -> tuple[Family, list[str]] | None:
    """Return the family that module names identify, with these names; None if Ultralytics can have the model."""
    unknown = {name for name in modules if not catalog.has_module(name)}
    for family in FAMILIES:
        named = sorted(unknown & (family.heads | family.modules))
        if unknown & family.heads or len(unknown & family.modules) > 1:
            return family, named
    return None


def translate(cfg: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a model YAML dict as Ultralytics has to read it, and what was changed.

    Rows that are no rows stay as they are. The given dict does not change.

    Raises:
        ForeignModelError: the file is a model that Ultralytics does not have; the message names its family once.
    """
    if not isinstance(cfg, dict) or not all(isinstance(cfg.get(part), (list, tuple)) for part in ("backbone", "head")):
        return cfg, ()
    rows = [raw for part in ("backbone", "head") for raw in cfg[part]]
    found = find_family({raw[2] for raw in rows if _is_row(raw)})
    if found:
        family, named = found
        raise ForeignModelError(
            tr("This is a model of the {name} family (repository {source}).", name=family.name,
               source=family.source.partition(":")[0]),
            tr("Ultralytics has no such model: its modules {modules} do not exist there.", modules=", ".join(named)),
            tr("Use that repository, or put the same attention rows into a packaged file of Ultralytics, such as {instead}.",
               instead=family.instead))
    early = next((number for number, raw in enumerate(rows) if _is_row(raw) and _has_prediction_width(raw[3])), None)
    if early is not None:
        raise ForeignModelError(
            tr("Row {number} {row} is a prediction layer of the first yolov5 releases (v1 and v2).", number=early,
               row=short_text(rows[early])),
            tr("The head of Ultralytics has its own prediction layers."),
            tr("Remove these rows, and let Detect read the rows before them, or start from yolov5.yaml."))
    notes: list[str] = []
    translated = dict(cfg)
    number = 0
    for part in ("backbone", "head"):
        kept = []
        for raw in cfg[part]:
            kept.append(_translate_row(raw, number, notes) if _is_row(raw) else raw)
            number += 1
        translated[part] = kept
    return (translated, tuple(notes)) if notes else (cfg, ())


def _translate_row(raw: Any, number: int, notes: list[str]) -> Any:
    source, repeats, module, args = raw
    if module in _SAME_AS_DETECT and not catalog.has_module(module):
        notes.append(tr("row {number} {row}: {module} of the yolov9 repository is read as Detect, the anchor-free head of "
                        "Ultralytics", number=number, row=short_text(raw), module=module))
        raw = [source, repeats, "Detect", [arg for arg in args if not _is_anchors(arg)]]
    elif module in _ANCHOR_HEADS and any(map(_is_anchors, args)):
        plain = [arg for arg in args if not _is_anchors(arg)]
        notes.append(tr("row {number} {row} is the head of the yolov5 repository, read as {plain}: the head of Ultralytics "
                        "has no anchors, so `anchors` has no effect", number=number, row=short_text(raw),
                        plain=short_text(plain)))
        raw = [source, repeats, module, plain]
    return raw


def _is_row(raw: Any) -> bool:
    return isinstance(raw, (list, tuple)) and len(raw) == 4 and isinstance(raw[2], str) and isinstance(raw[3], (list, tuple))


def _is_anchors(arg: Any) -> bool:
    return arg == "anchors" or (isinstance(arg, (list, tuple)) and bool(arg) and all(
        isinstance(one, (list, tuple)) for one in arg))


def _has_prediction_width(args: Any) -> bool:
    return any(isinstance(arg, str) and arg.replace(" ", "") == "na*(nc+5)" for arg in args)
