"""The texts of the page of `yolograft explain`, in English and in Chinese."""

from __future__ import annotations

__all__ = ["TEXTS"]

TEXTS: dict[str, tuple[str, str]] = {
    "other language": ("中文", "English"),
    "tail": ("Made by yolograft {version}.", "由 yolograft {version} 生成。"),
    "no_figure": ("No figure: there are no data for it.", "无法绘制：没有相应的数据。"),
    "data": ("data", "数据集"),
    "model": ("model", "模型"),
    "images": ("images", "图像"),
}
