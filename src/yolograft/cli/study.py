"""Studies: the commands `study`, `status` and `report`."""

from __future__ import annotations

from collections.abc import Sequence

from yolograft.cli.arguments import UsageError, parse_pairs, with_defaults

__all__ = ["HELP", "report", "run", "status"]

HELP = """\
  yolograft study data=NEU-DET.yaml model=yolo11n.pt arms="none; se@8; cbam@8; aa" seeds=6 epochs=50
      arms="ARM; ARM; ..."            grafts, each with its own train arguments (se@8 lr0=0.005), or positions(se),
                                      blocks(8), ratios(se, 8), and the controls aa, params, gate1, scale
      seeds=6 metric=mAP50-95 baseline=none name= project=runs/study, and train arguments for all arms
      workers= per_gpu= budget=2h race=True retry=True test=True storage=URL executor=local|ray address=
  yolograft study plan.yaml                             runs a plan from a file, or continues an interrupted study
  yolograft status runs/study/NAME                      shows the progress of a study, from any terminal
  yolograft report runs/study/NAME                      writes the results: one page, with tables and figures
      lang=en|zh out=FOLDER pictures=FOLDER storage=URL cheaper=FOLDER (a study with fewer epochs: same ranking of arms?)"""

_RUN = ("workers", "executor", "address", "per_gpu", "storage", "budget", "retry", "test")  # how to run, not what


def run(words: Sequence[str]) -> int:
    """Run or continue a study; returns 1 if a trial failed, 130 if the user stopped it, and 0 otherwise."""
    files = [word for word in words if word.endswith((".yaml", ".yml")) and "=" not in word][:1]
    pairs = parse_pairs(word for word in words if word not in files)
    location: dict[str, str] = {key: pairs.pop(key) for key in ("name", "project") if key in pairs}
    options = {key: pairs.pop(key) for key in _RUN if key in pairs}
    from yolograft.cli import console

    return console.run(files[0] if files else None, pairs, location, options)


def status(words: Sequence[str]) -> int:
    """Print the progress of a study."""
    if not words or "=" in words[0]:
        raise UsageError("'status' needs the study's folder first, as in: yolograft status runs/study/NAME")
    arguments = with_defaults("status", parse_pairs(words[1:]), {"storage": ""})
    from yolograft.study import status as progress

    print(progress(words[0], storage=arguments.get("storage")), end="")
    return 0


def report(words: Sequence[str]) -> int:
    """Write the report of a study and print the paths of its pages."""
    if not words or "=" in words[0]:
        raise UsageError("'report' needs the study's folder first, as in: yolograft report runs/study/NAME")
    defaults = {"lang": "", "out": "", "pictures": "", "storage": "", "cheaper": ""}
    arguments = with_defaults("report", parse_pairs(words[1:]), defaults)
    from yolograft.report import write

    languages = [arguments["lang"]] if "lang" in arguments else ["en", "zh"]
    for path in write(words[0], arguments.get("out"), languages=languages, pictures=arguments.get("pictures"),
                      storage=arguments.get("storage"), cheaper=arguments.get("cheaper")):
        print(path)
    return 0
