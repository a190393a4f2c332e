"""The page of one block: what it does, its equation and settings, where people put it, and what it costs.

The texts come from the docstring of the block's class; `language.translate` has their Chinese versions.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from yolograft import blocks
from yolograft.analysis.profile import FORMULAS, count_flops, count_parameters
from yolograft.blocks._about import About
from yolograft.language import tr, translate, wrap

__all__ = ["CHANNELS", "SIZE", "Description", "Operations", "describe", "entry", "measure", "page", "place"]

CHANNELS, SIZE = 256, 20  # the map of which the costs are given: P5 of YOLO11n at 640 pixels
_COPYING = ("cat", "stack", "clone", "copy_", "constant_pad_nd", "_reshape_copy", "_unsafe_view", "index")
_CREATING = ("empty", "zeros", "ones", "full", "arange", "scalar_tensor", "_to_copy", "to", "detach", "lift_fresh")


@dataclass(frozen=True, kw_only=True)
class Description:
    """The parts of a block's docstring.

    Attributes:
        summary: the first paragraph, as one line.
        equations: the lines between the summary and the shapes.
        settings: setting -> its meaning.
    """

    summary: str
    equations: str
    settings: dict[str, str]


class Operations(TorchDispatchMode):
    """Counts what operators do.

    Attributes:
        macs: multiply-adds of convolutions and matrix products.
        total: operations: two per multiply-add, and one per value of any other operator that computes something.
    """

    def __init__(self) -> None:
        super().__init__()
        self.macs = self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else newer versions of PyTorch wrap __torch_dispatch__ for the compiler

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and count its operations."""
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in FORMULAS:
            flops = count_flops(packet, args, kwargs or {}, out)
            self.macs += flops // 2
            self.total += flops
        elif not _is_free(func):
            sizes = [x.numel() for x in (*args, *(out if isinstance(out, tuple) else (out,))) if torch.is_tensor(x)]
            self.total += max(sizes, default=0)
        return out


def _is_free(func: Any) -> bool:
    """Return whether an operator only creates, copies or views values, which counts as no operation."""
    name = func._schema.name.removeprefix("aten::")
    return func.is_view or name in _CREATING or name in _COPYING


def measure(block: nn.Module) -> Operations:
    """Run a block once on a map (1, CHANNELS, SIZE, SIZE), and return the counted operations."""
    x = torch.rand(1, CHANNELS, SIZE, SIZE)
    with torch.no_grad(), Operations() as counted:
        block.eval()(x)
    return counted


def describe(cls: type) -> Description:
    """Split a class's docstring into its parts. Settings that it does not explain are taken from its base classes."""
    body, _, arguments = inspect.cleandoc(cls.__doc__ or "").partition("Args:\n")
    first, _, rest = body.partition("\n\n")
    equations = re.split(r"^Shapes: ", rest, maxsplit=1, flags=re.MULTILINE)[0].strip()
    settings: dict[str, str] = {}
    for base in reversed([one for one in cls.__mro__[1:] if issubclass(one, nn.Module) and one is not nn.Module]):
        settings |= describe(base).settings
    listed = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", arguments, flags=re.MULTILINE)
    settings |= {name: " ".join(text.split()) for name, text in listed if name != "channels"}
    return Description(summary=" ".join(first.split()), equations=equations, settings=settings)


def entry(name: str) -> list[str]:
    """Return the lines of one block in the list of all blocks: what it does, its settings and its other names."""
    settings = ", ".join(f"{key}={value}" for key, value in blocks.defaults(name).items())
    others = [alias for alias in blocks.aliases(name) if alias != name]
    lines = [f"{name:<14} {translate(describe(blocks.lookup(name)).summary)}", f"{'':<14} {name}({settings})"]
    if others:
        lines.append(f"{'':<14} {tr('in YAML files also: {names}', names=', '.join(others))}")
    return lines


def page(name: str) -> str:
    """Return the page of the block `name`.

    Raises:
        BlockError: there is no such block.
    """
    name, cls = blocks.canonical(name), blocks.lookup(name)
    about, described = getattr(cls, "about", None), describe(cls)
    lines = [f"{name}: {translate(described.summary)}" if described.summary else name]
    if isinstance(about, About):
        lines += ["", tr("Paper: {paper}", paper=about.paper), *wrap(tr("Used for: {use}", use=translate(about.use)))]
    if described.equations:
        lines += ["", tr("Equations:"), textwrap.indent(described.equations, "  ")]
    known = blocks.defaults(name)
    if known:
        lines += ["", tr("Settings, with their defaults:")]
        for key, value in known.items():
            lines += _setting(f"{key}={value}", translate(described.settings.get(key, "")))
    text, site = place(name)
    row = cls.__name__ if _is_alias(cls.__name__, name) else name
    block = blocks.create(name, CHANNELS)
    counted = measure(block)
    lines += ["", *wrap(tr("Where: {text}", text=text)),
              "", *wrap(tr("Cost at {channels} channels and {size} x {size} pixels: {parameters:,} parameters, "
                           "{macs:.3f} million multiply-adds (MACs), {operations:.3f} million operations in all",
                           channels=CHANNELS, size=SIZE, parameters=count_parameters(block), macs=counted.macs / 1e6,
                           operations=counted.total / 1e6)),
              "", tr("In YAML files: {names} (case and '_' do not matter)", names=", ".join(blocks.aliases(name))),
              "", tr("Examples:"), f"  yolograft show model=yolo11n.yaml graft={name}@{site}",
              f"  yolograft train model=yolo11n.pt graft={name}@{site} data=NEU-DET.yaml epochs=100",
              f"  - [-1, 1, {row}, []]    # {tr('as a row of a model YAML')}"]
    return "\n".join(lines)


def _setting(shown: str, meaning: str) -> list[str]:
    first, *rest = wrap(meaning, 75) or [""]
    return [f"  {shown:<22} {first}".rstrip(), *(f"{'':<25}{line}" for line in rest)]


def _is_alias(word: str, name: str) -> bool:
    return word.lower().replace("_", "") in blocks.aliases(name)


def place(name: str) -> tuple[str, str]:
    """Return where people put a block, in words and as the text of a site in YOLO11."""
    residual = tr("as in the paper, at the end of each residual branch before the sum: Bottleneck.cv2 in YOLO")
    backbone = tr("in YOLO mostly after a C3k2 row of the backbone, or on the inputs of the detection head (p3,p4,p5)")
    deepest = tr("after the deepest rows, where the map is smallest: the cost grows with the square of the number of pixels")
    places = {
        "bam": (tr("as in the paper, between the stages of the backbone: the rows before downsampling"), "4,6"),
        "cam": (tr("as in the paper, at the end of the backbone, beside PAM: cam@10 + pam@10"), "10"),
        "cbam": (tr("the paper puts it at the end of each residual branch (Bottleneck.cv2); in YOLO mostly after the "
                    "last C3k2 row of the backbone, or on the inputs of the detection head (p3,p4,p5)"), "8"),
        "ceca": (residual, "Bottleneck.cv2"),
        "coordatt": (backbone, "8"),
        "double": (tr("as in the paper, in the deeper stages of the backbone"), "6,8"),
        "eca": (residual, "Bottleneck.cv2"),
        "ela": (backbone, "p3,p4,p5"),
        "ema": (backbone, "8"),
        "ese": (tr("as in the paper, after the convolution that joins the branches of a stage: the output of C3k2"), "C3k2"),
        "fca": (residual, "Bottleneck.cv2"),
        "gam": (tr("after one of the last rows of the backbone; it is too costly for many places"), "8"),
        "gc": (tr("as in the paper, in the deeper stages of the backbone"), "4,6,8"),
        "gct": (tr("as in the paper, on the input of convolutions (/pre)"), "Bottleneck.cv2/pre"),
        "ge": (residual, "Bottleneck.cv2"),
        "lsk": (backbone, "8"),
        "lska": (tr("after SPPF, or after a C3k2 row of the backbone"), "SPPF"),
        "mhsa": (deepest, "10"),
        "mlca": (backbone, "8"),
        "nam": (residual, "Bottleneck.cv2"),
        "nonlocal": (deepest, "8"),
        "pam": (tr("as in the paper, at the end of the backbone, beside CAM: cam@10 + pam@10"), "10"),
        "parnet": (tr("after a C3k2 row of the backbone, as one more convolution block"), "8"),
        "psa": (tr("as in the paper, after the first 3x3 convolution of each residual block: Bottleneck.cv1"),
                "Bottleneck.cv1"),
        "scse": (tr("the paper puts it after each block of encoder and decoder: the C3k2 rows of backbone and neck"),
                 "neck.C3k2"),
        "se": (tr("the paper puts it at the end of each residual branch (Bottleneck.cv2); tutorials for YOLO put it "
                  "after the last C3k2 row of the backbone, the third row from the end (se@8)"), "8"),
        "sge": (residual, "Bottleneck.cv2"),
        "shuffle": (residual, "Bottleneck.cv2"),
        "simam": (residual, "Bottleneck.cv2"),
        "sk": (tr("the paper replaces a 3x3 convolution by it; here it follows a row, such as a C3k2 row of the "
                  "backbone"), "8"),
        "srm": (residual, "Bottleneck.cv2"),
        "triplet": (residual, "Bottleneck.cv2"),
    }
    anywhere = tr("any site that gives a map (B, C, H, W); list them: yolograft sites model=yolo11n.yaml")
    return places.get(name, (anywhere, "8"))
