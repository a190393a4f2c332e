"""Studies: the commands `study`, `status` and `report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from yolograft.cli import ultralytics_arguments
from yolograft.cli.arguments import UsageError, parse_bool, parse_pairs, rename
from yolograft.cli.command import Argument, Command
from yolograft.language import tr

__all__ = ["commands", "report", "run", "status"]


def commands() -> list[Command]:
    """Return the descriptions of this group's commands."""
    return [_study(), _status(), _report()]


def _study() -> Command:
    return Command(
        name="study", summary=tr("compare blocks over several seeds, and say whether they help"),
        usage='data=DATA.yaml model=MODEL arms="ARM; ARM ..." [key=value ...], or: yolograft study plan.yaml',
        arguments=[
            Argument("data", "", tr("the data YAML")),
            Argument("model", "", tr("the model YAML or the checkpoint of all arms")),
            Argument("arms", "", tr("the configurations, with semicolons between them: grafts, each with its own "
                                    "train arguments (se@8 lr0=0.005), model YAMLs (my.yaml + se@8), the groups "
                                    "positions(se), blocks(8) and ratios(se, 8), and the controls aa, params, gate1 "
                                    "and scale")),
            Argument("blocks", "", tr("a Python file that defines your own blocks")),
            Argument("modules", "", tr("a Python file whose classes rows of the model YAML name")),
            Argument("seeds", "6", tr("number of seeds, or a list such as 0,1,2. Fewer than 6 cannot give an answer. "
                                      "seeds=6..12 has a look after each number of seeds from 6 to 12")),
            Argument("looks", "", tr("numbers of seeds after which verdicts are given, as in looks=6,8,10,12: the study "
                                     "ends as soon as every arm has one, and the error rate stays 5%")),
            Argument("margin", "0.01", tr("a difference of the metric up to this counts as none; None for no such verdict")),
            Argument("plan", "False", tr("True prints what these seeds can find and exclude, and runs nothing")),
            Argument("metric", "mAP50-95", tr("the metric that is tested: mAP50-95, mAP50, precision, recall, "
                                              "accuracy, fitness")),
            Argument("baseline", "none", tr("the arm that the others are compared with")),
            Argument("register", "True", tr("False leaves this study out of the count of your studies of the same data")),
            Argument("race", "False", tr("True stops an arm that can no longer win")),
            Argument("name", "", tr("name of the study's folder; by default from data and model")),
            Argument("project", "runs/study", tr("the folder of the studies")),
            Argument("workers", "", tr("number of trials at the same time; by default one on each GPU")),
            Argument("per_gpu", "1", tr("number of trials that share one GPU")),
            Argument("budget", "", tr("starts no trial that would end later, as in budget=2h")),
            Argument("retry", "False", tr("True runs failed trials again")),
            Argument("timeout", "1h", tr("a trial without an epoch and without CPU time for so long hangs: it is ended and "
                                         "continues once; a slow epoch never counts")),
            Argument("test", "False", tr("True scores the best arm once on the test split, at the end")),
            Argument("storage", "", tr("URL of a data base server, for several machines")),
            Argument("allow_download", "False", tr("True lets the `download:` key of your data YAML run or download")),
            Argument("executor", "local", tr("local, or ray for a Ray cluster")),
            Argument("address", "", tr("address of the Ray cluster, as in address=auto")),
            Argument("host", "ultralytics", tr("what trains; yolograft.study.dummy trains nothing, for tests")),
        ],
        example='yolograft study data=NEU-DET.yaml model=yolo11n.pt arms="none; se@8; cbam@8; aa" seeds=6 epochs=50',
        notes=[tr("A model YAML is built at the scale of the study's model, and starts from its weights in the rows that "
                  "both share. Its text is stored in the plan."),
               tr("Every other argument is a train argument of all arms, as in epochs=50 imgsz=640. List them: "
                  "yolograft train --help"),
               tr("You can stop a study at any time. The same command, or yolograft study runs/study/NAME/plan.yaml, "
                  "continues it.")])


def _status() -> Command:
    return Command(
        name="status", summary=tr("show the progress of a study, from any terminal"), usage="runs/study/NAME [storage=URL]",
        arguments=[Argument("storage", "", tr("URL of the data base server, if the study uses one"))],
        example="yolograft status runs/study/NAME")


def _report() -> Command:
    return Command(
        name="report", summary=tr("write the results of a study as one page, with tables and figures"),
        usage="runs/study/NAME [key=value ...]",
        arguments=[
            Argument("lang", "", tr("en or zh; by default both")),
            Argument("out", "", tr("the folder to write to; by default the folder `report` of the study")),
            Argument("pictures", "", tr("the folder of the validation images, if it has moved")),
            Argument("storage", "", tr("URL of the data base server, if the study uses one")),
            Argument("cheaper", "", tr("folder of a study of the same arms with fewer epochs: does it rank them alike?"))],
        example="yolograft report runs/study/NAME")


_RUN = ("workers", "executor", "address", "per_gpu", "storage", "budget", "retry", "timeout", "test",
        "plan")  # how to run, not what


def run(words: Sequence[str]) -> int:
    """Run or continue a study; returns 1 if a trial failed, 130 if the user stopped it, and 0 otherwise."""
    given = parse_pairs(words)
    # a file alone is a plan; in `--data DATA.yaml` it is a value
    files = [key for key, value in given.items() if value == "True" and key.endswith((".yaml", ".yml"))][:1]
    pairs = _rename({key: value for key, value in given.items() if key not in files})
    location: dict[str, str] = {key: pairs.pop(key) for key in ("name", "project") if key in pairs}
    options = {key: pairs.pop(key) for key in _RUN if key in pairs}
    if parse_bool("allow_download", pairs.pop("allow_download", "False")):
        from yolograft.host.data_download import allow_download

        allow_download()
    from yolograft.cli import console

    return console.run(files[0] if files else None, pairs, location, options)


def _rename(pairs: Mapping[str, str]) -> dict[str, str]:
    """Return the arguments of a study with the names of other repositories replaced by Ultralytics' and the study's."""
    given = dict(pairs)
    if given.get("cfg", "").endswith((".yaml", ".yml")) and not given.get("model", given.get("weights")):
        given.pop("weights", None)  # YOLOv5's --weights '' --cfg MODEL.yaml trains from scratch
        given["model"] = given.pop("cfg")
    known = set(_study().defaults())
    if given.get("host", "ultralytics") == "ultralytics":  # another host has arguments of its own
        known |= set(ultralytics_arguments.names())
    # `workers` are trials at the same time here, and not the processes that load images
    return rename(given, known - {"workers"})


def status(words: Sequence[str]) -> int:
    """Print the progress of a study."""
    if not words or "=" in words[0]:
        raise UsageError(tr("'{command}' needs the study's folder first, as in: {example}", command="status",
                            example=_status().example))
    arguments = _status().read(words[1:])
    from yolograft.study import status as progress

    print(progress(words[0], storage=arguments.get("storage")), end="")
    return 0


def report(words: Sequence[str]) -> int:
    """Write the report of a study and print the paths of its pages."""
    if not words or "=" in words[0]:
        raise UsageError(tr("'{command}' needs the study's folder first, as in: {example}", command="report",
                            example=_report().example))
    arguments = _report().read(words[1:])
    from yolograft.report import write

    languages = [arguments["lang"]] if "lang" in arguments else ["en", "zh"]
    for path in write(words[0], arguments.get("out"), languages=languages, pictures=arguments.get("pictures"),
                      storage=arguments.get("storage"), cheaper=arguments.get("cheaper")):
        print(path)
    return 0
