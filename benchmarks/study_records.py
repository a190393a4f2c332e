"""Keep a study's finished trials as one small file, and make a study folder from it that continues on another machine.

    python benchmarks/study_records.py export runs/study/NAME docs/results/NAME
    python benchmarks/study_records.py restore docs/results/NAME runs/study/NAME

`export` writes `plan.yaml` and `trials.jsonl`: one line for each finished trial, with its description, its result and its
metrics after each epoch. It leaves out checkpoints, detections, logs, and everything that names the machine's folders.
`restore` writes a folder from which `yolograft study runs/study/NAME/plan.yaml` continues: finished trials are not trained
again. Install the versions that the plan names, since a study refuses others. Reports of a restored study have no figures
that need the detections.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

FILES = ("trial.json", "result.json", "epochs.jsonl")


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
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (records / "trials.jsonl").write_text(text, encoding="utf-8")
    return len(lines)


def restore(records: Path, study: Path) -> int:
    """Write a study folder from records; returns the number of finished trials in it."""
    if (study / "plan.yaml").exists():
        sys.exit(f"{study} has a study already. Name a new folder.")
    lines = [json.loads(line) for line in (records / "trials.jsonl").read_text(encoding="utf-8").splitlines()]
    for line in lines:
        folder = study / "trials" / line["key"]
        folder.mkdir(parents=True)
        (folder / FILES[0]).write_text(json.dumps(line["trial"]), encoding="utf-8")
        (folder / FILES[1]).write_text(json.dumps(line["result"]), encoding="utf-8")
        (folder / FILES[2]).write_text("".join(json.dumps(epoch) + "\n" for epoch in line["epochs"]), encoding="utf-8")
    (study / "plan.yaml").write_bytes((records / "plan.yaml").read_bytes())
    return len(lines)


def main(words: list[str]) -> None:
    """Run one of the two commands."""
    if len(words) != 3 or words[0] not in ("export", "restore"):
        sys.exit(__doc__)
    run = export if words[0] == "export" else restore
    print(f"{run(Path(words[1]), Path(words[2]))} finished trials: {words[2]}")


if __name__ == "__main__":
    main(sys.argv[1:])
