"""kill -9 of hardware_node in front of a ros2_control robot: only the robot's own watchdog can help."""

import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import rclpy
import rclpy.executors
import stack
from rclpy.context import Context
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Bool, Float64MultiArray

from robolearn_ros import qos

FAKE = Path(__file__).with_name("fake_controller.py")
CONTROLLER = "forward_command_controller"
INBOX = "_hardware_node_joint_commands"


class Observer:
    """Hears the robot's watchdog and every command to it."""

    def __init__(self):
        self.context = Context()
        rclpy.init(args=[], context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node("observer", context=self.context, use_global_arguments=False)
        self.damped, self.commands = None, []
        self.node.create_subscription(Bool, f"{CONTROLLER}/watchdog", self._watch, qos.LATCHED)
        self.node.create_subscription(Float64MultiArray, f"{CONTROLLER}/commands", self._take, qos.COMMAND)
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)

    def _watch(self, message):
        self.damped = message.data

    def _take(self, message):
        self.commands.append(np.reshape(message.data, (5, -1)))

    def publishers(self, topic):
        return [info.node_name for info in self.node.get_publishers_info_by_topic(topic)]

    def until(self, condition, what):
        end = stack.time.monotonic() + stack.LIMIT
        while not condition():
            assert stack.time.monotonic() < end, what()
            self.executor.spin_once(timeout_sec=0.05)

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


def test_kill_9_of_hardware_node_leaves_the_robot_to_its_own_watchdog(tmp_path):
    with contextlib.ExitStack() as ends:
        with (tmp_path / "robot.log").open("w") as log:
            command = [sys.executable, str(FAKE), "--interface", "pd"]
            robot = subprocess.Popen(command, env=stack.environment(tmp_path), stdout=log, stderr=log)
        ends.callback(lambda: (robot.kill(), robot.wait()))
        observer = Observer()
        ends.callback(observer.close)
        node = stack.Node(
            tmp_path, "hardware_node", robot="a1", link="ros2_control", controller=CONTROLLER, interface="pd"
        )
        ends.callback(node.stop)

        observer.until(lambda: observer.damped is False and len(observer.commands) > 10, node.text)
        assert all(not kp.any() and kd.all() for _, _, _, kp, kd in observer.commands), "nobody asked it to move"
        # Messages come before the graph is complete. Publishers are told in the order of their creation: who knows the
        # last one of hardware_node, which belongs to the inbox for commands, would also know one that it must not have.
        observer.until(lambda: INBOX in observer.publishers("parameter_events"), lambda: "hardware_node is not known")
        for topic in ("joint_states", "imu/data", "battery_state"):
            observer.until(
                lambda topic=topic: observer.publishers(topic) == [CONTROLLER],
                lambda topic=topic: f"{topic}: only the robot may speak for itself, not {observer.publishers(topic)}",
            )
        observer.until(lambda: observer.damped is False, node.text)
        node.kill()
        observer.until(lambda: observer.damped is True, lambda: "the robot goes on with the last command")
