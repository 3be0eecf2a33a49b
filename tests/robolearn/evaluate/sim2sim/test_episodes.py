"""One case: recorded, paired, and whole whatever happens in its simulator."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from robolearn.config import ConfigError
from robolearn.deploy.onnx_file import PolicyFileError
from robolearn.evaluate.sim2sim import episodes, scripts
from robolearn.evaluate.sim2sim.episodes import START_JOINTS, place, record, run, run_case
from robolearn.evaluate.sim2sim.measures import MEASURES, SCORE
from robolearn.evaluate.sim2sim.perturbations import prepare, strengths
from robolearn.evaluate.sim2sim.results import JOINT, NOMINAL, Case, CaseResult
from robolearn.evaluate.sim2sim.simulators import SIMULATORS, find, missing
from robolearn.evaluate.sim2sim.world import make_world

torch.set_num_threads(1)
POLICY = Path(__file__).parents[4] / "policies" / "a1_velocity_flat" / "policy.onnx"
CASE = Case("a1", "mujoco", NOMINAL, 0.0, ((0, 0), (0, 1)))
THREE = ((0, 0), (0, 1), (0, 2))
SECONDS = 1.0


@pytest.fixture
def world():
    made = make_world(POLICY, "mujoco", 3)
    made.reset()
    place(made.env, THREE)
    yield made
    made.close()


def follow(world, steps, before_step=lambda step: None):
    script = np.tile((0.5, 0.0, 0.0), (steps, world.num_envs, 1))
    return run(world, script, before_step, lambda signals: signals)


@pytest.fixture(scope="module")
def nominal():
    return record(CASE, POLICY, seconds=SECONDS)


def test_a_case_gives_every_measure_of_every_episode_and_survives_the_file():
    result = run_case(CASE, POLICY, seconds=SECONDS)
    assert result.error == "" and result.wall_s > 0 and not result.details
    assert set(result.measures) == {*MEASURES, SCORE}
    assert (result.measures["survival"] == 1).all() and (result.measures[SCORE] > 0.5).all()
    read = CaseResult.from_json(result.to_json())
    for name, values in result.measures.items():
        np.testing.assert_array_equal(read.measures[name], values)


def test_the_recording_is_what_happened(nominal):
    trace, steps = nominal.trace, round(SECONDS / 0.02)
    assert trace.steps == steps and trace.alive.all() and nominal.qpos.shape == (steps, 2, 19)
    for field in dataclasses.fields(trace):
        rows = getattr(trace, field.name)
        if np.ndim(rows) > 2:
            assert rows.dtype == np.float32 and rows.shape[:2] == (steps, 2), field.name
    np.testing.assert_allclose(nominal.qpos[..., :3], trace.position)
    np.testing.assert_allclose(nominal.qpos[..., 7:], trace.joint_position)
    world = make_world(POLICY, "mujoco", 1)
    wanted = scripts.draw(world.contract.command, CASE.experiments, SECONDS, world.env.step_dt)
    world.close()
    np.testing.assert_array_equal(trace.command, wanted.astype(np.float32))
    moved = np.diff(trace.position[:, :, 0], axis=0) / trace.dt
    np.testing.assert_allclose(moved, trace.velocity[1:, :, 0], atol=0.15)


def test_an_experiment_is_the_same_whatever_else_its_case_holds(nominal):
    more = record(dataclasses.replace(CASE, experiments=((1, 0), *CASE.experiments)), POLICY, seconds=SECONDS)
    np.testing.assert_array_equal(more.qpos[:, 1:], nominal.qpos)
    for one, other in itertools.combinations(range(3), 2):
        assert not np.allclose(more.qpos[:, one], more.qpos[:, other], atol=1e-3)


@pytest.mark.parametrize("simulator", ["mujoco", "pybullet", "drake"])
@pytest.mark.parametrize(("perturbation", "value"), [(JOINT, 0.0), ("steps", 4.0)])
def test_so_are_its_measures_with_everything_disturbed(simulator, perturbation, value):
    if missing(find(simulator)) or (perturbation == "steps" and simulator != "mujoco"):
        pytest.skip(f"{simulator} cannot do it here")
    together = Case("a1", simulator, perturbation, value, ((0, 0), (3, 1), (1, 0)))
    alone = dataclasses.replace(together, experiments=((3, 1),))
    whole, part = (run_case(case, POLICY, seconds=0.4).measures for case in (together, alone))
    for name, values in part.items():
        np.testing.assert_allclose(values, whole[name][1:2], rtol=1e-6, err_msg=name)


def test_starts_and_commands_are_the_same_in_every_simulator_and_under_every_perturbation(nominal):
    for changes in ({"simulator": "mujoco-fine"}, {"perturbation": "payload", "value": 2.0}):
        other = record(dataclasses.replace(CASE, **changes), POLICY, seconds=0.2)
        joints = other.qpos[0, :, 7:] - nominal.qpos[0, :, 7:]
        assert 0 < np.abs(joints).max() < 0.02  # one control step apart, and not the same run
    np.testing.assert_array_equal(
        record(dataclasses.replace(CASE, simulator="mujoco-fine"), POLICY, seconds=SECONDS).trace.command,
        nominal.trace.command,
    )


def test_the_fixed_script_is_followed_on_demand():
    trace = record(CASE, POLICY, seconds=SECONDS, fixed=True).trace
    np.testing.assert_array_equal(trace.command[:, 0], trace.command[:, 1])
    assert trace.command[10, 0].tolist() == pytest.approx([0.6, 0, 0])


def test_robots_start_near_the_nominal_pose_and_not_in_the_ground(world):
    state, robot = world.env.state, world.env.robot
    offset = (state.joint_position - torch.tensor(robot.default_pose)).abs()
    assert START_JOINTS / 2 < offset.max() <= START_JOINTS + 1e-6
    lowest = state.foot_position[..., 2].amin(1) - world.env.scene.foot_clearance
    assert lowest.min() >= -1e-6 and lowest.max() < 0.02
    assert len({tuple(row.tolist()) for row in state.joint_position}) == 3


def test_a_fall_ends_the_episode_and_nothing_else(world):
    qpos = world.env.engine.field("qpos")

    def topple(step):
        if step == 10:
            qpos[1, 3:7] = torch.tensor([0.0, 1.0, 0.0, 0.0])  # on its back
            qpos[1, 2] += 0.3
        if step == 20:
            qpos[1, 3:7] = torch.tensor([1.0, 0.0, 0.0, 0.0])  # upright again: too late

    trace = follow(world, 30, topple).trace
    assert trace.fell.tolist() == [False, True, False] and not trace.diverged.any()
    assert trace.alive.sum(0).tolist() == [30, 10, 30]


def test_who_walks_off_the_ground_does_not_begin_anew_unseen():
    values = strengths("steps", 2.0, CASE.experiments[:1])
    world = make_world(POLICY, "mujoco", 1, adapt=lambda task: prepare(task, values, SIMULATORS["mujoco"]))
    world.reset()

    def carry(step):
        if step == 3:
            world.env.engine.field("qpos")[0, 0] = 14.0

    with pytest.raises(RuntimeError, match="walked off the end of the ground"):
        follow(world, 5, carry)
    world.close()


def test_a_run_ends_when_nobody_stands(world):
    def lift(step):
        world.env.engine.field("qpos")[:, 3:7] = torch.tensor([0.0, 1.0, 0.0, 0.0])

    trace = follow(world, 30, lift).trace
    assert trace.alive.shape == (1, 3) and trace.steps == 30 and trace.fell.all()


def test_a_diverged_robot_counts_as_fallen_and_leaves_the_others_alone(world):
    def blow_up(step):
        if step == 5:
            world.env.engine.field("qvel")[2] = torch.nan

    trace = follow(world, 20, blow_up).trace
    assert trace.diverged.tolist() == [False, False, True] and not trace.fell.any()
    assert trace.alive.sum(0).tolist() == [20, 20, 5]
    assert MEASURES["fell"].compute(trace).tolist() == [0, 0, 1]
    world.reset()
    place(world.env, THREE)
    np.testing.assert_array_equal(follow(world, 20).trace.position[:, :2], trace.position[:, :2])


def test_a_policy_without_finite_output_counts_as_diverged(world, monkeypatch):
    act = world.act

    def broken(signals):
        targets = act(signals)
        targets[0] = torch.nan
        return targets

    monkeypatch.setattr(world, "act", broken)
    trace = follow(world, 5).trace
    assert trace.diverged.tolist() == [True, False, False] and not trace.alive[:, 0].any()


def test_a_crash_of_the_simulator_is_a_result_with_one_line(monkeypatch):
    def crash(*args):
        raise RuntimeError("contact solver\nfailed")

    monkeypatch.setattr(episodes, "make_world", crash)
    result = run_case(CASE, POLICY)
    assert result.error == "RuntimeError: contact solver" and result.measures == {}
    assert result.details == {"failure": "failed"}


def test_what_a_simulator_cannot_apply_is_a_result_too(monkeypatch):
    result = run_case(dataclasses.replace(CASE, simulator="pybullet", perturbation="steps", value=4.0), POLICY)
    assert result.error == "Unsupported: perturbation 'steps': simulator 'pybullet' has no height fields" or (
        "not installed" in result.error
    )

    def lacking(*args):
        raise KeyError("no 'geom_friction' here")

    monkeypatch.setattr(episodes, "make_world", lacking)
    result = run_case(dataclasses.replace(CASE, perturbation="friction", value=0.5), POLICY)
    assert result.details == {"failure": "unsupported"}
    assert result.error.endswith("'friction': simulator 'mujoco' cannot apply it: no 'geom_friction' here")
    assert run_case(CASE, POLICY).details == {"failure": "failed"}  # nothing was to be applied: a fault


def test_mistakes_of_the_user_are_errors(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'mujoco'"):
        run_case(dataclasses.replace(CASE, simulator="mujocco"), POLICY)
    with pytest.raises(ConfigError, match="Did you mean 'slope'"):
        run_case(dataclasses.replace(CASE, perturbation="slop"), POLICY)
    with pytest.raises(PolicyFileError, match=r"nothing\.onnx"):
        run_case(CASE, tmp_path / "nothing.onnx")


def test_payload_counts_in_the_mass_and_weak_motors_in_the_limits():
    heavy = record(dataclasses.replace(CASE, perturbation="payload", value=2.0), POLICY, seconds=0.1).trace
    weak = record(dataclasses.replace(CASE, perturbation="motor_strength", value=0.5), POLICY, seconds=0.1).trace
    np.testing.assert_allclose(heavy.mass - weak.mass, 2.0)
    np.testing.assert_allclose(heavy.effort_limit, 2 * weak.effort_limit)
    assert heavy.effort_limit.shape == (2, 12)
