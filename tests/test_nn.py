"""Layers, parameters, losses and initialisers."""

import stat

import numpy as np
import pytest

import lazyarray as la
from lazyarray import autograd, nn
from lazyarray.errors import DataError, DTypeError, FileError, OptionError, ShapeError

RNG = np.random.default_rng(5)


def filled(shape, dtype=np.float64):
    return la.array(np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype))


def started(layer, x, dtype=np.float64):
    """A layer with random parameters of every kind, biases and scales too."""
    layer.initialize(seed=1)
    layer.astype(dtype)
    layer(x)
    rng = np.random.default_rng(2)
    for p in layer.parameters():
        p.set_data(rng.normal(size=p.shape))
    return layer


# ---- gradients against central differences

LAYERS = {
    "dense": (lambda: nn.Dense(3, activation="tanh"), (4, 5)),
    "dense, more axes": (lambda: nn.Dense(3, use_bias=False), (2, 3, 4)),
    "conv": (lambda: nn.Conv2D(3, 3, activation="sigmoid"), (2, 5, 6, 2)),
    "conv, options": (
        lambda: nn.Conv2D(4, (3, 2), strides=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2),
        (2, 5, 6, 4),
    ),
    "max pool": (lambda: nn.MaxPool2D(3, 2, 1), (2, 6, 5, 3)),
    "avg pool": (lambda: nn.AvgPool2D(3, 2, 1, count_include_pad=False), (2, 6, 5, 3)),
    "global pool": (lambda: nn.GlobalAvgPool2D(), (2, 4, 3, 3)),
    "flatten": (lambda: nn.Sequential(nn.Flatten(), nn.Dense(2)), (3, 2, 4)),
    "batch norm": (lambda: nn.BatchNorm(), (6, 3)),
    "batch norm of images": (lambda: nn.BatchNorm(), (3, 2, 4, 3)),
    "layer norm": (lambda: nn.LayerNorm(), (4, 5)),
    "sequence": (
        lambda: nn.Sequential(
            nn.Conv2D(4, 3, padding=1), nn.BatchNorm(), nn.SiLU(), nn.MaxPool2D(2),
            nn.Flatten(), nn.Dense(5, "gelu"), nn.Dense(2),
        ),
        (3, 4, 6, 2),
    ),
    **{name: (lambda name=name: nn.Activation(name), (3, 4)) for name in
       ("relu", "sigmoid", "tanh", "softrelu", "softsign", "gelu", "silu", "elu", "leaky_relu")},
}  # fmt: skip


def numeric(value, array, step=1e-6):
    """Central differences of a number by every element of an array that it depends on."""
    base = array.numpy()
    out = np.empty_like(base)
    for place in np.ndindex(base.shape):
        ends = []
        for sign in (1, -1):
            moved = base.copy()
            moved[place] += sign * step
            with autograd.pause():
                array[...] = moved
            ends.append(value().item())
        out[place] = (ends[0] - ends[1]) / (2 * step)
    with autograd.pause():
        array[...] = base
    return out


@pytest.mark.parametrize("name", LAYERS)
def test_gradients(name):
    make, shape = LAYERS[name]
    x = filled(shape)
    layer = started(make(), x)
    weights = filled(layer(x).shape)
    x.attach_grad()

    def value():
        with autograd.record():
            return (layer(x) * weights).sum()

    value().backward()
    for array in (x, *[p.data() for p in layer.parameters()]):
        np.testing.assert_allclose(array.grad.numpy(), numeric(value, array), rtol=2e-5, atol=2e-7)


def test_gradient_of_embedding():
    layer = started(nn.Embedding(5, 3), la.array([0]))
    rows = la.array([[1, 2], [2, 4]])
    with autograd.record():
        loss = (layer(rows) * filled((2, 2, 3))).sum()
    loss.backward()
    expected = np.zeros((5, 3))
    np.add.at(expected, rows.numpy(), filled((2, 2, 3)).numpy())
    assert la.allclose(layer.weight.grad, expected)


# ---- values against NumPy


def test_dense_value():
    x = filled((4, 5), np.float32)
    layer = started(nn.Dense(3), x, np.float32)
    w, b = layer.weight.data().numpy(), layer.bias.data().numpy()
    assert la.allclose(layer(x), x.numpy() @ w.T + b, rtol=1e-5, atol=1e-6)
    assert layer.weight.shape == (3, 5)


def test_dense_keeps_the_leading_axes():
    layer = nn.Dense(3, in_units=5)
    layer.initialize(seed=0)
    x = filled((2, 4, 5), np.float32)
    assert layer(x).shape == (2, 4, 3)
    assert layer.weight.shape == (3, 5)
    assert la.allclose(layer(x)[1], layer(x[1]), rtol=1e-6)


def test_conv_value():
    x = filled((2, 5, 6, 3))
    layer = started(nn.Conv2D(4, (2, 3)), x)
    w, b = layer.weight.data().numpy(), layer.bias.data().numpy()
    windows = np.lib.stride_tricks.sliding_window_view(x.numpy(), (2, 3), axis=(1, 2))
    assert la.allclose(layer(x), np.einsum("nhwcij,ijco->nhwo", windows, w) + b)


def test_batch_norm_statistics():
    x = la.array(RNG.normal(3.0, 2.0, (64, 4)).astype("float32"))
    layer = nn.BatchNorm(momentum=0.75)
    with autograd.record():
        y = layer(x)
    assert la.allclose(y.mean(axis=0), np.zeros(4), atol=1e-5)
    assert la.allclose(y.var(axis=0), np.ones(4), atol=1e-3)
    mean, var = x.numpy().mean(0), x.numpy().var(0)
    assert la.allclose(layer.running_mean.data(), 0.25 * mean, rtol=1e-5)
    assert la.allclose(layer.running_var.data(), 0.75 + 0.25 * var, rtol=1e-5)
    running = layer.running_mean.data().numpy(), layer.running_var.data().numpy()
    predicted = (x.numpy() - running[0]) / np.sqrt(running[1] + 1e-5)
    assert la.allclose(layer(x), predicted, rtol=1e-4, atol=1e-5)
    layer.eval()
    with autograd.record():
        assert la.allclose(layer(x), predicted, rtol=1e-4, atol=1e-5)
    assert la.array_equal(layer.running_mean.data(), running[0])


def test_dropout():
    x = la.ones((100, 100), "float32")
    layer = nn.Dropout(0.25)
    assert layer(x) is x
    la.random.seed(3)
    with autograd.record():
        first, second = layer(x).numpy(), layer(x).numpy()
    assert set(np.unique(first)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((first == 0).mean() - 0.25) < 0.02
    assert (first != second).any()
    la.random.seed(3)
    with autograd.train_mode():
        assert la.array_equal(layer(x), first)
    with autograd.record():
        assert layer.eval()(x) is x


def test_dropout_has_the_gradient_of_its_mask():
    x = la.ones((10, 10), "float32")
    x.attach_grad()
    with autograd.record():
        y = nn.Dropout(0.5)(x)
    y.backward()
    assert la.array_equal(x.grad, y)


def test_losses():
    rng = np.random.default_rng(0)
    pred, label = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    difference = pred - label
    assert la.allclose(nn.L2Loss()(la.array(pred), label), (difference**2 / 2).mean(1))
    assert la.allclose(nn.L1Loss(2.0)(la.array(pred), label), 2 * abs(difference).mean(1))
    far = abs(difference)
    huber = np.where(far > 0.5, far - 0.25, far**2)
    assert la.allclose(nn.HuberLoss(0.5)(la.array(pred), label), huber.mean(1))
    classes = np.array([0, 2, 1, 2])
    logs = pred - np.log(np.exp(pred).sum(1, keepdims=True))
    expected = -logs[range(4), classes]
    assert la.allclose(nn.SoftmaxCrossEntropyLoss()(la.array(pred), classes), expected)
    given = nn.SoftmaxCrossEntropyLoss(from_logits=True)(la.array(logs), classes)
    assert la.allclose(given, expected)
    dense = nn.SoftmaxCrossEntropyLoss(sparse_label=False)(la.array(pred), np.eye(3)[classes])
    assert la.allclose(dense, expected)
    yes = (label > 0).astype(float)
    sigmoid = 1 / (1 + np.exp(-pred))
    bce = -(yes * np.log(sigmoid) + (1 - yes) * np.log(1 - sigmoid)).mean(1)
    assert la.allclose(nn.SigmoidBCELoss()(la.array(pred), yes), bce)
    assert la.allclose(nn.SigmoidBCELoss(from_sigmoid=True)(la.array(sigmoid), yes), bce)
    weighted = nn.L2Loss()(la.array(pred), label, np.array([[1.0], [0.0], [2.0], [1.0]]))
    assert la.allclose(weighted, (difference**2 / 2).mean(1) * [1, 0, 2, 1])


def test_losses_of_extreme_numbers_are_finite():
    huge = la.array([[1000.0, -1000.0], [-1000.0, 1000.0]])
    assert la.array_equal(nn.SoftmaxCrossEntropyLoss()(huge, [0, 0]), [0.0, 2000.0])
    assert la.array_equal(nn.SigmoidBCELoss()(huge, [[1, 0], [1, 0]]), [0.0, 1000.0])


def test_loss_needs_labels_that_fit():
    with pytest.raises(ShapeError, match=r"\(4, 3\).*\(3, 4\)"):
        nn.L2Loss()(la.ones((4, 3)), la.ones((3, 4)))
    with pytest.raises(DTypeError, match="integers"):
        nn.SoftmaxCrossEntropyLoss()(la.ones((4, 3)), la.ones(4))
    assert nn.L2Loss()(la.ones((4, 1)), la.ones(4)).shape == (4,)


# ---- the tree


class Net(nn.Module):
    def __init__(self):
        self.stem = nn.Dense(4)
        self.blocks = [nn.Dense(4), nn.Sequential(nn.Dense(3), nn.ReLU())]
        self.heads = {"a": nn.Dense(2), "b": self.stem}
        self.scale = nn.Parameter((2,), 1.0)

    def forward(self, x):
        for block in (self.stem, *self.blocks):
            x = block(x)
        return self.heads["a"](x) * self.scale.data()


NAMES = [
    "scale", "stem.weight", "stem.bias", "blocks.0.weight", "blocks.0.bias", "blocks.1.0.weight",
    "blocks.1.0.bias", "heads.a.weight", "heads.a.bias",
]  # fmt: skip


def test_members_are_found_wherever_they_are():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert len(net.parameters()) == len(NAMES)
    kinds = [type(m).__name__ for m in net.modules()]
    assert kinds == ["Net", "Dense", "Dense", "Sequential", "Dense", "ReLU", "Dense"]
    seen = []
    net.apply(lambda m: seen.append(m))
    assert seen[-1] is net


def test_training_flags():
    net = Net()
    assert all(m.training for m in net.modules())
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    net.train()
    assert all(m.training for m in net.modules())


def test_layers_act_as_in_training_where_scope_and_flag_say_so():
    layer = nn.Dropout(0.5)
    for scope in (autograd.record(), autograd.record(train_mode=False), autograd.pause()):
        for flag in (True, False):
            layer.train(flag)
            assert not layer.acts_as_in_training()
            with scope:
                assert layer.acts_as_in_training() == (flag and autograd.is_training())
    with autograd.record():
        assert layer.train().acts_as_in_training()


def test_sequential():
    net = nn.Sequential(nn.Dense(3), la.tanh)
    net.add(nn.Dense(2))
    net.initialize(seed=0)
    x = la.ones((1, 4), "float32")
    assert len(net) == 3
    assert la.array_equal(net(x), net[2](la.tanh(net[0](x))))
    assert la.array_equal(net[:2](x), la.tanh(net[0](x)))
    with pytest.raises(DTypeError, match="expected layers, got int"):
        nn.Sequential(3)


def test_repr():
    net = nn.Sequential(
        nn.Conv2D(6, 5, padding=2, in_channels=1), nn.MaxPool2D(2), nn.Dense(3, "relu")
    )
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Conv2D(1 -> 6, kernel_size=(5, 5), padding=(2, 2))\n"
        "  (1): MaxPool2D(pool_size=(2, 2), strides=(2, 2), padding=(0, 0))\n"
        "  (2): Dense(? -> 3, activation='relu')\n"
        ")"
    )
    assert repr(nn.Parameter((0, 3))) == "Parameter parameter (?, 3) float32"


# ---- parameters


def test_deferred_shapes():
    net = Net()
    net.initialize(seed=0)
    assert net.stem.weight.shape == (4, 0)
    with pytest.raises(
        ShapeError, match=r"stem.weight: has no value yet[^$]*Call the module on a batch"
    ):
        net.stem.weight.data()
    net(la.ones((2, 7), "float32"))
    assert net.stem.weight.data().shape == (4, 7)
    with pytest.raises(ShapeError, match="in_units"):
        net(la.ones((2, 8), "float32"))


def test_uninitialised_parameter_says_so():
    with pytest.raises(ShapeError, match=r"initialize\(\)"):
        nn.Parameter((3,)).data()


def test_a_first_call_initialises():
    la.random.seed(4)
    first = nn.Dense(3)
    y = first(la.ones((2, 5), "float32"))
    la.random.seed(4)
    assert la.array_equal(nn.Dense(3)(la.ones((2, 5), "float32")), y)


def test_values_follow_seed_and_order_alone():
    x = la.ones((2, 7), "float32")
    nets = [Net(), Net(), Net()]
    for net, seed in zip(nets, (1, 1, 2), strict=True):
        net.initialize(seed=seed)
    # In another order of their shapes becoming known.
    nets[0].blocks[1](la.ones((2, 4), "float32"))
    states = []
    for net in nets:
        net(x)
        states.append({k: v.numpy() for k, v in net.state_dict().items()})
    for name in states[0]:
        assert (states[0][name] == states[1][name]).all(), name
    assert (states[0]["stem.weight"] != states[2]["stem.weight"]).all()


def test_initialize_again():
    net = nn.Dense(3, in_units=2)
    net.initialize(seed=1)
    before = net.weight.data().numpy()
    net.initialize(seed=2)
    assert la.array_equal(net.weight.data(), before)
    net.initialize("ones", seed=2, force_reinit=True)
    assert la.array_equal(net.weight.data(), np.ones((3, 2)))
    assert la.array_equal(net.bias.data(), np.zeros(3))
    with pytest.raises(OptionError, match="seed"):
        net.initialize(seed=-1)


@pytest.mark.parametrize(
    ("init", "shape", "axes", "bound", "deviation"),
    [
        (nn.Xavier(), (400, 600), (1, 0), np.sqrt(3 / 500), np.sqrt(1 / 500)),
        (nn.Xavier("gaussian", "in", 2), (5, 5, 20, 400), (2, 3), None, np.sqrt(2 / 500)),
        (nn.He(), (3, 3, 50, 300), (2, 3), None, np.sqrt(2 / 450)),
        (nn.He("out"), (3, 3, 50, 300), (2, 3), None, np.sqrt(2 / 2700)),
        (nn.Uniform(0.5), (1000, 100), None, 0.5, 0.5 / np.sqrt(3)),
        (nn.Normal(0.1), (1000, 100), None, None, 0.1),
    ],
)
def test_initialisers(init, shape, axes, bound, deviation):
    p = nn.Parameter(shape, init, "float64", axes=axes)
    p.initialize(np.random.default_rng(0))
    value = p.data().numpy()
    assert value.std() == pytest.approx(deviation, rel=0.01)
    assert abs(value.mean()) < 0.02 * deviation
    if bound:
        assert abs(value).max() <= bound
        assert abs(value).max() > 0.99 * bound


def test_initialisers_by_name():
    for init, expected in (
        ("zeros", 0.0),
        (One := nn.One(), 1.0),
        (2.5, 2.5),
        (nn.Constant(3), 3.0),
    ):
        p = nn.Parameter((2,), init)
        p.initialize(np.random.default_rng(0))
        assert la.array_equal(p.data(), [expected] * 2), One
    with pytest.raises(OptionError, match="'glorrot' is unknown, expected one of"):
        nn.Dense(3, weight_initializer="glorrot")
    with pytest.raises(ShapeError, match="no inputs and outputs"):
        nn.Parameter((3,), "xavier").initialize(np.random.default_rng(0))
    with pytest.raises(OptionError, match="factor_type"):
        nn.Xavier(factor_type="both")


def test_data_is_one_handle():
    layer = started(nn.Dense(2), la.ones((1, 3)))
    kept = layer.weight.data()
    layer.weight.set_data(np.ones((2, 3)))
    assert layer.weight.data() is kept
    assert la.array_equal(kept, np.ones((2, 3)))
    with autograd.record():
        y = layer(la.ones((1, 3))).sum()
    y.backward()
    assert la.array_equal(kept.grad, np.ones((2, 3)))
    with pytest.raises(ShapeError, match=r"\(2, 3\).*\(3, 2\)"):
        layer.weight.set_data(np.ones((3, 2)))


def test_astype():
    net = nn.Sequential(nn.Dense(3, in_units=2), nn.BatchNorm())
    net.initialize(seed=0)
    net(la.ones((4, 2), "float32"))
    net.astype("float64")
    assert {p.dtype.name for p in net.parameters() + net.buffers()} == {"float64"}
    assert net(la.ones((4, 2))).dtype == np.float64
    with pytest.raises(DTypeError, match="floating, not int32"):
        net.astype("int32")


@pytest.mark.parametrize("layer", [nn.Dense(3), nn.Conv2D(3, 1), nn.BatchNorm(), nn.LayerNorm()])
def test_another_dtype_is_refused(layer):
    x = la.ones((2, 4, 4, 3))
    layer.initialize(seed=0)
    with pytest.raises(DTypeError, match=r"input is float64, the parameters are float32\n.*astype"):
        layer(x)
    with pytest.raises(DTypeError, match="input is uint8"):
        layer(x.astype("uint8"))
    with pytest.raises(DTypeError, match="got ndarray"):
        layer(np.ones((2, 4, 4, 3), "float32"))


def test_frozen_parameters():
    net = nn.Sequential(nn.Dense(3), nn.Dense(2))
    net.initialize(seed=0)
    x = la.ones((4, 2), "float32")
    net(x)
    net[0].weight.grad_req = "null"
    with autograd.record():
        loss = net(x).sum()
    loss.backward()
    assert net[0].weight.grad is None
    assert net[1].weight.grad is not None
    with pytest.raises(OptionError, match="grad_req"):
        net[0].weight.grad_req = "maybe"


def test_bad_options():
    for make, message in (
        (lambda: nn.Dense(0), "units must be at least 1"),
        (lambda: nn.Conv2D(3, 0), "kernel_size must be at least 1"),
        (lambda: nn.Conv2D(3, 3, strides=(1, 2, 3)), "strides must be an int or two"),
        (lambda: nn.Conv2D(3, 3, groups=2), "groups must divide"),
        (lambda: nn.Conv2D(3, 3, layout="NCHW"), "'NCHW' is not supported"),
        (lambda: nn.Dropout(1.0), r"rate must be in \[0, 1\)"),
        (lambda: nn.Activation("rulu"), "'rulu' is unknown"),
        (lambda: nn.Activation(), "needs the name"),
        (lambda: nn.Embedding(0, 3), "input_dim must be at least 1, got 0"),
        (lambda: nn.Embedding(3, None), "output_dim must be an integer, got None"),
        (lambda: nn.Dense("a"), "units must be an integer, got 'a'"),
        (lambda: nn.Dense(2.5), "units must be an integer, got 2.5"),
        (lambda: nn.Dense(True), "units must be an integer, got True"),
        (lambda: nn.Dense(3, in_units=-2), "in_units must be at least 0, got -2"),
        (lambda: nn.Conv2D("a", 3), "channels must be an integer, got 'a'"),
        (lambda: nn.Conv2D(3, 3, groups=0), "groups must be at least 1, got 0"),
        (lambda: nn.Dropout("x"), "got 'x'"),
    ):
        with pytest.raises(OptionError, match=message):
            make()


def test_bad_shapes():
    with pytest.raises(ShapeError, match="batch, height, width, channels"):
        nn.Conv2D(3, 3)(la.ones((2, 4), "float32"))
    with pytest.raises(ShapeError, match="does not fit an image"):
        nn.Conv2D(3, 5)(la.ones((2, 4, 4, 1), "float32"))
    with pytest.raises(ShapeError, match="2 groups do not divide"):
        nn.Conv2D(4, 3, groups=2)(la.ones((2, 4, 4, 3), "float32"))
    with pytest.raises(ShapeError, match="batch axis"):
        nn.Flatten()(la.ones((), "float32"))


# ---- files


def test_state_is_a_snapshot():
    net = Net()
    net.initialize(seed=0)
    net(la.ones((2, 7), "float32"))
    state = net.state_dict()
    assert list(state) == NAMES
    before = state["scale"].numpy()
    net.scale.set_data([5.0, 6.0])
    assert la.array_equal(state["scale"], before)
    net.load_state_dict(state)
    assert la.array_equal(net.scale.data(), before)


def test_save_and_load(tmp_path):
    net = nn.Sequential(nn.Conv2D(3, 2), nn.BatchNorm(), nn.Flatten(), nn.Dense(2))
    net.initialize(seed=0)
    x = la.array(np.random.default_rng(0).normal(size=(2, 4, 4, 1)).astype("float32"))
    with autograd.record():
        net(x)
    path = tmp_path / "net.safetensors"
    net.save(path)
    fresh = nn.Sequential(nn.Conv2D(3, 2), nn.BatchNorm(), nn.Flatten(), nn.Dense(2))
    fresh.load(path)
    assert la.array_equal(fresh(x), net(x))
    assert [f.name for f in tmp_path.iterdir()] == ["net.safetensors"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o444


def test_load_what_does_not_fit():
    net = nn.Dense(2, in_units=3)
    net.initialize(seed=0)
    before = net.weight.data().numpy()
    with pytest.raises(OptionError, match=r"lacks \['bias'\].*\['more'\]"):
        net.load_state_dict({"weight": np.ones((2, 3)), "more": np.ones(2)})
    with pytest.raises(ShapeError, match=r"bias has shape \(2,\), the state's has \(4,\)"):
        net.load_state_dict({"weight": np.ones((2, 3)), "bias": np.ones(4)})
    assert la.array_equal(net.weight.data(), before)
    net.load_state_dict({"weight": np.ones((2, 3))}, strict=False)
    assert la.array_equal(net.weight.data(), np.ones((2, 3)))


def test_files_that_are_no_good(tmp_path):
    net = nn.Dense(2, in_units=3)
    net.initialize(seed=0)
    with pytest.raises(FileError, match="cannot write"):
        net.save(tmp_path / "nowhere" / "net.safetensors")
    with pytest.raises(FileError, match="cannot read"):
        net.load(tmp_path / "net.safetensors")
    path = tmp_path / "net.safetensors"
    net.save(path)
    data = path.read_bytes()
    for damaged in (b"", data[:20], data[:-3], b"x" * 100):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged"):
            net.load(path)


def test_a_failed_save_leaves_nothing_behind(tmp_path):
    net = nn.Dense(2, in_units=3)
    net.initialize(seed=0)
    (tmp_path / "taken").mkdir()
    with pytest.raises(FileError, match="cannot write"):
        net.save(tmp_path / "taken")
    assert [f.name for f in tmp_path.iterdir()] == ["taken"]
