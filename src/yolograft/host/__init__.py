"""Grafted Ultralytics models: `YOLO`, trainers, checkpoints and subprocesses.

Importing this package registers nothing and patches nothing. Grafted models, trainers and `YOLO` are subclasses of
Ultralytics' own classes.
"""

from __future__ import annotations

from yolograft.host.yolo import YOLO

__all__ = ["YOLO"]
