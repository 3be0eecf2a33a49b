import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tampered import POLICY, ROBOTS, Tampered, differing, rng, world

from robolearn.evaluate.sim2sim.diagnosis import BOUNDARIES, Diagnosis, Finding, diagnose, sensitivity
from robolearn.evaluate.sim2sim.diagnosis.findings import judge
from robolearn.evaluate.sim2sim.diagnosis.probe import (
    States,
    evaluate,
    in_the_air,
    joints,
    nominal,
    place,
    read,
    signals,
    step,
    watching,
)
from robolearn.evaluate.sim2sim.diagnosis.replay import Ruler, Run, again, drive

SHORT = 0.6  # s under the policy: enough for what is planted


@pytest.fixture(scope="module")
def reference():
    return world()


def slippery(model):
    model.geom_friction[:, 0] = 0.3


# The whole


def test_the_same_simulator_agrees_everywhere(reference):
    diagnosis = diagnose(POLICY, reference, world(), seconds=SHORT)
    assert diagnosis.first is None and diagnosis.boundary == ""
    assert {f.verdict for f in diagnosis.findings} == {"ok"}
    assert diagnosis.summary == "mujoco agrees with mujoco at every boundary that was tested"
    found = [f.boundary for f in diagnosis.findings]
    assert list(dict.fromkeys(found)) == list(BOUNDARIES), "every boundary, from the outside in"
    assert found == sorted(found, key=BOUNDARIES.index)


def test_another_time_step_is_not_blamed_on_what_it_is_not(reference):
    diagnosis = diagnose(POLICY, reference, world("mujoco-fine"), seconds=SHORT)
    blamed = {f.boundary for f in diagnosis.findings if f.verdict == "differs"}
    assert not blamed & {"contract", "actuation", "inertia"}


def test_friction_is_named(reference):
    diagnosis = diagnose(POLICY, reference, world(change=slippery), seconds=SHORT)
    assert (diagnosis.boundary, diagnosis.first.check) == ("contact", "friction")
    assert diagnosis.first.what == "friction is 0.30 instead of 1.00"
    assert diagnosis.first.measured == pytest.approx(0.3, rel=0.02)


def test_soft_ground_is_not_taken_for_ice(reference):
    diagnosis = diagnose(POLICY, reference, world("mujoco-soft"), seconds=SHORT)
    assert (diagnosis.boundary, diagnosis.first.check) == ("contact", "standing height")
    assert diagnosis.first.measured < diagnosis.first.expected
    assert ("contact", "replay on the ground") in differing(diagnosis.findings)
    assert ("inertia", "replay in the air") not in differing(diagnosis.findings)


def test_the_first_of_two_faults_is_named_first(reference):
    candidate = world(change=slippery)
    candidate.env.actuators.kp.mul_(1.5)
    diagnosis = diagnose(POLICY, reference, candidate, seconds=SHORT)
    assert (diagnosis.boundary, diagnosis.first.check) == ("actuation", "kp")
    assert ("contact", "friction") in differing(diagnosis.findings)


@pytest.mark.parametrize("arguments", [{"seconds": 0.1}, {"command": (1.0,)}])
def test_arguments_that_cannot_be(reference, arguments):
    with pytest.raises(ValueError, match=r"seconds must be at least 0.2|command needs 3 values \(vx, vy, yaw_rate\)"):
        diagnose(POLICY, reference, reference, **arguments)


def test_worlds_of_different_sizes_are_refused(reference):
    class Small:
        num_envs = 2

    with pytest.raises(ValueError, match="same number of robots, at least 2; got 4 and 2"):
        diagnose(POLICY, reference, Small())


# Findings


def test_a_number_that_is_not_finite_differs():
    assert judge("contact", "x", math.nan, 0, 1, "", "bad", "").verdict == "differs"
    assert judge("contact", "x", math.inf, 0, 1, "", "bad", "").verdict == "differs"


@given(st.floats(-10, 10), st.floats(-10, 10), st.floats(0, 10))
def test_judgement(measured, expected, tolerance):
    finding = judge("contact", "x", measured, expected, tolerance, "m", "wrong", "")
    assert (finding.verdict == "ok") == (abs(measured - expected) <= tolerance)
    assert finding.what == ("agrees" if finding.verdict == "ok" else "wrong")


def test_an_unknown_boundary_is_refused():
    with pytest.raises(ValueError, match="must be one of contract, actuation"):
        Finding("weather", "x", "ok", "")


def test_text_and_json_say_the_same():
    findings = (
        Finding("contract", "joint names", "ok", "agrees", 0, 0, 0, "joints", "compared"),
        Finding("contact", "friction", "differs", "friction is 0.30 instead of 1.00", 0.3, 1, 0.05, "", "slid"),
        Finding("sensitivity", "divergence", "not tested", "no time"),
    )
    diagnosis = Diagnosis("policy.onnx", "mujoco", "other", findings)
    assert diagnosis.first is findings[1]
    content = json.loads(diagnosis.to_json())
    assert content["boundary"] == "contact"
    assert content["findings"][1]["measured"] == 0.3
    assert content["findings"][2]["measured"] is None
    text = diagnosis.text()
    assert text.startswith("other differs from mujoco first at the contact: friction is 0.30 instead of 1.00")
    assert "measured 0.3, expected 1 ± 0.05" in text
    assert text.count("measured") == 2, "what was not tested has no numbers"


# Questions to a simulator


def test_a_placed_state_is_read_back(reference):
    states = in_the_air(reference, ROBOTS, rng(), 1.0)
    place(reference, states)
    found = read(reference)
    np.testing.assert_array_equal(found.qpos, states.qpos)
    np.testing.assert_array_equal(found.qvel, states.qvel)
    seen = signals(reference)
    np.testing.assert_allclose(seen["joint_position"], joints(reference, states)[0], atol=1e-6)
    np.testing.assert_allclose(seen["joint_velocity"], joints(reference, states)[1], atol=1e-6)


def test_states_in_the_air_keep_away_from_stops_and_ground(reference):
    states = in_the_air(reference, 50, rng(), 0.0)
    low, high = np.array(reference.env.robot.position_limit).T
    positions, velocities = joints(reference, states)
    assert (positions > low).all() and (positions < high).all()
    assert not velocities.any()
    assert states.qpos[:, 2].min() > 2
    np.testing.assert_allclose(np.linalg.norm(states.qpos[:, 3:7], axis=1), 1)


def test_watching_sees_every_physics_step_and_leaves_nothing_behind(reference):
    place(reference, nominal(reference, ROBOTS))
    step_function = reference.env.engine.step
    default = np.tile(reference.env.robot.default_pose, (ROBOTS, 1))
    with watching(reference) as watched:
        step(reference, default)
        step(reference, default)
        seen = watched()
    assert seen.ctrl.shape == (2 * reference.env.task.physics.decimation, ROBOTS, 12)
    np.testing.assert_array_equal(seen.qpos[0], nominal(reference, ROBOTS).qpos)
    assert reference.env.engine.step == step_function
    with pytest.raises(KeyError), watching(reference):
        raise KeyError
    assert reference.env.engine.step == step_function


@pytest.mark.parametrize("count", [1, 4, 5, 9])
def test_experiments_are_run_once_each_and_in_order(reference, count):
    batches = []

    def run(ids):
        batches.append(ids.copy())
        return np.stack((ids, ids**2), 1).astype(float)

    result = evaluate(reference, count, run)
    np.testing.assert_array_equal(result, [[i, i**2] for i in range(count)])
    assert all(len(ids) == ROBOTS for ids in batches)


def test_given_again_a_run_is_the_same(reference):
    start = nominal(reference, ROBOTS)
    run = drive(reference, start, np.zeros((ROBOTS, 3)), 3)
    assert run.valid.all() and len(run) == 3
    after = again(reference, start, np.moveaxis(run.targets, 0, 1))
    for ours, theirs in zip(after, run.states[1:], strict=True):
        np.testing.assert_allclose(ours.qpos, theirs.qpos, atol=1e-6)


# Sensitivity


def test_a_distance_of_one_standard_deviation_is_one(reference):
    ruler = Ruler(reference.contract, reference.env.robot)
    a = nominal(reference, 1)
    b = States(a.qpos.copy(), a.qvel.copy())
    column = ruler.names.index("joint_velocity FR_calf_joint")
    b.qvel[:, reference.env.scene.joint_qvel[5]] = ruler.deviations[column]
    distance = ruler.distance(reference, a, b)[0]
    assert distance[column] == pytest.approx(1)
    assert np.delete(distance, column).max() == 0
    # What the policy file says of the observation, taken back from scaled values to rad/s.
    assert ruler.deviations[column] == pytest.approx(reference.contract.observation.statistics.std[26] / 0.05, rel=1e-5)


def test_float32_sized_perturbations():
    start = States(np.full((3, 19), 2.0), np.full((3, 18), 0.5))
    result = sensitivity.perturbed(start, rng())
    np.testing.assert_array_equal(result.qpos[0], start.qpos[0])
    for row in (1, 2):
        change = np.abs(result.qpos[row] - 2.0)
        assert 0 < change.max() < 5 * 2 * 2**-24
    assert start.qpos.max() == 2.0, "the given states are left alone"


NEVER = 99


def shifted(reference, at):
    """A run of 10 steps in which every joint of robot ``i`` is 1 rad off from step ``at[i]`` on."""
    states = []
    for t in range(11):
        now = nominal(reference, len(at))
        now.qpos[np.array(at) <= t, 7:] += 1.0
        states.append(now)
    return Run(tuple(states), np.zeros((10, len(at), 12)), np.ones((10, len(at)), bool))


@pytest.mark.parametrize(
    ("rounded", "halved", "agreed", "words"),
    [
        (2, NEVER, True, "it is the policy's sensitivity"),
        (NEVER, 4, True, "the reference's own time step"),
        (NEVER, NEVER, True, "differences within the tolerances"),
        (NEVER, NEVER, False, "the runs part after 0.08 s, joint_position RL_thigh_joint first"),
    ],
)
def test_what_parting_means(reference, rounded, halved, agreed, words):
    ruler = Ruler(reference.contract, reference.env.robot)
    ours = shifted(reference, [NEVER, rounded, rounded, rounded])
    twin, theirs = shifted(reference, [halved] * ROBOTS), shifted(reference, [4] * ROBOTS)
    finding = sensitivity.check(reference, ruler, ours, twin, theirs, agreed)
    assert finding.verdict == "differs"
    assert words in finding.what
    assert finding.measured == pytest.approx(0.02 * min(rounded, 4))


def test_runs_that_stay_together_are_not_blamed(reference):
    ruler = Ruler(reference.contract, reference.env.robot)
    run = shifted(reference, [NEVER] * ROBOTS)
    finding = sensitivity.check(reference, ruler, run, run, run, True)
    assert finding.verdict == "ok"
    assert "rounding parts two runs of the reference never" in finding.evidence


def test_falls_and_failures_are_told(reference):
    ruler = Ruler(reference.contract, reference.env.robot)
    ours, theirs = (shifted(reference, [NEVER] * ROBOTS) for _ in range(2))
    theirs.states[-1].qpos[1, 3:7] = 0, 1, 0, 0
    theirs.valid[5, 2] = False
    finding = sensitivity.check(reference, ruler, ours, ours, theirs, True)
    assert "2 of 4 robots of the candidate fall or fail" in finding.evidence


def test_late_readings_stay_late_under_the_policy(reference):
    """The helper of these tests: a reading one control step old is the reading of the step before."""
    plain, late = world(), Tampered(world(), late_readings=1)
    for candidate in (plain, late):
        candidate.reset()
    before = plain.signals()
    targets = torch.tensor(plain.env.robot.default_pose).repeat(ROBOTS, 1) + 0.1
    for candidate in (plain, late):
        candidate.step(targets)
    torch.testing.assert_close(late.signals()["joint_position"], before["joint_position"])
    assert not torch.allclose(plain.signals()["joint_position"], before["joint_position"], atol=1e-4)
