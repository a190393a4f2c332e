"""Description of this machine, for the record of a study and for the protocol of its latencies."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

__all__ = ["hardware", "processor"]


def processor() -> str:
    """Return the name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux
        return platform.processor() or platform.machine()


def hardware() -> dict[str, str]:
    """Return a description of this machine: CPU, GPUs, system and Python version."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"cpu": f"{processor()}, {os.cpu_count()} cores", "gpu": ", ".join(gpus) or "none",
            "system": platform.platform(), "python": platform.python_version()}
