"""The policy as a function: a request with readings and command comes, the ONNX file's answer goes.

What the operator may set of the policy is a parameter of this node, named, described and limited by the policy file. A
change counts from the next request on, and every answer says what was set.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter as RosParameter
from std_msgs.msg import Float64MultiArray

from robolearn.config import ConfigError
from robolearn.deploy.contract import read_contract
from robolearn.deploy.onnx_file import PolicyFileError
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
        self._policy: OnnxPolicy | None = None
        self.add_on_set_parameters_callback(self._on_parameters)

    def further_parameters(self) -> Sequence[Parameter]:
        """One for each setting of the policy; none where no policy is given, which ``setup`` refuses."""
        if not self.value("policy"):
            return ()
        try:
            contract, _ = read_contract(self.value("policy"))
        except PolicyFileError as error:
            raise ConfigError(str(error)) from error
        return [
            Parameter(name, each.default, f"{each.meaning}, {each.unit}", each.low, each.high, live=True)
            for name, each in contract.settings.items()
        ]

    def setup(self) -> None:
        """Load robot file and policy and check that they fit."""
        path = self.value("policy")
        if not path:
            raise ConfigError("parameter 'policy': the path of a policy file is needed")
        robot = load_robot_file(self.value("robot"))
        contract, sha256 = read_contract(path)
        # In simulated time the world stands still while the policy thinks: it takes no time.
        timer = (lambda: 0.0) if self.value("use_sim_time") else time.perf_counter
        self._policy = OnnxPolicy(path)
        self._policy.set({name: self.value(name) for name in contract.settings})
        self._runner = PolicyRunner(self._policy, robot, timer)
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
        self._report_settings()

    def stop(self) -> None:
        """Answer no more."""
        if self._thread is not None:
            self._ended.set()
            self._thread.join()
            self._thread = None

    def _on_parameters(self, parameters: list[RosParameter]) -> SetParametersResult:
        """Take new settings, all or none of them; before the policy is loaded, ``setup`` will."""
        policy = self._policy
        wanted = {each.name: each.value for each in parameters if policy and each.name in policy.settings}
        if policy is None or not wanted:
            return SetParametersResult(successful=True)
        try:
            policy.set(wanted)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._report_settings()
        self.publish_diagnostics()  # the level is the same, but the operator looks for the new value
        return SetParametersResult(successful=True)

    def _report_settings(self) -> None:
        if self._policy is not None:
            what = "as the policy is given them" if self._policy.settings else "the policy has none"
            self.report("settings", OK, what, self._policy.settings)

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
        if self._status["policy"][0] != OK:
            self.report("policy", OK, "answers again", {"answered": self._answered, "refused": self._refused})


def main() -> int:
    """Run the node."""
    return run(PolicyNode)


if __name__ == "__main__":
    sys.exit(main())
