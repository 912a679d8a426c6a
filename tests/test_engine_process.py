"""The engine at the edges of a process: fork, spawn, exit, interrupts, settings, races."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import sanitizer

ROOT = Path(__file__).parents[1]
TESTS = Path(__file__).parent
HANG = 120  # seconds; none of these takes one, so this only ends a hang

# The package's own __init__ is left out: the engine stands on errors.py alone.
HEAD = f"""
import faulthandler, os, signal, sys, threading, time, types
sys.modules["lazyarray"] = types.ModuleType("lazyarray")
sys.modules["lazyarray"].__path__ = [{str(ROOT / "lazyarray")!r}]
# A hang prints stacks and ends. (A watchdog thread would hang forked children at their exit.)
faulthandler.register(signal.SIGALRM, chain=True); signal.alarm(100)
from lazyarray import _engine
from lazyarray._engine import EngineError, Var, push, wait, wait_all
def nop(): pass
"""


def run(program, *, check=True, python=(), **env):
    """Run a program in a fresh interpreter and return it, ended."""
    done = subprocess.run(
        [sys.executable, *python, "-c", HEAD + program],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""
    return done


# --- Fork ---

FORKS = """
_engine.set_bounds(300, 1 << 40)
stop = threading.Event()
done = []
def busy(seed):
    a, b = Var(), Var()
    while not stop.is_set():
        push(lambda: done.append(seed), [a], [b])
        _engine._push_busy(20_000, [b], [a])
        if len(done) % 50 == seed:
            wait(a)
threads = [threading.Thread(target=busy, args=(i,)) for i in range(2)]
for thread in threads: thread.start()

def child():
    seen = []
    var = Var()
    for i in range(20):
        push(lambda: seen.append(i), [var], [var])
    wait(var)
    wait_all()
    assert len(seen) == 20
    inner = Var()
    push(lambda: (push(nop, writes=[inner]), wait(inner)), writes=[var])
    wait(var)

shared = Var()
for i in range(FORKS):
    push(nop, writes=[shared])
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(60)  # ends a child that hangs
            assert shared.version == i + 1 and shared.idle
            child()
            code = 0
        except BaseException:
            import traceback; traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert status == 0, status
stop.set()
for thread in threads: thread.join()
wait_all()
"""


@pytest.mark.parametrize(
    ("workers", "forks"), [("1", 20), ("2", 50), pytest.param("2", 200, marks=pytest.mark.slow)]
)
@pytest.mark.filterwarnings("ignore")
def test_forks_in_a_busy_program(workers, forks):
    run(
        FORKS.replace("FORKS", str(forks)),
        python=("-W", "ignore::DeprecationWarning"),
        LAZYARRAY_WORKERS=workers,
    )


def test_forks_with_the_naive_engine():
    run(
        FORKS.replace("FORKS", "10"),
        python=("-W", "ignore::DeprecationWarning"),
        LAZYARRAY_ENGINE="naive",
    )


def test_a_child_that_forks_again_and_exits_through_the_interpreter():
    run(
        """
ran = []
push(lambda: ran.append(1)); wait_all()
def generation(depth):
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        assert status == 0, status
        return
    push(lambda: ran.append(1)); wait_all()
    assert len(ran) == 6 - depth
    if depth > 1:
        generation(depth - 1)
    push(nop)
    sys.exit(0)
generation(4)
""",
        python=("-W", "ignore::DeprecationWarning"),
    )


@pytest.mark.parametrize("kind", ["threaded", "naive"])
def test_a_fork_inside_a_task_raises(kind):
    run(
        """
def task():
    try:
        os.fork()
    except EngineError as error:
        seen.append(str(error))
    # Starting another program is no fork of this one.
    import subprocess
    seen.append(subprocess.run([sys.executable, "-c", "print(5)"], capture_output=True).stdout)
seen = []
push(task)
wait_all()
assert "fork" in seen[0] and seen[1] == b"5\\n", seen
""",
        LAZYARRAY_ENGINE=kind,
    )


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method, tmp_path):
    path = tmp_path / "program.py"
    path.write_text(
        HEAD
        + """
import multiprocessing

def work(n):
    seen, var = [], Var()
    for i in range(n):
        push(lambda: seen.append(1), [var], [var])
    wait(var)
    return len(seen)

if __name__ == "__main__":
    work(10)
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        assert pool.map(work, range(20)) == list(range(20))
"""
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", path, method],
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# --- Exit ---

EXITS = {
    "pending tasks": "for _ in range(3000): push(lambda: time.sleep(0.001), writes=[Var()])",
    "pending native tasks": (
        "_engine._push_nothing(5000)\nfor _ in range(2000): _engine._push_busy(10**6)"
    ),
    "a chain": "v = Var()\nfor _ in range(5000): push(lambda: time.sleep(0.001), [v], [v])",
    "units": (
        "_engine._push_busy(100_000, extent=100)\npush(lambda b, e: time.sleep(.001), extent=50)"
    ),
    "a task that waits": (
        "v = Var()\npush(lambda: time.sleep(.05), writes=[v])\npush(lambda: wait(v))\n"
        "def task():\n    w = Var()\n    push(nop, [v], [w])\n    wait(w)\npush(task)"
    ),
    "a daemon thread that waits": (
        "v = Var()\npush(lambda: time.sleep(.05), writes=[v])\n"
        "for _ in range(100): push(nop, [v], [v])\n"
        "def waiting():\n    try: wait(v)\n    except EngineError: pass\n"
        "threading.Thread(target=waiting, daemon=True).start()"
    ),
    "a daemon thread that pushes": (
        "def forever():\n    while True: push(nop)\n"
        "threading.Thread(target=forever, daemon=True).start()"
    ),
    "another lane": (
        "lane = _engine.Lane('copies')\n"
        "for _ in range(500): push(lambda: time.sleep(.001), lane=lane)"
    ),
    "naive": "_engine.set_engine('naive')\nfor _ in range(500): push(nop)",
    "a var that pushes when it dies": (
        "class Late:\n    def __del__(self): push(nop, writes=[Var()])\nlate = Late()\npush(nop)"
    ),
}


@pytest.mark.parametrize("name", EXITS)
@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_exit_with_work_pending(name, times):
    for _ in range(times):
        run(EXITS[name])


def test_exit_runs_what_has_effects_and_what_it_depends_on(tmp_path):
    path = tmp_path / "saved"
    run(
        f"""
values, dropped, gate = [], [], threading.Event()
a, b, c = Var(), Var(), Var()
push(gate.wait)
for i in range(100):
    push(lambda i=i: values.append(i), [a], [a])
    push(lambda: dropped.append(1), [b], [b])
def save():
    with open({str(path)!r}, "w") as file: file.write(f"{{len(values)}}")
push(save, [a], [c], effects=True)
for i in range(100):
    push(lambda: values.append(i), [a], [a])
import atexit
# Runs before the engine's hook, which was registered first.
atexit.register(gate.set)
_engine.set_workers(1)
""",
        LAZYARRAY_WORKERS="1",
    )
    assert path.read_text() == "100"


def test_waits_and_pushes_after_the_exit_hook_do_not_hang():
    done = run(
        """
import atexit
_finish = _engine._finish_at_exit
v, w, gate = Var(), Var(), threading.Event()
def late():
    try:
        wait(v)
    except EngineError as error:
        print(error)
    push(lambda: print("naive"), writes=[v])
    wait(v)
    wait_all()
    print(_engine.engine_kind())
atexit.unregister(_finish)
atexit.register(late)
atexit.register(_finish)
atexit.register(gate.set)
push(gate.wait, writes=[w])
push(nop, [w], [v])
""",
        LAZYARRAY_WORKERS="1",
    )
    first, *rest = done.stdout.splitlines()
    assert "dropped" in first
    assert rest == ["naive", "naive"]


def test_a_failure_that_nobody_waited_for_is_told_at_exit():
    done = run("push(lambda: 1 // 0, writes=[Var()], effects=True)", check=False)
    assert done.returncode == 0
    assert "1 task(s) failed and nobody waited" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert "pushed at <string>:" in done.stderr


def test_sys_exit_and_uncaught_errors_end_a_busy_program():
    program = "for _ in range(2000): push(lambda: time.sleep(.001))\n"
    assert run(program + "sys.exit(3)", check=False).returncode == 3
    assert run(program + "raise ValueError", check=False).returncode == 1


def test_interrupt_ends_a_waiting_program():
    program = HEAD + (
        "v = Var()\nfor _ in range(500): push(lambda: time.sleep(.01), [v], [v])\n"
        "print('waiting', flush=True)\nwait(v)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=HANG)
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in errors


# --- Settings ---


def test_settings_in_the_environment():
    program = "print(_engine.engine_kind(), _engine.workers())"
    assert run(program, LAZYARRAY_WORKERS="3").stdout == "threaded 3\n"
    assert run(program, LAZYARRAY_ENGINE="naive", LAZYARRAY_WORKERS="1").stdout == "naive 1\n"
    cores = len(os.sched_getaffinity(0))
    assert run(program, LAZYARRAY_WORKERS="").stdout == f"threaded {cores}\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [("LAZYARRAY_ENGINE", "fast"), ("LAZYARRAY_WORKERS", "0"), ("LAZYARRAY_WORKERS", "two")],
)
def test_bad_settings_in_the_environment(name, value):
    done = run("", check=False, **{name: value})
    assert done.returncode != 0
    assert f"{name}: expected" in done.stderr and value in done.stderr


def test_importing_starts_no_thread():
    run(
        """
names = [open(f"/proc/self/task/{t}/comm").read() for t in os.listdir("/proc/self/task")]
assert not [name for name in names if name.startswith("la-")], names
push(nop); wait_all()
names = [open(f"/proc/self/task/{t}/comm").read() for t in os.listdir("/proc/self/task")]
assert "la-cpu-0\\n" in names, names
"""
    )


def test_workers_have_the_default_floating_point_environment():
    """A thread inherits its creator's rounding mode; workers and helpers must not."""
    run(
        """
import ctypes, ctypes.util
libm = ctypes.CDLL(ctypes.util.find_library("m"))
UPWARD = 0x800 if os.uname().machine == "x86_64" else 0x400000
libm.fesetround(UPWARD)
modes = []
push(lambda: modes.append(libm.fegetround()))
wait_all()
assert modes == [0], modes
assert libm.fegetround() == UPWARD
"""
    )


# --- ThreadSanitizer ---


@pytest.fixture(scope="module")
def tsan(tmp_path_factory):
    """Folder with an engine built for ThreadSanitizer."""
    compiler = sanitizer.compiler()
    sanitizer.library()
    cython = pytest.importorskip("Cython.Compiler.Main", reason="needs Cython to build")
    folder = tmp_path_factory.mktemp("tsan")
    package = folder / "lazyarray"
    shutil.copytree(ROOT / "lazyarray" / "native", package / "native")
    for file in (ROOT / "lazyarray").glob("_engine*.p*"):
        shutil.copy(file, package)
    shutil.copy(ROOT / "lazyarray" / "errors.py", package)
    (package / "__init__.py").touch()
    cython.compile(
        str(package / "_engine.pyx"),
        cplus=True,
        output_file=str(package / "_engine.cpp"),
        compiler_directives={"language_level": "3str", "embedsignature": True},
        full_module_name="lazyarray._engine",
    )
    subprocess.run(
        [
            *(compiler, "-shared", "-fPIC", "-std=c++17", "-O1", "-g", "-fsanitize=thread"),
            f"-I{sysconfig.get_paths()['include']}",
            f"-I{package / 'native'}",
            str(package / "_engine.cpp"),
            *("-o", str(package / f"_engine{sysconfig.get_config_var('EXT_SUFFIX')}"), "-pthread"),
        ],
        check=True,
    )
    shutil.copy(TESTS / "test_engine.py", folder)
    return folder


@pytest.mark.slow
def test_thread_sanitizer_finds_nothing(tsan):
    """Nearly all of test_engine.py runs clean; its tests choose the numbers of workers."""
    chosen = ("-W", "ignore", "-k", "not naive and not grow", str(tsan / "test_engine.py"))
    sanitizer.finds_nothing(
        tsan, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *chosen, timeout=1200
    )
