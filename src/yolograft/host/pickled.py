"""Read a `.pt` file without running its code: its tensors, its plain values, and the names of the classes in it.

A pickle names classes and functions, and a stock reader imports and calls them. Here every name becomes a `Record`, an empty
class that only keeps what the pickle gives it. Only tensors and a few plain containers of Python are real. So a file of a
fork opens without the fork, and a malicious file runs nothing.

The file format is PyTorch's since 1.6: a zip archive with `data.pkl` and one member per storage.
"""

from __future__ import annotations

import pickle
import struct
import sys
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from yolograft.errors import HostError
from yolograft.language import tr

__all__ = ["ERRORS", "Call", "Opened", "Record", "children", "class_names", "open_pickle", "state_of", "walk"]

_DTYPES = {
    "FloatStorage": torch.float32, "HalfStorage": torch.float16, "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64, "LongStorage": torch.int64, "IntStorage": torch.int32, "ShortStorage": torch.int16,
    "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}
_CONTAINERS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict, ("collections", "Counter"): Counter, ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset, ("builtins", "slice"): slice, ("torch", "Size"): torch.Size,
    ("__builtin__", "set"): set, ("__builtin__", "frozenset"): frozenset,
}
# What pickle, zipfile and PyTorch raise for a file that is damaged, or made to do damage.
ERRORS = (pickle.UnpicklingError, EOFError, KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError,
          RuntimeError, OSError, RecursionError, UnicodeError, NotImplementedError, MemoryError, struct.error)
_MEMORY = 4  # bytes of memory for each byte of the file: float16 becomes float32, and the model is built beside the tensors
_MAX_KEY = 100  # values in a tuple that is a key; keys of checkpoints are texts and numbers
_MAX_SKIPPED = 10_000  # numbers of the memo
_MAX_PICKLE = 256 * 2**20  # bytes of data.pkl; those of YOLO models have less than 1 MiB


@dataclass(frozen=True)
class Call:
    """One call that a pickle makes.

    Attributes:
        path: the module and the name of the function or class; with () if it is the result of another call.
        args: the arguments. Names of classes and functions are subclasses of `Record`.
    """

    path: str
    args: tuple[Any, ...]


class Record:
    """What a pickle says of one object: the name of its class, and its state.

    Attributes:
        path: the module and the name of its class, with a dot between them.
        calls: where the pickle's calls are noted.
        state: the attributes.
        items: the items of a dict's subclass.
    """

    path = ""
    calls: list[Call] = []

    def __new__(cls, *args: Any, **kwargs: Any) -> Record:
        """Make an empty record, from whatever arguments the pickle has."""
        made = super().__new__(cls)
        made.__dict__.update(state={}, items={}, elements=[])
        if args or kwargs:  # an object of a class is made without arguments, and gets its state afterwards
            cls.calls.append(Call(cls.path, args))
        return made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Note the call. pickle calls a class or a function; it makes an object of a class without this."""
        if not (args or kwargs):
            self.calls.append(Call(self.path, args))

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.state.update(part)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def __call__(self, *args: Any, **kwargs: Any) -> Record:
        """Return an empty record where the pickle would call this object, and note the call."""
        self.calls.append(Call(f"{self.path}()", args))
        return Record.__new__(type(self))

    def append(self, value: Any) -> None:
        """Keep one element of a list's subclass."""
        self.elements.append(value)

    def extend(self, values: Any) -> None:
        """Keep several elements of a list's subclass."""
        self.elements.extend(values)

    def add(self, value: Any) -> None:
        """Keep one element of a set's subclass."""
        self.elements.append(value)

    state: dict[str, Any]
    items: dict[Any, Any]
    elements: list[Any]


@dataclass(frozen=True)
class Opened:
    """The content of a file.

    Attributes:
        value: the pickled object. Objects of classes are `Record`s.
        names: the (module, name) of every class and function that the pickle names.
        calls: every call of one of them.
    """

    value: Any
    names: set[tuple[str, str]] = field(default_factory=set)
    calls: list[Call] = field(default_factory=list)


@dataclass(frozen=True)
class _Storage:
    data: Tensor
    dtype: torch.dtype


_PythonUnpickler: Any = vars(pickle)["_Unpickler"]  # the unpickler in Python; the stubs of some versions lack it


class _Unpickler(_PythonUnpickler):
    """An unpickler for which every name is a `Record`, except for tensors and plain containers.

    It is the standard library's own in Python, which is slower than that in C (0.1 s for a YOLO model), and can be stopped:
    a few bytes make the one in C fill all memory (a high number of a memo) or run for years (nested tuples as a key, whose
    hash visits each of them twice).
    """

    dispatch = _PythonUnpickler.dispatch.copy()

    def __init__(self, file: Any, load_storage: Callable[[str, torch.dtype, int], Tensor]) -> None:
        super().__init__(file, encoding="utf-8")
        self._load_storage = load_storage
        self._records: dict[tuple[str, str], type[Record]] = {}
        self.names: set[tuple[str, str]] = set()
        self.calls: list[Call] = []

    def find_class(self, module: str, name: str, /) -> Any:
        """Return a container, a function that rebuilds tensors, or a class of `Record`. Nothing is imported."""
        key = (module, name)
        if key in _CONTAINERS:
            return _CONTAINERS[key]
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if key in (("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor")):
            return _rebuild_tensor
        if module == "torch._utils" and name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
            return _first
        self.names.add(key)
        if key not in self._records:
            self._records[key] = type("Record", (Record,), {"path": f"{module}.{name}", "calls": self.calls})
        return self._records[key]

    def persistent_load(self, pid: Any, /) -> _Storage:
        """Return the storage of a tensor."""
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or not isinstance(pid[1], torch.dtype) \
                or not isinstance(pid[2], str) or not isinstance(pid[4], int) or isinstance(pid[4], bool):
            raise pickle.UnpicklingError(tr("a storage of an unknown kind"))
        return _Storage(self._load_storage(pid[2], pid[1], pid[4]), pid[1])


def _count(value: Any, most: int) -> int:
    """Return how many values a hash of this one visits, up to `most`. Tuples can contain one tuple many times."""
    count, todo = 0, [value]
    while todo and count <= most:
        one = todo.pop()
        count += 1
        if isinstance(one, (tuple, frozenset)):
            todo.extend(one)
    return count


def _check_key(value: Any) -> None:
    if isinstance(value, (tuple, frozenset)) and _count(value, _MAX_KEY) > _MAX_KEY:
        raise pickle.UnpicklingError(tr("a key of more than {most} values", most=_MAX_KEY))


def _before(code: bytes, check: Callable[[Any], None]) -> None:
    """Let the unpickler call `check` before the operation of this code."""
    stock = _PythonUnpickler.dispatch[code[0]]

    def load(unpickler: Any) -> None:
        check(unpickler)
        stock(unpickler)

    _Unpickler.dispatch[code[0]] = load


def _check_top_key(unpickler: Any) -> None:
    _check_key(unpickler.stack[-2])


def _check_keys(unpickler: Any) -> None:
    for key in unpickler.stack[::2]:
        _check_key(key)


def _check_elements(unpickler: Any) -> None:
    for element in unpickler.stack:
        _check_key(element)


def _check_call(unpickler: Any) -> None:
    """Check what a set or a dict is made of, where the pickle calls its class."""
    arguments, function = unpickler.stack[-1], unpickler.stack[-2]
    if not isinstance(function, type) or function not in _HASHING:
        return
    for argument in arguments if isinstance(arguments, tuple) else ():
        for element in argument if isinstance(argument, (list, tuple, set, frozenset, dict)) else (argument,):
            _check_key(element)


def _put(unpickler: Any) -> None:
    """Do what LONG_BINPUT does, if its number is near those before: the reader in C allocates as many places."""
    at = int.from_bytes(unpickler.read(4), "little")
    _check_memo(unpickler, at)
    unpickler.memo[at] = unpickler.stack[-1]


def _put_text(unpickler: Any) -> None:
    """Do what PUT does: as LONG_BINPUT, with a number in text."""
    at = int(unpickler.readline()[:-1])
    _check_memo(unpickler, at)
    unpickler.memo[at] = unpickler.stack[-1]


def _check_memo(unpickler: Any, at: int) -> None:
    if not 0 <= at <= len(unpickler.memo) + _MAX_SKIPPED:
        raise pickle.UnpicklingError(tr("value {number} of the memo, with {count} before it", number=at,
                                        count=len(unpickler.memo)))


def _refuse_bytearray(unpickler: Any) -> None:
    raise pickle.UnpicklingError(tr("a bytearray, which no checkpoint has"))  # Python allocates it before it reads it


_Unpickler.dispatch[pickle.BYTEARRAY8[0]] = _refuse_bytearray
_Unpickler.dispatch[pickle.LONG_BINPUT[0]] = _put
_Unpickler.dispatch[pickle.PUT[0]] = _put_text
_HASHING = (set, frozenset, OrderedDict, Counter)
for _code, _check in ((pickle.SETITEM, _check_top_key), (pickle.SETITEMS, _check_keys), (pickle.DICT, _check_keys),
                      (pickle.ADDITEMS, _check_elements), (pickle.FROZENSET, _check_elements),
                      (pickle.REDUCE, _check_call)):
    _before(_code, _check)


def open_pickle(path: str | Path, *, tensors: bool = True) -> Opened:
    """Read a file that `torch.save` wrote, without running code from it.

    Args:
        path: the file.
        tensors: whether to read the tensors' values. Without them, every tensor is on the `meta` device.

    Raises:
        HostError: the file does not exist, is damaged, is of another format, or needs more memory than there is.
    """
    file = Path(path)
    if not file.is_file():
        raise HostError(tr("'{path}' does not exist.", path=path))
    try:
        with zipfile.ZipFile(file) as archive:
            return _read(archive, file, tensors)
    except zipfile.BadZipFile as error:
        raise HostError(tr("'{path}' is not a checkpoint of PyTorch 1.6 or newer, or it is incomplete: {error}.", path=path,
                           error=str(error).rstrip("."))) from error
    except ERRORS as error:
        if isinstance(error, HostError):
            raise
        raise HostError(tr("'{path}' is damaged or is no checkpoint: {error}.", path=path,
                           error=f"{type(error).__name__}: {error}".rstrip("."))) from error


def _read(archive: zipfile.ZipFile, file: Path, tensors: bool) -> Opened:
    members = {info.filename: info for info in archive.infolist()}
    pickled = next((name for name in members if name.endswith("/data.pkl") and name.count("/") == 1), None)
    if pickled is None:
        raise HostError(tr("'{path}' is a zip file without PyTorch's data.pkl, so it is no checkpoint.", path=file))
    folder = pickled[: -len("data.pkl")]
    if f"{folder}constants.pkl" in members:
        raise HostError(tr("'{path}' is an exported TorchScript model. Name the checkpoint that it was exported from.",
                           path=file))
    order = archive.read(f"{folder}byteorder").decode() if f"{folder}byteorder" in members else sys.byteorder
    if order != sys.byteorder:
        raise HostError(tr("'{path}' was written on a machine with another byte order.", path=file))
    _check_sizes(members, pickled, file, tensors)
    storages: dict[str, Tensor] = {}

    def load_storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
        if not tensors:
            stored = members.get(f"{folder}data/{key}")
            size = torch.empty(0, dtype=dtype).element_size()
            if stored is None or stored.file_size != count * size:
                raise pickle.UnpicklingError(tr("the storage {key} has {found} bytes and not {expected}", key=key,
                                                found=stored.file_size if stored else 0, expected=count * size))
            return torch.empty(max(count, 0), dtype=dtype, device="meta")
        if key not in storages:
            data = archive.read(f"{folder}data/{key}")
            storages[key] = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(
                0, dtype=torch.uint8)
        size = torch.empty(0, dtype=dtype).element_size()
        if storages[key].numel() != count * size:
            raise pickle.UnpicklingError(tr("the storage {key} has {found} bytes and not {expected}", key=key,
                                            found=storages[key].numel(), expected=count * size))
        return storages[key].view(dtype) if count else torch.empty(0, dtype=dtype)

    with archive.open(pickled) as stream:
        reader = _Unpickler(stream, load_storage)
        return Opened(reader.load(), reader.names, reader.calls)


def _check_sizes(members: dict[str, zipfile.ZipInfo], pickled: str, file: Path, tensors: bool) -> None:
    if members[pickled].file_size > _MAX_PICKLE:
        raise HostError(tr("'{path}' has a description of its objects of {size:.0f} MiB, which no YOLO model has.",
                           path=file, size=members[pickled].file_size / 2**20))
    # PyTorch does not compress; a compressed member could fill the memory from a small file
    if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
        raise HostError(tr("'{path}' has compressed members, which PyTorch does not write. Unpack it, if it is an archive "
                           "with a "
                           "checkpoint inside.", path=file))
    needed = _MEMORY * sum(info.file_size for info in members.values()) if tensors else 0
    available = psutil.virtual_memory().available
    if needed > available:
        raise HostError(tr("'{path}' needs about {needed:.1f} GB of memory, and {available:.1f} GB are free.", path=file,
                           needed=needed / 1e9, available=available / 1e9))


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError(tr("a tensor without a storage"))
    view = torch.as_strided(storage.data, tuple(size), tuple(stride), offset)
    if view.numel() > storage.data.numel():
        raise pickle.UnpicklingError(tr("a tensor that is larger than its storage"))
    return view if storage.data.is_meta else view.clone(memory_format=torch.contiguous_format)


def _first(value: Any, *_: Any) -> Any:
    return value


def children(record: Record) -> dict[str, Record]:
    """Return the child modules of a pickled `nn.Module`, by name."""
    found = record.state.get("_modules")
    return {str(key): value for key, value in found.items() if isinstance(value, Record)} if isinstance(found, dict) else {}


def walk(record: Record, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Record]]:
    """Give a pickled module and all modules below it, with their dotted names, in the order of `named_modules`."""
    if depth > 100:
        raise HostError(tr("The checkpoint's modules are nested more than 100 deep, or contain each other."))
    yield prefix, record
    for name, child in children(record).items():
        yield from walk(child, f"{prefix}.{name}" if prefix else name, depth + 1)


def state_of(record: Record) -> dict[str, Tensor]:
    """Return the state dict of a pickled module, in the order of `state_dict`."""
    found: dict[str, Tensor] = {}
    for prefix, module in walk(record):
        skipped = module.state.get("_non_persistent_buffers_set")
        for kind in ("_parameters", "_buffers"):
            table = module.state.get(kind)
            for name, value in table.items() if isinstance(table, dict) else ():
                if isinstance(value, Tensor) and not (kind == "_buffers" and isinstance(skipped, set) and name in skipped):
                    found[f"{prefix}.{name}" if prefix else str(name)] = value
    return found


def class_names(path: str | Path) -> set[tuple[str, str]]:
    """Return the (module, name) of every class and function that a `.pt` file names. Raises `HostError`."""
    return open_pickle(path, tensors=False).names
