"""Train, reopen and export the hand-edited architectures of examples/architectures, and write the table of its README.

python benchmarks/architectures.py data=datasets/NEU-DET/NEU-DET.yaml weights=yolo11n.pt [only=yolo11-p2] [fraction=0.25]

Each file is trained from the weights, opened again in a new process, saved as safetensors, and exported to ONNX and
OpenVINO. The outputs are compared for one random image of 160 x 160 pixels, in float32.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "architectures"
SIZE = 160
SOURCES = {  # what the file shows, and where it is described
    "yolo11-p2": ("a fourth output at stride 4", "ultralytics/ultralytics: cfg/models/v8/yolov8-p2.yaml"),
    "yolo11-bifpn": ("weighted sums in the neck", "Tan et al., CVPR 2020, arXiv:1911.09070"),
    "yolo11-bifpn-concat": ("weighted concatenations in the neck", "the rows BiFPN_Concat2 and BiFPN_Concat3 of YOLO forks"),
    "yolo11-carafe": ("CARAFE up-sampling", "Wang et al., ICCV 2019, arXiv:1905.02188"),
    "yolo11-dysample": ("DySample up-sampling", "Liu et al., ICCV 2023, arXiv:2308.15085"),
    "yolo11-spd": ("SPD-Conv in the backbone", "Sunkara and Luo, ECML PKDD 2022, arXiv:2208.03641"),
    "yolo11-faster": ("FasterNet blocks in each C3k2", "Chen et al., CVPR 2023, arXiv:2303.03667"),
    "yolo11-c3k2-cbam": ("CBAM behind each C3k2 of the backbone", "Woo et al., ECCV 2018, arXiv:1807.06521"),
    "yolo11-slim-neck": ("GSConv and VoVGSCSP in the neck", "Li et al., 2022, arXiv:2206.02424"),
    "yolo11-scale-fusion": ("three strides fused into the neck's P4", "Kang et al., ASF-YOLO, 2023, arXiv:2312.06458"),
    "yolo11-timm": ("a timm model as backbone", "timm's features_only models"),
}
_CHILD = """
import json, sys, torch
from pathlib import Path
from yolograft import YOLO
from yolograft.modules.plugin import load_file
load_file(sys.argv[2])
best = Path(sys.argv[1])
torch.manual_seed(0)
image = torch.rand(1, 3, int(sys.argv[3]), int(sys.argv[3]))
def run(model):
    with torch.no_grad():
        out = model.model.float().eval()(image)
    return out[0] if isinstance(out, (tuple, list)) else out
reference = run(YOLO(best))
size = float(reference.abs().max())
found = {"parameters": sum(p.numel() for p in YOLO(best).model.parameters())}
file = YOLO(best).export(format="safetensors")
found["safetensors"] = float((run(YOLO(file)) - reference).abs().max()) / size
import onnxruntime, openvino
file = YOLO(best).export(format="onnx", imgsz=int(sys.argv[3]), simplify=False)
session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
out = session.run(None, {session.get_inputs()[0].name: image.numpy()})[0]
found["onnx"] = float((torch.from_numpy(out) - reference).abs().max()) / size
folder = YOLO(best).export(format="openvino", imgsz=int(sys.argv[3]))
core = openvino.Core()
model = core.compile_model(next(Path(folder).glob("*.xml")), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
out = model([image.numpy()])[0]
found["openvino"] = float((torch.from_numpy(out) - reference).abs().max()) / size
print("RESULT" + json.dumps(found))
"""


def measure(name: str, data: str, weights: str, epochs: int, fraction: float) -> dict[str, object]:
    """Train, reopen and export one file. Raises RuntimeError with the last lines of a process that failed."""
    modules = FOLDER / "modules.py"
    with tempfile.TemporaryDirectory() as folder:
        log = _run([sys.executable, "-m", "yolograft", "train", f"model={FOLDER / name.replace('yolo11', 'yolo11n')}.yaml",
                    f"pretrained={weights}", f"modules={modules}", f"data={data}", f"epochs={epochs}", f"imgsz={SIZE}",
                    f"fraction={fraction}", "batch=16", "workers=0", "speed=stock", "plots=False", "val=False", "device=cpu",
                    f"project={folder}", "name=run", "exist_ok=True"])
        line = re.search(r"yolograft: (\d+) of (\d+) host tensors loaded(?:; ([^\n]*))?", log)
        stock = re.search(r"Transferred (\d+)/(\d+) items", log)
        count = line or stock
        assert count is not None, log
        last = Path(folder) / "run" / "weights" / "last.pt"
        result = _run([sys.executable, "-c", _CHILD, str(last), str(modules), str(SIZE)])
    return {"loaded": f"{count[1]} of {count[2]}", "others": (line[3] or "") if line else "",
            **json.loads(result.partition("RESULT")[2].splitlines()[0])}


def _run(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError("\n".join((done.stdout + done.stderr).splitlines()[-15:]))
    return done.stdout + done.stderr


def main(words: list[str]) -> None:
    """Measure each file and print its line; then write the table."""
    options = dict(word.split("=", 1) for word in words)
    names = options["only"].split(",") if "only" in options else list(SOURCES)
    stored = FOLDER / "results.json"
    results = json.loads(stored.read_text(encoding="utf-8")) if stored.is_file() else {}
    for name in names:
        results[name] = measure(name, options["data"], options["weights"], int(options.get("epochs", 1)),
                                float(options.get("fraction", 1)))
        print(name, json.dumps(results[name]), flush=True)
        stored.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    write_table(results)


def write_table(results: dict[str, dict[str, object]]) -> None:
    """Write the table between the two marks of README.md."""
    lines = ["| file | what it shows | described in | tensors loaded | parameters | ONNX | OpenVINO | safetensors |",
             "|---|---|---|---|---|---|---|---|"]
    for name, (what, source) in SOURCES.items():
        one = results.get(name)
        if one is not None:
            errors = [f"{one[key]:.0e}" if one[key] else "equal" for key in ("onnx", "openvino", "safetensors")]
            cells = (f"[{name}]({name}.yaml)", what, source, one["loaded"], f"{one['parameters']:,}", *errors)
            lines.append(f"| {' | '.join(map(str, cells))} |")
    readme = FOLDER / "README.md"
    text = readme.read_text(encoding="utf-8")
    start, end = "<!-- table -->\n", "<!-- end of table -->"
    before, _, rest = text.partition(start)
    readme.write_text(before + start + "\n".join(lines) + "\n" + end + rest.partition(end)[2], encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
