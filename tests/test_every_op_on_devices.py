"""Every registered op and its gradient on arrays of a device, where new arrays lie on the CPU."""

import importlib
import pkgutil
import warnings

import numpy as np
import pytest
from lazyarray._handle import from_node, to_node
from samples import SAMPLES

import lazyarray as la
import lazyarray.ops
from lazyarray import _ir, autograd
from lazyarray.backends.simulated import simulated

for module in pkgutil.iter_modules(lazyarray.ops.__path__):
    importlib.import_module(f"lazyarray.ops.{module.name}")


def recorded(name, sample, arrays):
    """What an op gives on arrays, as a list of Nodes."""
    op = _ir.registry[name]
    nodes = [to_node(x) for x in arrays]
    call = sample.call or (lambda op, *nodes, **attributes: op(*nodes, **attributes))
    found = call(op, *nodes, **sample.attributes)
    return list(found) if isinstance(found, tuple | list) else [found]


def computed(name, sample, drawn, where):
    """The values of an op's results and of its gradients, with the devices of these."""
    arrays = [la.array(x, device=where) for x in drawn]
    wanted = [arrays[i] for i in sample.gradient]
    for x in wanted:
        x.attach_grad()
    with autograd.record():
        heads = [from_node(y, False) for y in recorded(name, sample, arrays)]
    values = [y.numpy() for y in heads]
    tracked = [y for y in heads if wanted and to_node(y).tracked and y.dtype.kind in "fc"]
    if tracked:
        autograd.backward(tracked)
        heads += [x.grad for x in wanted]
        values += [x.grad.numpy() for x in wanted]
    return values, {y.device for y in heads}


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_results_and_gradients_lie_with_the_operands(name):
    there = simulated(0)
    for number, sample in enumerate(SAMPLES[name]):
        dtype = np.dtype("f8" if "f" in sample.kinds else "i8" if "i" in sample.kinds else "?")
        drawn = sample.draw(dtype, seed=number)
        if not drawn:
            continue
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                wanted, _ = computed(name, sample, drawn, la.cpu())
            except TypeError:
                continue
            found, devices = computed(name, sample, drawn, there)
        assert devices == {there}, f"{name}, sample {number}"
        for got, expected in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(got, expected, err_msg=f"{name}, sample {number}")
