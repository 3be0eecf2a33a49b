"""What messages mean, without ROS 2: by name, in one order of quaternions, with the robot's own time."""

import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from link_fakes import JOINTS, same, stiff

from hardware.ros2_format import (
    BATTERY_TIMEOUT,
    BLOCKS,
    CommandLayout,
    FormatError,
    ImuParts,
    JointParts,
    JointReader,
    Merger,
    blocks_of,
    pd_torque,
    read_battery,
    read_imu,
    to_wxyz,
)
from robolearn.config import ConfigError, load_yaml
from robolearn.deploy.robot import FOLDER, robot_from_mapping
from robolearn.deploy.types import JointCommand

MS = 1_000_000
LIMIT = np.array([20.0, 40.0, 60.0])
ZERO = JointCommand.zero(3)


def joint_state(names=JOINTS, **changes):
    count = len(names)
    values = {field: np.arange(count) + 10.0 * i for i, field in enumerate(("position", "velocity", "effort"))}
    return SimpleNamespace(name=list(names), **{**values, **changes})


def vector(*xyz):
    return SimpleNamespace(**dict(zip("xyz", xyz, strict=True)))


def imu(**changes):
    known = [0.0] * 9
    message = {
        "orientation": SimpleNamespace(x=0.1, y=0.2, z=0.3, w=0.9),
        "angular_velocity": vector(1.0, 2.0, 3.0),
        "linear_acceleration": vector(4.0, 5.0, 6.0),
        "orientation_covariance": known,
        "angular_velocity_covariance": known,
        "linear_acceleration_covariance": known,
    }
    return SimpleNamespace(**{**message, **changes})


def test_quaternions_come_as_xyzw_and_go_on_as_wxyz():
    np.testing.assert_array_equal(to_wxyz(SimpleNamespace(x=1.0, y=2.0, z=3.0, w=4.0)), [4.0, 1.0, 2.0, 3.0])
    np.testing.assert_array_equal(read_imu(imu()).orientation, [0.9, 0.1, 0.2, 0.3])


@given(st.permutations([*JOINTS, "gripper", "wheel"]))
def test_joints_are_found_by_name_among_others_in_any_order(names):
    parts = JointReader(JOINTS).read(joint_state(names))
    for i, joint in enumerate(JOINTS):
        where = names.index(joint)
        assert [values[i] for values in parts] == [where, where + 10.0, where + 20.0]


def test_another_order_in_the_next_message_is_followed():
    reader = JointReader(JOINTS)
    reader.read(joint_state())
    np.testing.assert_array_equal(reader.read(joint_state(JOINTS[::-1])).position, [2, 1, 0])


def test_messages_about_other_joints_are_not_ours():
    assert JointReader(JOINTS).read(joint_state(["gripper"])) is None
    assert JointReader(JOINTS).read(joint_state([])) is None


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (joint_state(["hip", "kne", "ankle"]), "joint 'knee' is missing. Did you mean 'kne'"),
        (joint_state(["hip", "knee", "ankle", "knee"]), "joint 'knee' is given 2 times"),
        (joint_state(position=np.zeros(2)), "3 names but 2 values of position"),
        (joint_state(velocity=[]), "3 names but 0 values of velocity"),
        (joint_state(effort=np.zeros(4)), "3 names but 4 values of effort"),
    ],
)
def test_messages_that_cannot_be_used_say_why(message, problem):
    with pytest.raises(FormatError, match=problem):
        JointReader(JOINTS).read(message)


def test_an_effort_that_is_not_reported_is_not_a_number():
    assert np.isnan(JointReader(JOINTS).read(joint_state(effort=[])).effort).all()


def test_an_imu_says_what_it_lacks():
    missing = [-1.0] + [0.0] * 8
    assert np.isnan(read_imu(imu(linear_acceleration_covariance=missing)).acceleration).all()
    np.testing.assert_array_equal(read_imu(imu()).acceleration, [4, 5, 6])
    for name in ("orientation", "angular_velocity"):
        with pytest.raises(FormatError, match=f"no {name}"):
            read_imu(imu(**{f"{name}_covariance": missing}))


def test_the_battery():
    assert read_battery(SimpleNamespace(present=True, percentage=0.5)) == 0.5
    assert math.isnan(read_battery(SimpleNamespace(present=False, percentage=0.5)))
    assert math.isnan(read_battery(SimpleNamespace(present=True, percentage=math.nan)))
    with pytest.raises(FormatError, match="87 is no share"):
        read_battery(SimpleNamespace(present=True, percentage=87.0))


class Messages:
    """Gives a merger its messages; times in ms, the same on both clocks unless said."""

    def __init__(self, effort=True):
        self.merger = Merger(LIMIT)
        self.effort = np.full(3, 1.0 if effort else np.nan)

    def joints(self, made, arrived=None, **changes):
        parts = JointParts(np.full(3, 0.001 * made), np.zeros(3), self.effort)._replace(**changes)
        self.merger.take_joints(parts, made * MS, 0.001 * (made if arrived is None else arrived))
        return self

    def imu(self, made, arrived=None):
        parts = ImuParts(np.array([1.0, 0, 0, 0]), np.full(3, 0.001 * made), np.zeros(3))
        self.merger.take_imu(parts, made * MS, 0.001 * (made if arrived is None else arrived))
        return self

    def reading(self, command=ZERO, now=0.0):
        return self.merger.reading(command, now)


def test_a_reading_needs_both_parts_anew():
    robot = Messages()
    assert robot.reading() is None
    assert robot.joints(10).reading() is None
    assert robot.imu(12).reading().sequence == 0
    assert robot.reading() is None
    assert robot.joints(20).joints(30).reading() is None
    found = robot.imu(31).reading()
    assert (found.sequence, found.position[0]) == (1, 0.03)


@pytest.mark.parametrize(("joints", "imu", "oldest"), [(10, 14, 0.010), (14, 10, 0.010)])
def test_the_stamp_is_the_arrival_of_the_oldest_part(joints, imu, oldest):
    assert Messages().joints(1, joints).imu(1, imu).reading().stamp == oldest


def test_the_sequence_is_the_robots_time_not_a_count_of_arrivals():
    """Frozen and backwards show as such, whichever part it is, and a robot that goes on after that goes on."""
    robot = Messages()
    found = []
    for joints, imu in ((10, 10), (20, 20), (20, 30), (30, 30), (40, 40), (5, 50), (10, 60), (20, 70), (30, 60)):
        found.append(robot.joints(joints, 99).imu(imu, 99).reading().sequence)
    assert np.diff(found).tolist() == [1, 0, 1, 1, -1, 1, 1, -1]


def test_effort_that_is_never_reported_is_estimated_by_the_drives_law():
    robot = Messages(effort=False)
    command = JointCommand(np.full(3, 1.0), np.full(3, 2.0), np.full(3, 100.0), np.full(3, 3.0), np.full(3, 0.5))
    assert not robot.joints(1).imu(1).reading().torque.any()
    assert robot.merger.estimated.all()
    position, velocity = np.array([0.999, 0.5, 1.2]), np.array([1.0, 2.0, -1.0])
    found = robot.joints(2, position=position, velocity=velocity).imu(2).reading(command).torque
    np.testing.assert_allclose(found, [0.1 + 3 + 0.5, 40.0, -20 + 9 + 0.5])  # the second at its limit


def test_effort_that_is_no_longer_reported_is_not_made_up():
    robot = Messages()
    robot.joints(1).imu(1).reading()
    found = robot.joints(2, effort=np.array([1.0, np.nan, 1.0])).imu(2).reading(stiff()).torque
    np.testing.assert_array_equal(np.isnan(found), [False, True, False])


def test_only_joints_without_effort_are_estimated():
    robot = Messages()
    found = robot.joints(1, effort=np.array([1.0, np.nan, 1.0])).imu(1).reading(stiff(torque=np.full(3, 7.0)))
    assert robot.merger.estimated.tolist() == [False, True, False]
    assert np.isfinite(found.torque).all()
    assert found.torque[0] == 1.0


def test_what_is_not_finite_is_passed_on_but_never_used_for_torques():
    robot = Messages()
    robot.joints(1).imu(1).reading()
    for field in ("position", "velocity"):
        found = robot.joints(2, **{field: np.array([0.0, np.nan, 0.0])}).imu(2).reading()
        assert np.isnan(getattr(found, field)[1])
        assert robot.merger.usable_joints()[2] == 0.001


def test_a_battery_that_is_not_heard_is_unknown():
    robot = Messages()
    assert math.isnan(robot.joints(1).imu(1).reading(now=100.0).battery)
    robot.merger.take_battery(0.7, 100.0)
    assert robot.joints(2).imu(2).reading(now=100.0 + BATTERY_TIMEOUT).battery == 0.7
    assert math.isnan(robot.joints(3).imu(3).reading(now=100.1 + BATTERY_TIMEOUT).battery)


def test_a_reading_is_not_changed_by_later_ones():
    robot = Messages()
    first = robot.joints(1).imu(1).reading()
    copy = first.torque.copy()
    robot.joints(2, effort=np.full(3, 9.0)).imu(2).reading()
    np.testing.assert_array_equal(first.torque, copy)


FINITE = st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3).map(np.array)


@given(FINITE, FINITE, FINITE, FINITE)
def test_the_law_stays_within_the_effort_limit(position, velocity, target, torque):
    command = JointCommand(target, np.zeros(3), np.full(3, 50.0), np.full(3, 2.0), torque)
    found = pd_torque(command, position, velocity, LIMIT)
    assert (np.abs(found) <= LIMIT).all()
    plain = 50 * (target - position) - 2 * velocity + torque
    inside = np.abs(plain) < LIMIT
    np.testing.assert_allclose(found[inside], plain[inside])


def test_a_command_is_one_block_per_interface():
    command = stiff()
    data = CommandLayout("legs", "pd", None).pack(blocks_of(command))
    expected = (command.position, command.velocity, command.torque, command.kp, command.kd)
    np.testing.assert_array_equal(data, np.concatenate(expected))
    assert BLOCKS == ("position", "velocity", "effort", "kp", "kd")
    back = JointCommand(*data.reshape(5, 3)[[0, 1, 3, 4, 2]])
    assert same(back, command)


@pytest.mark.parametrize(
    "declared",
    [["kd", "kp", "effort", "velocity", "position"], ["position", "velocity", "effort", "proportional", "derivative"],
     ["effort", "Stiffness", "Damping", "position", "velocity"]],
)  # fmt: skip
def test_the_controllers_own_order_of_interfaces_counts(declared):
    layout = CommandLayout("legs", "pd", declared)
    data = layout.pack(blocks_of(stiff())).reshape(5, 3)
    for name, row in zip(declared, data, strict=True):
        field = {"effort": "torque", "proportional": "kp", "Stiffness": "kp", "derivative": "kd", "Damping": "kd"}
        np.testing.assert_array_equal(row, getattr(stiff(), field.get(name, name)))


@pytest.mark.parametrize(
    ("interface", "declared", "message"),
    [
        ("effort", ["position"], "controller 'legs' takes position; .* cannot be damped"),
        ("pd", ["velocity"], "cannot be damped"),
        ("effort", ["position", "velocity"], "cannot be damped"),
        ("pd", ["effort"], "choose interface 'effort'"),
        ("effort", list(BLOCKS), "choose interface 'pd'"),
        ("pd", ["position", "effort"], "load a controller with exactly these"),
        ("pd", [*BLOCKS, "kp"], "load a controller"),
        ("torque", None, "interface 'torque': must be effort or pd"),
    ],
)
def test_controllers_that_take_something_else_are_refused(interface, declared, message):
    with pytest.raises(ConfigError, match=message):
        CommandLayout("legs", interface, declared)


def test_the_page_says_how_a_robot_without_sensors_may_start():
    page = (Path(__file__).parents[2] / "docs" / "hardware.md").read_text(encoding="utf-8")
    (block,) = [body for body in re.findall(r"```yaml\n(.*?)```", page, re.S) if "temperature:" in body]
    data = load_yaml(FOLDER / "a1.yaml")
    data["safety"].update(yaml.safe_load(block))
    safety = robot_from_mapping(data).safety
    assert (safety.temperature.mode, safety.battery.mode) == ("warn", "off")
