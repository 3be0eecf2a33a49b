"""A ros2_control robot as one process: joint and IMU broadcasters and a forward controller over a simulated robot.

    python tests/ros/fake_controller.py --robot a1 --interface pd

In real time it lives as a robot does, and its drives damp by themselves when no command came for ``--command-timeout``
(topic ``<controller>/watchdog``, Bool, latched). With ``--lock-step`` time passes only with commands, one control
period each: for tests that must not depend on how busy the machine is.
"""

import argparse
import sys
import threading
import time

import mujoco
import numpy as np
import rclpy
import rclpy.executors
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import BatteryState, Imu, JointState
from std_msgs.msg import Bool, Float64MultiArray

from hardware.mujoco_robot import MujocoRobot
from robolearn.deploy.robot import load_robot_file
from robolearn.deploy.stop_signal import StopSignal
from robolearn.deploy.types import JointCommand
from sim.robots import load_robot

TIMESTEP = 0.002
PD_INTERFACES = ["position", "velocity", "effort", "proportional", "derivative"]
IDLE_HZ = 20.0


def simulated(name):
    """The robot on a floor, upright, in its default pose."""
    file, description = load_robot_file(name), load_robot(name)
    spec = description.spec()
    spec.option.timestep = TIMESTEP
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[5, 5, 0.1])
    world = MujocoRobot(spec.compile(), file.joints, description.base, file.effort_limit)
    world.place(file.default_pose, description.base_height)
    return world, file


class FakeController:
    def __init__(self, arguments):
        self.arguments = arguments
        self.world, self.file = simulated(arguments.robot)
        self.joints = list(reversed(self.file.joints))  # any order but the robot file's: names must do
        self.order = np.array([self.file.joints.index(joint) for joint in self.joints])
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.node = node = rclpy.create_node(arguments.controller)
        node.declare_parameter("joints", self.joints)
        if arguments.interface == "pd":
            node.declare_parameter("interface_names", PD_INTERFACES)
        else:
            node.declare_parameter("interface_name", arguments.interface)
        self.joint_states = node.create_publisher(JointState, "joint_states", 5)
        self.imu = node.create_publisher(Imu, "imu/data", 5)
        self.battery = node.create_publisher(BatteryState, "battery_state", 5)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.watchdog = node.create_publisher(Bool, "~/watchdog", latched)
        self.damped = None  # the first word is always said: a command may come before the watchdog ever barked
        self.commanded = time.monotonic()
        self.count = 0
        self.world.advance(TIMESTEP)
        self.state = self.world.read()
        node.create_subscription(Float64MultiArray, "~/commands", self.take, 1)
        if arguments.lock_step:
            node.create_timer(1 / IDLE_HZ, self.publish)
        else:
            self.thread = threading.Thread(target=self.run, daemon=True)
            self.thread.start()

    def take(self, message):
        data = np.array(message.data)
        with self.lock:
            if len(data) % len(self.joints):
                self.node.get_logger().error(f"{len(data)} values")
                return
            blocks = data.reshape(-1, len(self.joints))
            back = np.argsort(self.order)
            zero = np.zeros(len(self.joints))
            if self.arguments.interface == "pd":
                position, velocity, effort, kp, kd = blocks[:, back]
                command = JointCommand(position, velocity, kp, kd, effort)
            else:
                command = JointCommand(zero, zero, zero, zero, blocks[0][back])
            self.world.send(command)
            self.commanded = time.monotonic()
            self.set_damped(False)
            if self.arguments.lock_step:
                self.advance()

    def set_damped(self, damped):
        if damped != self.damped:
            self.damped = damped
            self.watchdog.publish(Bool(data=damped))
            print("watchdog: damping" if damped else "watchdog: commanded", flush=True)

    def advance(self):
        self.world.advance(self.file.control_dt)
        self.state = self.world.read() or self.state
        self.publish()

    def publish(self):
        state, effort = self.state, not self.arguments.no_effort
        nanoseconds = round(state.stamp * 1e9)
        joints = JointState(name=["gripper", *self.joints])
        joints.position = [0.5, *state.position[self.order].tolist()]
        joints.velocity = [0.0, *state.velocity[self.order].tolist()]
        joints.effort = [0.0, *state.torque[self.order].tolist()] if effort else []
        imu = Imu()
        w, x, y, z = state.orientation.tolist()
        imu.orientation.w, imu.orientation.x, imu.orientation.y, imu.orientation.z = w, x, y, z
        for vector, values in (
            (imu.angular_velocity, state.angular_velocity),
            (imu.linear_acceleration, state.acceleration),
        ):
            vector.x, vector.y, vector.z = values.tolist()
        for message in (joints, imu):
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(nanoseconds, 1_000_000_000)
        self.joint_states.publish(joints)
        self.imu.publish(imu)
        if self.count % 50 == 0:
            self.battery.publish(BatteryState(percentage=state.battery, present=True))
        self.count += 1

    def run(self):
        due = time.monotonic()
        while not self.ended.is_set():
            with self.lock:
                if time.monotonic() - self.commanded > self.arguments.command_timeout:
                    self.world.send(JointCommand.damping(self.file.damping_kd))
                    self.set_damped(True)
                self.advance()
            due = max(due + self.file.control_dt, time.monotonic() - self.file.control_dt)
            time.sleep(max(due - time.monotonic(), 0.0))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--robot", default="a1")
    parser.add_argument("--controller", default="forward_command_controller")
    parser.add_argument("--interface", default="effort", choices=["effort", "pd", "position"])
    parser.add_argument("--command-timeout", type=float, default=0.1, help="s")
    parser.add_argument("--lock-step", action="store_true")
    parser.add_argument("--no-effort", action="store_true", help="joint states carry no effort")
    arguments, rest = parser.parse_known_args()
    rclpy.init(args=[sys.argv[0], *rest], signal_handler_options=SignalHandlerOptions.NO)
    fake = FakeController(arguments)
    executor = rclpy.executors.SingleThreadedExecutor()
    executor.add_node(fake.node)
    with StopSignal() as stop:
        while not stop.received:
            executor.spin_once(timeout_sec=0.1)
        executor.shutdown()
        fake.ended.set()
    if not arguments.lock_step:
        fake.thread.join()
    fake.node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
