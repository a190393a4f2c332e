"""Grafted trainers: Ultralytics' own, which rebuild the network when training starts, made to graft it again.

What this relies on in Ultralytics (8.3.0 to 8.4.x): every trainer builds its network in `get_model(cfg, weights,
verbose)`, in the training process itself (so in each process of a multi-GPU launch); `vars(trainer.args)` is what a
launched process gets as `overrides`; and `set_model_attributes` runs after the network is built and before layers
are frozen by `args.freeze`, whose entries X freeze the parameters with `model.X.` in their names.
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

from yolograft import __version__, attach, checkpoint
from yolograft.errors import nearest
from yolograft.fast import cache, select
from yolograft.fast.gpu import resident_dataset
from yolograft.fast.gpu import select as gpu_select
from yolograft.host import models, safetensors_file
from yolograft.host.mosaic import mosaic_warnings
from yolograft.spec import Graft
from yolograft.threads import share

__all__ = ["GraftTrainer", "grafted_trainer"]


class GraftTrainer:
    """What a grafted trainer does differently from its stock class; mixed in by `grafted_trainer`.

    The graft comes with the network's YAML dict, or as `overrides["graft"]`, which wins ("none" trains the bare host).
    """

    def __init__(self, cfg: Any = DEFAULT_CFG, overrides: dict[str, Any] | None = None, _callbacks: Any = None) -> None:
        overrides = dict(overrides or {})
        self.graft_text: str | None = overrides.pop("graft", None)
        self.blocks_file: str | None = overrides.pop("blocks", None)
        wanted = overrides.pop("speed", None)
        self.speed = select.check(str(wanted or "auto"))
        self.choice: select.Choice | None = None
        self.twin: nn.Module | None = None  # what is evaluated instead of the averaged model
        self.batches_kept: cache.Kept | None = None
        self.pictures: resident_dataset.Pictures | None = None
        if self.blocks_file:
            from yolograft.blocks.plugin import load_plugin

            load_plugin(self.blocks_file)
        if self.graft_text is not None:
            Graft.parse(self.graft_text)  # refused before Ultralytics makes a folder for the run
        gpu_select.check(self.speed, {**DEFAULT_CFG_DICT, "task": None, **overrides})
        super().__init__(cfg, overrides, _callbacks)  # type: ignore[call-arg]
        for line in mosaic_warnings(vars(self.args)):  # type: ignore[attr-defined]
            LOGGER.warning(f"WARNING yolograft: {line}")
        record = self.save_dir / "graft.yaml"  # type: ignore[attr-defined]
        if wanted is None and getattr(self, "resume", False) and record.is_file():
            self.speed = yaml.safe_load(record.read_text(encoding="utf-8")).get("speed", "auto")
        on_cpu = self.device.type == "cpu"  # type: ignore[attr-defined]
        if self.speed in gpu_select.MODES or (self.speed == "auto" and self.device.type == "cuda"):  # type: ignore[attr-defined]
            self.add_callback("on_pretrain_routine_end", gpu_select.begin)  # type: ignore[attr-defined]
        elif self.speed != "stock" and on_cpu:
            self.add_callback("on_pretrain_routine_end", select.begin)  # type: ignore[attr-defined]
        if self.graft_text is not None and record.parent.is_dir():
            told = {"graft": self.graft_text, "speed": self.speed, "yolograft": __version__}
            record.write_text(yaml.safe_dump(told), encoding="utf-8")

    def train(self) -> Any:
        """Train as the stock trainer does; a multi-GPU launch hands the graft to the processes it starts."""
        if _launches(self):
            # `vars(args)` is all that they are given. Elsewhere the key would be refused as no Ultralytics argument.
            for key, value in (("graft", self.graft_text), ("blocks", self.blocks_file), ("speed", self.speed)):
                if value is not None:
                    setattr(self.args, key, value)  # type: ignore[attr-defined]
        return super().train()  # type: ignore[misc]

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> nn.Module:
        """Build the stock network, graft it, and load what the weights have for the blocks."""
        from yolograft.host.build import model_config

        if str(cfg).endswith(checkpoint.SUFFIX):  # in the processes of a multi-GPU launch, which know the file alone
            opened = safetensors_file.open_file(str(cfg))
            cfg, weights = opened.yaml, weights or opened
        config = model_config(cfg) if isinstance(cfg, (str, Path)) else cfg
        graft = models.graft_of(config) if isinstance(config, dict) else Graft()
        if self.graft_text is not None:
            graft = Graft.parse(self.graft_text)
        plain = models.host_yaml(config) if isinstance(config, dict) else config
        with models.own_activation():
            network: nn.Module = super().get_model(cfg=plain, weights=weights, verbose=verbose)  # type: ignore[misc]
        # newer versions copy the class branches of the weights' head where the number of classes changes, blocks and all
        models.graft_onto(attach.prune(network), graft)
        if weights is not None and graft:
            models.load_into(network, weights)
        return network

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Prepare a batch as the stock trainer does, in the layout that was chosen."""
        batch = super().preprocess_batch(batch)  # type: ignore[misc]
        if self.choice and self.choice.channels_last:
            batch["img"] = select.dense(batch["img"])
        return batch

    def _do_train(self, *args: Any, **kwargs: Any) -> Any:
        with ExitStack() as stack:
            stack.enter_context(select.keep_threads())
            # entered once the network is there, which is inside the stock method
            self.add_callback("on_train_start", lambda trainer: stack.enter_context(select.trained(trainer)))  # type: ignore[attr-defined]
            self.add_callback("on_train_start", lambda trainer: stack.enter_context(gpu_select.running(trainer)))  # type: ignore[attr-defined]
            if self.speed not in ("stock", *gpu_select.MODES) and self.device.type == "cpu":  # type: ignore[attr-defined]
                self.add_callback("on_train_start", lambda trainer: stack.enter_context(  # type: ignore[attr-defined]
                    cache.pictures(trainer.train_loader.dataset, threads=share(1))))
            return super()._do_train(*args, **kwargs)  # type: ignore[misc]

    def optimizer_step(self) -> None:
        """Step as the stock trainer does, at the speed that was chosen."""
        with select.stepping(self):
            super().optimizer_step()  # type: ignore[misc]

    def _build_train_pipeline(self) -> None:
        super()._build_train_pipeline()  # type: ignore[misc]  # 8.4's, which builds it again when memory ran out
        gpu_select.replace_loaders(self)

    def validate(self) -> Any:
        """Validate as the stock trainer does, at the speed that was chosen."""
        with select.evaluated(self):
            return super().validate()  # type: ignore[misc]

    def set_model_attributes(self) -> None:
        """Set what the stock trainer sets, and keep the blocks out of what `freeze` is about to freeze."""
        super().set_model_attributes()  # type: ignore[misc]
        freeze = self.args.freeze  # type: ignore[attr-defined]
        entries = list(range(freeze)) if isinstance(freeze, int) else list(freeze or [])
        carriers = attach.grafts(self.model)  # type: ignore[attr-defined]
        if entries and carriers:
            self.args.freeze = _around(self.model, entries, list(carriers))  # type: ignore[attr-defined]
            LOGGER.info(f"yolograft: freeze={freeze} freezes the host's layers; the blocks grafted there go on learning")


def _launches(trainer: Any) -> bool:
    if hasattr(trainer, "ddp"):  # 8.4
        return bool(trainer.ddp)
    device = trainer.args.device  # 8.3 decides in train(): several devices, and not one of the launched processes
    many = len(device.split(",")) > 1 if isinstance(device, str) else isinstance(device, (list, tuple)) and len(device) > 1
    return many and "LOCAL_RANK" not in os.environ


def _around(model: nn.Module, entries: list[Any], carriers: list[str]) -> list[Any]:
    """Return freeze entries for the same host parameters, spelled so that no block's parameter is among them."""
    found: list[Any] = []
    for entry in entries:
        top = f"model.{entry}"
        inside = [name for name in carriers if name.startswith(f"{top}.")]
        if not inside:
            found.append(entry)
            continue
        module = model.get_submodule(top)
        for name, _ in module.named_children():
            if name not in ("graft", "graft_pre", "graft_in"):
                found += _around(model, [f"{entry}.{name}"], carriers)
        own = [name for name, _ in module.named_parameters(recurse=False)]
        if own:  # 'model.X.' cannot spell a parameter of X itself without its children's
            LOGGER.warning(f"yolograft: freeze={entry} leaves {top}.{{{','.join(own)}}} free, for the block grafted there")
    return found


def grafted_trainer(stock: type[Any]) -> type[Any]:
    """Return the grafted kind of a trainer class, found again by name in a launched process."""
    if issubclass(stock, GraftTrainer):
        return stock
    name = f"Graft{stock.__name__}"
    here = sys.modules[__name__]
    if name not in here.__dict__ or here.__dict__[name].__mro__[2] is not stock:
        setattr(here, name, type(name, (GraftTrainer, stock), {"__module__": __name__, "__qualname__": name,
                                                               "__doc__": f"`{stock.__name__}` that grafts its network."}))
    return here.__dict__[name]


def __getattr__(name: str) -> Any:
    # A multi-GPU launch (Ultralytics 8.3) imports the trainer by module and name in a fresh process.
    wanted = name[len("Graft"):]
    if name.startswith("Graft") and name.endswith("Trainer"):
        from ultralytics.models import rtdetr

        for package in (*vars(yolo).values(), rtdetr):
            stock = getattr(package, wanted, None)
            if isinstance(stock, type):
                return grafted_trainer(stock)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}.{nearest(name, ['GraftTrainer'])}")
