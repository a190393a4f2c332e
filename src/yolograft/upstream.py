"""Every internal of Ultralytics and PyTorch that yolograft patches, overrides or relies on: one list.

`docs/make_upstream.py` writes docs/upstream.md from it, and `tests/test_0_upstream.py`, the first test file, checks every
entry against the installed packages. Another test reads the imports, the `patched(...)` calls and the overridden
methods of the package, and fails where one has no entry here. Standard library only: `problem` imports what it checks.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

__all__ = ["INTERNALS", "Internal", "problem"]

# Our files, relative to this folder. A file that moves changes on one line here.
ACCELERATION = "fast/acceleration.py"
ADOPT = "host/adopt.py"
ASSIGNER_LOSS = "fast/cpu/assigner_loss.py"
ATTACH = "attach.py"
AUGMENT = "fast/gpu/batched_augment.py"
BATCHNORM_SILU = "fast/cpu/batchnorm_silu.py"
BENCH = "analysis/bench.py"
BF16 = "fast/cpu/bf16.py"
BUILD = "host/build.py"
CANDIDATES = "analysis/candidates.py"
CHANGE_SWAP = "host/change_swap.py"
CACHE = "fast/cache.py"
CATALOG = "modelyaml/catalog.py"
CHECKPOINT_FILES = "host/checkpoint_files.py"
CHECKPOINT_GUARD = "host/checkpoint_guard.py"
COMMANDS = "host/commands.py"
COMPLETION = "cli/completion.py"
CPU_SELECT = "fast/cpu/select.py"
CUDA_GRAPH = "fast/gpu/cuda_graph.py"
DATA_DOWNLOAD = "host/data_download.py"
DEFAULT_DATA = "host/default_data.py"
DEPLOY_TARGETS = "analysis/targets.py"
DYSAMPLE = "modules/dysample.py"
EVALUATE = "runner/evaluate.py"
FINGERPRINT = "runner/fingerprint.py"
FOLD = "analysis/fold.py"
GPU_SELECT = "fast/gpu/select.py"
HEATMAP_FOLDER = "analysis/heatmap_folder.py"
IMAGE_LOSS = "analysis/image_loss.py"
HALF_PRECISION = "host/half_precision.py"
INT8 = "analysis/int8.py"
LOAD = "modelyaml/load.py"
LAYER_TABLE = "host/layer_table.py"
LABEL_CACHE = "host/label_cache.py"
LOG = "host/log.py"
MODELS = "host/models.py"
MODEL_SIZE = "host/model_size.py"
MODEL_NAMES = "host/model_names.py"
MODULE_ROWS = "host/module_rows.py"
MOSAIC = "host/mosaic.py"
NMS = "fast/cpu/nms.py"
OPERATOR_GRAPH = "analysis/operator_graph.py"
PRECISION_RECALL = "analysis/precision_recall.py"
BLOCK_PAGE = "analysis/block_page.py"
BLOCK_TRAINING = "analysis/block_training.py"
BOX_LOSS = "host/box_loss.py"
PROFILE = "analysis/profile.py"
UNASKED = "host/unasked.py"
UNNAMED_WEIGHTS = "host/unnamed_weights.py"
PACK = "host/pack.py"
RESIDENT = "fast/gpu/resident_dataset.py"
RESPLIT = "runner/resplit.py"
RUNTIMES = "analysis/runtimes.py"
RUN_FOLDER = "host/run_folder.py"
RUN_RECORD = "host/run_record.py"
SAFETENSORS = "host/safetensors_file.py"
SAMPLER = "runner/sampler.py"
SEEDING = "seeding.py"
SITES = "sites.py"
SUBPROCESSES = "host/subprocesses.py"
SWAPS = "host/swaps.py"
TABLE = "modelyaml/table.py"
THREADS = "threads.py"
TRAIN = "runner/train.py"
TRAINER = "host/trainer.py"
TRANSFER = "host/transfer.py"
MODEL_YAML = "runner/model_yaml.py"
TRIAL_TRAINER = "runner/trainer.py"
UPSAMPLE = "fast/cpu/upsample.py"
USED_IMAGES = "host/used_images.py"
VALIDATION = "analysis/validation.py"
YOLO = "host/yolo.py"

_OLDEST = {"ultralytics": "8.3.0", "torch": "2.2"}  # the lower bounds of pyproject.toml


@dataclass(frozen=True, kw_only=True)
class Internal:
    """One internal of Ultralytics or PyTorch, and what of it yolograft needs.

    Attributes:
        name: `module:attribute`, or several places joined by " or " of which one must exist.
        kind: `patched` (replaced during a call, or on an object of one training), `overridden` (by a subclass of ours) or
            `relied on`.
        files: our files that need it, relative to src/yolograft; the first is the one to look at.
        why: what we need it for.
        breaks: what happens if it changes.
        since: the first version of the package that is known to have it; older versions are not checked. Empty for the
            oldest version that yolograft supports.
        parameters: names that its signature must have.
        attributes: attributes of its instances that its source must set.
        source: texts that its source must contain, all of them; runs of white space count as one space.
        either: texts of which its source must contain one, because versions differ.
    """

    name: str
    kind: Literal["patched", "overridden", "relied on"]
    files: tuple[str, ...]
    why: str
    breaks: str
    since: str = ""
    parameters: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    either: tuple[str, ...] = ()

    @property
    def package(self) -> str:
        """The package's import name: `ultralytics` or `torch`."""
        return self.name.partition(":")[0].partition(".")[0]

    @property
    def versions(self) -> str:
        """The versions in which we need it, in words."""
        first = self.since or _OLDEST[self.package]
        return f"PyTorch {first} and later" if self.package == "torch" else f"{first} to 8.4.x"

    def applies(self, version: str) -> bool:
        """Return whether a version of the package, such as "8.4.190", must have it."""
        return _numbers(version) >= _numbers(self.since or _OLDEST[self.package])


def problem(internal: Internal) -> str:
    """Return what moved in the installed package, and our file to look at; empty if all is as the list says."""
    version = str(import_module(internal.package).__version__)
    moved = _moved(internal)
    if not moved:
        return ""
    return (f"{internal.name} {moved} in {internal.package} {version}. Look at "
            f"{', '.join(f'src/yolograft/{file}' for file in internal.files)}. yolograft needs it: {internal.why} If it "
            f"changed: {internal.breaks}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("+")[0].split(".") if part.isdecimal())


def _moved(internal: Internal) -> str:
    found = next(_existing(internal.name), None)
    if found is None:
        return "does not exist"
    target = found[0]
    if internal.parameters:
        known = inspect.signature(target).parameters
        absent = [name for name in internal.parameters if name not in known]
        if absent:
            return f"has no parameter {', '.join(absent)}"
    if internal.attributes or internal.source or internal.either:
        text = _squeezed(inspect.getsource(target))
        absent = [name for name in internal.attributes if f"self.{name} =" not in text]
        if absent:
            return f"no longer sets self.{', self.'.join(absent)}"
        absent = [line for line in internal.source if _squeezed(line) not in text]
        if absent:
            return f"no longer contains {' and '.join(map(repr, absent))}"
        if internal.either and not any(_squeezed(line) in text for line in internal.either):
            return f"contains none of {' and '.join(map(repr, internal.either))}"
    return ""


def _existing(name: str) -> Iterator[tuple[Any]]:
    """Give the attributes that exist among the places of a name, each in a tuple, since an attribute may be None."""
    for place in name.split(" or "):
        module, _, path = place.partition(":")
        try:
            found: Any = import_module(module)
            for part in path.split("."):
                found = inspect.getattr_static(found, part) if isinstance(found, type) else getattr(found, part)
                found = found.__func__ if isinstance(found, (staticmethod, classmethod)) else found
        except (ImportError, AttributeError):
            continue
        yield (found,)


def _squeezed(text: str) -> str:
    return " ".join(text.split())


_ANY_TRAINER = "ultralytics.engine.trainer:BaseTrainer"
_DETECTION_TRAINER = "ultralytics.models.yolo.detect:DetectionTrainer"
_MODEL = "ultralytics.engine.model:Model"

INTERNALS: tuple[Internal, ...] = (
    # Public names of Ultralytics
    Internal(
        name="ultralytics:__version__", kind="relied on",
        files=(CPU_SELECT, MOSAIC, CATALOG, TRIAL_TRAINER, TRAIN, PACK, HEATMAP_FOLDER, RUN_RECORD),
        why="Messages, the record of a study, and the key of a measured choice name the installed version.",
        breaks="A study cannot record its versions."),
    Internal(
        name="ultralytics.utils:LOGGER", kind="relied on",
        files=(TRAINER,
               UNASKED, MODELS, BUILD, COMMANDS, YOLO, CPU_SELECT, ACCELERATION, ASSIGNER_LOSS, GPU_SELECT, RUNTIMES,
               TRIAL_TRAINER, LAYER_TABLE, LOG, MODEL_NAMES, RUN_FOLDER, MODULE_ROWS, CHANGE_SWAP, LABEL_CACHE,
               VALIDATION, FOLD),
        why="Our messages go to the log of Ultralytics.", breaks="Messages of yolograft are lost, or imports fail."),
    Internal(
        name="ultralytics.utils:DEFAULT_CFG_DICT", kind="relied on",
        files=(COMMANDS, TRAINER, YOLO, MOSAIC, SAFETENSORS, TRAIN, ADOPT, RUN_FOLDER, BLOCK_TRAINING, IMAGE_LOSS, INT8,
               DEFAULT_DATA),
        why="It lists every train argument with its default.",
        breaks="Valid arguments are refused, or unknown ones pass."),
    Internal(
        name="ultralytics.utils:DEFAULT_CFG", kind="relied on", files=(TRAINER,),
        why="It is the default of a trainer's first parameter.",
        breaks="A grafted trainer cannot be built without a cfg."),
    Internal(
        name="ultralytics.utils:RANK", kind="relied on", files=(GPU_SELECT,),
        why="It is -1 outside of multi-GPU training.", breaks="Resident images would be used on several GPUs."),
    Internal(
        name="ultralytics.cfg:get_cfg", kind="relied on", files=(COMMANDS, TRAIN, RUN_FOLDER), parameters=("overrides",),
        why="It checks types and values of train arguments.",
        breaks="A wrong argument is found late, with a traceback."),
    Internal(
        name="ultralytics.cfg:smart_value", kind="relied on", files=(COMMANDS,),
        why="It reads a value of the command line as `yolo` does.",
        breaks="`key=value` means another thing than in `yolo`."),
    Internal(
        name="ultralytics.utils.checks:check_yaml", kind="relied on", files=(CATALOG,), parameters=("hard",),
        why="With `hard=False` it finds a model YAML or returns nothing.",
        breaks="A file that Ultralytics cannot decode is not opened, or a mistake in it is not named."),
    Internal(
        name="ultralytics.cfg:_handle_deprecation", kind="relied on", files=(COMMANDS,),
        source=("custom.pop(", "return custom"),
        why="It replaces old names of arguments, as `yolo` does.", breaks="An old name, such as half=True, is refused."),
    Internal(
        name="ultralytics.cfg:TASK2MODEL", kind="relied on", files=(COMMANDS,),
        why="It has the default model of each task.", breaks="A command without `model` fails."),
    Internal(
        name="ultralytics.cfg:TASK2DATA", kind="relied on", files=(COMMANDS, DEFAULT_DATA),
        why="It has the default data of each task.", breaks="A training without `data` fails."),
    Internal(
        name="ultralytics.utils:ASSETS", kind="relied on", files=(COMMANDS, YOLO),
        why="It has the images that `yolo predict` reads by default.", breaks="A prediction without `source` fails."),
    Internal(
        name="ultralytics.engine.model:ARGV", kind="patched", files=(COMMANDS, YOLO),
        why="`Model.predict` saves and prints as `yolo` does if it names that program.",
        breaks="`yolograft predict` and `track` save no images."),
    Internal(
        name="ultralytics.cfg:get_save_dir", kind="relied on", files=(RUN_FOLDER,), parameters=("args", "name"),
        why="It returns the folder that a run will make.", breaks="The log names another folder than that of the results."),
    Internal(
        name="ultralytics.utils:RUNS_DIR", kind="relied on", files=(FOLD,),
        why="It is the folder of runs without `project`.", breaks="`yolograft fold` fails."),
    Internal(
        name="ultralytics.utils.files:increment_path", kind="relied on", files=(FOLD,), parameters=("path",),
        why="It gives a new run a folder of its own.", breaks="`yolograft fold` fails."),
    Internal(
        name="ultralytics.nn.modules.head:Detect.forward", kind="relied on", files=(OPERATOR_GRAPH,),
        source=("if self.training",),
        why="With `training` it returns the raw maps of all its branches.",
        breaks="`yolograft fold` compares fewer outputs of end-to-end models."),
    Internal(
        name="ultralytics.utils:SETTINGS", kind="relied on", files=(RUN_FOLDER,),
        why="Its `runs_dir` is the folder of runs without `project`.",
        breaks="The log cannot say why results are elsewhere."),
    Internal(
        name="ultralytics.utils.checks:check_file", kind="relied on", files=(COMMANDS, DEFAULT_DATA),
        parameters=("download", "hard"),
        why="With `hard=False` it finds a data YAML or returns nothing.",
        breaks="A missing data file ends in a traceback."),

    Internal(
        name="ultralytics.utils:DEFAULT_CFG_PATH", kind="relied on", files=("cli/ultralytics_arguments.py",),
        why="Help and completion read all arguments from this file, cfg/default.yaml, without importing Ultralytics.",
        breaks="Help and completion do not list Ultralytics' arguments."),
    Internal(
        name="ultralytics:__file__", kind="relied on", files=(CATALOG,),
        why="The packaged model YAML files are in the folder cfg/models beside it.",
        breaks="The linter cannot find the stock file that a hand-edited file came from."),

    # Model YAML files
    Internal(
        name="ultralytics.nn.tasks:yaml_model_load", kind="relied on", files=(CATALOG, LOAD),
        source=('d["scale"] = guess_model_scale(path)',),
        why="It finds a model YAML by name and sets `scale` from that name.",
        breaks="A YAML file is built at another scale than its name says."),
    Internal(
        name="ultralytics.nn.tasks:guess_model_scale", kind="relied on", files=(CATALOG,),
        why="It reads the scale (n, s, m, l, x) off a file name.", breaks="The linter assumes another scale."),
    Internal(
        name="ultralytics.nn.tasks:guess_model_task", kind="relied on", files=(YOLO, ADOPT, MODEL_YAML, SAFETENSORS),
        why="It reads the task off the last row of a model YAML.", breaks="A YAML file is opened with another task."),
    Internal(
        name="ultralytics.nn.tasks:parse_model", kind="patched", files=(MODULE_ROWS,), parameters=("d", "ch", "verbose"),
        source=("nn.Sequential(*layers), sorted(save)", "m_.i, m_.f, m_.type = i, f, t", "HGStem",
                "c1, cm, c2 = ch[f], args[0], args[1]"),
        why="Every task model calls it by its name in this module. Ours lets it build a stock row in the place of each row "
            "that names a registered module, and puts the module there.",
        breaks="A model YAML whose rows name modules of the user cannot be built."),
    Internal(
        name="ultralytics.nn.tasks:LOGGER", kind="patched", files=(MODULE_ROWS,),
        why="`parse_model` logs its table through it; the lines of the user's modules are changed there.",
        breaks="The layer table shows stock modules in the place of the user's."),
    Internal(
        name="ultralytics.nn.tasks:C3k2", kind="patched", files=(MODULE_ROWS,), parameters=("c1", "c2", "n"),
        why="`parse_model` finds a stock module by its name in `ultralytics.nn.tasks`. While it parses a row of a class "
            "that extends this or another stock module, a subclass there records the arguments that it gives.",
        breaks="A class that extends a stock module gets other arguments than that module."),
    Internal(
        name="ultralytics.nn.modules:HGStem", kind="relied on", files=(MODULE_ROWS,), parameters=("c1", "cm", "c2"),
        why="`parse_model` does not scale the width of this row, so that it can give any number of channels.",
        breaks="A model YAML whose rows name modules of the user cannot be built."),
    Internal(
        name="ultralytics.nn.tasks:parse_model", kind="relied on",
        files=(CATALOG, LOAD, TABLE, BUILD, LAYER_TABLE, MODEL_SIZE),
        source=('for i, (f, n, m, args) in enumerate(d["backbone"] + d["head"])', "globals()[m]",
                "c2 = make_divisible(min(c2, max_channels) * width, 8)", 'LOGGER.info(f"{i:>3}{'),
        why="It looks up the module of every row by name, and scales widths by one rule, which the row table repeats. It "
            "logs one line per row; the lines of the blocks are added there.",
        breaks="The linter reports wrong channels, stock code could build the host without its graft, or the layer table "
               "does not show the blocks."),
    Internal(
        name="ultralytics.nn.tasks:BaseModel._predict_once", kind="relied on", files=(TABLE, SITES, BUILD, MODEL_SIZE),
        source=("for m in", "m.f", "m.i"),
        why="A row's `f` names the rows that it reads, and `i` its own number.",
        breaks="Sites such as `p3` resolve to the wrong rows."),

    # Opening checkpoints
    Internal(
        name="ultralytics.nn.tasks:SAFE_LOAD", kind="patched", files=(CHECKPOINT_GUARD,), since="8.4.90",
        why="ULTRALYTICS_SAFE_LOAD=1 sets it: only classes of Ultralytics are opened then. A checkpoint of ours has "
            "passed our own check.",
        breaks="Grafted checkpoints do not open with ULTRALYTICS_SAFE_LOAD=1."),
    Internal(
        name="ultralytics.cfg:TASKS", kind="relied on", files=(SAFETENSORS,),
        why="It lists the tasks that the metadata of a safetensors file may name.",
        breaks="A file of a new task is refused."),
    Internal(
        name="ultralytics.nn.tasks:torch_safe_load", kind="patched", files=(CHECKPOINT_GUARD,), parameters=("weight",),
        source=("check_requirements(e.name)",),
        why="All code opens a `.pt` file through it; it installs a module that the file names and that is missing.",
        breaks="A checkpoint could make Ultralytics install a package of any name."),
    Internal(
        name="ultralytics.nn.tasks:check_requirements", kind="patched", files=(CHECKPOINT_GUARD,),
        why="`torch_safe_load` calls it to install a missing module.",
        breaks="A checkpoint could make Ultralytics install a package of any name."),
    Internal(
        name="ultralytics.utils.checks:AUTOINSTALL", kind="patched", files=(CHECKPOINT_GUARD, UNASKED),
        why="`check_requirements` asks it; modules that a checkpoint names can call that when they are imported.",
        breaks="Opening a checkpoint could install one of the packages that Ultralytics names."),

    # What Ultralytics installs, sends and downloads unasked
    Internal(
        name="ultralytics.utils.checks:check_pip_update_available", kind="patched", files=(UNASKED,),
        why="`Model.train` calls it as `checks.check_pip_update_available()`; it asks PyPI for a newer version.",
        breaks="A training connects to PyPI unasked."),
    Internal(
        name="ultralytics.utils.events:Events or ultralytics.hub.utils:Events", kind="patched", files=(UNASKED,),
        attributes=("enabled",),
        why="The one object that sends usage events; it sends none if `enabled` is false.",
        breaks="Usage events are sent unasked."),
    Internal(
        name="ultralytics.data.utils:check_font", kind="patched", files=(UNASKED,),
        why="Checking a data set downloads a font through it.", breaks="A font is downloaded unasked."),
    Internal(
        name="ultralytics.utils.plotting:check_font", kind="patched", files=(UNASKED,),
        why="Drawing labels downloads a font through it.", breaks="A font is downloaded unasked."),
    Internal(
        name="ultralytics.engine.trainer:check_amp", kind="patched", files=(UNASKED,), parameters=("model",),
        source=("except ConnectionError", "YOLO("),
        why="It downloads weights to test mixed precision, and skips the test after a `ConnectionError`.",
        breaks="A training on a GPU downloads weights that nobody named, or fails without a network."),
    Internal(
        name="ultralytics.utils.downloads:safe_download", kind="patched", files=(UNASKED, UNNAMED_WEIGHTS),
        why="Fonts and weights are downloaded through it.",
        breaks="A font, the weights of a test or those of a text model are downloaded unasked."),
    Internal(
        name="torch.hub:download_url_to_file", kind="patched", files=(UNNAMED_WEIGHTS,), parameters=("url",),
        why="torchvision downloads weights through `load_state_dict_from_url`, which calls it as a global.",
        breaks="A row `TorchVision` downloads weights unasked."),
    Internal(
        name="torch.hub:load_state_dict_from_url", kind="relied on",
        files=(UNNAMED_WEIGHTS, "modelyaml/torchvision_weights.py"), source=("download_url_to_file(", '"checkpoints"'),
        why="It keeps weights in `get_dir()/checkpoints`, and downloads those that are not there.",
        breaks="Weights that are on this machine are said to be missing, or missing ones are downloaded."),
    Internal(
        name="ultralytics.engine.model:Model.train", kind="relied on", files=(DEFAULT_DATA,),
        source=("TASK2DATA[self.task]",),
        why="It says whether the data of the checkpoint or the default of the task is used without `data`.",
        breaks="A default data set is downloaded unasked, or one that is here is refused."),
    Internal(
        name="ultralytics.utils.downloads:get_github_assets", kind="patched", files=(UNASKED,),
        why="It asks GitHub for the names of files, for a model that is neither a file nor an official name.",
        breaks="A misspelt path of a model, or a test of mixed precision, connects to GitHub."),
    Internal(
        name="ultralytics.utils.downloads:is_url", kind="patched", files=(UNASKED,), parameters=("url", "check"),
        why="With `check`, it connects.", breaks="Looking for a font connects unasked."),
    Internal(
        name="ultralytics.engine.exporter:subprocess or ultralytics.utils.export.tensorflow:AUTOINSTALL", kind="patched",
        files=(UNASKED,), why="8.3 installs the compiler of Edge TPUs with apt-get through it; 8.4 asks AUTOINSTALL.",
        breaks="An export installs a program unasked."),
    Internal(
        name="ultralytics.utils.tuner:run_ray_tune", kind="relied on", files=(UNASKED,),
        why="8.3 starts pip for Ray through the module's `subprocess`, without asking AUTOINSTALL.",
        breaks="`tune use_ray=True` installs Ray unasked."),
    Internal(
        name="ultralytics.utils:WEIGHTS_DIR", kind="relied on", files=(COMMANDS,),
        why="The folder in which Ultralytics keeps named weights.",
        breaks="A default model that is on this machine is not found without its name."),
    Internal(
        name="ultralytics.utils:DATASETS_DIR", kind="relied on", files=(DATA_DOWNLOAD, DEFAULT_DATA),
        why="The folder in which Ultralytics keeps its packaged data sets.",
        breaks="A default data set that is on this machine is not found without its name."),

    # Grafted models
    Internal(
        name="ultralytics.nn.tasks:_initialize_yolo_model or ultralytics.nn.tasks:DetectionModel.__init__",
        kind="relied on", files=(MODELS, SAFETENSORS), parameters=("cfg", "verbose"),
        source=(".yaml = cfg if isinstance(cfg, dict)", '.yaml["backbone"]'),
        either=("parse_model(deepcopy(model.yaml)", "parse_model(deepcopy(self.yaml)"),
        why="A model keeps its YAML dict, with keys that it does not know, in `yaml`; the graft travels there.",
        breaks="The graft is lost when a model is built again, saved or resumed."),
    Internal(
        name="ultralytics.nn.tasks:BaseModel.fuse", kind="overridden", files=(MODELS, PROFILE),
        parameters=("verbose",), source=('delattr(m, "bn")', "m.conv = fuse_conv_and_bn(m.conv, m.bn)", "return self"),
        why="It folds batch norms into convolutions; blocks on `bn` must move to `conv` before.",
        breaks="Blocks on a batch norm vanish when the model is fused."),
    Internal(
        name="ultralytics.nn.tasks:BaseModel.info", kind="overridden", files=(MODELS, LAYER_TABLE),
        parameters=("detailed", "verbose", "imgsz"), source=("model_info(",),
        why="It logs the summary of a model; ours adds the graft.",
        breaks="The log does not say which graft a model carries."),
    Internal(
        name="ultralytics.nn.modules:Conv", kind="relied on", files=(MODELS, BATCHNORM_SILU, SWAPS, MODULE_ROWS),
        source=("self.conv =", "self.bn =", "self.act ="),
        why="Convolution, batch norm and activation are the children `conv`, `bn` and `act`.",
        breaks="Sites inside a Conv are refused, or the fused operator is not used."),
    Internal(
        name="ultralytics.nn.modules:Conv.default_act", kind="patched", files=(MODELS, MODULE_ROWS),
        why="`parse_model` sets it for the whole process where a YAML has `activation:`; 8.3.0 never restores it. The "
            "modules of rows are built with it too.",
        breaks="What a comparison trains could depend on what was built before."),
    Internal(
        name="ultralytics.nn.modules:RepConv", kind="relied on", files=(MODELS, SWAPS),
        why="`fuse` merges its branches, so blocks inside are refused.", breaks="A block inside vanishes when fused."),
    Internal(
        name="ultralytics.nn.modules.block:RepVGGDW", kind="relied on", files=(MODELS, SWAPS),
        why="`fuse` merges its branches, so blocks inside are refused.", breaks="A block inside vanishes when fused."),
    Internal(
        name="ultralytics.utils.torch_utils:initialize_weights", kind="relied on", files=(SWAPS,), parameters=("model",),
        source=("m.eps =", "m.momentum ="),
        why="A module of a swap gets the constants of batch norms that Ultralytics gives to the modules of a new model.",
        breaks="Batch norms of a swap have PyTorch's constants."),
    Internal(
        name="ultralytics.nn.tasks:BaseModel.load", kind="relied on",
        files=(SAFETENSORS, TRAINER, MODELS, LAYER_TABLE, TRANSFER),
        parameters=("weights",), source=("self.load_state_dict(", "strict=False", 'LOGGER.info(f"Transferred {'),
        why="It loads the host's tensors by name and leaves others alone; blocks are loaded after it. It logs a count, "
            "which ours replaces.",
        breaks="Blocks keep their initial weights, or the pretrained host is not loaded."),
    Internal(
        name="ultralytics.nn.tasks:BaseModel.load", kind="patched", files=(YOLO,), parameters=("weights",),
        why="`YOLO.load` calls it with the checkpoint that it has read. Ours passes on the tensors of the rows that fit.",
        breaks="An edited model YAML gets its tensors by the row's number."),
    Internal(
        name="ultralytics.nn.modules:Detect.__init__", kind="relied on", files=(SAFETENSORS,),
        source=("max(ch[0], min(self.nc, 100))",),
        why="It gives the width of the class branches `cv3`, which a safetensors file may have to change.",
        breaks="A safetensors file of a fine-tuned model cannot be opened."),
    Internal(
        name="ultralytics.nn.tasks:BaseModel", kind="relied on", files=(SAFETENSORS, ADOPT),
        why="A safetensors file may only name its subclasses.", breaks="A safetensors file cannot be opened."),

    # yolograft.YOLO
    Internal(
        name="ultralytics.models:YOLO", kind="overridden", files=(YOLO,), parameters=("model", "task", "verbose"),
        source=("self.__class__ = type(new_instance)",),
        why="Our YOLO is a subclass; the constructor may turn it into another class, which is then made ours again.",
        breaks="A World or YOLOE model loses its graft."),
    Internal(
        name="ultralytics.models:RTDETR", kind="overridden", files=(YOLO,), parameters=("model",),
        why="RT-DETR models have a class of their own.", breaks="RT-DETR cannot be grafted."),
    Internal(
        name=f"{_MODEL}.task_map", kind="overridden", files=(YOLO, EVALUATE, TRAIN),
        why="It is the one table of model, trainer, validator and predictor classes.",
        breaks="Training would build the bare host."),
    Internal(
        name=f"{_MODEL}._smart_load", kind="relied on", files=(YOLO,), parameters=("key",),
        source=("self.task_map[self.task][key]",), why="It looks up classes in `task_map`.",
        breaks="Training would build the bare host."),
    Internal(
        name=f"{_MODEL}._new", kind="overridden", files=(YOLO,), parameters=("cfg", "task", "verbose"),
        source=("self.cfg = cfg", 'self.overrides["model"] = self.cfg', "self.model.args ="),
        why="It builds a model from a YAML file; ours reads the graft first, and sets the same attributes.",
        breaks="An attribute that a newer version sets would be missing on a model from a YAML file."),
    Internal(
        name=f"{_MODEL}._load", kind="overridden", files=(YOLO, CHECKPOINT_GUARD), parameters=("weights", "task"),
        source=("self.ckpt_path", "self.model_name"), why="It opens a checkpoint; ours opens safetensors files as well.",
        breaks="A safetensors file cannot be opened by `YOLO`."),
    Internal(
        name=f"{_MODEL}.train", kind="overridden", files=(YOLO, CHECKPOINT_GUARD), parameters=("trainer", "kwargs"),
        source=('(trainer or self._smart_load("trainer"))(overrides=args, _callbacks=self.callbacks)',),
        why="It builds the trainer with all arguments as `overrides`, the graft among them.",
        breaks="The graft does not reach the trainer."),
    Internal(
        name=f"{_MODEL}.val", kind="overridden", files=(YOLO, CHECKPOINT_GUARD), parameters=("validator", "kwargs"),
        why="Ours checks first that the results can be written.", breaks="A read-only folder ends in a traceback."),
    Internal(
        name=f"{_MODEL}.predict", kind="overridden", files=(YOLO, CHECKPOINT_GUARD),
        parameters=("source", "stream", "predictor", "kwargs"), source=('"save": is_cli',),
        why="Ours says which graft the model carries, and checks first that the results can be written.",
        breaks="A read-only folder ends in a traceback."),
    Internal(
        name=f"{_MODEL}.export", kind="overridden", files=(YOLO, CHECKPOINT_GUARD, RUNTIMES), parameters=("kwargs",),
        why="Ours adds the format safetensors, and names the file after the graft through the model's `pt_path`; the "
            "runtimes open the path that it returns.",
        breaks="`format=safetensors` is refused, or `bench` does not find the exported file."),
    Internal(
        name=f"{_MODEL}.tune", kind="overridden", files=(YOLO, CHECKPOINT_GUARD), parameters=("kwargs",),
        why="Ours hands the graft to the trainings that the tuner starts.", breaks="Tuning trains the bare host."),
    Internal(
        name=f"{_MODEL}.load", kind="overridden", files=(CHECKPOINT_GUARD, YOLO), parameters=("weights",),
        source=("self.model.load(weights)",),
        why="It can open a checkpoint; ours does so without AutoInstall, and lets the tensors follow the rows.",
        breaks="A checkpoint could make Ultralytics install a package of any name, or tensors load by the row's number."),
    Internal(
        name=f"{_MODEL}.reset_weights", kind="overridden", files=(CHECKPOINT_GUARD,),
        why="It can open a checkpoint; ours does so without AutoInstall.",
        breaks="A checkpoint could make Ultralytics install a package of any name."),
    Internal(
        name=f"{_MODEL}.track", kind="overridden", files=(CHECKPOINT_GUARD,),
        why="It can open a checkpoint; ours does so without AutoInstall.",
        breaks="A checkpoint could make Ultralytics install a package of any name."),
    Internal(
        name=f"{_MODEL}.benchmark", kind="overridden", files=(YOLO, CHECKPOINT_GUARD),
        why="It can open a checkpoint and take a default data set; ours does so without AutoInstall and downloads.",
        breaks="A checkpoint could make Ultralytics install a package of any name."),

    # Trainings in subprocesses
    Internal(
        name="ultralytics.engine.tuner:subprocess or ultralytics.engine.trainer:subprocess", kind="patched",
        files=(SUBPROCESSES,),
        why="Tuning, and training on several data sets, run `yolo train` with `subprocess.run`; the patch starts "
            "`yolograft train`.",
        breaks="Tuning a grafted model stops with the message that stock `yolo train` cannot train it."),
    Internal(
        name="ultralytics.engine.tuner:Tuner.__call__", kind="relied on", files=(SUBPROCESSES,),
        either=("subprocess.run(", "MultiTrainer(None,"),
        why="It starts each training as a command, in newer versions through `MultiTrainer`.",
        breaks="Tuning trains in another way, without the graft."),
    Internal(
        name="ultralytics.engine.trainer:MultiTrainer or ultralytics.engine.tuner:Tuner.__call__", kind="relied on",
        files=(SUBPROCESSES,), source=("subprocess.run(",), either=('"train", *(f"{k}={v}" for k, v in',),
        why="Its command has the word `train`, then words `key=value`.",
        breaks="The graft is not added to the command."),

    # Grafted trainers
    Internal(
        name="ultralytics.models.yolo:detect.DetectionTrainer", kind="relied on", files=(TRAINER, TRIAL_TRAINER),
        parameters=("cfg", "overrides", "_callbacks"),
        why="A launched process finds a grafted trainer by the stock trainer's name in these packages.",
        breaks="Multi-GPU training cannot import the trainer."),
    Internal(
        name="ultralytics.models.rtdetr.train:RTDETRTrainer", kind="relied on", files=(TRAINER,),
        why="The trainer of RT-DETR is in a package of its own.", breaks="Multi-GPU training of RT-DETR fails."),
    Internal(
        name=f"{_ANY_TRAINER}.__init__", kind="overridden", files=(TRAINER, TRIAL_TRAINER),
        parameters=("cfg", "overrides", "_callbacks"), source=("self.device =", "self.save_dir =", "self.csv ="),
        why="The constructor chooses device and folder; ours takes its own arguments out of `overrides` first.",
        breaks="`graft`, `speed` or `blocks` are refused as unknown arguments."),
    Internal(
        name=f"{_ANY_TRAINER}.train", kind="overridden", files=(TRAINER,),
        either=("subprocess.run(cmd, check=True)",),
        why="A multi-GPU launch gives its processes `vars(trainer.args)`; ours adds the graft before.",
        breaks="The launched processes train the bare host."),
    Internal(
        name=f"{_DETECTION_TRAINER}.get_model", kind="overridden", files=(TRAINER, TRIAL_TRAINER),
        parameters=("cfg", "weights", "verbose"),
        why="Every trainer builds its network here, in the training process; ours grafts the result.",
        breaks="Training would train the bare host."),
    Internal(
        name=f"{_DETECTION_TRAINER}.preprocess_batch", kind="overridden", files=(TRAINER,), parameters=("batch",),
        source=('batch["img"]',), why="It moves a batch to the device; ours changes the memory layout of the images.",
        breaks="Training on a CPU is slower."),
    Internal(
        name=f"{_ANY_TRAINER}._do_train", kind="overridden",
        files=(TRAINER, TRIAL_TRAINER, MOSAIC, SAMPLER, HALF_PRECISION),
        source=('self.run_callbacks("on_train_start")', 'self.run_callbacks("on_train_epoch_start")',
                'self.run_callbacks("on_train_batch_start")', 'self.run_callbacks("on_train_batch_end")',
                'self.run_callbacks("on_train_epoch_end")', 'self.run_callbacks("on_fit_epoch_end")',
                "epoch = self.start_epoch", "self.accumulate = max(1, int(np.interp(",
                "if ni - last_opt_step >= self.accumulate: self.optimizer_step()", "self._close_dataloader_mosaic()"),
        either=("epoch == (self.epochs - self.args.close_mosaic)", "epoch >= self.epochs - self.args.close_mosaic",
                "epoch >= (self.epochs - self.args.close_mosaic)"),
        why="It is the training loop: the order of callbacks, when the optimizer steps, and when Mosaic is closed.",
        breaks="A trial cannot be resumed exactly; the trainer of trials counts the steps and stops with a message."),
    Internal(
        name=f"{_ANY_TRAINER}._setup_train", kind="relied on", files=(TRIAL_TRAINER, GPU_SELECT, TRAINER),
        source=('self.run_callbacks("on_pretrain_routine_end")', "self.scheduler.last_epoch = self.start_epoch - 1",
                "self.set_model_attributes()", "self.stopper, self.stop = EarlyStopping(",
                'freeze_layer_names = [f"model.{x}." for x in freeze_list]', "self.ema = ModelEMA(self.model)",
                "self.scaler ="),
        why="At `on_pretrain_routine_end` network, optimizer, EMA, scaler and loaders exist; `freeze` entries X freeze the "
            "parameters with `model.X.` in their names.",
        breaks="An interrupted trial is not restored, or `freeze` freezes the blocks."),
    Internal(
        name=f"{_ANY_TRAINER}.resume_training", kind="overridden", files=(TRAINER,), parameters=("ckpt",),
        source=("if ckpt is None or not self.resume: return",),
        why="It gets the checkpoint of an interrupted training; ours reads the box loss from it before losses are built. In "
            "8.3.0 it closes Mosaic by `args.close_mosaic`, also where the loop never does; ours prevents this.",
        breaks="A resumed training has another box loss, or no Mosaic where an uninterrupted one has it."),
    Internal(
        name=f"{_ANY_TRAINER}.save_model", kind="overridden", files=(TRAINER,),
        source=('"train_args": vars(self.args)', "deepcopy("),
        why="It stores the train arguments in a checkpoint; ours adds the box loss to them.",
        breaks="An interrupted training cannot be resumed with its box loss."),
    Internal(
        name="ultralytics.nn.tasks:BaseModel.loss", kind="patched", files=(TRAINER,), attributes=("criterion",),
        why="`criterion` is the loss object, which a checkpoint must not contain.",
        breaks="A `last.pt` cannot be opened where yolograft is not installed."),
    Internal(
        name=f"{_ANY_TRAINER}.optimizer_step", kind="overridden", files=(TRAINER, TRIAL_TRAINER), parameters=(),
        source=("self.scaler.step(self.optimizer)", "self.optimizer.zero_grad()", "self.ema.update(self.model)"),
        why="It is one step of optimizer and EMA; ours counts steps and can use the fused optimizer.",
        breaks="Steps are counted wrongly, which stops a trial with a message."),
    Internal(
        name=f"{_ANY_TRAINER}._build_train_pipeline", kind="overridden", files=(TRAINER, TRIAL_TRAINER), since="8.4.60",
        source=("self.train_loader =", "self.optimizer =", "self.accumulate ="),
        why="It builds loaders and optimizer again when memory runs out; a trial must stop there.",
        breaks="An arm could continue with a smaller batch than the others."),
    Internal(
        name=f"{_ANY_TRAINER}.validate", kind="overridden", files=(TRAINER,), source=("self.validator(self)",),
        why="It validates the averaged model; ours runs a copy in the chosen precision and layout.",
        breaks="Validation on a CPU is slower."),
    Internal(
        name="ultralytics.engine.validator:BaseValidator.__call__", kind="relied on",
        files=(ACCELERATION, CACHE, VALIDATION, IMAGE_LOSS),
        source=("len(self.dataloader)", "len(self.dataloader.dataset)",
                'self.run_callbacks("on_val_start")', "self.update_metrics(preds, batch)",
                "self.preprocess(batch)"),
        why="It evaluates on `self.dataloader`, of which it needs length, data set and batches.",
        breaks="The validation cache is not used."),
    Internal(
        name="ultralytics.engine.validator:BaseValidator", kind="patched", files=(ACCELERATION, GPU_SELECT),
        attributes=("dataloader",),
        why="A loader that keeps its batches in memory replaces `dataloader`.",
        breaks="Validation images are loaded again in every epoch."),
    Internal(
        name="ultralytics.engine.validator:BaseValidator.get_model or ultralytics.engine.validator:BaseValidator.__call__",
        kind="relied on", files=(ACCELERATION,), source=("trainer.ema.ema",),
        why="During training it evaluates `trainer.ema.ema`, which a copy replaces.",
        breaks="Validation on a CPU is slower."),
    Internal(
        name=f"{_DETECTION_TRAINER}.set_model_attributes", kind="overridden", files=(TRAINER,),
        why="It runs after the network is built and before layers are frozen; ours keeps blocks out of `freeze`.",
        breaks="`freeze` freezes the blocks as well."),

    # The trainer of trials
    Internal(
        name=f"{_DETECTION_TRAINER}.build_dataset", kind="overridden", files=(TRIAL_TRAINER, SAMPLER),
        parameters=("img_path", "mode", "batch"),
        why="It builds the data set; ours makes order and augmentation depend on seed, epoch and image alone.",
        breaks="Arms with the same seed see different batches."),
    Internal(
        name=f"{_DETECTION_TRAINER}.get_dataloader", kind="overridden", files=(TRIAL_TRAINER, SAMPLER, GPU_SELECT),
        parameters=("dataset_path", "batch_size", "rank", "mode"),
        why="It builds the loader; ours replaces its sampler.",
        breaks="Arms with the same seed see different batches."),
    Internal(
        name="ultralytics.data.build:InfiniteDataLoader", kind="relied on", files=(TRIAL_TRAINER, SAMPLER, GPU_SELECT),
        source=("_RepeatSampler(self.batch_sampler)", "len(self.batch_sampler.sampler)", "self.iterator", "def reset(self)"),
        why="`batch_sampler.sampler` is torch's BatchSampler, whose sampler ours replaces; `reset()` starts a new pass; "
            "setting `iterator` to None ends the workers.",
        breaks="Arms with the same seed see different batches, or resident images keep workers alive."),
    Internal(
        name=f"{_ANY_TRAINER}._close_dataloader_mosaic", kind="overridden", files=(TRIAL_TRAINER, RESIDENT),
        source=("self.train_loader.dataset.close_mosaic(hyp=",),
        why="It switches Mosaic off for the last epochs; ours remembers that in the state of a trial.",
        breaks="A resumed trial trains with Mosaic in its last epochs."),
    Internal(
        name=f"{_ANY_TRAINER}._handle_nan_recovery", kind="overridden", files=(TRIAL_TRAINER,), since="8.4.0",
        parameters=("epoch",), why="It goes back to an earlier epoch after a loss that is not finite; a trial must fail.",
        breaks="An arm could repeat epochs that the others did not."),
    Internal(
        name=f"{_ANY_TRAINER}.final_eval", kind="overridden", files=(TRIAL_TRAINER, TRAINER),
        why="It validates the best checkpoint; a trial does that by itself, so that it can be repeated. A training writes "
            "its checkpoints without optimizer in it.",
        breaks="A trial validates twice, or a process that is killed in it leaves half a checkpoint."),
    Internal(
        name=f"{_ANY_TRAINER}.save_model", kind="relied on", files=(CHECKPOINT_FILES, TRAINER),
        source=("self.last.write_bytes(", "self.best.write_bytes(", '(self.wdir / f"epoch{self.epoch}.pt").write_bytes('),
        why="It writes checkpoints with `write_bytes` of these paths, which ours make atomic.",
        breaks="A process that is killed at the wrong moment leaves half a checkpoint."),
    Internal(
        name=_ANY_TRAINER, kind="patched", files=(TRAINER, CHECKPOINT_FILES), attributes=("wdir",),
        source=("self.last, self.best = self.wdir /",),
        why="These three paths get a class whose `write_bytes` is atomic.",
        breaks="A process that is killed at the wrong moment leaves half a checkpoint."),
    Internal(
        name="torch:save", kind="patched", files=(CHECKPOINT_FILES,),
        why="`strip_optimizer` writes checkpoints in place with it; ours is atomic during `final_eval`.",
        breaks="A process that is killed at the end of a training leaves half a checkpoint."),
    Internal(
        name=_ANY_TRAINER, kind="overridden", files=(TRIAL_TRAINER,),
        attributes=("accumulate",), source=("max(round(self.args.nbs / self.batch_size), 1)",),
        why="`accumulate` is an attribute that the loop reads and sets; the trainer of trials makes it a property.",
        breaks="A trial cannot be resumed exactly."),
    Internal(
        name=f"{_DETECTION_TRAINER}.label_loss_items", kind="relied on", files=(TRIAL_TRAINER,),
        parameters=("loss_items", "prefix"), why="It names the losses of an epoch.",
        breaks="A trial cannot report losses."),
    Internal(
        name="ultralytics.utils.torch_utils:EarlyStopping", kind="relied on", files=(TRIAL_TRAINER,),
        source=("self.best_fitness", "self.best_epoch", "self.possible_stop"),
        why="These three attributes are its state, which a trial stores.",
        breaks="A resumed trial stops in another epoch."),
    Internal(
        name="ultralytics.utils.torch_utils:init_seeds", kind="relied on", files=(TRIAL_TRAINER,),
        parameters=("seed", "deterministic"), why="It seeds the generators at every epoch of a trial.",
        breaks="Two runs of one seed differ."),
    Internal(
        name="ultralytics.utils.torch_utils:select_device", kind="relied on", files=(THREADS, TRIAL_TRAINER),
        source=("torch.set_num_threads(NUM_THREADS)",),
        why="It sets PyTorch's number of threads, so ours is set after it.",
        breaks="A trial trains on other threads."),
    Internal(
        name="ultralytics:os", kind="relied on", files=(THREADS,),
        why="Importing Ultralytics sets the environment variable OMP_NUM_THREADS to 1.",
        breaks="The user's own value of 1 is ignored."),
    Internal(
        name="ultralytics.utils.torch_utils:strip_optimizer", kind="relied on", files=(TRAIN,), parameters=("f", "s"),
        why="It removes the optimizer from a finished trial's checkpoint.", breaks="Checkpoints are larger."),

    # Deployment
    Internal(
        name="ultralytics.engine.exporter:Exporter", kind="relied on", files=(RUNTIMES,),
        why="Older versions download the program PNNX for NCNN, which the source of this class says.",
        breaks="`bench` and `deploy-check` download a program."),
    Internal(
        name="ultralytics.engine.exporter:export_formats", kind="relied on", files=(DEPLOY_TARGETS,),
        source=("torchscript", "openvino", "ncnn"), why="It lists the formats, and in newer versions their arguments.",
        breaks="`deploy-check` does not export with dynamic=True."),
    Internal(
        name="ultralytics.models.yolo.detect:DetectionValidator", kind="relied on", files=(INT8, VALIDATION),
        why="Called with `model=PATH` it validates an exported network.", breaks="`deploy-check` has no INT8 run."),

    # Data
    Internal(
        name="ultralytics.data.utils:check_det_dataset", kind="relied on", files=(FINGERPRINT, TRAIN, DATA_DOWNLOAD, INT8),
        parameters=("dataset", "autodownload"), source=("if s and autodownload",),
        why="It resolves the YAML file of a data set. With `autodownload=False` it runs no `download:` key.",
        breaks="A study cannot fingerprint its data, or a data YAML of a stranger runs code."),
    Internal(
        name="ultralytics.data.utils:check_cls_dataset", kind="relied on", files=(FINGERPRINT, TRAIN),
        why="It resolves the folder of a classification set.", breaks="A study cannot fingerprint its data."),
    Internal(
        name="ultralytics.data.utils:img2label_paths", kind="relied on", files=(FINGERPRINT, RESPLIT),
        parameters=("img_paths",),
        why="It says where an image's labels are.",
        breaks="Changed labels keep the same fingerprint, and new splits are not stratified."),
    Internal(
        name="ultralytics.data.utils:IMG_FORMATS", kind="relied on", files=(FINGERPRINT, INT8),
        why="It lists the file endings of images.", breaks="Images are missing in the fingerprint."),
    Internal(
        name="ultralytics.data.base:BaseDataset.get_img_files", kind="relied on", files=(FINGERPRINT,),
        parameters=("img_path",), source=("self.prefix", "self.fraction"),
        why="It lists the images of a split, and needs only `prefix` and `fraction` of the data set.",
        breaks="A study cannot fingerprint its data."),
    Internal(
        name="ultralytics.data.base:check_file_speeds", kind="patched", files=(FINGERPRINT,), since="8.4.0",
        why="`get_img_files` calls it, which reads files and logs; the patch leaves that out.",
        breaks="A study logs the speed of its disk."),
    Internal(
        name="ultralytics.data.base:BaseDataset.load_image", kind="patched", files=(CACHE, RESIDENT),
        parameters=("i",), either=("imread(f", "cv2.imread(f"), source=("self.ims[i], self.im_hw0[i], self.im_hw[i]",),
        why="It decodes with the global name `imread` (8.4) or `cv2.imread` (8.3); the cache gives a copy of the method "
            "another one.",
        breaks="Images are decoded in every epoch."),
    Internal(
        name="ultralytics.data.base:BaseDataset.__init__", kind="relied on", files=(SAMPLER,),
        source=("self.buffer = []", "self.max_buffer_length =", "self.ims, self.im_hw0, self.im_hw ="),
        why="`buffer` lists the images from which Mosaic chooses; ours sets it for every item.",
        breaks="Mosaic chooses other partners in another process, and arms differ."),
    Internal(
        name="ultralytics.data.augment:Mosaic.get_indexes", kind="relied on", files=(SAMPLER,),
        source=("random.choices(list(self.dataset.buffer), k=self.n - 1)",),
        why="Mosaic chooses its partners from the data set's `buffer`.",
        breaks="Mosaic chooses other partners in another process, and arms differ."),
    Internal(
        name="ultralytics.data.dataset:YOLODataset", kind="relied on", files=(RESIDENT,),
        source=("def close_mosaic(self, hyp", "self.transforms = self.build_transforms(hyp)"),
        why="Only this class of data set is kept on the device; `close_mosaic` builds its `transforms` again.",
        breaks="Resident images keep Mosaic on in the last epochs."),
    Internal(
        name="ultralytics.data.augment:RandomPerspective.__init__", kind="relied on", files=(AUGMENT,),
        source=("self.degrees =", "self.translate =", "self.scale =", "self.shear =", "self.perspective ="),
        why="Batched augmentation reads its settings.", breaks="`speed=resident` augments in another way than stock."),
    Internal(
        name="ultralytics.data.augment:RandomHSV", kind="relied on", files=(AUGMENT,),
        parameters=("hgain", "sgain", "vgain"), source=("self.hgain", "self.sgain", "self.vgain"),
        why="Batched augmentation reads its settings.",
        breaks="`speed=resident` changes colours in another way than stock."),
    Internal(
        name="ultralytics.data.augment:RandomFlip.__init__", kind="relied on", files=(AUGMENT,),
        source=("self.p =", "self.direction ="),
        why="Batched augmentation reads its settings.", breaks="`speed=resident` flips in another way than stock."),
    Internal(
        name="ultralytics.data.augment:Mosaic.__init__", kind="relied on", files=(AUGMENT,),
        source=("self.n = n", "self.imgsz = imgsz"),
        why="Batched augmentation reads its settings.", breaks="`speed=resident` builds other mosaics than stock."),
    Internal(
        name="ultralytics.data.augment:LetterBox", kind="relied on", files=(AUGMENT,), parameters=("new_shape",),
        why="It is tried once, to find out whether it moves boxes by half pixels.",
        breaks="`speed=resident` moves boxes by half a pixel."),
    Internal(
        name="ultralytics.utils.instance:Instances", kind="relied on", files=(AUGMENT,),
        parameters=("bboxes", "segments", "bbox_format", "normalized"), why="The trial of `LetterBox` needs boxes in it.",
        breaks="`speed=resident` fails at its start."),

    # Evaluation
    Internal(
        name="ultralytics.models.yolo.detect:DetectionValidator.update_metrics", kind="overridden",
        files=(VALIDATION, IMAGE_LOSS),
        parameters=("preds", "batch"), source=("self._process_batch(",),
        why="It gets a batch's detections after NMS; ours records them.", breaks="images.npz is empty or wrong."),
    Internal(
        name="ultralytics.models.yolo.detect:DetectionValidator._process_batch", kind="overridden", files=(VALIDATION,),
        why="It says which detections are correct at each IoU; ours records that.",
        breaks="images.npz is empty or wrong."),
    Internal(
        name="ultralytics.models.yolo.detect:DetectionValidator.__init__", kind="overridden", files=(VALIDATION,),
        why="The recorder takes whatever arguments it has.", breaks="The final validation of a trial fails."),
    Internal(
        name="ultralytics.models.yolo.detect:DetectionValidator.build_dataset", kind="overridden",
        files=(VALIDATION, IMAGE_LOSS),
        parameters=("img_path",), why="It makes the data set of a split; ours makes one of some of its images.",
        breaks="`limit=` of `yolograft explain` fails."),
    Internal(
        name="ultralytics.models.yolo.detect:DetectionValidator.get_dataloader", kind="overridden", files=(VALIDATION,),
        why="Ours brings the images in random order.", breaks="`yolograft explain` fails."),
    Internal(
        name="ultralytics.models.yolo.detect.val:DetectionValidator.preprocess", kind="overridden", files=(IMAGE_LOSS,),
        parameters=("batch",), why="Ours keeps the batch for the loss.", breaks="`yolograft screen` fails."),
    Internal(
        name="ultralytics.models.yolo.detect.val:DetectionValidator.postprocess", kind="overridden", files=(IMAGE_LOSS,),
        parameters=("preds",), why="It gets the network's outputs before NMS; ours computes the loss of each image.",
        breaks="`yolograft screen` fails."),
    Internal(
        name="ultralytics.utils:IterableSimpleNamespace", kind="relied on", files=(IMAGE_LOSS, BLOCK_TRAINING),
        why="The loss reads its gains as attributes of such an object.",
        breaks="`yolograft screen` fails, and `yolograft explain` after its first validation."),
    Internal(
        name="ultralytics.models.rtdetr.val:RTDETRValidator", kind="relied on", files=(VALIDATION,),
        why="It validates an RT-DETR network that comes without a `YOLO`.", breaks="`yolograft explain` of RT-DETR fails."),
    Internal(
        name="ultralytics.utils.metrics:compute_ap", kind="relied on", files=(VALIDATION, PRECISION_RECALL),
        parameters=("recall", "precision"), source=("np.interp(",),
        why="Our average precision ends its curve as this version does.",
        breaks="Differences of average precision are measured with another curve than mAP."),
    Internal(
        name="ultralytics.utils:VERBOSE", kind="patched", files=(VALIDATION,),
        why="In 8.3 a progress bar reads it when it is made.", breaks="`yolograft explain` prints progress bars of 8.3."),
    Internal(
        name="ultralytics.utils.ops:scale_boxes", kind="relied on", files=(VALIDATION,), parameters=("ratio_pad",),
        why="It maps boxes to the pixels of the image file.", breaks="Boxes in images.npz are displaced."),
    Internal(
        name="ultralytics.utils.ops:xywh2xyxy", kind="relied on", files=(VALIDATION,),
        why="It converts ground-truth boxes.", breaks="Boxes in images.npz are displaced."),

    # Faster training
    Internal(
        name="ultralytics.nn.tasks:BaseModel.predict", kind="patched", files=(BF16, CUDA_GRAPH),
        source=("_predict_once(",),
        why="The network runs through this method; the patch adds autocast, or runs a CUDA graph.",
        breaks="Training is not faster, or its outputs are in bfloat16."),
    Internal(
        name="ultralytics.nn.tasks:BaseModel.forward", kind="relied on", files=(BF16, CUDA_GRAPH),
        source=("return self.loss(x", "return self.predict(x"),
        why="It runs images through `self.predict` and batches through `self.loss`.",
        breaks="Training is not faster, or its outputs are in bfloat16."),
    Internal(
        name="ultralytics.nn.tasks:BaseModel.loss", kind="relied on", files=(CUDA_GRAPH, BF16, IMAGE_LOSS, BLOCK_TRAINING),
        parameters=("batch", "preds"), source=("self.criterion",),
        either=('self.forward(batch["img"])', 'self.predict(batch["img"])'),
        why="It calls the network with the images alone, or returns the loss of given predictions.",
        breaks="Training is not faster, or its outputs are in bfloat16. `yolograft screen` and `explain` fail."),
    Internal(
        name="ultralytics.nn.modules:Detect._inference", kind="patched", files=(BF16, CPU_SELECT),
        why="It decodes boxes, which must be in float32; the patch switches autocast off there.",
        breaks="Boxes are off by up to a pixel in 256."),
    Internal(
        name="ultralytics.nn.modules:Detect", kind="relied on", files=(CANDIDATES,),
        source=("one2one_cv2", "one2one_cv3", "self.shape != shape", "self.strides", "self.end2end"),
        why="A heat map explains a class logit of its output. In the copy that is explained, the one-to-one layers stand in "
            "the place of the ordinary ones, and the cached anchor points are computed again.",
        breaks="A heat map has no gradient in an end-to-end model, or explains another box."),
    Internal(
        name="ultralytics.nn.modules:Detect.forward", kind="relied on", files=(BF16,), source=("self._inference(",),
        why="It decodes boxes in `self._inference`.",
        breaks="Boxes are off by up to a pixel in 256."),
    Internal(
        name="ultralytics.nn.modules:Conv.forward", kind="patched", files=(BATCHNORM_SILU,),
        source=("return self.act(self.bn(self.conv(x)))",),
        why="The patch runs batch norm and activation as one operator.",
        breaks="The fused operator computes another function."),
    Internal(
        name="ultralytics.nn.modules:Bottleneck.forward", kind="patched", files=(BATCHNORM_SILU,), parameters=("x",),
        source=("x + self.cv2(self.cv1(x))",),
        why="The patch makes its input contiguous, so that the sum is fast.", breaks="The sum is slower."),
    Internal(
        name="torch.nn:Upsample.forward", kind="patched", files=(UPSAMPLE,), source=("F.interpolate(",),
        why="The patch runs a faster backward pass in bfloat16.", breaks="The backward pass is slower."),
    Internal(
        name="ultralytics.utils.nms:non_max_suppression or ultralytics.utils.ops:non_max_suppression", kind="patched",
        files=(NMS,), parameters=("prediction", "conf_thres", "iou_thres", "agnostic", "multi_label", "max_det", "nc",
                                  "max_nms", "max_wh"),
        why="The patch runs NMS in C for the settings of a validator.",
        breaks="Validation on a CPU is slower, or fails."),
    Internal(
        name="ultralytics.models.yolo.detect:DetectionValidator.postprocess", kind="relied on", files=(NMS,),
        either=("nms.non_max_suppression(", "ops.non_max_suppression("),
        why="It calls NMS through the module, where the patch is.", breaks="Validation on a CPU is slower."),
    Internal(
        name="ultralytics.utils.loss:v8DetectionLoss.__call__", kind="patched", files=(ASSIGNER_LOSS,),
        parameters=("preds", "batch"), why="The patch computes the loss of foreground anchors in C.",
        breaks="The first batches are compared with stock; where they differ, stock's loss is used."),
    Internal(
        name="ultralytics.utils.loss:v8DetectionLoss", kind="relied on", files=(ASSIGNER_LOSS,),
        source=("self.hyp =", "self.stride =", "self.proj =", "self.assigner = TaskAlignedAssigner(", "self.bbox_loss",
                "def preprocess(self, targets", "def bbox_decode(self, anchor_points", "self.use_dfl"),
        why="Our loss calls its parts and takes its settings.",
        breaks="Our loss raises an AttributeError, or stock's loss is used."),
    Internal(
        name="ultralytics.data.dataset:save_dataset_cache_file", kind="patched", files=(LABEL_CACHE, VALIDATION),
        parameters=("prefix", "path", "x", "version"),
        why="Several trainings that start at once must not write one label cache in place.",
        breaks="One of several trainings that start at once can fail."),
    Internal(
        name="ultralytics.data.dataset:load_dataset_cache_file", kind="patched", files=(LABEL_CACHE,), parameters=("path",),
        why="A label cache is a pickle of a stranger's data set. Ours reads arrays and plain values alone.",
        breaks="A label cache of a data set can run code."),
    Internal(
        name="ultralytics.data.dataset:YOLODataset.get_labels", kind="patched", files=(USED_IMAGES,),
        source=("self.im_files",),
        why="It leaves images with invalid labels out of `im_files`. Ours says how many, and why.",
        breaks="Images that are left out are only lines in the log."),
    Internal(
        name="ultralytics.utils.loss:BboxLoss", kind="patched", files=(BOX_LOSS,), parameters=("reg_max",),
        why="With `iou=NAME`, detection losses are built with a subclass of it.",
        breaks="A training with `iou=NAME` trains with CIoU, or fails."),
    Internal(
        name="ultralytics.utils.loss:BboxLoss.forward", kind="overridden", files=(BOX_LOSS,),
        parameters=("pred_dist", "pred_bboxes", "anchor_points", "target_bboxes", "target_scores", "target_scores_sum",
                    "fg_mask"),
        source=("bbox_iou(pred_bboxes[fg_mask], target_bboxes[fg_mask], xywh=False, CIoU=True)",),
        why="It calls `bbox_iou` once, with the foreground boxes in units of the stride.",
        breaks="A training with `iou=NAME` trains with CIoU, or fails."),
    Internal(
        name="ultralytics.utils.loss:bbox_iou", kind="patched", files=(BOX_LOSS,), parameters=("xywh", "CIoU"),
        why="With `iou=NAME`, the similarity of the chosen loss replaces it inside `BboxLoss.forward`.",
        breaks="A training with `iou=NAME` trains with CIoU, or fails."),
    Internal(
        name="ultralytics.utils.loss:v8DetectionLoss.__init__", kind="relied on", files=(BOX_LOSS,),
        source=("self.bbox_loss = BboxLoss(",), why="It builds the box loss by its name in the module.",
        breaks="A training with `iou=NAME` trains with CIoU."),
    Internal(
        name="ultralytics.nn.tasks:RTDETRDetectionModel", kind="relied on", files=(YOLO, TRAIN, MODEL_YAML, VALIDATION),
        why="Its box loss is another one, so `iou=NAME` is refused.", breaks="`iou=NAME` is ignored by RT-DETR."),
    Internal(
        name="ultralytics.utils.tal:TaskAlignedAssigner", kind="relied on", files=(ASSIGNER_LOSS,),
        source=("self.topk =", "self.alpha =", "self.beta =", "self.eps =",
                "pd_scores, pd_bboxes, anc_points, gt_labels, gt_bboxes, mask_gt", "def select_candidates_in_gts("),
        why="Our assigner takes its settings.",
        breaks="Our loss raises an AttributeError, or stock's loss is used."),
    Internal(
        name="ultralytics.utils.tal:make_anchors", kind="relied on", files=(ASSIGNER_LOSS,),
        parameters=("feats", "strides", "grid_cell_offset"), why="It gives the anchors of a head.",
        breaks="Our loss cannot be computed."),
    Internal(
        name="ultralytics.utils.torch_utils:ModelEMA.update", kind="patched", files=(GPU_SELECT,), parameters=("model",),
        source=("self.enabled", "self.updates += 1", "self.decay(self.updates)", "v.dtype.is_floating_point"),
        why="Where it averages tensor by tensor, ours averages all weights in one launch.",
        breaks="The average of weights differs from stock's."),
    Internal(
        name="ultralytics.utils.torch_utils:ModelEMA", kind="patched", files=(ACCELERATION,), attributes=("ema",),
        why="`ema` is the averaged model, which a copy replaces during validation.",
        breaks="Validation on a CPU is slower."),
    Internal(
        name="ultralytics.utils.torch_utils:ModelEMA.__init__", kind="relied on", files=(TRIAL_TRAINER, GPU_SELECT),
        attributes=("ema", "updates", "decay", "enabled"),
        why="`ema` is the averaged model and `updates` the number of steps, which a trial stores.",
        breaks="A resumed trial averages in another way."),

    # PyTorch
    Internal(
        name="torch.nn:Module.forward", kind="overridden", files=(CANDIDATES, OPERATOR_GRAPH),
        why="A module's own computation.", breaks="`yolograft heatmap` and `fold` fail."),
    Internal(
        name="torch.nn:Module.add_module", kind="relied on", files=(ATTACH,), source=("self._modules[name]",),
        why="A block is a child of the module at its site, found and removed in `_modules`.",
        breaks="Blocks cannot be pruned."),
    Internal(
        name="torch.nn:Module.register_forward_hook", kind="relied on", files=(ATTACH, SITES),
        parameters=("hook", "prepend"), source=("self._forward_hooks",),
        why="A hook applies the block; `prune` removes it from `_forward_hooks`.", breaks="Pruned blocks still act."),
    Internal(
        name="torch.nn:Module.register_forward_pre_hook", kind="relied on", files=(ATTACH, SITES),
        parameters=("hook", "prepend"), source=("self._forward_pre_hooks",),
        why="A hook on the input applies the block.", breaks="Pruned blocks still act."),
    Internal(
        name="torch.nn:Module.__init__", kind="relied on", files=(BATCHNORM_SILU, ATTACH),
        source=("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_modules"),
        why="The fused operator leaves modules with hooks alone.", breaks="A hook of the user does not run."),
    Internal(
        name="torch:default_generator", kind="relied on", files=(SEEDING,),
        why="It is the CPU's generator; seeding it leaves the GPU's alone.",
        breaks="A seeded context seeds the GPU too."),
    Internal(
        name="torch.utils._python_dispatch:TorchDispatchMode", kind="overridden",
        files=(PROFILE, BLOCK_PAGE, BENCH, OPERATOR_GRAPH, HALF_PRECISION, MODEL_SIZE), source=("__torch_dispatch__",),
        why="It counts and records operators as they run.", breaks="FLOPs cannot be counted; `fold` fails."),
    Internal(
        name="torch.utils._python_dispatch:TorchDispatchMode._should_skip_dynamo", kind="overridden", since="2.11",
        files=(PROFILE, BLOCK_PAGE, HALF_PRECISION, MODEL_SIZE), why="PyTorch then leaves `__torch_dispatch__` as it is.",
        breaks="PyTorch wraps `__torch_dispatch__` for its compiler, and each operator takes longer."),
    Internal(
        name="torch.utils._pytree:tree_leaves", kind="relied on",
        files=(BENCH, OPERATOR_GRAPH, HALF_PRECISION, MODEL_SIZE),
        why="It lists the tensors in nested arguments.", breaks="`bench` cannot measure memory; `fold` fails."),
    Internal(
        name="torch.utils._pytree:tree_map", kind="relied on", files=(OPERATOR_GRAPH,), parameters=("func", "tree"),
        why="It replaces the tensors in nested arguments by their names.", breaks="`fold` fails."),
    Internal(
        name="torch.utils.flop_counter:flop_registry", kind="relied on", files=(PROFILE, MODEL_SIZE),
        why="It has the formula of FLOPs of every operator.", breaks="FLOPs cannot be counted."),
    Internal(
        name="torch.utils.flop_counter:shape_wrapper", kind="relied on", files=(PROFILE,), either=("out_val", "out=None"),
        why="It passes the result of an operator to its formula, as `out_val`, or `out` in PyTorch 2.2.",
        breaks="FLOPs cannot be counted."),
    Internal(
        name="torch:ops.aten._scaled_dot_product_flash_attention_for_cpu", kind="relied on", files=(PROFILE,), since="2.3",
        why="PyTorch's own list lacks the attention that runs on a CPU.",
        breaks="The FLOPs of attention are missing."),
    Internal(
        name="torch.overrides:TorchFunctionMode", kind="overridden", files=(PROFILE, "modelyaml/module_rows.py"),
        why="It replaces operators while only shapes are needed.", breaks="Probing shapes is slower."),
    Internal(
        name="torch.nn.modules.conv:Conv2d._conv_forward", kind="relied on", files=(PROFILE,), source=("F.conv2d(",),
        why="A convolution goes through `functional.conv2d`.", breaks="The FLOPs of convolutions are missing."),
    Internal(
        name="torch:ops.mkldnn._is_mkldnn_bf16_supported", kind="relied on", files=(CPU_SELECT,),
        why="It says whether this CPU computes in bfloat16.", breaks="`speed=auto` fails on a CPU."),
    Internal(
        name="torch.onnx._internal.torchscript_exporter._globals:GLOBALS or torch.onnx._globals:GLOBALS", kind="relied on",
        files=(DYSAMPLE,),
        why="It has the version of ONNX of an export: below 16 there is no GridSample.",
        breaks="DySample exports to ONNX with opset 16 or later only."),
    Internal(
        name="torch.autograd.function:once_differentiable", kind="relied on", files=(BATCHNORM_SILU, UPSAMPLE),
        why="Our operators have no second derivative.", breaks="The C operators cannot be imported."),
    Internal(
        name="torch:_foreach_lerp_", kind="relied on", files=(GPU_SELECT,), why="It averages all weights in one launch.",
        breaks="`speed=resident` fails with old versions of Ultralytics."),
    Internal(
        name="torch:_foreach_zero_", kind="relied on", files=(CUDA_GRAPH,), why="It clears all gradients in one launch.",
        breaks="`speed=graphed` fails."),
    Internal(
        name="torch.cuda:make_graphed_callables", kind="relied on", files=(GPU_SELECT, CUDA_GRAPH),
        parameters=("callables", "sample_args", "allow_unused_input"),
        why="It captures the network as a CUDA graph.", breaks="`speed=graphed` fails."),
    Internal(
        name="torch.optim:AdamW", kind="relied on", files=(ACCELERATION, GPU_SELECT), parameters=("fused", "foreach"),
        why="`fused` in a parameter group selects one operator for all weights.",
        breaks="Optimizer steps are slower."),
)
