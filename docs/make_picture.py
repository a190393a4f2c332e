"""Write picture.svg and picture.zh-CN.svg, the picture of both READMEs: python docs/make_picture.py

It joins two figures that `yolograft report` drew for the study of results/neu-det-se: the network with the grafts of its
arms, and the paired differences with their intervals.
"""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent
FIGURES = DOCS / "results" / "neu-det-se" / "figures"
FILES = {"en": DOCS / "picture.svg", "zh": DOCS / "picture.zh-CN.svg"}
TITLES = {
    "en": ("YOLO11n with its blocks: se@8 behind row 8, se@Bottleneck.cv2 inside the bottlenecks",
           "The verdict of six seeds on NEU-DET: no evidence that SE helps or hurts; the control aa is a false alarm"),
    "zh": ("加上模块的 YOLO11n：se@8 在第 8 行之后，se@Bottleneck.cv2 在各个 bottleneck 内部",
           "NEU-DET 上六个种子的结论：没有证据表明 SE 有帮助或有害；对照 aa 是一次误报（横轴：mAP50-95 与 none 之差）"),
}
WIDTH, TITLE = 832, 30  # in points: the width of the picture, and the height of the line above a figure


def figure(name: str, top: float, prefix: str) -> tuple[str, float]:
    """Return a figure as a nested SVG element at a height, and its own height. Its ids get a prefix to be unique."""
    text = (FIGURES / f"{name}.svg").read_text(encoding="utf-8")
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    assert found is not None
    width, height = float(found[1]), float(found[2])
    inner = text[text.index("<defs>"):text.rindex("</svg>")]
    inner = re.sub(r'\bid="', f'id="{prefix}', inner)
    inner = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}", inner)
    shown = WIDTH * height / width
    place = f'x="0" y="{top:g}" width="{WIDTH}" height="{shown:.2f}" viewBox="0 0 {width:g} {height:g}"'
    return f"<svg {place}>\n{inner}</svg>\n", shown


def picture(language: str) -> str:
    """Return the picture as SVG."""
    parts, top = [], 8.0
    for name, title, prefix in zip(("network", "forest"), TITLES[language], "nf", strict=True):
        parts.append(f'<text x="12" y="{top + 20:g}" font-family="sans-serif" font-size="14">{title}</text>\n')
        text, height = figure(name, top + TITLE, prefix)
        parts.append(text)
        top += TITLE + height + 6
    return (f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{WIDTH}" '
            f'height="{top:.0f}" viewBox="0 0 {WIDTH} {top:.0f}">\n<rect width="100%" height="100%" fill="#ffffff"/>\n'
            + "".join(parts) + "</svg>\n")


if __name__ == "__main__":
    for language, file in FILES.items():
        file.write_text(picture(language), encoding="utf-8")
