"""The name under which `host/` calls `yolograft.patch.patched`."""

from yolograft.patch import patched as instead

__all__ = ["instead"]
