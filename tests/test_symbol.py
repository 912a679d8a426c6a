"""Symbols: composition, inference, text, and executors against the imperative loop."""

import copy
import json
import pickle
from collections import Counter

import numpy as np
import pytest
from samples import SAMPLES

import lazyarray as la
from lazyarray import _engine, _ir, autograd, passes, random, runtime
from lazyarray import symbol as S
from lazyarray.errors import (
    DataError,
    DeviceError,
    DTypeError,
    FileError,
    GradientError,
    OptionError,
    ShapeError,
)

SEED = 7


def mlp(hidden=16, classes=4):
    x = S.Variable("data")
    x = S.FullyConnected(x, num_hidden=hidden, name="fc1")
    x = S.Activation(x, act_type="relu", name="relu1")
    x = S.FullyConnected(x, num_hidden=classes, name="fc2")
    return S.SoftmaxOutput(x, name="softmax")


def lenet(classes=10):
    x = S.Variable("data")
    x = S.Convolution(x, kernel=(5, 5), num_filter=6, pad=2, name="conv1")
    x = S.Activation(x, act_type="tanh", name="tanh1")
    x = S.Pooling(x, kernel=2, stride=2, name="pool1")
    x = S.Convolution(x, kernel=3, num_filter=8, name="conv2")
    x = S.Activation(x, act_type="relu", name="relu2")
    x = S.Pooling(x, kernel=2, stride=2, pool_type="avg", name="pool2")
    x = S.Flatten(x, name="flat")
    x = S.FullyConnected(x, num_hidden=24, name="fc1")
    x = S.Activation(x, act_type="sigmoid", name="sigmoid1")
    x = S.FullyConnected(x, num_hidden=classes, name="fc2")
    return S.SoftmaxOutput(x, name="softmax")


def drawn(shapes, seed=SEED, scale=0.3):
    """Return float32 arrays of the given shapes."""
    rng = np.random.default_rng(seed)
    return {name: (scale * rng.normal(size=shape)).astype("f4") for name, shape in shapes.items()}


def params_of(net, **shapes):
    """Return values for all arguments but the data and labels."""
    found, _, _ = net.infer_shape(**shapes)
    named = dict(zip(net.list_arguments(), found, strict=True))
    return drawn({n: s for n, s in named.items() if n not in shapes and not n.endswith("_label")})


def records():
    return la.stats()["records"]


# ---- composition


def test_names_and_orders():
    net = mlp()
    assert net.list_arguments() == [
        "data", "fc1_weight", "fc1_bias", "fc2_weight", "fc2_bias", "softmax_label",
    ]  # fmt: skip
    assert net.list_outputs() == ["softmax_output"]
    assert net.list_auxiliary_states() == []
    assert net.name == "softmax"


def test_names_that_are_not_given_are_counted():
    x = S.Variable("data")
    first, second = S.FullyConnected(x, num_hidden=2), S.FullyConnected(x, num_hidden=2)
    start = int(first.name.removeprefix("fullyconnected"))
    assert second.name == f"fullyconnected{start + 1}"
    assert second.list_arguments() == ["data", f"{second.name}_weight", f"{second.name}_bias"]


def test_parameters_can_be_given_or_left_out():
    x, w = S.Variable("data"), S.Variable("w")
    net = S.FullyConnected(x, num_hidden=3, weight=w, no_bias=True, name="fc")
    assert net.list_arguments() == ["data", "w"]
    net = S.Convolution(x, kernel=3, num_filter=2, no_bias=True, name="conv")
    assert net.list_arguments() == ["data", "conv_weight"]
    with pytest.raises(OptionError, match="fc: FullyConnected without bias was given one"):
        S.FullyConnected(x, num_hidden=3, bias=w, no_bias=True, name="fc")


def test_a_shared_variable_is_one_argument():
    x, w = S.Variable("x"), S.Variable("w")
    net = S.FullyConnected(x, 4, weight=w, no_bias=True, name="a")
    net = S.FullyConnected(net, 4, weight=w, no_bias=True, name="b")
    assert net.list_arguments() == ["x", "w"]
    values = drawn({"x": (2, 4), "w": (4, 4)})
    ex = net.bind(**{k: la.array(v) for k, v in values.items()})
    ex.forward(is_train=True)
    ex.backward()
    x, w = la.array(values["x"]), la.array(values["w"])
    w.attach_grad()
    with autograd.record():
        y = la.dense(la.dense(x, w), w)
    y.backward(la.ones_like(y))
    assert_same(ex.grad_dict["w"], w.grad)


def test_internals_and_indexing():
    net = mlp()
    inside = net.get_internals()
    names = inside.list_outputs()
    assert names[:4] == ["data", "fc1_weight", "fc1_bias", "fc1_output"]
    assert inside["relu1_output"].list_arguments() == ["data", "fc1_weight", "fc1_bias"]
    assert inside[-1].list_outputs() == ["softmax_output"]
    assert inside[:2].list_outputs() == ["data", "fc1_weight"]
    assert [s.list_outputs()[0] for s in inside] == names
    assert net.get_children().list_outputs() == ["fc2_output", "softmax_label"]
    assert S.Variable("x").get_children() is None
    with pytest.raises(OptionError, match="no outputs are named 'nothing'"):
        inside["nothing"]
    with pytest.raises(IndexError):
        net[1]
    with pytest.raises(OptionError, match="by place or name"):
        net[None]


def test_group():
    x = S.Variable("x")
    both = S.Group([S.exp(x, name="e"), S.Group([x + 1, x])])
    assert len(both) == 3
    assert both.list_outputs()[0] == "e_output" and both.list_outputs()[2] == "x"
    assert both.name is None
    e, plus, same = both.eval(x=la.array([0.0, 1.0]))
    np.testing.assert_array_equal(plus.numpy(), [1, 2])
    np.testing.assert_array_equal(same.numpy(), [0, 1])
    np.testing.assert_array_equal(e.numpy(), np.exp([0.0, 1.0]))
    with pytest.raises(TypeError, match="Group"):
        S.Group([1])
    with pytest.raises(OptionError):
        S.Group([])


def test_a_symbol_called_with_others_is_composed():
    a, b = S.Variable("a"), S.Variable("b")
    net = S.FullyConnected(S.Variable("data"), 3, name="fc")
    other = net(data=a * b)
    assert other.list_arguments() == ["a", "b", "fc_weight", "fc_bias"]
    assert net.list_arguments() == ["data", "fc_weight", "fc_bias"]
    assert net(a).list_arguments()[0] == "a"
    assert net(a, name="again").list_outputs() == ["again_output"]
    twice = S.Group([net(a), net(b)])
    assert twice.list_arguments() == ["a", "fc_weight", "fc_bias", "b"]
    with pytest.raises(OptionError, match="there is no argument 'nothing'"):
        net(nothing=a)
    with pytest.raises(OptionError, match="not both"):
        net(a, fc_bias=b)
    with pytest.raises(TypeError, match="expected a Symbol, got int"):
        net(data=1)
    parts = S.split(a, 2, axis=1, name="parts")
    assert S.Group([parts[1], parts[0]])(b).list_outputs() == ["parts_output1", "parts_output0"]


def test_attributes():
    w = S.Variable("w", attr={"group": "slow"}, lr_mult=0.5, shape=(2, None), dtype="float64")
    net = S.FullyConnected(S.Variable("x"), 2, weight=w, name="fc", attr={"stage": "1"})
    assert net.attr("stage") == "1" and net.attr("nothing") is None
    assert w.attr("__lr_mult__") == "0.5"
    assert net.attr_dict() == {"fc": {"stage": "1"}, "w": {"group": "slow", "__lr_mult__": "0.5"}}
    with pytest.raises(TypeError, match="attributes are texts"):
        S.Variable("x", attr={"a": 1})


def test_operators():
    a, b = S.Variable("a"), S.Variable("b")
    x, y = np.array([1.0, 2.5, -3.0]), np.array([2.0, 2.5, 0.5])
    rows = [
        (a + b, x + y), (2 + a, 2 + x), (a - 1, x - 1), (1 - a, 1 - x), (a * b, x * y),
        (3 * a, 3 * x), (a / b, x / y), (1 / b, 1 / y), (b**2, y**2), (2**b, 2**y),
        (a // b, x // y), (a % b, x % y), (-a, -x), (abs(a), abs(x)), (a < b, x < y),
        (a <= b, x <= y), (a > b, x > y), (a >= 0, x >= 0), (a == b, x == y), (a != b, x != y),
        (a @ b, x @ y), (np.float64(2) * a, 2 * x), (b**0.5, y**0.5),
    ]  # fmt: skip
    net = S.Group([row[0] for row in rows])
    values = {"a": la.array(x), "b": la.array(y)}
    for (row, wanted), got in zip(rows, net.eval(**values), strict=True):
        most = 2 if "power" in str(row) else 0
        np.testing.assert_array_max_ulp(got.numpy() + 0.0, wanted + 0.0, most)
    for bad in (
        lambda: a + np.ones(3),
        lambda: np.ones(3) + a,
        lambda: a + la.ones(3),
        lambda: la.ones(3) * a,
    ):
        with pytest.raises(TypeError):
            bad()
    with pytest.raises(TypeError, match="neither true nor false"):
        bool(a)
    assert copy.deepcopy(a) is a and {a: 1}[a] == 1


def assert_same(got, wanted):
    """The same dtype, shape and bits (any NaN equals any NaN)."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.dtype == wanted.dtype and got.shape == wanted.shape
    if got.dtype.kind in "fc":
        assert np.array_equal(got, wanted, equal_nan=True)
        assert np.array_equal(np.signbit(got.real), np.signbit(wanted.real)) or np.isnan(got).any()
    else:
        assert np.array_equal(got, wanted)


def test_every_op_is_lifted():
    assert set(la.lift.LIFTED) <= set(S.__all__)


@pytest.mark.parametrize("name", sorted(set(SAMPLES) & set(S.__all__)))
def test_lifted_op_gives_what_the_array_function_gives(name):
    for sample in SAMPLES[name]:
        function = getattr(S, name)
        call = sample.call or (lambda op, *xs, **options: op(*xs, **options))
        for dtype in map(np.dtype, ("float32", "int32")):
            inputs = sample.draw(dtype)
            nodes = [la._handle.to_node(la.array(x)) for x in inputs]
            try:
                found = call(_ir.registry[name], *nodes, **sample.attributes)
                break
            except TypeError:
                continue
        names = [f"x{i}" for i in range(len(inputs))]
        variables = [S.Variable(each) for each in names]
        wanted = [found] if isinstance(found, _ir.Node) else list(found)
        composed = call(function, *variables, **sample.attributes)
        net = composed if isinstance(composed, S.Symbol) else S.Group(list(composed))
        assert len(net) == len(wanted)
        net = S.load_json(net.tojson())
        arrays = dict(zip(names, map(la.array, inputs), strict=True))
        with np.errstate(all="ignore"):
            for got, node in zip(net.eval(**arrays), wanted, strict=True):
                assert_same(got, la._handle.from_node(node, False))


def test_arguments_that_are_no_symbols():
    x = S.Variable("x")
    with pytest.raises(TypeError, match="axis is an attribute"):
        S.concatenate([x, x], axis=x)
    with pytest.raises(TypeError, match="expected a Symbol among"):
        S.exp(1.0)
    with pytest.raises(TypeError, match="neither a Symbol nor an attribute"):
        S.add(x, np.ones(3))
    with pytest.raises(TypeError, match="neither a Symbol nor an attribute"):
        S.reshape(x, shape=object())
    with pytest.raises(TypeError, match="takes 2 symbols"):
        S.add(x)
    with pytest.raises(TypeError, match="sum"):
        S.sum(x, nothing=1)
    with pytest.raises(OptionError, match="expected a Symbol with one output"):
        S.exp(S.Group([x, x]))
    with pytest.raises(AttributeError):
        S.no_such_op  # noqa: B018


@pytest.mark.parametrize(
    "compose",
    [
        lambda x: S.FullyConnected(x, num_hidden=0),
        lambda x: S.FullyConnected(x, num_hidden="4"),
        lambda x: S.Convolution(x, kernel=0, num_filter=1),
        lambda x: S.Convolution(x, kernel=(1, 2, 3), num_filter=1),
        lambda x: S.Convolution(x, kernel=3, num_filter=1, layout="CHWN"),
        lambda x: S.Convolution(x, kernel=3, num_filter=2, num_group=0),
        lambda x: S.Activation(x, act_type="swash"),
        lambda x: S.Pooling(x),
        lambda x: S.Pooling(x, kernel=2, pool_type="median"),
        lambda x: S.Dropout(x, p=1.0),
        lambda x: S.Dropout(x, mode="sometimes"),
        lambda x: S.BatchNorm(x, momentum=2),
        lambda x: S.SoftmaxOutput(x, normalization="all"),
        lambda x: S.MakeLoss(x, grad_scale="1"),
    ],
)
def test_bad_options_raise_when_composed(compose):
    with pytest.raises(OptionError):
        compose(S.Variable("x"))


# ---- types


def test_infer_shape():
    args, outs, aux = lenet().infer_shape(data=(5, 28, 28, 1))
    assert dict(zip(lenet().list_arguments(), args, strict=True)) == {
        "data": (5, 28, 28, 1), "conv1_weight": (5, 5, 1, 6), "conv1_bias": (6,),
        "conv2_weight": (3, 3, 6, 8), "conv2_bias": (8,), "fc1_weight": (24, 288),
        "fc1_bias": (24,), "fc2_weight": (10, 24), "fc2_bias": (10,), "softmax_label": (5,),
    }  # fmt: skip
    assert outs == [(5, 10)] and aux == []
    assert lenet().infer_shape((5, 28, 28, 1))[1] == [(5, 10)]


def test_infer_shape_without_enough():
    net = mlp()
    with pytest.warns(UserWarning, match="Variable 'data' has no shape"):
        assert net.infer_shape() == (None, None, None)
    with pytest.warns(UserWarning, match="data"):
        assert net.infer_type() == (None, None, None)
    x, y = S.Variable("x"), S.Variable("y")
    both = S.Group([S.FullyConnected(x, 3, name="fc"), S.exp(y, name="e")])
    assert both.infer_shape_partial(x=(2, 5)) == (
        [(2, 5), (3, 5), (3,), None], [(2, 3), None], [],
    )  # fmt: skip


def test_infer_shape_contradictions():
    with pytest.raises(
        ShapeError, match=r"fc1 \(FullyConnected\): weight must have shape \(16, 5\)"
    ):
        mlp().infer_shape(data=(8, 5), fc1_weight=(16, 6))
    with pytest.raises(ShapeError, match="is declared"):
        S.exp(S.Variable("x", shape=(2, None))).infer_shape(x=(3, 4))
    with pytest.raises(OptionError, match="there is no argument 'dat'"):
        mlp().infer_shape(dat=(8, 5))
    a, b = S.Variable("a"), S.Variable("b")
    with pytest.raises(
        ShapeError, match=r"total \(add\).*do not broadcast.*\n.*\n.*test_symbol.py"
    ):
        S.add(a, b, name="total").infer_shape(a=(2, 3), b=(4,))


def test_declared_extents_are_completed():
    x = S.Variable("x", shape=(0, 5))
    w = S.Variable("w", shape=(None, 5))
    net = S.FullyConnected(x, 3, weight=w, name="fc")
    assert net.infer_shape(x=(7, 5))[0] == [(7, 5), (3, 5), (3,)]
    whole = S.FullyConnected(S.Variable("x", shape=(7, 5)), 3, name="fc")
    assert whole.infer_shape()[1] == [(7, 3)]


def test_a_parameter_must_first_meet_a_layer():
    x, w = S.Variable("x"), S.Variable("w")
    with pytest.raises(ShapeError, match=r"double \(multiply\): Variable 'w' has no shape"):
        S.FullyConnected(x, 3, weight=S.multiply(w, 2, name="double"), name="fc").bind(x=(2, 5))
    late = S.Group([S.FullyConnected(x, 3, weight=w, name="fc"), S.sum(w * w)])
    assert late.infer_shape(x=(2, 5))[1] == [(2, 3), ()]


def test_infer_type():
    net = mlp()
    double, single = np.dtype("float64"), np.dtype("float32")
    assert net.infer_type({"data": (8, 5)}) == ([single] * 6, [single], [])
    assert net.infer_type({"data": (8, 5)}, data="float64") == ([double] * 6, [double], [])
    typed = S.FullyConnected(S.Variable("x", shape=(2, 2), dtype="float64"), 2, name="fc")
    assert typed.infer_type()[0] == [double] * 3


# ---- text


def test_text_keeps_everything(tmp_path):
    net = lenet()
    text = net.tojson()
    again = S.load_json(text)
    assert again.tojson() == text
    assert again.list_arguments() == net.list_arguments()
    net.save(tmp_path / "net.json")
    assert S.load(tmp_path / "net.json").tojson() == text
    assert pickle.loads(pickle.dumps(net)).tojson() == text
    assert [p.name for p in tmp_path.iterdir()] == ["net.json"]
    content = json.loads(text)
    assert content["format"] == "lazyarray-symbol" and content["version"] == 1
    values = params_of(net, data=(2, 12, 12, 1)) | drawn({"data": (2, 12, 12, 1)}, 1)
    values = {k: la.array(v) for k, v in values.items()}
    assert_same(net.eval(**values)[0], again.eval(**values)[0])


def test_text_of_every_kind_of_attribute():
    x = S.Variable("x", shape=(2, None), dtype="float64", init=0.5, attr={"a": "b"})
    net = S.Group([
        S.clip(x, -np.inf, np.nan), S.multiply(x, 2 + 3j), S.sum(x, axis=(0, 1), dtype="float32"),
        S.sum(x, dtype=np.float32), S.add(x, np.float32(0.1)), S.split(x, [1], axis=1)[1],
        S.concatenate([x, x], axis=None), S.einsum("ij,kj->ik", x, x),
    ])  # fmt: skip
    again = S.load_json(net.tojson())
    assert again.tojson() == net.tojson()
    data = la.array(np.arange(6.0).reshape(2, 3))
    for got, wanted in zip(again.eval(x=data), net.eval(x=data), strict=True):
        assert_same(got, wanted)


def broken(text, change):
    content = json.loads(text)
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format="other"), "is not a symbol"),
        (lambda c: c.update(version=99), "has version 99"),
        (lambda c: c.pop("entries"), "damaged"),
        (lambda c: c.update(outputs=[]), "no outputs"),
        (lambda c: c.update(outputs=[[99, 0]]), "there is no entry 99"),
        (lambda c: c.update(outputs=[[3, 1]]), "has no output 1"),
        (lambda c: c["entries"][3].update(op="Teleport"), "symbol fc1 calls 'Teleport'"),
        (lambda c: c["entries"][3].update(sources=[[5, 0]]), "entry 3"),
        (lambda c: c["entries"][3]["arguments"].update(num_hidden={"what": 1}), "no attribute"),
        (lambda c: c["entries"][3]["arguments"].update(weight={"source": 9}), "no source 9"),
        (lambda c: c["entries"][3]["arguments"].update(nothing=1), "no argument 'nothing'"),
        (lambda c: c["entries"][3]["arguments"].pop("num_hidden"), "lacks 'num_hidden'"),
        (lambda c: c["entries"][0].update(dtype="float99"), "entry 0"),
        (lambda c: c["entries"].append(7), "damaged"),
    ],
)
def test_damaged_text(change, message):
    with pytest.raises(DataError, match=message):
        S.load_json(broken(mlp().tojson(), change))


def test_files_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(FileError, match="cannot read"):
        S.load(tmp_path / "nothing.json")
    with pytest.raises(FileError, match="cannot write"):
        mlp().save(tmp_path / "nowhere" / "net.json")
    cut = tmp_path / "cut.json"
    cut.write_text(mlp().tojson()[:100])
    with pytest.raises(DataError, match=r"cut.json.*damaged"):
        S.load(cut)
    cut.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="damaged"):
        S.load(cut)


# ---- training: the same bits as the imperative loop

STEPS = 6


def batches(shape, classes, steps=STEPS, seed=3):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        yield rng.normal(size=shape).astype("f4"), rng.integers(0, classes, shape[0])


def forward_mlp(x, p):
    h = la.relu(la.dense(x, p["fc1_weight"], p["fc1_bias"]))
    return la.dense(h, p["fc2_weight"], p["fc2_bias"])


def forward_lenet(x, p):
    h = la.tanh(la.conv2d(x, p["conv1_weight"], p["conv1_bias"], pad=2))
    h = la.max_pool2d(h, 2, 2)
    h = la.relu(la.conv2d(h, p["conv2_weight"], p["conv2_bias"]))
    h = la.avg_pool2d(h, 2, 2)
    h = h.reshape(h.shape[0], -1)
    h = la.sigmoid(la.dense(h, p["fc1_weight"], p["fc1_bias"]))
    return la.dense(h, p["fc2_weight"], p["fc2_bias"])


def imperative(forward, values, shape, classes, rate=0.05):
    """Train by autograd; the outputs of each step and the final parameters."""
    params = {name: la.array(v) for name, v in values.items()}
    for p in params.values():
        p.attach_grad()
    seen = []
    for x, labels in batches(shape, classes):
        with autograd.record():
            z = forward(la.array(x), params)
        p = la.softmax(z)
        z.backward(p - la.one_hot(la.array(labels), classes))
        seen.append(p.numpy())
        for w in params.values():
            w[:] = w - rate * w.grad
    return seen, {name: w.numpy() for name, w in params.items()}


def through_executor(net, values, shape, classes, rate=0.05, peek=False):
    requests = {name: "write" for name in values}
    ex = net.simple_bind("cpu", grad_req=requests, data=shape)
    ex.copy_params_from(values)
    seen = []
    for x, labels in batches(shape, classes):
        outs = ex.forward(is_train=True, data=x, softmax_label=labels)
        if peek:
            outs[0].numpy()
        ex.backward()
        seen.append(outs[0].numpy())
        for name, g in ex.grad_dict.items():
            w = ex.arg_dict[name]
            w[:] = w - rate * g
    return seen, {name: ex.arg_dict[name].numpy() for name in values}


NETS = {
    "mlp": (mlp, forward_mlp, (8, 5), 4),
    "lenet": (lenet, forward_lenet, (4, 14, 14, 1), 10),
}


@pytest.mark.parametrize("peek", [False, True], ids=["fused", "halves"])
@pytest.mark.parametrize("which", NETS)
def test_training_gives_the_bits_of_the_imperative_loop(which, peek):
    make, forward, shape, classes = NETS[which]
    values = params_of(make(), data=shape)
    wanted, last = imperative(forward, values, shape, classes)
    got, params = through_executor(make(), values, shape, classes, peek=peek)
    for a, b in zip(got, wanted, strict=True):
        assert_same(a, b)
    for name, w in last.items():
        assert_same(params[name], w)
    assert not np.array_equal(last["fc1_weight"], values["fc1_weight"])


@pytest.mark.parametrize("mode", ["naive", "one worker"])
def test_training_gives_the_same_bits_on_every_engine(mode):
    values = params_of(mlp(), data=(8, 5))
    wanted = through_executor(mlp(), values, (8, 5), 4)
    before = _engine.engine_kind(), _engine.workers()
    la.set_workers(1)
    la.set_engine("naive" if mode == "naive" else "threaded")
    try:
        got = through_executor(mlp(), values, (8, 5), 4)
    finally:
        la.set_engine(before[0])
        la.set_workers(before[1])
    for a, b in zip(got[0], wanted[0], strict=True):
        assert_same(a, b)


def test_a_loss_composed_of_ops():
    """A head that is no output layer: the cotangent is one, as in backward()."""
    x, y = S.Variable("data"), S.Variable("label", dtype="int64", shape=(8,))
    z = S.FullyConnected(x, num_hidden=4, name="fc")
    net = S.mean(S.softmax_cross_entropy(z, y))
    values = params_of(net, data=(8, 5), label=(8,))
    data, labels = next(batches((8, 5), 4))
    ex = net.bind(
        data=la.array(data), label=la.array(labels), **{k: la.array(v) for k, v in values.items()}
    )
    loss = ex.forward(is_train=True)
    ex.backward()
    params = {name: la.array(v) for name, v in values.items()}
    for p in params.values():
        p.attach_grad()
    with autograd.record():
        out = la.dense(la.array(data), params["fc_weight"], params["fc_bias"])
        wanted = la.softmax_cross_entropy(out, la.array(labels)).mean()
    wanted.backward()
    assert_same(loss[0], wanted)
    for name, p in params.items():
        assert_same(ex.grad_dict[name], p.grad)
    assert "label" not in ex.grad_dict


def test_bound_passes_record_nothing():
    ex = lenet().simple_bind(data=(2, 14, 14, 1))
    x = np.zeros((2, 14, 14, 1), "f4")
    before = records()
    for i in range(3):
        ex.forward(is_train=True, data=x, softmax_label=np.zeros(2, "f4"))
        if i == 1:
            ex.outputs[0].wait()
        ex.backward()
        ex.forward(data=x)
        ex.outputs[0].wait()
    assert records() == before
    lowered = la.stats()["lowerings"]
    ex.forward(is_train=True)
    ex.backward()
    assert la.stats()["lowerings"] == lowered


def labels_of(work, ex):
    """Return how often tasks of each label were pushed by `work()`."""
    la.wait_all([ex.arg_dict, ex.grad_dict])
    _engine.start_log()
    try:
        work()
    finally:
        events = _engine.stop_log()
    la.wait_all(ex.grad_dict)
    return Counter(event.name for event in events if event.kind == "push")


@pytest.fixture
def unbundled():
    """Every task has a label of its own."""
    with passes.chosen("-bundle"):
        yield


def test_forward_runs_once(unbundled):
    """A training pass runs nothing before backward; read before, it is not run again."""
    ex = lenet().simple_bind(data=(2, 14, 14, 1))
    ex.copy_params_from(params_of(lenet(), data=(2, 14, 14, 1)))
    assert not labels_of(lambda: ex.forward(is_train=True), ex)
    whole = labels_of(ex.backward, ex)
    fused = ex.grad_dict["conv1_weight"].numpy()
    ex.forward(is_train=True)
    first = labels_of(lambda: ex.outputs[0], ex)
    rest = labels_of(ex.backward, ex)
    dear = [label for label in whole if label.split()[0] in ("correlate2d", "max_pool2d", "gemm")]
    assert len(dear) == 3
    for label in dear:
        assert first[label] + rest[label] == whole[label] > 0
    assert_same(ex.grad_dict["conv1_weight"], fused)


# ---- gradients


def test_gradients_are_zero_where_nothing_depends():
    a, b = S.Variable("a"), S.Variable("b")
    ex = S.Group([a * 2, S.BlockGrad(b)]).bind(a=la.array([1.0]), b=la.array([1.0, 2.0]))
    ex.forward(is_train=True)
    ex.backward()
    np.testing.assert_array_equal(ex.grad_dict["a"].numpy(), [2])
    np.testing.assert_array_equal(ex.grad_dict["b"].numpy(), [0, 0])


def test_out_grads():
    a, b = S.Variable("a"), S.Variable("b")
    net = S.Group([a * b, S.exp(a), a])
    x, y = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    ex = net.bind(a=la.array(x), b=la.array(y))
    ex.forward(is_train=True)
    ex.backward([la.array([1.0, 0.5]), np.array([2.0, 2.0]), [0.0, 1.0]])
    np.testing.assert_allclose(
        ex.grad_dict["a"].numpy(), y * [1, 0.5] + 2 * np.exp(x) + [0, 1], rtol=1e-15
    )
    np.testing.assert_array_equal(ex.grad_dict["b"].numpy(), x * [1, 0.5])
    ex.forward(is_train=True)
    with pytest.raises(ShapeError, match="3 outputs need as many gradients, got 1"):
        ex.backward(la.array([1.0, 1.0]))
    with pytest.raises(ShapeError, match="the gradient of"):
        ex.backward([la.ones(3), la.ones(2), la.ones(2)])
    ex.backward()


def test_grad_req_add_and_null():
    a, b = S.Variable("a"), S.Variable("b")
    mine = la.array([10.0])
    ex = (a * b).bind(a=la.array([2.0]), b=la.array([3.0]), args_grad={"a": mine},
                      grad_req={"a": "add", "b": "null"})  # fmt: skip
    for _ in range(2):
        ex.forward(is_train=True)
        ex.backward()
    assert ex.grad_dict["a"] is mine and mine.tolist() == [16.0]
    assert ex.grad_arrays[1] is None and "b" not in ex.grad_dict
    with pytest.raises(OptionError, match="grad_req of a is 'more'"):
        (a * b).simple_bind(grad_req="more", a=(1,), b=(1,))
    with pytest.raises(DTypeError, match="only floating arguments have gradients, a is int64"):
        (a * b).bind(a=la.array([1]), b=la.array([1.0]), grad_req={"a": "write"})
    ex = (a * b).bind(a=la.array([1]), b=la.array([1.0]))
    assert list(ex.grad_dict) == ["b"]


def test_backward_needs_a_training_pass():
    a = S.Variable("a")
    ex = (a * a).bind(a=la.array([2.0]))
    with pytest.raises(OptionError, match="no pass has been run"):
        ex.outputs  # noqa: B018
    ex.forward()
    with pytest.raises(GradientError, match=r"forward\(is_train=True\)"):
        ex.backward()
    ex.forward(is_train=True)
    ex.backward()
    with pytest.raises(GradientError):
        ex.backward()


def test_an_op_without_gradient_is_named_when_bound():
    a = S.Variable("a")
    net = S.sum(S.argsort(a, name="order") * 0.5)
    with pytest.raises(GradientError, match=r"argsort.* has no gradient.*test_symbol.py"):
        net.bind(a=la.array([2.0, 1.0]))
    assert net.bind(a=la.array([2.0, 1.0]), grad_req="null").forward()[0].item() == 0.5


def central(function, x, step=1e-6):
    """Gradient of a scalar function by central differences."""
    g = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        old = x[i]
        x[i] = old + step
        up = function(x)
        x[i] = old - step
        g[i] = (up - function(x)) / (2 * step)
        x[i] = old
    return g


LAYERS = {
    "FullyConnected": ((4, 5), lambda x: S.FullyConnected(x, 3, name="l")),
    "rows": ((2, 3, 5), lambda x: S.FullyConnected(x, 3, flatten=False, name="l")),
    "Convolution": ((2, 5, 6, 3), lambda x: S.Convolution(x, (3, 2), 4, stride=2, pad=1, name="l")),
    "groups": ((1, 7, 6, 4), lambda x: S.Convolution(x, 3, 4, num_group=2, dilate=2, name="l")),
    "NCHW": ((2, 3, 5, 4), lambda x: S.Convolution(x, 3, 2, layout="NCHW", name="l")),
    "Pooling": ((2, 5, 6, 3), lambda x: S.Pooling(x, kernel=3, stride=2, pad=1)),
    "mean": ((1, 4, 5, 2), lambda x: S.Pooling(x, 2, "avg", pad=1, count_include_pad=False)),
    "sum": ((1, 4, 5, 2), lambda x: S.Pooling(x, kernel=2, pool_type="sum")),
    "global": ((2, 3, 4, 5), lambda x: S.Pooling(x, None, "avg", global_pool=True, layout="NCHW")),
    "BatchNorm": ((6, 3), lambda x: S.BatchNorm(x, fix_gamma=False, name="l")),
    "softrelu": ((3, 4), lambda x: S.Activation(x, act_type="softrelu")),
    "softsign": ((3, 4), lambda x: S.Activation(x, act_type="softsign")),
    "Flatten": ((2, 3, 4), lambda x: S.Flatten(x)),
}


@pytest.mark.parametrize("which", LAYERS)
def test_layer_gradients(which):
    shape, make = LAYERS[which]
    net = make(S.Variable("x", dtype="float64"))
    rng = np.random.default_rng(SEED)
    shapes = dict(zip(net.list_arguments(), net.infer_shape(x=shape)[0], strict=True))
    values = {name: rng.normal(size=s) for name, s in shapes.items()}
    ex = net.bind(**{k: la.array(v) for k, v in values.items()})
    weights = rng.normal(size=net.infer_shape(x=shape)[1][0])
    ex.forward(is_train=True)
    ex.backward(la.array(weights))
    got = {name: g.numpy() for name, g in ex.grad_dict.items()}

    def loss(name, value):
        return float((ex.forward(is_train=True, **{name: value})[0].numpy() * weights).sum())

    for name, value in values.items():
        wanted = central(lambda v, name=name: loss(name, v), value.copy())
        loss(name, value)
        np.testing.assert_allclose(got[name], wanted, rtol=1e-6, atol=1e-7, err_msg=name)


def test_layouts_agree():
    rng = np.random.default_rng(SEED)
    x, w = rng.normal(size=(2, 5, 6, 4)), rng.normal(size=(3, 3, 2, 6))
    b = rng.normal(size=6)
    last = S.Convolution(S.Variable("x"), kernel=3, num_filter=6, num_group=2, pad=1, name="c")
    first = S.Convolution(
        S.Variable("x"), kernel=3, num_filter=6, num_group=2, pad=1, layout="NCHW", name="c"
    )
    a = last.eval(x=la.array(x), c_weight=la.array(w), c_bias=la.array(b))[0].numpy()
    c = first.eval(
        x=la.array(x.transpose(0, 3, 1, 2)),
        c_weight=la.array(w.transpose(3, 2, 0, 1)),
        c_bias=la.array(b),
    )[0].numpy()
    assert_same(c.transpose(0, 2, 3, 1), a)


# ---- outputs


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("normalization", ["null", "batch", "valid"])
def test_softmax_output(normalization):
    rng = np.random.default_rng(SEED)
    z, labels = rng.normal(size=(6, 3)), np.array([0, 2, -1, 1, -1, 0])
    net = S.SoftmaxOutput(
        S.Variable("z"),
        S.Variable("y"),
        grad_scale=0.5,
        use_ignore=True,
        normalization=normalization,
    )
    ex = net.bind(z=la.array(z), y=la.array(labels))
    out = ex.forward(is_train=True)[0].numpy()
    ex.backward([la.array(rng.normal(size=(6, 3)))])
    np.testing.assert_allclose(out, softmax(z), rtol=1e-14)
    wanted = (softmax(z) - np.eye(3)[labels]) * 0.5 * (labels >= 0)[:, None]
    wanted /= {"null": 1, "batch": 6, "valid": 4}[normalization]
    np.testing.assert_allclose(ex.grad_dict["z"].numpy(), wanted, rtol=1e-13, atol=1e-16)


def test_softmax_output_takes_the_last_axis():
    z = np.random.default_rng(SEED).normal(size=(2, 4, 3))
    net = S.SoftmaxOutput(S.Variable("z"), name="s")
    assert net.infer_shape(z=z.shape)[0] == [(2, 4, 3), (2, 4)]
    np.testing.assert_allclose(
        net.eval(z=la.array(z), s_label=la.zeros((2, 4)))[0].numpy(), softmax(z), rtol=1e-14
    )
    with pytest.raises(ShapeError, match=r"s \(SoftmaxOutput\): label must have shape \(2, 4\)"):
        net.bind(z=z.shape, s_label=(2,))


def test_a_label_that_is_no_class_raises():
    ex = S.SoftmaxOutput(S.Variable("z"), name="s").bind(z=la.ones((2, 3)))
    ex.forward(is_train=True, s_label=np.array([0, 3]))
    ex.backward()
    with pytest.raises(IndexError, match=r"test_symbol\.py"):
        ex.grad_dict["z"].numpy()
    ex.forward(is_train=True, s_label=np.array([0, 2]))
    ex.backward()
    assert ex.grad_dict["z"].numpy().shape == (2, 3)


@pytest.mark.parametrize(
    ("layer", "value", "slope"),
    [
        ("LinearRegressionOutput", lambda x: x, lambda y, t: y - t),
        ("LogisticRegressionOutput", lambda x: 1 / (1 + np.exp(-x)), lambda y, t: y - t),
        ("MAERegressionOutput", lambda x: x, lambda y, t: np.sign(y - t)),
    ],
)
def test_regression_outputs(layer, value, slope):
    rng = np.random.default_rng(SEED)
    x, t = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    net = getattr(S, layer)(S.Variable("x"), name="out", grad_scale=2.0)
    ex = net.bind(x=la.array(x), out_label=la.array(t))
    out = ex.forward(is_train=True)[0].numpy()
    ex.backward()
    np.testing.assert_allclose(out, value(x), rtol=1e-14)
    np.testing.assert_allclose(ex.grad_dict["x"].numpy(), slope(value(x), t) / 2, rtol=1e-13)


def test_make_loss_ignores_what_comes_from_above():
    x = S.Variable("x")
    ex = (S.MakeLoss(x * x, grad_scale=3.0) * 100).bind(x=la.array([2.0, -1.0]))
    ex.forward(is_train=True)
    ex.backward()
    np.testing.assert_array_equal(ex.grad_dict["x"].numpy(), [12, -6])


# ---- layers that act otherwise in training


def test_batch_norm_moves_its_statistics():
    net = S.BatchNorm(S.Variable("x"), momentum=0.75, eps=1e-5, fix_gamma=False, name="bn")
    assert net.list_arguments() == ["x", "bn_gamma", "bn_beta"]
    assert net.list_auxiliary_states() == ["bn_moving_mean", "bn_moving_var"]
    assert net.infer_shape(x=(8, 2, 2, 3))[2] == [(3,), (3,)]
    x = np.random.default_rng(SEED).normal(2, 3, size=(8, 2, 2, 3))
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    ex = net.bind(x=la.array(x))
    out = ex.forward(is_train=True)[0].numpy()
    np.testing.assert_allclose(out, (x - mean) / np.sqrt(var + 1e-5), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(ex.aux_dict["bn_moving_mean"].numpy(), mean / 4)
    np.testing.assert_allclose(ex.aux_dict["bn_moving_var"].numpy(), 0.75 + var / 4)
    out = ex.forward()[0].numpy()
    np.testing.assert_allclose(out, (x - mean / 4) / np.sqrt(0.75 + var / 4 + 1e-5), rtol=1e-12)
    np.testing.assert_allclose(ex.aux_dict["bn_moving_mean"].numpy(), mean / 4)


def test_statistics_move_once_a_pass_however_it_is_run():
    net = S.sum(S.BatchNorm(S.Variable("x"), momentum=0.5, name="bn"))
    x = np.array([[1.0], [3.0]])
    wanted, moving = [], 0.0
    for _ in range(5):
        moving = 0.5 * moving + 1.0
        wanted.append(moving)
    ex = net.bind(x=la.array(x))
    ex.forward(is_train=True)  # is never asked for anything
    ex.forward(is_train=True)
    ex.backward()
    ex.forward(is_train=True)
    ex.outputs[0].wait()
    ex.backward()
    mean = ex.aux_dict["bn_moving_mean"]
    assert mean.item() == wanted[2]
    ex.forward(is_train=True)
    assert mean.item() == wanted[3]  # a handle held from outside is up to date, too
    ex.backward()
    assert mean.item() == wanted[3]
    ex.forward(is_train=True)
    assert mean.item() == wanted[4]


def test_fixed_gamma_has_no_gradient():
    ex = S.BatchNorm(S.Variable("x"), name="bn").bind(x=la.array(np.arange(6.0).reshape(3, 2)))
    ex.arg_dict["bn_gamma"][:] = 5
    out = ex.forward(is_train=True)[0].numpy()
    ex.backward()
    assert abs(out).max() < 2
    assert ex.grad_dict["bn_gamma"].tolist() == [0, 0]
    assert ex.grad_dict["bn_beta"].tolist() == [3, 3]


def test_dropout_draws_as_the_imperative_loop():
    net = S.Dropout(S.Variable("x"), p=0.25) * S.Dropout(S.Variable("y"), p=0.5)
    values = drawn({"x": (50, 7), "y": (50, 7)})
    random.seed(5)
    ex = net.bind(**{k: la.array(v) for k, v in values.items()})
    got = []
    for peek in (False, True):
        out = ex.forward(is_train=True)
        if peek:
            out[0].wait()
        ex.backward()
        got.append((out[0].numpy(), ex.grad_dict["x"].numpy()))
    random.seed(5)
    x, y = la.array(values["x"]), la.array(values["y"])
    x.attach_grad()
    for out, grad in got:
        with autograd.record():
            dropped = la.dropout(x, *random.fast.draw(), 0.25)
            z = dropped * la.dropout(y, *random.fast.draw(), 0.5)
        z.backward(la.ones_like(z))
        assert_same(out, z)
        assert_same(grad, x.grad)
    assert not np.array_equal(got[0][0], got[1][0])
    state = random.fast.get_state()
    assert_same(ex.forward()[0], values["x"] * values["y"])
    assert random.fast.get_state() == state
    always = S.Dropout(S.Variable("x"), p=0.5, mode="always").bind(x=la.ones(100)).forward()[0]
    assert set(always.numpy()) == {0.0, 2.0}


# ---- executors


def test_bind_takes_shapes_and_arrays():
    net = mlp()
    weight = la.array(drawn({"w": (16, 5)})["w"])
    ex = net.bind("cpu", {"fc1_weight": weight}, data=(8, 5))
    assert ex.arg_dict["fc1_weight"] is weight
    assert [a.shape for a in ex.arg_arrays] == net.infer_shape(data=(8, 5))[0]
    assert all(a.dtype == np.float32 for a in ex.arg_arrays)
    assert not ex.arg_dict["fc2_weight"].numpy().any()
    ex = net.bind(la.cpu(), [(8, 5), weight, None, None, None, (8,)])
    assert ex.arg_dict["fc1_weight"] is weight
    ones = S.FullyConnected(S.Variable("x"), 2, weight=S.Variable("w", init=0.5), name="fc")
    assert (ones.bind(x=(1, 2)).arg_dict["w"].numpy() == 0.5).all()
    assert S.BatchNorm(S.Variable("x"), name="bn").bind(x=(2, 3)).aux_dict[
        "bn_moving_var"
    ].tolist() == [1, 1, 1]


def test_bind_with_what_does_not_fit():
    net = mlp()
    with pytest.raises(ShapeError, match="Variable 'data' has no shape"):
        net.bind()
    with pytest.raises(ShapeError, match=r"fc2 \(FullyConnected\): bias must have shape \(4,\)"):
        net.bind(data=(8, 5), fc2_bias=(5,))
    with pytest.raises(OptionError, match="no argument 'weight'"):
        net.bind(data=(8, 5), weight=(3,))
    with pytest.raises(OptionError, match="data given twice"):
        net.bind(args={"data": (8, 5)}, data=(8, 5))
    with pytest.raises(OptionError, match="2 values for 6 names"):
        net.bind(args=[(8, 5), None])
    with pytest.raises(DeviceError):
        net.bind("gpu:0", data=(8, 5))
    with pytest.raises(DTypeError, match=r"fc1 \(FullyConnected\)"):
        net.bind(data=la.ones((8, 5)), fc1_weight=la.ones((16, 5), "f4"))
    typed = S.exp(S.Variable("x", dtype="float32"))
    with pytest.raises(DTypeError, match="x is declared float32, got float64"):
        typed.bind(x=la.ones(3))
    same = S.Variable("a") + S.Variable("a")
    with pytest.raises(OptionError, match="two different Variables are named 'a'"):
        same.bind(a=(2,))
    w = S.Variable("w", shape=(3,))
    both = S.BatchNorm(S.Variable("x"), moving_mean=w, name="bn") + w
    with pytest.raises(OptionError, match=r"w: is an auxiliary state of bn \(BatchNorm\)"):
        both.bind(x=(2, 3))
    with pytest.raises(ShapeError, match="gradient of a"):
        S.exp(S.Variable("a")).bind(a=(2,), args_grad={"a": la.ones(3)})


def test_forward_with_what_does_not_fit():
    ex = mlp().simple_bind(data=(8, 5))
    before = ex.arg_dict["data"].numpy()
    with pytest.raises(ShapeError, match=r"data has shape \(8, 5\), got \(8, 6\)"):
        ex.forward(softmax_label=np.zeros(8), data=np.ones((8, 6)))
    with pytest.raises(OptionError, match="no argument 'dat'"):
        ex.forward(data=np.ones((8, 5)), dat=np.ones((8, 5)))
    with pytest.raises(DTypeError):
        ex.forward(data=np.ones((8, 5), "c8"))
    with pytest.raises(DTypeError):
        ex.forward(data=np.full((8, 5), "a"))
    assert_same(ex.arg_dict["data"], before)
    with pytest.raises(OptionError, match="no parameter 'fc9_weight'"):
        ex.copy_params_from({"fc9_weight": np.ones(3)})
    ex.copy_params_from(
        {"fc9_weight": np.ones(3), "fc1_bias": np.ones(16)}, allow_extra_params=True
    )
    assert ex.arg_dict["fc1_bias"].sum() == 16


def test_arguments_are_read_when_forward_is_called():
    a = S.Variable("a")
    ex = (a * a).bind(a=la.array([3.0]))
    out = ex.forward(is_train=True)
    ex.arg_dict["a"][:] = 5
    ex.backward()
    assert out[0].tolist() == [9.0] and ex.grad_dict["a"].tolist() == [6.0]
    seen = np.asarray(ex.arg_dict["a"])  # shares memory from here on
    out = ex.forward(is_train=True)
    seen[:] = 7
    ex.backward()
    assert out[0].tolist() == [25.0] and ex.grad_dict["a"].tolist() == [10.0]
    assert ex.forward()[0].tolist() == [49.0]
    held = np.asarray(ex.grad_dict["a"])
    ex.forward(is_train=True)
    ex.backward()
    ex.grad_dict["a"].wait()
    assert held.tolist() == [14.0]


def test_data_that_is_seen_from_outside_is_copied():
    ex = (S.Variable("a") * 2).bind(a=(2,))
    mine = la.array(np.ones(2, "f4"))
    seen = np.asarray(mine)
    ex.forward(a=mine)
    seen[:] = 9
    assert ex.arg_dict["a"].tolist() == [1, 1] and ex.outputs[0].tolist() == [2, 2]


def test_outputs_of_a_pass_keep_their_values():
    a = S.Variable("a")
    ex = S.Group([a + 1, a]).bind(a=la.array([1.0]))
    first = ex.forward(is_train=True)
    second = ex.forward(is_train=True, a=[2.0])
    third = ex.forward(a=[3.0])
    assert [x[0].item() for x in (first, second, third)] == [2, 3, 4]
    assert [x[1].item() for x in (first, second, third)] == [1, 2, 3]
    first[1][:] = 8
    assert ex.arg_dict["a"].tolist() == [3]
    assert ex.output_dict["a"].tolist() == [3] and len(ex.output_dict) == 2


def test_zero_dimensional_arguments():
    a, t = S.Variable("a"), S.Variable("t")
    ex = S.sum(a * t).bind(a=la.array([1.0, 2.0]), t=la.array(3.0))
    assert ex.forward(is_train=True)[0].item() == 9
    ex.backward()
    assert ex.grad_dict["t"].item() == 3 and ex.grad_dict["a"].tolist() == [3, 3]
    ex.arg_dict["t"][...] = 4.0
    assert ex.forward()[0].item() == 12
    before = records()
    assert ex.forward(t=2.0)[0].item() == 6
    assert records() == before


def test_reshape_shares_parameters():
    ex = mlp().simple_bind(data=(8, 5), grad_req={"fc1_weight": "write"})
    ex.copy_params_from(params_of(mlp(), data=(8, 5)))
    small = ex.reshape(data=(2, 5))
    assert small.arg_dict["fc1_weight"] is ex.arg_dict["fc1_weight"]
    assert small.grad_dict["fc1_weight"] is ex.grad_dict["fc1_weight"]
    assert small.arg_dict["data"].shape == (2, 5) and small.arg_dict["softmax_label"].shape == (2,)
    x = drawn({"x": (8, 5)})["x"]
    assert_same(small.forward(data=x[:2])[0], ex.forward(data=x)[0][:2])
    with pytest.raises(ShapeError, match="parameter fc1_weight would change"):
        ex.reshape(data=(8, 6))
    with pytest.raises(OptionError, match="no argument 'dat'"):
        ex.reshape(dat=(8, 6))


def test_a_failing_op_names_the_line_that_composed_it():
    x, i = S.Variable("x"), S.Variable("i", dtype="int64")
    net = S.take(x, i, axis=0, name="rows")
    ex = net.bind(x=la.array([1.0, 2.0]), i=la.array([0, 5]), grad_req="null")
    out = ex.forward()[0]
    for _ in range(2):
        with pytest.raises(IndexError, match=r"test_symbol.py:\d+"):
            out.numpy()
    assert ex.forward(i=[1, 0])[0].tolist() == [2.0, 1.0]


def test_a_deep_symbol_needs_no_recursion():
    x = y = S.Variable("x")
    for _ in range(3000):
        y = y + 1
    assert S.load_json(y.tojson()).tojson() == y.tojson()
    ex = y(S.Variable("z")).bind(z=la.array([0.0]))
    assert ex.forward(is_train=True)[0].item() == 3000
    ex.backward()
    assert ex.grad_dict["z"].item() == 1 and x.list_arguments() == ["x"]


def test_a_compiled_program_refuses_what_does_not_fit():
    x = _ir.placeholder((2,), np.dtype("float64"))
    n = _ir.scalar(2.0, np.dtype("float64"))
    program = runtime.Compiled([x * n, x], [x, n])
    one, two = la.array([1.0, 2.0]), la.array(np.ones(2, "f4"))
    node = la._handle.to_node
    before = records()
    found = program([node(one), _ir.scalar(3.0, np.dtype("float64"))])
    assert [la._handle.from_node(f).tolist() for f in found] == [[3, 6], [1, 2]]
    assert records() == before
    with pytest.raises(RuntimeError, match="takes float64"):
        program([node(two), n])
    with pytest.raises(RuntimeError, match="got no value"):
        program([x, n])
    with pytest.raises(RuntimeError, match="for a number"):
        program([node(one), node(la.array([3.0]).sum())])
    with pytest.raises(RuntimeError, match="unbound Variable"):
        la._handle.from_node(x * 2).wait()


def test_binding_leaves_no_pending_work():
    before = _ir.current().count
    ex = lenet().simple_bind(data=(2, 14, 14, 1))
    lenet().infer_shape(data=(2, 14, 14, 1))
    made = 2 * (len(ex.arg_dict) + len(ex.grad_dict))  # a number and its broadcast, each
    assert _ir.current().count - before <= made
    assert not _ir.current().recording and not _ir.current().training
    la.wait_all([ex.arg_arrays, ex.grad_dict])
    failures = []
    for net in (mlp(), lenet()):
        with pytest.raises(ShapeError) as failure:
            net.bind(data=(8, 12, 12, 1), fc2_bias=(77,))
        failures.append(failure)  # its frames hold what was replayed
    assert _ir.current().count <= before
    del ex
    assert _ir.current().count <= before
