"""Whole training steps: one plan each, the same bits however they run, float32; the example."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lazyarray._handle import storage_node

import lazyarray as la
from lazyarray import _ir, autograd, nn, optim

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "train_mnist.py"


def batches(count, size=16):
    rng = np.random.default_rng(7)
    for _ in range(count):
        labels = rng.integers(0, 10, size)
        images = rng.normal(size=(size, 12, 12, 1)) + labels[:, None, None, None] / 5
        yield la.array(images.astype(np.float32)), la.array(labels)


def small_lenet():
    return nn.Sequential(
        nn.Conv2D(4, 3, activation="relu"), nn.MaxPool2D(2), nn.BatchNorm(), nn.Dropout(0.2),
        nn.Flatten(), nn.Dense(16, activation="tanh"), nn.Dense(10),
    )  # fmt: skip


class Run:
    """A net in training."""

    def __init__(self, make=small_lenet, optimizer=None, clip=False):
        la.random.seed(0)
        self.net = make()
        self.net.initialize(seed=0)
        self.net(la.zeros((1, 12, 12, 1), "float32"))
        params = self.net.parameters()
        self.optimizer = optimizer(params) if optimizer else optim.SGD(params, 0.05, 0.9, 1e-4)
        self.measure = nn.SoftmaxCrossEntropyLoss()
        self.clip = clip
        self.losses = []

    def step(self, images, labels):
        with autograd.record():
            loss = self.measure(self.net(images), labels).mean()
        loss.backward()
        if self.clip:
            optim.clip_global_norm(self.net.parameters(), 1.0)
        self.optimizer.step()
        return loss

    def go(self, count, skip=0):
        for place, batch in enumerate(batches(skip + count)):
            if place >= skip:
                self.losses.append(self.step(*batch))
        return self

    def bits(self):
        state = {k: v.numpy().tobytes() for k, v in self.net.state_dict().items()}
        return [x.numpy().tobytes() for x in self.losses], state


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, 0.05),
    "momentum": lambda p: optim.SGD(p, 0.05, 0.9, 1e-4, nesterov=True, clip_gradient=1.0),
    "schedule": lambda p: optim.SGD(p, lr_scheduler=optim.CosineScheduler(20, base_lr=0.1)),
    "adam": lambda p: optim.Adam(p, 0.01, weight_decay=1e-4),
    "adamw": lambda p: optim.AdamW(p, 0.01, weight_decay=1e-2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("clip", [False, True], ids=["", "clipped"])
def test_a_step_is_one_flush_and_lowers_nothing_from_the_third_on(name, clip):
    run = Run(optimizer=OPTIMIZERS[name], clip=clip)
    counts = []
    for place, batch in enumerate(batches(8)):
        if name == "sgd":
            run.optimizer.lr = 0.05 / (1 + place)
        before = la.stats()
        loss = run.step(*batch)
        after = la.stats()
        assert after["flushes"] - before["flushes"] == 1
        counts.append(after["lowerings"] - before["lowerings"])
        # The loss was in the step's plan: reading it flushes nothing.
        loss.item()
        assert la.stats()["flushes"] == after["flushes"]
    assert counts[2:] == [0] * 6, counts


def test_metrics_join_the_step():
    run = Run()
    metric = la.metric.Accuracy()
    counts = []
    for images, labels in batches(6):
        before = la.stats()
        with autograd.record():
            scores = run.net(images)
            loss = run.measure(scores, labels).mean()
        loss.backward()
        metric.update(labels, scores.detach())
        run.optimizer.step()
        after = la.stats()
        assert after["flushes"] - before["flushes"] == 1
        counts.append(after["lowerings"] - before["lowerings"])
    assert counts[3:] == [0] * 3, counts
    before = la.stats()["flushes"]
    assert 0 <= metric.get()[1] <= 1
    assert la.stats()["flushes"] == before


def test_nothing_is_left_pending_or_on_a_tape():
    pending, held = _ir.current().count, la.stats()["tape_bytes"]
    run = Run().go(6)
    run.losses.clear()
    la.wait_all(run.net.state_dict())
    assert la.stats()["tape_bytes"] <= held
    assert _ir.current().count <= pending


def test_memory_does_not_grow():
    run = Run()
    held = []
    for place, batch in enumerate(batches(30)):
        loss = run.step(*batch)
        if place in (9, 29):
            loss.wait()
            la.wait_all(run.net.state_dict())
            held.append(la.stats()["bytes_in_use"])
    assert held[1] <= held[0] * 1.05


def recorded(*heads):
    """Every node that some nodes were computed from."""
    seen, todo = {}, list(heads)
    while todo:
        node = todo.pop()
        if node.serial not in seen:
            seen[node.serial] = node
            todo.extend(node.inputs)
    return seen.values()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_float64_in_a_float32_step(name, monkeypatch):
    run = Run(optimizer=OPTIMIZERS[name], clip=True).go(2)
    kept = []
    # Before anything runs and lets go of its inputs.
    monkeypatch.setattr(optim.optimizer.runtime, "flush_step", kept.extend)
    (batch,) = batches(1)
    loss = run.step(*batch)
    nodes = list(recorded(*kept, storage_node(loss)))
    assert len(nodes) > 100
    wide = [node for node in nodes if node.dtype in (np.float64, np.complex128)]
    assert not wide, [(n, n.where) for n in wide]


def test_same_seed_same_bits():
    first, second = Run().go(5).bits(), Run().go(5).bits()
    assert first == second


def test_reading_in_the_middle_changes_no_bits():
    plain = Run().go(5).bits()
    run = Run()
    for batch in batches(5):
        loss = run.step(*batch)
        run.losses.append(loss)
        float(loss)
        str(run.net[0].weight.data()), str(run.net[0].weight.grad)
    assert run.bits() == plain


BITS = """
import hashlib, sys
sys.path.insert(0, {tests!r})
import test_train
losses, state = test_train.Run().go(5).bits()
print(hashlib.sha256(repr((losses, sorted(state.items()))).encode()).hexdigest())
"""


def test_engines_and_workers_change_no_bits():
    found = set()
    for settings in (
        {"LAZYARRAY_WORKERS": "1"},
        {"LAZYARRAY_WORKERS": "3"},
        {"LAZYARRAY_ENGINE": "naive"},
    ):
        program = BITS.format(tests=str(Path(__file__).parent))
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT,
            env={**os.environ, **settings},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    assert len(found) == 1


def test_a_resumed_run_has_the_same_bits(tmp_path):
    whole = Run(optimizer=OPTIMIZERS["adam"]).go(6)
    half = Run(optimizer=OPTIMIZERS["adam"]).go(3)
    half.net.save(tmp_path / "net")
    half.optimizer.save(tmp_path / "optimizer")
    la.random.seed(12345)  # what dropout draws next is in the optimiser's file
    fresh = Run(optimizer=OPTIMIZERS["adam"])
    fresh.net.load(tmp_path / "net")
    fresh.optimizer.load(tmp_path / "optimizer")
    fresh.go(3, skip=3)
    assert fresh.bits()[1] == whole.bits()[1]
    assert fresh.bits()[0] == whole.bits()[0][3:]


def test_it_learns():
    run = Run().go(120)
    first, last = (np.mean([x.item() for x in part]) for part in (run.losses[:5], run.losses[-5:]))
    assert last < 0.7 * first


# ---- the example


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("train_mnist", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_example_learns_digits(example, tmp_path, capsys):
    example.main(["--data", "digits", "--model", "mlp", "--epochs", "3", "--out", str(tmp_path)])
    lines = [x for x in capsys.readouterr().out.splitlines() if x.startswith("test accuracy")]
    assert len(lines) == 3
    assert float(lines[-1].split()[-1]) > 0.9
    net = example.build("mlp")
    net.load(tmp_path / "digits-mlp.safetensors")
    assert (
        f"{example.accuracy(net, la.data.Digits(train=False, size=28)):.4f}"
        == lines[-1].split()[-1]
    )


@pytest.mark.slow  # half a minute
@pytest.mark.parametrize("model", ["mlp", "lenet"])
def test_example_reaches_its_accuracy_on_digits(example, model, tmp_path, capsys):
    example.main(["--data", "digits", "--model", model, "--out", str(tmp_path)])
    accuracies = [x for x in capsys.readouterr().out.splitlines() if x.startswith("test accuracy")]
    assert len(accuracies) == 30
    assert float(accuracies[-1].split()[-1]) >= 0.96


@pytest.mark.slow  # minutes, and needs MNIST
@pytest.mark.parametrize(("model", "least"), [("mlp", 0.97), ("lenet", 0.985)])
def test_example_reaches_its_accuracy_on_mnist(example, model, least, tmp_path, capsys):
    if "LAZYARRAY_DATA" not in os.environ:
        pytest.skip("LAZYARRAY_DATA does not name a folder with MNIST")
    example.main(["--data", "mnist", "--model", model, "--out", str(tmp_path)])
    accuracies = [x for x in capsys.readouterr().out.splitlines() if x.startswith("test accuracy")]
    assert float(accuracies[-1].split()[-1]) >= least


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--epochs", "0"], "argument --epochs: must be above 0"),
        (["--batch-size", "many"], "argument --batch-size: invalid int value"),
        (["--lr", "nan"], "argument --lr: must be above 0"),
        (["--seed", "-1"], "argument --seed: must be at least 0"),
        (["--model", "resnet"], "argument --model: invalid choice"),
        (["--device", "abacus"], "--device: there is no 'abacus' here (choose from 'cpu')"),
        (["--device", "cpu:x"], "argument --device: there is no 'cpu:x' here"),
        (["--device", "gpu"], "argument --device: there is no 'gpu' here"),
        (["--data", "/no/such/folder"], "argument --data: '/no/such/folder' is not"),
        (["--out", "/proc/no/runs"], "argument --out: cannot write"),
    ],
)
def test_example_checks_options_first(example, args, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(example, "load", lambda data: pytest.fail("work was done"))
    with pytest.raises(SystemExit) as stopped:
        example.main(args)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_example_says_what_is_wrong_with_data(example, tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"nothing")
    with pytest.raises(SystemExit, match="no IDX file"):
        example.main(["--data", str(tmp_path), "--out", str(tmp_path)])


def test_example_names_its_data(example, tmp_path, monkeypatch):
    assert example.load("digits")[:2] == ("digits", "bundled with lazyarray")
    monkeypatch.delenv("LAZYARRAY_DATA", raising=False)
    assert example.place_of_mnist(None) == "lazyarray's cache"
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"")
    assert example.place_of_mnist(str(tmp_path)) == str(tmp_path / "mnist")
    monkeypatch.setenv("LAZYARRAY_DATA", str(tmp_path))
    empty = tmp_path / "empty"
    empty.mkdir()
    assert example.place_of_mnist(str(empty)) == str(tmp_path / "mnist")


def test_example_advises_on_the_rate_that_was_given(example, tmp_path, capsys):
    options = ["--data", "digits", "--model", "mlp", "--lr", "2e20", "--out", str(tmp_path)]
    with pytest.raises(SystemExit, match=r"the loss is .*: try a smaller --lr than 2e\+20$"):
        example.main([*options, "--batch-size", "16"])
    assert "mlp on digits (bundled with lazyarray): " in capsys.readouterr().out


def test_interrupt_before_training(example, tmp_path, monkeypatch, capsys):
    def interrupted(data):
        raise KeyboardInterrupt

    monkeypatch.setattr(example, "load", interrupted)
    with pytest.raises(SystemExit) as stopped:
        example.main(["--out", str(tmp_path)])
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "\nstopped\n"


def test_interrupt_keeps_the_last_epoch(example, tmp_path):
    program = [sys.executable, str(EXAMPLE), "--data", "digits", "--batch-size", "512"]
    with subprocess.Popen(
        [*program, "--epochs", "100000", "--out", str(tmp_path)], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        line = ""
        while not line.startswith("test accuracy"):
            line = process.stdout.readline()
            assert line, process.stderr.read()
        # The second epoch's line: by then the first epoch's weights are saved.
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped: " in errors
    assert "Traceback" not in errors
    example.build("lenet").load(tmp_path / "digits-lenet.safetensors")
    assert [f.name for f in tmp_path.iterdir()] == ["digits-lenet.safetensors"]
