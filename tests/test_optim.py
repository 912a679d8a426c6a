"""Optimisers against their formulas in NumPy, schedules, clipping, saved states."""

import math

import numpy as np
import pytest

import lazyarray as la
from lazyarray import autograd, nn, optim
from lazyarray.errors import (
    DataError,
    DTypeError,
    FileError,
    GradientError,
    OptionError,
    ShapeError,
)

TARGET = np.array([1.0, -2.0, 0.5])


def learnt(make, steps=5, dtype=np.float64, **scale):
    """A parameter after some steps on a quadratic, and the optimiser."""
    w = la.array(np.array([0.3, 0.1, -0.7], dtype))
    w.attach_grad()
    optimizer = make([w])
    for _ in range(steps):
        with autograd.record():
            loss = ((w - la.array(TARGET.astype(dtype))) ** 2).sum()
        loss.backward()
        optimizer.step(**scale)
    return w.numpy(), optimizer


def reference(rule, steps=5):
    w, state = np.array([0.3, 0.1, -0.7]), {}
    for count in range(1, steps + 1):
        w = rule(w, 2 * (w - TARGET), state, count)
    return w


def sgd(lr, momentum=0.0, decay=0.0, nesterov=False, clip=np.inf):
    def rule(w, g, state, count):
        g = np.clip(g, -clip, clip) + decay * w
        v = state["v"] = momentum * state.get("v", 0.0) - lr * g
        return w + (momentum * v - lr * g if nesterov else v)

    return rule


def adam(lr, decay=0.0, decoupled=False, beta1=0.9, beta2=0.999, epsilon=1e-8):
    def rule(w, g, state, count):
        if decoupled:
            w = w * (1 - lr * decay)
        else:
            g = g + decay * w
        m = state["m"] = beta1 * state.get("m", 0.0) + (1 - beta1) * g
        v = state["v"] = beta2 * state.get("v", 0.0) + (1 - beta2) * g * g
        return w - lr * m / (1 - beta1**count) / (np.sqrt(v / (1 - beta2**count)) + epsilon)

    return rule


RULES = {
    "sgd": (lambda p: optim.SGD(p, 0.1), sgd(0.1)),
    "decay": (lambda p: optim.SGD(p, 0.1, weight_decay=0.2), sgd(0.1, decay=0.2)),
    "momentum": (lambda p: optim.SGD(p, 0.1, 0.9, 0.01), sgd(0.1, 0.9, 0.01)),
    "nesterov": (lambda p: optim.SGD(p, 0.1, 0.9, nesterov=True), sgd(0.1, 0.9, nesterov=True)),
    "clip": (lambda p: optim.SGD(p, 0.1, clip_gradient=0.5), sgd(0.1, clip=0.5)),
    "adam": (lambda p: optim.Adam(p, 0.1), adam(0.1)),
    "adam, decay": (lambda p: optim.Adam(p, 0.1, weight_decay=0.1), adam(0.1, 0.1)),
    "adamw": (lambda p: optim.AdamW(p, 0.1, weight_decay=0.1), adam(0.1, 0.1, True)),
    "adam, betas": (
        lambda p: optim.Adam(p, 0.1, beta1=0.5, beta2=0.9, epsilon=1e-3),
        adam(0.1, beta1=0.5, beta2=0.9, epsilon=1e-3),
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_rules(name):
    make, rule = RULES[name]
    np.testing.assert_allclose(learnt(make)[0], reference(rule), rtol=1e-12)
    np.testing.assert_allclose(learnt(make, dtype=np.float32)[0], reference(rule), rtol=2e-5)


def test_batch_size_divides():
    found, _ = learnt(lambda p: optim.SGD(p, 0.1), batch_size=4)
    np.testing.assert_allclose(found, reference(sgd(0.1 / 4)), rtol=1e-12)
    with pytest.raises(OptionError, match="batch_size"):
        learnt(lambda p: optim.SGD(p, 0.1), batch_size=0)


def test_multipliers_of_a_parameter():
    p = nn.Parameter((2,), 1.0, lr_mult=0.5, wd_mult=0.0)
    p.initialize(np.random.default_rng(0))
    with autograd.record():
        loss = (p.data() * 3).sum()
    loss.backward()
    optim.SGD([p], lr=0.1, weight_decay=1.0).step()
    assert la.allclose(p.data(), [1 - 0.05 * 3] * 2)


def test_shared_and_frozen_parameters():
    p, q = nn.Parameter((1,), 1.0), nn.Parameter((1,), 1.0, grad_req="null")
    for each in (p, q):
        each.initialize(np.random.default_rng(0))
    with autograd.record():
        loss = (p.data() * q.data()).sum()
    loss.backward()
    optim.SGD([p, q, p], lr=0.25).step()
    assert p.data().item() == 0.75
    assert q.data().item() == 1.0


def test_a_step_waits_for_nothing_and_cuts_the_tape():
    w = la.ones(3)
    w.attach_grad()
    optimizer = optim.SGD([w], lr=0.1, momentum=0.9)
    before = la.stats()["tape_bytes"]
    for _ in range(50):
        with autograd.record():
            loss = (w * w).sum()
        loss.backward()
        optimizer.step()
    w.wait()
    del loss
    assert la.stats()["tape_bytes"] == before


def test_a_step_needs_a_new_gradient():
    w, frozen = la.array([1.0]), nn.Parameter((1,), 1.0, grad_req="null")
    w.attach_grad()
    optimizer, other = optim.SGD([w, frozen], 0.25), optim.SGD([w], 0.25)
    with pytest.raises(GradientError, match="no gradient has been left by backward since"):
        optimizer.step()
    assert optimizer.count == 0
    with autograd.record():
        loss = (2 * w).sum()
    loss.backward()
    optimizer.step()
    assert w.item() == 0.5
    with pytest.raises(GradientError, match=r"Call loss\.backward\(\) before each step"):
        optimizer.step()
    other.step()  # has not used it yet
    assert w.item() == 0.0
    w.grad[:] = 4.0
    optimizer.step(ignore_stale_grad=True)
    assert w.item() == -1.0
    assert optimizer.count == 2
    optim.SGD([frozen], 0.25).step()


def test_gradients_add_up_over_several_passes():
    w = la.array([1.0])
    w.attach_grad("add")
    optimizer = optim.SGD([w], 0.25)
    for expected in (-0.5, -2.0):
        for factor in (1.0, 2.0, 3.0):
            with autograd.record():
                loss = (factor * w).sum()
            loss.backward()
        assert w.grad.item() == 6.0
        optimizer.step()
        assert w.item() == expected
        optimizer.zero_grad()
        with pytest.raises(GradientError):
            optimizer.step()


def test_learning_rate_may_change():
    w = la.array([1.0])
    w.attach_grad()
    optimizer = optim.SGD([w], lr=0.5)
    for lr, expected in ((0.5, 0.5), (0.25, 0.25), (0.125, 0.125)):
        optimizer.lr = lr
        with autograd.record():
            loss = w.sum()
        loss.backward()
        before = w.item()
        optimizer.step()
        assert before - w.item() == expected
    with pytest.raises(OptionError, match="lr must be a number of at least 0, got nan"):
        optimizer.set_learning_rate(math.nan)


def test_clip_global_norm():
    a, b = la.array([3.0, 0.0]), la.array([[4.0]])
    for x in (a, b):
        x.attach_grad()
    for limit, factor in ((1.0, 0.2), (100.0, 1.0)):
        with autograd.record():
            loss = (a * a).sum() / 2 + (b * b).sum() / 2
        loss.backward()
        before = la.stats()["flushes"]
        norm = optim.clip_global_norm([a, b], limit)
        assert la.stats()["flushes"] == before
        assert norm.item() == 5.0
        assert la.allclose(a.grad, a * factor)
        assert la.allclose(b.grad, b * factor)


def test_schedules():
    factor = optim.FactorScheduler(10, 0.5, stop_factor_lr=0.2, base_lr=1.0)
    assert [factor(n) for n in (0, 9, 10, 20, 30, 1000)] == [1.0, 1.0, 0.5, 0.25, 0.2, 0.2]
    steps = optim.MultiStepScheduler([5, 8], 0.1, base_lr=1.0)
    assert [steps(n) for n in (0, 4, 5, 8)] == pytest.approx([1.0, 1.0, 0.1, 0.01])
    cosine = optim.CosineScheduler(100, base_lr=1.0, final_lr=0.2, warmup_steps=20)
    assert [cosine(n) for n in (0, 10, 20, 60, 100, 200)] == pytest.approx(
        [0.0, 0.5, 1.0, 0.6, 0.2, 0.2]
    )
    for make in (
        lambda: optim.FactorScheduler(0),
        lambda: optim.MultiStepScheduler([3, 2]),
        lambda: optim.CosineScheduler(5, warmup_steps=5),
    ):
        with pytest.raises(OptionError):
            make()


def test_an_optimiser_follows_its_schedule():
    found, optimizer = learnt(
        lambda p: optim.SGD(p, lr_scheduler=optim.FactorScheduler(2, 0.5, base_lr=0.2))
    )
    w = np.array([0.3, 0.1, -0.7])
    for lr in (0.2, 0.2, 0.1, 0.1, 0.05):
        w = w - lr * 2 * (w - TARGET)
    np.testing.assert_allclose(found, w, rtol=1e-12)
    with pytest.raises(OptionError, match="follows its scheduler"):
        optimizer.lr = 1.0


@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, 0.1, 0.9), lambda p: optim.AdamW(p, 0.1)])
def test_saved_state_goes_on_with_the_same_bits(make, tmp_path):
    whole, _ = learnt(make, 6, np.float32)
    half, optimizer = learnt(make, 3, np.float32)
    optimizer.save(tmp_path / "state.safetensors")
    w = la.array(half)
    w.attach_grad()
    fresh = make([w])
    fresh.load(tmp_path / "state.safetensors")
    for _ in range(3):
        with autograd.record():
            loss = ((w - la.array(TARGET.astype(np.float32))) ** 2).sum()
        loss.backward()
        fresh.step()
    assert w.numpy().tobytes() == whole.tobytes()


def test_state_holds_that_of_the_random_numbers():
    w = la.ones(3)
    w.attach_grad()
    optimizer = optim.SGD([w])
    la.random.seed(4)
    la.random.fast.uniform(size=2)
    state = optimizer.state_dict()
    expected = la.random.fast.uniform(size=3).numpy()
    la.random.seed(5)
    optimizer.load_state_dict(state)
    assert la.array_equal(la.random.fast.uniform(size=3), expected)
    del state["random"]
    la.random.seed(6)
    kept = la.random.fast.get_state()
    optimizer.load_state_dict(state)
    assert la.random.fast.get_state() == kept


def test_state_of_a_column_major_array():
    data = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    arrays = [la.array(data), la.array(data)]
    optimizers = []
    for w in arrays:
        w.attach_grad()
        optimizers.append(optim.SGD([w], 0.1, 0.9))
    for turn in range(3):
        for w, optimizer in zip(arrays, optimizers, strict=True):
            with autograd.record():
                loss = (w * w * la.array(data)).sum()
            loss.backward()
            optimizer.step()
        if turn == 0:
            state = optimizers[0].state_dict()
            assert state["arrays"]["0.velocity"].shape == (2, 3)
            optimizers[1] = optim.SGD([arrays[1]], 0.1, 0.9)
            optimizers[1].load_state_dict(state)
    assert la.array_equal(*arrays)
    expected, velocity = data.copy(), 0.0
    for _ in range(3):
        velocity = 0.9 * velocity - 0.1 * 2 * expected * data
        expected = expected + velocity
    assert la.allclose(arrays[0], expected)


def test_state_of_something_else(tmp_path):
    w = la.ones(3)
    w.attach_grad()
    sgd_state = learnt(lambda p: optim.SGD(p, 0.1, 0.9))[1].state_dict()
    with pytest.raises(OptionError, match="the state is that of SGD"):
        optim.Adam([w]).load_state_dict(sgd_state)
    with pytest.raises(OptionError, match=r"lacks \['arrays'"):
        optim.SGD([w]).load_state_dict({"kind": "SGD"})
    more = {**sgd_state, "arrays": {"1.velocity": np.ones(3)}}
    with pytest.raises(OptionError, match=r"unknown entry '1\.velocity'"):
        optim.SGD([w], momentum=0.9).load_state_dict(more)
    other = {**sgd_state, "arrays": {"0.velocity": np.ones(4)}}
    with pytest.raises(ShapeError, match=r"\(4,\), its parameter \(3,\)"):
        optim.SGD([w], momentum=0.9).load_state_dict(other)
    net = nn.Dense(1, in_units=1)
    net.initialize(seed=0)
    net.save(tmp_path / "net")
    with pytest.raises(DataError, match="no state of an optimiser: it lacks count, kind, lr"):
        optim.SGD([w]).load(tmp_path / "net")
    optim.SGD(net.parameters()).save(tmp_path / "state")
    with pytest.raises(DataError, match="holds the state of an optimiser, SGD"):
        net.load(tmp_path / "state")
    nn.files.save_arrays(
        tmp_path / "odd", {}, {"kind": "SGD", "count": "0", "lr": "0x1p0", "random": "1"}
    )
    with pytest.raises(DataError, match="no state of an optimiser: not enough values"):
        optim.SGD([w]).load(tmp_path / "odd")
    with pytest.raises(FileError, match="cannot read"):
        optim.SGD([w]).load(tmp_path / "nothing")


def test_bad_options():
    w = la.ones(3)
    w.attach_grad()
    for make, kind, message in (
        (lambda: optim.SGD([], 0.1), OptionError, "no parameters"),
        (lambda: optim.SGD(w, 0.1), OptionError, r"Write \[param\]"),
        (lambda: optim.SGD(3, 0.1), OptionError, "got int"),
        (lambda: optim.SGD([w], -1), OptionError, "lr must be"),
        (lambda: optim.SGD([w], "fast"), OptionError, "got 'fast'"),
        (lambda: optim.SGD([w], nesterov=True), OptionError, "needs a momentum"),
        (lambda: optim.SGD([w], momentum=2), OptionError, r"momentum must be in \[0, 1\), got 2"),
        (lambda: optim.SGD([w], momentum=1.0), OptionError, "momentum must be in"),
        (lambda: optim.SGD([w], momentum=-0.5), OptionError, "momentum must be"),
        (lambda: optim.SGD([w], weight_decay=-1), OptionError, "weight_decay must be"),
        (lambda: optim.Adam([w], beta1=1.0), OptionError, "beta1"),
        (lambda: optim.SGD([w], weight_decay=math.inf), OptionError, "weight_decay"),
        (lambda: optim.SGD([np.ones(3)]).step(), DTypeError, "got ndarray"),
        (lambda: optim.SGD([la.ones(3)]).step(), GradientError, "attach_grad"),
        (lambda: optim.SGD([nn.Parameter((3, 0))]).step(), ShapeError, "has no value yet"),
        (lambda: optim.clip_global_norm([w], -1), OptionError, "max_norm"),
    ):
        with pytest.raises(kind, match=message):
            make()
