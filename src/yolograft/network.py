"""Which of the unasked connections and installations of Ultralytics and its runtimes are allowed: four switches, all off.

Ultralytics installs missing packages with pip, sends usage events, asks PyPI for a newer version, and downloads fonts and
the weights of a self-test. ONNX Runtime, OpenVINO and Ray send usage events as well. Here the user allows each of them with
an environment variable. Nothing in the user's Ultralytics settings file is changed. `host/unasked.py` applies the switches
while a model works.
"""

from __future__ import annotations

import os

__all__ = ["ASSETS", "INSTALL", "TELEMETRY", "UPDATE_CHECK", "is_allowed", "prepare"]

INSTALL = "YOLOGRAFT_ALLOW_INSTALL"  # pip, and the package manager of the system, for a missing package
TELEMETRY = "YOLOGRAFT_ALLOW_TELEMETRY"  # usage events of Ultralytics (and Sentry in older versions) and of runtimes
UPDATE_CHECK = "YOLOGRAFT_ALLOW_UPDATE_CHECK"  # the question to PyPI whether there is a newer version
ASSETS = "YOLOGRAFT_ALLOW_ASSETS"  # fonts, weights, data, images and tools that no argument names


def is_allowed(switch: str) -> bool:
    """Whether the environment variable `switch` is 1 or true. Other rooms ask about switches of their own with it."""
    return os.environ.get(switch, "").lower() in ("1", "true")


def prepare() -> None:
    """Set the variables that Ultralytics, ONNX Runtime and Ray read when they start, unless the user has set them.

    Without YOLO_OFFLINE, the import itself opens a connection in order to learn whether there is a network. ONNX Runtime
    (from 1.29 on) and Ray send usage events by default. The variables are also those of the processes of a study and of a
    training on several GPUs.
    """
    if not is_allowed(TELEMETRY):
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not is_allowed(INSTALL):
        os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    if not any(map(is_allowed, (INSTALL, TELEMETRY, UPDATE_CHECK))):  # Ultralytics does all three only when it is online
        os.environ.setdefault("YOLO_OFFLINE", "true")
