"""A safetensors file contains the complete grafted model, and opening it runs no code."""

import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from yolograft import checkpoint, graft, prune
from yolograft.attach import grafted
from yolograft.errors import GraftError


def host() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())


@pytest.fixture
def saved(tmp_path: Path) -> tuple[nn.Module, Path]:
    model = graft(host(), "se(ratio=2, init=paper)@1 + eca@2")
    return model, checkpoint.save(model, tmp_path / "deep" / "model.pt", facts={"note": "kept"})


def test_load_restores_the_saved_model(saved: tuple[nn.Module, Path]) -> None:
    model, file = saved
    assert file.name == "model.safetensors"
    other = checkpoint.load(host(), file)
    x = torch.rand(2, 3, 9, 9)
    assert torch.equal(model.eval()(x), other.eval()(x))
    assert grafted(other) == grafted(model)
    assert checkpoint.read(file).facts["note"] == "kept"
    assert not list(file.parent.glob("*.part"))


def test_a_mismatched_file_leaves_the_host_unchanged(saved: tuple[nn.Module, Path]) -> None:
    _, file = saved
    wide = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU())
    before = {key: value.clone() for key, value in wide.state_dict().items()}
    with pytest.raises(GraftError, match=r"0\.weight is \(8, 3, 3, 3\) in the file and \(16, 3, 3, 3\) in the host"):
        checkpoint.load(wide, file)
    assert not grafted(wide)
    assert all(torch.equal(before[key], value) for key, value in wide.state_dict().items())
    with pytest.raises(GraftError, match="is grafted already"):
        checkpoint.load(graft(host(), "eca@1"), file)


def test_shared_tensors_survive_saving_and_loading(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))
    model[1].weight = model[0].weight
    file = checkpoint.save(model, tmp_path / "tied")
    twin = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))
    checkpoint.load(twin, file)
    assert torch.equal(twin[1].weight, model[0].weight)


def test_the_error_for_a_missing_file_suggests_a_similar_name(saved: tuple[nn.Module, Path]) -> None:
    with pytest.raises(GraftError, match=r"Did you mean 'model\.safetensors'"):
        checkpoint.read(saved[1].with_name("modle.safetensors"))


def test_an_unwritable_path_raises_and_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(GraftError, match="cannot be written"):
        checkpoint.save(host(), tmp_path / "file" / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=64), st.booleans())
def test_arbitrary_bytes_raise_a_graft_error(tmp_path_factory: pytest.TempPathFactory, noise: bytes, header: bool) -> None:
    file = tmp_path_factory.mktemp("noise") / "x.safetensors"
    text = json.dumps({"__metadata__": {"graft": "se@"}, "a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}})
    file.write_bytes(struct.pack("<Q", len(text)) + text.encode() + noise if header else noise)
    with pytest.raises(GraftError):
        checkpoint.load(host(), file)


def test_pruning_a_loaded_model_gives_the_host(saved: tuple[nn.Module, Path]) -> None:
    model, file = saved
    other = prune(checkpoint.load(host(), file))
    x = torch.rand(1, 3, 5, 5)
    assert torch.equal(prune(model).eval()(x), other.eval()(x))
