import importlib.util
import os
import signal
import socket
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from robolearn import packages
from robolearn.config import ConfigError
from robolearn.evaluate.sim2sim import cluster
from robolearn.evaluate.sim2sim import suite as suites
from robolearn.evaluate.sim2sim.results import Case, CaseResult, ResultFile
from robolearn.evaluate.sim2sim.simulators import REFERENCE, versions
from robolearn.evaluate.sim2sim.spread import spread
from robolearn.evaluate.sim2sim.suite import Suite

RELEASED = Path(__file__).parents[4] / "policies" / "a1_velocity_flat" / "policy.onnx"
TINY = Suite("tiny", (REFERENCE,), dense=(), sparse=(), seeds=1, episodes=2, sparse_episodes=2, share=1)
# Found, not imported: the environment of Ray is set before its import.
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")


def case(value, perturbation="friction"):
    return Case("policy", "mujoco", perturbation, float(value), ((0, 0), (0, 1)))


def work(given):
    if given.perturbation == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if given.perturbation == "raise":
        raise RuntimeError("two\nlines")
    return CaseResult(given, {"score": np.full(2, given.value)}, details={"process": os.getpid()})


def local(cases, work):
    """Ray gives itself 30 s to start, however busy the machine is."""
    try:
        yield from cluster.spread(cases, work, cluster.LOCAL, processes=1)
    except ConfigError as error:
        if "timed out during startup" in str(error):
            pytest.skip("the machine is too busy for Ray to start in its time")
        raise


def run(folder, spread, after=lambda done: None):
    seen = []

    def report(done, result):
        seen.append(done)
        after(done)

    return suites.run(TINY, {"a1": RELEASED}, TINY.simulators, folder, spread, report), seen


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr(packages, "is_installed", lambda name: False)
    with pytest.raises(ConfigError, match=r"pip install '.\[cluster\]'"):
        next(local([case(1)], work))


def test_an_address_where_there_is_no_cluster_is_named(monkeypatch):
    monkeypatch.setattr(packages, "is_installed", lambda name: True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for address, message in (("head", "give HOST:PORT"), (f"ray://127.0.0.1:{port}", "nobody answers")):
        with pytest.raises(ConfigError, match=f"--ray {address}: .*{message}"):
            next(cluster.spread([case(1)], work, address, 2))


def test_nothing_to_do_starts_nothing():
    assert list(local([], work)) == []


def test_a_machine_with_other_versions_is_refused():
    ours = versions()
    with pytest.raises(ConfigError, match=rf"has gym not installed instead of 1, mujoco {ours['mujoco']} instead of 2"):
        cluster._do(work, case(1), {**ours, "mujoco": "2", "gym": "1"})


@needs_ray
def test_an_interrupted_run_goes_on_and_gives_what_processes_give(tmp_path):
    def stop(done):
        raise KeyboardInterrupt

    before = set(Path(tempfile.gettempdir()).glob("*ray*"))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "ray", local, stop)
    (by_ray,) = ResultFile(tmp_path / "ray" / suites.RESULTS)
    assert not by_ray.error and by_ray.details["host"]
    _, seen = run(tmp_path / "ray", partial(spread, processes=1))
    assert seen == [2]  # the other of the two cases
    expected, _ = run(tmp_path / "processes", partial(spread, processes=1))
    (same,) = (result for result in expected if result.case == by_ray.case)
    assert by_ray.measures.keys() == same.measures.keys()
    for name, values in same.measures.items():
        assert np.array_equal(by_ray.measures[name], values, equal_nan=True), name
    assert set(Path(tempfile.gettempdir()).glob("*ray*")) <= before


@needs_ray
def test_what_crashes_takes_down_only_its_own_case_and_its_process_ends():
    cases = [case(0), case(1, "crash"), case(2), case(3, "raise"), case(4)]
    results = {result.case.value: result for result in local(cases, work)}
    assert sorted(results) == [0, 1, 2, 3, 4]
    assert results[1].error.startswith("the simulator's process ended: WorkerCrashedError")
    assert results[3].error == "RuntimeError: two lines"
    for value in (0, 2, 4):
        assert not results[value].error and (results[value].measures["score"] == value).all()
        assert not Path(f"/proc/{results[value].details['process']}").exists()
