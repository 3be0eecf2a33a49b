from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from robolearn.config import ConfigError
from robolearn.evaluate.sim2sim import suite as suites
from robolearn.evaluate.sim2sim.perturbations import PERTURBATIONS, Size
from robolearn.evaluate.sim2sim.results import CaseResult, ResultFile
from robolearn.evaluate.sim2sim.simulators import REFERENCE, find
from robolearn.evaluate.sim2sim.spread import spread
from robolearn.evaluate.sim2sim.suite import SUITES, Suite, cases_of, find_suite, name_policies

ROOT = Path(__file__).parents[4]
RELEASED = ROOT / "policies" / "a1_velocity_flat" / "policy.onnx"
TINY = Suite("tiny", (REFERENCE,), dense=(), sparse=(), seeds=1, episodes=2, sparse_episodes=1, share=1)


def test_policies_are_called_by_the_shortest_names_that_tell_them_apart(tmp_path):
    def names(*paths):
        return list(name_policies([tmp_path / path for path in paths]))

    assert names("walk.onnx") == ["walk"]
    assert names("a1/policy.onnx") == ["a1"]
    assert names("a1/policy.onnx", "go1/policy.onnx", "trot.onnx") == ["a1", "go1", "trot"]
    assert names("x/a1/policy.onnx", "y/a1/policy.onnx") == ["x/a1", "y/a1"]
    with pytest.raises(ConfigError, match="given twice"):
        names("a1/policy.onnx", "b/../a1/policy.onnx")


def test_an_unknown_suite_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'quick'"):
        find_suite("quik")


@pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.name)
def test_every_experiment_is_there_once_under_every_condition(suite):
    cases = cases_of(suite, ["a", "b"], suite.simulators)
    dense, sparse = (sum(len(getattr(p, name)) for p in PERTURBATIONS.values()) for name in ("full", "quick"))
    all_of_them = 2 * len(suite.simulators) + dense * len(suite.dense)
    few = sparse * len(suite.sparse)
    run = Counter((replace(case, experiments=()), experiment) for case in cases for experiment in case.experiments)
    assert set(run.values()) == {1}
    assert len(run) == 2 * suite.seeds * (suite.episodes * all_of_them + suite.sparse_episodes * few)
    assert suite.simulators[0] == REFERENCE
    slow = [case for case in cases if find(case.simulator).engine != "mujoco"]
    assert max((len(case.experiments) for case in slow), default=0) <= suite.share
    assert len({replace(case, experiments=()) for case in cases}) == len(cases) - len(slow) + len(
        {replace(case, experiments=()) for case in slow}
    )
    # A pair of policies meets the same experiments.
    assert {replace(case, policy="") for case in cases if case.policy == "a"} == {
        replace(case, policy="") for case in cases if case.policy == "b"
    }


def test_what_depends_on_size_is_scaled_and_the_rest_is_not():
    suite = SUITES["quick"]
    cases = cases_of(suite, ["big", "small"], [REFERENCE], {"small": Size(mass=0.37, torque=0.25)})

    def values(policy):
        return {case.perturbation: case.value for case in cases if case.policy == policy}

    big, small = values("big"), values("small")
    assert {name for name in big if big[name] != small[name]} == {"payload", "push", "joint_friction"}
    assert (big["payload"], small["payload"]) == (6.0, 2.2), "6 kg on 12.45 kg is 2.2 kg on 4.6 kg"
    assert (small["push"], small["joint_friction"]) == (5.5, 0.5)


def test_what_every_figure_needs_comes_first_and_slow_engines_before_fast_ones():
    cases = cases_of(SUITES["full"], ["a"], SUITES["full"].simulators)
    order = [(case.perturbation in ("none", "joint"), case.simulator) for case in sorted(cases, key=suites._turn)]
    needed = [simulator for headline, simulator in order if headline]
    assert [headline for headline, _ in order] == [True] * len(needed) + [False] * (len(order) - len(needed))
    first_fast = min(i for i, name in enumerate(needed) if name.startswith("mujoco"))
    assert {name for name in needed[:first_fast]} == {"warp", "pybullet", "drake"}
    assert order[-1] == (False, REFERENCE)


def run(folder, suite=TINY):
    seen = []

    def report(done, result):
        seen.append(done)

    return suites.run(suite, {"a1": RELEASED}, suite.simulators, folder, partial(spread, processes=1), report), seen


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    return folder, *run(folder)


def test_a_suite_is_run(finished):
    folder, results, seen = finished
    assert [result.case for result in results] == cases_of(TINY, ["a1"], TINY.simulators)
    assert seen == [1, 2]
    assert all(not result.error for result in results)
    assert (results[0].measures["fell"] == 0).all()  # undisturbed, the released policy walks
    assert len(list(ResultFile(folder / suites.RESULTS))) == 2


def test_what_is_done_is_not_done_again(finished):
    folder, results, _ = finished
    again, seen = run(folder)
    assert seen == []
    assert [(r.case, r.wall_s) for r in again] == [(r.case, r.wall_s) for r in results]


def test_another_suite_or_policy_does_not_go_into_the_same_folder(finished):
    with pytest.raises(ConfigError, match="holds results of another suite"):
        run(finished[0], replace(TINY, episodes=3))


def test_a_failed_case_is_tried_again_but_not_one_that_a_simulator_cannot_do():
    case = cases_of(TINY, ["a1"], TINY.simulators)[0]
    assert suites._worth_another_try(CaseResult(case, error="killed by SIGSEGV"))
    assert not suites._worth_another_try(CaseResult(case, error="no stairs", details={"failure": "unsupported"}))
    assert not suites._worth_another_try(CaseResult(case, {"fell": [0.0, 0.0]}))
