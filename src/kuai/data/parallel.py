"""An epoch read by worker processes, seen from the process that wants the batches."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kuai.data.sampler import draw_seed
from kuai.data.worker import EXHAUSTED, FAILED, NEW_EPOCH, STOP, run_worker

if TYPE_CHECKING:
    from kuai.data.dataloader import DataLoader

GRACE = 5.0  # seconds that a worker has to stop by itself

Result = tuple[str, Any]


class _Worker:
    """A worker process and the two pipes to it."""

    def __init__(self, loader: DataLoader[Any], number: int, base_seed: int) -> None:
        import multiprocessing

        context: Any = loader.multiprocessing_context or multiprocessing.get_context()
        task_end, self.tasks = context.Pipe(duplex=False)
        self.results, result_end = context.Pipe(duplex=False)
        self.process = context.Process(
            target=run_worker,
            args=(
                task_end,
                result_end,
                loader.dataset,
                loader._batched,
                loader.collate_fn,
                loader.drop_last,
                base_seed,
                number,
                loader.num_workers,
                loader.worker_init_fn,
            ),
            daemon=True,
        )
        self.process.start()
        task_end.close()
        result_end.close()
        self.exhausted = False

    def send(self, message: Any) -> None:
        try:
            self.tasks.send(message)
        except OSError:
            raise self.death() from None

    def receive(self) -> Any:
        try:
            message = self.results.recv()
        except (EOFError, ConnectionError):
            raise self.death() from None
        return message

    def death(self) -> RuntimeError:
        """The error that says how the process ended."""
        self.process.join(GRACE)
        code = self.process.exitcode
        if code is not None and code < 0:
            reason = f"is killed by signal: {signal.Signals(-code).name}"
        else:
            reason = f"exited unexpectedly (exit code {code})"
        return RuntimeError(f"DataLoader worker (pid(s) {self.process.pid}) {reason}")

    def stop(self) -> None:
        """Ask the process to stop; `finish` makes sure of it."""
        with contextlib.suppress(OSError):
            self.tasks.send(STOP)
        self.results.close()

    def finish(self, deadline: float) -> None:
        self.process.join(max(0.0, deadline - time.monotonic()))
        if self.process.is_alive():
            self.process.terminate()
            self.process.join()
        self.tasks.close()


class ParallelIterator:
    """Batches that worker processes read, in the order of the sampler.

    Tasks are numbered and dealt to the workers in turn, `prefetch_factor` ahead for each. A
    worker answers its tasks in order, so the next batch is the next answer of the worker that has
    the lowest open task.

    Args:
        loader: whose epoch this is.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        if not loader.prefetch_factor:
            raise AssertionError("DataLoader: prefetch_factor must be positive to iterate")
        self._owner = os.getpid()
        self._loader = loader
        self._workers: list[_Worker] = []
        self._epoch = 0
        base_seed = draw_seed(loader.generator)
        for number in range(loader.num_workers):
            self._workers.append(_Worker(loader, number, base_seed))
        self._begin(loader)

    def start_epoch(self, loader: DataLoader[Any]) -> None:
        """Begin again with the same workers; what they still work on is thrown away."""
        draw_seed(loader.generator)
        self._epoch += 1
        for worker in self._workers:
            worker.send(NEW_EPOCH)
            worker.exhausted = False
        self._begin(loader)

    def _begin(self, loader: DataLoader[Any]) -> None:
        self._requests = iter(loader._requests)
        self._turns: Iterator[_Worker] = itertools.cycle(self._workers)
        self._numbers = itertools.count()
        self._open: dict[int, _Worker] = {}
        self._batches = 0
        for _ in range((loader.prefetch_factor or 1) * len(self._workers)):
            self._deal()

    def _deal(self) -> None:
        """Give the next request to the worker whose turn it is."""
        ready = [worker for worker in self._workers if not worker.exhausted]
        if not ready:
            return
        try:
            keys = next(self._requests)
        except StopIteration:
            return
        if self._loader.in_order:
            worker = next(worker for worker in self._turns if not worker.exhausted)
        else:
            load = list(self._open.values())
            worker = min(ready, key=load.count)
        number = next(self._numbers)
        self._open[number] = worker
        worker.send(((self._epoch, number), keys))

    def __iter__(self) -> ParallelIterator:
        return self

    def __next__(self) -> Any:
        while self._open:
            worker = self._await()
            (epoch, number), kind, content = worker.receive()
            if epoch != self._epoch:
                continue
            if kind == EXHAUSTED:
                worker.exhausted = True
                self._open = {n: w for n, w in self._open.items() if w is not worker}
                self._deal()
                continue
            del self._open[number]
            self._deal()
            if kind == FAILED:
                raise content.exception()
            self._batches += 1
            if self._loader._reported_length is not None:
                self._loader._check_length(self._batches)
            return content
        if not self._loader.persistent_workers:
            self._shut_down()
        raise StopIteration

    def _await(self) -> _Worker:
        """A worker that has an answer: the one to the lowest open task, if order matters.

        Raises:
            RuntimeError: the worker died, or has not answered in time.
        """
        from multiprocessing.connection import wait

        expected = list(self._open.values())
        if self._loader.in_order:
            expected = expected[:1]
        by_connection = {worker.results: worker for worker in expected}
        by_sentinel = {worker.process.sentinel: worker for worker in expected}
        ready = wait([*by_connection, *by_sentinel], self._loader.timeout or None)
        if not ready:
            timeout = self._loader.timeout
            self._shut_down(grace=0)
            raise RuntimeError(f"DataLoader timed out after {timeout} seconds")
        for connection in ready:
            if connection in by_connection:
                return by_connection[connection]
        error = by_sentinel[ready[0]].death()
        self._shut_down()
        raise error

    def __len__(self) -> int:
        return len(self._loader)

    def _shut_down(self, grace: float = GRACE) -> None:
        if os.getpid() != self._owner:
            return  # a worker that was forked off inherits this object, but not the processes
        workers, self._workers, self._open = self._workers, [], {}
        if self._loader._iterator is self:
            self._loader._iterator = None
        for worker in workers:
            worker.stop()
        deadline = time.monotonic() + grace
        for worker in workers:
            worker.finish(deadline)

    def __del__(self) -> None:
        if self.__dict__.get("_workers"):
            with contextlib.suppress(Exception):
                self._shut_down()
