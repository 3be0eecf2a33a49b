"""The policy as a function: a request with readings and command comes, the ONNX file's answer goes."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from std_msgs.msg import Float64MultiArray

from robolearn.config import ConfigError
from robolearn.deploy.contract import read_contract
from robolearn.deploy.policy import OnnxPolicy
from robolearn.deploy.robot import load_robot_file
from robolearn.deploy.runner import PolicyRunner
from robolearn.deploy.wire import PolicyPackets, WireError
from robolearn_ros import messages, qos
from robolearn_ros.node import ERROR, OK, Parameter, RobotNode
from robolearn_ros.node import main as run

PARAMETERS = (Parameter("policy", "", "path of the policy file (.onnx)"),)


class PolicyNode(RobotNode):
    """Answers every request of the safety monitor; knows nothing of modes and never acts by itself."""

    def __init__(self, **options: Any) -> None:
        super().__init__("policy_node", PARAMETERS, **options)
        self._thread: threading.Thread | None = None

    def setup(self) -> None:
        """Load robot file and policy and check that they fit."""
        path = self.value("policy")
        if not path:
            raise ConfigError("parameter 'policy': the path of a policy file is needed")
        robot = load_robot_file(self.value("robot"))
        contract, sha256 = read_contract(path)
        # In simulated time the world stands still while the policy thinks: it takes no time.
        timer = (lambda: 0.0) if self.value("use_sim_time") else time.perf_counter
        self._runner = PolicyRunner(OnnxPolicy(path), robot, timer)
        self._packets = PolicyPackets(robot, contract, sha256)
        self.get_logger().info(
            f"policy {path} for robot {robot.name}, one output every {1e3 * contract.control_dt:g} ms"
        )

    def start(self) -> None:
        """Answer from now on."""
        self._refused = self._answered = 0
        self._answers = self.publisher(Float64MultiArray, "policy_output", qos.COMMAND)
        self._requests = self.inbox(Float64MultiArray, "policy_input", qos.COMMAND)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="policy", daemon=True)
        self._thread.start()
        self.report("policy", OK, "ready")

    def stop(self) -> None:
        """Answer no more."""
        if self._thread is not None:
            self._ended.set()
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not self._ended.is_set():
            message = self._requests.take(0.1)
            if message is None:
                continue
            try:
                self._answer(message)
            except Exception as error:  # no answer is one that the safety monitor understands; the next may be better
                self._refused += 1
                self.report("policy", ERROR, f"{type(error).__name__}: {error}", {"refused": self._refused})

    def _answer(self, message: Float64MultiArray) -> None:
        try:
            number, first, state, command = self._packets.asked(message.data, message.layout.data_offset)
        except WireError as error:
            self._refused += 1
            self.report("policy", ERROR, str(error), {"answered": self._answered, "refused": self._refused})
            return
        if first:
            self._runner.reset()
        result = self._runner.evaluate(state, command, 0.0)
        self._answers.publish(messages.multi_array(self._packets.output, self._packets.answer(number, result)))
        self._answered += 1


def main() -> int:
    """Run the node."""
    return run(PolicyNode)


if __name__ == "__main__":
    sys.exit(main())
