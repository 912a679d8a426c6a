"""Memory of devices that others see: on the simulated device, and on a stand-in for CuPy."""

import ctypes
import gc
import random

import cuda_loops
import numpy as np
import pytest
import stand_in

import lazyarray as la
from lazyarray import _dlpack, autograd, device
from lazyarray.backends import cuda
from lazyarray.backends.simulated import opened, simulated

DATA = np.arange(12.0).reshape(3, 4)


@pytest.fixture
def there():
    yield simulated(0)
    opened(0).gate.set()


@pytest.fixture(scope="module")
def gpu(tmp_path_factory):
    """A device of kind "lending-gpu" whose backend is a Gpu's, as the only one that CUDA knows."""
    with pytest.MonkeyPatch.context() as patch:
        stand_in.install(patch, tmp_path_factory.mktemp("kernels"))
        patch.setitem(device.openers, "lendinggpu", cuda.Gpu)
        found = device.as_device("lendinggpu:0")
        patch.setattr(backend_of(found), "dlpack_device", lambda: (2, 7))
        yield found


def backend_of(where):
    return device.backend_of(device.number_of(where))


def seen_at(address, shape, dtype="f8"):
    """What another library sees at an address of the stand-in's GPU."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * count).from_address(address), dtype).reshape(shape)


class Theirs:
    """An array of another library's on the GPU: it hands out capsules of version 1, or older."""

    def __init__(self, data, place=(2, 7), old=False, writeable=True):
        self.data, self.place, self.old, self.writeable = data, place, old, writeable
        self.asked = []

    def __dlpack_device__(self):
        return self.place

    def __dlpack__(self, *, stream=None, **more):
        if self.old and more:
            raise TypeError("unexpected argument 'max_version'")
        self.asked.append(stream)
        data = self.data
        return _dlpack.capsule(
            *(data.ctypes.data, data.shape, data.strides, data.dtype, self.place, data),
            *(self.writeable, not self.old),
        )


class Numbas:
    """An array that shows the CUDA array interface alone."""

    def __init__(self, data, stream=None, **more):
        self.data = data
        self.__dict__["interface"] = {
            "shape": data.shape, "typestr": data.dtype.str, "data": (data.ctypes.data, False),
            "version": 3, "stream": stream, **more,
        }  # fmt: skip

    @property
    def __cuda_array_interface__(self):
        return self.interface


# ---- aliasing, on the simulated device


def test_both_sides_see_each_others_writes(there):
    x = la.array(DATA, device=there)
    y = la.from_dlpack(x)
    wanted = DATA.copy()
    assert y.device == there and not np.shares_memory(x.numpy(), y.numpy())
    x += 1
    wanted += 1
    np.testing.assert_array_equal(y.numpy(), wanted)
    y[:, 1] = x[:, 0] * 100
    wanted[:, 1] = wanted[:, 0] * 100
    np.testing.assert_array_equal(x.numpy(), wanted)
    before = x * 2
    y[...] = 7
    np.testing.assert_array_equal(before.numpy(), wanted * 2)
    np.testing.assert_array_equal(x.numpy(), np.full((3, 4), 7.0))


@pytest.mark.parametrize("seed", range(8))
def test_random_writes_through_either(there, seed):
    draw = random.Random(seed)
    x, wanted = la.array(DATA, device=there), DATA.copy()
    kept = x * 1  # an earlier value, which must stay
    sides = [x, la.from_dlpack(x), la.from_dlpack(x[1:])]
    views = [wanted, wanted, wanted[1:]]
    for step in range(30):
        which = draw.randrange(3)
        target, mirror = sides[which], views[which]
        other = draw.randrange(2)
        key = draw.choice([np.s_[:], np.s_[0], np.s_[:, ::2], np.s_[..., 1], np.s_[:, ::-1]])
        if draw.random() < 0.5:
            target[key] = sides[other][0, 0] + step
            mirror[key] = views[other][0, 0] + step
        else:
            target[key] *= 0.5
            mirror[key] *= 0.5
        read = draw.randrange(3)
        np.testing.assert_array_equal((sides[read] + 0).numpy(), views[read])
    np.testing.assert_array_equal(kept.numpy(), DATA)


def test_python_does_not_wait_for_the_device(there):
    x = la.array(DATA, device=there)
    la.eval(x)
    opened(0).gate.clear()
    y = la.from_dlpack(x)
    z = y * 2
    x += 1
    w = y * 2
    opened(0).gate.set()
    np.testing.assert_array_equal(z.numpy(), DATA * 2)
    np.testing.assert_array_equal(w.numpy(), DATA * 2 + 2)


def test_a_share_that_goes_lets_the_storage_be(there):
    x = la.array(DATA, device=there)
    y = la.from_dlpack(x)
    del y
    gc.collect()
    z = x + 1
    x += 1
    np.testing.assert_array_equal(z.numpy(), DATA + 1)
    np.testing.assert_array_equal(x.numpy(), DATA + 1)
    used = opened(0).in_use
    for _ in range(20):
        shares = [la.from_dlpack(la.array(np.ones(1000), device=there)) for _ in range(5)]
        la.eval(*shares)
        del shares
        opened(0).synchronize()
    assert opened(0).in_use < used + 5 * 5 * 8192  # not 20 times 5 of them


def test_a_scalar_and_copies_are_copied(there):
    x = la.array(DATA, device=there)
    total = x.sum()
    shared = la.from_dlpack(total)
    shared += 1
    assert (total.item(), shared.item()) == (66.0, 67.0)
    copy = la.from_dlpack(x, copy=True)
    copy += 1
    np.testing.assert_array_equal(x.numpy(), DATA)
    moved = la.from_dlpack(x, device="cpu")
    assert moved.device == la.cpu()
    np.testing.assert_array_equal(moved.numpy(), DATA)
    assert la.from_dlpack(x, device=simulated(1)).device == simulated(1)


def test_device_and_copy_are_heeded(there):
    x = la.array(DATA, device=there)
    for where in (la.cpu(), simulated(1), there):
        copy = la.from_dlpack(x, device=where, copy=True)
        assert copy.device == where
        copy[0] = -1
    np.testing.assert_array_equal(x.numpy(), DATA)
    assert la.from_dlpack(x, device=there, copy=False).device == there
    for where in (la.cpu(), simulated(1)):
        with pytest.raises(ValueError, match="needs a copy"):
            la.from_dlpack(x, device=where, copy=False)
    with pytest.raises(ValueError, match="needs a copy"):
        la.from_dlpack(DATA, device=there, copy=False)


def test_copies_of_views(there):
    x = la.array(DATA, device=there)
    for view in (lambda a: a.T, lambda a: a[::2, ::-1], lambda a: a[1:, 1:], lambda a: a[:, :0]):
        for copy in (la.from_dlpack(view(x), copy=True), la.array(Shown(view(x)))):
            assert copy.device == there
            copy += 0
            np.testing.assert_array_equal(copy.numpy(), view(DATA))
    assert la.from_dlpack(x.T, copy=True, device="cpu").tolist() == DATA.T.tolist()


class Shown:
    """An array through DLPack alone."""

    def __init__(self, array):
        self.array = array
        self.__dlpack__, self.__dlpack_device__ = array.__dlpack__, array.__dlpack_device__


def test_capsules_say_whether_they_are_copies(there):
    x = la.array(DATA, device=there)
    with pytest.raises(BufferError, match="scalar"):
        x.sum().__dlpack__(copy=False)
    for array, copy, copied in ((x, None, False), (x, True, True), (x.sum(), None, True)):
        tensor = _dlpack.Tensor(array.__dlpack__(max_version=(1, 0), copy=copy))
        assert tensor.copied == copied


def test_bfloat16_of_other_libraries_on_the_cpu(there):
    ours = la.array([1.0, 2.5], dtype=la.bfloat16)
    theirs = Brain(ours)
    for made in (la.asarray(theirs), la.array(theirs), la.array(theirs, device=there)):
        assert made.dtype == la.bfloat16
        assert made.astype("f4").tolist() == [1.0, 2.5]
    assert la.asarray(theirs, dtype="f4").tolist() == [1.0, 2.5]
    assert (ours + theirs).astype("f4").tolist() == [2.0, 5.0]


class Brain(Shown):
    """A tensor of a library whose bfloat16 NumPy cannot take."""

    dtype = "library.bfloat16"

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Got unsupported ScalarType BFloat16")


def test_gradients_reach_what_is_shared(there):
    x = la.array(DATA, device=there)
    y = la.from_dlpack(x)
    x.attach_grad()
    with autograd.record():
        loss = (x * x).sum()
    loss.backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * DATA)
    y[0] = 0
    assert x[0].sum().item() == 0


def test_what_cannot_be_shared(there):
    x = la.array(DATA, device=there)
    with pytest.raises(ValueError, match="C-contiguous"):
        la.from_dlpack(x.T)
    with pytest.raises(BufferError, match="lies on"):
        x.__dlpack__(dl_device=(2, 0))
    with pytest.raises(BufferError, match="not the CPU's"):
        x.__dlpack__(dl_device=(1, 0), copy=False)
    with pytest.raises(BufferError, match="read-only"):
        la.broadcast_to(x, (2, 3, 4)).__dlpack__()
    assert not hasattr(x, "__cuda_array_interface__")
    assert not hasattr(la.ones(3), "__cuda_array_interface__")
    np.testing.assert_array_equal(np.from_dlpack(x, device="cpu"), DATA)
    taken = x.__dlpack__()
    _dlpack.Tensor(taken)
    with pytest.raises(BufferError, match="taken before"):
        _dlpack.Tensor(taken)


# ---- streams, on the stand-in


@cuda_loops.needs_compiler
def test_a_capsule_lets_the_consumers_stream_wait(gpu):
    x = la.array(DATA, device=gpu) + 1
    ours = backend_of(gpu).stream.ptr
    for stream, waits in [(None, 1), (1, 1), (2, 2), (55, 55), (-1, None), (ours, None)]:
        tensor = None  # the one before
        la.eval(x)
        stand_in.LOG.clear()
        tensor = _dlpack.Tensor(x.__dlpack__(stream=stream, max_version=(1, 1)))
        wanted = [] if waits is None else [("record", ours), ("wait", waits, ours)]
        assert list(stand_in.LOG) == wanted, stream
        assert (tensor.device, tensor.shape, tensor.dtype) == ((2, 7), (3, 4), "f8")
        np.testing.assert_array_equal(seen_at(tensor.address, (3, 4)), DATA + 1)
    with pytest.raises(ValueError, match="stream 0"):
        x.__dlpack__(stream=0)


@cuda_loops.needs_compiler
def test_default_streams_and_ours_wait_for_each_other_while_memory_is_shared(gpu):
    x = la.array(DATA, device=gpu)
    la.eval(x)
    ours = backend_of(gpu).stream.ptr
    tensor = _dlpack.Tensor(x.__dlpack__())
    theirs = seen_at(tensor.address, (3, 4))
    stand_in.LOG.clear()
    x *= 2
    np.testing.assert_array_equal(theirs, DATA * 2)
    both = [event for event in stand_in.LOG if event[0] == "wait"]
    first = [("wait", ours, 1), ("wait", ours, 2)]
    assert both[:2] == first and both[-2:] == [("wait", 1, ours), ("wait", 2, ours)]
    theirs += 1  # as their kernels would
    np.testing.assert_array_equal((x + 0).numpy(), DATA * 2 + 1)
    del tensor
    gc.collect()
    assert backend_of(gpu).shared == 0
    la.eval(x + 1)
    stand_in.LOG.clear()
    la.eval(x + 2)
    assert stand_in.LOG == []


@cuda_loops.needs_compiler
def test_the_cuda_array_interface(gpu):
    x = la.array(DATA, device=gpu)
    found = x.T.__cuda_array_interface__
    assert found["version"] == 3 and found["stream"] == backend_of(gpu).stream.ptr
    assert (found["shape"], found["strides"], found["typestr"]) == ((4, 3), (8, 32), "<f8")
    address, read_only = found["data"]
    assert not read_only and x.__cuda_array_interface__["strides"] is None
    assert x[:0].__cuda_array_interface__["data"][0] == 0
    assert not hasattr(x.astype(la.bfloat16), "__cuda_array_interface__")
    x[0, 0] = 50
    assert seen_at(address, (3, 4))[0, 0] == 50
    seen_at(address, (3, 4))[1] = 3  # as a function of Numba's would
    np.testing.assert_array_equal(x[1].numpy(), [3.0] * 4)


@cuda_loops.needs_compiler
@pytest.mark.parametrize("old", [False, True])
def test_arrays_of_others_are_wrapped(gpu, old):
    data = DATA.copy()
    theirs = Theirs(data, old=old)
    for wrap in (la.from_dlpack, la.asarray):
        x = wrap(theirs)
        assert x.device == gpu and theirs.asked[-1] == backend_of(gpu).stream.ptr
        x[0] += 1
        data[1] *= 2
        np.testing.assert_array_equal(x.numpy(), data)
        np.testing.assert_array_equal((x @ x.T).numpy(), data @ data.T)
    copy = la.array(theirs)
    turned = la.array(Theirs(data.T, old=old))
    assert turned.device == gpu and turned.tolist() == data.T.tolist()
    managed = la.from_dlpack(Theirs(data, place=(13, 7), old=old))
    assert managed.device == gpu and managed.tolist() == data.tolist()
    del managed, turned
    data[2] = 99
    assert copy.device == gpu and (copy[2].numpy() != 99).all()
    assert la.asarray(theirs, dtype="f4").dtype == np.float32
    assert la.from_dlpack(theirs, device="cpu").device == la.cpu()
    del x, copy
    gc.collect()
    assert backend_of(gpu).shared == 0


@cuda_loops.needs_compiler
def test_arrays_with_the_interface_alone(gpu):
    data = DATA.astype("f4")
    x = la.asarray(Numbas(data, stream=33))
    assert stand_in.LOG[-2:] == [("record", 33), ("wait", backend_of(gpu).stream.ptr, 33)]
    x -= 1
    np.testing.assert_array_equal(data, DATA.astype("f4") - 1)
    with pytest.raises(ValueError, match="C-contiguous"):
        la.asarray(Numbas(data, strides=(4, 12)))
    with pytest.raises(TypeError, match="masked"):
        la.asarray(Numbas(data, mask=object()))
    locked = la.from_dlpack(Theirs(data, writeable=False))
    with pytest.raises(ValueError, match="read-only"):
        locked[0] = 1


@cuda_loops.needs_compiler
def test_what_goes_is_kept_until_the_stream_is_done(gpu, monkeypatch):
    monkeypatch.setattr(stand_in.Event, "done", False)
    data = DATA.copy()
    x = la.from_dlpack(Theirs(data))
    la.eval(x + 1)
    kept = len(backend_of(gpu).staged)
    del x
    gc.collect()
    assert len(backend_of(gpu).staged) > kept
    monkeypatch.undo()
    backend_of(gpu).synchronize()
    assert not backend_of(gpu).staged


@cuda_loops.needs_compiler
def test_what_goes_while_a_graph_is_captured_has_no_part_in_it(gpu):
    x = la.from_dlpack(Theirs(DATA.copy()))
    la.eval(x + 1)
    backend, kept = backend_of(gpu), [x]
    shared = backend.shared
    del x

    def issue():
        kept.clear()
        gc.collect()
        assert backend.shared == shared
        stand_in.LOG.append("captured")

    stand_in.LOG.clear()
    assert backend.capture(issue) is not None
    assert stand_in.LOG[0] == "captured" and backend.shared == shared - 1
