"""Runs the real nodes as processes of their own, each stack in its own domain, and watches what passes between them."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import domain
import rclpy
import rclpy.context
import rclpy.executors
from std_msgs.msg import Float64MultiArray

from robolearn.deploy.processes import end_with_parent
from robolearn.deploy.robot import load_robot_file
from robolearn.deploy.wire import CommandPacket, StatePacket, WireError
from robolearn_ros import qos
from robolearn_ros.operator import Operator

ROOT = Path(__file__).parents[2]
RELEASED = ROOT / "policies" / "a1_velocity_flat" / "policy.onnx"
LIMIT = 60.0
"""s to wait for anything: only a broken test waits that long."""


def environment(folder):
    """What a node's process inherits; ``domain.py`` has set the domain."""
    return {
        **os.environ,
        "ROS_LOG_DIR": str(folder),
        "OMP_NUM_THREADS": "1",
    }


class Node:
    """One process."""

    def __init__(self, folder, name, module=None, namespace="", **parameters):
        self.log = Path(folder) / f"{name}_{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", module or f"robolearn_ros.{name}", "--ros-args"]
        if namespace:
            command += ["-r", f"__ns:=/{namespace}", "-r", "/clock:=clock"]
        for key, value in parameters.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            command += ["-p", f"{key}:={text}"]
        env = environment(folder)
        env["PYTHONPATH"] = os.pathsep.join([str(ROOT / "tests" / "ros"), env.get("PYTHONPATH", "")])
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, env=env, cwd=folder, stdout=log, stderr=log, preexec_fn=end_with_parent
            )

    def text(self):
        return self.log.read_text()

    def kill(self):
        """End it as a crash would: nothing of it runs any more."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(LIMIT)

    def stop(self):
        """Ask it to end and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


class Stack:
    """Simulated robot, safety monitor and policy, with an operator."""

    def __init__(self, folder, policy=RELEASED, namespace="", fake_policy=False, robot="a1", **simulation):
        domain.enter_new_domain()
        self.folder, self.policy, self.namespace = Path(folder), policy, namespace
        self.nodes = {}
        self.operator = None
        self._robot, self._simulation = robot, {"real_time_factor": 0.0, **simulation}
        self._fake = fake_policy

    def start(self, name, **parameters):
        """Start one node."""
        given = {"robot": self._robot, **parameters}
        if name != "sim_node":
            given["use_sim_time"] = True
        if name != "sim_node" and self.policy:
            given.setdefault("policy", self.policy)
        if name == "sim_node":
            given = {**self._simulation, **given}
        if name == "safety_monitor":
            given.setdefault("latch_file", self.folder / "estop.latch")
        module = "fake_policy" if name == "policy_node" and self._fake else None
        self.nodes[name] = Node(self.folder, name, module, self.namespace, **given)
        return self.nodes[name]

    def __enter__(self):
        for name in ("sim_node", "safety_monitor", *(("policy_node",) if self.policy else ())):
            if name not in self.nodes:  # with parameters of its own
                self.start(name)
        self.operator = Operator(self.namespace)
        return self

    def __exit__(self, *error):
        if self.operator is not None:
            self.operator.close()
        for node in reversed(self.nodes.values()):
            with contextlib.suppress(Exception):
                node.stop()
            if error[0] is not None:
                print(f"--- {node.log.name}\n{node.text()}")

    def ask(self, request):
        answer = self.operator.request(request, LIMIT)
        assert answer.accepted, (request, answer.reason)

    def ask_until(self, request):
        """Ask again until it is accepted: joints may still be moving, heartbeats still be on their way."""
        end = time.monotonic() + LIMIT
        while not (answer := self.operator.request(request, LIMIT)).accepted:
            assert time.monotonic() < end, (request, answer.reason)
            time.sleep(0.05)

    def wait(self, state):
        self.operator.wait_for_state(state, LIMIT)

    def rest(self):
        """From wherever the robot is to lying limp, where it began."""
        # A stop may be known from its event, or from the answer to who asked for it, before the state is heard.
        at_rest = ("idle", "damping", "estop")
        self.operator.wait_for(lambda: self.operator.state in at_rest, LIMIT, "a robot that lies or was stopped")
        if self.operator.state in ("damping", "estop"):
            self.operator.place()  # it may lie on its side
            self.reset()

    def reset(self):
        """From a stop to lying limp; until then the operator may still hear of the stop."""
        self.ask_until("reset")
        self.wait("idle")

    def stand(self):
        """From wherever the robot is to standing."""
        self.rest()
        self.ask_until("arm")
        self.ask("stand")
        self.wait("ready")
        if self._simulation.get("hoisted"):
            self.operator.lower(LIMIT)

    def walk(self, *velocity):
        """From wherever the robot is to the policy."""
        self.stand()
        self.operator.drive(*(velocity or (0.5,)))
        self.ask_until("start_policy")
        self.wait("policy")

    def go_on(self, seconds):
        """Let some of the robot's time pass, from a reading on that is heard now."""
        self.operator.robot_time = math.nan
        self.operator.wait_for(lambda: math.isfinite(self.operator.robot_time), LIMIT, "the robot's time")
        begin = self.operator.robot_time
        self.operator.wait_for(lambda: self.operator.robot_time > begin + seconds, LIMIT, f"{seconds} s of the robot")

    def mark(self):
        """Return where the events are now; ``since`` gives those after it."""
        return len(self.operator.events)

    def since(self, mark):
        return self.operator.events[mark:]


class Watch:
    """The cycles and commands that pass, in the order in which they arrive here."""

    def __init__(self, namespace=""):
        robot = load_robot_file("a1")
        self._state, self._command = StatePacket(robot), CommandPacket(robot)
        self._context = rclpy.context.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("watch", namespace=namespace, context=self._context, use_global_arguments=False)
        self.news, self._ended = threading.Condition(), threading.Event()
        self.cycles, self.commands = [], []
        many = qos.QoSProfile(depth=1000, reliability=qos.ReliabilityPolicy.RELIABLE)
        best = qos.QoSProfile(depth=1000, reliability=qos.ReliabilityPolicy.BEST_EFFORT)
        self._node.create_subscription(Float64MultiArray, "robot_state", self._on_state, best)
        self._node.create_subscription(Float64MultiArray, "joint_commands", self._on_command, many)
        self._executor = rclpy.executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self):
        while not self._ended.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def _on_state(self, message):
        with self.news, contextlib.suppress(WireError):
            cycle = self._state.unpack(message.data, message.layout.data_offset, float("nan"))
            self.cycles.append((time.monotonic(), cycle))
            self.news.notify_all()

    def _on_command(self, message):
        with self.news, contextlib.suppress(WireError):
            found = self._command.unpack(message.data, message.layout.data_offset)
            self.commands.append((time.monotonic(), *found))
            self.news.notify_all()

    def wait(self, condition, what):
        with self.news:
            assert self.news.wait_for(condition, LIMIT), what

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._ended.set()  # what the thread waits for must not be destroyed under it
        self._thread.join()
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()
