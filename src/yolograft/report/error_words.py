"""The texts of the sections on errors and heat maps of the page of `yolograft explain`, in English and in Chinese."""

from __future__ import annotations

__all__ = ["TEXTS"]

TEXTS: dict[str, tuple[str, str]] = {
    # heat maps
    "Heat maps": ("Heat maps", "热力图"),
    "head inputs": ("the inputs of the head", "检测头的输入"),
    "maps_are_note": (
        "Each map explains one number: the logit, before NMS, of one class at one anchor point, with {method} at "
        "{layers}. All models explain the same ground-truth object of a picture, the largest one.",
        "每张图只解释一个数：某个锚点上某一类别在 NMS 之前的 logit，方法为 {method}，位置为 {layers}。所有模型解释的都是图像"
        "中同一个标注目标（面积最大的那个）。"),
    "checks_note": (
        "Deletion: the mean logit while the picture's pixels are removed in the order of the map, in the order of random "
        "patches of the map's resolution, or outwards from the centre of the box; lower is better. Random weights: the rank "
        "correlation of the map with that of the same network with random weights in the head, in neck and head, or "
        "everywhere; near 1 means that the map does not depend on what was learned. In brackets: inside the box alone.",
        "删除检验：按热力图的顺序、按同样分辨率的随机块的顺序、或从框中心向外逐步去掉像素时，logit 的平均值，越低越好。"
        "随机权重检验：把检测头、颈部加检测头、全部权重换成随机值后，新旧热力图的秩相关；接近 1 说明热力图与学到的内容无关。"
        "括号内只计算框内的像素。"),
    "maps_caption": (
        "Rows are pictures, columns are models. Colours: the map (inferno, bright is large) over the grey picture. Blue: "
        "the explained box. White: other predictions. Green, dashed: ground truth.",
        "每行一张图像，每列一个模型。颜色：叠加在灰度图像上的热力图（inferno，越亮越大）。蓝色：被解释的框；白色：其他预测框；"
        "绿色虚线：标注框。"),
    "no box here": ("no box here", "此处没有框"),
    # kinds of errors
    "Kinds of errors": ("Kinds of errors", "误差类型"),
    "error": ("error", "误差"),
    "AP50": ("mAP50", "mAP50"),
    "without error": ("without errors: {error}", "消除此类误差：{error}"),
    "without false positives": ("without any false positive", "消除全部误检"),
    "without false negatives": ("without any false negative", "消除全部漏检"),
    "error classification": ("classification", "分类"),
    "error localisation": ("localisation", "定位"),
    "error both": ("class and place", "分类与定位"),
    "error duplicate": ("duplicate", "重复检测"),
    "error background": ("background", "背景误检"),
    "error missed": ("missed", "漏检"),
    "hint classification": (
        "IoU of at least 0.5 with an object of another class", "与另一类别目标的 IoU 不低于 0.5"),
    "hint localisation": (
        "IoU from 0.1 to 0.5 with an object of its class", "与同类目标的 IoU 在 0.1 到 0.5 之间"),
    "hint both": (
        "wrong class, and IoU from 0.1 to 0.5", "类别错误，且 IoU 在 0.1 到 0.5 之间"),
    "hint duplicate": (
        "an object that a detection with more confidence has found", "目标已被置信度更高的检测框命中"),
    "hint background": ("IoU below 0.1 with every object", "与所有目标的 IoU 都低于 0.1"),
    "hint missed": (
        "an object that no detection and no other error covers", "既没有检测框命中，也不属于其他误差的目标"),
    "tide_note": (
        "TIDE (Bolya et al., 2020): what mAP at IoU 0.5 would gain without one kind of error, and in brackets how many "
        "there are, at all confidences. The gains do not add up, because one error hides another.",
        "TIDE（Bolya 等，2020）：消除某一类误差后，IoU 0.5 下的 mAP 可提高多少；括号内为此类误差的数量（所有置信度）。各项"
        "不能相加，因为误差之间会互相掩盖。"),
    "size_note": (
        "AP by size as in COCO (IoU 0.50 to 0.95): small below 32², large from 96² pixels of the original image; in "
        "brackets the number of objects.",
        "按 COCO 的方式统计不同尺寸目标的 AP（IoU 0.50 至 0.95）：小目标面积低于 32²，大目标不低于 96²（原图像素）；括号内为"
        "目标数量。"),
    "no_sizes": (
        "AP by size needs the package faster-coco-eval: pip install \"yolograft[inside]\"",
        "按尺寸统计 AP 需要安装 faster-coco-eval：pip install \"yolograft[inside]\""),
    "AP all": ("AP, all sizes", "AP（全部）"),
    "AP small": ("AP, small objects", "AP（小目标）"),
    "AP medium": ("AP, medium objects", "AP（中目标）"),
    "AP large": ("AP, large objects", "AP（大目标）"),
    "costs_caption": (
        "What mAP50 would gain without each kind of error. Long bars are where a change of the network could pay.",
        "消除各类误差后 mAP50 的增量。条越长，改进网络的余地越大。"),
    "cost axis": ("gain of mAP50 without these errors", "消除此类误差后 mAP50 的增量"),
    # boxes that change
    "Boxes that change": ("Boxes that change", "发生变化的框"),
    "changes_note": (
        "Each object and each false alarm once, at a confidence of {conf} and an IoU of {iou}. Two seeds of one network "
        "change many boxes, too: add a model of another seed to see how many of these changes are chance.",
        "每个目标和每个误检只计一次，置信度阈值 {conf}，IoU 阈值 {iou}。同一网络换一个随机种子，也会有许多框发生变化：加上"
        "另一个种子的模型，就能看出有多少变化出于偶然。"),
    "changed boxes": ("boxes", "框"),
    "hit to hit": ("objects found by both", "两者都检出的目标"),
    "hit to miss": ("objects lost", "丢失的目标"),
    "miss to hit": ("objects gained", "新检出的目标"),
    "miss to miss": ("objects missed by both", "两者都漏检的目标"),
    "false alarm to false alarm": ("false alarms of both", "两者共有的误检"),
    "false alarm to none": ("false alarms gone", "消失的误检"),
    "none to false alarm": ("false alarms new", "新增的误检"),
    "hit": ("hit", "检出"),
    "miss": ("miss", "漏检"),
    "false alarm": ("false alarm", "误检"),
    "none": ("none", "无"),
    "image": ("image", "图像"),
    "box": ("box (x1, y1, x2, y2)", "框 (x1, y1, x2, y2)"),
    "before": ("before", "之前"),
    "after": ("after", "之后"),
    "confidences": ("confidence", "置信度"),
    "list_note": (
        "The {count} changes of each pair with the largest difference of confidence; explain.json has all.",
        "每一对模型中置信度差异最大的 {count} 个变化；全部变化见 explain.json。"),
    "changes_caption": (
        "The pictures with the most changes from {before} (above) to {after} (below). Thick lines: boxes that change. "
        "Green: hit. Red, dashed: miss. Orange: false alarm.",
        "从 {before}（上）到 {after}（下）变化最多的图像。粗线：发生变化的框。绿色：检出；红色虚线：漏检；橙色：误检。"),
}
