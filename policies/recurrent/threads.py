"""A few worker threads for work that releases the GIL."""

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Condition

import torch

Job = Callable[[], object]
Stage = Callable[[], Sequence[Job]]


def available_cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_chains(chains: Sequence[Sequence[Stage]], n_threads: int | None = None) -> None:
    """Run chains of stages on worker threads and wait for them; the first chains go first where there is a choice.

    A stage is called when all jobs of the stage before it are done, and returns its jobs, which may run in any order.
    Every worker runs torch on a single thread, so what a job computes does not depend on the number of threads.

    :param n_threads: number of workers, by default one for each available core
    """
    n_threads = n_threads or available_cores()
    run = _Run(chains)
    for worker in [_pool(n_threads).submit(run.work) for _ in range(n_threads)]:
        worker.result()


class _Run:
    """The state that the workers of one `run_chains` share."""

    def __init__(self, chains: Sequence[Sequence[Stage]]) -> None:
        self.changed = Condition()
        self.stages = [deque(chain) for chain in chains]
        self.waiting: list[deque[Job]] = [deque() for _ in chains]
        self.unfinished = [0] * len(chains)
        self.failed = False

    def work(self) -> None:
        """Do jobs until none are left."""
        chain: int | None = None
        try:
            while True:
                with self.changed:
                    if chain is not None:
                        self.unfinished[chain] -= 1
                    chain = self._choose()
                    if chain is None:
                        return
                    job = self.waiting[chain].popleft()
                job()
        except BaseException:
            with self.changed:
                self.failed = True
                self.changed.notify_all()
            raise

    def _choose(self) -> int | None:
        """Return the first chain that has a job waiting; wait while jobs that others do may lead to more."""
        while not self.failed:
            for chain, stages in enumerate(self.stages):
                while stages and not self.unfinished[chain]:
                    self.waiting[chain].extend(stages.popleft()())
                    self.unfinished[chain] = len(self.waiting[chain])
                    self.changed.notify_all()
                if self.waiting[chain]:
                    return chain
            if not any(self.unfinished):
                self.changed.notify_all()
                return None
            self.changed.wait()
        return None


@cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, "scan", initializer=torch.set_num_threads, initargs=(1,))


# Threads do not survive a fork; a child process starts its own.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
