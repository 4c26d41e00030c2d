"""What all programs share in memory: the pool of threads, interrupts, memory.

One module of LLVM text, compiled once for a machine and kept on disk as programs are.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from typing import Any

from kuai import config
from kuai.compiler.native import cache, hosts, jit
from kuai.compiler.native.link import Library, process_symbol
from kuai.compiler.native.locks import Lock
from kuai.compiler.native.target import host

SYMBOLS = ("kuai_parallel", "kuai_interrupted", "kuai_grow", "kuai_free", "kuai_host")
_lock = Lock()


def text() -> str:
    """The LLVM text of the runtime."""
    import _signal  # type: ignore[import-not-found]  # without the enumerations of `signal`

    from kuai.compiler.native.interrupts import interrupts_text
    from kuai.compiler.native.pool import pool_text

    architecture = host().triple.split("-")[0]
    return pool_text(architecture, _signal.SIG_SETMASK) + interrupts_text()


def library() -> Library:
    """The runtime in memory."""
    with _lock:
        return _library()


def _key() -> str:
    return cache.key("runtime", cache.sources(), repr(host()))


def begin() -> None:
    """Let a thread make the runtime where the disk does not have it; the first program needs it."""
    if not _library.cache_info().currsize and not cache.has(_key()):
        threading.Thread(target=library, name="kuai-runtime").start()


@functools.cache
def _library() -> Library:
    exports = (
        *SYMBOLS,
        "kuai_run_host",
        "kuai_threads",
        "kuai_cores",
        "kuai_pool_reset",
        "kuai_pool_workers",
    )
    key = _key()
    found = cache.read(key)
    if found is None:
        found = jit.assemble(text())
        cache.write(key, found)
    loaded = jit.load(found, exports)
    # Its threads may run until the process ends, past the end of Python.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(loaded._memory))
    threads, _ = config.threads.buffer_info()
    ctypes.c_void_p.from_address(loaded["kuai_threads"]).value = threads
    ctypes.c_int64.from_address(loaded["kuai_cores"]).value = host().cores
    ctypes.c_void_p.from_address(loaded["kuai_run_host"]).value = id(hosts.run)
    reset = ctypes.CFUNCTYPE(None)(loaded["kuai_pool_reset"])
    reset()
    os.register_at_fork(after_in_child=reset)
    return loaded


def workers() -> int:
    """How many threads wait in the pool."""
    return int(ctypes.CFUNCTYPE(ctypes.c_int64)(library()["kuai_pool_workers"])())


def free_memory(address: int) -> None:
    """Free memory that a program has handed over."""
    _free(address)


_free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(process_symbol("free"))
Host = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int64, ctypes.c_void_p)
Interrupted = ctypes.CFUNCTYPE(ctypes.c_int)


def load_program(
    object_file: bytes,
    exports: tuple[str, ...] = ("program",),
    run_host: Any = None,
    interrupted: Any = None,
) -> Library:
    """Put a program into memory.

    Args:
        object_file: its machine code.
        exports: the functions that it defines.
        run_host: what it calls for Python kernels, if not `hosts.run`: a `Host`, which gets the
            number of the kernel and the address of a table of pointers, and returns whether it
            raised.
        interrupted: what its loops ask whether they shall end, if not `kuai_interrupted`: an
            `Interrupted`.
    """
    symbols = {name: library()[name] for name in SYMBOLS}
    if run_host is not None:
        symbols["kuai_host"] = ctypes.cast(run_host, ctypes.c_void_p).value or 0
    if interrupted is not None:
        symbols["kuai_interrupted"] = ctypes.cast(interrupted, ctypes.c_void_p).value or 0
    loaded = jit.load(object_file, exports, symbols)
    loaded.kept = run_host, interrupted
    return loaded
