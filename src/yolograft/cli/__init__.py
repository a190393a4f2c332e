"""The command line: arguments to calls, nothing else. Help, version and errors in arguments import no torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from yolograft import __version__
from yolograft.errors import GraftError, nearest

__all__ = ["main"]

MODES = ("train", "val", "predict", "track", "export", "tune")

HELP = f"""yolograft {__version__}: attention blocks on any place of any Ultralytics YOLO

  yolograft MODE key=value ...        MODE: {' '.join(MODES)}; the keys are those of `yolo`, and
      graft=BLOCK@SITE                what to graft, as in graft=se@8 or graft="se(ratio=8)@p3,p4,p5 + eca@C3k2"
      blocks=my_blocks.py             a Python file with blocks of your own
      speed=auto|stock|float32|bfloat16    how to train on a CPU; auto measures, stock is Ultralytics' own way
      speed=resident|graphed          pictures on the device, and the network as a CUDA graph too; auto measures on a GPU
  yolograft sites model=yolo11n.yaml [imgsz=640]        the places where a block can go, and their names
  yolograft show  model=yolo11n.yaml graft=se@8         the structure with the graft in it, parameters and GFLOPs
  yolograft blocks                                      the blocks, their settings and defaults
  yolograft bench model=yolo11n.pt graft="se@8; se@C3k2" [imgsz=640] [batch=1] [repeats=30] [json=True]
                 [runtime=torch,onnxruntime,openvino] [threads=N] [device=0]
                                                        parameters, GFLOPs and latency beside the bare host's
  yolograft lint  my-yolo11.yaml [more.yaml ...]        what a hand edit broke in a model YAML; exit code 1 for errors
  yolograft yaml  model=yolo11n.yaml graft=se@8 [to=FILE]      the graft as rows of a hand-edited model YAML
  yolograft data neu-det SOURCE DEST                    NEU-DET into Ultralytics' format; any Pascal VOC set with
  yolograft data voc SOURCE DEST [names=a,b]            voc; both: [split=source] [overwrite=True]
  yolograft data steel DEST [images=300] [size=200] [seed=0]   a procedural set of steel defects, made in seconds
  yolograft demo  [graft=se@8] [model=yolo11n.pt]       a first comparison, on an embedded data set, in minutes

  yolograft study data=NEU-DET.yaml model=yolo11n.pt arms="none; se@8; cbam@8; aa" seeds=6 epochs=50
      arms="ARM; ARM; ..."            grafts, with train arguments of their own (se@8 lr0=0.005), or positions(se),
                                      blocks(8), ratios(se, 8), and the controls aa, params, gate1, scale
      seeds=6 metric=mAP50-95 baseline=none name= project=runs/study, and train arguments for all arms
      workers= per_gpu= budget=2h race=True retry=True test=True storage=URL executor=local|ray address=
  yolograft study plan.yaml                             the same from a file, or on with what was interrupted
  yolograft status runs/study/NAME                      how far a study is, from another terminal
  yolograft report runs/study/NAME                      what it says: one page, with tables and figures beside it
      lang=en|zh out=FOLDER pictures=FOLDER storage=URL cheaper=FOLDER (a study with fewer epochs: same order of arms?)
  yolograft completion bash|zsh                         the shell's completion: eval "$(yolograft completion bash)"

  yolograft train model=yolo11n.pt graft=se@8 data=NEU-DET.yaml epochs=100 imgsz=640
  yolograft val   model=runs/detect/train/weights/best.pt data=NEU-DET.yaml
"""


class UsageError(GraftError, ValueError):
    """The command line itself does not make sense."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 found something wrong, 2 could not do it, 130 stopped."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except GraftError as error:
        print(f"yolograft: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"\nyolograft: stopped{f'; {stop}' if str(stop) else '.'}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `yolograft sites ... | head`: nobody reads any more, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("help", "-h", "--help", "-help"):
        print(HELP)
        return 0
    if arguments[0] in ("version", "--version", "-V"):
        print(__version__)
        return 0
    command, rest = arguments[0], arguments[1:]
    if command in ("detect", "segment", "classify", "pose", "obb", "semantic", "depth") and rest:
        command, rest = rest[0], [f"task={command}", *rest[1:]]  # `yolo`'s TASK MODE order
    if command in MODES:
        return _mode(command, _pairs(rest))
    if command not in COMMANDS:
        raise UsageError(f"No command is named '{command}'.{nearest(command, (*MODES, *COMMANDS))} "
                         "List them: yolograft --help")
    return COMMANDS[command](rest)


def _pairs(words: list[str]) -> dict[str, str]:
    """Read `key=value` words as `yolo` does (spaces around '=' allowed, a bare key means True)."""
    joined: list[str] = []
    for word in words:
        if joined and (word.startswith("=") or joined[-1].endswith("=")):
            joined[-1] += word
        else:
            joined.append(word)
    pairs: dict[str, str] = {}
    for word in joined:
        key, equals, value = word.removeprefix("--").partition("=")
        if equals and not value:
            raise UsageError(f"'{word}' has no value. Expected key=value.")
        pairs[key.strip()] = value.strip().rstrip(",") if equals else "True"
    return pairs


def _check_keys(command: str, given: dict[str, str], known: dict[str, str]) -> dict[str, str]:
    for key in given:
        if key not in known:
            listed = ", ".join(f"{name}={value}" for name, value in known.items())
            raise UsageError(f"'{key}' is no argument of '{command}'.{nearest(key, known)} It takes: {listed}")
    return {**{key: value for key, value in known.items() if value}, **given}


def _mode(mode: str, pairs: dict[str, str]) -> int:
    """Run one of Ultralytics' modes on a model that may be grafted."""
    from yolograft.host import commands

    commands.run(mode, pairs)
    return 0


def _sites(words: list[str]) -> int:
    given = _check_keys("sites", _pairs(words), {"model": "yolo11n.yaml", "imgsz": "640", "graft": "", "blocks": ""})
    from yolograft.analysis import tables

    print(tables.sites_table(given["model"], _number("imgsz", given["imgsz"])))
    return 0


def _show(words: list[str]) -> int:
    known = {"model": "yolo11n.yaml", "graft": "", "imgsz": "640", "blocks": ""}
    given = _check_keys("show", _pairs(words), known)
    from yolograft.analysis import tables
    from yolograft.blocks import plugin

    if "blocks" in given:
        plugin.load_blocks(given["blocks"])
    print(tables.structure(given["model"], given.get("graft"), _number("imgsz", given["imgsz"])))
    return 0


def _blocks(words: list[str]) -> int:
    given = _check_keys("blocks", _pairs(words), {"blocks": ""})
    from yolograft import blocks

    if "blocks" in given:
        from yolograft.blocks import plugin

        plugin.load_blocks(given["blocks"])
    for name in blocks.names():
        settings = ", ".join(f"{key}={value}" for key, value in blocks.defaults(name).items())
        summary = (blocks.lookup(name).__doc__ or "").strip().split("\n")[0]
        print(f"{name:<14} {summary}\n{'':<14} {name}({settings})")
    return 0


def _data(words: list[str]) -> int:
    kinds = {"neu-det": ("SOURCE", "DEST"), "voc": ("SOURCE", "DEST"), "steel": ("DEST",)}
    if not words or words[0] not in kinds:
        told = f"No kind of data is named '{words[0]}'.{nearest(words[0], kinds)} " if words else ""
        raise UsageError(f"{told}Expected: yolograft data neu-det|voc SOURCE DEST, or yolograft data steel DEST")
    kind, places = words[0], [word for word in words[1:] if "=" not in word]
    pairs = _pairs([word for word in words[1:] if "=" in word])
    places += [pairs.pop(key.lower()) for key in kinds[kind] if key.lower() in pairs]
    if len(places) != len(kinds[kind]):
        from yolograft.data import neudet

        where = f" {neudet.WHERE}" if kind == "neu-det" and not places else ""
        raise UsageError(f"Expected: yolograft data {kind} {' '.join(kinds[kind])}; got {len(places)} of them.{where}")
    if kind == "steel":
        from yolograft.data import steel

        given = _check_keys("data steel", pairs, {"images": "300", "size": "200", "seed": "", "overwrite": ""})
        seed = 0 if given.get("seed", "0") == "0" else _number("seed", given["seed"])
        made = steel.write(places[0], images=_number("images", given["images"]), size=_number("size", given["size"]),
                           seed=seed, overwrite=_switch("overwrite", given))
        print(f"Data YAML: {made}")
        return 0
    known = {"split": "stratified", "overwrite": "", **({"names": ""} if kind == "voc" else {})}
    given = _check_keys(f"data {kind}", pairs, known)
    overwrite = _switch("overwrite", given)
    if kind == "voc":
        from yolograft.data import voc

        names = [name.strip() for name in given["names"].split(",")] if "names" in given else None
        report = voc.convert(places[0], places[1], names=names, split=given["split"], overwrite=overwrite)
    else:
        from yolograft.data import neudet

        report = neudet.convert(places[0], places[1], split=given["split"], overwrite=overwrite)
    print(report.text())
    return report.exit_code


def _switch(key: str, given: dict[str, str]) -> bool:
    text = given.get(key, "False").lower()
    if text not in ("true", "false", "1", "0"):
        raise UsageError(f"{key}={given[key]}: expected True or False.")
    return text in ("true", "1")


def _demo(words: list[str]) -> int:
    known = {"graft": "se@8", "model": "", "epochs": "", "imgsz": "128", "images": "300", "seed": "", "project": "runs/demo"}
    given = _check_keys("demo", _pairs(words), known)
    numbers: dict[str, int] = {key: _number(key, given.pop(key)) for key in ("epochs", "imgsz", "images") if key in given}
    if "seed" in given:
        numbers["seed"] = int(given["seed"]) if given["seed"] == "0" else _number("seed", given["seed"])
        del given["seed"]
    from yolograft.cli import demo

    demo.run(**given, **numbers)  # type: ignore[arg-type]  # both by keyword, each read above
    return 0


_RUN = ("workers", "executor", "address", "per_gpu", "storage", "budget", "retry", "test")


def _study(words: list[str]) -> int:
    """Run a study, or go on with one; 1 if trials failed."""
    files = [word for word in words if word.endswith((".yaml", ".yml")) and "=" not in word]
    given = _pairs([word for word in words if word not in files[:1]])
    where: dict[str, str] = {key: given.pop(key) for key in ("name", "project") if key in given}
    how = {key: given.pop(key) for key in _RUN if key in given}
    from yolograft.cli import console

    return console.run(files[0] if files else None, given, where, how)


def _status(words: list[str]) -> int:
    given = _check_keys("status", _pairs(words[1:]), {"storage": ""})
    if not words or "=" in words[0]:
        raise UsageError("Which study? Say its folder: yolograft status runs/study/NAME")
    from yolograft.study import status

    print(status(words[0], storage=given.get("storage")), end="")
    return 0


def _bench(words: list[str]) -> int:
    known = {"model": "yolo11n.yaml", "graft": "", "imgsz": "640", "batch": "1", "repeats": "30", "runtime": "torch",
             "threads": "", "device": "cpu", "json": "", "blocks": ""}
    given = _check_keys("bench", _pairs(words), known)
    numbers = {key: _number(key, given[key]) for key in ("imgsz", "batch", "repeats", "threads") if given.get(key)}
    from yolograft.analysis import runtimes
    from yolograft.analysis.bench import bench
    from yolograft.blocks import plugin

    if "blocks" in given:
        plugin.load_blocks(given["blocks"])
    grafts = [text.strip() for text in given.get("graft", "").split(";") if text.strip()]
    asked = [name.strip() for name in given["runtime"].split(",")]
    for runtime in asked:
        runtimes.check(runtime)
    as_json = _switch("json", given)
    for number, runtime in enumerate(asked):
        told = bench(given["model"], grafts, runtime=runtime, device=given["device"], **numbers)
        print(told.json() if as_json else f"{told}" if not number else f"\n{told}")
    return 0


def _completion(words: list[str]) -> int:
    from yolograft.cli import completion

    if len(words) != 1 or words[0] not in completion.SHELLS:
        raise UsageError(f"Which shell? Expected: yolograft completion {'|'.join(completion.SHELLS)}"
                         f"{nearest(words[0], completion.SHELLS) if words else ''}")
    print(completion.script(words[0], (*MODES, *COMMANDS)), end="")
    return 0


def _lint(words: list[str]) -> int:
    files = [word for word in words if not word.startswith("blocks=")]
    if not files:
        raise UsageError("'lint' needs a model YAML. Expected: yolograft lint MODEL.yaml [MORE.yaml ...] [blocks=FILE.py]")
    from yolograft.blocks import plugin
    from yolograft.modelyaml import lint

    for word in words:
        if word not in files:
            plugin.load_blocks(word.partition("=")[2])
    reports = [lint.examine(file.removeprefix("model=")) for file in files]
    print("\n\n".join(map(str, reports)))
    return int(any(report.errors for report in reports))


def _yaml(words: list[str]) -> int:
    given = _check_keys("yaml", _pairs(words), {"model": "yolo11n.yaml", "graft": "", "to": "", "blocks": ""})
    if "graft" not in given:
        raise UsageError("'yaml' needs a graft. Expected: yolograft yaml model=yolo11n.yaml graft=se@8 [to=FILE]")
    to = Path(given["to"]) if "to" in given else None
    if to is not None and to.exists():
        raise UsageError(f"to={to} exists, and is left as it is. Name another file, or remove it first.")
    from yolograft.blocks import plugin
    from yolograft.modelyaml import load, writer

    if "blocks" in given:
        plugin.load_blocks(given["blocks"])
    text = writer.dump(load.load(given["model"]), given["graft"])
    if to is None:
        print(text, end="")
        return 0
    try:
        with to.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"to={to} cannot be written: {error.strerror}.") from error
    print(f"{to}: '{given['graft']}' as rows of {given['model']}")
    return 0


def _report(words: list[str]) -> int:
    if not words or "=" in words[0]:
        raise UsageError("'report' needs the study's folder first, as in: yolograft report runs/study/NAME")
    given = _check_keys("report", _pairs(words[1:]), {"lang": "", "out": "", "pictures": "", "storage": "", "cheaper": ""})
    from yolograft import report

    languages = [given["lang"]] if "lang" in given else ["en", "zh"]
    for path in report.write(words[0], given.get("out"), languages=languages, pictures=given.get("pictures"),
                             storage=given.get("storage"), cheaper=given.get("cheaper")):
        print(path)
    return 0


def _number(key: str, text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise UsageError(f"{key}={text} is not a positive whole number.")
    return int(text)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "sites": _sites,
    "show": _show,
    "blocks": _blocks,
    "lint": _lint,
    "yaml": _yaml,
    "data": _data,
    "demo": _demo,
    "study": _study,
    "status": _status,
    "bench": _bench,
    "completion": _completion,
    "report": _report,
}
