"""Rows that Ultralytics cannot build: unknown modules, and more arguments than a stock module takes."""

from __future__ import annotations

from collections.abc import Iterable

from yolograft import modules
from yolograft.errors import nearest
from yolograft.language import tr
from yolograft.modelyaml import catalog, table
from yolograft.modelyaml.dialects import FAMILIES
from yolograft.modelyaml.findings import Finding
from yolograft.modelyaml.table import Row, short_text

__all__ = ["check_argument_count", "explain_unknown"]

# Modules that people copy into YOLO files from elsewhere, and where they come from (repository or paper).
_ELSEWHERE = {
    "GSConv": "AlanLi1997/slim-neck-by-gsconv", "VoVGSCSP": "AlanLi1997/slim-neck-by-gsconv",
    "SimSPPF": "meituan/YOLOv6", "SimConv": "meituan/YOLOv6",
    "RepBlock": "meituan/YOLOv6", "BiFusion": "meituan/YOLOv6", "C3STR": "microsoft/Swin-Transformer",
    "SwinTransformerBlock": "microsoft/Swin-Transformer", "BoT3": "BotNet (Srinivas et al. 2021)",
    "CoT3": "JDAI-CV/CoTNet", "SPPFCSPC": "iscyy/yoloair", "C3HB": "iscyy/yoloair",
    "RFAConv": "Liuchen1997/RFAConv",
    "DCNv2": "chengdazhi/Deformable-Convolution-V2-PyTorch", "DCNv3": "OpenGVLab/InternImage",
    "DCN": "OpenGVLab/InternImage",
    "C3_Faster": "JierunChen/FasterNet",
    "SCConv": "cheng-haha/ScConv", "ScConv": "cheng-haha/ScConv", "C3SPP": "ultralytics/yolov5", "Sum": "ultralytics/yolov5",
    "MixConv2d": "ultralytics/yolov5", "CrossConv": "ultralytics/yolov5", "Contract": "ultralytics/yolov5",
    "Expand": "ultralytics/yolov5", "SEAM": "Krasjet-Yu/YOLO-FaceV2", "MultiSEAM": "Krasjet-Yu/YOLO-FaceV2",
    "BRA": "rayleizhu/BiFormer", "BiLevelRoutingAttention": "rayleizhu/BiFormer", "iRMB": "zhangzjn/EMO",
    "SELayerV2": "mahendran-narayanan/SENetV2", "SENetV2": "mahendran-narayanan/SENetV2",
}


def explain_unknown(module: str, known: Iterable[str]) -> tuple[str, str]:
    """Return why a module is unknown, and what to do.

    Args:
        module: the module's name in a row.
        known: the names that can be suggested.
    """
    shown = short_text(module)
    if module in table.STOCK_MODULES:
        return (tr("The installed Ultralytics does not have it; newer versions do."),
                tr("Upgrade Ultralytics: pip install -U ultralytics"))
    own = tr("Load its class with modules=FILE.py; for attention, blocks=FILE.py works too. Or use a name that 'yolograft "
             "blocks' or 'yolograft modules' lists.")
    origin = _ELSEWHERE.get(module) or next((family.source.partition(":")[0] for family in FAMILIES
                                             if module in family.heads | family.modules), "")
    if origin:
        return (tr("{module} is a module of {origin}. Neither the installed Ultralytics nor yolograft has it.", module=shown,
                   origin=origin), own)
    host = _stock_part(module)
    if host:
        return (tr("The name joins the stock module {host} and something that yolograft does not have.", host=host),
                tr("Write {host} for the row without it, or load the class with modules=FILE.py.", host=host))
    why = tr("The installed Ultralytics does not have this module, and yolograft has no such block. A module from a fork of "
             "Ultralytics is not available here.")
    return why, own + nearest(module, [*modules.names(), *known])


def check_argument_count(row: Row) -> Finding | None:
    """Report a row of a stock module with more arguments than the module takes."""
    most = catalog.most_arguments(row.module) if row.module in table.SCALED_WIDTH else None
    if most is None or len(row.args) <= most:
        return None
    return Finding(row=row.number, severity="error",
                   what=tr("{row}: {module} takes at most {most} arguments, not {count}.", row=row, module=row.module,
                           most=most, count=len(row.args)),
                   why=tr("Ultralytics passes all arguments of the row to the module, which raises an error."),
                   fix=tr("Remove the last {count}.", count=len(row.args) - most))


def _stock_part(module: str) -> str:
    """Return the stock module that a joined name such as C2f_DCN starts or ends with; empty if there is none."""
    parts = module.split("_")
    for name in (parts[0], parts[-1]) if len(parts) > 1 else ():
        if name in table.STOCK_MODULES and catalog.has_module(name):
            return name
    return ""
