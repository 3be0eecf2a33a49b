"""The whole chain in one process: exported policy, controller, monitor, driver, simulated robot."""

from pathlib import Path

import numpy as np
import pytest

from hardware.base import RobotDriver
from hardware.mujoco_robot import MujocoRobot
from robolearn.config import ConfigError
from robolearn.deploy.inputs import Inputs
from robolearn.deploy.modes import Mode, Request
from robolearn.deploy.policy import OnnxPolicy
from robolearn.deploy.robot import load_robot_file
from robolearn.deploy.runner import ControlLoop, PolicyRunner
from sim.robots import load_robot
from sim.scene import PhysicsConfig, build_scene
from sim.terrain import Terrain
from sim.terrain.tiles import TerrainConfig

RELEASED = Path(__file__).parents[3] / "policies" / "a1_velocity_flat" / "policy.onnx"


def inputs(command=(0.0, 0.0, 0.0), **changes):
    calm = {"estop": False, "command_age": 0.0, "policy_age": 0.0, "monitor_age": 0.0, "hardware_age": 0.0}
    return Inputs(command=np.array(command), **{**calm, **changes})


class World:
    """An A1 on flat ground, with a policy, turned tick by tick."""

    def __init__(self, path):
        import torch

        self.robot = load_robot_file("a1")
        description = load_robot("a1")
        scene = build_scene(description, Terrain(TerrainConfig(), torch.device("cpu")), PhysicsConfig(timestep=0.002))
        self.link = MujocoRobot(scene.model, self.robot.joints, description.base, self.robot.effort_limit)
        self.link.place(self.robot.default_pose, description.base_height)
        self.driver = RobotDriver(self.link, self.robot, self.link)
        # The loop's own time is not what is tested: a busy machine must not make the policy late.
        runner = PolicyRunner(OnnxPolicy(path), self.robot, timer=lambda: 0.0)
        self.driver.__enter__()
        self.driver.activate()
        self.loop = ControlLoop(self.driver, self.robot, runner)
        self.events, self.modes = [], []

    def run(self, seconds, command=(0.0, 0.0, 0.0), **changes):
        for _ in range(round(seconds * self.robot.control_hz)):
            self.link.advance(1 / self.robot.control_hz)
            tick = self.loop.tick(inputs(command, **changes), self.link.now())
            self.events += tick.output.events
            self.modes.append(tick.output.mode)
        return tick

    def ask(self, request):
        answer = self.loop.controller.request(request, self.link.now())
        assert answer.accepted, answer.reason

    def walk(self):
        """From power-on to the policy in control."""
        self.run(0.2)
        self.ask(Request.ARM)
        self.ask(Request.STAND)
        self.run(3.0)
        assert self.loop.controller.mode is Mode.READY, self.events
        self.ask(Request.START_POLICY)
        self.run(1.0)


@pytest.fixture(scope="module")
def walked():
    world = World(RELEASED)
    world.walk()
    world.start = world.link.data.qpos[:2].copy()
    world.run(4.0, (0.6, 0.0, 0.0))
    return world


def test_the_released_policy_walks_under_the_monitor(walked):
    moved = walked.link.data.qpos[:2] - walked.start
    assert walked.loop.controller.mode is Mode.POLICY
    assert np.linalg.norm(moved) == pytest.approx(0.6 * 4.0, rel=0.2)
    assert [event for event in walked.events if event.reaction > 0] == []


def test_an_emergency_stop_brakes_within_one_tick_and_latches(walked):
    tick = walked.run(1 / walked.robot.control_hz, estop=True)
    assert tick.output.mode is Mode.ESTOP
    assert not tick.sent.kp.any()
    assert (tick.sent.kd > 0).all()
    assert not walked.loop.controller.request(Request.STAND, walked.link.now()).accepted


def test_the_policy_runs_at_its_own_rate_and_starts_afresh(policy_file):
    world = World(policy_file)
    results = []
    world.run(0.2)
    world.ask(Request.ARM)
    world.ask(Request.STAND)
    world.run(3.0)
    world.ask(Request.START_POLICY)
    for _ in range(9):
        world.link.advance(1 / world.robot.control_hz)
        results.append(world.loop.tick(inputs(), world.link.now()).result)
    assert [result is not None for result in results] == [True, False, False, False] * 2 + [True]


def test_joints_are_matched_by_name(policy_file):
    """A file in another order of joints gives the same targets to the same joints."""
    policy, robot = OnnxPolicy(policy_file), load_robot_file("a1")
    state = World(policy_file).run(0.1).state
    straight = PolicyRunner(policy, robot).evaluate(state, np.zeros(3), 0.0)
    runner = PolicyRunner(OnnxPolicy(policy_file), robot)
    order = np.random.default_rng(0).permutation(len(robot.joints))
    runner._to_policy = np.argsort(order)[runner._to_policy]
    runner._to_robot = runner._to_robot[order]
    shuffled = type(state)(
        position=state.position[order], velocity=state.velocity[order], torque=state.torque[order],
        orientation=state.orientation, angular_velocity=state.angular_velocity, sequence=0, stamp=0.0,
    )  # fmt: skip
    assert np.allclose(runner.evaluate(shuffled, np.zeros(3), 0.0).joint_target, straight.joint_target[order])


def test_a_policy_of_another_robot_is_refused(policy_file):
    with pytest.raises(ConfigError, match="made for 'a1'"):
        PolicyRunner(OnnxPolicy(policy_file), load_robot_file("go1"))
