"""How a block's class is built: which arguments are the channels, and which are settings.

A class of a paper's repository, or of a fork of Ultralytics, has its own names and its own order of arguments. The reader
here covers the signatures below, so that such a class can be used as it is.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from yolograft.errors import BlockError
from yolograft.language import tr

__all__ = ["Constructor", "read_constructor"]

# A first argument of these names is not the number of channels. All other names are, for example: c (marufsabili/GA-SAR-Det
# nn/modules/se.py), channel (xmu-xiaoma666/External-Attention-pytorch model/attention/SEAttention.py), channels
# (tomepay/Ultralytics-Attention-Hub nn/modules/attention.py), in_planes (lujuan425/yolov8 nn/modules/CBAM.py), c1
# (Ultralytics nn/modules/conv.py), inp (INVINCIBLE2297/ultralytics_attention nn/modules/attention.py), gate_channels, dim,
# n_dims.
_NOT_CHANNELS = {
    "kernel_size": "Ultralytics nn/modules/conv.py, SpatialAttention",
    "k_size": "BangguWu/ECANet models/eca_module.py, without channels in several forks",
    "inplace": "houqb/CoordAttention coordatt.py, h_sigmoid",
    "e_lambda": "ZjjConan/SimAM networks/attentions/simam_module.py, without channels in several forks",
    "factor": "EMA modules of forks that build their layers in the first forward pass",
    "groups": "implus/PytorchInsight classification/models/imagenet/resnet_sge.py, SpatialGroupEnhance",
    "reduction": "SE modules of forks that build their layers in the first forward pass",
    "ratio": "SE modules of forks that build their layers in the first forward pass",
}
# A second argument of these names without a default is the number of output channels, which equals that of the input.
_OUTPUT_CHANNELS = {
    "c2": "silya0222/yolov11_series nn/modules/CBAM.py",
    "oup": "houqb/CoordAttention coordatt.py",
    "out_channels": "torch.nn",
    "out_channel": "torch.nn, shortened",
    "out_planes": "torchvision models/resnet.py of early versions",
    "outplanes": "torchvision models/resnet.py of early versions",
    "planes": "torchvision models/resnet.py",
    "out_dim": "timm layers",
    "out_ch": "out_channels, shortened",
    "ch_out": "PaddleDetection's backbones",
}
_MISSING = inspect.Parameter.empty


@dataclass(frozen=True, kw_only=True)
class Constructor:
    """The arguments of a block's class.

    Attributes:
        channels: how many of the first positional arguments are the number of channels: 0, 1 or 2.
        settings: every setting with its default, in the order of the signature. A required setting has None.
        required: the settings that have no default.
    """

    channels: int
    settings: dict[str, Any]
    required: tuple[str, ...] = ()

    def build(self, cls: Any, name: str, channels: int, settings: dict[str, Any]) -> Any:
        """Return `cls` built for `channels` channels.

        Raises:
            BlockError: a required setting is missing.
        """
        missing = [key for key in self.required if settings.get(key) is None]
        if missing:
            given = ", ".join(f"{key}=..." for key in missing)
            raise BlockError(tr("The block '{name}' needs {settings}: its class {cls} has no default for it. Write "
                                "{name}({given})@SITE.", name=name, settings=", ".join(missing), cls=cls.__name__,
                                given=given))
        return cls(*[channels] * self.channels, **settings)


def read_constructor(cls: type) -> Constructor:
    """Read the signature of a block's class.

    Defaults that no graft's text can express, such as a class of an activation, are not settings: the class keeps them.
    """
    try:
        found = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
    except (TypeError, ValueError):  # a class that is implemented in C
        return Constructor(channels=1, settings={})
    if not found or cls.__init__ is object.__init__:  # type: ignore[misc]
        return Constructor(channels=0, settings={})
    positional = [one for one in found if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    takes_any = any(one.kind is one.VAR_POSITIONAL for one in found)
    channels = int(_is_channels(positional[0])) if positional else int(takes_any)
    if channels and len(positional) > 1 and positional[1].default is _MISSING \
            and positional[1].name.lower() in _OUTPUT_CHANNELS:
        channels = 2
    named = [one for one in found if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
             and one not in positional[:channels]]
    settings = {one.name: None if one.default is _MISSING else _to_value(one.default) for one in named
                if one.default is _MISSING or _is_value(one.default)}
    return Constructor(channels=channels, settings=settings,
                       required=tuple(one.name for one in named if one.default is _MISSING))


def _is_channels(parameter: inspect.Parameter) -> bool:
    return parameter.name.lower() not in _NOT_CHANNELS and not isinstance(parameter.default, (bool, float, str))


def _is_value(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_value, value))
    return isinstance(value, (type(None), bool, int, float, str))


def _to_value(value: Any) -> Any:
    return tuple(map(_to_value, value)) if isinstance(value, (list, tuple)) else value
