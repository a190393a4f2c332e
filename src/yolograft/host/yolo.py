"""`yolograft.YOLO`: `ultralytics.YOLO` whose models carry grafts through train, val, predict, export and the rest.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `Model.task_map` is the one table of model, trainer, validator and
predictor classes; `YOLO.__init__` may turn `self` into another class (RT-DETR, World, YOLOE); `Model._new` builds from
a YAML file and `Model.train` builds its trainer from the table with `overrides=args`.
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
from yolograft.host.build import model_config
from yolograft.host.trainer import grafted_trainer
from yolograft.spec import Graft

__all__ = ["RTDETR", "YOLO"]


class _GraftingModel:
    """What a grafting model does differently from `ultralytics.engine.model.Model`."""

    @property
    def task_map(self) -> dict[str, dict[str, Any]]:
        """The stock table with the trainers that graft their networks."""
        return {task: {**row, **({"trainer": grafted_trainer(row["trainer"])} if row.get("trainer") else {})}
                for task, row in super().task_map.items()}  # type: ignore[misc]

    @property
    def graft(self) -> Graft:
        """The graft that the model carries, every setting spelled out; falsy for a bare host."""
        return attach.grafted(self.model) if isinstance(self.model, nn.Module) else Graft()

    def _new(self, cfg: str, task: str | None = None, model: Any = None, verbose: bool = False) -> None:
        config = model_config(cfg)
        graft = models.graft_of(config)
        self.cfg = cfg
        self.task = task or guess_model_task(models.host_yaml(config))
        cls = model or self._smart_load("model")  # type: ignore[attr-defined]
        self.model = models.build(config, graft, cls, verbose=verbose)
        self.overrides = {**getattr(self, "overrides", {}), "model": cfg, "task": self.task}
        self.model.args = {**DEFAULT_CFG_DICT, **self.overrides}  # type: ignore[assignment]
        self.model.task = self.task  # type: ignore[assignment]
        self.model_name = cfg
        self.ckpt: dict[str, Any] = {}  # 8.3.0's `save` adds to it, and fails on None

    def _load(self, weights: str, task: str | None = None) -> None:
        if not str(weights).endswith(checkpoint.SUFFIX):
            super()._load(weights, task=task)  # type: ignore[misc]
            return
        opened: Any = safetensors_file.open_file(weights)
        self.model, self.task = opened, opened.task
        self.ckpt = {"model": opened}  # what tells `train` that there are weights to start from
        self.ckpt_path = self.model_name = str(weights)
        self.overrides = {"imgsz": opened.args["imgsz"], "data": opened.args.get("data"), "model": str(weights),
                          "task": self.task}
        opened.args = self.overrides

    def _apply_graft(self, graft: str | Graft | list[str | Graft] | None) -> None:
        """Make the model carry `graft` and nothing else; None leaves it as it is."""
        if graft is None:
            return
        value = Graft.of(graft)
        if not isinstance(self.model, nn.Module):
            raise HostError(f"graft={value} needs a PyTorch model (.pt or .yaml), not '{self.model}': an exported model "
                            "already has its blocks inside.")
        if attach.spelled(value) == self.graft:
            return
        previous = self.graft
        if previous:
            models.ungraft(self.model)
        try:
            models.graft_onto(self.model, value)
        except Exception:
            models.graft_onto(self.model, previous)
            raise
        setattr(self.model, models.FRESH, bool(value))
        if value and self.ckpt:
            new = sum(len(block.state_dict()) for block in attach.grafts(self.model).values())
            host = len(self.model.state_dict()) - new
            LOGGER.info(f"yolograft: {value} put on {self.model_name}: {host} of {host} host tensors kept; "
                        f"{new} new in grafts")

    def train(self, trainer: Any = None, *, graft: Any = None, **kwargs: Any) -> Any:
        """Train as `ultralytics.YOLO.train` does; `graft` puts blocks on first ("none" takes them off).

        Raises:
            GraftError: the graft does not fit this model; nothing was trained and no folder made.
        """
        resume = kwargs.get("resume")
        if graft is not None and resume:
            wanted = attach.spelled(Graft.of(graft))
            if wanted != self.graft:
                raise HostError(f"resume goes on with the checkpoint's own graft, '{models.short(str(self.graft))}', not "
                                f"'{Graft.of(graft)}'. Leave graft out, or start a new run without resume.")
        if resume is True and not (isinstance(self.ckpt, dict) and self.ckpt.get("optimizer") is not None):
            raise HostError(f"resume=True needs the last.pt of a training that was stopped; '{self.model_name}' has nothing "
                            "to go on from (a finished run's checkpoints keep no optimizer). Leave resume out to train on "
                            "from its weights, or name RUN/weights/last.pt.")
        self._apply_graft(graft)
        if not resume:
            kwargs["graft"] = str(self.graft)
        with subprocesses.launching():  # several data sets are trained in processes of their own
            return super().train(trainer=trainer, **kwargs)  # type: ignore[misc]

    def export(self, **kwargs: Any) -> Any:
        """Export as `ultralytics.YOLO.export` does; `format="safetensors"` writes a checkpoint without pickle."""
        if kwargs.get("format") != checkpoint.SUFFIX[1:]:
            return super().export(**kwargs)  # type: ignore[misc]
        if not isinstance(self.model, nn.Module):
            raise HostError(f"'{self.model}' is an exported model already. Export the .pt file it was made from.")
        return str(safetensors_file.save_file(self.model, Path(str(self.model_name)).with_suffix(checkpoint.SUFFIX)))

    def tune(self, *args: Any, graft: Any = None, blocks: str | None = None, speed: str | None = None,
             **kwargs: Any) -> Any:
        """Tune hyperparameters as `ultralytics.YOLO.tune` does, with the graft on in every training."""
        self._apply_graft(graft)
        with subprocesses.launching(graft=str(self.graft), blocks=blocks, speed=speed):
            return super().tune(*args, **kwargs)  # type: ignore[misc]


class RTDETR(_GraftingModel, StockRTDETR):
    """`ultralytics.RTDETR` whose models carry grafts."""


class YOLO(_GraftingModel, StockYOLO):
    """`ultralytics.YOLO` whose models carry grafts.

    >>> model = YOLO("yolo11n.pt", graft="se@backbone.8")  # doctest: +SKIP
    >>> model.train(data="NEU-DET.yaml", epochs=100)  # doctest: +SKIP

    Args:
        model: a checkpoint (stock or grafted), or a model YAML (stock, or hand-edited with attention rows).
        graft: blocks to put on, which replace those that the checkpoint carries; "none" takes them off.
        task: as in Ultralytics.
        verbose: as in Ultralytics.

    Raises:
        GraftError: the graft does not fit, or the model is not what it says.
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
            Graft.of(graft)  # a text that does not parse is refused before anything is downloaded or built
        if _is_rtdetr(model):
            self.__class__ = RTDETR
            StockRTDETR.__init__(self, str(model))
        else:
            super().__init__(model, task=task, verbose=verbose)
            if not isinstance(self, _GraftingModel):  # Ultralytics made it a World, YOLOE or RT-DETR model
                kind = type(self)
                self.__class__ = type(kind.__name__, (_GraftingModel, kind), {"__doc__": kind.__doc__})
        self._apply_graft(graft)


def _is_rtdetr(model: Any) -> bool:
    name = Path(model).name.lower() if isinstance(model, (str, Path)) else ""
    return "rtdetr" in name and name.endswith((".yaml", ".yml", ".pt"))
