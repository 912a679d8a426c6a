"""Datasets from files, good and damaged, and the loader that batches them."""

import gzip
import hashlib
import os
import struct
import subprocess
import sys
import threading

import numpy as np
import pytest

from lazyarray import _engine
from lazyarray.data import MNIST, ArrayDataset, DataLoader, Dataset, Digits, mnist, read_idx
from lazyarray.errors import (
    DataError,
    DTypeError,
    FileError,
    OptionError,
    ShapeError,
)

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(array):
    """The bytes of an IDX file."""
    array = np.asarray(array)
    kind = array.dtype.str[1:]
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[kind], array.ndim, *array.shape)
    return head + array.astype(f">{kind}").tobytes()


@pytest.fixture
def places(tmp_path, monkeypatch):
    """No data anywhere, no mirror: folders `root`, `data`, `cache` and `mirror` to fill."""
    for name in ("root", "data", "cache", "mirror"):
        (tmp_path / name).mkdir()
    monkeypatch.delenv("LAZYARRAY_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(mnist, "MIRRORS", ((tmp_path / "mirror").as_uri() + "/",))
    return tmp_path


@pytest.fixture
def files(monkeypatch):
    """The bytes of a small MNIST, whose checksums are the expected ones."""
    rng = np.random.default_rng(0)
    made = {}
    for split, count in (("train", 13), ("t10k", 7)):
        pixels = rng.integers(0, 256, (count, 28, 28), np.uint8)
        made[f"{split}-images-idx3-ubyte"] = idx(pixels)
        made[f"{split}-labels-idx1-ubyte"] = idx(rng.integers(0, 10, count).astype(np.uint8))
    sums = {name: hashlib.md5(data).hexdigest() for name, data in made.items()}
    monkeypatch.setattr(mnist, "MD5", sums)
    return made


def put(folder, files, compress=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        if compress:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (folder / name).write_bytes(data)


# IDX files


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 0, 3), (2, 3, 4)])
def test_idx_reads_what_was_written(tmp_path, kind, shape, compress):
    array = np.random.default_rng(1).integers(0, 100, shape).astype(kind)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(idx(array)) if compress else idx(array))
    found = read_idx(path)
    assert found.dtype == array.dtype and found.dtype.isnative
    assert not found.flags.writeable
    np.testing.assert_array_equal(found, array, strict=True)


WHOLE = idx(np.arange(60, dtype=np.uint8).reshape(3, 4, 5))

DAMAGED = {
    "empty": (b"", "no IDX file: it starts with nothing"),
    "short": (WHOLE[:3], "no IDX file: it starts with 00 00 08"),
    "text": (b"<html>404</html>", "no IDX file: it starts with 3c 68 74 6d"),
    "type": (b"\0\0\x0a" + WHOLE[3:], "no IDX file: it starts with 00 00 0a 03"),
    "dimensions": (b"\0\0\x08\x41" + bytes(4 * 65), "no IDX file: it starts with 00 00 08 41"),
    "header": (WHOLE[:10], "ends inside its header"),
    "body": (WHOLE[:-1], r"has 75 bytes uncompressed, expected 76 for shape \(3, 4, 5\)"),
    "tail": (WHOLE + b"\0", "has 77 bytes uncompressed, expected 76"),
    "lying": (b"\0\0\x0e\x03" + b"\xff" * 12, "has 16 bytes uncompressed, expected 633825"),
    "gzip cut": (gzip.compress(WHOLE)[:-9], "truncated gzip"),
    "gzip head": (gzip.compress(WHOLE)[:5], "truncated gzip"),
    "gzip method": (b"\x1f\x8b\x07" + gzip.compress(WHOLE)[3:], "damaged"),
    "gzip crc": (gzip.compress(WHOLE)[:-8] + bytes(8), "damaged"),
}


@pytest.mark.parametrize("damage", DAMAGED, ids=lambda d: d.replace(" ", "_"))
def test_damaged_idx_is_named(tmp_path, damage):
    data, message = DAMAGED[damage]
    path = tmp_path / "train-images"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)
    assert "Delete the file" in str(caught.value)


def test_missing_and_unreadable_idx(tmp_path):
    with pytest.raises(FileError, match=r"cannot read .*nowhere: No such file"):
        read_idx(tmp_path / "nowhere")
    with pytest.raises(OSError, match="Is a directory"):
        read_idx(tmp_path)


# MNIST


def check(dataset, files, split):
    pixels = np.frombuffer(files[f"{split}-images-idx3-ubyte"], np.uint8, offset=16)
    labels = np.frombuffer(files[f"{split}-labels-idx1-ubyte"], np.uint8, offset=8)
    images = pixels.reshape(-1, 28, 28, 1) / np.float32(255)
    np.testing.assert_array_equal(dataset.images, images, strict=True)
    np.testing.assert_array_equal(dataset.labels, labels.astype(np.int64), strict=True)
    assert len(dataset) == len(labels)
    some = np.array([3, 0, 3])
    for parts in (dataset.take(some), zip(*(dataset[int(i)] for i in some), strict=True)):
        for part, whole in zip(parts, (images, dataset.labels), strict=True):
            np.testing.assert_array_equal(np.asarray(part), whole[some], strict=True)
    assert isinstance(dataset, Dataset)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("sub", ["", "mnist", "MNIST/raw"])
@pytest.mark.parametrize("train", [False, True])
def test_mnist_in_a_given_folder(places, files, sub, compress, train):
    put(places / "root" / sub, files, compress)
    check(MNIST(places / "root", train), files, "train" if train else "t10k")


def test_mnist_looks_in_order(places, files, monkeypatch):
    with pytest.raises(FileError, match=r"train-images-idx3-ubyte is not in .*root, .*data, "):
        monkeypatch.setenv("LAZYARRAY_DATA", str(places / "data"))
        MNIST(places / "root")
    put(places / "mirror", files)
    damaged = {name: data[:-1] for name, data in files.items()}
    check(MNIST(places / "root"), files, "train")
    cached = sorted(p.name for p in (places / "cache/lazyarray/mnist").iterdir())
    assert cached == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]
    put(places / "mirror", damaged)
    check(MNIST(places / "root"), files, "train")
    put(places / "data" / "mnist", files)
    put(places / "cache/lazyarray/mnist", damaged)
    check(MNIST(places / "root"), files, "train")
    put(places / "root", files)
    put(places / "data" / "mnist", damaged)
    check(MNIST(places / "root"), files, "train")
    with pytest.raises(DataError, match="data"):
        MNIST()


def test_mnist_wrong_checksum(places, files):
    name = "t10k-labels-idx1-ubyte"
    other = files[name][:-1] + bytes([files[name][-1] ^ 1])
    put(places / "root", {**files, name: other})
    check(MNIST(places / "root"), files, "train")
    found, wanted = hashlib.md5(other).hexdigest(), hashlib.md5(files[name]).hexdigest()
    message = rf"{name}.gz has the checksum {found} uncompressed, expected {wanted}"
    with pytest.raises(DataError, match=message):
        MNIST(places / "root", train=False)


@pytest.mark.parametrize("damage", DAMAGED, ids=lambda d: d.replace(" ", "_"))
def test_damaged_download_is_not_kept(places, files, damage, monkeypatch):
    put(places / "mirror", files)
    (places / "mirror" / "train-images-idx3-ubyte.gz").write_bytes(DAMAGED[damage][0])
    with pytest.raises(FileError, match=r"could not be downloaded: file:") as caught:
        MNIST()
    assert "la.data.Digits" in str(caught.value)
    assert not list((places / "cache/lazyarray/mnist").iterdir())
    put(places / "second", files)
    mirrors = [(places / m).as_uri() + "/" for m in ("absent", "mirror", "second")]
    monkeypatch.setattr(mnist, "MIRRORS", mirrors)
    check(MNIST(), files, "train")


def test_mnist_folders_that_are_none(places, files, monkeypatch):
    with pytest.raises(FileError, match=r"root is .*nowhere, which is no folder"):
        MNIST(places / "nowhere")
    monkeypatch.setenv("LAZYARRAY_DATA", str(places / "typo"))
    with pytest.raises(FileError, match=r"LAZYARRAY_DATA is .*typo, which is no folder"):
        MNIST()
    monkeypatch.delenv("LAZYARRAY_DATA")
    (places / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(places / "file"))
    with pytest.raises(FileError, match=r"cannot write to the cache .*file/lazyarray/mnist"):
        MNIST()


def test_real_mnist():
    if not os.environ.get("LAZYARRAY_DATA"):
        pytest.skip("LAZYARRAY_DATA names no folder")
    train, test = MNIST(), MNIST(train=False)
    assert train.pixels.shape == (60000, 28, 28, 1) and len(test) == 10000
    assert train.labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert test.images.dtype == np.float32 and test.images.min() == 0 and test.images.max() == 1


# Digits and arrays


def test_digits_are_what_was_published():
    halves = [Digits(train=True), Digits(train=False)]
    assert [len(d) for d in halves] == [1442, 355]
    labels = np.concatenate([d.labels for d in halves])
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    for d in halves:
        assert d.images.shape == (len(d), 8, 8, 1) and d.images.dtype == np.float32
        assert d.labels.dtype == np.int64
        assert (d.images * 16 == np.round(d.images * 16)).all()
        assert d.images.min() == 0 and d.images.max() == 1
    first = halves[0].images[0, ..., 0] * 16
    assert first[1].tolist() == [0, 0, 13, 15, 10, 15, 5, 0] and halves[0].labels[0] == 0


def test_enlarged_digits():
    zoom = pytest.importorskip("scipy.ndimage").zoom
    small, large = Digits(train=False), Digits(train=False, size=28)
    assert large.images.shape == (355, 28, 28, 1) and large.images.dtype == np.float32
    np.testing.assert_array_equal(large.labels, small.labels)
    expected = zoom(small.images[..., 0], (1, 3.5, 3.5), order=1, grid_mode=True, mode="nearest")
    np.testing.assert_allclose(large.images[..., 0], expected, atol=1e-6)
    with pytest.raises(OptionError, match="size is 14, expected 8 or 28"):
        Digits(size=14)


def test_array_dataset():
    pairs = ArrayDataset(np.arange(6).reshape(3, 2), [1, 2, 3])
    assert len(pairs) == 3 and isinstance(pairs, Dataset)
    assert pairs[2][0].tolist() == [4, 5] and pairs[2][1] == 3
    assert [p.tolist() for p in pairs.take(np.array([2, 0]))] == [[[4, 5], [0, 1]], [3, 1]]
    with pytest.raises(IndexError):
        pairs[3]
    for arrays, message in [
        ((), "got none"),
        (([1], 2), r"got \(1,\), \(\)"),
        (([1], [1, 2]), r"different lengths: \(1,\), \(2,\)"),
    ]:
        with pytest.raises(ShapeError, match=message):
            ArrayDataset(*arrays)


# The loader


def batches(loader):
    return [tuple(np.asarray(part).tolist() for part in parts) for parts in loader]


@pytest.fixture(params=[0, 1, 2, 50], ids=lambda p: f"prefetch{p}")
def prefetch(request):
    return request.param


def test_loader_in_order(prefetch):
    loader = DataLoader(ArrayDataset(np.arange(7), np.arange(7) * 10), 3, prefetch=prefetch)
    expected = [
        ([0, 1, 2], [0, 10, 20]),
        ([3, 4, 5], [30, 40, 50]),
        ([6], [60]),
    ]
    assert len(loader) == 3
    assert batches(loader) == expected and batches(loader) == expected
    dropping = DataLoader(loader.dataset, 3, drop_last=True, prefetch=prefetch)
    assert len(dropping) == 2 and batches(dropping) == expected[:2]
    assert batches(DataLoader(ArrayDataset(np.zeros((0, 4))), 3, prefetch=prefetch)) == []
    assert batches(DataLoader(ArrayDataset([1]), 2, drop_last=True, prefetch=prefetch)) == []


def test_loader_keeps_dtypes():
    dataset = ArrayDataset(np.ones((4, 2), np.float32), np.ones(4, np.int8), np.ones(4, bool))
    (parts,) = DataLoader(dataset, 4)
    assert [np.asarray(p).dtype for p in parts] == [np.float32, np.int8, np.bool_]


def test_shuffling_depends_on_seed_and_epoch_alone(prefetch):
    def run(seed, epochs=3):
        loader = DataLoader(ArrayDataset(np.arange(20)), 6, True, seed=seed, prefetch=prefetch)
        return [[i for (part,) in batches(loader) for i in part] for _ in range(epochs)]

    first = run(1)
    assert first == run(1) and first != run(2)
    assert all(sorted(order) == list(range(20)) for order in first)
    assert len({tuple(order) for order in first}) == 3
    assert first[1] == np.random.default_rng([1, 1]).permutation(20).tolist()


def test_state_resumes_at_the_next_epoch():
    dataset = ArrayDataset(np.arange(20))
    loader = DataLoader(dataset, 4, shuffle=True, seed=5)
    batches(loader)
    state = loader.state_dict()
    second = batches(loader)
    resumed = DataLoader(dataset, 4, shuffle=True)
    resumed.load_state_dict(state)
    assert batches(resumed) == second
    assert resumed.state_dict() == loader.state_dict() == {"epoch": 2, "seed": 5}
    with pytest.raises(OptionError, match=r"no 'seed', only \['epoch'\]"):
        resumed.load_state_dict({"epoch": 1})
    with pytest.raises(OptionError, match="epoch is -1"):
        resumed.load_state_dict({"epoch": -1, "seed": 0})


class Squares:
    """A dataset without `take`."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return np.full(2, index), index * index


def test_dataset_without_take(prefetch):
    found = batches(DataLoader(Squares(), 3, prefetch=prefetch))
    assert found == [
        ([[0, 0], [1, 1], [2, 2]], [0, 1, 4]),
        ([[3, 3], [4, 4]], [9, 16]),
    ]


def test_transform_draws_the_same_however_it_is_scheduled():
    dataset = ArrayDataset(np.arange(40.0), np.arange(40))

    def noisy(rng, values, labels):
        return values + rng.random(len(values)), labels

    runs = []
    for prefetch in (0, 1, 8):
        loader = DataLoader(dataset, 4, True, seed=3, prefetch=prefetch, transform=noisy)
        runs.append([batches(loader), batches(loader)])
    assert runs[0] == runs[1] == runs[2]
    assert runs[0][0] != runs[0][1]


class Unlucky(Exception):
    """An exception with a constructor of its own."""

    def __init__(self, batch, reason):
        super().__init__(batch, reason)


def test_error_reaches_the_consumer_at_its_batch(prefetch):
    def thirteen(rng, values):
        if 13 in values:
            raise Unlucky(values, "no luck")
        return (values,)

    loader = DataLoader(ArrayDataset(np.arange(40)), 4, prefetch=prefetch, transform=thirteen)
    for _ in range(2):
        seen = []
        with pytest.raises(Unlucky) as caught:
            seen.extend(np.asarray(part).tolist() for (part,) in loader)
        assert seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
        assert caught.value.args[0].tolist() == [12, 13, 14, 15]
        assert any(entry.name == "thirteen" for entry in caught.traceback)
    _engine.wait_all()


def test_breaking_off_leaves_nothing_behind(prefetch):
    made = []

    def count(rng, values):
        made.append(values[0])
        if values[0] > 4:
            raise Unlucky(values, "never asked for")
        return (values,)

    loader = DataLoader(ArrayDataset(np.arange(1000)), 1, prefetch=prefetch, transform=count)
    for (part,) in loader:
        if int(np.asarray(part)[0]) == 3:
            break
    _engine.wait_all()
    assert len(made) <= 4 + prefetch
    del loader


def test_two_iterators_of_one_loader():
    loader = DataLoader(ArrayDataset(np.arange(12)), 4, shuffle=True)
    first, second = iter(loader), iter(loader)
    mixed = [np.asarray(next(it)[0]).tolist() for it in (second, first, first, second)]
    fresh = DataLoader(ArrayDataset(np.arange(12)), 4, shuffle=True)
    orders = [batches(fresh), batches(fresh)]
    assert mixed == [orders[1][0][0], orders[0][0][0], orders[0][1][0], orders[1][1][0]]


def test_batches_are_prepared_elsewhere_and_ahead():
    ready = threading.Event()
    threads = []

    def note(rng, values):
        threads.append(threading.current_thread())
        if values[0] == 2:
            ready.set()
        return (values,)

    stream = iter(DataLoader(ArrayDataset(np.arange(9)), 1, prefetch=2, transform=note))
    next(stream)
    if os.environ.get("LAZYARRAY_ENGINE") != "naive":
        assert ready.wait(60)
        assert threading.main_thread() not in threads
    stream.close()


def test_bad_arguments():
    dataset = ArrayDataset([1, 2])
    for arguments, message in [
        ({"batch_size": 0}, "batch_size is 0, expected an integer of at least 1"),
        ({"batch_size": 2.0}, "batch_size is 2.0"),
        ({"batch_size": True}, "batch_size is True"),
        ({"batch_size": 1, "prefetch": -1}, "prefetch is -1"),
        ({"batch_size": 1, "seed": -1}, "seed is -1"),
    ]:
        with pytest.raises(OptionError, match=message):
            DataLoader(dataset, **arguments)
    with pytest.raises(DTypeError, match="transform returned a ndarray, expected a tuple"):
        next(iter(DataLoader(dataset, 1, transform=lambda rng, x: x)))


@pytest.mark.parametrize(
    ("items", "error", "message"),
    [
        ([np.zeros(2), np.zeros(2)], DTypeError, r"list\[i\] is a ndarray, expected a tuple"),
        ([(1, 2), (1,)], ShapeError, r"list\[i\] has \[1, 2\] parts"),
        ([(np.zeros(2),), (np.zeros(3),)], ShapeError, r"part 0 of .*shapes \[\(2,\), \(3,\)\]"),
    ],
)
def test_bad_items(items, error, message):
    with pytest.raises(error, match=message):
        next(iter(DataLoader(items, 2)))


def test_exit_in_the_middle_of_an_epoch():
    program = """
import numpy as np
from lazyarray.data import ArrayDataset, DataLoader
stream = iter(DataLoader(ArrayDataset(np.arange(10**5)), 10, prefetch=100))
next(stream)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
