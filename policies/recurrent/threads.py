"""A few worker threads for work that releases the GIL."""

import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from threading import Condition
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")
Job = Callable[[], object]
Chain = Generator[Sequence[Job], None, Result]
"""Work in stages: a generator that yields the jobs of each stage and goes on when all of them are done."""


def available_cores() -> int:
    """Return the number of cores this process may use; where the system does not tell, the number of the machine's."""
    count = getattr(os, "process_cpu_count", None)  # Since Python 3.13, on every system.
    if count is not None:
        return count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_chains(chains: Sequence[Chain[Result]], costs: Sequence[float], n_threads: int | None = None) -> list[Result]:
    """Run chains on worker threads, wait for them, and return what they return.

    The jobs of a stage may run in any order. The generators themselves, between their yields, run on workers as well.
    Every worker runs torch on a single thread, so what a job computes does not depend on the number of threads.

    :param costs: of each chain; where there is a choice the costliest goes first, for the others to fit around it
    :param n_threads: number of workers, by default one for each available core
    """
    n_threads = n_threads or available_cores()
    progress = [_Progress(chain) for chain in chains]
    by_cost = sorted(zip(costs, progress, strict=True), key=lambda pair: -pair[0])
    run = _Run([chain for _, chain in by_cost])
    for worker in [_pool(n_threads).submit(run.work) for _ in range(n_threads)]:
        worker.result()
    return [chain.result for chain in progress]


class _Progress:
    """How far a chain has come."""

    def __init__(self, chain: Chain[Any]) -> None:
        self.chain = chain
        self.waiting: deque[Job] = deque()
        self.unfinished = 0  # Jobs waiting or running.
        self.ended = False
        self.result: Any = None


class _Run:
    """The state that the workers of one `run_chains` share."""

    def __init__(self, chains: Sequence[_Progress]) -> None:
        self.chains = chains
        self.changed = Condition()
        self.failed = False

    def work(self) -> None:
        """Do jobs until none are left."""
        chain: _Progress | None = None
        try:
            while True:
                with self.changed:
                    if chain is not None:
                        chain.unfinished -= 1
                    chain = self._choose()
                    if chain is None:
                        return
                    job = chain.waiting.popleft()
                job()
        except BaseException:
            with self.changed:
                self.failed = True
                self.changed.notify_all()
            raise

    def _choose(self) -> _Progress | None:
        """Return the first chain that has a job waiting; wait while jobs that others do may lead to more."""
        while not self.failed:
            for chain in self.chains:
                if not (chain.unfinished or chain.ended):
                    self._add(chain, [partial(self._proceed, chain)])
                if chain.waiting:
                    return chain
            if not any(chain.unfinished for chain in self.chains):
                self.changed.notify_all()
                return None
            self.changed.wait()
        return None

    def _proceed(self, chain: _Progress) -> None:
        """Run the generator up to its next stage."""
        try:
            jobs = next(chain.chain)
        except StopIteration as end:
            chain.result, chain.ended = end.value, True
        else:
            with self.changed:
                self._add(chain, jobs)

    def _add(self, chain: _Progress, jobs: Sequence[Job]) -> None:
        chain.waiting.extend(jobs)
        chain.unfinished += len(jobs)
        self.changed.notify_all()


@cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, "scan", initializer=torch.set_num_threads, initargs=(1,))


# Threads do not survive a fork; a child process starts its own.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
