"""Write the table of all blocks, blocks.md and blocks.zh-CN.md, from the blocks' code: python docs/make_blocks.py"""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from yolograft import blocks
from yolograft.analysis import block_page
from yolograft.analysis.block_page import CHANNELS, SIZE
from yolograft.blocks._birth import Mix
from yolograft.language import translate

FILES = {"en": Path(__file__).with_name("blocks.md"), "zh": Path(__file__).with_name("blocks.zh-CN.md")}

HEAD = f"""# The blocks

[中文](blocks.zh-CN.md)

`python docs/make_blocks.py` writes this page from the blocks' code, and a test compares the two. `yolograft blocks` lists
all settings and their defaults, and `yolograft blocks cbam` prints the page of one block: paper, equations, settings, usual
places, cost and examples. The docstring of each class also has the deviations from the authors' code.

- **Parameters** and **MFLOPs** are for {CHANNELS} channels and a map of {SIZE} x {SIZE} (P5 of YOLO11n at 640 pixels), with
  the default settings and `init=paper`. A multiplication and an addition count as two operations. Operations on each value
  of the map count as well: an average is one operation per value, a product another. SE therefore has
  2 x {CHANNELS} x {SIZE} x {SIZE} = 0.205 million operations plus those of its two layers. All of YOLO11n has 6.5 GFLOPs.
- **Identity initialisation**: a new block returns its input bit for bit, so a grafted pretrained model starts with the
  host's accuracy. Every block does this, in one of three ways. *gate*: the last layer starts at zero, and the gate is
  scaled or shifted to be 1 at 0. *mix*: a learnable weight that starts at 0 mixes the result in; this is one parameter more
  than in the table. *published*: the published block already starts as an identity. `init=paper` turns off the first two.
- **Exports**: the formats to which the block can be exported, with a dynamic batch size, height and width.
- **Kind**: what the attention weights differ over. In a *global* block, each position uses the features of all positions.

| block | paper | year | kind | parameters | MFLOPs | identity initialisation | exports | when people use it |
|---|---|---|---|---|---|---|---|---|
"""


HEAD_ZH = f"""# 注意力模块一览

[English](blocks.md)

本页由 `python docs/make_blocks.py` 根据模块的代码生成，并有测试保证两者一致。`yolograft blocks` 列出所有参数及其默认值；
`yolograft blocks cbam` 打印单个模块的页面：论文、公式、参数、常见位置、开销与用法示例。
各个类的文档字符串还说明了与作者代码不同的地方。

- **参数量**与 **MFLOPs** 对应 {CHANNELS} 个通道、{SIZE} x {SIZE} 的特征图（YOLO11n 在 640 像素下的 P5），
  使用默认参数与 `init=paper`。一次乘法和一次加法计为两次运算。逐元素的运算也计入：求平均时每个值计一次，相乘时再计一次。
  因此 SE 的运算量为 2 x {CHANNELS} x {SIZE} x {SIZE} = 20.5 万次，再加上两个全连接层。整个 YOLO11n 为 6.5 GFLOPs。
- **恒等初始化**：新模块的输出与输入逐位相同，因此预训练模型加上模块后，起始精度与原模型一致。
  所有模块都满足这一点，做法有三种。
  *gate*：最后一层初始化为零，门控经缩放或平移，使其在 0 处等于 1。*mix*：用一个从 0 开始的可学习权重混入模块的结果，
  比表中多一个参数。*published*：论文的形式本身就从恒等映射开始。`init=paper` 关闭前两种做法。
- **导出**：模块可以导出的格式，批大小、高和宽均可为动态。
- **类型**：注意力权重沿哪些维度变化。*全局*模块的每个位置都用到所有位置的特征。

| 模块 | 论文 | 年份 | 类型 | 参数量 | MFLOPs | 恒等初始化 | 导出 | 适用场合 |
|---|---|---|---|---|---|---|---|---|
"""


def operations(block: nn.Module) -> int:
    """Count the operations of one forward pass on one map."""
    return block_page.measure(block).total


def identity(name: str) -> str:
    """Return how a new block is an identity (gate, mix or published), or "no" if it is none."""
    x = torch.randn(2, CHANNELS, 8, 8)
    default, published = (blocks.create(name, CHANNELS, init=init).eval() for init in ("identity", "paper"))
    with torch.no_grad():
        if torch.equal(published(x), x):
            return "published"
        if not torch.equal(default(x), x):
            return "no"
    return "mix" if any(isinstance(module, Mix) for module in default.modules()) else "gate"


def exports(name: str) -> str:
    """Try each exporter, and return the names of those that work."""
    block, x, working = blocks.create(name, 32).eval(), torch.randn(2, 32, 8, 8), []
    axes = {"x": {0: "batch", 2: "height", 3: "width"}}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        for format_, export in {
            "ONNX": lambda: torch.onnx.export(block, (x,), io.BytesIO(), input_names=["x"], dynamic_axes=axes,
                                              opset_version=17, dynamo=False),
            "TorchScript": lambda: torch.jit.trace(block, x),
        }.items():
            try:
                export()
            except Exception:  # exporters raise many types; any of them means that the export fails
                continue
            working.append(format_)
    return ", ".join(working) or "no"


def costs(name: str) -> tuple[str, ...]:
    """Return the cells of a block that are measured: parameters, MFLOPs, initialisation and exports."""
    block = blocks.create(name, CHANNELS, init="paper")
    parameters = sum(p.numel() for p in block.parameters())
    return f"{parameters:,}", f"{operations(block) / 1e6:.3g}", identity(name), exports(name)


def row(name: str, measured: tuple[str, ...]) -> str:
    """Return one line of the table, in the requested language."""
    about: Any = vars(blocks.lookup(name))["about"]
    cells = (f"`{name}`", about.paper, about.year, translate(about.kind), *measured, translate(about.use))
    return f"| {' | '.join(map(str, cells))} |\n"


def pages() -> dict[str, str]:
    """Return the whole page in each language."""
    measured = {name: costs(name) for name in blocks.names()}
    before, found = os.environ.get("YOLOGRAFT_LANG"), {}
    try:
        for language, head in (("en", HEAD), ("zh", HEAD_ZH)):
            os.environ["YOLOGRAFT_LANG"] = language
            found[language] = head + "".join(row(name, cells) for name, cells in measured.items())
    finally:
        if before is None:
            del os.environ["YOLOGRAFT_LANG"]
        else:
            os.environ["YOLOGRAFT_LANG"] = before
    return found


if __name__ == "__main__":
    for language, text in pages().items():
        FILES[language].write_text(text, encoding="utf-8")
