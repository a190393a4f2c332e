"""Write docs/blocks.md, the table of all blocks, from the blocks themselves: python docs/make_blocks.py"""

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

Made from the blocks themselves by `python docs/make_blocks.py`; a test compares. `yolograft blocks` lists every setting
and its default; each class's docstring has the equation, the shapes and the deviations from the authors' code.

- **Parameters** and **MFLOPs** are for {CHANNELS} channels and a map of {SIZE} x {SIZE} (P5 of YOLO11n at 640), with
  default settings and `init=paper`. A multiplication and an addition are two operations, and the passes over the map count:
  an average is one operation a value, a product another, so that SE's are
  2 x {CHANNELS} x {SIZE} x {SIZE} = 0.205 million and a little. YOLO11n's own total is 6.5 GFLOPs.
- **Identity at birth**: a fresh block returns its input bit for bit, so a grafted pretrained model starts where the host
  was. All do, in one of three ways: *gate* (a zeroed last layer, and a gate scaled or shifted to be 1 at 0), *mix* (the
  result is mixed in with one learnable weight that starts at 0: one parameter more than the table says), *own* (the
  paper's block starts as an identity by itself). `init=paper` turns the first two off.
- **Exports**: what the exporters made of it, with a dynamic batch, height and width.
- **Kind**: what the weights range over; *global* blocks let all positions see each other.

| block | paper | year | kind | parameters | MFLOPs | identity at birth | exports | when people use it |
|---|---|---|---|---|---|---|---|---|
"""


class Operations(TorchDispatchMode):
    """Counts arithmetic: two operations per multiply-add of a product, one per value that anything else computes."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in FORMULAS:
            self.total += FORMULAS[packet](*args, **(kwargs or {}), out_val=out)
        elif not moves(func):
            sizes = [x.numel() for x in (*args, *(out if isinstance(out, tuple) else (out,))) if torch.is_tensor(x)]
            self.total += max(sizes, default=0)
        return out


def moves(func: Any) -> bool:
    """Say whether an operator only moves, reads or makes values."""
    name = func._schema.name.removeprefix("aten::")
    made = ("empty", "zeros", "ones", "full", "arange", "scalar_tensor", "_to_copy", "to", "detach", "lift_fresh")
    moved = ("cat", "stack", "clone", "copy_", "constant_pad_nd", "_reshape_copy", "_unsafe_view", "index")
    return func.is_view or name in made or name in moved


def operations(block: nn.Module) -> int:
    """Count the operations of one forward pass on one map."""
    x = torch.rand(1, CHANNELS, SIZE, SIZE)
    with torch.no_grad(), Operations() as counted:
        block.eval()(x)
    return counted.total


def birth(name: str) -> str:
    """Say how a fresh block is an identity; "no" if it is none."""
    x = torch.randn(2, CHANNELS, 8, 8)
    fresh, papers = (blocks.create(name, CHANNELS, init=init).eval() for init in ("identity", "paper"))
    with torch.no_grad():
        if torch.equal(papers(x), x):
            return "own"
        if not torch.equal(fresh(x), x):
            return "no"
    return "mix" if any(isinstance(module, Mix) for module in fresh.modules()) else "gate"


def exports(name: str) -> str:
    """Try the exporters, and name those that work."""
    block, x, done = blocks.create(name, 32).eval(), torch.randn(2, 32, 8, 8), []
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
            except Exception:  # whatever an exporter raises means that it does not export
                continue
            done.append(format_)
    return ", ".join(done) or "no"


def row(name: str) -> str:
    """Return one line of the table."""
    about: Any = vars(blocks.lookup(name))["about"]
    block = blocks.create(name, CHANNELS, init="paper")
    cells = (f"`{name}`", about.paper, about.year, about.kind, f"{sum(p.numel() for p in block.parameters()):,}",
             f"{operations(block) / 1e6:.3g}", birth(name), exports(name), about.use)
    return f"| {' | '.join(map(str, cells))} |\n"


def page() -> str:
    """Return the whole page."""
    return HEAD + "".join(row(name) for name in blocks.names())


if __name__ == "__main__":
    FILE.write_text(page())
