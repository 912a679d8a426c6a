"""The GPU benchmark where there is no GPU: what it says, and what its rows compute."""

import importlib.util
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lazyarray.backends.simulated import simulated

FILE = Path(__file__).parent.parent / "benchmarks" / "gpu.py"
SMALL = {
    "LARGE": 50,
    "ROWS": (4, 6),
    "SQUARE": 5,
    "SQUARES": [(4, 4)] * 2,
    "SMALL": 10,
    "STEADY": 4,
}


@pytest.fixture(scope="module")
def gpu():
    """The module, with small sizes."""
    spec = importlib.util.spec_from_file_location("gpu_benchmark", FILE)
    found = importlib.util.module_from_spec(spec)
    path = sys.path[:]
    spec.loader.exec_module(found)
    vars(found).update(SMALL, STEADY=4)
    yield found
    sys.path[:] = path


def clock(run):
    begin = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - begin) + 1e-6


def test_without_a_gpu_it_says_so(gpu, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert gpu.main(["--rows", "chain"]) == 2
    assert "no GPU can be used here" in capsys.readouterr().out


def test_every_row_has_a_goal_and_a_program(gpu):
    nets = {f"{net}{batch}" for net in gpu.NETS for batch in (128, 4096)}
    assert set(gpu.GOALS) == {*gpu.PROGRAMS, *nets, "control", "memory"}


@pytest.mark.parametrize(
    "row",
    [
        "chain",
        "black_scholes",
        "softmax",
        "layer_norm",
        "sum0",
        "sum1",
        "matmul",
        "matmul16",
        "small",
    ],
)
def test_programs(gpu, row, capsys):
    ours = gpu.Ours(simulated(0))
    program, data, _ = gpu.PROGRAMS[row]
    runs, nbytes = gpu.prepared(row, {"lazyarray": ours})
    found = runs["lazyarray"]()
    wanted = program(np, *data())
    pairs = zip(found, wanted, strict=True) if isinstance(wanted, tuple) else [(found, wanted)]
    for mine, theirs in pairs:
        close = 0.05 if row == "matmul16" else 1e-4
        mine, theirs = mine.numpy().astype("f8"), np.asarray(theirs).astype("f8")
        np.testing.assert_allclose(mine, theirs, rtol=close, atol=close)
    gpu.show(row, gpu.measure(runs, clock, 2), nbytes, 1e9)
    assert f"{row}: goal" in capsys.readouterr().out


@pytest.mark.parametrize("net", ["mlp", "lenet"])
def test_training_steps(gpu, net, monkeypatch):
    monkeypatch.setattr(gpu, "RATE", 0.01)
    step = gpu.Ours(simulated(0)).step(net, 8)
    losses = [step().item() for _ in range(12)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("net", ["mlp", "lenet"])
def test_the_peers_train_the_same_network(gpu, net):
    torch = pytest.importorskip("torch")
    lane = gpu.Torch(where="cpu")
    sizes = [tuple(p.shape) for p in lane.net(net).parameters()]
    with simulated(0):
        from train_mnist import build

        ours = build(net)
        ours(gpu.Ours(simulated(0)).array(gpu.batch_of(2)[0]))
    assert sorted(map(np.prod, sizes)) == sorted(int(np.prod(p.shape)) for p in ours.parameters())
    step = lane.step(net, 8)
    assert torch.isfinite(step())


@pytest.mark.parametrize("net", ["mlp", "lenet"])
def test_jax_trains_the_same_network(gpu, net):
    pytest.importorskip("jax")
    lane = gpu.Jax("cpu")
    step = lane.step(net, 8)
    assert float(step()) > float([step() for _ in range(10)][-1])


def test_control_and_memory(gpu, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "batch_of", lambda count, real=gpu.batch_of: real(4))
    ours = gpu.Ours(simulated(0))
    gpu.control(ours, 3)
    gpu.memory(ours)
    said = capsys.readouterr().out
    assert said.count(" us") == 2
    assert said.count(" 0 bytes more than") == 2
