"""How public code names the first parameters of a module's constructor: the data that `describe_channels` reads.

Each name has one place where it stands in that role, as `owner/repository: path, class`. The names are compared in lower
case. A name that has another meaning as often as this one (such as `features` or `out_dim` as the first parameter) is left
out: its class needs `channels=`.
"""

from __future__ import annotations

__all__ = ["COUNTS", "INPUTS", "LISTS", "OUTPUTS", "REPEATS", "SAME", "SETTINGS", "WIDTHS"]

_ULTRALYTICS = "ultralytics/ultralytics: ultralytics/nn/modules"
_TIMM = "huggingface/pytorch-image-models: timm"
_VISION = "pytorch/vision: torchvision"
# The same file, ultralytics/nn/extra_modules/block.py, stands in at least 269 public forks.
_EXTRA = "970334745/YOLO-DML: ultralytics/nn/extra_modules/block.py"
_SCRIPTS = "z1069614715/objectdetection_script: yolo-improve"

# The number of input channels.
INPUTS = {
    "c1": f"{_ULTRALYTICS}/conv.py, Conv",
    "c_in": "chaofengc/Face-SPARNet: models/blocks.py, ResidualBlock",
    "ch_in": "lyuwenyu/RT-DETR: rtdetr_pytorch/src/nn/backbone/presnet.py, BasicBlock",
    "dim_in": f"{_TIMM}/models/hiera.py, PatchEmbed",
    "in_ch": f"{_VISION}/models/mnasnet.py, _InvertedResidual",
    "in_chans": "JierunChen/FasterNet: models/fasternet.py, FasterNet",
    "in_channel": f"{_TIMM}/layers/std_conv.py, StdConv2d",
    "in_channels": "tiny-smart/dysample: dysample.py, DySample",
    "in_chs": f"{_TIMM}/models/_efficientnet_blocks.py, ConvBnAct",
    "in_dim": f"{_TIMM}/models/efficientformer_v2.py, LocalGlobalQuery",
    "in_features": f"{_TIMM}/layers/attention_pool.py, AttentionPoolLatent",
    "in_planes": "iscyy/yoloair: models/common.py, BasicConv",
    "inc": f"{_SCRIPTS}/yolov5-FasterBlock.py, Faster_Block",
    "inp": f"{_VISION}/models/mobilenetv2.py, InvertedResidual",
    "inplanes": f"{_VISION}/models/resnet.py, BasicBlock",
    "input_dim": f"{_TIMM}/models/sequencer.py, Downsample2d",
}
# The number of output channels, after that of the input.
OUTPUTS = {
    "c2": f"{_ULTRALYTICS}/conv.py, Conv",
    "c_out": "chaofengc/Face-SPARNet: models/blocks.py, ResidualBlock",
    "ch_out": "lyuwenyu/RT-DETR: rtdetr_pytorch/src/nn/backbone/presnet.py, BasicBlock",
    "dim_out": f"{_TIMM}/models/hiera.py, PatchEmbed",
    "oup": f"{_VISION}/models/mobilenetv2.py, InvertedResidual",
    "ouc": f"{_EXTRA}, DCNV4_YOLO",
    "out_ch": f"{_VISION}/models/mnasnet.py, _InvertedResidual",
    "out_channels": f"{_EXTRA}, DualConv",
    "out_chs": f"{_TIMM}/models/_efficientnet_blocks.py, ConvBnAct",
    "out_dim": f"{_TIMM}/models/efficientformer_v2.py, LocalGlobalQuery",
    "out_features": f"{_TIMM}/layers/attention_pool.py, AttentionPoolLatent",
    "out_planes": "iscyy/yoloair: models/common.py, BasicConv",
    "outplanes": f"{_TIMM}/models/dla.py, DlaBottleneck",
    "output_dim": f"{_TIMM}/models/sequencer.py, Downsample2d",
}
# One width: the input's as the first parameter; the output's as the second one, if it has no default.
WIDTHS = {
    "c": f"{_SCRIPTS}/yolov5-CARAFE.py, CARAFE",
    "ch": f"{_EXTRA}, CAA_HSFPN",
    "channel": f"{_EXTRA}, ScalSeq",
    "channels": "open-mmlab/mmcv: mmcv/ops/carafe.py, CARAFEPack",
    "d_model": "ultralytics/ultralytics: ultralytics/models/sam/modules/encoders.py, FpnNeck",
    "dim": "JierunChen/FasterNet: models/fasternet.py, Partial_conv3",
    "embed_dim": "ultralytics/ultralytics: ultralytics/models/sam/modules/tiny_encoder.py, PatchEmbed",
    "num_features": f"{_VISION}/ops/misc.py, FrozenBatchNorm2d",
    "planes": f"{_VISION}/models/resnet.py, BasicBlock",
}
# The list of the inputs' channels. Many classes use a name of INPUTS for it: `describe_channels` reads their constructor.
LISTS = {
    "in_channels_list": f"{_VISION}/ops/feature_pyramid_network.py, FeaturePyramidNetwork",
    "inc_list": f"{_EXTRA}, Fusion",
}
# The number of inputs. `parse_model` in forks gives it to these classes.
COUNTS = {
    "length": "chaizwj/yolov8-tricks: ultralytics/nn/modules/Bi_FPN.py, Bi_FPN",
}
# Settings: a constructor that starts with one takes no channels.
SETTINGS = {
    "block_size": f"{_TIMM}/layers/space_to_depth.py, SpaceToDepth",
    "dimension": "iscyy/yoloair: models/common.py, space_to_depth",
    "e_lambda": "z1069614715/objectdetection_script: cv-attention/SimAM.py, SimAM",
    "k": "iscyy/yoloair: models/common.py, SP",
    "kernel_size": f"{_ULTRALYTICS}/conv.py, SpatialAttention",
    "scale_factor": "pytorch/pytorch: torch/nn/modules/upsampling.py, Upsample",
    "size": "pytorch/pytorch: torch/nn/modules/upsampling.py, Upsample",
}
# The number of repeats, directly after the channels of the input and of the output.
REPEATS = {
    "n": f"{_ULTRALYTICS}/block.py, C2f",
}
# Other names of a setting, by Ultralytics' (or torch's) own name. A module that takes another's place gets its value.
SAME = {
    "k": {"kernel_size": f"{_TIMM}/layers/conv_bn_act.py, ConvNormAct"},
    "s": {"stride": f"{_TIMM}/layers/conv_bn_act.py, ConvNormAct"},
    "g": {"groups": f"{_TIMM}/layers/conv_bn_act.py, ConvNormAct"},
    "d": {"dilation": f"{_TIMM}/layers/conv_bn_act.py, ConvNormAct"},
    "scale_factor": {"scale": "tiny-smart/dysample: dysample.py, DySample"},
}
