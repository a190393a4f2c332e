"""`yolograft.YOLO`: a subclass of `ultralytics.YOLO` whose models keep their grafts in train, val, predict and export.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `Model.task_map` is the only table of model, trainer, validator and
predictor classes. `YOLO.__init__` may change the class of `self` (to RT-DETR, World or YOLOE). `Model._new` builds from
a YAML file, and `Model.train` builds the trainer from the table with `overrides=args`. `Model.predict` prints a summary if
`ARGV`, a global of its module, says that the program is `yolo`. `export` names its file after `pt_path` of the model.
"""

from __future__ import annotations

import inspect
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics.engine import model as engine_model
from ultralytics.models import RTDETR as StockRTDETR
from ultralytics.models import YOLO as StockYOLO
from ultralytics.nn.tasks import RTDETRDetectionModel, guess_model_task
from ultralytics.utils import ASSETS, DEFAULT_CFG_DICT, LOGGER

from yolograft import attach, checkpoint, network, yaml_text
from yolograft.errors import HostError
from yolograft.host import layer_table, models, safetensors_file, subprocesses, swaps
from yolograft.host.box_loss import check_task, check_threshold, read_iou, without_box_loss
from yolograft.host.build import model_config, name_failing_row
from yolograft.host.change_swap import canonical_swap, loaded_fresh, set_swap
from yolograft.host.checkpoint_guard import GuardedModel
from yolograft.host.class_names import say_names
from yolograft.host.data_download import check_download
from yolograft.host.default_data import check_default, check_folder
from yolograft.host.half_precision import asks_for_half, half_text
from yolograft.host.label_cache import safe_label_cache
from yolograft.host.loaded_weights import weights_text
from yolograft.host.log import warn
from yolograft.host.model_names import find_model
from yolograft.host.pickle_check import trust_file
from yolograft.host.run_folder import check_run_folder, check_writable
from yolograft.host.trainer import grafted_trainer
from yolograft.host.transfer import plan_transfer
from yolograft.host.used_images import say_unused
from yolograft.language import tr
from yolograft.modelyaml import table
from yolograft.modules import plugin as module_files
from yolograft.patch import patched
from yolograft.spec import Graft, Swap

# 8.3 ignores `pretrained=FILE` of a model that was built from a YAML in Python; its command `yolo` loads the file itself
_TRAIN_LOADS_PRETRAINED = "load_checkpoint(pretrained)" in inspect.getsource(engine_model.Model.train)

__all__ = ["RTDETR", "YOLO", "graft_yolo", "prune_yolo", "set_graft"]

_EXPORT_SIDE = 320  # pixels at most of the image on which an export in half precision is checked
_EXPORTERS = {  # format -> the packages that its exporter imports, of those in our extra `export`
    "onnx": ("onnx",), "openvino": ("openvino",), "engine": ("onnx",),
}


class _GraftingModel(GuardedModel):
    """Mixin of `YOLO` and `RTDETR`, over `ultralytics.engine.model.Model`."""

    @property
    def task_map(self) -> dict[str, dict[str, Any]]:
        """The stock table of classes, with grafted trainers."""
        return {task: {**row, **({"trainer": grafted_trainer(row["trainer"])} if row.get("trainer") else {})}
                for task, row in super().task_map.items()}  # type: ignore[misc]

    _file_graft = Graft()  # the graft of the file that was opened
    _file_swap = Swap()  # and its swap

    @property
    def graft(self) -> Graft:
        """The graft that the model carries, with all settings. It is falsy for a bare host."""
        return attach.grafted(self.model) if isinstance(self.model, nn.Module) else Graft()

    def _new(self, cfg: str, task: str | None = None, model: Any = None, verbose: bool = False) -> None:
        config = model_config(cfg)
        graft = models.read_graft(config)
        self.cfg = cfg
        self.task = task or guess_model_task(models.host_yaml(config))
        cls = model or self._smart_load("model")  # type: ignore[attr-defined]
        with name_failing_row(cfg):
            self.model = models.build_model(config, graft, cls, verbose=verbose)
        self.overrides = {**getattr(self, "overrides", {}), "model": cfg, "task": self.task}
        self.model.args = {**DEFAULT_CFG_DICT, **self.overrides}  # type: ignore[assignment]
        self.model.task = self.task  # type: ignore[assignment]
        self.model_name = cfg
        self.ckpt: dict[str, Any] = {}  # 8.3.0's `save` updates this dict, and fails if it is None
        self._file_graft, self._file_swap = self.graft, self.swap

    def _load(self, weights: str, task: str | None = None) -> None:
        if not str(weights).endswith(checkpoint.SUFFIX):
            super()._load(weights, task=task)
            self._file_graft, self._file_swap = self.graft, self.swap
            _learn_modules(self.model)
            return
        opened: Any = safetensors_file.open_file(weights)
        self.model, self.task = opened, opened.task
        self.ckpt = {"model": opened}  # with a checkpoint here, `train` starts from its weights
        self.ckpt_path = self.model_name = str(weights)
        self.overrides = {"imgsz": opened.args["imgsz"], "data": opened.args.get("data"), "model": str(weights),
                          "task": self.task}
        opened.args = self.overrides
        self._file_graft, self._file_swap = self.graft, self.swap

    @property
    def swap(self) -> Swap:
        """The modules that took the place of the host's own. It is falsy if there are none."""
        return swaps.read_swap(self.model.yaml) if isinstance(self.model, nn.Module) else Swap()

    def load(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights as `ultralytics.YOLO.load` does. The tensors follow the rows, if the checkpoint has other rows."""
        if not isinstance(self.model, nn.Module):
            return super().load(*args, **kwargs)
        model: Any = self.model
        stock_load = model.load

        def load(weights: Any, *more: Any, **options: Any) -> Any:
            source = (weights.get("ema") or weights["model"]) if isinstance(weights, dict) else weights
            transfer = plan_transfer(source, models.host_yaml(dict(model.yaml)))
            loaded_fresh(model, source)
            if text := weights_text(model, source if transfer is None else transfer.weights, args[0] if args else "weights",
                                    moved=transfer is not None):
                warn(text)
            if transfer is None:
                return stock_load(weights, *more, **options)
            with layer_table.show_blocks() as log:
                log.has_own_count = True
                stock_load(transfer.weights, *more, **options)
            models.load_block_weights(model, transfer.weights, log.transferred, transfer)
            return None

        with patched((model, "load", load)):
            return super().load(*args, **kwargs)

    def train(self, trainer: Any = None, *, graft: Any = None, swap: Any = None, replace: bool = False,
              **kwargs: Any) -> Any:
        """Train as `ultralytics.YOLO.train` does.

        Args:
            trainer: as in Ultralytics.
            graft: the blocks to train with. It must start with those that the model carries; then only the others are new.
                "none" removes all blocks.
            swap: the modules that take the place of the host's own, as in "dysample@Upsample". It must name those that the
                model carries, and can add others. "none" restores the host's own modules, with new weights.
            replace: whether `graft` and `swap` may drop blocks and modules that the model carries.
            kwargs: train arguments. `blocks` and `modules` name files, as in `YOLO`. If `iou` is a name, such as "wiou" or
                "nwd(constant=12.8)", it chooses the box loss.

        Raises:
            GraftError: the graft or the box loss does not fit this model, or blocks would be dropped. Nothing was trained
                and no folder was made then.
        """
        module_files.load_own(kwargs)  # the graft and the swap can name their classes
        self._check_cfg(kwargs.get("cfg"))
        kwargs = self._with_box_loss(kwargs)
        self._check_data("train", kwargs)
        resume = kwargs.get("resume")
        if graft is not None and resume and attach.spelled(Graft.of(graft)) != self.graft:
            raise HostError(tr("resume continues with the checkpoint's own graft, '{carried}', not '{graft}'. Leave graft "
                               "out, or start a new run without resume.", carried=models.short_text(str(self.graft)),
                               graft=Graft.of(graft)))
        if swap is not None and resume and canonical_swap(self, swap) != self.swap:
            raise HostError(tr("resume continues with the checkpoint's own swap, '{carried}', not '{swap}'. Leave swap out, "
                               "or start a new run without resume.", carried=self.swap, swap=Swap.of(swap)))
        if resume is True and not (isinstance(self.ckpt, dict) and self.ckpt.get("optimizer") is not None):
            raise HostError(tr("resume=True needs the last.pt of an interrupted training, but '{name}' has no optimizer "
                               "state (a finished run's checkpoints keep none). Leave resume out to train from its weights, "
                               "or name RUN/weights/last.pt.", name=self.model_name))
        set_swap(self, swap, replace=replace)
        set_graft(self, graft, replace=replace)
        if not resume:
            kwargs["graft"] = str(self.graft)
            if swap is not None or self.swap:
                kwargs["swap"] = str(self.swap)
            check_run_folder("train", without_box_loss({**self._run_arguments(), **kwargs}))
            pretrained = kwargs.get("pretrained")
            if isinstance(pretrained, (str, Path)) and not self.ckpt and not _TRAIN_LOADS_PRETRAINED:
                self.load(pretrained)
        with subprocesses.patch_subprocess(replace="True"):  # Ultralytics trains several data sets in subprocesses
            result = super().train(trainer=trainer, **kwargs)
        self._file_graft, self._file_swap = self.graft, self.swap  # the model is now that of best.pt
        return result

    def _check_cfg(self, cfg: Any) -> None:
        """Raise `HostError` if the file of `cfg` is a model YAML, as in YOLOv5, and not one of train arguments."""
        if not isinstance(cfg, (str, Path)) or not Path(cfg).is_file():
            return
        content = yaml_text.read(Path(cfg), error=HostError).value
        if isinstance(content, dict) and ("backbone" in content or "head" in content):
            raise HostError(tr("cfg={name} is a model YAML. In Python, open it, and load the weights into it: "
                               "YOLO('{name}').train(pretrained='{model}', ...)", name=cfg, model=self.model_name))

    def _check_data(self, mode: str, arguments: dict[str, Any]) -> None:
        """Raise an error if a mode would download data that was not named, or run the `download:` key of a data YAML."""
        check_default(mode, self, arguments)
        found = {**self._run_arguments(), **arguments}
        data = (arguments if self.task == "classify" else found).get("data")
        for one in data if isinstance(data, (list, tuple)) else [data]:
            if self.task == "classify":
                check_folder(one)
            else:
                check_download(one, found.get("split"))

    def _with_box_loss(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return train arguments with the box loss of `iou`, if it names one, in its canonical text.

        Raises:
            GraftError: there is no such box loss, or it does not fit this model.
        """
        loss = read_iou(arguments.get("iou"))
        if loss is None:
            return arguments
        check_task(loss, str(self.task), isinstance(self.model, RTDETRDetectionModel))
        return {**arguments, "iou": str(loss)}

    def val(self, validator: Any = None, **kwargs: Any) -> Any:
        """Validate as `ultralytics.YOLO.val` does."""
        check_threshold("val", kwargs.get("iou"))
        self._check_data("val", kwargs)
        check_run_folder("val", {**self._run_arguments(), **kwargs})
        callbacks: dict[str, list[Any]] = self.callbacks  # type: ignore[attr-defined]
        added = (say_names, self._say_half)
        previous = callbacks["on_val_batch_start"]
        callbacks["on_val_batch_start"] = [*previous, *added]
        try:
            with safe_label_cache(), say_unused():
                return super().val(validator=validator, **kwargs)
        finally:
            callbacks["on_val_batch_start"] = previous

    def _say_half(self, validator: Any) -> None:
        """Callback of `on_val_batch_start`: warn once if this validation runs in float16, which cannot hold some values."""
        if getattr(validator, "has_checked_half", False) or not self.graft:
            return
        validator.has_checked_half = True
        if asks_for_half(validator.args):  # Ultralytics has reset it where the device cannot
            image = validator.dataloader.dataset[0]["img"]
            if text := half_text(self.model, image[None].float() / 255):
                warn(text)

    def predict(self, source: Any = None, stream: bool = False, predictor: Any = None, **kwargs: Any) -> Any:
        """Predict as `ultralytics.YOLO.predict` does."""
        check_threshold("predict", kwargs.get("iou"))
        if source is None and self.task == "obb" and not network.is_allowed(network.ASSETS):
            source = ASSETS  # as for every other task; Ultralytics would download an image with rotated boxes
            warn(tr("'{key}' is missing. Using the default: {key}={value}", key="source", value=source))
        is_cli = engine_model.ARGV[0].endswith(("yolo", "ultralytics"))
        if not self.predictor:  # type: ignore[attr-defined]
            if kwargs.get("save", is_cli) or kwargs.get("save_txt") or kwargs.get("save_crop"):
                check_run_folder("predict", {**self._run_arguments(), **kwargs})
            if self.graft and not is_cli and kwargs.get("verbose", True):  # the command prints the summary of the model
                LOGGER.info(layer_table.carried(self.model, models.short_text(str(self.graft))))
        return super().predict(source=source, stream=stream, predictor=predictor, **kwargs)

    def benchmark(self, *args: Any, **kwargs: Any) -> Any:
        """Benchmark as `ultralytics.YOLO.benchmark` does."""
        self._check_data("benchmark", {**kwargs, **({"data": args[0]} if args else {})})
        return super().benchmark(*args, **kwargs)

    def _run_arguments(self) -> dict[str, Any]:
        return {**self.overrides, "task": self.task}

    def export(self, **kwargs: Any) -> Any:
        """Export as `ultralytics.YOLO.export` does. `format="safetensors"` writes a checkpoint without pickle.

        The file is beside the checkpoint and has its name. If the blocks are not those of the checkpoint, their names are
        added: yolo11n.pt with the graft `se@8` becomes yolo11n-se-8.onnx.

        Raises:
            GraftError: the model is an exported one, or a package that the format needs is not installed.
        """
        name = str(kwargs.get("format") or DEFAULT_CFG_DICT["format"]).lower()
        if not isinstance(self.model, nn.Module):
            raise HostError(tr("'{model}' is an exported model already. Export the .pt file that it was made from.",
                               model=self.model))
        file = self._export_file()
        check_writable(file.absolute().parent, tr("Copy the checkpoint to another folder, and export it there."))
        if name == checkpoint.SUFFIX[1:]:
            return str(safetensors_file.save_file(self.model, file.with_suffix(checkpoint.SUFFIX)))
        missing = [package for package in _EXPORTERS.get(name, ()) if find_spec(package) is None]
        if missing:
            raise HostError(tr("format={format} needs the package {packages}, which is not installed: "
                               "pip install \"yolograft[export]\"", format=name, packages=", ".join(missing)))
        self._check_data("export", kwargs)  # INT8 is calibrated on it
        if asks_for_half(kwargs) and self.graft:
            with torch.random.fork_rng(devices=[]):
                image = torch.rand(1, next(self.model.parameters()).shape[1], _EXPORT_SIDE, _EXPORT_SIDE)
            if text := half_text(self.model, image):
                warn(text)
        model: Any = self.model
        previous = getattr(model, "pt_path", None)
        model.pt_path = str(file)
        try:
            return super().export(**kwargs)
        except ImportError as error:
            if error.name is None or find_spec(error.name.partition(".")[0]) is not None:
                raise
            raise HostError(tr("format={format} needs the package {packages}, which is not installed: "
                               "pip install {packages}", format=name, packages=error.name)) from error
        finally:
            model.pt_path = previous

    def _export_file(self) -> Path:
        """Return the path of the checkpoint that an export is named after."""
        stored: Any = getattr(self.model, "pt_path", None) or self.model_name
        file = Path(str(stored))
        if file.suffix.lower() in (".yaml", ".yml"):  # as Ultralytics does: a YAML file can lie in the installed package
            file = Path(file.name)
        if self.swap != self._file_swap:
            file = file.with_name(f"{file.stem}-{models.file_name_part(self.swap)}.pt")
        if self.graft != self._file_graft:
            file = file.with_name(f"{file.stem}-{models.file_name_part(self.graft)}.pt")
        return file

    def tune(self, *args: Any, graft: Any = None, swap: Any = None, replace: bool = False, blocks: str | None = None,
             modules: str | None = None, speed: str | None = None, **kwargs: Any) -> Any:
        """Tune hyperparameters as `ultralytics.YOLO.tune` does. Every training has the graft and the swap. See `train`."""
        kwargs = self._with_box_loss(kwargs)
        self._check_data("tune", kwargs)
        set_swap(self, swap, replace=replace)
        set_graft(self, graft, replace=replace)
        stock = without_box_loss(kwargs)
        check_run_folder("tune", {**self._run_arguments(), **stock})
        loss = kwargs["iou"] if "iou" not in stock and "iou" in kwargs else None
        if kwargs.get("use_ray"):  # trains in this process
            stock = kwargs
        with subprocesses.patch_subprocess(graft=str(self.graft), swap=str(self.swap) if self.swap else None,
                                         replace="True", blocks=blocks, modules=modules, speed=speed, iou=loss):
            return super().tune(*args, **stock)


def _learn_modules(model: Any) -> None:
    """Make the classes of a checkpoint's rows known, so that a training builds the same rows."""
    config = getattr(model, "yaml", None)
    layers = getattr(model, "model", None)
    if not isinstance(config, dict) or not isinstance(layers, nn.Sequential):
        return
    try:
        rows = table.parse_rows(models.host_yaml(config))
    except HostError:  # a model without rows
        return
    named = [(row.module, layer) for row, layer in zip(rows, layers, strict=False)]
    named += [(part.block, model.get_submodule(f"model.{site.path.removeprefix('model.')}"))
              for part in swaps.read_swap(config).parts for site in part.sites]
    for name, layer in named:
        module_files.learn(name, type(layer[0] if type(layer) is nn.Sequential else layer))


def set_graft(yolo: Any, graft: str | Graft | list[str | Graft] | None, *, replace: bool = False) -> None:
    """Give an opened model the blocks of a graft.

    If the graft starts with the blocks that the model carries, these keep their weights, and the others are added.

    Args:
        yolo: a `YOLO` or `RTDETR`.
        graft: the new graft. "none" removes all blocks. None changes nothing.
        replace: whether blocks that the model carries may be dropped. Blocks that were never trained always may.

    Raises:
        GraftError: the graft does not fit or would drop blocks, or the model is an exported one. The model is then
            unchanged.
    """
    if graft is None:
        return
    value = Graft.of(graft)
    if not isinstance(yolo.model, nn.Module):
        raise HostError(tr("graft={graft} needs a PyTorch model (.pt or .yaml), not '{model}': the blocks of an exported "
                           "model cannot be changed.", graft=value, model=yolo.model))
    previous = yolo.graft
    if attach.spelled(value) == previous:
        return
    added = models.added_graft(yolo.model, value) if previous else value
    if added is not None:
        _attach_blocks(yolo.model, added)
        _log_added(yolo, added)
        return
    short = models.short_text(str(previous))
    if value and not replace and models.fresh_blocks(yolo.model) != set(attach.grafts(yolo.model)):
        raise HostError(models.refusal(str(yolo.model_name), short, value)
                        + tr(" To drop them: replace=True, or graft=none for the bare host."))
    models.ungraft(yolo.model)
    try:
        _attach_blocks(yolo.model, value)
    except Exception:
        models.graft_onto(yolo.model, previous)
        raise
    LOGGER.info(tr("yolograft: removed the graft {graft} from {name}", graft=short, name=yolo.model_name))
    _log_added(yolo, value)


def _attach_blocks(model: nn.Module, value: Graft) -> None:
    old = set(attach.grafts(model))
    fresh = models.fresh_blocks(model)
    models.graft_onto(model, value)
    models.mark_fresh(model, fresh | (set(attach.grafts(model)) - old))


def _log_added(yolo: Any, value: Graft) -> None:
    if value:
        LOGGER.info(tr("yolograft: added the graft {graft} to {name}, whose own weights are kept", graft=value,
                       name=yolo.model_name))


def graft_yolo(yolo: Any, what: Any) -> Any:
    """Add blocks to a `YOLO` object, ours or Ultralytics', in place, so that its `train` keeps them. Return the object.

    An object of Ultralytics becomes one of ours.

    Raises:
        GraftError: the graft does not fit, or the object has an exported model. The object is then unchanged.
    """
    value = Graft.of(what)
    if not isinstance(yolo.model, nn.Module):
        raise HostError(tr("graft={graft} needs a PyTorch model (.pt or .yaml), not '{model}': the blocks of an exported "
                           "model cannot be changed.", graft=value, model=yolo.model))
    file_graft = attach.grafted(yolo.model)
    _attach_blocks(yolo.model, value)
    _log_added(yolo, value)
    if not isinstance(yolo, _GraftingModel):
        _use_our_class(yolo)
        yolo._file_graft = file_graft
    return yolo


def prune_yolo(yolo: Any) -> Any:
    """Remove all blocks from a `YOLO` object, ours or Ultralytics', in place. Return the object."""
    if isinstance(yolo.model, nn.Module):
        models.ungraft(yolo.model)
    return yolo


def _use_our_class(yolo: Any) -> None:
    stock = type(yolo)
    ours = {StockYOLO: YOLO, StockRTDETR: RTDETR}.get(stock)
    yolo.__class__ = ours or type(stock.__name__, (_GraftingModel, stock), {"__doc__": stock.__doc__})


class RTDETR(_GraftingModel, StockRTDETR):
    """`ultralytics.RTDETR` whose models carry grafts."""


class YOLO(_GraftingModel, StockYOLO):
    """`ultralytics.YOLO` whose models carry grafts.

    >>> model = YOLO("yolo11n.pt", graft="se@backbone.8")  # doctest: +SKIP
    >>> model.train(data="NEU-DET.yaml", epochs=100)  # doctest: +SKIP

    Args:
        model: a checkpoint (stock or grafted), or a model YAML (stock, or edited by hand with attention rows).
        task: as in Ultralytics.
        verbose: as in Ultralytics.
        graft: the blocks of the model. It must start with those of the checkpoint, and adds the others. "none" removes
            all blocks. None keeps those of the checkpoint.
        swap: the modules that take the place of the host's own, as in "dysample@Upsample"; see `train`. The sites of the
            graft are those of the swapped network.
        replace: whether `graft` and `swap` may drop blocks and modules of the checkpoint.
        blocks: a Python file that defines blocks of the graft, or several files with commas between them.
        modules: a Python file whose classes rows of the model YAML name, or several files with commas between them.
        trust: whether to open a checkpoint that could run code.

    Raises:
        GraftError: the graft does not fit or would drop blocks, the checkpoint could run code, or a file is not a model or
            cannot be imported.
    """

    def __init__(
        self,
        model: str | Path = "yolo11n.pt",
        task: str | None = None,
        verbose: bool = False,
        *,
        graft: str | Graft | list[str | Graft] | None = None,
        swap: str | Swap | None = None,
        replace: bool = False,
        blocks: str | Path | None = None,
        modules: str | Path | None = None,
        trust: bool = False,
    ) -> None:
        if task is not None and not (isinstance(task, str) and task.isidentifier() and task != "none"):
            raise HostError(tr("The second argument of YOLO is the task, as in Ultralytics, not the graft. "
                               "Write YOLO({model!r}, graft={graft!r}).", model=str(model), graft=str(task)))
        module_files.load_own({"blocks": blocks, "modules": modules})
        if graft is not None:
            Graft.of(graft)  # raises an error before anything is downloaded or built
        if swap is not None:
            Swap.of(swap)
        model = find_model(model)
        if trust:
            trust_file(model)
        if _is_rtdetr(model):
            self.__class__ = RTDETR
            RTDETR.__init__(self, str(model))  # `self` is one now
        else:
            super().__init__(model, task=task, verbose=verbose)
            if not isinstance(self, _GraftingModel):  # Ultralytics changed it into a World, YOLOE or RT-DETR model
                _use_our_class(self)
                self._file_graft, self._file_swap = self.graft, self.swap
        set_swap(self, swap, replace=replace)
        set_graft(self, graft, replace=replace)


def _is_rtdetr(model: Any) -> bool:
    name = Path(model).name.lower() if isinstance(model, (str, Path)) else ""
    return "rtdetr" in name and name.endswith((".yaml", ".yml", ".pt"))
