"""Threads, interrupts and memory inside native code."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import kuai
from kuai.compiler.native import jit, runtime
from kuai.compiler.native.target import host

SQUARES = """
declare void @kuai_parallel(ptr, ptr, i64)
define internal void @chunk(ptr %x, i64 %i) {
  %at = getelementptr i64, ptr %x, i64 %i
  %old = load i64, ptr %at
  %square = mul i64 %i, %i
  %new = add i64 %old, %square
  store i64 %new, ptr %at
  ret void
}
define void @program(ptr %x, i64 %n) {
  call void @kuai_parallel(ptr @chunk, ptr %x, i64 %n)
  ret void
}
define internal void @outer_chunk(ptr %x, i64 %i) {
  %from = mul i64 %i, 100
  %at = getelementptr i64, ptr %x, i64 %from
  call void @kuai_parallel(ptr @chunk, ptr %at, i64 100)
  ret void
}
define void @nested(ptr %x, i64 %n) {
  call void @kuai_parallel(ptr @outer_chunk, ptr %x, i64 %n)
  ret void
}
"""

ENDLESS = """
declare i32 @kuai_interrupted()
define i32 @program(ptr %stop) {
entry:
  br label %loop
loop:
  %stopped = load volatile i32, ptr %stop
  %enough = icmp ne i32 %stopped, 0
  br i1 %enough, label %done, label %more
more:
  %signal = call i32 @kuai_interrupted()
  %wanted = icmp ne i32 %signal, 0
  br i1 %wanted, label %interrupted, label %loop
interrupted:
  ret i32 -1
done:
  ret i32 7
}
"""

HOST = """
declare i32 @kuai_host(i64, ptr)
define i32 @program(ptr %pointers) {
  %failed = call i32 @kuai_host(i64 3, ptr %pointers)
  ret i32 %failed
}
"""

Job = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)


@pytest.fixture(scope="module")
def squares():
    return runtime.load_program(jit.compiled(SQUARES), ("program", "nested"))


@pytest.fixture(autouse=True)
def threads():
    before = kuai.get_num_threads()
    yield
    kuai.set_num_threads(before)


def run(address, n):
    x = np.zeros(n, np.int64)
    Job(address)(x.ctypes.data, n)
    return x


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_every_chunk_is_done_once(squares, count, n):
    kuai.set_num_threads(count)
    for _ in range(20):
        np.testing.assert_array_equal(run(squares["program"], n), np.arange(n) ** 2)


def test_workers_that_sleep_wake_up(squares):
    kuai.set_num_threads(2)
    for _ in range(5):
        time.sleep(0.005)
        np.testing.assert_array_equal(run(squares["program"], 64), np.arange(64) ** 2)


def test_there_are_no_more_workers_than_cores(squares):
    kuai.set_num_threads(64)
    run(squares["program"], 1000)
    assert runtime.workers() == host().cores - 1


def test_one_thread_starts_no_workers():
    code = f"""
import kuai, ctypes, numpy as np
from kuai.compiler.native import jit, runtime
kuai.set_num_threads(1)
library = runtime.load_program(jit.compiled({SQUARES!r}))
x = np.zeros(50, np.int64)
ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(library["program"])(x.ctypes.data, 50)
assert x[49] == 49 * 49 and runtime.workers() == 0
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_job_inside_a_job_is_done(squares):
    kuai.set_num_threads(2)
    x = np.zeros(1000, np.int64)
    Job(squares["nested"])(x.ctypes.data, 10)
    np.testing.assert_array_equal(x, np.tile(np.arange(100) ** 2, 10))


def test_several_threads_share_the_pool(squares):
    kuai.set_num_threads(2)
    wrong = []

    def work():
        for _ in range(200):
            if not np.array_equal(run(squares["program"], 200), np.arange(200) ** 2):
                wrong.append(1)

    callers = [threading.Thread(target=work) for _ in range(4)]
    for t in callers:
        t.start()
    for t in callers:
        t.join()
    assert not wrong


def test_a_forked_child_has_a_pool_of_its_own(squares):
    kuai.set_num_threads(2)
    run(squares["program"], 100)
    child = os.fork()
    if not child:
        good = runtime.workers() == 0
        good &= np.array_equal(run(squares["program"], 100), np.arange(100) ** 2)
        good &= runtime.workers() == host().cores - 1
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    ("kind", "error"), [("PYFUNCTYPE", KeyboardInterrupt), ("CFUNCTYPE", SystemError)]
)
def test_control_c_ends_an_endless_loop(kind, error):
    # CFUNCTYPE lets go of the interpreter's lock, and wonders at the error that is set afterwards
    library = runtime.load_program(jit.compiled(ENDLESS))
    program = getattr(ctypes, kind)(ctypes.c_int, ctypes.c_void_p)(library["program"])
    stop = ctypes.c_int(0)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    begin = time.perf_counter()
    with pytest.raises(error) as raised:
        program(ctypes.addressof(stop))
    assert time.perf_counter() - begin < 0.3
    assert KeyboardInterrupt in (type(raised.value), type(raised.value.__cause__))
    timer.join()


def test_other_threads_run_during_a_loop_that_holds_the_lock():
    library = runtime.load_program(jit.compiled(ENDLESS))
    program = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(library["program"])
    stop = ctypes.c_int(0)

    def end():
        stop.value = 1

    timer = threading.Timer(0.05, end)
    timer.start()
    assert program(ctypes.addressof(stop)) == 7
    timer.join()


def test_a_program_calls_python_kernels_by_number():
    seen = []

    def kernel(number, pointers):
        seen.append(number)
        ctypes.c_double.from_address(pointers).value *= 2
        return 5

    callback = runtime.Host(kernel)
    library = runtime.load_program(jit.compiled(HOST), run_host=callback)
    x = ctypes.c_double(1.5)
    program = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(library["program"])
    assert program(ctypes.addressof(x)) == 5
    assert (seen, x.value) == ([3], 3.0)
