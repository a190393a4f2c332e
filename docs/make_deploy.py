"""Write the matrix of blocks and deployment targets into docs/deploy.md and docs/deploy.zh-CN.md: python docs/make_deploy.py

`benchmarks/deploy_matrix.py` measures it. The table stands between two marks in each page.
"""

from __future__ import annotations

from pathlib import Path

from yolograft.analysis import targets
from yolograft.analysis.matrix import load_matrix

FILES = {"en": Path(__file__).with_name("deploy.md"), "zh": Path(__file__).with_name("deploy.zh-CN.md")}
BEGIN, END = "<!-- matrix -->", "<!-- end of matrix -->"
WORDS = {
    "en": ("block", "operators in ONNX that the host does not have",
           "{sizes} pixels, blocks on {sites}, {date}: {versions}.", "fails"),
    "zh": ("模块", "宿主没有的 ONNX 算子", "{sizes} 像素，模块位于 {sites}，{date}：{versions}。", "失败"),
}


def table(language: str) -> str:
    """Return the matrix with its conditions; empty if nothing was measured."""
    matrix = load_matrix()
    if not matrix["blocks"]:
        return ""
    block, operators, conditions, fails = WORDS[language]
    names = [name for name in targets.CHECKED if any(name in row for row in matrix["blocks"].values())]
    lines = [f"| {' | '.join((block, *(targets.TARGETS[name].title for name in names), operators))} |",
             f"|{'---|' * (len(names) + 2)}"]
    for name, row in sorted(matrix["blocks"].items()):
        cells = []
        for target in names:
            found = row.get(target)
            passes = found and found["status"] == "passes"
            cells.append("" if not found else f"{found['error']:.0e}" if passes else f"{fails}: {found['reason']}")
        cells.append(", ".join(f"`{one}`" for one in row.get("onnx", {}).get("new", ())))
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    versions = ", ".join(f"{package} {version}" for package, version in matrix["versions"].items())
    sizes = " / ".join(map(str, matrix["sizes"]))
    return "\n".join([*lines, "", conditions.format(sizes=sizes, sites=matrix["sites"], date=matrix["date"],
                                                    versions=versions)])


def page(language: str) -> str:
    """Return a page with the matrix between its marks."""
    text = FILES[language].read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{table(language)}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    for language, file in FILES.items():
        file.write_text(page(language), encoding="utf-8")
