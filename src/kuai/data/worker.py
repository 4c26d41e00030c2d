"""The worker process of a loader: what runs there, and what it sends back."""

from __future__ import annotations

import random
import sys
import traceback
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kuai.data.fetch import make_fetcher

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

# What the loader's process sends: NEW_EPOCH, STOP, or (a task number, the keys to read).
NEW_EPOCH = "new epoch"
STOP = None
# What a worker sends: (the task's number, one of these, a batch or a Failure or None).
BATCH, FAILED, EXHAUSTED = "batch", "failed", "exhausted"


class WorkerInfo:
    """Which worker of a loader this process is.

    Attributes:
        id: its number, from 0.
        num_workers: how many there are.
        seed: what its random numbers were seeded with; another one in each worker and epoch.
        dataset: its copy of the data set.
    """

    __slots__ = ("dataset", "id", "num_workers", "seed")

    def __init__(self, id: int, num_workers: int, seed: int, dataset: Any) -> None:
        for name, value in (
            ("id", id),
            ("num_workers", num_workers),
            ("seed", seed),
            ("dataset", dataset),
        ):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise RuntimeError(f"Cannot assign attributes to {type(self).__name__} objects")

    def __repr__(self) -> str:
        return (
            f"WorkerInfo(id={self.id}, num_workers={self.num_workers}, "  # type: ignore[attr-defined]
            f"seed={self.seed}, dataset={self.dataset})"  # type: ignore[attr-defined]
        )


_this_worker: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """Which worker of a loader this process is; `None` in a process that is none."""
    return _this_worker


class Failure:
    """An exception on its way from a worker to the loader's process.

    Args:
        exception: what was raised.
        worker_id: in which worker.
    """

    def __init__(self, exception: BaseException, worker_id: int) -> None:
        kind = type(exception)
        self.kind: type[BaseException] | None = kind if _importable(kind) else None
        report = "".join(traceback.format_exception(exception))
        self.message = (
            f"Caught {kind.__name__} in DataLoader worker process {worker_id}.\nOriginal {report}"
        )

    def exception(self) -> BaseException:
        """The exception to raise: of the same class where a message alone can make one."""
        if self.kind is None:
            return RuntimeError(self.message)
        if issubclass(self.kind, KeyError):
            return self.kind(_Readable(self.message))
        try:
            return self.kind(self.message)
        except Exception:
            return RuntimeError(self.message)


class _Readable(str):
    """A message that a `KeyError`, which shows its argument's repr, shows with its line breaks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _importable(kind: type) -> bool:
    """Whether another process finds this class by its name."""
    return getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is kind


def run_worker(
    tasks: Connection,
    results: Connection,
    dataset: Any,
    batched: bool,
    collate: Callable[[Any], Any],
    drop_last: bool,
    base_seed: int,
    worker_id: int,
    num_workers: int,
    init: Callable[[int], None] | None,
) -> None:
    """Read the batches that the loader's process asks for, until it says stop or dies.

    Args:
        tasks: where requests arrive.
        results: where batches go.
        dataset: the data set.
        batched: whether a request is a list of keys.
        collate: makes a batch of samples.
        drop_last: for iterable data sets, leave out a last, shorter batch.
        base_seed: the worker's seed is this plus its number.
        worker_id: its number.
        num_workers: how many there are.
        init: called first, with the worker's number.
    """
    global _this_worker
    _this_worker = WorkerInfo(worker_id, num_workers, base_seed + worker_id, dataset)
    _seed_everything(base_seed, worker_id)
    send = _sender(results, worker_id)
    broken: Failure | None = None
    fetcher: Any = None
    try:
        if init is not None:
            init(worker_id)
    except Exception as exception:
        broken = Failure(exception, worker_id)
    exhausted = False
    try:
        for task in _requests(tasks):
            if task == NEW_EPOCH:
                fetcher, exhausted = None, False
                continue
            number, keys = task
            if exhausted:
                continue
            if broken:
                send(number, FAILED, broken)
                continue
            try:
                if fetcher is None:
                    fetcher = make_fetcher(dataset, batched, collate, drop_last)
                send(number, BATCH, fetcher.fetch(keys))
            except StopIteration:
                exhausted = True
                send(number, EXHAUSTED, None)
            except Exception as exception:
                send(number, FAILED, Failure(exception, worker_id))
    except KeyboardInterrupt:
        pass  # the loader's process got it too, and reports it


def _requests(tasks: Connection) -> Any:
    """The tasks as they arrive, until STOP, which overtakes those before it."""
    import multiprocessing
    from multiprocessing.connection import wait

    parent = multiprocessing.parent_process()
    waiting: deque[Any] = deque()
    while True:
        if not waiting:
            ready = wait([tasks] if parent is None else [tasks, parent.sentinel])
            if tasks not in ready:
                return
        try:
            while tasks.poll():
                waiting.append(tasks.recv())
        except EOFError:
            return
        if any(task is STOP for task in waiting):
            return
        yield waiting.popleft()


def _sender(results: Connection, worker_id: int) -> Callable[[Any, str, Any], None]:
    """A function that sends a result without waiting until the other process takes it."""
    import queue
    import threading
    from multiprocessing.reduction import ForkingPickler

    outbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def deliver() -> None:
        while True:
            try:
                results.send_bytes(outbox.get())
            except OSError:
                return  # the loader's process has gone or closed its end

    def send(number: Any, kind: str, content: Any) -> None:
        # Pickled here, not in the thread, so that what cannot be pickled is reported as the
        # failure of its batch.
        try:
            message = ForkingPickler.dumps((number, kind, content))
        except Exception as exception:
            failure = Failure(exception, worker_id)
            message = ForkingPickler.dumps((number, FAILED, failure))
        outbox.put(bytes(message))

    threading.Thread(target=deliver, daemon=True).start()
    return send


def _seed_everything(base_seed: int, worker_id: int) -> None:
    """Seed kuai's, Python's and NumPy's random numbers, differently in each worker."""
    import numpy as np

    from kuai import ops

    seed = base_seed + worker_id
    random.seed(seed)
    ops.manual_seed(seed)
    np.random.seed(np.random.SeedSequence([base_seed, worker_id]).generate_state(4))
