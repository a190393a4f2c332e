"""Studies: the commands `study`, `study merge`, `status` and `report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from yolograft.cli import ultralytics_arguments
from yolograft.cli.arguments import UsageError, parse_bool, parse_pairs, rename
from yolograft.cli.command import Argument, Command
from yolograft.language import LANGUAGES, tr

__all__ = ["commands", "merge", "report", "run", "status"]


def commands() -> list[Command]:
    """Return the descriptions of this group's commands."""
    return [_study(), _merge(), _status(), _report()]


def _study() -> Command:
    return Command(
        name="study", summary=tr("compare blocks over several seeds, and say whether they help"),
        usage='data=DATA.yaml model=MODEL arms="ARM; ARM ..." [key=value ...], or: yolograft study plan.yaml',
        arguments=[
            Argument("data", "", tr("the data YAML, or several with commas between them: every arm is trained on each")),
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
            Argument("splits", "", tr("number of new splits of the images of train and val, the same for all arms: the "
                                      "verdicts then speak of other splits too. The seeds are spread over the splits, by "
                                      "default one on each")),
            Argument("split_seed", "0", tr("the seed of the splits")),
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
            Argument("latency", "True", tr("False does not measure the latency of all arms, at the end")),
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


def _merge() -> Command:
    return Command(
        name="study merge", summary=tr("merge studies of the same plan that ran on several machines into a new folder"),
        usage="A B [C ...] OUT",
        arguments=[Argument("out", "", tr("the new folder, if it is not the last path"))],
        example="yolograft study merge runs/study/machine-1 runs/study/machine-2 runs/study/both",
        notes=[tr("A and B are folders of studies, or of exported records (plan.yaml and trials.jsonl). Data, weights, "
                  "versions, settings and arms must be the same. A trial that both have must have the same result. Seeds "
                  "that were not planned count as a look. Nothing is overwritten, and OUT is a normal study: status, report "
                  "and study continue it.")])


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


# how to run, not what
_RUN = ("workers", "executor", "address", "per_gpu", "storage", "budget", "retry", "timeout", "test", "plan", "latency")


def run(words: Sequence[str]) -> int:
    """Run or continue a study; returns 1 if a trial failed, 130 if the user stopped it, and 0 otherwise."""
    if words and words[0] == "merge":
        return merge(words[1:])
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


def merge(words: Sequence[str]) -> int:
    """Merge studies into a new folder and print the merged study."""
    paths = [word for word in words if "=" not in word]
    pairs = _merge().read(word for word in words if "=" in word)
    paths += [pairs["out"]] if pairs.get("out") else []
    if len(paths) < 3:
        raise UsageError(tr("'{command}' needs at least two studies and the new folder, as in: {example}",
                            command="study merge", example=_merge().example))
    from yolograft import shell
    from yolograft.study.merge import merge as merge_studies
    from yolograft.study.progress import status as progress

    study = merge_studies(paths[:-1], paths[-1], tell=print)
    print(tr("Merged {studies} studies: {folder}", studies=len(paths) - 1, folder=paths[-1]))
    print(progress(study.folder), end="")
    print(tr("Write the report, one page with tables and figures:\n  {command}",
             command=shell.command("report", study.folder)))
    return 0


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

    languages = [arguments["lang"]] if "lang" in arguments else LANGUAGES
    for path in write(words[0], arguments.get("out"), languages=languages, pictures=arguments.get("pictures"),
                      storage=arguments.get("storage"), cheaper=arguments.get("cheaper")):
        print(path)
    return 0
