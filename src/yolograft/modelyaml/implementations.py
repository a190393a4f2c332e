"""The constructors of well-known public implementations of each block: what the numbers in their rows mean.

Data only; `signatures` applies it. An entry has the names of the class, its parameters after the channels in the author's
order, and the repository and file it was read from. Each parameter is written `author's name=meaning`:

- `reduction=ratio`: the value of the block's setting `ratio`.
- `sub_sample=subsample:halved`: a value that is converted first (see `signatures`).
- `width=-size`: a number that the block does not need. The word after `-` says which values are plausible.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["IMPLEMENTATIONS", "Implementation", "Parameter", "implementations_of"]


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a public implementation.

    Attributes:
        name: the author's name for it.
        setting: the block's setting; empty for a value that the block does not need.
        kind: the conversion of the value, or for an unneeded value its plausible values; empty for a plain value.
    """

    name: str
    setting: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """One public implementation of a block.

    Attributes:
        block: the name of our block.
        classes: the names of the class, in lower case and without underscores. The first is shown.
        shown: the class and its parameters as the author writes them.
        channels: the author's names of the parameters that are channels.
        parameters: the parameters after the channels.
        source: repository and file.
        implied: settings that the class itself means.
    """

    block: str
    classes: tuple[str, ...]
    shown: str
    channels: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    source: str
    implied: tuple[tuple[str, str], ...] = ()


def _implementation(block: str, names: str, channels: str, parameters: str, source: str, **implied: str) -> Implementation:
    parsed = []
    for text in parameters.split():
        name, _, meaning = text.partition("=")
        setting, _, kind = meaning.partition(":")
        parsed.append(Parameter(name=name, setting="", kind=setting[1:]) if setting.startswith("-") else
                      Parameter(name=name, setting=setting, kind=kind))
    classes = names.split()
    words = [*channels.split(), *(one.name for one in parsed)]
    return Implementation(block=block, classes=tuple(one.lower().replace("_", "") for one in classes),
                          shown=f"{classes[0]}({', '.join(words)})", channels=tuple(channels.split()),
                          parameters=tuple(parsed), source=source,
                          implied=tuple(sorted(implied.items())))


_EXTERNAL = "xmu-xiaoma666/External-Attention-pytorch/model/attention/"
_CV = "z1069614715/objectdetection_script/cv-attention/"
_TIMM = "huggingface/pytorch-image-models/timm/layers/"
_YOLOAIR = "iscyy/yoloair/models/Models/Attention/"
_COPIES = "copies in many YOLO forks, which name no origin"

# In each block, an implementation that takes fewer numbers comes first.
IMPLEMENTATIONS: tuple[Implementation, ...] = (
    _implementation("se", "SELayer SELayerV1 SENet", "channel", "reduction=ratio",
                    "moskomule/senet.pytorch/senet/se_module.py"),
    _implementation("se", "SEAttention SE_Block SEBlock SEAtt", "channel", "reduction=ratio", _EXTERNAL + "SEAttention.py"),
    _implementation("se", "SE", "c1 c2", "ratio=ratio", "iscyy/yoloair/models/common.py"),
    _implementation("se", "SqueezeExcite SEModule", "channels", "rd_ratio=ratio rd_channels=-none rd_divisor=-any",
                    _TIMM + "squeeze_excite.py"),
    _implementation("ese", "EffectiveSEModule", "channels", "add_maxpool=-bool gate_layer=gate:word",
                    _CV + "EffectiveSE.py"),
    _implementation("ese", "EffectiveSELayer", "channels", "act=gate:word", "iscyy/yoloair/models/Models/ppyolo.py"),
    _implementation("eca", "eca_layer ECALayer ECA", "channel", "k_size=kernel_size",
                    "BangguWu/ECANet/models/eca_module.py"),
    _implementation("eca", "ECAAttention", "", "kernel_size=kernel_size", _EXTERNAL + "ECAAttention.py"),
    _implementation("eca", "ECAAttention ECA ECABlock", "channels", "gamma=gamma b=beta", _COPIES),
    _implementation("eca", "EfficientChannelAttention", "c", "b=beta gamma=gamma", _COPIES),
    _implementation("eca", "EcaModule", "channels", "kernel_size=kernel_size gamma=gamma beta=beta", _TIMM + "eca.py"),
    _implementation("ceca", "CecaModule", "channels", "kernel_size=kernel_size gamma=gamma beta=beta", _TIMM + "eca.py"),
    _implementation("cbam", "CBAM", "c1", "kernel_size=kernel_size",
                    "ultralytics/ultralytics/ultralytics/nn/modules/conv.py"),
    _implementation("cbam", "CBAM", "c1 c2", "ratio=ratio kernel_size=kernel_size", "iscyy/yoloair/models/common.py"),
    _implementation("cbam", "CBAMBlock", "channel", "reduction=ratio kernel_size=kernel_size", _EXTERNAL + "CBAM.py"),
    _implementation("cbam", "CBAM", "gate_channels", "reduction_ratio=ratio pool_types=-list no_spatial=-bool",
                    "Jongchan/attention-module/MODELS/cbam.py"),
    _implementation("cbam", "CbamModule", "channels", "rd_ratio=ratio rd_channels=-none rd_divisor=-any "
                    "spatial_kernel_size=kernel_size", _TIMM + "cbam.py"),
    _implementation("bam", "BAMBlock", "channel", "reduction=ratio dia_val=dilation", _CV + "BAM.py"),
    _implementation("bam", "BAM", "gate_channel", "", "Jongchan/attention-module/MODELS/bam.py"),
    _implementation("coordatt", "CoordAtt CA", "inp oup", "reduction=ratio", "houqb/CoordAttention/coordatt.py"),
    _implementation("coordatt", "CoordAtt", "inp oup", "reduction=ratio minimum=minimum", "houqb/CoordAttention/mbv2_ca.py"),
    _implementation("shuffle", "sa_layer SALayer SA", "channel", "groups=groups", "wofmanaf/SA-Net/models/sa_resnet.py"),
    _implementation("shuffle", "ShuffleAttention", "channel", "reduction=-ratio G=groups",
                    _EXTERNAL + "ShuffleAttention.py"),
    _implementation("simam", "SimAM", "", "e_lambda=energy", _CV + "SimAM.py"),
    _implementation("simam", "simam_module", "channels", "e_lambda=energy",
                    "ZjjConan/SimAM/networks/attentions/simam_module.py"),
    _implementation("nam", "NAMAttention", "channels out_channels", "no_spatial=-bool", _YOLOAIR + "NAMAttention.py"),
    _implementation("gam", "GAM_Attention", "in_channels out_channels", "rate=ratio", _CV + "GAM.py"),
    _implementation("gam", "GAMAttention", "c1 c2", "group=-bool rate=ratio", _YOLOAIR + "GAMAttention.py"),
    _implementation("ema", "EMA", "channels c2", "factor=groups", "YOLOonMe/EMA-attention-module/models/common.py"),
    _implementation("mhsa", "MHSA", "n_dims", "heads=heads", _CV + "MHSA.py"),
    _implementation("mhsa", "MHSA", "n_dims", "width=-size height=-size heads=heads pos_emb=-bool", _CV + "MHSA.py"),
    _implementation("psa", "ParallelPolarizedSelfAttention", "channel", "", _EXTERNAL + "PolarizedSelfAttention.py",
                    form="parallel"),
    _implementation("psa", "SequentialPolarizedSelfAttention", "channel", "", _EXTERNAL + "PolarizedSelfAttention.py",
                    form="sequential"),
    _implementation("psa", "PSA_p", "inplanes planes", "kernel_size=-any stride=-any",
                    "DeLightCMU/PSA/semantic-segmentation/network/PSA.py", form="parallel"),
    _implementation("psa", "PSA_s", "inplanes planes", "kernel_size=-any stride=-any",
                    "DeLightCMU/PSA/semantic-segmentation/network/PSA.py", form="sequential"),
    _implementation("sk", "SKAttention", "channel", "kernels=branches:count reduction=ratio group=groups L=minimum",
                    _EXTERNAL + "SKAttention.py"),
    _implementation("sk", "SKAttention", "c1 c2", "reduction=ratio", _COPIES),
    _implementation("sk", "SKConv", "features", "M=branches G=groups r=ratio stride=-any L=minimum",
                    "developer0hye/SKNet-PyTorch/sknet.py"),
    _implementation("sk", "SKConv", "features", "WH=-size M=branches G=groups r=ratio stride=-any L=minimum",
                    "pppLang/SKNet/sknet.py"),
    _implementation("sge", "SpatialGroupEnhance", "", "groups=groups", _CV + "SGE.py"),
    _implementation("double", "DoubleAttention", "in_channels", "c_m=ratio:inner c_n=-number reconstruct=-bool",
                    _CV + "A2Attention.py"),
    _implementation("double", "DoubleAttentionLayer", "in_channels", "c_m=ratio:inner c_n=-number reconstruct=-bool",
                    "nguyenvo09/Double-Attention-Network/double_attention_layer.py"),
    _implementation("gct", "GCT", "num_channels", "epsilon=epsilon mode=norm after_relu=-bool",
                    _EXTERNAL + "GCTAttention.py"),
    _implementation("gc", "GCModule", "channel", "reduction=ratio", _EXTERNAL + "GCAttention.py"),
    _implementation("gc", "ContextBlock", "inplanes", "ratio=ratio pooling_type=pool:word fusion_types=fuse:first",
                    "xvjiarui/GCNet"),
    _implementation("gc", "GlobalContext", "channels", "use_attn=pool:attention fuse_add=-bool fuse_scale=fuse:scale "
                    "init_last_zero=-bool rd_ratio=ratio", _CV + "GC.py"),
    _implementation("ge", "GatherExcite", "channels", "feat_size=-any extra_params=gather:conv extent=extent use_mlp=mlp "
                    "rd_ratio=ratio", _CV + "GE.py"),
    _implementation("fca", "MultiSpectralAttentionLayer", "channel", "dct_h=size dct_w=-size reduction=ratio "
                    "freq_sel_method=frequencies:top", _EXTERNAL + "FCA.py"),
    _implementation("ela", "ELA", "channels", "", _CV + "ELA.py"),
    _implementation("ela", "ELA", "channel", "kernel_size=kernel_size", _COPIES),
    _implementation("ela", "ELA EfficientLocalizationAttention", "channel", "phi=kernel_size:phi", _COPIES),
    _implementation("mlca", "MLCA", "in_size", "local_size=local_size gamma=gamma b=beta local_weight=local_weight",
                    "wandahangFY/MLCA/MLCA.py"),
    _implementation("lsk", "LSKblock LSKBlock", "dim", "", _CV + "LSKBlock.py"),
    _implementation("lska", "LSKA", "dim", "k_size=kernel_size", _CV + "LSKA.py"),
    _implementation("parnet", "ParNetAttention", "channel", "", _CV + "ParNetAttention.py"),
    _implementation("triplet", "TripletAttention", "", "no_spatial=spatial:not", _CV + "TripletAttention.py"),
    _implementation("triplet", "TripletAttention", "gate_channels", "reduction_ratio=-ratio pool_types=-list "
                    "no_spatial=spatial:not", "landskape-ai/triplet-attention/MODELS/triplet_attention.py"),
    _implementation("scse", "SCSEModule", "in_channels", "reduction=ratio",
                    "qubvel-org/segmentation_models.pytorch/segmentation_models_pytorch/base/modules.py"),
    _implementation("srm", "SRMLayer", "channel", "reduction=-any", "EvgenyKashin/SRMnet/models"),
    _implementation("nonlocal", "NONLocalBlock2D", "in_channels", "inter_channels=ratio:inner sub_sample=subsample:halved "
                    "bn_layer=-bool", "AlexHex7/Non-local_pytorch/lib/non_local_embedded_gaussian.py"),
    _implementation("nonlocal", "NonLocalAttn", "in_channels", "use_scale=-bool rd_ratio=ratio",
                    _TIMM + "non_local_attn.py"),
    _implementation("pam", "PAM_Module", "in_dim", "", "junfu1115/DANet/encoding/nn/da_att.py"),
    _implementation("pam", "PositionAttentionModule", "d_model", "kernel_size=-any H=-size W=-size", _EXTERNAL + "DANet.py"),
    _implementation("cam", "CAM_Module", "in_dim", "", "junfu1115/DANet/encoding/nn/da_att.py"),
    _implementation("cam", "ChannelAttentionModule", "d_model", "kernel_size=-any H=-size W=-size", _EXTERNAL + "DANet.py"),
)


def implementations_of(block: str, module: str) -> list[Implementation]:
    """Return the public implementations of a block, those of the class that a row names first."""
    name = module.rpartition(".")[2].lower().replace("_", "")
    found = [one for one in IMPLEMENTATIONS if one.block == block]
    return sorted(found, key=lambda one: name not in one.classes)
