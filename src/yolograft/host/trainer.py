"""Grafted trainers: subclasses of Ultralytics' trainers that graft the network which they build when training starts.

What this relies on in Ultralytics (8.3.0 to 8.4.x): every trainer builds its network in `get_model(cfg, weights,
verbose)`, in the training process itself (with several GPUs, in each process). A process that Ultralytics starts gets
`vars(trainer.args)` as `overrides`. `set_model_attributes` runs after the network is built and before `args.freeze` is
applied: an entry X freezes the parameters with `model.X.` in their names. The losses are built after
`resume_training(ckpt)` has begun, and `save_model` stores `vars(args)` as `train_args`. `strip_optimizer` removes unknown
keys from `train_args` of the finished checkpoint, but keeps the arguments at its model, `model.args`. `save_model` writes
checkpoints with `write_bytes` of paths made from `wdir`, `last` and `best`, and `final_eval` with `torch.save`.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from torch import nn
from ultralytics.models import yolo
from ultralytics.utils import DEFAULT_CFG, DEFAULT_CFG_DICT, LOGGER

from yolograft import __version__, attach, checkpoint, yaml_text
from yolograft.atomic import atomic_write
from yolograft.blocks import plugin
from yolograft.box_loss import BoxLoss
from yolograft.errors import HostError, nearest
from yolograft.fast.acceleration import Acceleration
from yolograft.fast.modes import check_mode
from yolograft.host import layer_table, models, run_record, safetensors_file, swaps, unmoved_blocks, used_images
from yolograft.host.box_loss import patch_box_loss, read_iou
from yolograft.host.checkpoint_files import CheckpointPath, atomic_save
from yolograft.host.checkpoint_guard import guard
from yolograft.host.class_names import names_text
from yolograft.host.half_precision import say_overflow
from yolograft.host.label_cache import safe_label_cache
from yolograft.host.loaded_weights import weights_text
from yolograft.host.log import warn
from yolograft.host.mosaic import closes_never, mosaic_warnings
from yolograft.host.transfer import plan_transfer
from yolograft.language import tr
from yolograft.modelyaml import table
from yolograft.modules import plugin as module_files
from yolograft.patch import patched
from yolograft.spec import Graft, Swap

__all__ = ["GraftTrainer", "grafted_trainer"]

_RECORDED = ("box_loss", "box_loss_mean")  # what a checkpoint's `train_args` have besides Ultralytics' arguments


class GraftTrainer:
    """Mixin of all grafted trainers. `grafted_trainer` combines it with a stock trainer.

    The swap is `overrides["swap"]` if it is there ("none" trains the host's own modules), else that in the model's YAML
    dict.
    The graft is `overrides["graft"]` if it is there ("none" trains the bare host), else that in the model's YAML dict.
    A name in `overrides["iou"]` is the box loss; `args.iou` is always a number, the IoU threshold of NMS.
    """

    def __init__(self, cfg: Any = DEFAULT_CFG, overrides: dict[str, Any] | None = None, _callbacks: Any = None) -> None:
        overrides = dict(overrides or {})
        self.graft_text: str | None = overrides.pop("graft", None)
        self.swap_text: str | None = overrides.pop("swap", None)
        self.blocks_file: str | None = overrides.pop("blocks", None)
        self.modules_file: str | None = overrides.pop("modules", None)
        wanted = overrides.pop("speed", None)
        module_files.load_own({"blocks": self.blocks_file, "modules": self.modules_file})
        self.box_loss = read_iou(overrides.get("iou"))
        if self.box_loss is not None:
            del overrides["iou"]
        if self.graft_text is not None:
            Graft.parse(self.graft_text)  # raises an error before Ultralytics makes the run folder
        if self.swap_text is not None:
            Swap.parse(self.swap_text)
        self.acceleration = Acceleration(str(wanted or "auto"), {**DEFAULT_CFG_DICT, "task": None, **overrides})
        with guard():
            super().__init__(cfg, overrides, _callbacks)  # type: ignore[call-arg]
        for key in _RECORDED:  # from the checkpoint of a resumed training, see `resume_training`
            vars(self.args).pop(key, None)  # type: ignore[attr-defined]
        for line in mosaic_warnings(vars(self.args)):  # type: ignore[attr-defined]
            warn(line)
        self.wdir, self.last, self.best = map(CheckpointPath, (self.wdir, self.last, self.best))  # type: ignore[has-type]
        record = self.save_dir / run_record.FILE  # type: ignore[attr-defined]
        if wanted is None and getattr(self, "resume", False) and record.is_file():
            self.acceleration.mode = _recorded_speed(record)
        for event, callback in (("on_pretrain_routine_end", GraftTrainer._begin_box_loss),
                                ("on_pretrain_routine_end", self.acceleration.begin),
                                ("on_train_epoch_start", GraftTrainer._release_box_loss),
                                ("on_fit_epoch_end", say_overflow), *(_WARNINGS if _is_first_process() else ())):
            self.add_callback(event, callback)  # type: ignore[attr-defined]
        is_new = not getattr(self, "resume", False)  # else the record is that of the run's start
        if self.graft_text is not None and record.parent.is_dir() and is_new:
            facts = {"graft": self.graft_text, **({"swap": self.swap_text} if self.swap_text else {}),
                     "speed": self.acceleration.mode, "yolograft": __version__,
                     **({"box_loss": str(self.box_loss)} if self.box_loss else {})}
            atomic_write(record, lambda part: part.write_text(yaml.safe_dump(facts), encoding="utf-8"))

    def train(self) -> Any:
        """Train as the stock trainer does. With several GPUs, pass the graft to the processes that Ultralytics starts."""
        if _starts_processes(self):
            # A process gets only `vars(args)`. In all other trainings, Ultralytics would reject the unknown keys.
            if not self.blocks_file and self.graft_text:
                self.blocks_file = ",".join(map(str, plugin.files_of(self.graft_text))) or None
            self.modules_file = self.modules_file or self._find_module_files()
            for key, value in (("graft", self.graft_text), ("swap", self.swap_text), ("blocks", self.blocks_file),
                               ("modules", self.modules_file), ("speed", self.acceleration.mode),
                               ("iou", self.box_loss and str(self.box_loss))):
                if value is not None:
                    setattr(self.args, key, value)  # type: ignore[attr-defined]
        with guard(), safe_label_cache(), used_images.say_unused():
            return super().train()  # type: ignore[misc]

    def final_eval(self) -> None:
        """Evaluate the best checkpoint as the stock trainer does, and write the checkpoints without optimizer atomically."""
        with atomic_save():
            super().final_eval()  # type: ignore[misc]

    def _find_module_files(self) -> str | None:
        config = getattr(self.model, "yaml", None)  # type: ignore[attr-defined]
        rows = table.parse_rows(models.host_yaml(config)) if isinstance(config, dict) else []
        swap = Swap.parse(self.swap_text) if self.swap_text is not None else swaps.read_swap(config)
        names = [*(row.module for row in rows), *(part.block for part in swap.parts)]
        return ",".join(map(str, module_files.files_of(names))) or None

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> nn.Module:
        """Build the stock network, replace the modules of the swap, graft it, and load their tensors from the weights."""
        from yolograft.host.build import model_config, name_failing_row

        if str(cfg).endswith(checkpoint.SUFFIX):  # in a process of a multi-GPU training, which gets only the path
            opened = safetensors_file.open_file(str(cfg))
            cfg, weights = opened.yaml, weights or opened
        config = model_config(cfg) if isinstance(cfg, (str, Path)) else cfg
        graft = models.read_graft(config) if isinstance(config, dict) else Graft()
        if self.graft_text is not None:
            graft = Graft.parse(self.graft_text)
        swap = Swap.parse(self.swap_text) if self.swap_text is not None else swaps.read_swap(config)
        host_config = models.host_yaml(config) if isinstance(config, dict) else config
        source = cfg if isinstance(cfg, (str, Path)) else (host_config or {}).get("yaml_file", "")
        transfer = plan_transfer(weights, host_config) if isinstance(host_config, dict) else None
        weights = weights if transfer is None else transfer.weights
        with layer_table.show_blocks() as log:
            with models.building(), name_failing_row(source):
                network: nn.Module = super().get_model(cfg=host_config, weights=weights, verbose=verbose)  # type: ignore[misc]
            # if the number of classes changes, newer versions copy the class branches of the weights' head with their blocks
            network = attach.prune(network)
            if swap:
                replaced = swaps.swap_onto(network, swap)
                if weights is not None:
                    log.transferred = swaps.load_swapped(network, replaced, weights, log.transferred or 0)
                    transfer = swaps.describe_transfer(replaced, host_config, weights, transfer)
                log.show_swap(network, swaps.table_lines(network, replaced))
            log.network = models.graft_onto(network, graft)
            log.has_own_count = transfer is not None
        if weights is not None and (graft or transfer is not None):
            models.load_block_weights(network, weights, log.transferred, transfer)
        if weights is not None and _is_first_process():
            self._say_loaded(network, weights, moved=transfer is not None or bool(swap))
        return network

    def _say_loaded(self, network: nn.Module, weights: Any, *, moved: bool) -> None:
        """Warn if weights were not loaded, or if their classes have another order than those of the data."""
        args: Any = self.args  # type: ignore[attr-defined]
        name = args.pretrained if isinstance(args.pretrained, (str, Path)) else args.model
        # newer versions of Ultralytics give each class the weights of its name
        agree = args.single_cls or getattr(args, "cls_remap", False)
        names = None if agree else (getattr(self, "data", None) or {}).get("names")
        for text in (weights_text(network, weights, name, moved=moved),
                     names_text(getattr(weights, "names", None), names, trains=True)):
            if text:
                warn(text)

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Prepare a batch as the stock trainer does, in the chosen memory format."""
        return self.acceleration.preprocess(super().preprocess_batch(batch))  # type: ignore[misc]

    def _do_train(self, *args: Any, **kwargs: Any) -> Any:
        with ExitStack() as self._patches, self.acceleration.session(self):
            self._patch_box_loss()
            return super()._do_train(*args, **kwargs)  # type: ignore[misc]

    def _patch_box_loss(self) -> None:
        """Give the network and its average the box loss until the training ends. For CIoU, nothing is patched."""
        if self._has_other_loss():
            self._patches.enter_context(patch_box_loss(lambda: self.box_loss, self._strides))

    def _has_other_loss(self) -> bool:
        return self.box_loss is not None and self.box_loss.name != "ciou"

    def _strides(self) -> tuple[float, ...]:
        model = self.model  # type: ignore[attr-defined]
        return tuple(map(float, getattr(model, "module", model).stride))

    def resume_training(self, ckpt: Any) -> None:
        """Resume as the stock trainer does, with the checkpoint's own box loss, and with Mosaic as without interruption."""
        if ckpt is not None and getattr(self, "resume", False):
            stored = ckpt.get("train_args") or {}
            text_key, mean_key = _RECORDED
            recorded = BoxLoss.parse(stored.get(text_key, "ciou"))
            if self.box_loss is not None and str(self.box_loss) != str(recorded):
                raise HostError(tr("resume continues with the checkpoint's own box loss, iou={recorded}, not iou={given}. "
                                   "Leave iou out, or start a new run without resume.", recorded=recorded,
                                   given=self.box_loss))
            if text_key in stored:
                is_patched = self._has_other_loss()
                self.box_loss = recorded
                recorded.mean = float(stored[mean_key])
                if not is_patched:
                    self._patch_box_loss()  # the losses are built after this
        args: Any = self.args  # type: ignore[attr-defined]
        close_mosaic = args.close_mosaic
        if closes_never(close_mosaic, self.epochs):  # type: ignore[attr-defined]
            args.close_mosaic = 0  # 8.3.0 would close Mosaic here, though an uninterrupted training never does
        try:
            super().resume_training(ckpt)  # type: ignore[misc]
        finally:
            args.close_mosaic = close_mosaic

    def save_model(self) -> Any:
        """Save the checkpoints as the stock trainer does, with the box loss among the train arguments."""
        if self.box_loss is None:
            return super().save_model()  # type: ignore[misc]
        args, average = self.args, self.ema.ema  # type: ignore[attr-defined]
        # 8.3 would also store the loss object, which cannot be opened where yolograft is not installed
        vars(args).update(zip(_RECORDED, (str(self.box_loss), self.box_loss.mean), strict=True))
        try:
            with patched((average, "criterion", None)):
                return super().save_model()  # type: ignore[misc]
        finally:
            for key in _RECORDED:  # Ultralytics would reject them where it builds new arguments of these
                delattr(args, key)

    # Callbacks. `trainer` is this trainer.

    @staticmethod
    def _begin_box_loss(trainer: Any) -> None:
        if trainer.box_loss is not None:
            LOGGER.info(tr("yolograft: box loss {loss}. The IoU threshold of NMS is {threshold}.", loss=trainer.box_loss,
                           threshold=trainer.args.iou))
            trainer.box_loss.is_held = True  # `speed` may time or compare steps before the first epoch

    @staticmethod
    def _release_box_loss(trainer: Any) -> None:
        if trainer.box_loss is not None:
            trainer.box_loss.is_held = False

    def optimizer_step(self) -> None:
        """Make an optimizer step as the stock trainer does, with the selected acceleration."""
        with self.acceleration.optimizer_step(self):
            super().optimizer_step()  # type: ignore[misc]

    def _build_train_pipeline(self) -> None:
        super()._build_train_pipeline()  # type: ignore[misc]  # 8.4 calls this again, with a smaller batch, after an out-of-memory error
        self.acceleration.replace_loaders(self)

    def validate(self) -> Any:
        """Validate as the stock trainer does, with the selected acceleration."""
        with self.acceleration.validation(self):
            return super().validate()  # type: ignore[misc]

    def set_model_attributes(self) -> None:
        """Set the stock trainer's attributes, and change `args.freeze` so that it does not freeze the blocks."""
        super().set_model_attributes()  # type: ignore[misc]
        freeze = self.args.freeze  # type: ignore[attr-defined]
        entries = list(range(freeze)) if isinstance(freeze, int) else list(freeze or [])
        carriers = attach.grafts(self.model)  # type: ignore[attr-defined]
        if entries and carriers:
            self.args.freeze = _freeze_entries(self.model, entries, list(carriers))  # type: ignore[attr-defined]
            LOGGER.info(tr("yolograft: freeze={freeze} freezes the host's layers, but not the blocks that are grafted there",
                           freeze=freeze))


def _recorded_speed(record: Path) -> str:
    """Return the speed that the record of an interrupted training names."""
    content = yaml_text.read(record, error=HostError).value
    speed = str(content.get("speed", "auto")) if isinstance(content, dict) else "auto"
    check_mode(speed)
    return speed


_WARNINGS = (("on_pretrain_routine_end", unmoved_blocks.remember_blocks),
             ("on_pretrain_routine_end", used_images.say_shared),
             ("on_pretrain_routine_end", run_record.record_run), ("on_train_end", unmoved_blocks.say_unmoved))


def _is_first_process() -> bool:
    return os.environ.get("RANK", "-1") in ("-1", "0")


def _starts_processes(trainer: Any) -> bool:
    if hasattr(trainer, "ddp"):  # 8.4
        return bool(trainer.ddp)
    device = trainer.args.device  # 8.3 starts processes in train() for several devices, outside of such a process
    many = len(device.split(",")) > 1 if isinstance(device, str) else isinstance(device, (list, tuple)) and len(device) > 1
    return many and "LOCAL_RANK" not in os.environ


def _freeze_entries(model: nn.Module, entries: list[Any], blocks: list[str]) -> list[Any]:
    """Return entries for `args.freeze` that match the same host parameters, but no block's parameters.

    Args:
        model: the grafted network.
        entries: the user's entries for `args.freeze`.
        blocks: the names of all blocks in the network.
    """
    found: list[Any] = []
    for entry in entries:
        top = f"model.{entry}"
        inside = [name for name in blocks if name.startswith(f"{top}.")]
        if not inside:
            found.append(entry)
            continue
        module = model.get_submodule(top)
        for name, _ in module.named_children():
            if name not in ("graft", "graft_pre", "graft_in"):
                found += _freeze_entries(model, [f"{entry}.{name}"], blocks)
        own = [name for name, _ in module.named_parameters(recurse=False)]
        if own:  # the entry X matches X's own parameters only together with those of its children
            warn(tr("freeze={entry} does not freeze {parameters}, because a block is grafted there", entry=entry,
                    parameters=", ".join(f"{top}.{name}" for name in own)))
    return found


def grafted_trainer(stock: type[Any]) -> type[Any]:
    """Return the grafted subclass of a trainer class. It is an attribute of this module, so that processes can import it."""
    if issubclass(stock, GraftTrainer):
        return stock
    name = f"Graft{stock.__name__}"
    module = sys.modules[__name__]
    if name not in module.__dict__ or module.__dict__[name].__mro__[2] is not stock:
        setattr(module, name, type(name, (GraftTrainer, stock), {"__module__": __name__, "__qualname__": name,
                                                                 "__doc__": f"`{stock.__name__}` that grafts its network."}))
    return module.__dict__[name]


def __getattr__(name: str) -> Any:
    # For several GPUs, Ultralytics 8.3 starts processes that import the trainer by module and name.
    stock_name = name[len("Graft"):]
    if name.startswith("Graft") and name.endswith("Trainer"):
        from ultralytics.models.rtdetr import train as rtdetr_train  # the package itself does not export its trainer

        for package in (*vars(yolo).values(), rtdetr_train):
            stock = getattr(package, stock_name, None)
            if isinstance(stock, type):
                return grafted_trainer(stock)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}.{nearest(name, ['GraftTrainer'])}")
