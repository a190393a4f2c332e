"""Keep a study's finished trials as one small file; make a study folder from it that continues, or its page again.

    python benchmarks/study_records.py export runs/study/NAME docs/results/NAME
    python benchmarks/study_records.py restore docs/results/NAME runs/study/NAME
    python benchmarks/study_records.py report docs/results/NAME [FOLDER]
    python benchmarks/study_records.py from-table docs/results/NAME

`export` writes `plan.yaml`, `trials.jsonl` and, if it was measured, `latency.json`. `trials.jsonl` has one line for each
finished trial, with its description, its result and its metrics after each epoch. It leaves out checkpoints, detections,
logs, and everything that names the machine's folders. `restore` writes a folder from which `yolograft study
runs/study/NAME/plan.yaml` continues: finished trials are not trained again. Install the versions that the plan names, since
a study refuses others. `report` writes the pages, tables and figures of the records into their own folder, or into another
one; it needs neither the data nor the weights. `from-table` makes `trials.jsonl` from `plan.yaml` and `tables/trials.csv` of
a study of which nothing else was kept: without learning curves and classes.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from yolograft.report import write
from yolograft.study import Study
from yolograft.study.latency import FILE as LATENCY
from yolograft.study.plan import Plan
from yolograft.study.storage import Row
from yolograft.study.trial import Result

FILES = ("trial.json", "result.json", "epochs.jsonl")
TRIALS = "trials.jsonl"
_KEYS = ("arm", "seed", "state", "key", "reason")  # the columns of tables/trials.csv that are no numbers


def export(study: Path, records: Path) -> int:
    """Write the records of a study's finished trials, sorted by seed and arm; returns their number."""
    plan = yaml.safe_load((study / "plan.yaml").read_text(encoding="utf-8"))
    plan.pop("hardware", None)
    order = {arm: number for number, arm in enumerate(plan["arms"])}
    lines: list[dict[str, Any]] = []
    for folder in sorted((study / "trials").iterdir()):
        if not (folder / "result.json").is_file():
            continue
        trial, result = (json.loads((folder / name).read_text(encoding="utf-8")) for name in FILES[:2])
        result["notes"] = {key: value for key, value in result["notes"].items() if key != "checkpoint"}
        epochs = [json.loads(line) for line in (folder / FILES[2]).read_text(encoding="utf-8").splitlines()]
        lines.append({"key": folder.name, "trial": trial, "result": result, "epochs": epochs})
    lines.sort(key=lambda line: (line["trial"]["seed"], order[line["trial"]["arm"]]))
    records.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(plan, sort_keys=False, allow_unicode=True, width=110)
    (records / "plan.yaml").write_text(text, encoding="utf-8")
    _write_lines(records, lines)
    if (study / LATENCY).is_file():
        shutil.copyfile(study / LATENCY, records / LATENCY)
    return len(lines)


def restore(records: Path, study: Path) -> int:
    """Write a study folder from records; returns the number of finished trials in it."""
    if (study / "plan.yaml").exists():
        sys.exit(f"{study} has a study already. Name a new folder.")
    lines = _read_lines(records)
    for line in lines:
        folder = study / "trials" / line["key"]
        folder.mkdir(parents=True)
        (folder / FILES[0]).write_text(json.dumps(line["trial"]), encoding="utf-8")
        (folder / FILES[1]).write_text(json.dumps(line["result"]), encoding="utf-8")
        (folder / FILES[2]).write_text("".join(json.dumps(epoch) + "\n" for epoch in line["epochs"]), encoding="utf-8")
    (study / "plan.yaml").write_bytes((records / "plan.yaml").read_bytes())
    if (records / LATENCY).is_file():
        shutil.copyfile(records / LATENCY, study / LATENCY)
    return len(lines)


def report(records: Path, folder: Path | None = None) -> int:
    """Write the report of records into their own folder or another one; returns the number of finished trials."""
    plan = Plan.read(records / "plan.yaml", recorded=True)
    rows = [Row(id=number, number=number, key=line["key"], arm=line["trial"]["arm"], seed=line["trial"]["seed"],
                state="complete", result=Result(**line["result"]), points=json.dumps(line["epochs"]))
            for number, line in enumerate(_read_lines(records))]
    write(Study(records, plan, tuple(rows)), folder or records)
    return len(rows)


def from_table(records: Path) -> int:
    """Write `trials.jsonl` from the plan and `tables/trials.csv`, whose keys must agree; returns the number of trials."""
    plan = Plan.read(records / "plan.yaml", recorded=True)
    trials = {trial.key: trial for trial in plan.trials()}
    with (records / "tables" / "trials.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["state"] == "complete"]
    lines = []
    for row in rows:
        if row["key"] not in trials:
            sys.exit(f"{row['arm']}, seed {row['seed']}: the trial {row['key']} is not one of the plan.")
        numbers = {key: float(value) for key, value in row.items() if key not in _KEYS and value}
        costs = list(numbers)[list(numbers).index("seconds"):]  # the metrics come first
        result = Result(metrics={key: value for key, value in numbers.items() if key not in costs},
                        costs={key: numbers[key] for key in costs})
        lines.append({"key": row["key"], "trial": asdict(trials[row["key"]]), "result": asdict(result), "epochs": []})
    _write_lines(records, lines)
    return len(lines)


def _read_lines(records: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (records / TRIALS).read_text(encoding="utf-8").splitlines()]


def _write_lines(records: Path, lines: list[dict[str, Any]]) -> None:
    (records / TRIALS).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


COMMANDS = {"export": (export, (2,)), "restore": (restore, (2,)), "report": (report, (1, 2)),
            "from-table": (from_table, (1,))}  # the function, and how many folders it takes


def main(words: list[str]) -> None:
    """Run one of the commands."""
    command, counts = COMMANDS.get(words[0] if words else "", (None, ()))
    if command is None or len(words) - 1 not in counts:
        sys.exit(__doc__)
    print(f"{command(*map(Path, words[1:]))} finished trials: {words[-1]}")


if __name__ == "__main__":
    main(sys.argv[1:])
