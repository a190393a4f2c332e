"""Fast training is the same training: what is chosen is said, stock is stock, and nothing of it gets into a checkpoint."""

import csv
import ctypes
import itertools
import os
import platform
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import ultralytics
from torch import Tensor
from ultralytics.utils import NUM_THREADS

from yolograft import YOLO, GraftError
from yolograft.cli import main
from yolograft.fast import select
from yolograft.fast.cpu import assigner_loss, batchnorm_silu, build, nms, upsample
from yolograft.fast.gpu import select as gpu_select
from yolograft.fast.select import Choice

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings
FAST = {"imgsz": 32, "batch": 4, "nbs": 4, "workers": 0, "plots": False, "verbose": False, "close_mosaic": 0}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own: what another measured is not recalled."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setattr(select, "_disturbed", {})
    return folder / "yolograft"


def results(folder: Path) -> list[list[str]]:
    rows = list(csv.reader((folder / "results.csv").read_text().splitlines()))
    timed = [at for at, cell in enumerate(rows[0]) if cell.strip() == "time"]
    return [[cell for at, cell in enumerate(row) if at not in timed] for row in rows]


def test_half_precision_is_close_and_leaves_no_trace() -> None:
    torch.manual_seed(0)
    model = YOLO("yolo11n.yaml", graft="se@8").model.eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        plain = model(x)[0]
        with select.faster(model):
            half = model(x)[0]
        again = model(x)[0]
    assert half.dtype == torch.float32
    assert not torch.equal(half, plain), "nothing ran in bfloat16"
    torch.testing.assert_close(half, plain, atol=0.05 * float(plain.abs().max()), rtol=0.05)
    assert torch.equal(plain, again)
    assert "predict" not in vars(model)
    assert "_inference" not in vars(model.model[-1])


def test_boxes_are_decoded_in_single_precision() -> None:
    model, seen = YOLO("yolo11n.yaml").model.eval(), []
    head = model.model[-1]
    stock = head._inference

    def watched(maps: object) -> Tensor:
        seen.extend(select._tensors(maps))
        seen.append(torch.tensor(float(torch.is_autocast_enabled("cpu"))))
        return stock(maps)

    head._inference = watched
    with torch.no_grad(), select.faster(model):
        model(torch.rand(1, 3, 64, 64))
    *maps, autocast = seen
    assert maps
    assert all(one.dtype == torch.float32 for one in maps)
    assert not autocast


def test_an_error_inside_leaves_no_trace_either() -> None:
    model = YOLO("yolo11n.yaml").model
    with pytest.raises(ZeroDivisionError), select.faster(model):
        _ = 1 / 0
    assert "predict" not in vars(model)


@pytest.mark.parametrize(
    ("seconds", "half", "laid_out"),
    [([1.0, 0.7, 0.4], True, True), ([1.0, 0.5, 0.9], False, True), ([1.0, 0.9, 0.95], False, False),
     ([1.0, 3.0, 2.0], False, False)],
)
def test_the_way_is_chosen_by_measurement(
    monkeypatch: pytest.MonkeyPatch, seconds: list[float], half: bool, laid_out: bool
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(select, "_measured", lambda *args: seconds)
    choice = select.choose(YOLO("yolo11n.yaml").model, 64, 4)
    assert (choice.bfloat16, choice.channels_last) == (half, laid_out)
    assert f"bfloat16 {1 / seconds[2]:.2f}x" in choice.why
    if not laid_out:
        assert choice.threads == torch.get_num_threads()
        assert "too little to leave stock for" in choice.why


def clocks(monkeypatch: pytest.MonkeyPatch, others: float) -> None:
    """Let a second pass at every look at the clocks, during which others use so many cores, and this process one."""
    ticks = itertools.count()
    monkeypatch.setattr(select, "_clocks", lambda: (now := float(next(ticks)), now, now * (1 + others)))


def test_a_host_goes_the_same_way_whatever_the_clock_says_later(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    clocks(monkeypatch, others=0)
    found = iter([[1.0, 0.7, 0.4], [1.0, 2.0, 2.0], [1.0, 0.5, 2.0], [1.0, 0.6, 2.0]])
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(select, "_measured", lambda *args: next(found))
    model = YOLO("yolo11n.yaml").model
    assert select.choose(model, 64, 4).bfloat16
    again = select.choose(YOLO("yolo11n.yaml", graft="se@8").model, 64, 4)
    (file,) = cache.glob("speed-*")
    assert again.bfloat16, "a graft is no other host"
    assert f"delete {file} to measure again" in again.why
    assert not select.choose(model, 96, 4).channels_last, "another size is another question"
    file.write_text("{")
    assert not select.choose(model, 64, 4).bfloat16
    assert select.choose(model, 64, 4).channels_last
    cache.rename(cache.with_name("elsewhere"))
    cache.write_text("no folder")
    assert "not kept, " in select.choose(model, 64, 4).why


def test_what_others_disturbed_is_kept_for_this_process_alone(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    found = iter([[1.0, 0.7, 0.4], [1.0, 2.0, 2.0]])
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(select, "_measured", lambda *args: next(found))
    clocks(monkeypatch, others=(os.cpu_count() or 1) + 0.5)
    model = YOLO("yolo11n.yaml").model
    first = select.choose(model, 64, 4)
    assert first.bfloat16
    assert "not kept, since others used" in first.why
    assert not list(cache.glob("speed-*"))
    again = select.choose(model, 64, 4)
    assert again.bfloat16
    assert "in this process" in again.why
    select._disturbed.clear()  # as in a new process
    clocks(monkeypatch, others=0)
    assert not select.choose(model, 64, 4).channels_last
    assert len(list(cache.glob("speed-*"))) == 1


def test_a_cpu_without_bfloat16_is_not_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    monkeypatch.setattr(select, "_measured", lambda model, imgsz, batch, ways: [1.0, 0.5][: len(ways)])
    model = YOLO("yolo11n.yaml").model
    choice = select.choose(model, 64, 4)
    assert "no bfloat16, since this CPU has no bfloat16" in choice.why
    assert not choice.bfloat16
    with pytest.raises(GraftError, match="this CPU has no bfloat16"):
        select.choose(model, 64, 4, "bfloat16")
    with pytest.raises(GraftError, match="Classify does not decode boxes"):
        select.choose(YOLO("yolo11n-cls.yaml").model, 64, 4, "bfloat16")


def test_what_is_asked_for_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(select, "_measured", lambda *args: 1 / 0)
    model = YOLO("yolo11n.yaml").model
    assert select.choose(model, 64, 4, "bfloat16").bfloat16
    assert not select.choose(model, 64, 4, "float32").bfloat16
    assert not select.choose(model, 64, 4, "stock").channels_last


def test_choosing_leaves_the_model_and_the_random_state_alone() -> None:
    model = YOLO("yolo11n.yaml", graft="se@8").model
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    seconds = select._measured(model, 32, 2, [Choice(1, False, False, ""), Choice(2, True, True, "")])
    assert all(one > 0 for one in seconds)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("argument", ["compile", "distill_model"])
def test_what_stands_around_the_network_is_trained_as_ultralytics_alone_does(
    monkeypatch: pytest.MonkeyPatch, argument: str
) -> None:
    said: list[str] = []
    monkeypatch.setattr(select.LOGGER, "info", said.append)
    trainer = SimpleNamespace(args=SimpleNamespace(**{argument: "teacher.pt"}), choice=None)
    select.begin(trainer)  # and not a word to the network, of which there is none
    assert trainer.choice is None
    assert f"{argument}=teacher.pt" in said[0]
    for mode in ("float32", "bfloat16"):
        with pytest.raises(GraftError, match=f"speed={mode} cannot be with {argument}=teacher.pt"):
            gpu_select.check(mode, {"device": "cpu", argument: "teacher.pt"})
    gpu_select.check("auto", {"device": "cpu", argument: "teacher.pt"})


@pytest.fixture
def half(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU where bfloat16 pays, whatever this one is."""
    monkeypatch.setattr(select, "choose", lambda *args: Choice(1, True, True, "bfloat16, for this test"))


@pytest.mark.usefixtures("half")
def test_the_same_seed_gives_the_same_results_and_a_plain_checkpoint(tiny_set: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        YOLO("yolo11n.yaml").train(data=str(tiny_set), graft="se@8", epochs=2, project=str(tmp_path), name=name, **FAST)
    assert results(tmp_path / "one") == results(tmp_path / "two")
    opened = ultralytics.YOLO(str(tmp_path / "one" / "weights" / "best.pt"))
    assert "predict" not in vars(opened.model)
    assert all(p.is_contiguous() and p.dtype == torch.float32 for p in opened.model.parameters())
    opened.val(data=str(tiny_set), plots=False, imgsz=32, workers=0, project=str(tmp_path), name="v")


def counted(ours: Callable[..., object], name: str, taken: dict[str, int]) -> Callable[..., object]:
    def watched(*args: object, **settings: object) -> object:
        taken[name] += 1
        return ours(*args, **settings)

    return watched


@pytest.mark.usefixtures("half")
@pytest.mark.parametrize("mode", ["bfloat16", "stock"])
def test_a_fast_training_goes_every_quick_way_and_a_stock_one_none(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    taken: dict[str, int] = {}
    for module, name in ((assigner_loss, "assigned"), (upsample, "doubled"), (nms, "suppressed"),
                         (batchnorm_silu, "norm_act"), (batchnorm_silu, "norm_act_")):
        if not module.refused():
            taken[name] = 0
            monkeypatch.setattr(module, name, counted(getattr(module, name), name, taken))
    monkeypatch.setattr(select, "choose", lambda *args: Choice(1, True, True, "", fused=not batchnorm_silu.refused())
                        if mode != "stock" else Choice(1, False, False, ""))
    YOLO("yolo11n.yaml").train(data=str(tiny_set), epochs=1, speed=mode, project=str(tmp_path), name="r", **FAST)
    assert taken
    assert all(count > 0 for count in taken.values()) if mode != "stock" else not any(taken.values()), taken


@pytest.mark.usefixtures("half")
def test_stock_speed_is_stock(tiny_set: Path, tmp_path: Path) -> None:
    stock = ultralytics.YOLO("yolo11n.yaml")
    stock.train(data=str(tiny_set), epochs=2, project=str(tmp_path), name="stock", **FAST)
    for name, mode in (("ours", "stock"), ("fast", "auto")):
        YOLO("yolo11n.yaml").train(data=str(tiny_set), epochs=2, speed=mode, project=str(tmp_path), name=name, **FAST)
    assert results(tmp_path / "ours") == results(tmp_path / "stock")
    assert results(tmp_path / "fast") != results(tmp_path / "stock")


def test_a_typo_is_told(tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "model=yolo11n.yaml", f"data={tiny_set}", "speed=stok"]) == 2
    assert "Did you mean 'stock'" in capsys.readouterr().err
    assert main(["val", "model=yolo11n.yaml", f"data={tiny_set}", "speed=stock"]) == 2
    assert not list(tmp_path.iterdir())
    with pytest.raises(GraftError):
        YOLO("yolo11n.yaml").train(data=str(tiny_set), speed="fast", project=str(tmp_path), **FAST)


def stepped(weights: list[torch.nn.Parameter], fast: bool, last: bool) -> tuple[list[Tensor], list[bool]]:
    torch.manual_seed(1)
    optimizer, seen = torch.optim.AdamW(weights, lr=0.01), list[bool]()
    trainer = SimpleNamespace(choice=Choice(1, True, fast, ""), optimizer=optimizer)
    for _ in range(3):
        for weight in weights:
            gradient = torch.randn(weight.shape)
            weight.grad = gradient.contiguous(memory_format=torch.channels_last) if last else gradient
        with select.stepping(trainer):
            seen.append(bool(optimizer.param_groups[0]["fused"]))
            optimizer.step()
    assert optimizer.state_dict()["param_groups"][0]["fused"] is None
    return [weight.detach() for weight in weights], seen


@pytest.mark.parametrize("last", [True, False])
def test_a_step_in_one_operator_is_the_same_step(last: bool) -> None:
    torch.manual_seed(0)
    start = [torch.randn(shape).contiguous(memory_format=torch.channels_last) for shape in ((8, 4, 3, 3), (8, 4, 1, 1))]
    plain, fast = ([torch.nn.Parameter(one.clone(memory_format=torch.preserve_format)) for one in start] for _ in range(2))
    right, unused = stepped(plain, False, last)
    found, used = stepped(fast, True, last)
    assert not any(unused)
    assert used == [last] * 3, "PyTorch's operator takes for granted that weights and gradients lie alike"
    for one, other in zip(found, right, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


class Picky(torch.optim.SGD):
    """As Ultralytics' MuSGD was in 8.4.0."""

    def step(self, closure: object = None) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                weight.grad.view(len(weight), -1)


@pytest.mark.usefixtures("half")
@pytest.mark.parametrize(("kind", "last"), [(torch.optim.SGD, True), (Picky, False)])
def test_weights_lie_as_their_optimiser_can_step_on_them(kind: type[torch.optim.SGD], last: bool) -> None:
    model = YOLO("yolo11n.yaml").model
    threads = torch.get_num_threads()
    trainer = SimpleNamespace(args=SimpleNamespace(imgsz=64), model=model, batch_size=4, speed="auto",
                              optimizer=kind([one for one in model.parameters() if one.dim() == 4], lr=0.1))
    try:
        select.begin(trainer)
    finally:
        torch.set_num_threads(threads)
    assert trainer.choice.channels_last
    weight = model.model[1].conv.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) == last
    assert weight.is_contiguous() != last


@pytest.mark.usefixtures("half")
@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "MuSGD"])
def test_every_optimiser_trains(tiny_set: Path, tmp_path: Path, optimizer: str) -> None:
    if optimizer == "MuSGD" and ultralytics.__version__ < "8.4":
        pytest.skip("this Ultralytics has no MuSGD")
    YOLO("yolo11n.yaml").train(data=str(tiny_set), epochs=1, project=str(tmp_path), name="r", optimizer=optimizer, **FAST)
    assert len(results(tmp_path / "r")) == 2


@pytest.mark.usefixtures("half")
def test_a_resumed_training_goes_on(tiny_set: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(trainer: object) -> None:
        if trainer.epoch == 0:  # type: ignore[attr-defined]
            raise Stop

    model = YOLO("yolo11n.yaml", graft="se@8")
    model.add_callback("on_model_save", stop)
    with pytest.raises(Stop):
        model.train(data=str(tiny_set), epochs=2, project=str(tmp_path), name="r", speed="bfloat16", **FAST)
    again = YOLO(str(tmp_path / "r" / "weights" / "last.pt"))
    again.train(resume=True)
    assert len(results(tmp_path / "r")) == 3
    assert again.trainer.choice.bfloat16
    assert "forward" not in vars(again.trainer.ema.ema.model[0])


def test_a_validation_leaves_no_trace() -> None:
    model = YOLO("yolo11n.yaml").model.eval()
    loader = object()
    choice = Choice(1, True, True, "", fused=not batchnorm_silu.refused())
    trainer = SimpleNamespace(choice=choice, twin=None, batches_kept=None,
                              ema=SimpleNamespace(ema=model), validator=SimpleNamespace(
                                  dataloader=loader, args=SimpleNamespace(task="detect", multi_scale=0.0),
                                  preprocess=lambda batch: {**batch, "img": batch["img"] / 255}))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x, found = torch.rand(1, 3, 64, 64), []
    for _ in range(2):  # the second time in the copy of the first
        with torch.no_grad(), select.evaluated(trainer):
            assert trainer.ema.ema is not model
            assert trainer.validator.dataloader is trainer.batches_kept
            pictures = trainer.validator.preprocess({"img": torch.ones(1, 3, 8, 8, dtype=torch.uint8)})["img"]
            assert pictures.dtype == torch.float32
            found.append(trainer.ema.ema(x)[0])
        assert trainer.ema.ema is model
        assert trainer.validator.dataloader is loader
        assert trainer.validator.preprocess({"img": torch.ones(1, 3, 8, 8, dtype=torch.uint8)})["img"].dtype == torch.float32
        assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
        assert not any("forward" in vars(module) for module in (*model.modules(), *trainer.twin.modules()))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter *= 1.1
        before = {key: value.clone() for key, value in model.state_dict().items()}
    assert not torch.equal(*found), "the second is of the weights as they are now"


@pytest.mark.parametrize(("owner", "name", "value"), [
    (build, "cpu", lambda: "another CPU"), (torch, "__version__", "9.9"), (ultralytics, "__version__", "9.9"),
    (select, "__version__", "9.9")])
@pytest.mark.usefixtures("cache")
def test_another_cpu_or_version_is_measured_again(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, value: object
) -> None:
    clocks(monkeypatch, others=0)
    measured: list[int] = []
    monkeypatch.setattr(select, "_measured", lambda *args: measured.append(1) or [1.0, 0.5, 0.4][: len(args[3])])
    model = YOLO("yolo11n.yaml").model
    for _ in range(2):
        select.choose(model, 64, 4)
    assert len(measured) == 1
    monkeypatch.setattr(owner, name, value)
    select.choose(model, 64, 4)
    assert len(measured) == 2


def test_a_choice_kept_from_another_cpu_goes_on_without_the_fused_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(select.LOGGER, "info", said.append)
    monkeypatch.setattr(batchnorm_silu, "refused", lambda: "this CPU has no AVX512-BF16")
    model = YOLO("yolo11n.yaml").model
    trainer = SimpleNamespace(args=SimpleNamespace(imgsz=64), model=model, batch_size=4, speed="auto",
                              kept=Choice(1, True, True, "kept", fused=True),
                              optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    with select.keep_threads():
        select.begin(trainer)
    assert trainer.choice == Choice(1, True, True, "kept", fused=False)
    assert "This machine runs them as two, since this CPU has no AVX512-BF16" in said[0]
    with select.trained(trainer):
        assert torch.isfinite(select._tensors(model.train()(torch.rand(2, 3, 32, 32)))[0]).all()


class Blocks(ctypes.Structure):
    """glibc's `struct mallinfo`."""

    _fields_ = [(name, ctypes.c_int) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks",
                                                  "uordblks", "fordblks", "keepcost")]


def mapped() -> bool:
    """Return whether glibc takes a large block from the system by itself, as it does by default."""
    libc = ctypes.CDLL(None)
    libc.mallinfo.restype, libc.malloc.restype, libc.malloc.argtypes = Blocks, ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    before = libc.mallinfo().hblks
    block = libc.malloc(2**31)  # larger than any block that is free in the heap
    after = libc.mallinfo().hblks
    libc.free(block)
    return bool(after > before)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc")
@pytest.mark.parametrize("error", [None, ZeroDivisionError, KeyboardInterrupt])
def test_memory_is_given_back_on_every_path(error: type[BaseException] | None) -> None:
    with nullcontext() if error is None else pytest.raises(error), select.keep_memory():
        assert not mapped()
        with select.keep_memory():
            pass
        assert not mapped(), "the outer one still holds"
        if error:
            raise error
    assert mapped()


@pytest.mark.usefixtures("half")
def test_a_training_gives_threads_back_though_it_is_interrupted(tiny_set: Path, tmp_path: Path) -> None:
    model, seen = YOLO("yolo11n.yaml"), []

    def interrupt(trainer: object) -> None:
        seen.append((torch.get_num_threads(), mapped()))
        raise KeyboardInterrupt

    model.add_callback("on_train_epoch_start", interrupt)
    with select.keep_threads():
        torch.set_num_threads(2)
        with pytest.raises(KeyboardInterrupt):
            model.train(data=str(tiny_set), epochs=1, project=str(tmp_path), name="r", **FAST)
        assert seen == [(1, False)]
        assert torch.get_num_threads() == NUM_THREADS, "what Ultralytics had set when the training began"
        assert mapped()


@pytest.mark.parametrize("error", [None, ZeroDivisionError, KeyboardInterrupt])
def test_the_number_of_threads_is_restored(error: type[BaseException] | None) -> None:
    before = torch.get_num_threads()
    try:
        with nullcontext() if error is None else pytest.raises(error), select.keep_threads():
            torch.set_num_threads(before + 1)
            if error:
                raise error
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(before)


def test_an_interrupted_training_restores_the_number_of_threads(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = NUM_THREADS + 1  # with the number that Ultralytics sets, a training that restores nothing would pass
    monkeypatch.setattr(select, "choose", lambda *args: Choice(more, True, True, "more threads, for this test"))
    model, seen = YOLO("yolo11n.yaml"), []

    def interrupt(trainer: object) -> None:
        seen.append(torch.get_num_threads())
        raise KeyboardInterrupt

    model.add_callback("on_train_epoch_start", interrupt)
    before = torch.get_num_threads()
    try:
        with pytest.raises(KeyboardInterrupt):
            model.train(data=str(tiny_set), epochs=1, project=str(tmp_path), name="r", **FAST)
        assert seen == [more]
        assert torch.get_num_threads() == NUM_THREADS
    finally:
        torch.set_num_threads(before)


def test_measuring_restores_the_number_of_threads() -> None:
    before = torch.get_num_threads()
    try:
        select._measured(YOLO("yolo11n.yaml").model, 32, 2, [Choice(before + 1, False, False, "")])
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(before)
