"""Recording scopes, backward, grad, functions with their own gradient, functions of functions."""

import random
import signal
import threading

import numpy as np
import pytest

import lazyarray as la
from lazyarray import _ir, autograd
from lazyarray.errors import DTypeError, GradientError, OptionError, ShapeError


def variable(data, request="write"):
    x = la.array(data)
    x.attach_grad(request)
    return x


# ---- scopes


def test_scopes_nest_and_restore():
    def flags():
        return autograd.is_recording(), autograd.is_training()

    assert flags() == (False, False)
    with autograd.record():
        assert flags() == (True, True)
        with autograd.pause():
            assert flags() == (False, False)
            with autograd.train_mode():
                assert flags() == (False, True)
        with autograd.predict_mode():
            assert flags() == (True, False)
        with autograd.record(train_mode=False):
            assert flags() == (True, False)
        assert flags() == (True, True)
    with pytest.raises(KeyError), autograd.record():
        raise KeyError
    assert flags() == (False, False)


def test_interrupts_leave_no_scope_open():
    class Interrupted(BaseException):
        pass

    def interrupt(*_):
        raise Interrupted

    outer = signal.signal(signal.SIGALRM, interrupt)
    rng, seen = random.Random(0), 0
    try:
        while seen < 300:
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 1e-3))
                while True:
                    with autograd.record(), autograd.pause(True), autograd.predict_mode():
                        pass
            except Interrupted:
                seen += 1
            assert not autograd.is_recording()
            assert not autograd.is_training()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, outer)


def test_a_scope_may_be_entered_again():
    scope = autograd.record()
    with scope, scope:
        assert autograd.is_recording()
    assert not autograd.is_recording()


def test_recording_is_per_thread():
    seen = []
    with autograd.record():
        thread = threading.Thread(target=lambda: seen.append(autograd.is_recording()))
        thread.start()
        thread.join()
    assert seen == [False]


# ---- variables


def test_gradient_is_zero_before_backward():
    x = variable([[1.0, 2.0]])
    assert la.array_equal(x.grad, [[0.0, 0.0]])
    assert x.grad.dtype == x.dtype
    assert la.array([1.0]).grad is None


def test_write_replaces_and_add_adds():
    for request, expected in (("write", [2.0, 4.0]), ("add", [4.0, 8.0])):
        x = variable([1.0, 2.0], request)
        for _ in range(2):
            with autograd.record():
                y = (x * x).sum()
            y.backward()
        assert la.array_equal(x.grad, expected)
        x.zero_grad()
        assert la.array_equal(x.grad, [0.0, 0.0])
        with autograd.record():
            y = x.sum()
        y.backward()
        assert la.array_equal(x.grad, [1.0, 1.0])


def test_null_stops_it():
    x = variable([1.0])
    x.attach_grad("null")
    assert x.grad is None
    with autograd.record():
        y = x * 2
    with pytest.raises(GradientError, match="does not depend"):
        y.backward()


def test_the_gradient_is_one_handle():
    x = variable([1.0, 2.0])
    kept = x.grad
    with autograd.record():
        y = (3 * x).sum()
    y.backward()
    assert kept is x.grad
    assert la.array_equal(kept, [3.0, 3.0])


def test_views_share_the_gradient():
    x = variable(np.arange(6.0).reshape(2, 3))
    part = x[:, 1:]
    with autograd.record():
        y = (x * x).sum() + part.sum()
    y.backward()
    expected = 2 * np.arange(6.0).reshape(2, 3) + [0, 1, 1]
    assert la.array_equal(x.grad, expected)
    assert la.array_equal(part.grad, expected[:, 1:])
    assert la.array_equal(x.T.grad, expected.T)


def test_gradient_has_the_layout_of_its_array():
    x = variable(np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    with autograd.record():
        y = (x * la.array(np.arange(6.0).reshape(2, 3))).sum()
    y.backward()
    assert la.array_equal(x.grad, np.arange(6.0).reshape(2, 3))


def test_bad_requests():
    with pytest.raises(OptionError, match="expected one of write, add, null"):
        la.array([1.0]).attach_grad("sum")
    with pytest.raises(DTypeError, match="astype"):
        la.array([1]).attach_grad()


def test_attach_grad_cuts_off():
    x = variable([1.0, 2.0])
    with autograd.record():
        y = x * 3
        y.attach_grad()
        z = (y * y).sum()
    z.backward()
    assert la.array_equal(y.grad, [6.0, 12.0])
    assert la.array_equal(x.grad, [0.0, 0.0])


def test_mark_variables():
    x, g = la.array([1.0, 2.0]), la.zeros(2)
    autograd.mark_variables([x], [g])
    with autograd.record():
        y = (x * x).sum()
    y.backward()
    assert la.array_equal(g, [2.0, 4.0])
    with pytest.raises(ShapeError):
        autograd.mark_variables(x, la.zeros(3))
    with pytest.raises(DTypeError):
        autograd.mark_variables(x, la.zeros(2, "float32"))


# ---- backward


def test_backward_runs_nothing():
    x = variable(np.ones(100))
    with autograd.record():
        y = (la.sin(x) * x).sum()
    before = la.stats()
    y.backward()
    after = la.stats()
    assert after["flushes"] == before["flushes"]
    assert after["tasks"] == before["tasks"]
    assert after["records"] > before["records"]


def test_head_gradients():
    x = variable([1.0, 2.0, 3.0])
    with autograd.record():
        y = x * x
    y.backward([1.0, 10.0, 100.0])
    assert la.array_equal(x.grad, [2.0, 40.0, 600.0])
    with autograd.record():
        y, z = x * x, 3 * x.sum()
    autograd.backward([y, z], [None, la.array(2.0)])
    assert la.array_equal(x.grad, [8.0, 10.0, 12.0])


def test_head_gradients_must_fit():
    x = variable([1.0, 2.0])
    with autograd.record():
        y = x * x
    with pytest.raises(ShapeError, match=r"\(2,\)"):
        y.backward(la.ones(3), retain_graph=True)
    with pytest.raises(ShapeError, match="1 heads, but 2"):
        autograd.backward(y, [la.ones(2), la.ones(2)])


def test_heads_without_a_tape():
    with pytest.raises(GradientError, match="does not depend"):
        la.ones(3).sum().backward()
    with pytest.raises(GradientError, match="floating"):
        la.array([1, 2]).backward()


def test_tape_is_released_or_retained():
    x = variable([1.0, 2.0])
    with autograd.record():
        y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(GradientError, match="released"):
        y.backward()


def test_no_bytes_stay_on_a_released_tape():
    x = variable(np.ones((50, 50)))
    before = la.stats()["tape_bytes"]
    with autograd.record():
        y = ((x @ x) @ x).sum()
    y.backward()
    x.grad.wait()
    assert la.stats()["tape_bytes"] == before


def test_writes_while_recording():
    x = variable([1.0, 2.0, 3.0])
    with autograd.record():
        y = x * x
        y[1] = 5 * x[0]
        y += x
        loss = (y * la.array([1.0, 10.0, 100.0])).sum()
    loss.backward()
    # loss = x0**2 + x0 + 10*(5*x0 + x1) + 100*(x2**2 + x2)
    assert la.array_equal(x.grad, [3.0 + 50.0, 10.0, 700.0])


def test_a_variable_that_is_written_while_recording():
    x = variable([1.0, 2.0])
    with autograd.record():
        x *= x
        loss = (x * x).sum()
    loss.backward()
    assert la.array_equal(x.grad, [4.0, 32.0])


def test_a_write_outside_starts_a_new_variable():
    x = variable([1.0, 2.0])
    for turn in range(3):
        with autograd.record():
            loss = (x * x).sum()
        loss.backward()
        before = np.array([1.0, 2.0]) * 0.5**turn
        assert la.array_equal(x.grad, 2 * before)
        x -= 0.25 * x.grad
    assert la.array_equal(x, np.array([1.0, 2.0]) / 8)


def test_versions_of_one_variable_share_its_gradient():
    x = variable([1.0, 2.0])
    with autograd.record():
        first = (x * x).sum()
        with autograd.pause():
            x += 10
        loss = first + (3 * x).sum()
    loss.backward()
    assert la.array_equal(x.grad, [5.0, 7.0])


def test_stop_gradient_and_detach():
    x = variable([2.0])
    with autograd.record():
        y = (la.stop_gradient(x) * x + x.detach() * x).sum()
    y.backward()
    assert la.array_equal(x.grad, [4.0])


def test_missing_gradient_names_op_and_line():
    x = variable([2.0, 1.0])
    with autograd.record():
        y = (la.argsort(x) * 1.0).sum()
    with pytest.raises(GradientError, match=r"argsort has no gradient.*test_autograd\.py:\d+"):
        y.backward()


@pytest.mark.parametrize("length", [20_000, 100_000])
def test_long_chain(length):
    x = variable([1.0])
    with autograd.record():
        y = x
        for _ in range(length):
            y = y + x
        loss = y.sum()
    loss.backward()
    assert x.grad.item() == length + 1.0


@pytest.mark.slow  # a million nodes
def test_very_long_chain_is_recorded_and_freed():
    pending, held = _ir.current().count, la.stats()["tape_bytes"]
    x = variable([1.0])
    before = la.stats()["records"]
    with autograd.record():
        y = x
        for _ in range(1_000_000):
            y = y + x
    assert la.stats()["records"] - before >= 1_000_000
    assert y.item() == 1_000_001.0
    del y
    assert _ir.current().count <= pending
    assert la.stats()["tape_bytes"] <= held


# ---- grad


def test_grad_of_intermediate_results():
    x = variable([1.0, 2.0])
    with autograd.record():
        y = x * x
        z = (y * y).sum()
    gx, gy = autograd.grad(z, [x, y], retain_graph=True)
    assert la.array_equal(gy, [2.0, 8.0])
    assert la.array_equal(gx, [4.0, 32.0])
    assert la.array_equal(x.grad, [0.0, 0.0])
    assert la.array_equal(autograd.grad(z, x), gx)


def test_grad_of_grad():
    x = variable([1.0, 2.0, 3.0])
    with autograd.record():
        y = (x**3).sum()
        first = autograd.grad(y, x, create_graph=True)
        second = autograd.grad(first.sum(), x, create_graph=True)
        third = (second * x).sum()
    third.backward()
    assert la.allclose(first, [3.0, 12.0, 27.0])
    assert la.allclose(second, [6.0, 12.0, 18.0])
    assert la.allclose(x.grad, [12.0, 24.0, 36.0])


def test_grad_needs_a_path():
    x, other = variable([1.0]), variable([1.0])
    with autograd.record():
        y = x * 2
    with pytest.raises(GradientError, match="no head depends on variable 1"):
        autograd.grad(y, [x, other])


# ---- functions


class Scale(autograd.Function):
    def __init__(self, factor):
        self.factor = factor

    def forward(self, x):
        assert not autograd.is_recording()
        return x * self.factor

    def backward(self, g):
        return g * self.factor * 10


class Product(autograd.Function):
    def forward(self, a, b):
        self.save_for_backward(a, b)
        return a * b, a + b

    def backward(self, g, h):
        a, b = self.saved_arrays
        return g * b + h, g * a + h


class Exponential(autograd.Function):
    def forward(self, x):
        y = la.exp(x)
        self.save_for_backward(y)
        return y

    def backward(self, g):
        return g * self.saved_arrays[0]


def test_function_has_the_gradient_it_says():
    x = variable([1.0, 2.0])
    with autograd.record():
        y = Scale(3.0)(x)
    assert la.array_equal(y, [3.0, 6.0])
    y.backward()
    assert la.array_equal(x.grad, [30.0, 30.0])


def test_function_of_several():
    a, b = variable([1.0, 2.0]), variable([3.0, 4.0])
    with autograd.record():
        product, total = Product()(a, b)
        loss = (product * 2).sum() + total.sum()
    loss.backward()
    assert la.array_equal(a.grad, [7.0, 9.0])
    assert la.array_equal(b.grad, [3.0, 5.0])
    with autograd.record():
        product, _ = Product()(a, b)
    product.backward()
    assert la.array_equal(a.grad, [3.0, 4.0])


def test_saved_arrays_keep_their_values():
    a, b = variable([1.0]), variable([3.0])
    with autograd.record():
        product, _ = Product()(a, b)
        a += 100
    product.backward()
    assert la.array_equal(b.grad, [1.0])


def test_function_twice_differentiated():
    a, b = variable([2.0]), variable([3.0])
    with autograd.record():
        product, _ = Product()(a * a, b)
        first = autograd.grad(product, a, create_graph=True)  # 2*a*b
    first.backward()
    assert la.array_equal(a.grad, [6.0])
    assert la.array_equal(b.grad, [4.0])


def test_saved_output():
    x = variable([1.0])
    with autograd.record():
        y = Exponential()(x)
    y.backward()
    assert la.allclose(x.grad, [np.e])


def test_saved_output_twice_differentiated():
    x = variable([1.0])
    with autograd.record():
        y = Exponential()(2 * x)
        first = autograd.grad(y, x, create_graph=True)
        second = autograd.grad(first, x, create_graph=True)
    second.backward()
    assert la.allclose(x.grad, [8 * np.e**2])


def test_function_runs_once():
    call = Scale(2.0)
    call(la.ones(2))
    with pytest.raises(GradientError, match="called already"):
        call(la.ones(2))


def test_function_that_returns_too_little():
    class Wrong(Product):
        def backward(self, g, h):
            return g

    a = variable([1.0])
    with autograd.record():
        y, _ = Wrong()(a, a)
    with pytest.raises(GradientError, match="1 gradients for 2 inputs"):
        y.backward()


# ---- functions of functions


def test_functional_grad():
    def f(x, y):
        return (x * x * y).sum()

    x, y = la.array([1.0, 2.0]), la.array([3.0, 4.0])
    assert la.array_equal(la.grad(f)(x, y), [6.0, 16.0])
    assert la.array_equal(la.grad(f, 1)(x, y), [1.0, 4.0])
    gx, gy = la.grad(f, (0, -1))(x, y)
    assert la.array_equal(gx, [6.0, 16.0])
    assert la.array_equal(gy, [1.0, 4.0])
    assert not autograd.is_recording()


def test_functional_grad_of_structures():
    def loss(params, x):
        return ((x @ params["w"]) * params["scales"][0]).sum()

    params = {"w": la.ones((2, 3)), "scales": [2.0, la.array(7.0)]}
    value, found = la.value_and_grad(loss)(params, la.array([[1.0, 2.0]]))
    assert value.item() == 18.0
    assert la.array_equal(found["w"], [[2.0] * 3, [4.0] * 3])
    assert found["scales"][0].item() == 9.0
    assert found["scales"][1].item() == 0.0


def test_functional_grad_nests():
    third = la.grad(la.grad(la.grad(lambda x: x**4)))
    assert third(la.array(2.0)).item() == 48.0
    mixed = la.grad(lambda x, y: la.grad(lambda a: (a * a * y).sum())(x).sum(), 1)
    assert la.array_equal(mixed(la.array([1.0, 5.0]), la.array(3.0)), 12.0)


def test_functional_grad_leaves_variables_alone():
    w = variable([1.0, 2.0])
    gradient = la.grad(lambda x: (w * x).sum())(la.array([5.0, 6.0]))
    assert la.array_equal(gradient, [1.0, 2.0])
    assert la.array_equal(w.grad, [0.0, 0.0])


def test_functional_grad_errors():
    with pytest.raises(GradientError, match=r"shape \(\)"):
        la.grad(lambda x: x * 2)(la.ones(3))
    with pytest.raises(GradientError, match="got int"):
        la.grad(lambda x: 3)(la.ones(3))
    with pytest.raises(DTypeError, match="int64"):
        la.grad(lambda x: x.sum())(la.array([1, 2]))
    with pytest.raises(OptionError, match="argument 2"):
        la.grad(lambda x: x.sum(), 2)(la.ones(3))


def test_constant_functions_have_zero_gradient():
    assert la.array_equal(la.grad(lambda x: la.ones(2).sum())(la.array([1.0, 2.0])), [0.0, 0.0])


def test_vjp():
    a, b = la.array([[1.0, 2.0]]), la.array([[3.0], [4.0]])
    value, pull = la.vjp(lambda a, b: (a @ b, a * 2), a, b)
    assert value[0].item() == 11.0
    for weight in (1.0, 2.0):
        ga, gb = pull((la.array([[weight]]), la.array([[1.0, 0.0]])))
        assert la.array_equal(ga, [[3 * weight + 2, 4 * weight]])
        assert la.array_equal(gb, [[weight], [2 * weight]])
    with pytest.raises(ShapeError, match="2 arrays, got 1"):
        pull(la.ones((1, 1)))
