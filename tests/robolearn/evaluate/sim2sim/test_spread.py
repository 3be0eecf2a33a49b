import multiprocessing
import os
import signal

import numpy as np

from robolearn.evaluate.sim2sim.results import Case, CaseResult
from robolearn.evaluate.sim2sim.spread import spread


def case(value, perturbation="friction"):
    return Case("policy", "mujoco", perturbation, float(value), ((0, 0), (0, 1)))


def work(given):
    """Some cases crash the process, some raise, most give their value and who computed it."""
    if given.perturbation == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if given.perturbation == "exit":
        os._exit(3)
    if given.perturbation == "raise":
        raise RuntimeError("two\nlines")
    return CaseResult(given, {"score": np.full(2, given.value)}, details={"process": os.getpid()})


def test_every_case_is_done_once_by_as_many_processes_as_were_asked_for():
    cases = [case(i) for i in range(12)]
    results = list(spread(cases, work, 2))
    assert sorted(result.case for result in results) == sorted(cases)
    assert all((result.measures["score"] == result.case.value).all() for result in results)
    assert len({result.details["process"] for result in results}) <= 2
    assert os.getpid() not in {result.details["process"] for result in results}


def test_what_crashes_takes_down_only_its_own_case():
    cases = [case(0), case(1, "crash"), case(2), case(3, "exit"), case(4, "raise"), case(5), case(6)]
    results = {result.case.value: result for result in spread(cases, work, 2)}
    assert len(results) == len(cases)
    assert results[1].error == "the simulator's process ended: killed by SIGSEGV"
    assert results[3].error == "the simulator's process ended: exit code 3"
    assert results[4].error == "RuntimeError: two lines"
    for value in (0, 2, 5, 6):
        assert results[value].error == ""


def test_one_process_keeps_the_order():
    cases = [case(i) for i in (3, 1, 2)]
    assert [result.case for result in spread(cases, work, 1)] == cases


def test_whoever_stops_listening_ends_the_processes():
    results = spread([case(i) for i in range(4)], work, 2)
    next(results)
    results.close()
    assert not multiprocessing.active_children()


def test_nothing_to_do():
    assert list(spread([], work, 2)) == []
