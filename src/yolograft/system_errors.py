"""What the system refused a command: disk space, permission, a file, memory; in a sentence with the way on."""

from __future__ import annotations

import errno

from yolograft.language import tr

__all__ = ["explain"]

_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def explain(error: BaseException) -> str | None:
    """Return a sentence about a full disk, a refused or vanished file or missing memory; None for any other error."""
    text = str(error).strip()
    if isinstance(error, OSError) and (error.filename is not None or error.errno in (*_FULL, *_REFUSED, errno.EIO)
                                       or "Image Not Found" in text):  # Ultralytics gives no number
        if error.errno in _FULL:
            return tr("The disk is full: {error}. Free some disk space, then run the same command again. Files that were "
                      "complete are unchanged.", error=error)
        if error.errno in _REFUSED:
            return tr("A file or folder cannot be used: {error}. Change its permissions, or name another folder with "
                      "project= or name=. For the settings of Ultralytics, set YOLO_CONFIG_DIR to a folder that can be "
                      "written.", error=error)
        if isinstance(error, FileNotFoundError):
            return tr("A file does not exist, or was removed while the command ran: {error}. Restore it, then run the same "
                      "command again.", error=error)
        return tr("A file cannot be read or written: {error}", error=error)
    if isinstance(error, RuntimeError) and "PytorchStreamWriter failed" in text:
        return tr("A checkpoint could not be written, as on a full disk: {error}. Earlier checkpoints are unchanged. Free "
                  "some disk space, then run the same command again.",
                  error=text.splitlines()[0][:200])
    if isinstance(error, MemoryError) or "out of memory" in text.lower():
        return tr("Out of memory: {error}. A smaller batch=, a smaller imgsz= or fewer workers= need less.",
                  error=text[:200] or "MemoryError")
    return None
