"""`yolograft.YOLO`: a subclass of `ultralytics.YOLO` whose models keep their grafts in train, val, predict and export.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `Model.task_map` is the only table of model, trainer, validator and
predictor classes. `YOLO.__init__` may change the class of `self` (to RT-DETR, World or YOLOE). `Model._new` builds from
a YAML file, and `Model.train` builds the trainer from the table with `overrides=args`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from ultralytics.models import RTDETR as StockRTDETR
from ultralytics.models import YOLO as StockYOLO
from ultralytics.nn.tasks import guess_model_task
from ultralytics.utils import DEFAULT_CFG_DICT, LOGGER

from yolograft import attach, checkpoint
from yolograft.errors import HostError
from yolograft.host import models, safetensors_file, subprocesses
from yolograft.host.build import model_config, name_failing_row
from yolograft.host.checkpoint_guard import GuardedModel
from yolograft.host.trainer import grafted_trainer
from yolograft.spec import Graft

__all__ = ["RTDETR", "YOLO", "set_graft"]


class _GraftingModel(GuardedModel):
    """Mixin of `YOLO` and `RTDETR`, over `ultralytics.engine.model.Model`."""

    @property
    def task_map(self) -> dict[str, dict[str, Any]]:
        """The stock table of classes, with grafted trainers."""
        return {task: {**row, **({"trainer": grafted_trainer(row["trainer"])} if row.get("trainer") else {})}
                for task, row in super().task_map.items()}  # type: ignore[misc]

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

    def _load(self, weights: str, task: str | None = None) -> None:
        if not str(weights).endswith(checkpoint.SUFFIX):
            super()._load(weights, task=task)
            return
        opened: Any = safetensors_file.open_file(weights)
        self.model, self.task = opened, opened.task
        self.ckpt = {"model": opened}  # with a checkpoint here, `train` starts from its weights
        self.ckpt_path = self.model_name = str(weights)
        self.overrides = {"imgsz": opened.args["imgsz"], "data": opened.args.get("data"), "model": str(weights),
                          "task": self.task}
        opened.args = self.overrides

    def train(self, trainer: Any = None, *, graft: Any = None, **kwargs: Any) -> Any:
        """Train as `ultralytics.YOLO.train` does. `graft` replaces the model's blocks first ("none" removes them).

        Raises:
            GraftError: the graft does not fit this model. Nothing was trained and no folder was made then.
        """
        resume = kwargs.get("resume")
        if graft is not None and resume and attach.spelled(Graft.of(graft)) != self.graft:
            raise HostError(f"resume continues with the checkpoint's own graft, '{models.short_text(str(self.graft))}', not "
                            f"'{Graft.of(graft)}'. Leave graft out, or start a new run without resume.")
        if resume is True and not (isinstance(self.ckpt, dict) and self.ckpt.get("optimizer") is not None):
            raise HostError(f"resume=True needs the last.pt of an interrupted training, but '{self.model_name}' has no "
                            "optimizer state (a finished run's checkpoints keep none). Leave resume out to train from its "
                            "weights, or name RUN/weights/last.pt.")
        set_graft(self, graft)
        if not resume:
            kwargs["graft"] = str(self.graft)
        with subprocesses.patch_subprocess():  # Ultralytics trains several data sets in subprocesses
            return super().train(trainer=trainer, **kwargs)

    def export(self, **kwargs: Any) -> Any:
        """Export as `ultralytics.YOLO.export` does. `format="safetensors"` writes a checkpoint without pickle."""
        if kwargs.get("format") != checkpoint.SUFFIX[1:]:
            return super().export(**kwargs)
        if not isinstance(self.model, nn.Module):
            raise HostError(f"'{self.model}' is an exported model already. Export the .pt file that it was made from.")
        return str(safetensors_file.save_file(self.model, Path(str(self.model_name)).with_suffix(checkpoint.SUFFIX)))

    def tune(self, *args: Any, graft: Any = None, blocks: str | None = None, speed: str | None = None,
             **kwargs: Any) -> Any:
        """Tune hyperparameters as `ultralytics.YOLO.tune` does. Every training has the graft."""
        set_graft(self, graft)
        with subprocesses.patch_subprocess(graft=str(self.graft), blocks=blocks, speed=speed):
            return super().tune(*args, **kwargs)


def set_graft(yolo: Any, graft: str | Graft | list[str | Graft] | None) -> None:
    """Replace the blocks of an opened model by those of a graft.

    Args:
        yolo: a `YOLO` or `RTDETR`.
        graft: the new graft. "none" removes all blocks. None changes nothing.

    Raises:
        GraftError: the graft does not fit, or the model is an exported one. The model is then unchanged.
    """
    if graft is None:
        return
    value = Graft.of(graft)
    if not isinstance(yolo.model, nn.Module):
        raise HostError(f"graft={value} needs a PyTorch model (.pt or .yaml), not '{yolo.model}': the blocks of an exported "
                        "model cannot be changed.")
    previous = yolo.graft
    if attach.spelled(value) == previous:
        return
    if previous:
        models.ungraft(yolo.model)
    try:
        models.graft_onto(yolo.model, value)
    except Exception:
        models.graft_onto(yolo.model, previous)
        raise
    setattr(yolo.model, models.FRESH, bool(value))
    if value and yolo.ckpt:
        new = sum(len(block.state_dict()) for block in attach.grafts(yolo.model).values())
        host = len(yolo.model.state_dict()) - new
        LOGGER.info(f"yolograft: {value} grafted onto {yolo.model_name}: {host} of {host} host tensors kept; "
                    f"{new} new in grafts")


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
        graft: blocks that replace those of the checkpoint. "none" removes them. None keeps them.

    Raises:
        GraftError: the graft does not fit, or the file is not a model.
    """

    def __init__(
        self,
        model: str | Path = "yolo11n.pt",
        task: str | None = None,
        verbose: bool = False,
        *,
        graft: str | Graft | list[str | Graft] | None = None,
    ) -> None:
        if graft is not None:
            Graft.of(graft)  # raises an error before anything is downloaded or built
        if _is_rtdetr(model):
            self.__class__ = RTDETR
            StockRTDETR.__init__(self, str(model))
        else:
            super().__init__(model, task=task, verbose=verbose)
            if not isinstance(self, _GraftingModel):  # Ultralytics changed it into a World, YOLOE or RT-DETR model
                stock = type(self)
                self.__class__ = type(stock.__name__, (_GraftingModel, stock), {"__doc__": stock.__doc__})
        set_graft(self, graft)


def _is_rtdetr(model: Any) -> bool:
    name = Path(model).name.lower() if isinstance(model, (str, Path)) else ""
    return "rtdetr" in name and name.endswith((".yaml", ".yml", ".pt"))
