"""The same run in one process and through ROS 2 in lock step: the same actions, to the last bit of what is compared."""

import threading

import numpy as np
import pytest
import rclpy
import rclpy.context
import rclpy.executors
from rclpy.parameter import Parameter
from stack import LIMIT, RELEASED

from hardware.base import RobotDriver
from hardware.mujoco_robot import MujocoRobot
from robolearn.deploy.policy import OnnxPolicy
from robolearn.deploy.robot import load_robot_file
from robolearn.deploy.runner import ControlLoop, PolicyRunner
from robolearn_ros.operator import Operator
from robolearn_ros.policy_node import PolicyNode
from robolearn_ros.safety_monitor import SafetyMonitorNode
from robolearn_ros.sim_node import SimNode
from sim.ground import Plane
from sim.robots import load_robot
from sim.scene import PhysicsConfig, build_scene

STEPS = 1000
"""Outputs of the policy that are compared."""


class Threaded:
    """A node in this process, with a context and an executor of its own."""

    def __init__(self, kind, **parameters):
        self.context = rclpy.context.Context()
        rclpy.init(context=self.context)
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        self.node = kind(context=self.context, parameter_overrides=overrides)
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.node.trigger_configure()
        assert not self.node.failure
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._spin, daemon=True)
        self.thread.start()

    def _spin(self):
        while not self.ended.is_set():
            self.executor.spin_once(timeout_sec=0.1)

    def close(self):
        self.ended.set()  # what the thread waits for must not be destroyed under it
        self.thread.join()
        self.executor.shutdown()
        self.node.close()
        self.context.try_shutdown()


def through_ros(folder):
    """Walk with changing commands; return every tick, and each request with the number of the tick after it."""
    ticks, requests, enough = [], [], threading.Event()
    common = {"policy": str(RELEASED), "use_sim_time": True}
    nodes = [
        Threaded(SimNode, real_time_factor=0.0),
        Threaded(PolicyNode, **common),
        Threaded(SafetyMonitorNode, latch_file=str(folder / "latch"), **common),
    ]
    monitor = nodes[2].node
    original = monitor.start

    def start():
        original()
        loop, outputs = monitor._loop, [0]
        tick, request = loop.tick, loop.controller.request

        def recording_tick(inputs, now):
            done = tick(inputs, now)
            ticks.append((inputs, done))
            outputs[0] += done.result is not None
            if outputs[0] >= STEPS:
                enough.set()
            return done

        def recording_request(name, now):
            requests.append((len(ticks), name, now))
            return request(name, now)

        loop.tick, loop.controller.request = recording_tick, recording_request

    monitor.start = start
    try:
        for node in reversed(nodes):
            node.node.trigger_activate()
        with Operator() as operator:
            operator.wait_for(lambda: operator.state == "idle", LIMIT)
            for name, state in (("arm", "idle"), ("stand", "ready"), ("start_policy", "policy")):
                operator.reach(name, state, LIMIT)  # the policy's signs of life may still be on their way
            for number in range(300):
                operator.drive(0.5 * np.sin(number), 0.2 * np.cos(number), 0.5 * np.sin(0.3 * number))
                if enough.wait(1.0):
                    break
            assert enough.is_set()
        assert not monitor._policy.late_answers, "an answer came later than PATIENCE: too busy a computer for this"
    finally:
        for node in reversed(nodes):
            node.close()
    return ticks, requests


def in_one_process(ticks, requests):
    """Run again what was asked and given, without ROS; yield each tick."""
    robot, description = load_robot_file("a1"), load_robot("a1")
    scene = build_scene(description, Plane(), PhysicsConfig(timestep=0.002))
    link = MujocoRobot(scene.model, robot.joints, description.base, robot.effort_limit)
    link.place(robot.default_pose, description.base_height)
    with RobotDriver(link, robot, link) as driver:
        driver.activate()
        loop = ControlLoop(driver, robot, PolicyRunner(OnnxPolicy(RELEASED), robot, timer=lambda: 0.0))
        asked = list(requests)
        for number, (inputs, _) in enumerate(ticks):
            link.advance(robot.control_dt)
            while asked and asked[0][0] <= number:
                loop.controller.request(*asked.pop(0)[1:])
            yield loop.tick(inputs, link.now())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    ticks, requests = through_ros(tmp_path_factory.mktemp("parity"))
    return [tick for _, tick in ticks], list(in_one_process(ticks, requests))


def test_a_thousand_actions_are_the_same(runs):
    theirs, ours = ([tick.result for tick in run if tick.result is not None][:STEPS] for run in runs)
    assert len(theirs) == len(ours) == STEPS
    assert max(np.abs(a.action - b.action).max() for a, b in zip(theirs, ours, strict=True)) <= 1e-5
    assert max(np.abs(a.joint_target - b.joint_target).max() for a, b in zip(theirs, ours, strict=True)) <= 1e-5
    assert np.ptp([a.action for a in ours], axis=0).min() > 0.1  # it really moved


def test_so_are_the_modes_and_the_commands(runs):
    theirs, ours = runs
    assert [tick.output.mode for tick in theirs] == [tick.output.mode for tick in ours]
    worst = max(np.abs(a.sent.position - b.sent.position).max() for a, b in zip(theirs, ours, strict=True))
    assert worst <= 1e-5
