"""Write docs/blocks.md, the table of all blocks, from the blocks' code: python docs/make_blocks.py"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from yolograft import blocks
from yolograft.analysis.profile import FORMULAS
from yolograft.blocks._birth import Mix

FILE = Path(__file__).with_name("blocks.md")
CHANNELS, SIZE = 256, 20

HEAD = f"""# The blocks

`python docs/make_blocks.py` writes this page from the blocks' code, and a test compares the two. `yolograft blocks` lists
all settings and their defaults. The docstring of each class has the equations, the shapes, and the deviations from the
authors' code.

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


class Operations(TorchDispatchMode):
    """Counts operations: two per multiply-add of a matrix product or convolution, one per value of any other operator."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in FORMULAS:
            self.total += FORMULAS[packet](*args, **(kwargs or {}), out_val=out)
        elif not is_free(func):
            sizes = [x.numel() for x in (*args, *(out if isinstance(out, tuple) else (out,))) if torch.is_tensor(x)]
            self.total += max(sizes, default=0)
        return out


def is_free(func: Any) -> bool:
    """Return whether an operator only creates, copies or views values, which counts as no operation."""
    name = func._schema.name.removeprefix("aten::")
    creating = ("empty", "zeros", "ones", "full", "arange", "scalar_tensor", "_to_copy", "to", "detach", "lift_fresh")
    copying = ("cat", "stack", "clone", "copy_", "constant_pad_nd", "_reshape_copy", "_unsafe_view", "index")
    return func.is_view or name in creating or name in copying


def operations(block: nn.Module) -> int:
    """Count the operations of one forward pass on one map."""
    x = torch.rand(1, CHANNELS, SIZE, SIZE)
    with torch.no_grad(), Operations() as counted:
        block.eval()(x)
    return counted.total


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


def row(name: str) -> str:
    """Return one line of the table."""
    about: Any = vars(blocks.lookup(name))["about"]
    block = blocks.create(name, CHANNELS, init="paper")
    cells = (f"`{name}`", about.paper, about.year, about.kind, f"{sum(p.numel() for p in block.parameters()):,}",
             f"{operations(block) / 1e6:.3g}", identity(name), exports(name), about.use)
    return f"| {' | '.join(map(str, cells))} |\n"


def page() -> str:
    """Return the whole page."""
    return HEAD + "".join(row(name) for name in blocks.names())


if __name__ == "__main__":
    FILE.write_text(page())
