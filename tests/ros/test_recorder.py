"""recorder_node as a process: what is published is in the bag, whatever happens to the recorder."""

import json
import time

import numpy as np
import pytest
import rclpy
import rclpy.context
import rclpy.executors
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Twist, TwistStamped
from sensor_msgs.msg import JointState
from stack import LIMIT, RELEASED, Node, Stack
from std_msgs.msg import Bool, Float64MultiArray, Header, String

from robolearn.deploy.modes import Mode
from robolearn.deploy.processes import REFUSED
from robolearn.deploy.robot import load_robot_file
from robolearn.deploy.types import JointCommand, RobotState
from robolearn.deploy.wire import CommandPacket, StatePacket
from robolearn.replay.decisions import decide_again
from robolearn.replay.recording import load, mode_spans
from robolearn.replay.rerun import rerun
from robolearn.replay.summary import summarize
from robolearn_ros import qos
from robolearn_ros.messages import multi_array

ROBOT = load_robot_file("a1")
STATES, COMMANDS = StatePacket(ROBOT), CommandPacket(ROBOT)


class Talker:
    """Publishes as the other nodes do, and hears the recorder's diagnostics."""

    def __init__(self, namespace=""):
        self.context = rclpy.context.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("talker", namespace=namespace, context=self.context, use_global_arguments=False)
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.publishers = {}
        self.levels = []
        self.node.create_subscription(DiagnosticArray, "diagnostics", self._hear, qos.DIAGNOSTICS)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)

    def _hear(self, message):
        self.levels += [status for status in message.status if status.name.endswith("recorder_node: recording")]

    def say(self, topic, message, profile):
        if topic not in self.publishers:
            self.publishers[topic] = self.node.create_publisher(type(message), topic, profile)
        self.publishers[topic].publish(message)

    def wait(self, condition, what):
        end = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < end, what
            self.executor.spin_once(timeout_sec=0.02)

    def open(self, topic, kind, profile):
        """Advertise a topic and wait until the recorder listens."""
        self.publishers[topic] = self.node.create_publisher(kind, topic, profile)
        self.wait(lambda: self.publishers[topic].get_subscription_count() > 0, f"nobody listens to {topic}")

    def cycle(self, number):
        """A reading and its command; the reading's counter is ``number``."""
        zero, now = np.zeros(12), 10.0 + 0.005 * number
        state = RobotState(zero, zero, zero, np.array([1.0, 0, 0, 0]), np.zeros(3), sequence=number, stamp=now)
        data = STATES.pack(now, False, state)
        self.say("robot_state", multi_array(STATES.packet, data), qos.SENSOR)
        command = COMMANDS.pack(now, JointCommand.zero(12))
        self.say("joint_commands", multi_array(COMMANDS.packet, command), qos.COMMAND)


@pytest.fixture
def recorder(tmp_path):
    """A function that starts a recorder; it is stopped at the end."""
    nodes = []

    def start(**parameters):
        namespace = parameters.pop("namespace", "")
        given = {"robot": "a1", "out": tmp_path / "out", "min_free_megabytes": 0.0, **parameters}
        nodes.append(Node(tmp_path, "recorder_node", namespace=namespace, **given))
        return nodes[-1]

    yield start
    for node in nodes:
        if node.process.poll() is None:
            node.stop()


def test_what_is_published_is_in_the_bag(recorder, tmp_path):
    """In a namespace; also what was said before the recorder came, where it is latched."""
    with Talker("/lab/a1") as talker:
        talker.say("estop", Bool(data=True), qos.LATCHED)
        talker.say("safety_monitor/state", String(data="idle"), qos.LATCHED)
        node = recorder(namespace="lab/a1", policy=RELEASED)
        for topic, kind, profile in (
            ("robot_state", Float64MultiArray, qos.SENSOR), ("joint_commands", Float64MultiArray, qos.COMMAND),
            ("cmd_vel", Twist, qos.COMMAND), ("safety_monitor/events", String, qos.EVENTS),
            ("joint_states", JointState, qos.SENSOR), ("policy_node/heartbeat", Header, qos.HEARTBEAT),
        ):  # fmt: skip
            talker.open(topic, kind, profile)
        sent, topics = 0, {"estop", "joint_states", "policy_node/heartbeat", "diagnostics"}

        def more_cycles():
            nonlocal sent
            talker.cycle(sent)
            sent += 1
            found = on_disk(tmp_path / "out")
            return sent >= 50 and found and min(len(found.states), len(found.commands)) > 5

        talker.wait(more_cycles, "readings and commands are on the disk")
        twist = Twist()
        twist.linear.x, twist.linear.y, twist.angular.z = 0.5, -0.25, 1.0
        talker.say("cmd_vel", twist, qos.COMMAND)
        for i in range(20):  # all at once: none may be lost
            talker.say("safety_monitor/events", String(data=json.dumps({"reason": "tilt", "value": i})), qos.EVENTS)
        talker.say("policy_node/heartbeat", Header(), qos.HEARTBEAT)

        def all_there():
            talker.say("joint_states", JointState(name=list(ROBOT.joints)), qos.SENSOR)  # best effort: one may be lost
            found = on_disk(tmp_path / "out")
            told = found and len(found.notes) >= 20 and found.modes and len(found.velocity)
            return told and topics <= set(found.counts)

        talker.wait(all_there, "the recorder heard all of them")
        assert node.stop() == 0, node.text()
    found = load(tmp_path / "out")
    assert (found.complete, dict(found.unreadable)) == (True, {})
    assert found.lost is not None
    assert found.path.name.endswith("_lab-a1_a1")
    assert found.about.namespace == "/lab/a1"
    assert found.about.policy.path == str(RELEASED)
    # Readings are sent best effort and commands with a depth of 1: on a busy machine some of them may be replaced.
    for series in (found.states, found.commands):
        cycles = series.column("cycle")
        assert len(cycles) > 5
        assert (np.diff(cycles) > 0).all()
        assert set(np.round(200 * (cycles - 10.0)).astype(int)) <= set(range(sent))
    assert np.array_equal(found.states.column("sequence"), np.round(200 * (found.states.column("cycle") - 10.0)))
    assert found.velocity["command"].tolist() == [[0.5, -0.25, 1.0]]
    assert [note.data["value"] for note in found.notes] == list(range(20))
    assert [mode for _, mode in found.modes] == ["idle"]
    for topic in topics:
        assert found.counts[topic] >= 1, topic


def on_disk(out):
    """What was recorded so far; None where the recording has not begun."""
    try:
        return load(out)
    except ValueError:  # BagError and ConfigError, too
        return None


def _heard(talker):
    return "".join(value.value for status in talker.levels for value in status.values if value.key == "topics heard")


def test_a_killed_recorder_leaves_what_was_on_the_disk(recorder, tmp_path):
    """kill -9: all that was seen in the file before is still there, without a hole, and more cannot be expected."""
    node = recorder()
    sent = 0

    def notes():
        nonlocal sent
        talker.say("safety_monitor/events", String(data=json.dumps({"number": sent})), qos.EVENTS)
        sent += 1
        time.sleep(0.002)
        found = on_disk(tmp_path / "out")
        return len(found.notes) if found else 0

    with Talker() as talker:
        talker.open("safety_monitor/events", String, qos.EVENTS)
        talker.wait(lambda: notes() > 0, "the first second is on the disk")
        first = notes()
        talker.wait(lambda: notes() > first, "the second one too")
        seen = notes()
        node.kill()
    found = load(tmp_path / "out")
    assert not found.complete
    numbers = [note.data["number"] for note in found.notes]
    assert len(numbers) >= seen
    assert (np.diff(numbers) == 1).all()
    assert not (found.path / "metadata.yaml").exists()


def test_nothing_to_record_is_no_error(recorder, tmp_path):
    node = recorder()
    with Talker() as talker:
        talker.wait(lambda: talker.levels, "diagnostics of the recorder")
        assert talker.levels[-1].level == DiagnosticStatus.OK
    assert node.stop() == 0
    found = load(tmp_path / "out")
    assert set(found.counts) <= {"diagnostics"}


def test_a_full_recording_is_said_and_the_node_lives_on(recorder, tmp_path):
    node = recorder(max_megabytes=1.0)
    with Talker() as talker:
        talker.open("safety_monitor/events", String, qos.EVENTS)

        def stopped():
            talker.say("safety_monitor/events", String(data="x" * 20_000), qos.EVENTS)
            return any(status.level == DiagnosticStatus.ERROR for status in talker.levels)

        talker.wait(stopped, "the limit is reached")
        assert "has reached its largest size (1 MB)" in talker.levels[-1].message
        before = len(talker.levels)
        talker.wait(lambda: len(talker.levels) > before + 1, "it goes on telling")
        assert node.process.poll() is None
    assert node.stop() == 0
    found = load(tmp_path / "out")
    assert found.complete
    assert found.counts["safety_monitor/events"] >= 50


def test_a_stamped_velocity_command(recorder, tmp_path):
    node = recorder(cmd_vel_stamped=True)
    with Talker() as talker:
        talker.open("cmd_vel", TwistStamped, qos.COMMAND)
        stamped = TwistStamped()
        stamped.twist.linear.x = 0.75
        talker.say("cmd_vel", stamped, qos.COMMAND)
        talker.wait(lambda: "cmd_vel" in _heard(talker), "the recorder heard it")
    assert node.stop() == 0
    assert load(tmp_path / "out").velocity["command"][0, 0] == 0.75


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"robot": "a2"}, "unknown robot 'a2'"),
        ({"policy": "missing.onnx"}, "missing.onnx: cannot be read"),
        ({"robot": "go1", "policy": RELEASED}, "made for 'a1', not for robot 'go1'"),
        ({"max_megabytes": 0.0}, "max_megabytes"),
        ({"max_megabyte": 5.0}, "Did you mean 'max_megabytes'?"),
    ],
)
def test_what_cannot_work_is_refused(recorder, parameters, words):
    node = recorder(**parameters)
    assert node.process.wait(LIMIT) == REFUSED
    assert words in node.text()
    assert "Traceback" not in node.text()


def test_a_folder_that_cannot_be_made_is_refused(recorder, tmp_path):
    (tmp_path / "file").write_text("")
    node = recorder(out=tmp_path / "file" / "out")
    assert node.process.wait(LIMIT) == REFUSED
    assert "Not a directory" in node.text()
    assert "Traceback" not in node.text()


def wait_for(out, condition, what):
    """Wait until the recording on the disk is as wanted: the recorder hears things no sooner than others do."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        if (found := on_disk(out)) and condition(found):
            return
        time.sleep(0.2)
    raise AssertionError(what)


def wait_for_ticks(out):
    """Discovery takes seconds on a busy machine; what was before it is not in the recording.

    Endpoints are told in the order of their creation. The recorder's for heartbeats are its last ones, and
    ``estop_active`` is the monitor's last topic: where these are heard, so is what was created before them.
    """
    last = {"safety_monitor/heartbeat", "safety_monitor/estop_active", "policy_node/heartbeat"}
    wait_for(out, lambda found: len(found.ticks) and last <= set(found.counts), "no tick was recorded")


def wait_for_damping(out):
    """A recorder that is stopped at once may not have heard the end of the walk."""

    def damped(found):
        told = any(note.data.get("mode") == "damping" and "from" in note.data for note in found.notes)
        return told and mode_spans(found)[-1][2] is Mode.DAMPING

    wait_for(out, damped, "no damping was recorded")


def test_a_recorded_walk_equals_the_live_one(tmp_path):
    """Robot, controller and policy in processes of their own: run again from the bag alone, all of it is the same."""
    stack = Stack(tmp_path)
    stack.start("recorder_node", out=tmp_path / "out", min_free_megabytes=0.0)
    with stack:
        wait_for_ticks(tmp_path / "out")
        stack.walk(0.5)
        stack.go_on(1.0)
        stack.ask("stop")
        stack.wait("damping")
        wait_for_damping(tmp_path / "out")
    found = load(tmp_path / "out")
    assert found.complete
    assert not found.unreadable
    again = rerun(found)
    assert again.identical, again.first
    assert again.outputs > 20
    decided = decide_again(found)
    assert decided.disagreement is None, decided
    assert decided.largest == 0.0
    summary = summarize(found)
    assert [each.mode for each in summary.modes] == ["idle", "stand", "ready", "policy", "damping"]
    assert [each.request for each in summary.requests if each.accepted] == ["arm", "stand", "start_policy", "stop"]
