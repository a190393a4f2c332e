"""A replaced attribute shows the newest active replacement, and its original comes back when none is left."""

import threading
from contextlib import ExitStack
from itertools import permutations
from types import ModuleType
from typing import Any

import pytest

from yolograft import patch
from yolograft.patch import patched


class Parent:
    value: Any = "parent"


class Child(Parent):
    pass


def _owners() -> dict[str, tuple[Any, Any]]:
    """Return owners with what they show at first: with an attribute of their own, and with an inherited one."""
    module, one = ModuleType("some"), Parent()
    module.value, one.value = "module", "own"  # type: ignore[attr-defined]
    return {"class": (Parent, "parent"), "subclass": (Child, "parent"), "module": (module, "module"),
            "instance": (one, "own"), "bare instance": (Child(), "parent")}


ORDERS = sorted(set(permutations("AABBCC")))  # the first of each letter enters, the second leaves


@pytest.mark.parametrize("kind", list(_owners()))
def test_every_order_of_entering_and_leaving_three(kind: str) -> None:
    owner, original = _owners()[kind]
    before = dict(vars(owner))
    for order in ORDERS:
        active: dict[str, Any] = {}
        for name in order:
            if name in active:
                active.pop(name).__exit__(None, None, None)
            else:
                active[name] = patched((owner, "value", name))
                active[name].__enter__()
            assert owner.value == (list(active)[-1] if active else original), order
        assert dict(vars(owner)) == before, order
    assert not patch._ATTRIBUTES


def test_the_same_replacement_can_be_nested() -> None:
    def once() -> Any:
        return patched((Child, "value", "same"), (Child, "value", "newer"))

    with once():
        with once():
            assert Child.value == "newer"
        assert Child.value == "newer"
    assert "value" not in vars(Child)


class Refusing:
    """An object that refuses to set `c`."""

    a = b = c = d = e = 0

    def __init__(self, error: type[BaseException]) -> None:
        vars(self)["error"] = error

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "c":
            raise self.error  # type: ignore[attr-defined]
        super().__setattr__(name, value)


@pytest.mark.parametrize("error", [AttributeError, KeyboardInterrupt])
def test_a_failed_replacement_undoes_the_earlier_ones(error: type[BaseException]) -> None:
    one = Refusing(error)
    with pytest.raises(error), patched(*((one, name, 1) for name in "abcde")):
        pytest.fail("entered")
    assert vars(one) == {"error": error}
    assert not patch._ATTRIBUTES


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_exception_in_the_block_restores_all_attributes(error: type[BaseException]) -> None:
    with pytest.raises(error), patched((Parent, "value", 1), (Child, "value", 2)):
        raise error
    assert (Parent.value, Child.value) == ("parent", "parent")
    assert "value" not in vars(Child)


class Interrupted:
    """An object on which the first attempt to put `a` back meets Ctrl-C, and every attempt on `b` fails."""

    def __init__(self) -> None:
        vars(self).update(a=0, b=0, c=0, tries=0)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "a" and value == 0 and not self.tries:  # type: ignore[has-type]
            vars(self)["tries"] = 1
            raise KeyboardInterrupt
        if name == "b" and value == 0:
            raise RuntimeError("b stays")
        super().__setattr__(name, value)


def test_ctrl_c_during_the_restoring_does_not_stop_it() -> None:
    one = Interrupted()
    with pytest.raises(KeyboardInterrupt), patched((one, "c", 1), (one, "a", 1)):
        pass
    assert vars(one) == {"a": 0, "b": 0, "c": 0, "tries": 1}


def test_an_attribute_that_cannot_be_restored_does_not_keep_the_others() -> None:
    one = Interrupted()
    with pytest.raises(RuntimeError, match="b stays"), patched((one, "c", 1), (one, "b", 1)):
        pass
    assert one.c == 0  # type: ignore[attr-defined]
    patch._ATTRIBUTES.clear()


def test_overlapping_threads_leave_no_replacement() -> None:
    start, wrong = threading.Barrier(8), []

    def work(number: int) -> None:
        start.wait()
        for turn in range(300):
            with ExitStack() as stack:
                for _ in range(1 + turn % 3):
                    stack.enter_context(patched((Child, "value", number)))
                if Child.value == "parent":
                    wrong.append((number, turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert "value" not in vars(Child)
    assert not patch._ATTRIBUTES


def test_overlapping_launches_restore_the_module() -> None:
    from ultralytics.engine import trainer, tuner

    from yolograft.host.subprocesses import patch_subprocess

    module: Any = tuner if hasattr(tuner, "subprocess") else trainer  # which of them launches depends on the version
    stock = module.subprocess
    first, second = patch_subprocess(graft="se@8"), patch_subprocess(graft="eca@8")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert module.subprocess._extra == ["graft=eca@8"]
    second.__exit__(None, None, None)
    assert module.subprocess is stock
