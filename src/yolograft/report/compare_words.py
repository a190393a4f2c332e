"""The texts of the page of `yolograft compare`, in English and in Chinese."""

from __future__ import annotations

__all__ = ["TEXTS"]

TEXTS: dict[str, tuple[str, str]] = {
    "other language": ("中文", "English"),
    "tail": ("Made by yolograft {version}.", "由 yolograft {version} 生成。"),
    "no_figure": ("No figure: there are no data for it.", "无法绘制：没有相应的数据。"),
    "runs": ("runs", "运行"),
    "data": ("data", "数据集"),
    "headline": (
        "Single runs compare nothing: {a} and {b} differ by {difference} {metric}, and so could two seeds of one "
        "model",
        "单次运行之间的比较不说明问题：{a} 与 {b} 的 {metric} 相差 {difference}，同一模型的两个种子也可能如此"),
    "headline many": (
        "{n} single runs compare nothing: two seeds of one model differ as well",
        "{n} 次单独运行之间的比较不说明问题：同一模型的两个种子也会不同"),
    "headline data": (
        "These runs cannot be compared: their data or classes differ",
        "这些运行不可比较：它们的数据集或类别不同"),
    "spread": (
        "In our study on NEU-DET (YOLO11n, 8 epochs), paired differences between trainings had a standard deviation "
        "of {spread:.4f} mAP50-95. A difference of this size between two runs is no evidence for either.",
        "在我们对 NEU-DET 的研究中（YOLO11n，8 轮），训练之间配对差值的标准差为 {spread:.4f} mAP50-95。两次运行之间"
        "这种大小的差异不能作为任何一方更好的证据。"),
    "study": (
        "To find out which one is better, train both with several seeds. For blocks, this does it:",
        "要知道哪个更好，需要用多个种子训练两者。对于注意力模块，可以这样做："),
    "other data": (
        "The data differ: {values}. Differences between these runs say nothing about the models.",
        "数据集不同：{values}。这些运行之间的差异不能说明模型的优劣。"),
    "other classes": ("The classes differ: {values}.", "类别不同：{values}。"),
    "other tasks": ("The tasks differ: {values}.", "任务不同：{values}。"),
    "other folder": (
        "The data YAMLs have the same name in different folders: {values}. Check that they are the same data.",
        "数据集 YAML 同名但位于不同文件夹：{values}。请确认它们是相同的数据。"),
    "Results": ("Results", "结果"),
    "Next": ("A comparison that can answer", "能够回答问题的比较"),
    "Differences": ("Difference to the first run", "与第一次运行的差值"),
    "Arguments": ("Train arguments that differ", "不同的训练参数"),
    "Learning curves": ("Learning curves", "学习曲线"),
    "Losses": ("Validation losses", "验证损失"),
    "PR curves": ("Precision-recall curves", "PR 曲线"),
    "run": ("run", "运行"),
    "best epoch": ("epoch of the highest", "最高值所在轮次"),
    "highest": ("highest {metric}", "最高 {metric}"),
    "last": ("last {metric}", "最后 {metric}"),
    "epochs": ("epochs", "轮数"),
    "precision": ("precision", "精确率"),
    "recall": ("recall", "召回率"),
    "argument": ("argument", "参数"),
    "epoch": ("epoch", "轮次"),
    "difference": ("difference of the highest", "最高值之差"),
    "difference last": ("difference of the last", "最后值之差"),
    "in SD": ("in published SD", "与已发表标准差之比"),
    "results note": (
        "Precision and recall are those of the epoch with the highest {metric}. The highest of many epochs looks "
        "better than the network is.",
        "精确率和召回率取自 {metric} 最高的轮次。从许多轮中取最高值会高估模型。"),
    "SD note": (
        "The published standard deviation is that of paired differences at 8 epochs on NEU-DET: {spread:.4f}. Yours "
        "may be smaller or larger: a study measures it.",
        "已发表的标准差是 NEU-DET 上 8 轮训练的配对差值的标准差：{spread:.4f}。您的数据可能更小或更大，需要用研究来"
        "测量。"),
    "no arguments": (
        "No train argument differs, so the runs repeat one configuration, or differ in files (weights, data) of the "
        "same name.",
        "训练参数完全相同：这些运行重复了同一配置，或者同名的文件（权重、数据）内容不同。"),
    "one argument": ("Only {name} differs.", "只有 {name} 不同。"),
    "seed only": (
        "Only the seed differs: the runs repeat one configuration, and their difference is noise.",
        "只有种子不同：这些运行重复了同一配置，其差异就是噪声。"),
    "many arguments": (
        "{n} arguments differ, so no difference of the results can be put down to one of them.",
        "有 {n} 个参数不同，因此结果的差异不能归因于其中任何一个。"),
    "curves note": ("One run each: no interval can be drawn.", "每条曲线只是一次运行，因此画不出区间。"),
    "PR note": (
        "At an IoU of 0.5, the mean over the classes, of weights/best.pt on the {split} split, validated now at "
        "imgsz {imgsz}.",
        "IoU 0.5，各类别的均值；weights/best.pt 在 {split} 集上现场验证，imgsz {imgsz}。"),
    "PR none": (
        "The folders of the runs hold no data of the precision-recall curve, only an image of it. val=True validates "
        "weights/best.pt and draws it.",
        "运行文件夹中没有 PR 曲线的数据，只有其图像。加上 val=True 会验证 weights/best.pt 并绘制曲线。"),
    "PR missing": ("{run}: no curve, because {reason}", "{run}：没有曲线，原因：{reason}"),
}
