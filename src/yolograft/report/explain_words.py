"""The texts of the page of `yolograft explain`, in English and in Chinese."""

from __future__ import annotations

__all__ = ["TEXTS"]

TEXTS: dict[str, tuple[str, str]] = {
    "other language": ("中文", "English"),
    "tail": ("Made by yolograft {version}.", "由 yolograft {version} 生成。"),
    "no_figure": ("No figure: there are no data for it.", "无法绘制：没有相应的数据。"),
    # facts
    "data": ("data", "数据集"),
    "model": ("model", "模型"),
    "models": ("models", "模型"),
    "images": ("images", "图像"),
    "split": ("split", "划分"),
    # words of gate health
    "dead near 0": ("dead near 0", "接近 0，已失效"),
    "collapsed to 0.5": ("collapsed to 0.5", "停在 0.5"),
    "saturated near 1": ("saturated near 1", "饱和在 1 附近"),
    "constant": ("constant", "恒定"),
    "class-dependent": ("class-dependent", "随类别变化"),
    "varying": ("varying", "随图像变化"),
    "no change": ("no change", "几乎不改变输入"),
    # headline: one block, several blocks
    "one dead near 0": ("{graft} switches most of its input off", "{graft} 关闭了大部分输入"),
    "one collapsed to 0.5": (
        "{graft} halves its input: its gate stays at 0.5",
        "{graft} 的门控停在 0.5，只是把输入减半"),
    "one saturated near 1": ("{graft} passes its input almost unchanged", "{graft} 几乎原样传递输入"),
    "one constant": (
        "{graft} scales each channel by the same factor in every image",
        "{graft} 对所有图像都用相同的系数缩放各通道"),
    "one class-dependent": (
        "{graft} treats images of different classes differently",
        "{graft} 对不同类别的图像处理不同"),
    "one varying": ("{graft} treats every image differently", "{graft} 对每张图像的处理不同"),
    "one no change": ("{graft} adds almost nothing to its input", "{graft} 几乎没有给输入增加任何内容"),
    "several": ("{count} blocks of {graft}: {words}", "{graft} 的 {count} 个模块：{words}"),
    "several word": ("{count} {word}", "{count} 个{word}"),
    "bare": ("{name} carries no blocks", "{name} 没有嫁接模块"),
    "with gate 1": (
        "with the gates replaced by 1, {metric} changes by {value} (95% interval {low} to {high})",
        "门控换成 1 后，{metric} 变化 {value}（95% 置信区间 {low} 至 {high}）"),
    "not shown": (
        "This is what the trained network uses. It does not show whether training with the blocks helps: only a "
        "study with several seeds does.",
        "以上是训练好的网络对门控的依赖程度，并不说明带模块训练是否有提升：要回答这个问题，需要多个种子的对比研究。"),
    # summary
    "What the blocks do": ("What the blocks do", "各模块的作用"),
    "block": ("block", "模块"),
    "health": ("gate", "门控状态"),
    "mean": ("mean", "均值"),
    "spread": ("spread", "离散程度"),
    "in image": ("in an image", "图内离散"),
    "eta squared": ("by class (η²)", "类别解释率 (η²)"),
    "moved": ("moved", "移动量"),
    "gate = 1": ("gate = 1", "门控 = 1"),
    "gate = mean": ("gate = mean", "门控 = 均值"),
    "gate of another image": ("gate of another image", "换用另一张图的门控"),
    "all blocks": ("all blocks", "全部模块"),
    "interval": ("95% interval", "95% 置信区间"),
    "mean_hint": (
        "Mean of the gate over channels, positions and images. For a block that adds or mixes: mean of |y − x| / "
        "|x|.",
        "门控在通道、位置和图像上的均值。对于相加或混合类模块：|y − x| / |x| 的均值。"),
    "spread_hint": (
        "Standard deviation of a channel's gate between images (root mean square over the channels).",
        "同一通道的门控在图像之间的标准差（对通道取均方根）。"),
    "in_image_hint": (
        "Standard deviation of the gate over the positions of one image.",
        "门控在同一张图像各位置上的标准差。"),
    "eta_hint": (
        "Share of the variance of the gate between images that the images' classes explain. In brackets: the share "
        "that is expected by chance.",
        "图像之间的门控方差中，能由图像类别解释的比例。括号内为随机情况下的期望比例。"),
    "moved_hint": (
        "Mean absolute difference to the gate of a new block of these settings, on the same features.",
        "与同样设置的新模块的门控在相同特征上的平均绝对差。"),
    "one_hint": (
        "Change of mAP50-95 on the validation images when the block returns its input.",
        "让模块直接返回输入时，验证集 mAP50-95 的变化。"),
    "summary_note": (
        "A gate of 1 passes a channel unchanged. The words and their thresholds: dead near 0, at least half of the "
        "values below 0.05; collapsed to 0.5 and saturated near 1, at least 90% of the values within 0.05; "
        "constant, a variation below 1% of the mean; class-dependent, the classes explain at least 14% of the "
        "variance between images, besides chance (Cohen's large effect); varying, anything else.",
        "门控为 1 表示通道原样通过。各状态的阈值：接近 0 为至少一半的值低于 0.05；停在 0.5、饱和在 1 附近为至少 "
        "90% 的值与之相差不到 0.05；恒定为变化幅度低于均值的 1%；随类别变化为除随机因素外，类别至少解释图像间方差"
        "的 14%（Cohen 的大效应量）；其余为随图像变化。"),
    "sort_note": ("Click a column header to sort.", "点击列标题可排序。"),
    "trained_note": (
        "{name} without any change: mAP50-95 {value} on {images} images.",
        "{name} 不作任何改动时：在 {images} 张图像上 mAP50-95 为 {value}。"),
    # channels and classes
    "Gates by channel and class": ("Gates by channel and class", "各通道与各类别的门控"),
    "channels_note": (
        "As figure 6 of the SE paper: the mean gate of each channel over the images that contain a class. The "
        "dashed line is a gate of 1. Lines that lie on each other mean that the gate does not depend on the class.",
        "对应 SE 论文图 6：在含有某一类别的图像上，各通道门控的均值。虚线为门控等于 1。各线重合表示门控与类别无关。"),
    "classes_note": (
        "As figure 7 of the SE paper: mean and standard deviation of each channel's gate over the images of one "
        "class, for the block whose gate depends most on the class.",
        "对应 SE 论文图 7：门控最依赖类别的模块，在单个类别的图像上各通道门控的均值与标准差。"),
    "channel": ("channel", "通道"),
    "channel sorted": ("channels, sorted by their mean gate", "通道（按门控均值排序）"),
    "gate": ("gate", "门控"),
    "class": ("class", "类别"),
    "no object": ("no object", "无目标"),
    "spread in class": ("spread in the class", "类内离散程度"),
    "change |y-x|/|x|": ("change |y − x| / |x|", "变化量 |y − x| / |x|"),
    # space
    "Gates in space": ("Gates in space", "空间上的门控"),
    "maps_note": (
        "Images of the validation set with their ground truth, and the gates at each position, averaged over the "
        "channels. Each block has its own colour scale, centred on 1: blue amplifies and red attenuates.",
        "验证集图像及其标注，以及各位置上对通道取平均的门控。每个模块有自己的色标，以 1 为中心：蓝色为增强，红色为"
        "减弱。"),
    "boxes_note": (
        "The mean gate inside the boxes of a class and in the rest of the image. A gate that points at objects is "
        "larger inside.",
        "某一类别标注框内与图像其余部分的门控均值。如果门控指向目标，则框内更大。"),
    "boxes": ("boxes", "标注框"),
    "inside": ("inside", "框内"),
    "outside": ("outside", "框外"),
    "ratio": ("ratio", "比值"),
    # causal
    "What the network loses without its gates": ("What the network loses without its gates", "去掉门控后网络的损失"),
    "causal_note": (
        "Change of mAP50-95 when the gate of a block is replaced: by 1, by its mean over the data (a fixed factor "
        "for each channel), or by the gate of another image. The dot is the measured change, the bar its 95% "
        "interval (a paired bootstrap over the images). An interval that contains 0 is no evidence of a loss.",
        "替换某个模块的门控后 mAP50-95 的变化：换成 1、换成数据上的均值（每个通道一个固定系数）或换成另一张图的门控"
        "。圆点为实测变化，横线为 95% 置信区间（对图像作配对自助法）。区间包含 0 表示没有证据表明有损失。"),
    "causal_class_note": (
        "Change of AP50-95 of each class when the gate is replaced by 1. For exploration: with many classes, some "
        "always look changed by chance.",
        "门控换成 1 后各类别 AP50-95 的变化。仅供探索：类别多时，总会有一些类别碰巧看起来有变化。"),
    "change of": ("change of {metric}", "{metric} 的变化"),
    "replaced by": ("gate replaced by", "门控替换为"),
    # training
    "Training of the blocks": ("Training of the blocks", "模块的训练情况"),
    "training_note": (
        "Weights with a known start are those that every new block sets to the same value (zeros, ones). The "
        "gradient is that of one batch of validation images, per weight, relative to the weights of the host.",
        "起始值已知的权重，是指每个新模块都设为同一数值（0、1）的权重。梯度取自一个批次的验证图像，按每个权重计算，"
        "并与宿主网络的权重相比。"),
    "parameters": ("parameters", "参数量"),
    "known start": ("known start", "起始值已知"),
    "weights moved": ("of these, moved", "其中已改变"),
    "distance": ("distance (RMS)", "距离 (RMS)"),
    "gradient": ("gradient to host", "梯度（相对宿主）"),
    "no gradient": ("none", "无"),
    "How to reproduce it": ("How to reproduce it", "如何复现"),
    "beside_note": (
        "In the folder of this page: explain.json with all numbers, tables/ as CSV, Markdown and LaTeX (booktabs), "
        "figures/ as SVG, PDF and PNG (300 dpi).",
        "本页所在文件夹中还有：explain.json（全部数值）、tables/（CSV、Markdown、LaTeX booktabs 表格）和 figures/（"
        "SVG、PDF、300 dpi PNG 图）。"),
}
