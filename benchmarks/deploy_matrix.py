"""Check every block in every target that this machine can run, and write the matrix of docs/deploy.md.

The host is YOLO11n with settled batch norms, at two small image sizes; each block stands on p3, p4 and p5, with its
parameters changed at random. Results are kept after each block and target, so an interrupted run goes on where it stopped.

    python benchmarks/deploy_matrix.py [blocks=se,cbam] [targets=onnx,ncnn] [sites=p3,p4,p5] [fresh=True]

Run `python docs/make_deploy.py` afterwards.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

import torch

from yolograft import YOLO, blocks
from yolograft.analysis import targets
from yolograft.analysis.deploy_check import check_networks, noise, prepare
from yolograft.analysis.matrix import FILE, versions_of
from yolograft.atomic import atomic_write
from yolograft.cli.arguments import parse_pairs

SIZES = (96, 64)


def kinds(name: str) -> Iterable[tuple[int, bool]]:
    """One export that takes both sizes, or one for each size where a format is fixed."""
    return [(SIZES[0], True)] if targets.takes_dynamic(name) else [(size, False) for size in SIZES]


def main() -> None:
    torch.set_num_threads(1)
    arguments = parse_pairs(sys.argv[1:])
    names = arguments.get("blocks", ",".join(blocks.names())).split(",")
    sites = arguments.get("sites", "p3,p4,p5")
    matrix = {"blocks": {}} if arguments.get("fresh") == "True" or not FILE.is_file() else json.loads(FILE.read_text())
    pictures = {size: noise(size) for size in SIZES}
    network = prepare(YOLO("yolo11n.yaml").model, "se@8", is_new=True)[0]  # settled, without a block
    for target in targets.parse_targets(arguments.get("targets", ",".join(targets.CHECKED))):
        todo = [name for name in names if target not in matrix["blocks"].get(name, {})]
        for first in range(0, len(todo), 4):  # the host is exported once for four blocks
            part = todo[first:first + 4]
            prepared = [prepare(network, f"{name}@{sites}", is_new=False) for name in part]
            with tempfile.TemporaryDirectory() as folder:
                found = check_networks(prepared[0][0], [one[1] for one in prepared], [target], folder=Path(folder),
                                       sizes=SIZES, pictures=pictures, kinds=kinds, threads=1,
                                       say=lambda line: print(line, flush=True))
                shutil.rmtree(folder, ignore_errors=True)
            for name, (result,) in zip(part, found, strict=True):
                facts = asdict(result)
                kept = {key: facts[key] for key in ("status", "reason", "error", "host_error", "added", "new", "deep",
                                                    "open_reshapes")}
                matrix["blocks"].setdefault(name, {})[target] = kept
                print(f"{target} {name}: {result.status} {result.reason}", flush=True)
            matrix |= {"date": datetime.now(timezone.utc).strftime("%Y-%m-%d"), "sizes": SIZES, "sites": sites,
                       "versions": {**matrix.get("versions", {}), **versions_of([target])}}
            text = json.dumps(matrix, indent=1) + "\n"
            atomic_write(FILE, lambda file, text=text: file.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    main()
