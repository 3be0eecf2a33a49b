"""What the nodes in front of the drives do with commands, the driver and its robot in the test's hands."""

from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from hardware.base import Lifecycle, RobotDriver
from hardware.loopback import Loopback
from robolearn.deploy.power import Power
from robolearn.deploy.robot import load_robot_file
from robolearn.deploy.types import JointCommand
from robolearn_ros.drive import RELEASE, Drive, Order

ROBOT = load_robot_file("a1")
STIFF = JointCommand(ROBOT.default_pose, np.zeros(12), ROBOT.stand_kp, ROBOT.stand_kd, np.zeros(12))
LIMP = JointCommand.zero(12)


class Time:
    def __init__(self):
        self.time = 5000.0

    def now(self):
        return self.time

    def wait(self, seconds):
        self.time += seconds


class Topic(list):
    publish = list.append


class Rig:
    def __init__(self):
        self.topics = defaultdict(Topic)
        self.clock = Time()
        self.driver = RobotDriver(Loopback(ROBOT.joints, self.clock, pose=ROBOT.default_pose), ROBOT, self.clock)
        self.driver.connect()
        self.driver.configure()
        self.driver.activate()
        node = SimpleNamespace(publisher=lambda _, topic, *__: self.topics[topic], inbox=lambda *_: None)
        self.drive = Drive(node, ROBOT, self.driver, public=False)

    def apply(self, command, age=0.002):
        """A cycle passes, and a command comes that answers the cycle ``age`` s ago. Return what the drives do now."""
        self.clock.wait(ROBOT.control_dt)
        self.drive.apply(Order(self.clock.now() - age, command), self.clock.now())
        return self.driver.cycle()


@pytest.fixture
def rig():
    found = Rig()
    found.apply(LIMP)
    return found


def test_a_command_in_time_is_followed(rig):
    assert rig.apply(STIFF).kp.any()
    assert rig.drive.refused == 0


@pytest.mark.parametrize("age", [0.2, 4990.0, -3600.0], ids=["late", "a simulation's", "another computer's"])
def test_a_command_that_answers_no_cycle_of_now_is_none(rig, age):
    """A real robot that is started beside a walking simulation must not walk along."""
    assert not rig.apply(STIFF, age).kp.any()
    assert rig.drive.refused == 1
    for _ in range(int(ROBOT.command_timeout / ROBOT.control_dt) + 1):
        rig.apply(STIFF, age)
    assert rig.driver.state is Lifecycle.FAULT  # as when nobody commands


def test_drives_that_were_just_taken_over_do_not_join_a_motion():
    rig = Rig()
    for _ in range(50):
        assert not rig.apply(STIFF).kp.any()
    rig.apply(LIMP)
    assert rig.apply(STIFF).kp.any()


def test_a_fault_is_cleared_by_fresh_commands_without_stiffness_only(rig):
    rig.driver.fail("test")
    for _ in range(2 * int(RELEASE / ROBOT.control_dt)):
        rig.apply(STIFF)
        rig.apply(LIMP, age=1.0)
    assert rig.driver.state is Lifecycle.FAULT
    for _ in range(int(RELEASE / ROBOT.control_dt) + 2):
        rig.apply(LIMP)
    assert rig.driver.state is Lifecycle.ACTIVE


def test_power_of_drives_that_do_not_count_it(rig):
    """Torque 2 N m at 3 rad/s in each of twelve joints: 72 W; a cycle without a reading tells nothing."""
    state = replace(rig.driver.read_state(), torque=np.full(12, -2.0), velocity=np.full(12, 3.0), stamp=10.0)
    rig.drive.publish(10.0, state)
    rig.drive.publish(10.005, None)
    rig.drive.publish(10.01, replace(state, stamp=10.01))
    first, second = (list(message.data) for message in rig.topics["power"])
    assert first == [10.0, 72.0, 0.0]
    assert second == pytest.approx([10.01, 72.0, 0.72])


def test_a_second_commander_is_told_of_only_while_it_is_there(rig):
    """One that was killed and started again is counted twice for some seconds."""
    told, node = {}, rig.drive._node
    node.report = lambda name, level, text, values=None: told.update({name: level})
    levels = []
    for count in (1, 2, 1):
        node.count_publishers = lambda _, count=count: count
        rig.drive._report(Power(0.0, 0.0))
        levels.append(told["commands"])
    assert levels == [DiagnosticStatus.OK, DiagnosticStatus.ERROR, DiagnosticStatus.OK]
