"""A training step of a small network: forward, backward and an update with momentum."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from .frameworks import Framework

Step = Callable[[Any, Any], Any]
WIDTHS = (784, 512, 512, 10)
RATE, MOMENTUM = 0.05, 0.9
STEPS = 20  # of a run, which is waited for at its end


def initial() -> list[tuple[np.ndarray, np.ndarray]]:
    """The same weights (inputs first) and biases for every framework (He et al. 2015)."""
    rng = np.random.default_rng(1)
    return [
        (rng.standard_normal((m, n), "f4") * np.float32((2 / m) ** 0.5), np.zeros(n, np.float32))
        for m, n in pairwise(WIDTHS)
    ]


def training_step(f: Framework) -> Callable[..., Any] | None:
    """Twenty steps on one batch; the last loss."""
    made = STEPS_OF.get(f.family)
    if made is None:
        return None
    step = made(f)

    def run(images: Any, labels: Any) -> Any:
        for _ in range(STEPS):
            loss = step(images, labels)
        return loss

    return run


def numpy_step(f: Framework) -> Step:
    """By hand."""
    layers = initial()
    velocities = [(np.zeros_like(w), np.zeros_like(b)) for w, b in layers]

    def step(images: np.ndarray, labels: np.ndarray) -> Any:
        rows = np.arange(len(labels))
        inputs = [images]
        for w, b in layers[:-1]:
            inputs.append(np.maximum(inputs[-1] @ w + b, 0))
        logits = inputs[-1] @ layers[-1][0] + layers[-1][1]
        logits -= logits.max(1, keepdims=True)
        sums = np.exp(logits).sum(1, keepdims=True)
        loss = (np.log(sums[:, 0]) - logits[rows, labels]).mean()
        g = np.exp(logits) / sums
        g[rows, labels] -= 1
        g /= len(labels)
        for i in range(len(layers) - 1, -1, -1):
            grads = (inputs[i].T @ g, g.sum(0))
            if i:
                g = (g @ layers[i][0].T) * (inputs[i] > 0)
            for p, v, d in zip(layers[i], velocities[i], grads, strict=True):
                v *= MOMENTUM
                v -= RATE * d
                p += v
        return loss

    return step


def torch_step(f: Framework) -> Step:
    """`torch.nn` and `torch.optim`."""
    torch, nn = f.xp, f.xp.nn
    parts: list[Any] = []
    for w, b in initial():
        layer = nn.Linear(*w.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(w.T.copy()))
            layer.bias.copy_(torch.from_numpy(b))
        parts += [layer, nn.ReLU()]
    net = f.compile(nn.Sequential(*parts[:-1]))
    measure = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), RATE, MOMENTUM)

    def step(images: Any, labels: Any) -> Any:
        optimizer.zero_grad()
        loss = measure(net(images), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def jax_step(f: Framework) -> Step:
    """A pure function of parameters and velocities, which are donated."""
    import jax
    import jax.numpy as jnp

    params = [(jnp.asarray(w), jnp.asarray(b)) for w, b in initial()]
    state = (params, jax.tree.map(jnp.zeros_like, params))

    def loss_of(params: Any, images: Any, labels: Any) -> Any:
        x = images
        for w, b in params[:-1]:
            x = jax.nn.relu(x @ w + b)
        scores = jax.nn.log_softmax(x @ params[-1][0] + params[-1][1])
        return -jnp.take_along_axis(scores, labels[:, None], 1).mean()

    def update(state: Any, images: Any, labels: Any) -> Any:
        params, velocities = state
        loss, grads = jax.value_and_grad(loss_of)(params, images, labels)
        velocities = jax.tree.map(lambda v, g: MOMENTUM * v - RATE * g, velocities, grads)
        return (jax.tree.map(lambda p, v: p + v, params, velocities), velocities), loss

    compiled = jax.jit(update, donate_argnums=0)

    def step(images: Any, labels: Any) -> Any:
        nonlocal state
        state, loss = compiled(state, images, labels)
        return loss

    return step


def mlx_step(f: Framework) -> Step:
    """`mlx.nn` and `mlx.optimizers`; compiled as their documentation shows."""
    from functools import partial

    import mlx.nn as nn
    import mlx.optimizers as optim

    mx = f.xp
    parts: list[Any] = []
    for w, b in initial():
        layer = nn.Linear(*w.shape)
        layer.weight, layer.bias = mx.array(w.T.copy()), mx.array(b)
        parts += [layer, nn.relu]
    net = nn.Sequential(*parts[:-1])
    optimizer = optim.SGD(RATE, MOMENTUM)
    state = [net.state, optimizer.state]

    def loss_of(net: Any, images: Any, labels: Any) -> Any:
        return nn.losses.cross_entropy(net(images), labels, reduction="mean")

    def step(images: Any, labels: Any) -> Any:
        loss, grads = nn.value_and_grad(net, loss_of)(net, images, labels)
        optimizer.update(net, grads)
        return loss

    if f.compiles:
        step = partial(mx.compile, inputs=state, outputs=state)(step)

    def evaluated(images: Any, labels: Any) -> Any:
        loss = step(images, labels)
        mx.async_eval(loss, *state)
        return loss

    return evaluated


def lazyarray_step(f: Framework) -> Step:
    """`la.nn` and `la.optim`."""
    la = f.xp
    layers = [
        la.nn.Dense(n, activation="relu" if i < len(WIDTHS) - 2 else None)
        for i, n in enumerate(WIDTHS[1:])
    ]
    net = la.nn.Sequential(*layers)
    net.initialize(seed=0)
    net(la.zeros((1, WIDTHS[0]), "float32"))
    for layer, (w, b) in zip(layers, initial(), strict=True):
        layer.weight.set_data(w if layer.weight.shape == w.shape else w.T.copy())
        layer.bias.set_data(b)
    optimizer = la.optim.SGD(net.parameters(), RATE, MOMENTUM)
    measure = la.nn.SoftmaxCrossEntropyLoss()

    def step(images: Any, labels: Any) -> Any:
        with la.autograd.record():
            loss = measure(net(images), labels).mean()
        loss.backward()
        optimizer.step()
        return loss

    return f.compile(step)


STEPS_OF = {
    "numpy": numpy_step,
    "torch": torch_step,
    "jax": jax_step,
    "mlx": mlx_step,
    "lazyarray": lazyarray_step,
}
