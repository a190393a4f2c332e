"""What the system refused a command: disk space, permission, a file, memory; in a sentence with the way on."""

from __future__ import annotations

import errno
import traceback

from yolograft.language import tr

__all__ = ["explain"]

_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def explain(error: BaseException) -> str | None:
    """Return a sentence about a full disk, a refused, vanished or too large file, or missing memory; otherwise None."""
    text = str(error).strip()
    if "validateInputImageSize" in text:  # a cv2.error; this module does not import OpenCV
        return tr("An image is larger than OpenCV reads (2^30 pixels, 2^20 in a side): {file}. Remove it, or save it "
                  "smaller.", file=_image_of(error) or text)
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


def _image_of(error: BaseException) -> str:
    """Return the file that was being read when an error was raised; OpenCV's error does not have it.

    It is the local variable `filename` or `path` of a function of Ultralytics (8.3.0: `LoadImagesAndVideos.__next__`).
    """
    found = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for name in ("filename", "path"):
            if isinstance(value := frame.f_locals.get(name), str) and "ultralytics" in frame.f_code.co_filename:
                found = value
    return found
