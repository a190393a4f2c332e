"""The Ultralytics side: the one room (with those that use it) that touches Ultralytics' internals.

Importing it registers nothing and patches nothing: grafted models, trainers and `YOLO` are subclasses.
"""

from __future__ import annotations

from yolograft.host.yolo import YOLO

__all__ = ["YOLO"]
