"""The page of one module for rows: what it does, its equation and settings, and how a row of a model YAML names it.

The texts come from the docstring of the module's class; `language.translate` has their Chinese versions.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap

from yolograft import modules
from yolograft.analysis.block_page import describe
from yolograft.language import tr, translate, wrap
from yolograft.modules import describe_channels

__all__ = ["entry", "page"]

# The row of YOLO11 that people replace: its number, the inputs and the arguments, as the module's row has them.
_ROWS = {
    "BiFPN": (12, "[[-1, 6], 1, BiFPN, [256]]"), "BiFPN_Concat": (12, "[[-1, 6], 1, BiFPN_Concat, [1]]"),
    "CARAFE": (11, "[-1, 1, CARAFE, [3, 5]]"), "DySample": (11, "[-1, 1, DySample, [2]]"),
    "SPDConv": (3, "[-1, 1, SPDConv, [256, 3, 2]]"), "space_to_depth": (3, "[-1, 1, space_to_depth, [1]]"),
    "PConv": (9, "[-1, 1, PConv, []]"), "Faster_Block": (8, "[-1, 1, Faster_Block, [1024]]"),
    "C2f_Faster": (2, "[-1, 2, C2f_Faster, [256, True]]"), "C3k2_Faster": (2, "[-1, 2, C3k2_Faster, [256, False, 0.25]]"),
}


def entry(name: str) -> list[str]:
    """Return the lines of one module in the list of all modules: what it does, and its constructor."""
    cls = modules.lookup(name)
    return [f"{name:<14} {translate(describe(cls).summary)}", f"{'':<14} {name}{_constructor(cls)}"]


def page(name: str) -> str:
    """Return the page of the module `name`.

    Raises:
        ModuleError: there is no such module, or the names of its constructor's parameters do not tell its channels.
    """
    name, cls = modules.canonical(name), modules.lookup(name)
    described = describe(cls)
    lines = [f"{name}: {translate(described.summary)}" if described.summary else name]
    paper = _paper(cls)
    if paper:
        lines += ["", *wrap(tr("Paper: {paper}", paper=paper))]
    if described.equations:
        lines += ["", textwrap.indent(described.equations, "  ")]
    lines += ["", tr("Constructor: {call}", call=f"{name}{_constructor(cls)}"), *wrap(_channels(cls))]
    if described.settings:
        lines += ["", tr("Settings:")]
        for key, meaning in described.settings.items():
            first, *rest = wrap(translate(meaning), 75) or [""]
            lines += [f"  {key:<12} {first}".rstrip(), *(f"{'':<15}{line}" for line in rest)]
    lines += ["", tr("In YAML files: {names} (case and '_' do not matter)", names=", ".join(modules.aliases(name)))]
    if name in _ROWS:
        number, row = _ROWS[name]
        lines += ["", tr("As a row of yolo11.yaml:"), f"  - {row}    # {number}"]
    return "\n".join(lines)


def _channels(cls: type) -> str:
    found = describe_channels(cls)
    first, *others = found.names or ("",)
    texts = {
        "": tr("The row gives all arguments."),
        "len": tr("{first} is the number of inputs. The row gives the other arguments.", first=first),
        "c1": tr("{first} is the number of input channels. The row gives the other arguments.", first=first),
        "[c]": tr("{first} is the list of the inputs' channels. The row gives the other arguments.", first=first),
        "c1,c2": tr("{first} is the number of input channels. The row begins with {second}, the output channels, which the "
                    "model's width scales.", first=first, second="".join(others)),
        "[c],c2": tr("{first} is the list of the inputs' channels. The row begins with {second}, the output channels, which "
                     "the model's width scales.", first=first, second="".join(others)),
    }
    repeats = tr("n is the row's number of repeats.") if found.takes_repeats else ""
    return " ".join(filter(None, (texts[found.kind], repeats)))


def _constructor(cls: type) -> str:
    parameters = list(inspect.signature(cls).parameters.values())
    return "(" + ", ".join(one.name + ("" if one.default is one.empty else f"={one.default!r}") for one in parameters) + ")"


def _paper(cls: type) -> str:
    """Return the paper that the docstring of the class's file names."""
    found = re.search(r"^Paper: (.*?)(?:\n\n|\Z)", inspect.getdoc(sys.modules[cls.__module__]) or "", flags=re.M | re.S)
    return " ".join(found[1].split()) if found else ""
