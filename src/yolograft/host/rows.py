"""Model YAML files as they come: stock, or hand-edited with attention rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultralytics.nn.tasks import yaml_model_load

__all__ = ["model_config"]


def model_config(path: str | Path) -> dict[str, Any]:
    """Load a model YAML."""
    return yaml_model_load(path)
