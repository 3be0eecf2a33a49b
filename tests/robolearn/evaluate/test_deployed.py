"""A deployed robot in one process: the same run every time, copies with their own future, faults, a spoiled policy."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from robolearn.config import ConfigError
from robolearn.deploy.checks import Reason
from robolearn.deploy.inputs import PolicyResult, PolicySetup
from robolearn.deploy.modes import Mode, Request
from robolearn.deploy.policy import OnnxPolicy
from robolearn.deploy.power import PowerMeter
from robolearn.evaluate import deployed
from robolearn.evaluate.deployed import DeployedRobot, calm
from sim.robots import load_robot

RELEASED = Path(__file__).parents[3] / "policies" / "a1_velocity_flat" / "policy.onnx"
FORWARD = calm((0.5, 0.0, 0.2))


def make_world():
    return DeployedRobot(OnnxPolicy(RELEASED))


@pytest.fixture(scope="module")
def walking():
    """A robot that walks; only copies of it may be used."""
    world = make_world()
    world.walk()
    return world


def where(world):
    return world.link.data.qpos.copy()


def test_it_walks_and_does_the_same_every_time(walking):
    world, other = walking.copy(), make_world()
    other.walk()
    for each in (world, other):
        each.run(1.0, FORWARD)
        assert each.mode is Mode.POLICY
    assert np.array_equal(where(world), where(other))
    assert world.now == other.now


def test_a_copy_has_the_same_future_and_none_with_its_original_in_common(walking):
    world, reference = walking.copy(), walking.copy()
    disturbed = world.copy()
    disturbed.injector.inject("nan_position")
    disturbed.policy.spoil = lambda result: None
    disturbed.link.push(np.array([0.0, 40.0, 0.0]))
    disturbed.run(0.5, FORWARD)
    assert disturbed.mode is Mode.DAMPING
    world.run(0.5, FORWARD)
    reference.run(0.5, FORWARD)
    assert world.mode is Mode.POLICY
    assert np.array_equal(where(world), where(reference))


def test_the_energy_of_a_walk_is_exact_and_readings_alone_miss_some_of_it(walking):
    """Power is a function of every physics step; 200 readings a second see less of the impacts of the feet."""
    world = walking.copy()
    data, dofs, step = world.link.data, world.link._qvel, world.link._step
    truth = [0.0]

    def counting():
        velocity = data.qvel[dofs].copy()
        step()
        truth[0] += float(np.abs(data.qfrc_applied[dofs] * velocity).sum()) * world.link.model.opt.timestep

    counter, sampled = PowerMeter(), PowerMeter()
    first = world.tick(FORWARD).state
    world.link._step = counting
    states = [first, *(tick.state for tick in world.run(1.0, FORWARD))]
    for state in states:
        found, alone = counter.take(state), sampled.take(replace(state, energy=np.nan))
    assert truth[0] > 20.0
    assert found.energy == pytest.approx(truth[0], rel=1e-9)
    assert 0.95 * truth[0] < alone.energy < truth[0]


def test_faults_reach_the_controller_below_the_driver(walking):
    world = walking.copy()
    world.injector.inject("nan_position", joint="FL_hip_joint")
    first, second = world.run(2 * world.robot.control_dt, FORWARD)
    assert np.isnan(first.state.position).sum() == 1
    assert first.output.mode is Mode.POLICY
    assert second.output.mode is Mode.DAMPING


def test_a_policy_can_be_spoiled_and_silenced(walking):
    world = walking.copy()
    world.policy.spoil = lambda result: replace(result, inference_time=1.0)
    times = [tick.result.inference_time for tick in world.run(0.02, FORWARD) if tick.result]
    assert times == [1.0]
    world.policy.spoil = lambda result: None
    assert all(tick.result is None for tick in world.run(0.05, FORWARD))


def test_the_truth_about_the_base(walking):
    world = walking.copy()
    assert world.tilt < 0.3
    assert world.height == pytest.approx(1.0, abs=0.3)
    world.ask(Request.STOP)
    world.link.push(np.array([0.0, 60.0, 0.0]), duration=0.1)
    world.run(1.0)
    assert world.tilt > 1.0
    assert world.height < 0.6


def test_a_refused_request_says_why():
    with pytest.raises(RuntimeError, match="not armed"):
        world = make_world()
        world.run(0.1)
        world.ask(Request.STAND)


def test_a_robot_that_the_policy_was_not_made_for_is_refused():
    with pytest.raises(ConfigError, match="made for 'a1'"):
        DeployedRobot(OnnxPolicy(RELEASED), "go1")


class Statue:
    """In place of a policy: holds the default pose of a robot with the gains that its policies walk with."""

    def __init__(self, _, robot):
        there, joints = load_robot(robot.name), len(robot.joints)
        self._pose = robot.default_pose
        self.setup = PolicySetup(
            robot=robot.name,
            joints=robot.joints,
            dt=robot.policy_dt,
            kp=np.array(there.kp),
            kd=np.array(there.kd),
            action_clip=10.0,
            command_range=np.tile((-1.0, 1.0), (3, 1)),
            observation_low=np.full(joints, -1.0),
            observation_high=np.full(joints, 1.0),
            observation_mean=np.zeros(joints),
            observation_std=np.ones(joints),
        )

    def reset(self):
        pass

    def late(self, now):
        return None

    def evaluate(self, state, command, now):
        nothing = np.zeros(len(self._pose))
        return PolicyResult(self._pose, nothing, nothing, 0.0, now)


def test_a_biped_hangs_until_it_is_stiff_and_is_put_on_its_feet(monkeypatch):
    """Limp it would collapse, and so it does when nothing but the soft gains of its policies hold it."""
    monkeypatch.setattr(deployed, "LocalPolicy", Statue)
    world = DeployedRobot(SimpleNamespace(contract=None, _session=None), "bruce")
    world.run(1.0)
    assert world.mode is Mode.IDLE
    assert world.height > 1.2
    world.stand()
    world.run(1.0)
    assert world.mode is Mode.READY
    assert world.link.hoist is None
    assert world.height == pytest.approx(1.0, abs=0.02)
    assert world.tilt < 0.05
    world.ask(Request.START_POLICY)
    ticks = world.run(4.0)
    assert world.mode is Mode.DAMPING
    assert {event.reason for tick in ticks for event in tick.output.events} & {Reason.TILT, Reason.FALL}
    assert world.height < 0.8
