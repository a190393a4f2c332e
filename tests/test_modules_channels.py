"""`describe_channels` reads the constructors of public code as their authors mean them, and asks where it cannot tell.

Each class has the constructor of a public class: the names, order and defaults of its parameters, and what its body does
with a list of channels. The bodies are reduced to that. The source is in the comment.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from typing import Any, List, Optional  # noqa: UP035 (public code has these)

import pytest
import torch
from torch import nn
from ultralytics.nn import tasks

from yolograft.errors import ModuleError
from yolograft.modules import _habits, describe_channels, module

EXPECTED: list[tuple[type, str, tuple[str, ...], bool, bool]] = []
AMBIGUOUS: list[type] = []


def means(kind: str, *names: str, needs_output: bool = False, takes_repeats: bool = False) -> Callable[[type], type]:
    def add(cls: type) -> type:
        EXPECTED.append((cls, kind, names, needs_output, takes_repeats))
        return cls

    return add


def ambiguous(cls: type) -> type:
    AMBIGUOUS.append(cls)
    return cls


@means("c1,c2", "c1", "c2", needs_output=True)
class Conv(nn.Module):  # ultralytics/ultralytics: ultralytics/nn/modules/conv.py
    def __init__(self, c1, c2, k=1, s=1, p=None, g=1, d=1, act=True):
        super().__init__()


@means("c1,c2", "c1", "c2", needs_output=True, takes_repeats=True)
class C2f(nn.Module):  # ultralytics/ultralytics: ultralytics/nn/modules/block.py
    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = False, g: int = 1, e: float = 0.5):
        super().__init__()
        self.c = int(c2 * e)
        self.width = max(c1, c2)


@means("c1,c2", "c1", "c2", needs_output=True, takes_repeats=True)
class C2f_DCNv4(C2f):  # 970334745/YOLO-DML: ultralytics/nn/extra_modules/block.py
    def __init__(self, c1, c2, n=1, shortcut=False, g=1, e=0.5):
        super().__init__(c1, c2, n, shortcut, g, e)


@means("c1,c2", "c1", "c2", needs_output=True, takes_repeats=True)
class C2f_UniRepLKNetBlock(C2f):  # 970334745/YOLO-DML: ultralytics/nn/extra_modules/block.py
    def __init__(self, c1, c2, n=1, k=7, shortcut=False, g=1, e=0.5):
        super().__init__(c1, c2, n, shortcut, g, e)


@means("c1,c2", "c1", "c2", needs_output=True, takes_repeats=True)
class PassesAllOn(C2f):  # a wrapper that only adds a step to forward
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)


@means("c1,c2", "c1", "c2", needs_output=True)
class PassesTheRestOn(Conv):
    def __init__(self, c1, *args, **kwargs):
        super().__init__(c1, *args, **kwargs)


@means("c1,c2", "c1", "c2", needs_output=True, takes_repeats=True)
class NoConstructor(C2f):
    def forward(self, x):
        return x


@means("c1,c2", "c1", "c2", needs_output=True)
class SPPF(nn.Module):  # ultralytics/ultralytics: ultralytics/nn/modules/block.py
    def __init__(self, c1: int, c2: int, k: int = 5, n: int = 3, shortcut: bool = False):
        super().__init__()


@means("c1,c2", "inc", "ouc", needs_output=True)
class DCNV4_YOLO(nn.Module):  # 970334745/YOLO-DML: ultralytics/nn/extra_modules/block.py
    def __init__(self, inc, ouc, k=1, s=1, p=None, g=1, d=1, act=True):
        super().__init__()


@means("c1,c2", "inc", "dim", needs_output=True)
class Faster_Block(nn.Module):  # z1069614715/objectdetection_script: yolo-improve/yolov5-FasterBlock.py
    def __init__(self, inc, dim, n_div=4, mlp_ratio=2, drop_path=0.1, layer_scale_init_value=0.0,
                 pconv_fw_type="split_cat"):
        super().__init__()


@means("c1,c2", "in_channels", "out_channels", needs_output=True)
class DualConv(nn.Module):  # 970334745/YOLO-DML: ultralytics/nn/extra_modules/block.py
    def __init__(self, in_channels, out_channels, stride=1, g=4):
        super().__init__()


@means("c1,c2", "in_planes", "out_planes", needs_output=True)
class BasicRFB(nn.Module):  # iscyy/yoloair: models/common.py
    def __init__(self, in_planes, out_planes, stride=1, scale=0.1, map_reduce=8, vision=1, groups=1):
        super().__init__()


@means("c1,c2", "inplanes", "planes", needs_output=True)
class BasicBlock(nn.Module):  # pytorch/vision: torchvision/models/resnet.py
    def __init__(self, inplanes: int, planes: int, stride: int = 1, downsample: Optional[nn.Module] = None):  # noqa: UP045
        super().__init__()


@means("c1,c2", "ch_in", "ch_out", needs_output=True)
class BottleNeck(nn.Module):  # lyuwenyu/RT-DETR: rtdetr_pytorch/src/nn/backbone/presnet.py
    def __init__(self, ch_in, ch_out, stride, shortcut, act="relu", variant="b"):
        super().__init__()


@means("c1,c2", "in_chans", "embed_dim", needs_output=True)
class PatchEmbed(nn.Module):  # ultralytics/ultralytics: ultralytics/models/sam/modules/tiny_encoder.py
    def __init__(self, in_chans, embed_dim, resolution, activation):
        super().__init__()


@means("c1,c2", "dim", "dim_out", needs_output=True)
class MultiScaleAttention(nn.Module):  # ultralytics/ultralytics: ultralytics/models/sam/modules/blocks.py
    def __init__(self, dim: int, dim_out: int, num_heads: int, q_pool: nn.Module | None = None):
        super().__init__()


@means("c1,c2", "inp", "oup", needs_output=True)
class InvertedResidual(nn.Module):  # pytorch/vision: torchvision/models/mobilenetv2.py
    def __init__(self, inp: int, oup: int, stride: int, expand_ratio: int):
        super().__init__()


@means("c1", "in_channels")
class DySample(nn.Module):  # tiny-smart/dysample: dysample.py
    def __init__(self, in_channels, scale=2, style="lp", groups=4, dyscope=False):
        super().__init__()


@means("c1", "c")
class CARAFE(nn.Module):  # z1069614715/objectdetection_script: yolo-improve/yolov5-CARAFE.py
    def __init__(self, c, k_enc=3, k_up=5, c_mid=64, scale=2):
        super().__init__()


@means("c1", "dim")
class Partial_conv3(nn.Module):  # JierunChen/FasterNet: models/fasternet.py
    def __init__(self, dim, n_div, forward):
        super().__init__()


@means("c1", "channels")
class CARAFEPack(nn.Module):  # open-mmlab/mmcv: mmcv/ops/carafe.py
    def __init__(self, channels: int, scale_factor: int, up_kernel: int = 5, up_group: int = 1, encoder_kernel: int = 3):
        super().__init__()


@means("c1", "c1")
class MPC(nn.Module):  # iscyy/yoloair: models/common.py
    def __init__(self, c1, k=2):
        super().__init__()
        self.width = max(c1, 16)


@means("c1", "ch")
class CAA_HSFPN(nn.Module):  # 970334745/YOLO-DML: ultralytics/nn/extra_modules/block.py
    def __init__(self, ch, flag=True, h_kernel_size=11, v_kernel_size=11) -> None:
        super().__init__()


@means("c1", "in_features")
class MLP(nn.Module):  # ultralytics/ultralytics: ultralytics/models/sam/modules/tiny_encoder.py
    def __init__(self, in_features, hidden_features=None, out_features=None):
        super().__init__()


@means("[c],c2", "inc", "channel", needs_output=True)
class ScalSeq(nn.Module):  # 970334745/YOLO-DML: ultralytics/nn/extra_modules/block.py
    def __init__(self, inc, channel):
        super().__init__()
        if channel != inc[0]:
            self.conv0 = nn.Conv2d(inc[0], channel, 1)


@means("[c],c2", "c1", "c2")
class BiFPN_Concat(nn.Module):  # ShioMisaka/fce-yolo: ultralytics/nn/modules/bifpn.py
    def __init__(self, c1, c2=None):
        super().__init__()
        self.output_ch = c2 if c2 else max(c1)
        for _ in c1:
            pass


@means("[c],c2", "c1", "c2", needs_output=True)
class AcceptsBoth(nn.Module):  # truongan-2704/yolo: ultralytics/nn/modules/BiFPN.py, BiFPN in a comment
    def __init__(self, c1, c2):
        super().__init__()
        if isinstance(c1, int):
            c1 = [c1]
        self.convs = nn.ModuleList([nn.Conv2d(x, c2, 1) for x in c1])


@means("[c],c2", "c1", "c2", needs_output=True)
class BaseTakesAList(AcceptsBoth):
    def __init__(self, c1, c2):
        super().__init__(c1, c2)


@means("c1,c2", "c1", "c2", needs_output=True)
class BaseTakesAListOfOne(AcceptsBoth):
    def __init__(self, c1, c2):
        super().__init__([c1], c2)


@means("[c],c2", "in_channels_list", "out_channels", needs_output=True)
class FeaturePyramidNetwork(nn.Module):  # pytorch/vision: torchvision/ops/feature_pyramid_network.py
    def __init__(self, in_channels_list: List[int], out_channels: int, extra_blocks=None):  # noqa: UP006
        super().__init__()


@means("[c]", "inc_list")
class Fusion(nn.Module):  # 970334745/YOLO-DML: ultralytics/nn/extra_modules/block.py
    def __init__(self, inc_list, fusion="bifpn") -> None:
        super().__init__()


@means("[c]", "channels")
class SDI(nn.Module):  # 970334745/YOLO-DML: ultralytics/nn/extra_modules/block.py
    def __init__(self, channels):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(channel, channels[0], 1) for channel in channels])


@means("[c]", "in_channels")
class AnnotatedList(nn.Module):
    def __init__(self, in_channels: list[int], reduction: int = 2):
        super().__init__()


@means("[c]", "ch")
class DefaultIsAList(nn.Module):  # as in the heads of Ultralytics
    def __init__(self, ch=()):
        super().__init__()


@means("len", "length")
class Bi_FPN(nn.Module):  # chaizwj/yolov8-tricks: ultralytics/nn/modules/Bi_FPN.py
    def __init__(self, length):
        super().__init__()


@means("len", "length")
class BiFPN_Transformer(nn.Module):  # truongan-2704/yolo: ultralytics/nn/modules/BiFPN.py
    def __init__(self, length, embed_dim=128, num_heads=4):
        super().__init__()


@means("")
class Zoom_cat(nn.Module):  # 970334745/YOLO-DML: ultralytics/nn/extra_modules/block.py
    def __init__(self):
        super().__init__()


@means("")
class swish(nn.Module):  # 970334745/YOLO-DML: ultralytics/nn/extra_modules/block.py
    def forward(self, x):
        return x * x.sigmoid()


@means("")
class space_to_depth(nn.Module):  # iscyy/yoloair: models/common.py
    def __init__(self, dimension=1):
        super().__init__()


@means("")
class WeightedConcat(nn.Module):  # truongan-2704/yolo: ultralytics/nn/modules/BiFPN.py, BiFPN_Concat
    def __init__(self, dimension=1, n=2):
        super().__init__()


@means("")
class ConcatOfDim(nn.Module):  # an axis, not a width
    def __init__(self, dim=1):
        super().__init__()


@means("")
class SP(nn.Module):  # iscyy/yoloair: models/common.py
    def __init__(self, k=3, s=1):
        super().__init__()


@means("")
class SimAM(nn.Module):  # z1069614715/objectdetection_script: cv-attention/SimAM.py
    def __init__(self, e_lambda=1e-4):
        super().__init__()


@means("")
class KeywordsOnly(nn.Module):
    def __init__(self, *, scale: int = 2):
        super().__init__()


@ambiguous
class HGStem(nn.Module):  # ultralytics/ultralytics: ultralytics/nn/modules/block.py
    def __init__(self, c1: int, cm: int, c2: int):
        super().__init__()


@ambiguous
class GhostBottleneck(nn.Module):  # huggingface/pytorch-image-models: timm/models/ghostnet.py
    def __init__(self, in_chs, mid_chs, out_chs, dw_kernel_size=3):
        super().__init__()


@ambiguous
class Attention_block(nn.Module):  # the gate of Attention U-Net in many repositories
    def __init__(self, F_g, F_l, F_int):
        super().__init__()


@ambiguous
class KernelGenerator(nn.Module):
    def __init__(self, in_channels_en, in_channels_de, conv, up_kernel_size=5):
        super().__init__()


@ambiguous
class TwoInputs(nn.Module):
    def __init__(self, c1, in_channels, k=3):
        super().__init__()


@ambiguous
class SlimmableConv2d(nn.Module):  # of slimmable networks: two lists
    def __init__(self, in_channels_list, out_channels_list: list, kernel_size):
        super().__init__()


@ambiguous
class ImageModel(nn.Module):  # JierunChen/FasterNet has the same parameters in PatchEmbed
    def __init__(self, patch_size=4, patch_stride=4, in_chans=3, embed_dim=96):
        super().__init__()


@ambiguous
class Detect(nn.Module):  # ultralytics/ultralytics: ultralytics/nn/modules/head.py
    def __init__(self, nc: int = 80, ch: tuple = ()):
        super().__init__()


@ambiguous
class OnlyStars(nn.Module):
    def __init__(self, *args, **kwargs):
        super().__init__()


def test_the_list_is_long_enough() -> None:
    assert len(EXPECTED) >= 40
    assert {kind for _, kind, *_ in EXPECTED} == {"c1,c2", "c1", "[c],c2", "[c]", "len", ""}


@pytest.mark.parametrize(("cls", "kind", "names", "needs_output", "takes_repeats"), EXPECTED,
                         ids=lambda value: value.__name__ if isinstance(value, type) else None)
def test_constructors_of_public_code(cls: type, kind: str, names: tuple[str, ...], needs_output: bool,
                                     takes_repeats: bool) -> None:
    found = describe_channels(cls)
    assert (found.kind, found.names, found.needs_output, found.takes_repeats) == (kind, names, needs_output, takes_repeats)


@pytest.mark.parametrize("cls", AMBIGUOUS, ids=lambda cls: cls.__name__)
def test_an_unclear_constructor_asks_for_one_line(cls: type) -> None:
    with pytest.raises(ModuleError, match=r"channels=") as caught:
        describe_channels(cls)
    assert "\n" not in str(caught.value)
    assert f'@module("{cls.__name__}"' in str(caught.value)
    with pytest.raises(ModuleError, match=r"channels="):
        module("Unclear")(cls)


def rows_of_the_parser() -> tuple[list[str], list[str]]:
    """Return the classes to which Ultralytics' `parse_model` gives (c1, c2, ...), and those that also get repeats."""
    found = [[ast.unparse(one) for one in node.elts] for node in ast.walk(ast.parse(inspect.getsource(tasks.parse_model)))
             if isinstance(node, ast.Set)]
    return (max((one for one in found if "Conv" in one), key=len),
            max((one for one in found if "C2f" in one and "Conv" not in one), key=len))


def test_the_stock_modules_are_read_as_the_parser_builds_them() -> None:
    rows, repeated = rows_of_the_parser()
    assert len(rows) > 30 > len(repeated) > 10
    for name in rows:
        found = describe_channels(eval(name, {**vars(tasks), "torch": torch}))
        assert (found.kind, found.takes_repeats) == ("c1,c2", name in repeated), name


def test_the_decorator_may_say_the_kind(fresh_registry: None) -> None:
    assert describe_channels(module("MyStem", channels="c1")(HGStem)).names == ("c1",)
    assert describe_channels(module("MyGate", channels=" [c] , c2 ")(KernelGenerator)).kind == "[c],c2"
    with pytest.raises(ModuleError, match=r"channels='c2,c1' is not one of \"c1,c2\", \"c1\""):
        module("Wrong", channels="c2,c1")(Conv)
    with pytest.raises(ModuleError, match=r"needs 2 positional parameters, but the constructor is SDI\(channels\)"):
        module("Short", channels="[c],c2")(SDI)
    with pytest.raises(ModuleError, match="needs 1 positional parameter"):
        module("Short", channels="c1")(OnlyStars)


def test_a_subclass_is_read_anew(fresh_registry: None) -> None:
    module("MyStem", channels="c1")(HGStem)

    class Narrow(HGStem):
        def __init__(self, in_channels, out_channels):
            super().__init__(in_channels, in_channels, out_channels)

    assert describe_channels(Narrow).kind == "c1,c2"


def test_a_class_without_source_is_read_by_its_names() -> None:
    variables: dict[str, Any] = {"nn": nn}
    exec("class Typed(nn.Module):\n    def __init__(self, c1, c2, n=1):\n        super().__init__()\n", variables)
    assert describe_channels(variables["Typed"]).takes_repeats


def test_modules_of_torch_are_read_too() -> None:
    assert describe_channels(nn.Conv2d).names == ("in_channels", "out_channels")
    assert describe_channels(nn.Upsample).kind == ""


ROLES = sorted({*_habits.__all__} - {"SAME"})


@pytest.mark.parametrize("role", ROLES)
def test_each_name_has_a_source(role: str) -> None:
    for name, source in getattr(_habits, role).items():
        assert name == name.lower()
        assert re.fullmatch(r"[\w.-]+/[\w.-]+: [\w./-]+\.py, \w+", source), f"{role}: {name}"


def test_no_name_has_two_roles() -> None:
    names = [name for role in ROLES for name in getattr(_habits, role)]
    assert len(names) == len(set(names))


def test_each_other_name_of_a_setting_has_a_source() -> None:
    for own, others in _habits.SAME.items():
        assert own not in others
        for name, source in others.items():
            assert re.fullmatch(r"[\w.-]+/[\w.-]+: [\w./-]+\.py, \w+", source), f"{own}: {name}"
