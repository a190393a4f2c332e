"""Hand edits of model YAML files, made correctly on the graph of rows, and the slips that people make in them.

A row here points at the rows that it reads, so that an edit can insert or remove rows and the numbers follow. `Edit.file()`
is the correct file. `Edit.slipped(...)` leaves chosen numbers as they were before the edit, as people do.
"""

from __future__ import annotations

import copy
import dataclasses
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from yolograft.modelyaml import table

IMAGE = None


@dataclasses.dataclass(eq=False)
class Node:
    """A row that points at the rows that it reads. `written` has the numbers of the stock file; None for a new row."""

    part: str
    repeats: Any
    module: str
    args: list[Any]
    inputs: list[Any]
    is_list: bool
    written: list[int] | None = None
    in_line: bool = True  # a new row with -1 as its `from`

    def numbers(self, order: dict[int, int]) -> list[int]:
        at, found = order[id(self)], []
        for k, target in enumerate(self.inputs):
            number = -1 if target is IMAGE else order[id(target)]
            old = self.written[k] if self.written and k < len(self.written) else (-1 if self.in_line and not k else 0)
            if target is IMAGE:
                found.append(-1)
            elif old < -1:
                found.append(number - at)
            else:
                found.append(-1 if old == -1 and number == at - 1 else number)
        return found


@dataclasses.dataclass
class Edit:
    """One correct hand edit of a file."""

    name: str
    base: dict[str, Any]
    nodes: list[Node]

    def rows(self) -> list[list[Any]]:
        order = {id(node): number for number, node in enumerate(self.nodes)}
        found = []
        for node in self.nodes:
            numbers = node.numbers(order)
            found.append([numbers if node.is_list else numbers[0], node.repeats, node.module, copy.deepcopy(node.args)])
        return found

    def file(self) -> dict[str, Any]:
        return self._with(self.rows())

    def _with(self, rows: list[list[Any]]) -> dict[str, Any]:
        parts = [node.part for node in self.nodes]
        return {**self.base, **{part: [row for row, own in zip(rows, parts, strict=True) if own == part]
                                for part in ("backbone", "head")}}

    def moved(self) -> list[tuple[int, int]]:
        """Return (row, position) of each number that the edit changed."""
        found = []
        for number, (node, row) in enumerate(zip(self.nodes, self.rows(), strict=True)):
            numbers = row[0] if isinstance(row[0], list) else [row[0]]
            found += [(number, k) for k, old in enumerate(node.written or []) if k < len(numbers) and numbers[k] != old]
        return found

    def slipped(self, places: list[tuple[int, int]]) -> dict[str, Any]:
        """Return the file in which these numbers are still those of the stock file."""
        rows = self.rows()
        for number, k in places:
            old = self.nodes[number].written[k]
            if isinstance(rows[number][0], list):
                rows[number][0][k] = old
            else:
                rows[number][0] = old
        return self._with(rows)

    def slips(self, seed: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the file with all moved numbers left as they were, with each one, and with a random half of them."""
        moved = self.moved()
        if not moved:
            return
        yield "all", self.slipped(moved)
        if len(moved) > 1:
            for place in moved:
                yield f"row {place[0]}", self.slipped([place])
            rng = random.Random(f"{self.name} {seed}")
            half = [place for place in moved if rng.random() < 0.5]
            if 1 < len(half) < len(moved):
                yield "half", self.slipped(half)


def nodes_of(cfg: dict[str, Any]) -> list[Node]:
    nodes: list[Node] = []
    for row in table.parse_rows(cfg):
        targets = [IMAGE if target == table.IMAGE else nodes[target] for target in row.reads()]
        nodes.append(Node(row.part, row.repeats, row.module, list(row.args), targets, row.is_list, list(row.sources)))
    return nodes


def readers(nodes: list[Node], node: Node) -> list[tuple[Node, int]]:
    return [(other, k) for other in nodes for k, target in enumerate(other.inputs) if target is node]


def insert(cfg: dict[str, Any], at: int, module: str, args: list[Any], *, attended: bool = True, absolute: bool = False,
           name: str = "") -> Edit:
    """Insert a row behind row `at` - 1. Attended: all its readers read the new row; else only the next row by its -1."""
    nodes = nodes_of(cfg)
    source = nodes[at - 1] if at else IMAGE
    new = Node(source.part if source else "backbone", 1, module, args, [source], False, None, in_line=not absolute)
    place = nodes.index(source) + 1 if source else 0
    for other, k in (readers(nodes, source) if source else [(nodes[0], 0)]):
        if attended or (other.written[k] == -1 and other is nodes[place]):
            other.inputs[k] = new
    nodes.insert(place, new)
    return Edit(name or f"insert {module} at {at}", cfg, nodes)


def is_plain_row(cfg: dict[str, Any], number: int) -> bool:
    """Whether a row has one input and passes the height and width on: it can be dropped or repeated."""
    rows = table.parse_rows(cfg)
    row, strides = rows[number], table.strides(rows)
    before = row.reads()[0]
    stride = table.Fraction(1) if before == table.IMAGE else strides[before]
    return not row.is_list and table.has_map_output(row) and before != table.IMAGE and strides[number] is not None \
        and stride == strides[number] and number < len(rows) - 1 and table.has_map_output(rows[before])


def repeat(cfg: dict[str, Any], number: int) -> Edit:
    node = nodes_of(cfg)[number]
    made = insert(cfg, number + 1, node.module, copy.deepcopy(node.args), name=f"repeat row {number}")
    made.nodes[number + 1].repeats = node.repeats
    return made


def drop(cfg: dict[str, Any], number: int) -> Edit:
    nodes = nodes_of(cfg)
    gone = nodes[number]
    for other, k in readers(nodes, gone):
        other.inputs[k] = gone.inputs[0]
    nodes.remove(gone)
    return Edit(f"drop row {number}", cfg, nodes)


OTHER = {"C3k2": "C2f", "C2f": "C3", "C3": "C2f", "C2PSA": "C2f", "A2C2f": "C2f", "RepNCSPELAN4": "C2f", "ELAN1": "C2f",
         "C2fCIB": "C2f", "RepC3": "C3", "C2fAttn": "C2f", "C3Ghost": "C3"}


def replace(cfg: dict[str, Any], number: int, module: str) -> Edit:
    nodes = nodes_of(cfg)
    node = nodes[number]
    node.module, node.args = module, [] if module == "SE" else node.args[:1]
    return Edit(f"{module} in place of row {number}", cfg, nodes)


def before_head(cfg: dict[str, Any], module: str = "SE", only: int | None = None) -> Edit:
    """Insert one row for each input of the head, with an absolute `from`; only the head reads them."""
    nodes = nodes_of(cfg)
    head = nodes[-1]
    for k, target in enumerate(list(head.inputs)):
        if only is None or k == only:
            new = Node("head", 1, module, [], [target], False, None, in_line=False)
            nodes.insert(len(nodes) - 1, new)
            head.inputs[k] = new
    return Edit(f"{module} before the head", cfg, nodes)


def then(edit: Edit, change: Callable[..., Edit], *args: Any, **kwargs: Any) -> Edit:
    """Apply a second edit to the result of the first; the written numbers stay those of the stock file."""
    made = change(edit.file(), *args, **kwargs)
    old = [node for node in made.nodes if node.written is not None]
    first = {id(node): before for node, before in zip(nodes_in_order(made, edit), edit.nodes, strict=True)}
    for node in old:
        node.written = None if first[id(node)].written is None else first[id(node)].written
    for node in old:
        if node.written is None:
            node.in_line = first[id(node)].in_line
    return Edit(f"{edit.name}, {made.name}", edit.base, made.nodes)


def nodes_in_order(made: Edit, edit: Edit) -> list[Node]:
    found = [node for node in made.nodes if node.written is not None]
    assert len(found) == len(edit.nodes)
    return found


# Variants with another structure: sound files that no packaged file equals


def _row(part: str, module: str, args: list[Any], *inputs: Any, repeats: int = 1, in_line: bool = True) -> Node:
    return Node(part, repeats, module, args, list(inputs), module == "Concat", None, in_line=in_line)


def _pyramid(cfg: dict[str, Any]) -> tuple[list[Node], dict[int, Node], dict[int, Node]] | None:
    """Return the nodes, the head's inputs by stride, and the last backbone row of each stride."""
    nodes, rows = nodes_of(cfg), table.parse_rows(cfg)
    strides = table.strides(rows)
    head = rows[-1]
    wanted = [strides[target] for target in head.reads() if target != table.IMAGE]
    if not head.is_list or None in wanted or len(set(wanted)) != len(wanted) or len(wanted) < 2:
        return None
    inputs = {int(stride): nodes[target] for stride, target in zip(wanted, head.reads(), strict=True)}
    backbone = {int(strides[row.number]): nodes[row.number] for row in rows
                if row.part == "backbone" and strides[row.number] is not None and table.has_map_output(row)}
    return nodes, inputs, backbone


def variants(cfg: dict[str, Any]) -> Iterator[Edit]:
    """Yield sound variants of a detection file: P2 heads, a P6 head, a head removed, and Concats with one more input."""
    if _pyramid(cfg) is None:
        return

    def start() -> tuple[list[Node], dict[int, Node], dict[int, Node], Node]:
        nodes, inputs, backbone = _pyramid(cfg)
        return nodes, inputs, backbone, nodes[-1]

    def finish(name: str, nodes: list[Node], new: list[Node]) -> Edit:
        return Edit(name, cfg, [*nodes[:-1], *new, nodes[-1]])

    def set_head(head: Node, inputs: list[Node]) -> None:
        head.inputs = inputs
        head.written = None
        head.in_line = False

    nodes, inputs, backbone, head = start()
    if 8 in inputs and 4 in backbone and 4 not in inputs:
        def top_down(nodes, inputs, backbone, in_line):
            up = _row("head", "nn.Upsample", [None, 2, "nearest"], inputs[8], in_line=in_line)
            cat = _row("head", "Concat", [1], up, backbone[4])
            last = _row("head", "C2f", [128], cat, repeats=2)
            return [up, cat, last]

        new = top_down(nodes, inputs, backbone, False)
        set_head(head, [new[-1], *inputs.values()])
        yield finish("P2 appended, for the head alone", nodes, new)
        nodes, inputs, backbone, head = start()
        new = top_down(nodes, inputs, backbone, False)
        set_head(head, [*inputs.values(), new[-1]])
        yield finish("P2 appended, last in the head", nodes, new)

        nodes, inputs, backbone, head = start()
        at = nodes.index(inputs[8])  # the bottom-up path starts behind P3
        rest = nodes[at + 1:-1]
        new = top_down(nodes, inputs, backbone, True)
        down = _row("head", "Conv", [128, 3, 2], new[-1])
        cat = _row("head", "Concat", [1], down, inputs[8])
        p3 = _row("head", "C2f", [256], cat, repeats=2)
        for node in rest:
            node.inputs = [p3 if target is inputs[8] else target for target in node.inputs]
        set_head(head, [new[-1], p3, *[node for stride, node in inputs.items() if stride != 8]])
        yield Edit("P2 with a bottom-up path", cfg, [*nodes[:at + 1], *new, down, cat, p3, *rest, head])

        nodes, inputs, backbone, head = start()
        at = nodes.index(inputs[8])
        kept = nodes[:at + 1]
        others = [node for stride, node in reversed(inputs.items()) if node in kept and stride != 8]
        feeding = [node for node in kept if node.part == "head" and node.module in OTHER and node is not inputs[8]]
        new = top_down(nodes, inputs, backbone, True)
        set_head(head, [new[-1], inputs[8], *(others or feeding[-1:])])
        yield Edit("P2, the top-down path alone", cfg, [*kept, *new, head])

    nodes, inputs, backbone, head = start()
    if 32 in inputs and 64 not in inputs:
        conv = _row("head", "Conv", [1024, 3, 2], inputs[32], in_line=False)
        last = _row("head", "C2f", [1024], conv, repeats=2)
        set_head(head, [*inputs.values(), last])
        yield finish("P6 appended", nodes, [conv, last])

    for gone in [stride for stride in inputs if len(inputs) > 2]:
        nodes, inputs, backbone, head = start()
        set_head(head, [node for stride, node in inputs.items() if stride != gone])
        while True:  # remove the rows that no row reads now
            unread = [node for node in nodes[:-1] if not readers(nodes, node) and node.part == "head"]
            if not unread:
                break
            for node in unread:
                nodes.remove(node)
        yield Edit(f"the head of stride {gone} removed", cfg, nodes)

    nodes, inputs, backbone, head = start()
    rows = table.parse_rows(cfg)
    strides = table.strides(rows)
    changed = False
    for number, node in enumerate(nodes):
        extra = backbone.get(int(strides[number])) if node.module == "Concat" and strides[number] else None
        if extra is not None and extra not in node.inputs and node.part == "head":
            node.inputs.append(extra)
            changed = True
    if changed:
        yield Edit("Concats with the backbone's map as one more input", cfg, nodes)


def edits(cfg: dict[str, Any]) -> list[tuple[str, Callable[[], Edit | None]]]:
    """Return (kind, function that makes the correct edit) at every position of a file."""
    rows = table.parse_rows(cfg)
    nominal = table.channels(rows, table.NOMINAL)
    found: list[tuple[str, Callable[[], Edit | None]]] = [("insert", partial(insert, cfg, 0, "SE", []))]
    for row in rows[:-1]:
        if table.has_map_output(row):
            found.append(("insert", partial(insert, cfg, row.number + 1, "SE", [])))
            found.append(("insert, some readers before", partial(insert_for_next, cfg, row.number + 1)))
            if nominal[row.number] and row.module != "nn.ConvTranspose2d":
                found.append(("insert Conv", partial(insert, cfg, row.number + 1, "Conv", [nominal[row.number], 1, 1])))
    is_resnet = any(row.module == "ResNetLayer" for row in rows)  # it names its input channels
    for row in rows[:-1]:
        if is_plain_row(cfg, row.number):
            if not is_resnet:
                found.append(("drop", partial(drop, cfg, row.number)))
                found.append(("repeat", partial(repeat, cfg, row.number)))
            if row.module in OTHER:
                found.append(("replace", partial(replace, cfg, row.number, OTHER[row.module])))
            if row.module in OTHER or row.module in ("SPPF", "AIFI"):
                found.append(("replace", partial(replace, cfg, row.number, "SE")))
    if _reads_maps(rows):
        found.append(("before the head", partial(before_head, cfg)))
        found += [("before the head", partial(before_head, cfg, only=k)) for k in range(len(rows[-1].sources))]
    return found


def insert_for_next(cfg: dict[str, Any], at: int) -> Edit | None:
    """Insert a row that only the next row reads, where other rows read the map before it; None if there are no others."""
    made, for_all = insert(cfg, at, "SE", [], attended=False), insert(cfg, at, "SE", [])
    return made if made.file() != for_all.file() and readers(made.nodes, made.nodes[at]) else None


def _reads_maps(rows: list[table.Row]) -> bool:
    return rows[-1].is_list and all(table.has_map_output(rows[target]) for target in rows[-1].reads())


def double_edits(cfg: dict[str, Any], seed: int, count: int) -> list[tuple[str, Callable[[], Edit | None]]]:
    """Return edits that insert rows at two or three places, and rows before the head; each with an own random place."""
    rng = random.Random(seed)
    rows = table.parse_rows(cfg)
    places = [row.number + 1 for row in rows[:-1] if table.has_map_output(row)]
    found: list[tuple[str, Callable[[], Edit | None]]] = []
    for _ in range(count if len(places) > 1 else 0):
        first, second = sorted(rng.sample(places, 2))
        found.append(("insert twice", partial(_insert_twice, cfg, first, second)))
    if _reads_maps(rows):
        found.append(("insert, and before the head", partial(_insert_and_before_head, cfg, rng.choice(places))))
        found.append(("insert behind each output", partial(_insert_behind_each_output, cfg)))
    return found


def _insert_twice(cfg: dict[str, Any], first: int, second: int) -> Edit:
    return then(insert(cfg, second, "SE", []), insert, first, "CBAM", [])


def _insert_and_before_head(cfg: dict[str, Any], at: int) -> Edit:
    return then(before_head(cfg), insert, at, "CBAM", [])


def _insert_behind_each_output(cfg: dict[str, Any]) -> Edit:
    targets = sorted(set(table.parse_rows(cfg)[-1].reads()), reverse=True)
    made = insert(cfg, targets[0] + 1, "SE", [])
    for target in targets[1:]:
        made = then(made, insert, target + 1, "SE", [])
    return made
