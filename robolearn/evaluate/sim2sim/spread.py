"""Many cases over processes: a simulator that crashes takes down its own case and nothing else."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from robolearn.evaluate.sim2sim.results import Case, CaseResult

Work = Callable[[Case], CaseResult]
"""Runs one case; must be importable by another process (a function of a module, or ``partial`` of one)."""
Results = Generator[CaseResult, None, None]
Spread = Callable[[Sequence[Case], Work], Results]
"""Gives the result of every case, in the order in which they end; ``spread`` here and in ``cluster`` become one."""


class _Worker:
    """A process that does one case after the other. A fresh interpreter: simulators do not survive a fork."""

    def __init__(self, work: Work) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(work, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.case: Case | None = None

    def give(self, case: Case) -> None:
        """Start a case."""
        self.case = case
        self.pipe.send(case)

    def take(self) -> CaseResult:
        """Return the result of the case, or how the process ended instead; call it when the pipe has something."""
        assert self.case is not None
        case, self.case = self.case, None
        try:
            result: CaseResult = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            return CaseResult(case, error=f"the simulator's process ended: {_how(self.process.exitcode)}")
        return result

    def end(self) -> None:
        """End the process, whatever it does."""
        self.pipe.close()
        self.process.terminate()
        self.process.join()


def spread(cases: Sequence[Case], work: Work, processes: int) -> Results:
    """Give the result of every case, in the order in which they end.

    Args:
        cases: what is to be done, in this order.
        work: does it. Each process has one thread; simulators must not start more.
        processes: at most so many at a time, at least 1.
    """
    waiting = list(reversed(cases))
    workers: dict[Connection, _Worker] = {}
    try:
        while waiting or workers:
            while waiting and len(workers) < processes:
                worker = _Worker(work)
                worker.give(waiting.pop())
                workers[worker.pipe] = worker
            for pipe in wait(list(workers)):
                worker = workers[pipe]  # type: ignore[index]  # these are the connections that were given
                result = worker.take()
                if waiting and worker.process.is_alive():
                    worker.give(waiting.pop())
                else:
                    del workers[worker.pipe]
                    worker.end()
                yield result
    finally:
        for worker in workers.values():
            worker.end()


def _serve(work: Work, pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    parent = os.getppid()
    with pipe:
        while os.getppid() == parent:
            try:
                case = pipe.recv()
            except EOFError:
                return
            pipe.send(attempt(work, case))


def attempt(work: Work, case: Case) -> CaseResult:
    """Run a case; whatever it raises becomes the result's ``error``."""
    try:
        return work(case)
    except Exception as error:
        return CaseResult(case, error=f"{type(error).__name__}: {' '.join(str(error).split())}")


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
