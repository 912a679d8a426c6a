"""Threads of the user that share arrays: nobody sees half of what another one does."""

import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

import lazyarray as la

SECONDS = 0.7


@contextmanager
def beside(function):
    """Run a function again and again on another thread; what it raised is raised at the end."""
    stop, failures = threading.Event(), []

    def turns():
        try:
            while not stop.is_set():
                function()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=turns)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive()
    if failures:
        raise failures[0]


def for_a_while():
    """Numbers of turns."""
    end, number = time.perf_counter() + SECONDS, 0
    while time.perf_counter() < end:
        number += 1
        yield number


@pytest.mark.parametrize("size", [10, 1000, 8000, 100_000])
@pytest.mark.parametrize("look", [la.Array.numpy, np.asarray])
def test_a_value_is_whole_when_another_thread_sees_it(size, look):
    """Small plans are run by the thread that waits: to others that is a task like any."""
    a = la.zeros(size)
    current = [a + 0.0]
    wrong = []

    def read():
        seen = look(current[0])
        if not (seen == seen[0]).all() or seen[0] % 1:
            wrong.append(seen.copy())

    with beside(read):
        for number in for_a_while():
            x = la.exp(la.sin(a) * 2) + float(number)
            current[0] = x
            x.wait()
            assert (x.numpy() == number + 1.0).all()
    assert not wrong


def test_a_failure_is_seen_by_every_thread():
    a = la.arange(3000.0)
    places = np.zeros(3000, int)
    places[-1] = 4000
    places = la.array(places)
    current = [a[places + 0]]
    missed = []

    def read():
        try:
            current[0].numpy()
            missed.append(True)
        except IndexError:
            pass

    with beside(read):
        for _ in for_a_while():
            x = a[places + 0]
            current[0] = x
            with pytest.raises(IndexError):
                x.wait()
    assert not missed


@pytest.mark.parametrize(
    "look",
    [la.Array.numpy, np.asarray, la.Array.tolist, memoryview, lambda a: np.array(a)],
    ids=["numpy", "asarray", "tolist", "memoryview", "array"],
)
def test_a_write_while_another_thread_waits(look):
    """It sees the value that it waited for, or the new one; never none."""
    start = np.random.default_rng(0).random(300_000)
    for _ in range(6):
        a = la.array(start)
        for _ in range(12):
            a = la.sin(a)
        expected = a.copy()
        found = []
        thread = threading.Thread(target=lambda a=a, found=found: found.append(look(a)))
        thread.start()
        time.sleep(0.002)
        a[3] = 5.0
        thread.join(30)
        seen, expected = np.array(found[0]), expected.numpy()
        assert seen[3] in (expected[3], 5.0)
        seen[3] = expected[3]
        assert (seen == expected).all()


def test_threads_write_to_their_parts():
    a = la.zeros(90_000)
    wrong = []

    def work(k):
        for number in for_a_while():
            a[k * 30_000 : (k + 1) * 30_000] = float(number)
            a[k * 30_000] = a[k * 30_000 + 1] * 1
            seen = a[k * 30_000 : (k + 1) * 30_000].numpy()
            if not (seen == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert not wrong


def test_one_view_made_by_two_threads():
    """What one of them remembers of it the other may have remembered first."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    barrier = threading.Barrier(2)
    wrong = []

    def work(mine):
        for k in range(400):
            n = np.arange(float((1 + k % 13) * (1 + k // 13) * 2)).reshape(1 + k % 13, -1, 2)
            a = la.array(n)
            barrier.wait()
            views = [la.moveaxis(a, 0, 2), a.transpose(1, 0, 2), la.rot90(a)]
            others = [a[::-1], a[..., 0], a[:, ::-1], a[0]] if mine else []
            barrier.wait()
            wanted = [np.moveaxis(n, 0, 2), n.transpose(1, 0, 2), np.rot90(n)]
            for view, want in zip(views, wanted, strict=True):
                seen = (view + 1.0).numpy()
                if seen.shape != want.shape or (seen != want + 1).any():
                    wrong.append((k, view.shape, want.shape))
            del others

    try:
        threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(60)
    finally:
        sys.setswitchinterval(before)
    assert not wrong


def test_several_axes_are_not_told_from_none():
    a = la.ones((2, 3))
    assert la.transpose(a, (0, 1)).shape == (2, 3)
    with pytest.raises(TypeError):
        la.transpose(a, None, 2, 0, 1)
