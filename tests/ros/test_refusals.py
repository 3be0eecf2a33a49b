"""Nodes refuse what cannot work: exit code 1 and one clear line. And what comes later is counted, not fatal."""

import signal
import subprocess
import time

import numpy as np
import pytest
import rclpy
import rclpy.context
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist
from stack import LIMIT, RELEASED, ROOT, Node, Stack, Watch
from std_msgs.msg import Bool, Float64MultiArray

from robolearn.deploy.processes import REFUSED
from robolearn_ros import qos


def refusal(folder, name, **parameters):
    """Start a node that must refuse; return what it says."""
    node = Node(folder, name, **parameters)
    try:
        assert node.process.wait(LIMIT) == REFUSED, node.text()
    except subprocess.TimeoutExpired:
        node.kill()
        raise AssertionError(f"{name} did not end: {node.text()}") from None
    lines = [line for line in node.text().splitlines() if line.strip()]
    assert len(lines) == 1, node.text()
    return lines[0]


def robot_file(folder, change):
    data = yaml.safe_load((ROOT / "hardware" / "robots" / "a1.yaml").read_text())
    change(data)
    path = folder / "robot.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.mark.parametrize(
    ("name", "parameters", "says"),
    [
        ("safety_monitor", {"robot": "a2"}, "a1"),
        ("policy_node", {}, "a policy file is needed"),
        ("policy_node", {"policy": "/nowhere/policy.onnx"}, "/nowhere/policy.onnx"),
        ("policy_node", {"policy": RELEASED, "robot": "go1"}, "made for 'a1'"),
        ("safety_monitor", {"policy": RELEASED, "robot": "go2"}, "made for 'a1'"),
        ("safety_monitor", {"polcy": RELEASED}, "policy"),
        ("sim_node", {"real_time_factor": float("nan")}, "real_time_factor"),
        ("sim_node", {"real_time_factor": -1.0}, "real_time_factor"),
        ("sim_node", {"lock_step": 3}, "lock_step"),
        ("sim_node", {"use_sim_time": True}, "use_sim_time"),
        ("hardware_node", {"use_sim_time": True}, "use_sim_time"),
        ("hardware_node", {"link": "telepathy"}, "telepathy"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_parameters(tmp_path, name, parameters, says):
    assert says in refusal(tmp_path, name, **parameters)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data.update(policy_dt=0.01), "policy dt"),
        (lambda data: data["joints"].append(data["joints"][0]), "twice"),
        (lambda data: data["joints"].pop(), "RR_calf_joint"),
        (lambda data: data["safety"].pop("tilt"), "tilt"),
    ],
    ids=["control period", "doubled joint", "missing joint", "missing check"],
)
def test_a_policy_and_a_robot_file_that_do_not_fit(tmp_path, change, says):
    assert says in refusal(tmp_path, "safety_monitor", policy=RELEASED, robot=robot_file(tmp_path, change))


def test_an_onnx_file_from_elsewhere(tmp_path):
    foreign = tmp_path / "policy.onnx"
    foreign.write_bytes(RELEASED.read_bytes()[: -len("sealed") * 100])
    assert "policy.onnx" in refusal(tmp_path, "policy_node", policy=foreign)


def test_a_second_instance(tmp_path):
    with Stack(tmp_path) as stack:
        stack.stand()
        stack.operator.wait_for(lambda: stack.operator.alive("policy_node"), LIMIT, "the policy: standing needs none")
        for name in ("safety_monitor", "policy_node"):
            assert "runs already" in refusal(tmp_path, name, policy=RELEASED)
        for name in ("sim_node", "hardware_node"):  # real drives would follow the controller of the simulation
            assert "hardware_node or sim_node runs already" in refusal(tmp_path, name)
        assert stack.operator.state == "ready"


class Stranger:
    """Somebody else on the robot's topics."""

    def __init__(self):
        self.context = rclpy.context.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("stranger", context=self.context)
        self.status = {}
        self.node.create_subscription(DiagnosticArray, "diagnostics", self._hear, qos.DIAGNOSTICS)

    def _hear(self, message):
        self.status |= {status.name: status for status in message.status}

    def until(self, condition, again=lambda: None):
        executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        executor.add_node(self.node)
        end = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < end, {name: status.message for name, status in self.status.items()}
            again()
            executor.spin_once(timeout_sec=0.05)
        executor.shutdown()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.node.destroy_node()
        self.context.try_shutdown()


def test_messages_that_make_no_sense_are_counted(tmp_path):
    """Packets of wrong size, wrong robot and with NaN, on every topic of the control path, while the robot walks."""
    with Stack(tmp_path) as stack, Stranger() as stranger, Watch() as watch:
        stack.walk(0.4)
        wrong = [Float64MultiArray(data=[1.0, float("nan")]), Float64MultiArray(data=[0.0] * 5000), Float64MultiArray()]
        wrong[1].layout.data_offset = 12345
        publishers = [
            stranger.node.create_publisher(Float64MultiArray, topic, profile)
            for topic, profile in (
                ("robot_state", qos.SENSOR), ("policy_output", qos.COMMAND), ("policy_input", qos.COMMAND),
                ("joint_commands", qos.COMMAND),
            )
        ]  # fmt: skip

        def disturb():
            for publisher in publishers:
                for message in wrong:
                    publisher.publish(message)

        noticed = ("safety_monitor: topic robot_state", "policy_node: policy", "sim_node: joint_commands")
        stranger.until(
            lambda: all(name in stranger.status and stranger.status[name].level == b"\x02" for name in noticed), disturb
        )
        with watch.news:
            count = len(watch.commands)
        watch.wait(lambda: len(watch.commands) > count + 50, "the control loop goes on")
        assert all(np.isfinite(command.position).all() for _, _, command in watch.commands)
        stack.ask("stop")
        stack.wait("damping")


def test_a_velocity_command_that_is_not_a_number(tmp_path):
    with Stack(tmp_path) as stack, Stranger() as stranger:
        stack.walk(0.4)
        stack.operator.let_go()
        publisher = stranger.node.create_publisher(Twist, "cmd_vel", qos.COMMAND)
        message = Twist()
        message.linear.x = float("nan")
        stranger.until(lambda: stack.operator.state == "damping", lambda: publisher.publish(message))
        stack.operator.wait_for_event("command_invalid", LIMIT)


def test_a_subscriber_that_can_hear_nothing_is_named(tmp_path):
    """A best-effort publisher of commands is never heard by the drives, which insist on reliability."""
    with Stack(tmp_path) as stack, Stranger() as stranger:
        stack.stand()
        stranger.node.create_publisher(Float64MultiArray, "joint_commands", qos.SENSOR)
        stranger.until(lambda: any("/stranger" in status.message for status in stranger.status.values()))


def test_an_emergency_stop_button_that_cannot_be_heard_stops_the_robot(tmp_path):
    """``ros2 topic pub`` and many nodes publish without transient local: the safety monitor cannot hear them."""
    with Stack(tmp_path, policy=None) as stack, Stranger() as stranger:
        stack.stand()
        stranger.node.create_publisher(Bool, "estop", qos.COMMAND)
        stack.wait("damping")
        stack.operator.wait_for(lambda: any("estop" in str(e.get("message")) for e in stack.operator.events), LIMIT)
        assert not stack.operator.request("reset", LIMIT).accepted


def test_a_terminal_that_is_closed_ends_a_node_in_order(tmp_path):
    with Stack(tmp_path, policy=None) as stack, Watch() as watch:
        stack.stand()
        watch.wait(lambda: watch.commands and watch.commands[-1][2].kp.any(), "commands of a robot that stands")
        node = stack.nodes["safety_monitor"]
        node.process.send_signal(signal.SIGHUP)
        assert node.process.wait(LIMIT) == 0
        watch.wait(lambda: not watch.commands[-1][2].kp.any(), "damping as the last command")
