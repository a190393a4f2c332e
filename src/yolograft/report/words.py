"""The texts of the report, in English and in Chinese."""

from __future__ import annotations

from collections.abc import Mapping

from yolograft.errors import GraftError, nearest
from yolograft.language import LANGUAGES, PUNCTUATION, tr

__all__ = ["LANGUAGES", "TEXTS", "Translator"]

TEXTS = {
    # verdicts
    "helps": ("helps", "有提升"),
    "hurts": ("hurts", "有下降"),
    "no evidence either way": ("no evidence either way", "没有证据表明有变化"),
    "too few runs to say": ("too few runs to say", "运行次数太少，无法判断"),
    "differs": ("differs", "有差异"),
    "no difference larger than the margin": ("no difference larger than {margin}", "差异不超过 {margin}"),
    "no verdict": ("no verdict", "不下结论"),
    "baseline": ("baseline", "基线"),
    "control": ("control", "对照"),
    # headline
    "effect": ("{size} {metric}, 95% interval {low} to {high}", "{size} {metric}，95% 区间 {low} 至 {high}"),
    "nothing": ("No arm is shown to help or to hurt.", "没有方案被证实有提升或下降。"),
    "too few": ("There are too few runs for a verdict.", "运行次数太少，尚无法下结论。"),
    "alone": ("There is only the baseline and nothing to compare it with.", "只有基线，没有可比较的方案。"),
    "open arms": ("{n} more: no evidence either way", "另有 {n} 个方案没有证据表明有变化"),
    "none arms": ("{n} more: no verdict", "另有 {n} 个方案不下结论"),
    "no word": ("There is no verdict yet, or none can be given: see the notes.",
                "目前没有结论，或者无法下结论：见下方说明。"),
    "alarm": (
        "The A/A control {arms} differs from the baseline ({size}) although nothing was changed: do not trust the other "
        "verdicts of this study.",
        "A/A 对照 {arms} 与基线有差异（{size}），而实际上没有任何改动：本研究的其他结论不可信。"),
    "few arms": ("{n} more: too few runs to say", "另有 {n} 个方案运行次数太少，无法判断"),
    # headings
    "Paired differences": ("Paired differences", "配对差值"),
    "Accuracy against cost": ("Accuracy against cost", "精度与计算开销"),
    "Learning curves": ("Learning curves", "学习曲线"),
    "By class": ("By class", "按类别"),
    "By size of the objects": ("By size of the objects", "按目标大小"),
    "More statistics": ("More statistics of the differences", "差值的其他统计量"),
    "The network": ("The network", "网络结构"),
    "Images with the largest differences": ("Images with the largest differences", "差异最大的图像"),
    "All metrics": ("All metrics", "全部指标"),
    "Controls": ("Controls", "对照"),
    "Incomplete trials": ("Incomplete trials", "未完成的运行"),
    "Computing time and cost": ("Computing time and cost", "计算开销"),
    "How to reproduce it": ("How to reproduce it", "如何复现"),
    "The complete plan": ("The complete plan", "完整计划"),
    # columns and facts
    "arm": ("arm", "方案"),
    "verdict": ("verdict", "结论"),
    "runs": ("runs", "运行次数"),
    "difference": ("difference", "差值"),
    "95% interval": ("95% interval", "95% 置信区间"),
    "over images": ("seeds and images", "种子与图像重采样"),
    "adjusted p": ("adjusted p", "校正后 p"),
    "better in": ("P(better)", "优于基线的概率"),
    "detectable": ("detectable", "可检出差值"),
    "parameters": ("parameters", "参数量"),
    "gates": ("gates", "门控"),
    "gates_note": (
        "What the gates do on at most 64 validation images, in all runs of the arm: see yolograft explain.",
        "各次运行中门控在至多 64 张验证图像上的状态，详见 yolograft explain。"),
    "explained": ("gates", "门控"),
    "dead near 0": ("dead near 0", "接近 0，已失效"),
    "collapsed to 0.5": ("collapsed to 0.5", "停在 0.5"),
    "saturated near 1": ("saturated near 1", "饱和在 1 附近"),
    "constant": ("constant", "恒定"),
    "class-dependent": ("class-dependent", "随类别变化"),
    "varying": ("varying", "随图像变化"),
    "no change": ("no change", "几乎不改变输入"),
    "gflops": ("GFLOPs", "GFLOPs"),
    "latency_ms": ("latency (ms)", "延迟 (ms)"),
    "fps": ("FPS", "FPS"),
    "relative": ("× baseline", "相对基线"),
    "small": ("small", "小目标"),
    "medium": ("medium", "中目标"),
    "large": ("large", "大目标"),
    "size head": ("{size} ({objects} objects)", "{size}（{objects} 个）"),
    "single interval": ("95% interval alone", "单独的 95% 置信区间"),
    "device": ("device", "设备"),
    "cpu": ("CPU", "CPU"),
    "gpu": ("GPU", "GPU"),
    "system": ("system", "操作系统"),
    "python": ("Python", "Python"),
    "none": ("none", "无"),
    "seconds": ("seconds per trial", "每次运行耗时（秒）"),
    "epochs": ("epochs", "训练轮数"),
    "epoch": ("epoch", "训练轮次"),
    "arms": ("arms", "方案"),
    "seeds": ("seeds", "随机种子"),
    "data": ("data", "数据集"),
    "model": ("model", "模型"),
    "metric": ("metric", "指标"),
    "trials": ("trials", "次运行"),
    "failed": ("failed", "失败"),
    "running": ("running", "运行中"),
    "waiting": ("not run", "未运行"),
    "reason": ("reason", "原因"),
    "difference to": ("difference to {base}", "相对 {base} 的差值"),
    "total time": ("computing time of all trials", "全部运行的总计算时间"),
    "finished": ("finished trials", "已完成的运行"),
    "fingerprint": ("fingerprint", "指纹"),
    "stride": ("stride", "步长"),
    "reads": ("reads", "读取"),
    "other language": ("中文", "English"),
    # sentences
    "interval_note": (
        "95% interval of the mean paired difference, simultaneous over all arms and looks: the test of the verdict, "
        "inverted. It excludes 0 exactly if the arm helps or hurts.",
        "配对差值均值的 95% 同时置信区间，对全部方案和各次查看同时成立，由判定所用的检验反演得到。当且仅当方案有提升或有"
        "下降时，区间不含 0。"),
    "images_note": (
        "95% interval of the same mean difference for other trainings and other validation images of this kind: seeds and "
        "images are resampled together (crossed bootstrap, Owen and Eckles 2012).",
        "换用另一批同类验证图像并重新训练时，同一差值均值的 95% 置信区间：对种子和图像同时重采样（交叉自助法，Owen 和 "
        "Eckles，2012）。"),
    "p_note": (
        "p: exact sign-flip test on the paired differences, corrected over all arms by Westfall and Young's max-T. Its null "
        "hypothesis: an arm and the baseline are exchangeable, so +d is as likely as −d. The verdict uses this p. The "
        "family-wise error rate over all arms and looks is 5%: at most 5% of studies give a wrong “helps” or “hurts” to "
        "any arm.",
        "p：对配对差值作精确符号翻转检验，并用 Westfall–Young max-T 方法对全部方案作多重比较校正。零假设：方案与基线可交换，"
        "即差值为 +d 与 −d 的可能性相同。结论以此 p 值为准，全部方案和各次查看的总体错误率（FWER）为 5%：至多 5% 的研究会把"
        "某个方案误判为“有提升”或“有下降”。"),
    "posterior_note": (
        "Bayesian reading beside the test: posterior probability that the true difference is below −{margin}, within "
        "±{margin}, and above +{margin} (Benavoli et al. 2017). It is not corrected for several arms or looks.",
        "检验之外的贝叶斯解读：真实差值低于 −{margin}、在 ±{margin} 以内、高于 +{margin} 的后验概率（Benavoli 等，2017）。"
        "未对多个方案或多次查看作校正。"),
    "posterior": ("worse / same / better", "更差 / 相同 / 更好"),
    "looks_note": (
        "Looks planned or taken after {planned} seeds, taken so far: {taken}. They share one error rate: {used}% of "
        "{alpha}% is used. Verdicts change at looks only.",
        "计划或已进行的查看：{planned} 个种子之后；已进行：{taken}。各次查看共用同一错误率：{alpha}% 中已用 {used}%。结论"
        "只在查看时给出。"),
    "added_note": (
        "Seeds or arms were added after the planned verdicts had been read. They are judged by what was left of the error "
        "rate, which is little. Plan looks before you start: looks=6,8,10,12.",
        "在读取计划内的结论之后又追加了种子或方案。追加的部分只能使用剩余的错误率，而剩余很少。请在开始之前计划好查看："
        "looks=6,8,10,12。"),
    "register_note": (
        "This is study {number} of this data and model on this machine. The verdicts in the table count this study alone. "
        "If all these studies together may give a wrong word in 5% of cases, {alpha}% are left for this one, and its "
        "verdicts are: {words}.",
        "这是本机上针对该数据集和模型的第 {number} 个研究。表中的结论只计本研究。如果要求所有这些研究合计至多在 5% 的情况下"
        "误判，则留给本研究的是 {alpha}%，结论为：{words}。"),
    "copies_note": (
        "The baseline was run {n} times per seed (A/A copies included). Every arm is compared with the mean of these runs.",
        "每个种子下基线运行 {n} 次（含 A/A 副本），各方案与这些运行的均值比较。"),
    "winner_note": (
        "An effect that is found is overestimated on average, the more so the lower the power was. Take the end of the "
        "interval near 0 for planning.",
        "被检出的效应平均而言会被高估，检验功效越低高估越多。做计划时请取区间靠近 0 的一端。"),
    "weak_note": (
        "Smaller than what these seeds usually detect, so probably overestimated: {arms}.",
        "小于此种子数通常能检出的差值，因此很可能被高估：{arms}。"),
    "skew_note": (
        "The differences of {arms} are strongly skewed. The test assumes that +d is as likely as −d; look at the single "
        "seeds.",
        "{arms} 的差值分布明显偏斜。检验假定 +d 与 −d 的可能性相同；请查看各个种子的结果。"),
    "failed_note": (
        "Pairs with a failed run count as the largest loss against “helps” and as the largest win against “hurts”: {arms}.",
        "含失败运行的配对在判定“有提升”时按最大损失计，在判定“有下降”时按最大收益计：{arms}。"),
    "splits_note": (
        "p: corrected resampled t-test (Nadeau and Bengio) on the mean differences of the splits, corrected over all arms "
        "by Holm. The verdict uses this p. Every interval of an accuracy "
        "takes into account that the splits share images.",
        "p：对各次划分的平均差值作校正的重抽样 t 检验（Nadeau 与 Bengio），并用 Holm 法对全部方案作多重比较校正。结论以此"
        " p 值为准。所有精度区间都考虑了各次划分共用图像。"),
    "race_note": (
        "p: exact sign-flip test on the paired differences, corrected over all arms by Holm, because arms that "
        "racing stopped early have fewer seeds. The verdict uses this p: at most 5% of studies give a wrong “helps” "
        "to any arm.",
        "p：对配对差值作精确符号翻转检验；被竞速（racing）提前淘汰的方案种子较少，因此用 Holm 法对全部方案作多重比较"
        "校正。结论以此 p 值为准：至多 5% 的研究会把某个方案误判为“有提升”。"),
    "coco_note": (
        "The same matched boxes by COCO's rule: interpolated precision at 101 recall values, at most 100 detections in an "
        "image. Ultralytics integrates the curve and counts up to 300.",
        "相同的匹配框按 COCO 的规则计算：在 101 个召回率处取插值精度，每张图像至多计 100 个检测框。Ultralytics 则对曲线"
        "积分，至多计 300 个。"),
    "better_note": (
        "Probability that a run of the arm is better than the baseline's run with the same seed, with its 95% "
        "interval (Bouthillier et al. 2021).",
        "该方案的一次运行优于相同种子的基线的概率，及其 95% 置信区间（Bouthillier 等，2021）。"),
    "detect_note": (
        "The smallest true difference that this number of seeds detects with a power of 80%. Smaller differences are "
        "usually not detected.",
        "在此种子数下，以 80% 的检验功效能够检出的最小真实差值；更小的差值通常检不出来。"),
    "alone_note": (
        "Student's 95% interval of the mean difference of this arm alone, not corrected for other arms or looks.",
        "仅针对该方案的均值差值的 95% 置信区间（学生 t），未对其他方案或多次查看作校正。"),
    "fps_note": (
        "FPS: images per second, measured once for all arms in turns. {protocol}",
        "FPS：每秒图像数，各方案轮流测量一次。{protocol}"),
    "protocol": (
        "Protocol: batch {batch}, {imgsz} pixels, {device}, {threads} CPU threads, {precision}, fused, {nms}, PyTorch "
        "{torch}; median of {repeats} turns after {warm_up} to warm up.",
        "测量条件：批大小 {batch}，{imgsz} 像素，{device}，{threads} 个 CPU 线程，{precision}，已融合（fuse），{nms}，"
        "PyTorch {torch}；预热 {warm_up} 轮后取 {repeats} 轮的中位数。"),
    "with nms": ("with NMS", "含 NMS"),
    "without nms": ("without NMS", "不含 NMS"),
    "protocol_busy": (
        "The machine was busy: other programs used {share}% of its CPU, so the times are too long and less certain.",
        "测量时机器繁忙：其他程序占用了 {share}% 的 CPU，因此测得的时间偏长且不够可靠。"),
    "protocol_equal": (
        "Arms with equal networks are one network with one number: {arms}.",
        "网络相同的方案视为同一个网络，只有一个数值：{arms}。"),
    "latency_note": (
        "The intervals are over the turns of this measurement. The memory layout of a network alone can change its latency "
        "by 1 or 2%.",
        "区间针对本次测量的各轮。仅网络的内存布局就可能使延迟变化 1% 至 2%。"),
    "old_latency_note": (
        "The trials of this study recorded latencies while other trials trained on the same machine. They are noise and are "
        "not shown.",
        "本研究的各次运行记录了延迟，但当时同一台机器上还有其他训练，这些数值只是噪声，因此不显示。"),
    "size_note": (
        "AP at IoU 0.50 to 0.95 by COCO's rule (faster-coco-eval): of the baseline, and the paired differences of the other "
        "arms with the 95% interval of this arm alone. These values are for exploration, not for conclusions. Small, medium "
        "and large are COCO's areas, in pixels of the original image: below 32², up to 96², and above. In a data set of "
        "small images, few objects are large by this measure.",
        "按 COCO 规则（faster-coco-eval）计算的 IoU 0.50 至 0.95 的 AP：基线给出数值，其他方案给出配对差值及该方案单独的 "
        "95% 置信区间。仅供探索，不能据此下结论。小、中、大采用 COCO 的面积划分，以原图像素计：小于 32²、至 96²、更大。如果"
        "数据集的图像本身较小，按此标准几乎没有大目标。"),
    "sort_note": (
        "Click a column header to sort. Point at an arm to highlight it in every figure.",
        "点击列标题可排序；将鼠标移到某个方案上，各图中会突出显示该方案。"),
    "forest_note": (
        "Each tick is one seed, and the dot is the mean.",
        "短竖线表示各个种子，圆点表示均值。"),
    "forest_bars": (
        "The bar is its 95% interval, simultaneous over all arms. An arm helps or hurts exactly if its bar excludes 0.",
        "横线表示对全部方案同时成立的 95% 置信区间。当且仅当横线不含 0 时，方案有提升或有下降。"),
    "forest_band": (
        "The band is the interval of the A/A control: what no change looks like.",
        "色带为 A/A 对照的区间：没有任何改动时的样子。"),
    "cost_note": (
        "Costs that are equal for all arms are not drawn.",
        "各方案相同的开销不画出。"),
    "cost_dots": (
        "Each dot is the mean of an arm over its seeds. Dots of equal cost are drawn side by side.",
        "圆点为各方案在各种子上的均值；开销相同的圆点并排画出。"),
    "cost_intervals": (
        "The line is the 95% interval of this arm alone. Intervals that overlap do not show that two arms are equally "
        "accurate: the table compares them seed by seed.",
        "线段为该方案单独的 95% 置信区间。区间重叠并不说明两个方案精度相同：表格给出按种子配对的比较。"),
    "cost_front": (
        "The dashed line is the Pareto front of the means. For every arm below it, there is another arm that is at least as "
        "accurate and does not cost more.",
        "虚线是均值的帕累托前沿：对于线下的每个方案，都存在精度不低于它且开销不高于它的其他方案。"),
    "curve_note": ("Mean over seeds.", "各种子的均值。"),
    "curve_both": (
        "Left: mean over seeds. Right: mean of the paired difference.",
        "左：各种子的均值。右：配对差值的均值。"),
    "curve_bands": ("Bands are 95% intervals.", "色带表示 95% 置信区间。"),
    "curve_some_bands": (
        "Bands are 95% intervals; only the baseline and arms that help or hurt have them.",
        "色带表示 95% 置信区间，只画基线以及有提升或有下降的方案。"),
    "no_forest": ("No figure: there is no difference to the baseline yet.", "无法绘制：还没有与基线的差值。"),
    "no_tradeoff": ("No figure: all arms cost the same.", "不绘图：各方案的开销相同。"),
    "no_curves": ("No figure: each trial has one epoch, and a curve needs two.",
                  "不绘图：每次运行只有一轮，曲线至少需要两轮。"),
    "class_note": (
        "Paired differences in average precision. These values are for exploration, not for conclusions: with many "
        "classes, some always look good by chance.",
        "各类别平均精度（AP）的配对差值。仅供探索，不能据此下结论：类别多时，总会有一些类别碰巧看起来有提升。"),
    "network_note": (
        "The structure of the baseline's model. Each box is a row of its YAML, from the image on the left to the "
        "head on the right. /8 is the stride: the feature map has one eighth of the image's width and height.",
        "基线的模型结构：每个方框对应模型 YAML 的一行，最左为输入图像，最右为检测头；/8 表示步长，即特征图边长为图像"
        "的八分之一。"),
    "network_marks": (
        "Each mark above a row is an arm with a block or another change in this row.",
        "方框上方的标记表示某个方案在该行嫁接了模块或有其他改动。"),
    "Model YAMLs": ("Model YAMLs", "模型 YAML"),
    "yaml_note": (
        "These arms have rows of their own, at the scale of {model}. The rows that they share with the baseline start "
        "from the same weights. The numbers are those of the baseline's rows; + is a row after that row, and − a row that "
        "was removed. In the figure, an arm has a mark at each of these rows.",
        "这些方案使用自己的模型 YAML，缩放尺度与 {model} 相同；与基线相同的行从相同的权重开始训练。编号为基线中的行号；"
        "+ 表示在该行之后插入的行，− 表示被删除的行。图中这些行的上方都有该方案的标记。"),
    "yaml_same": ("the rows of the baseline", "与基线的行相同"),
    "pictures_note": (
        "The images with the largest gain and loss of an arm against the baseline. Because they are selected, they "
        "show what kind of change occurs, not how often. Scores are F1 at an IoU of 0.5. The seed with the largest "
        "difference is shown.",
        "与基线相比提升最多和下降最多的图像。这些图像是专门挑选的，只能说明变化的类型，不能说明变化的频率。分数为 "
        "IoU 0.5 时的 F1；图中为差异最大的种子。"),
    "no_pictures": ("No images: {why}.", "没有图像：{why}。"),
    "picture_gain": (
        "mean F1 difference over {runs} runs: {gain}; seed {seed} is shown",
        "{runs} 次运行的平均 F1 差值：{gain}；图中为种子 {seed}"),
    "hit": ("true positive", "正确检出"),
    "false": ("false positive", "误检"),
    "missed": ("false negative", "漏检"),
    "no_network": ("No figure: {why}", "无法绘制：{why}"),
    "shown_note": (
        "There are too many arms for a figure. It shows the baseline and the {n} arms with the smallest p. The "
        "tables show all arms.",
        "方案太多，图中只显示基线和 p 值最小的 {n} 个方案；表格包含全部方案。"),
    "equal_seeds_note": (
        "{arm}: the runs of the seeds {seeds} are identical. The seed changed nothing, so they count as one run, and the "
        "verdict on this arm is not valid.",
        "{arm}：种子 {seeds} 的运行结果完全相同。种子没有起任何作用，这些运行只能算一次，该组的结论无效。"),
    "unmoved_note": (
        "{arm}: runs in which a grafted block did not change in the training: {n} ({names}). The verdict says nothing about "
        "it.",
        "{arm}：有 {n} 次运行中，注意力模块在训练后没有任何变化（{names}）。结论不能说明该模块的作用。"),
    "few_note": (
        "Too few seeds: p cannot be below {p}, whatever the results are. At least {n} seeds are needed.",
        "种子太少：无论结果如何，p 值都不会低于 {p}。至少需要 {n} 个种子。"),
    "need_note": (
        "With the standard deviation of this study, about {seeds} seeds per arm are needed to detect a true "
        "difference of {effects}.",
        "按本研究的标准差估计，要检出 {effects} 的真实差值，每个方案约需 {seeds} 个种子。"),
    "large_pair_note": (
        "Pairing by seed makes the variance of a difference more than {gain} times smaller (median over arms).",
        "按种子配对使差值的方差缩小到不足 1/{gain}（各方案的中位数）。"),
    "pair_note": (
        "Pairing by seed makes the variance of a difference about {gain} times smaller (median over arms). So fewer "
        "seeds are needed for the same precision.",
        "按种子配对使差值的方差约缩小为 1/{gain}（各方案的中位数），因此达到同样的精度所需的种子更少。"),
    "no_pair_note": (
        "Pairing by seed did not reduce the variance in this study: without pairing, the variance of a difference "
        "would be about {gain} times that with pairing (median over arms). Training amplifies tiny differences, and "
        "pairing cannot remove this part of the variance.",
        "在本研究中，按种子配对没有降低方差：不配对时差值的方差约为配对时的 {gain} 倍（各方案的中位数）。训练过程会放"
        "大微小的差异，这部分方差无法通过配对消除。"),
    "select_splits_note": (
        "Arms were compared on validation images, and the best of several arms looks better than it is (selection bias). "
        "Before you publish it, validate the chosen arm on images that no split has used, such as those of the test split.",
        "各方案是在验证集上比较的，从多个方案中选出的最优方案会显得比实际更好（选择偏差）。发表结果之前，请在各次划分都没有"
        "用到的图像（例如测试集的图像）上验证选中的方案。"),
    "sets_note": (
        "The verdict and the mean paired difference in {metric} on each data set; the links lead to their pages. The "
        "verdicts on all data sets share one error rate, so with a probability of {sure}% no count in the last column is "
        "too high (partial conjunction, Benjamini and Heller 2008).",
        "各数据集上的结论和 {metric} 的平均配对差值，链接指向对应的页面。所有数据集上的结论共用一个错误率，因此最后一列的"
        "数据集个数以 {sure}% 的概率没有高估（部分合取，Benjamini 与 Heller，2008）。"),
    "All data sets": ("All data sets", "全部数据集"),
    "combined": ("combined", "合计"),
    "splits": ("splits", "划分次数"),
    "open bracket": (" (", "（"),
    "close bracket": (")", "）"),
    "select_note": (
        "Arms were compared on validation images, and the best of several arms looks better than it is (selection "
        "bias). Before you publish it, score the chosen arm once on a held-out test split (test=True).",
        "各方案是在验证集上比较的，从多个方案中选出的最优方案会显得比实际更好（选择偏差）。发表结果之前，请在留出测"
        "试集上对选中的方案评估一次（test=True）。"),
    "test_note": (
        "Held-out test split, scored once: {arm} (chosen by validation among {among}) {word}: difference {size}, 95% "
        "interval {low} to {high}, p = {p}.",
        "留出测试集（只评估一次）：{arm}（根据验证集从 {among} 个方案中选出）{word}：差值 {size}，95% 置信区间 {low} "
        "至 {high}，p = {p}。"),
    "epochs_note": (
        "Do fewer epochs give the same ranking of the {arms} arms? Kendall's tau between the means after fewer "
        "epochs and the final means (1 is the same ranking): {taus}.",
        "减少训练轮数能否得到相同的排名？{arms} 个方案在较少轮数时的均值与最终均值的 Kendall τ 系数（1 表示排名完全相"
        "同）：{taus}。"),
    "after epoch": ("{tau} after epoch {epoch} ({share}%)", "第 {epoch} 轮后（{share}%）为 {tau}"),
    "cheaper_note": (
        "Does the cheaper study {name} give the same ranking of the {arms} arms? Kendall's tau {tau} ({differ}).",
        "开销更低的研究 {name} 能否得到相同的排名？{arms} 个方案的 Kendall τ 系数为 {tau}（{differ}）。"),
    "cheaper time": ("{share}% of the time per trial", "每次运行耗时为原来的 {share}%"),
    "aa_ok": (
        "A/A control (the baseline again): no change is found, as expected.",
        "A/A 对照（重复运行基线）：符合预期，没有被判定为有变化。"),
    "aa_bad": (
        "A/A control (the baseline again): a change is found although there is none. Do not trust the other verdicts "
        "of this study.",
        "A/A 对照（重复运行基线）：实际没有变化，却被判定为有变化，因此本研究的其他结论不可信。"),
    "aa": (
        "the baseline again, with initial weights changed by one part in a million: it shows the differences that "
        "occur without a real change",
        "重复运行基线，初始权重只改变百万分之一：用来显示没有实际变化时会出现多大的差异"),
    "params": (
        "a plain 1×1 convolution with about the same number of parameters, at the same sites",
        "在相同位置放置一个参数量相近的普通 1×1 卷积"),
    "gate1": ("the block with its gates fixed at 1", "同一模块，但门控恒为 1"),
    "scale": ("the bare host at the next larger scale", "不嫁接模块，换用大一号的模型"),
    "unfinished": (
        "Unfinished: {done} of {planned} trials have a result",
        "尚未完成：共 {planned} 次运行，其中 {done} 次已有结果"),
    "unfinished_tail": (
        "The verdicts may still change. If you stop as soon as a result looks good, the error rate is higher than "
        "5%. Continue with:",
        "结论仍可能改变；如果一看到好结果就停止，错误率会超过 5%。继续运行的命令："),
    "no_figure": (
        "No figure: no trial has recorded these data.",
        "无法绘制：没有任何运行记录这些数据。"),
    "repeat_note": (
        "Save the plan below as plan.yaml. In the study's own folder, the command continues the study and does not "
        "repeat finished trials.",
        "把下面的计划保存为 plan.yaml。在原研究的文件夹中运行该命令会继续该研究，已完成的运行不会重复。"),
    "beside_note": (
        "In the folder of this page: tables/ as CSV, Markdown and LaTeX (booktabs), figures/ as SVG and PDF.",
        "本页所在文件夹中还有：tables/（CSV、Markdown、LaTeX booktabs 表格）和 figures/（SVG、PDF 图）。"),
    "hours": ("{hours} h {minutes:02d} min", "{hours} 小时 {minutes:02d} 分"),
    "minutes": ("{minutes} min {seconds:02d} s", "{minutes} 分 {seconds:02d} 秒"),
    "short time": ("{seconds:.1f} s", "{seconds:.1f} 秒"),
    "tail": ("Made by yolograft {version}.", "由 yolograft {version} 生成。"),
}


class Translator:
    """Translates the texts of a page, as in `Translator("zh")("helps")`. A text without a translation is unchanged.

    Args:
        language: `en` or `zh`.
        texts: key -> (English, Chinese); by default the texts of the report of a study.

    Raises:
        GraftError: the report has no texts in this language.
    """

    def __init__(self, language: str, texts: Mapping[str, tuple[str, str]] = TEXTS) -> None:
        if language not in LANGUAGES:
            raise GraftError(tr("The report has no language '{language}'.{nearest} Expected one of: {languages}.",
                                language=language, nearest=nearest(language, LANGUAGES), languages=", ".join(LANGUAGES)))
        self.language, self.texts, self.punctuation = language, texts, PUNCTUATION[language]

    def __call__(self, text: str, **values: object) -> str:
        """Return the text in the language, with the values inserted."""
        translated = self.texts[text][LANGUAGES.index(self.language)] if text in self.texts else text
        return translated.format(**values) if values else translated
