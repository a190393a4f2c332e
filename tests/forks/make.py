"""Run inside a fork, a changed copy of Ultralytics that is first on `sys.path`: make its checkpoints and its outputs.

python make.py FOLDER DATA NAME=ARGS ...    e.g. SEAttention=[16]
"""

import json
import sys
from pathlib import Path

import torch
import yaml
from ultralytics import YOLO
from ultralytics.nn.modules import own_modules
from ultralytics.nn.tasks import DetectionModel


def config(folder: Path, name: str, args: list) -> Path:
    base = yaml.safe_load((Path(sys.modules["ultralytics"].__file__).parent / "cfg/models/11/yolo11.yaml").read_text())
    base["backbone"].insert(9, [-1, 1, name, args])  # as the tutorials do: after C3k2, before SPPF
    base["head"] = [[[f if f < 9 else f + 1 for f in row[0]] if isinstance(row[0], list) else row[0], *row[1:]]
                    for row in base["head"]]
    file = folder / f"yolo11n-{name}.yaml"
    file.write_text(yaml.safe_dump(base, sort_keys=False))
    return file


def output(model: torch.nn.Module) -> torch.Tensor:
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.float().eval()(x)[0]


def main() -> None:
    folder, data = Path(sys.argv[1]), sys.argv[2]
    assert hasattr(own_modules, "SEAttention")
    torch.manual_seed(0)
    outputs = {}
    for number, word in enumerate(sys.argv[3:]):
        name, _, args = word.partition("=")
        file = config(folder, name, json.loads(args))
        if not number:  # a real training writes a real checkpoint: EMA, half precision, without an optimizer
            trained = YOLO(str(file))
            trained.train(data=data, epochs=1, imgsz=32, batch=4, workers=0, plots=False, val=False, project=str(folder),
                          name="run")
            best = folder / "run" / "weights" / "last.pt"
            model = torch.load(best, map_location="cpu", weights_only=False)
            best.replace(folder / f"{name}.pt")
            model = model.get("ema") or model["model"]
        else:
            model = DetectionModel(str(file), nc=2, verbose=False)
            with torch.no_grad():
                for parameter in model.model[9].parameters():
                    parameter.add_(0.3 * torch.randn_like(parameter))
                for key, buffer in model.named_buffers():
                    if key.endswith(("running_mean", "running_var")):
                        buffer.add_(0.3 * torch.rand_like(buffer))
            model.names, model.args, model.task = {0: "dim", 1: "bright"}, {"imgsz": 64}, "detect"
            torch.save({"epoch": -1, "model": model.half(), "ema": None, "train_args": {"imgsz": 64}}, folder / f"{name}.pt")
        outputs[name] = output(model)
    torch.save(outputs, folder / "outputs.pt")


if __name__ == "__main__":
    main()
