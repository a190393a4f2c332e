"""What stood in is gone afterwards, and what was there, or was inherited, is back: whoever the owner is."""

from types import ModuleType

import pytest
from torch import nn

from yolograft.host.instead import instead


class Parent:
    def said(self) -> str:
        return "parent"


class Child(Parent):
    pass


def test_what_was_inherited_is_inherited_again() -> None:
    one = Child()
    with instead((Child, "said", lambda self: "class"), (one, "said", lambda: "object")):
        assert (one.said(), Child().said()) == ("object", "class")
    assert one.said() == "parent"
    assert "said" not in vars(Child)
    assert not vars(one)


def test_what_an_owner_had_itself_is_back_though_it_fails_inside() -> None:
    module, layer, stock, own = ModuleType("some"), nn.Identity(), Parent.said, abs
    module.value, layer.forward = 1, own
    given = (module, "value", 2), (layer, "forward", float), (Parent, "said", None)
    with instead(*given):
        assert (module.value, layer(-3), Parent.said) == (2, -3.0, None)
    with pytest.raises(ZeroDivisionError), instead(*given):
        _ = 1 / 0
    assert module.value == 1
    assert vars(layer)["forward"] is own
    assert Parent.said is stock


def test_they_nest() -> None:
    one = Child()
    with instead((one, "said", lambda: "outer")):
        with instead((one, "said", lambda: "inner")):
            assert one.said() == "inner"
        assert one.said() == "outer"
    assert one.said() == "parent"
