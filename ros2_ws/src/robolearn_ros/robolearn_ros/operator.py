"""An operator as a program: asks, steers, sets and watches a robot; and injects faults into a simulated one."""

from __future__ import annotations

import contextlib
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any

import rclpy
import rclpy.context
import rclpy.executors
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.client import Client
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from robolearn.config import ConfigError, unknown
from robolearn.deploy.bringup import full_namespace
from robolearn.deploy.modes import Answer, Request
from robolearn_ros import qos

COMMAND_HZ = 20.0
TIMEOUT = 10.0
_KNOCK = 0.5
_AGAIN = 0.05
_SPIN = 0.1
"""s; finding the other nodes was measured to take up to 3 s."""


class OperatorError(RuntimeError):
    """Nobody answered, or what was waited for did not happen; the message says what to look at."""


class Operator:
    """One robot's operator. Safe to use from several threads; ``with`` closes it.

    The velocity that was last given to ``drive`` is repeated ``COMMAND_HZ`` times a second, as a joystick would, until
    ``let_go``: a controller that hears nothing brakes.

    Attributes:
        state: name of the controller's mode; empty before it was heard.
        robot_time: s on the robot's clock, of the newest joint_states; NaN before the first.
        diagnostics: what the nodes say of themselves: values by key, by ``NODE: TOPIC`` without the namespace.
        events: of the safety monitor, as they came. All have time and message; those of a check also reason, reaction,
            value, limit and mode; a change of mode has mode and from; a request has request and accepted.
    """

    def __init__(self, namespace: str = "", domain: int | None = None) -> None:
        """Join the robot in ``namespace``.

        Args:
            namespace: of the robot's nodes.
            domain: ROS domain; None: that of the environment.
        """
        self.state = ""
        self.robot_time = math.nan
        self.diagnostics: dict[str, dict[str, str]] = {}
        self.events: list[dict[str, Any]] = []
        self._namespace = full_namespace(namespace)
        self._velocity: tuple[float, float, float] | None = None
        self._news = threading.Condition()
        self._ended = threading.Event()
        self._context = rclpy.context.Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = rclpy.create_node(
            f"operator_{os.getpid()}",
            namespace=self._namespace,
            context=self._context,
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._calls: dict[str, Client] = {
            request: self._node.create_client(Trigger, f"safety_monitor/{request}") for request in Request
        }
        self._setters: dict[str, Client] = {
            node: self._node.create_client(SetParameters, f"{node}/set_parameters")
            for node in ("sim_node", "policy_node")
        }
        self._placing: Client = self._node.create_client(Trigger, "sim_node/place")
        # Created last, see _call.
        self._doors: dict[str, Client] = {
            node: self._node.create_client(GetParameters, f"{node}/get_parameters")
            for node in ("safety_monitor", "sim_node", "policy_node")
        }
        self._commands = self._node.create_publisher(Twist, "cmd_vel", qos.COMMAND)
        self._node.create_subscription(String, "safety_monitor/state", self._on_state, qos.LATCHED)
        self._node.create_subscription(String, "safety_monitor/events", self._on_event, qos.EVENTS)
        self._node.create_subscription(JointState, "joint_states", self._on_joints, qos.SENSOR)
        self._node.create_subscription(DiagnosticArray, "diagnostics", self._on_diagnostics, qos.DIAGNOSTICS)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._node.create_timer(1.0 / COMMAND_HZ, self._repeat, clock=steady)
        self._executor = rclpy.executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="operator", daemon=True)
        self._thread.start()

    def request(self, name: str, timeout: float = TIMEOUT) -> Answer:
        """Ask the safety monitor for something and return its answer.

        Args:
            name: arm, stand, start_policy, stop, estop or reset.
            timeout: s until it must have answered.

        Raises:
            ConfigError: there is no such request.
            OperatorError: no safety monitor answers.
        """
        if name not in self._calls:
            raise unknown("request", name, self._calls)
        client, node = self._calls[name], "safety_monitor"
        if name in (Request.STOP, Request.ESTOP):
            found = self._insist(client, Trigger.Request(), time.monotonic() + timeout)
            answer = self._answered(found, node, timeout)
        else:
            answer = self._call(client, Trigger.Request(), node, timeout)
        return Answer(answer.success, answer.message)

    def reach(self, request: str, state: str = "", timeout: float = TIMEOUT) -> None:
        """Ask until it is accepted, as heartbeats may still be on their way, and wait until the mode is ``state``.

        Without a state nothing is waited for: a mode that is left again at once may be missed, its event is not.

        Raises:
            ConfigError: there is no such request.
            OperatorError: no safety monitor answers, or it still refuses after ``timeout`` s; says why.
        """
        end = time.monotonic() + timeout
        while not (answer := self.request(request, timeout)).accepted:
            if time.monotonic() > end:
                raise OperatorError(answer.reason)
            time.sleep(_AGAIN)
        if state:
            self.wait_for_state(state, timeout)

    def drive(self, forward: float, left: float = 0.0, turn: float = 0.0) -> None:
        """Command a velocity (m/s, m/s, rad/s) from now on."""
        self._velocity = (float(forward), float(left), float(turn))
        self._repeat()

    def let_go(self) -> None:
        """Command nothing any more, as if the joystick had been unplugged."""
        self._velocity = None

    def wait_for_state(self, name: str, timeout: float = TIMEOUT) -> None:
        """Wait until the controller's mode is ``name``.

        Raises:
            OperatorError: it is another one after ``timeout`` s.
        """
        self.wait_for(lambda: self.state == name, timeout, f"state {name!r}")

    def wait_for_event(self, reason: str, timeout: float = TIMEOUT) -> dict[str, Any]:
        """Return the first event of the check ``reason``; waits for it.

        Raises:
            OperatorError: there is none after ``timeout`` s.
        """

        def found() -> Iterator[dict[str, Any]]:
            return (event for event in self.events if event.get("reason") == reason)

        self.wait_for(lambda: any(found()), timeout, f"event {reason!r}")
        return next(found())

    def wait_for(self, condition: Callable[[], bool], timeout: float = TIMEOUT, what: str = "the condition") -> None:
        """Wait until ``condition`` holds; it is asked whenever a state or event arrives.

        Raises:
            OperatorError: it does not hold after ``timeout`` s.
        """
        with self._news:
            if not self._news.wait_for(condition, timeout):
                last = self.events[-1]["message"] if self.events else "none"
                state = self.state or "never heard"
                raise OperatorError(f"{what} did not come within {timeout:g} s; state: {state}, last event: {last}")

    def inject_fault(self, fault: Mapping[str, object] | None, timeout: float = TIMEOUT) -> None:
        """Inject a fault into the simulated robot: its kind and parameters (docs/hardware.md); None ends all.

        Raises:
            ConfigError: the simulated robot refuses it.
            OperatorError: there is no simulated robot.
        """
        self.set_simulation("fault", json.dumps(dict(fault)) if fault else "", timeout)

    def push(self, x: float, y: float, z: float = 0.0, timeout: float = TIMEOUT) -> None:
        """Push the base of the simulated robot, N s, world frame.

        Raises:
            ConfigError: the simulated robot refuses it.
            OperatorError: there is no simulated robot.
        """
        self.set_simulation("push", json.dumps([x, y, z]), timeout)

    def place(self, timeout: float = TIMEOUT) -> None:
        """Put the simulated robot back on its feet, where it began, and wait until it is there.

        Raises:
            OperatorError: there is no simulated robot, or its time stands still.
        """
        end = time.monotonic() + timeout
        while not (answer := self._call(self._placing, Trigger.Request(), "sim_node", timeout)).success:
            if time.monotonic() >= end:
                raise OperatorError(f"sim_node: {answer.message}")

    def lower(self, timeout: float = TIMEOUT) -> None:
        """Put the hoisted simulated robot down, and wait until the rope is slack.

        Raises:
            OperatorError: there is no simulated robot, or it still hangs after ``timeout`` s.
        """
        self.set_simulation("hoisted", False, timeout)
        seen = "sim_node: world"
        self.diagnostics.pop(seen, None)  # what was told before may be of another time

        def down() -> bool:
            return self.diagnostics.get(seen, {}).get("hoisted") == str(False)

        self.wait_for(down, timeout, "the ground under the hoisted robot")

    def set_simulation(self, parameter: str, value: bool | str, timeout: float = TIMEOUT) -> None:
        """Set a parameter of sim_node.

        Raises:
            ConfigError: the simulated robot refuses it.
            OperatorError: there is no simulated robot.
        """
        self._set("sim_node", parameter, value, timeout)

    def set_policy(self, setting: str, value: float, timeout: float = TIMEOUT) -> None:
        """Set what the policy's file calls a setting, from its next output on.

        Raises:
            ConfigError: the policy has no such setting, or the value is outside of its range.
            OperatorError: there is no policy.
        """
        try:
            self._set("policy_node", setting, float(value), timeout)
        except ConfigError:
            seen = "policy_node: settings"
            self.wait_for(lambda: seen in self.diagnostics, timeout, "the list of the policy's settings")
            if setting in self.diagnostics[seen]:
                raise
            if not self.diagnostics[seen]:
                raise ConfigError(f"unknown setting {setting!r}: the policy has none") from None
            raise unknown("setting", setting, self.diagnostics[seen]) from None

    def _set(self, node: str, parameter: str, value: bool | str | float, timeout: float) -> None:
        if isinstance(value, bool):
            content = ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=value)
        elif isinstance(value, float):
            content = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)
        else:
            content = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)
        request = SetParameters.Request(parameters=[Parameter(name=parameter, value=content)])
        (result,) = self._call(self._setters[node], request, node, timeout).results
        if not result.successful:
            raise ConfigError(f"{node} refuses {parameter} {value!r}: {result.reason}")

    def alive(self, node: str) -> bool:
        """Tell whether a node of this robot gives signs of life; it may not be active yet."""
        return self._node.count_publishers(f"{node}/heartbeat") > 0

    def close(self) -> None:
        """Leave. The robot goes on as it is, without a velocity command."""
        if not self._context.ok():
            return
        # The thread ends first: what it waits for must not be destroyed under it, that ends the process.
        self._ended.set()
        self._executor.wake()
        self._thread.join()
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def __enter__(self) -> Operator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, client: Client, request: object, node: str, timeout: float) -> Any:
        """Return the answer of a service of ``node``, which is asked once: a second reset could undo the emergency stop
        that somebody else asked for in between.

        A service of ROS 2 is four endpoints that are found one by one: a node can hear a request before it has found
        who waits for the answer, and the answer is lost. So nothing is asked before the node has answered at all.
        Endpoints are told in the order of their creation: who found that door, the last one, has found the others.
        """
        end = time.monotonic() + timeout
        reached = self._insist(self._doors[node], GetParameters.Request(), end) is not None
        answer = self._ask(client, request, end) if reached else None
        return self._answered(answer, node, timeout)

    def _answered(self, answer: Any, node: str, timeout: float) -> Any:
        if answer is None:
            raise OperatorError(
                f"{self._namespace}/{node} (domain {self._context.get_domain_id()}) did not answer within {timeout:g} "
                "s: is it running, with this namespace and domain? It is started by: robolearn deploy"
            )
        return answer

    def _insist(self, client: Client, request: object, end: float) -> Any:
        """Return the answer to what may be asked any number of times, or None if there was none until ``end``."""
        while (now := time.monotonic()) < end:
            if (answer := self._ask(client, request, min(now + _KNOCK, end))) is not None:
                return answer
        return None

    def _ask(self, client: Client, request: object, end: float) -> Any:
        """Return the answer, or None if there was none until ``end``."""
        if not client.wait_for_service(max(0.0, end - time.monotonic())):
            return None
        answered = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: answered.set())
        if answered.wait(max(0.0, end - time.monotonic())):
            return future.result()
        client.remove_pending_request(future)
        return None

    def _repeat(self) -> None:
        velocity = self._velocity
        if velocity is not None:
            message = Twist()
            message.linear.x, message.linear.y, message.angular.z = velocity
            self._commands.publish(message)

    def _on_state(self, message: String) -> None:
        with self._news:
            self.state = message.data
            self._news.notify_all()

    def _on_joints(self, message: JointState) -> None:
        with self._news:
            self.robot_time = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
            self._news.notify_all()

    def _on_event(self, message: String) -> None:
        with self._news:
            self.events.append(json.loads(message.data))
            self._news.notify_all()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        prefix = f"{self._namespace.lstrip('/')}/" if self._namespace else ""
        with self._news:
            for status in message.status:
                found = {each.key: each.value for each in status.values}
                self.diagnostics[status.name.removeprefix(prefix)] = found
            self._news.notify_all()

    def _spin(self) -> None:
        with contextlib.suppress(rclpy.executors.ExternalShutdownException):
            while not self._ended.is_set():
                self._executor.spin_once(timeout_sec=_SPIN)
