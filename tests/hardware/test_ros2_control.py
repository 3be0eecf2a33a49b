"""The ros2_control link against made-up robots: one that misbehaves on request, and one that is simulated."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from array import array
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from link_fakes import JOINTS, robot_file, stiff

pytest.importorskip("rclpy")

import domain
import rclpy
import rclpy.executors
from rclpy.context import Context
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import BatteryState, Imu, JointState
from std_msgs.msg import Float64MultiArray

from hardware.base import DriverError, RobotDriver
from hardware.ros2_control import Ros2Control
from robolearn.config import ConfigError
from robolearn.deploy.inputs import Inputs
from robolearn.deploy.modes import Mode, Request
from robolearn.deploy.robot import load_robot_file
from robolearn.deploy.runner import ControlLoop

FAKE = Path(__file__).parents[1] / "ros" / "fake_controller.py"
LIMIT = 30.0
"""s until what is waited for must have happened, however busy the machine."""
CONTROLLER = "forward_command_controller"


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    domain.enter_new_domain()
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path))


def until(condition, what="what was waited for"):
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, f"not within {LIMIT} s: {what}"
        time.sleep(0.001)


class Stub:
    """A robot of three joints that publishes whatever it is told to, 50 times a second."""

    def __init__(self, joints=("ankle", "hip", "knee"), **parameters):
        self.context = Context()
        rclpy.init(args=[], context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = node = rclpy.create_node(CONTROLLER, context=self.context, use_global_arguments=False)
        if joints is not None:
            node.declare_parameter("joints", list(joints))
        for name, value in parameters.items():
            node.declare_parameter(name, value)
        self.commands = []
        self.listener = node.create_subscription(
            Float64MultiArray, "~/commands", lambda message: self.commands.append(list(message.data)), 1
        )
        # Every number tells its joint: hip 1, knee 2, ankle 3.
        self.joint_state = JointState(name=["gripper", "knee", "ankle", "hip"])
        self.joint_state.position, self.joint_state.velocity = [9.0, 0.2, 0.3, 0.1], [9.0, 2.0, 3.0, 1.0]
        self.joint_state.effort = [9.0, 20.0, 30.0, 10.0]
        self.imu = Imu()
        self.imu.orientation.w, self.imu.orientation.x = 0.8, 0.6
        self.imu.angular_velocity.z, self.imu.linear_acceleration.z = 0.5, 9.81
        self.tick, self.silent = 0, False
        publishers = [
            node.create_publisher(kind, name, 5) for kind, name in ((JointState, "joint_states"), (Imu, "imu/data"))
        ]
        self.publishers = publishers
        self.batteries = node.create_publisher(BatteryState, "battery_state", 5)
        node.create_timer(0.02, self._publish)
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(node)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._spin, daemon=True)
        self.thread.start()

    def _publish(self):
        if self.silent:
            return
        self.tick += 1
        for publisher, message in zip(self.publishers, (self.joint_state, self.imu), strict=True):
            if message is not None:
                message.header.stamp.sec = self.tick
                publisher.publish(message)
        self.batteries.publish(BatteryState(percentage=0.5, present=True))

    def _spin(self):
        while not self.ended.is_set():
            self.executor.spin_once(timeout_sec=0.1)

    def close(self):
        self.ended.set()  # what the thread waits for must not be destroyed under it
        self.thread.join()
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def make_stub():
    with contextlib.ExitStack() as stack:

        def make(*positional, **parameters):
            stub = Stub(*positional, **parameters)
            stack.callback(stub.close)
            return stub

        yield make


@pytest.fixture
def connect(clock):
    """Opens links; closes them all."""
    with contextlib.ExitStack() as stack:

        def make(**options):
            link = Ros2Control(robot_file(), clock, CONTROLLER, patience=LIMIT, **options)
            stack.callback(link.close)
            link.open()
            return link

        yield make


def impatient(clock, at, **options):
    """A link that finds everything however long it takes, but waits for ``at`` only a moment."""
    link = Ros2Control(robot_file(), clock, CONTROLLER, **options)
    patient = link._wait

    def wait(ready, complaint):
        link._patience = 0.5 if getattr(complaint, "__name__", "") == at else LIMIT
        patient(ready, complaint)

    link._wait = wait
    return link


def fresh(link):
    """The next reading."""
    found = []
    until(lambda: (state := link.read()) is not None and not found.append(state), "a reading")
    return found[0]


# Readings.


def test_readings_are_put_together_by_name(make_stub, connect, clock):
    make_stub(interface_name="effort")
    link = connect()
    assert [motor.joint for motor in link.motors] == ["ankle", "hip", "knee"]
    clock.wait(1.0)
    until(lambda: fresh(link).stamp == clock.now(), "a reading that arrived now")
    state = fresh(link)
    np.testing.assert_array_equal(state.position, [0.3, 0.1, 0.2])
    np.testing.assert_array_equal(state.velocity, [3.0, 1.0, 2.0])
    np.testing.assert_array_equal(state.torque, [30.0, 10.0, 20.0])
    np.testing.assert_array_equal(state.orientation, [0.8, 0.6, 0.0, 0.0])
    np.testing.assert_array_equal(state.angular_velocity, [0.0, 0.0, 0.5])
    np.testing.assert_array_equal(state.acceleration, [0.0, 0.0, 9.81])
    assert len(state.temperature) == 0
    until(lambda: fresh(link).battery == 0.5, "the battery")
    assert fresh(link).sequence < fresh(link).sequence
    assert link.estimated == []


def test_behind_the_driver_joints_are_in_the_robot_files_order(make_stub, clock):
    stub = make_stub()
    link = Ros2Control(robot_file(), clock, CONTROLLER, "pd", patience=LIMIT)
    with RobotDriver(link, robot_file(), clock) as driver:
        until(driver.read_state)
        np.testing.assert_array_equal(driver.read_state().position, [0.1, 0.2, 0.3])
        driver.activate()
        driver.cycle()
    until(lambda: stub.commands)
    np.testing.assert_allclose(np.reshape(stub.commands[-1], (5, 3))[4], [1.5, 0.5, 1.0])  # kd of ankle, hip, knee


def test_silence_of_one_topic_ends_the_readings(make_stub, connect):
    stub = make_stub(interface_name="effort")
    link = connect()
    for topic in ("joint_state", "imu"):
        message = getattr(stub, topic)
        fresh(link)
        setattr(stub, topic, None)
        tick = stub.tick
        until(lambda t=tick: stub.tick > t + 2)
        link.read()
        tick = stub.tick
        until(lambda t=tick: stub.tick > t + 3)
        assert link.read() is None
        setattr(stub, topic, message)


def test_a_repeated_message_is_a_frozen_sequence(make_stub, connect):
    stub = make_stub(interface_name="effort")
    link = connect()
    first = fresh(link).sequence
    stub.silent = True
    stub.joint_state.position[1], stub.imu.angular_velocity.z = 0.7, 7.0
    stub.joint_state.header.stamp.sec, stub.imu.header.stamp.sec = 1_000_000, 1_000_001

    def repeat():
        for publisher, message in zip(stub.publishers, (stub.joint_state, stub.imu), strict=True):
            publisher.publish(message)
        return fresh(link)

    until(lambda: (state := repeat()).position[2] == 0.7 and state.angular_velocity[2] == 7.0)
    numbers = {repeat().sequence for _ in range(5)}
    assert len(numbers) == 1
    assert numbers.pop() > first


@pytest.mark.parametrize("field", ["position", "velocity", "effort"])
def test_a_value_that_is_no_number_is_passed_on(make_stub, connect, field):
    stub = make_stub(interface_name="effort")
    link = connect()
    getattr(stub.joint_state, field)[1] = float("nan")
    found = {"position": "position", "velocity": "velocity", "effort": "torque"}[field]
    until(lambda: np.isnan(getattr(fresh(link), found)).tolist() == [False, False, True], "NaN of the knee")
    assert not link.refused


def spoil_names(stub):
    stub.joint_state.name = ["gripper", "kne", "ankle", "hip"]


def double_name(stub):
    stub.joint_state.name = ["hip", "knee", "ankle", "hip"]


def shorten(stub):
    stub.joint_state.velocity = stub.joint_state.velocity[:2]


def blind_imu(stub):
    stub.imu.orientation_covariance[0] = -1.0


BROKEN = [
    (spoil_names, "joint_states", "joint 'knee' is missing. Did you mean 'kne'"),
    (double_name, "joint_states", "joint 'hip' is given 2 times"),
    (shorten, "joint_states", "4 names but 2 values of velocity"),
    (blind_imu, "imu", "gives no orientation"),
]


@pytest.mark.parametrize(("spoil", "topic", "problem"), BROKEN)
def test_broken_messages_are_counted_and_give_no_readings(make_stub, connect, spoil, topic, problem):
    stub = make_stub(interface_name="effort")
    link = connect()
    spoil(stub)
    until(lambda: link.refused[topic] > 3)
    assert problem in link.problem
    link.read()
    count = link.refused[topic]
    until(lambda: link.refused[topic] > count + 3)
    assert link.read() is None


@pytest.mark.parametrize(("spoil", "topic", "problem"), BROKEN)
def test_broken_messages_from_the_start_are_refused_with_the_reason(make_stub, clock, spoil, topic, problem):
    stub = make_stub(interface_name="effort")
    spoil(stub)
    link = impatient(clock, "_silence")
    with pytest.raises(ConnectionError, match=f"no usable messages on /joint_states and /imu/data .*{problem}"):
        link.open()
    link.close()


def test_messages_without_a_time_are_refused(make_stub, clock):
    stub = make_stub(interface_name="effort")
    stub.silent = True
    stub.joint_state.header.stamp.sec = stub.imu.header.stamp.sec = 0
    messages = list(zip(stub.publishers, (stub.joint_state, stub.imu), strict=True))
    stub.node.create_timer(0.02, lambda: [publisher.publish(message) for publisher, message in messages])
    link = impatient(clock, "_silence")
    with pytest.raises(ConnectionError, match="carries no time stamp"):
        link.open()
    link.close()


def test_silent_topics_are_said(make_stub, clock):
    stub = make_stub(interface_name="effort")
    stub.joint_state = stub.imu = None
    link = impatient(clock, "_silence")
    with pytest.raises(ConnectionError, match=r"no usable messages on /joint_states and /imu/data within 0\.5 s$"):
        link.open()
    link.close()


def test_a_second_publisher_is_not_heard(make_stub, connect):
    """As a node that publishes what it got from this very link."""
    stub = make_stub(interface_name="effort")
    link = connect()
    fresh(link)
    context = Context()
    rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("echo", context=context, use_global_arguments=False)
    echo = node.create_publisher(JointState, "joint_states", 5)
    false = JointState(name=list(JOINTS), position=[7.0] * 3, velocity=[7.0] * 3)
    false.header.stamp.sec = 1
    until(lambda: echo.publish(false) or link.refused["joint_states"] > 3)
    assert "second publisher" in link.problem
    assert all((fresh(link).position < 1.0).all() for _ in range(5))
    assert stub.tick
    node.destroy_node()
    rclpy.try_shutdown(context=context)


# Commands.


def test_effort_is_the_law_at_the_newest_reading_within_the_limit(make_stub, connect):
    stub = make_stub(interface_name="effort")
    link = connect()
    fresh(link)
    link.send(stiff(kp=50.0))
    until(lambda: stub.commands)
    command, q, dq = stiff(kp=50.0), np.array([0.3, 0.1, 0.2]), np.array([3.0, 1.0, 2.0])
    law = command.kp * (command.position - q) + command.kd * (command.velocity - dq) + command.torque
    limit = np.array([60.0, 20.0, 40.0])  # of ankle, hip, knee
    np.testing.assert_allclose(stub.commands[-1], np.clip(law, -limit, limit))
    link.send(stiff(torque=np.full(3, 1e3)))
    until(lambda: len(stub.commands) > 1)
    np.testing.assert_allclose(stub.commands[-1], limit)


def test_blind_it_sends_no_torque_and_says_so(make_stub, connect, clock):
    stub = make_stub(interface_name="effort")
    link = connect()
    fresh(link)
    stub.joint_state.position[1] = float("nan")  # as good as nothing
    until(lambda: np.isnan(fresh(link).position).any())
    link.send(stiff())
    until(lambda: stub.commands)
    clock.wait(0.041)
    with pytest.raises(ConnectionError, match=r"no usable joint state for 0.041 s.*zero torque was sent"):
        link.send(stiff())
    until(lambda: len(stub.commands) == 2)
    assert stub.commands[0] != [0.0] * 3
    assert stub.commands[1] == [0.0] * 3
    stub.joint_state.position[1] = 0.2
    until(lambda: np.isfinite(fresh(link).position).all())
    link.send(stiff())  # and it goes on where it sees again; the driver decides whether it may


def test_pd_gives_the_drives_all_five(make_stub, connect):
    names = ["kp", "kd", "position", "velocity", "effort"]
    stub = make_stub(interface_names=names)
    link = connect(interface="pd")
    link.send(stiff())
    until(lambda: stub.commands)
    for name, row in zip(names, np.reshape(stub.commands[-1], (5, 3)), strict=True):
        np.testing.assert_array_equal(row, getattr(stiff(), "torque" if name == "effort" else name))


def test_without_effort_the_torque_is_estimated(make_stub, connect, clock):
    stub = make_stub(interface_name="effort")
    stub.joint_state.effort = array("d")
    link = connect()
    assert link.estimated == ["ankle", "hip", "knee"]
    assert not fresh(link).torque.any()
    link.send(stiff())
    until(lambda: stub.commands)
    np.testing.assert_allclose(fresh(link).torque, stub.commands[-1])


def refuses(link, problem):
    """Whether a command meets the problem."""
    try:
        link.send(stiff())
    except ConnectionError as error:
        return problem in str(error)
    return False


@pytest.fixture
def bystander():
    """A node of a context of its own."""
    context = Context()
    rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("bystander", context=context, use_global_arguments=False)
    yield node
    node.destroy_node()
    rclpy.try_shutdown(context=context)


@pytest.mark.parametrize("recorded", [False, True])
def test_a_controller_that_no_longer_listens_is_an_error(make_stub, connect, bystander, recorded):
    """A recorder goes on listening."""
    stub = make_stub(interface_name="effort")
    link = connect()
    if recorded:
        bystander.create_subscription(Float64MultiArray, f"{CONTROLLER}/commands", lambda _: None, 1)
        until(lambda: link._publisher.get_subscription_count() == 2)
    link.send(stiff())
    stub.node.destroy_subscription(stub.listener)
    until(lambda: refuses(link, f"'{CONTROLLER}' no longer listens on /{CONTROLLER}/commands"))


def test_a_second_commander_is_an_error_as_long_as_it_is_there(make_stub, connect, bystander):
    make_stub(interface_name="effort")
    link = connect()
    link.send(stiff())
    rival = bystander.create_publisher(Float64MultiArray, f"{CONTROLLER}/commands", 1)
    until(lambda: refuses(link, "bystander publishes commands too"))
    bystander.destroy_publisher(rival)
    until(lambda: not refuses(link, "bystander"))
    link.send(stiff())


# Refusals at the start.


@pytest.mark.parametrize(
    ("stub", "interface", "message"),
    [
        ({"joints": None}, "effort", "has no parameter 'joints'"),
        ({"joints": ["hip", "knee", "ancle"]}, "effort", "joint 'ancle'.*Did you mean 'ankle'"),
        ({"joints": ["hip", "knee"]}, "effort", "joint 'ankle' has no motor"),
        ({"joints": ["hip", "knee", "ankle", "hip"]}, "effort", "joint 'hip' has 2 motors"),
        ({"interface_name": "position"}, "effort", "takes position.*cannot be damped"),
        ({"interface_name": "effort"}, "pd", "choose interface 'effort'"),
    ],
)
def test_controllers_that_do_not_fit_are_refused(make_stub, connect, stub, interface, message):
    make_stub(**stub)
    with pytest.raises(ConfigError, match=message):
        connect(interface=interface)


def test_a_controller_that_is_not_there_is_said_with_the_nearest_one(make_stub, clock):
    make_stub()
    link = Ros2Control(robot_file(), clock, "forward_comand_controller", patience=0.1)

    def refused():
        with pytest.raises(ConnectionError, match="controller 'forward_comand_controller' was not found") as info:
            link.open()
        link.close()
        link._patience *= 2  # until discovery is done within it
        return "Did you mean 'forward_command_controller'" in str(info.value)

    until(refused)


def test_two_clients_must_not_drive_one_robot(make_stub, connect, clock):
    make_stub(interface_name="effort")
    connect()
    second = impatient(clock, "_not_alone")

    def refused():  # once it has discovered the first
        try:
            second.open()
        except ConnectionError as error:
            return "ros2_control_link publishes commands too" in str(error)
        finally:
            second.close()
        return False

    until(refused)


def test_it_can_be_closed_at_any_time_and_opened_again(make_stub, connect):
    make_stub(interface_name="effort")
    link = connect()
    for _ in range(3):
        link.close()
        link.close()
        link.open()
        fresh(link)


# A simulated robot, in a process of its own. Its time passes with commands: a busy machine changes nothing.


class Robot:
    """An A1 behind ros2_control, under the whole controller. It is the clock too: time waits for the robot's answer."""

    def __init__(self, tmp_path, *arguments, interface):
        command = [sys.executable, str(FAKE), "--lock-step", "--interface", interface, *arguments]
        self.log = (tmp_path / "robot.log").open("w+")
        self.process = subprocess.Popen(command, env=os.environ.copy(), stdout=self.log, stderr=self.log)
        self.time, self.unanswered, self.silent, self.events = 10.0, False, False, []
        file = load_robot_file("a1")
        # No robot of ros2_control says how warm its motors are; see docs/hardware.md.
        mode = replace(file.safety.temperature, mode="warn")
        self.file = replace(file, safety=replace(file.safety, temperature=mode))
        self.link = Ros2Control(self.file, self, CONTROLLER, interface, patience=LIMIT)
        self.send, self.link.send = self.link.send, self.count_and_send
        self.driver = RobotDriver(self.link, self.file, self)

    def now(self):
        return self.time

    def wait(self, seconds):
        if self.unanswered and not self.silent:
            until(lambda: self.driver.read_state().sequence != self.before, self.driver.fault)
        self.unanswered = False
        self.time += seconds

    def count_and_send(self, command):
        self.before, self.unanswered = self.driver.read_state().sequence, True
        self.send(command)

    def __enter__(self):
        try:
            self.driver.__enter__()
            until(self.driver.read_state)
        except BaseException:
            self.end()
            raise
        self.driver.activate()
        self.loop = ControlLoop(self.driver, self.file)
        return self

    def __exit__(self, *_):
        try:
            self.driver.disconnect()
        finally:
            self.end()

    def fall_silent(self):
        """Kill its process, and wait until what it sent before that has arrived."""
        self.process.kill()
        self.process.wait(LIMIT)
        self.silent = True
        heard = self.driver.read_state().sequence, time.monotonic()
        while time.monotonic() < heard[1] + 0.5:
            time.sleep(0.01)
            if (sequence := self.driver.read_state().sequence) != heard[0]:
                heard = sequence, time.monotonic()

    def end(self):
        self.process.kill()
        self.process.wait(LIMIT)
        self.log.close()

    def run(self, seconds):
        for _ in range(round(seconds * self.file.control_hz)):
            self.wait(self.file.control_dt)
            calm = {"command_age": 0.0, "policy_age": 0.0, "monitor_age": 0.0, "hardware_age": 0.0}
            tick = self.loop.tick(Inputs(estop=False, command=np.zeros(0), **calm), self.time)
            self.events += tick.output.events
        return self.loop.controller.mode

    def charged(self):
        """Whether a battery was heard, also by the monitor; ticks pass."""
        self.run(self.file.control_dt)
        heard = not np.isnan(self.driver.read_state().battery)
        self.run(self.file.control_dt)
        return heard

    def file_as_it_ships_refuses(self):
        """Why the robot cannot be armed with the file that ships; a tick passes."""
        mode = replace(self.file.safety.temperature, mode="trip")
        loop = ControlLoop(self.driver, replace(self.file, safety=replace(self.file.safety, temperature=mode)))
        self.loop, loop = loop, self.loop
        self.run(self.file.control_dt)
        self.loop, loop = loop, self.loop
        return loop.controller.request(Request.ARM, self.time).reason.removeprefix("arm refused: ")

    def ask(self, *requests):
        for request in requests:
            answer = self.loop.controller.request(request, self.time)
            assert answer.accepted, answer.reason


@pytest.mark.parametrize(("interface", "arguments"), [("effort", ["--no-effort"]), ("pd", [])])
def test_a_robot_stands_up_and_its_side_falls_silent(tmp_path, interface, arguments):
    with contextlib.ExitStack() as stack:
        robot = stack.enter_context(Robot(tmp_path, *arguments, interface=interface))
        until(robot.charged)
        assert robot.file_as_it_ships_refuses() == "too warm or too empty to start, or not reported: temperature"

        robot.ask(Request.ARM, Request.STAND)
        assert robot.run(3.0) is Mode.READY, robot.events
        state = robot.driver.read_state()
        np.testing.assert_allclose(state.position, robot.file.default_pose, atol=0.15)
        w, x, y, z = state.orientation
        assert 1 - 2 * (x * x + y * y) > 0.98, (w, x, y, z)
        assert [event for event in robot.events if event.reaction > 1] == []

        robot.fall_silent()
        age = robot.file.safety.state_stale.trip * robot.file.policy_dt
        assert robot.run(age + 2 * robot.file.control_dt) is Mode.DAMPING
        assert "state_stale" in [event.reason for event in robot.events]
        if interface == "effort":  # whoever computes torques must see
            assert "zero torque was sent" in robot.driver.fault
            with pytest.raises(DriverError, match="use its own stop"):
                robot.driver.disconnect()
