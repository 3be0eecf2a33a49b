"""What every node here has: lifecycle, checked parameters, signs of life, diagnostics, one instance, a clean end."""

from __future__ import annotations

import gc
import math
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import rclpy
import rclpy.executors
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription
from std_msgs.msg import Header

from robolearn.config import ConfigError, unknown
from robolearn.deploy.onnx_file import PolicyFileError
from robolearn.deploy.processes import REFUSED
from robolearn.deploy.stop_signal import StopSignal
from robolearn_ros import qos
from robolearn_ros.inbox import Inbox

T = TypeVar("T")
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
REFUSALS = (ConfigError, PolicyFileError, OSError, ModuleNotFoundError)
"""What a node says in one line when it refuses to start; anything else is a fault of the program."""
_BUILT_IN = {"use_sim_time", "start_type_description_service"}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a node.

    Attributes:
        name: of the parameter.
        default: also says its type: bool, int, float or str.
        description: for `ros2 param describe`, with the unit.
        low, high: range of a number, inclusive.
        live: may be changed while the node runs.
    """

    name: str
    default: bool | int | float | str
    description: str
    low: float | None = None
    high: float | None = None
    live: bool = False

    def descriptor(self) -> ParameterDescriptor:
        """Return what ROS 2 is told about it."""
        found = ParameterDescriptor(description=self.description, read_only=not self.live)
        if self.low is not None and self.high is not None:
            if isinstance(self.default, float):
                found.floating_point_range = [FloatingPointRange(from_value=self.low, to_value=self.high)]
            else:
                found.integer_range = [IntegerRange(from_value=int(self.low), to_value=int(self.high), step=1)]
        return found


COMMON = (
    Parameter("robot", "a1", "robot file: a name that ships, or the path of a YAML file"),
    Parameter("autostart", True, "configure and activate without being asked; activation never moves the robot"),
)


class RobotNode(LifecycleNode):
    """A lifecycle node. Override ``setup``, ``start``, ``stop`` and ``teardown``; each undoes one of the others.

    Configure runs ``setup`` (load and validate; raises ``ConfigError``), activate runs ``start`` (begin to publish),
    deactivate runs ``stop`` and cleanup runs ``teardown``. Whatever ``setup`` and ``start`` create on the node and hand
    to ``own`` is destroyed by itself.

    Args:
        name: of the node.
        parameters: besides the common ones.
        options: for ``rclpy``'s node: ``context``, ``namespace``, ``parameter_overrides``.

    Attributes:
        role: what only one node of a namespace may be; its own name where empty.
        failure: why the node refused to be configured or activated; empty when it did not.
        steady_clock: the computer's time, also where the robot lives in simulated time.
    """

    role = ""

    def __init__(self, name: str, parameters: Sequence[Parameter] = (), **options: Any) -> None:
        super().__init__(name, **options)
        self.failure = ""
        self._instance: socket.socket | None = None
        self._status: dict[str, tuple[bytes, str, dict[str, str]]] = {}
        self._owned: list[Callable[[], object]] = []
        self._inboxes: list[Inbox[Any]] = []
        self._active = False
        try:
            declared = [*COMMON, *parameters]
            for parameter in declared:
                self._declare(parameter)
            for parameter in self.further_parameters():
                self._declare(parameter)
                declared.append(parameter)
            self._refuse_unknown(declared)
            self._claim()
        except ConfigError:
            self.destroy_node()
            raise
        self._diagnostics = self.create_publisher(DiagnosticArray, "diagnostics", qos.DIAGNOSTICS)
        self._heartbeat = self.create_publisher(Header, "~/heartbeat", qos.HEARTBEAT)
        # Signs of life are a matter of the computer's time, also where the robot lives in simulated time.
        self.steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0 / qos.HEARTBEAT_HZ, self._beat, clock=self.steady_clock)
        self.create_timer(1.0, self._every_second, clock=self.steady_clock)

    # What a node fills in.

    def further_parameters(self) -> Sequence[Parameter]:
        """Return parameters that depend on the values of those declared already."""
        return ()

    def setup(self) -> None:
        """Load and validate."""

    def start(self) -> None:
        """Begin to work. Must not move the robot."""

    def stop(self) -> None:
        """End what ``start`` began; the robot must be safe afterwards. Called also when ``start`` failed."""

    def teardown(self) -> None:
        """Undo ``setup``."""

    # What a node uses.

    def value(self, name: str) -> Any:
        """Return the value of a parameter."""
        return self.get_parameter(name).value

    @property
    def active(self) -> bool:
        """Whether the node is between activate and deactivate."""
        return self._active

    def own(self, destroy: Callable[[], object]) -> None:
        """Call ``destroy`` when the node is deactivated."""
        self._owned.append(destroy)

    def listen(self, kind: type, topic: str, profile: QoSProfile, callback: Callable[[Any], None]) -> Subscription[Any]:
        """Subscribe until the node is deactivated. A publisher with other quality of service is reported."""
        events = SubscriptionEventCallbacks(incompatible_qos=lambda info: self._incompatible(topic, info))
        found: Subscription[Any] = self.create_subscription(kind, topic, callback, profile, event_callbacks=events)
        self.own(lambda: self.destroy_subscription(found))
        return found

    def inbox(self, kind: type[T], topic: str, profile: QoSProfile) -> Inbox[T]:
        """Subscribe until the node is deactivated, for a thread that waits for the messages itself."""
        found = Inbox(self, kind, topic, profile)
        self._inboxes.append(found)
        self.own(found.close)
        return found

    def publisher(self, kind: type, topic: str, profile: QoSProfile) -> Publisher[Any]:
        """Create a publisher until the node is deactivated. A subscriber with other quality of service is reported."""
        events = PublisherEventCallbacks(incompatible_qos=lambda info: self._incompatible(topic, info))
        found: Publisher[Any] = self.create_publisher(kind, topic, profile, event_callbacks=events)
        self.own(lambda: self.destroy_publisher(found))
        return found

    def report(self, what: str, level: bytes, message: str, values: Mapping[str, object] | None = None) -> None:
        """Set one line of diagnostics: ``what`` is well, or not. Published at once when its level changes."""
        before = self._status.get(what)
        self._status[what] = (level, message, {key: str(value) for key, value in (values or {}).items()})
        if before is None or before[0] != level:
            self.publish_diagnostics()

    def publish_diagnostics(self) -> None:
        """Publish the diagnostics now."""
        stamp = self.get_clock().now().to_msg()
        full_name = self.get_fully_qualified_name().lstrip("/")
        own: tuple[bytes, str, dict[str, str]] = (
            (OK, "active" if self._active else "not active", {}) if not self.failure else (ERROR, self.failure, {})
        )
        status = [
            DiagnosticStatus(
                level=level,
                name=f"{full_name}: {what}",
                message=message,
                hardware_id=str(self.value("robot")),
                values=[KeyValue(key=key, value=value) for key, value in values.items()],
            )
            for what, (level, message, values) in [("lifecycle", own), *self._status.items()]
        ]
        array = DiagnosticArray(status=status)
        array.header.stamp = stamp
        self._diagnostics.publish(array)

    # Lifecycle.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load and validate."""
        return self._attempt(self.setup, self.teardown)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to work."""
        result = self._attempt(self.start, self._end)
        self._active = result is TransitionCallbackReturn.SUCCESS
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the work."""
        self._end()
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget what was loaded."""
        self.teardown()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End everything."""
        if self._active:
            self._end()
        self.teardown()
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> bool:
        """End the work, whatever the state, and destroy the node. Safe commands are sent before publishers go.

        Returns:
            Whether all went well; if not, the reason was logged.
        """
        well = True
        try:
            if self._active:
                self._end()
            self.teardown()
        except Exception as error:  # such as a robot that does not take the damping command
            well = False
            self.get_logger().error(" ".join(str(error).split()))
        self.destroy_node()
        if self._instance is not None:
            self._instance.close()
        return well

    def _attempt(self, begin: Callable[[], None], undo: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            begin()
        except REFUSALS as error:
            self.failure = " ".join(str(error).split())
        except Exception as error:  # a fault of ours: say where, but end as orderly as a refusal
            self.failure = f"internal error: {type(error).__name__}: {error}"
        else:
            self.failure = ""
            return TransitionCallbackReturn.SUCCESS
        self.get_logger().error(self.failure)
        undo()
        return TransitionCallbackReturn.FAILURE

    def _end(self) -> None:
        self._active = False
        self._inboxes.clear()
        try:
            self.stop()
        finally:
            while self._owned:
                self._owned.pop()()

    # The rest.

    def _declare(self, parameter: Parameter) -> None:
        try:
            value: Any = self.declare_parameter(parameter.name, parameter.default, parameter.descriptor()).value
        except Exception as error:  # wrong type or out of range; rclpy has one exception for each
            raise ConfigError(f"parameter {parameter.name!r}: {error}") from error
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"parameter {parameter.name!r}: must be finite, got {value}")

    def _refuse_unknown(self, parameters: Sequence[Parameter]) -> None:
        known = {parameter.name for parameter in parameters} | _BUILT_IN
        for name in self._parameter_overrides:
            if name not in known and not name.startswith("qos_overrides."):
                raise unknown("parameter", name, known, f"node {self.get_name()}")

    def _claim(self) -> None:
        """Refuse a second instance. The name is free again when this process ends, however it ends."""
        domain = os.environ.get("ROS_DOMAIN_ID", "0")
        name = f"{self.get_namespace().rstrip('/')}/{self.role or self.get_name()}"
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0robolearn/{domain}{name}")
        except OSError as error:
            claim.close()
            raise ConfigError(
                f"{name} runs already on this machine (domain {domain}); stop it first, or choose another namespace"
            ) from error
        self._instance = claim

    def _every_second(self) -> None:
        for inbox in self._inboxes:
            if problem := inbox.incompatible():
                self.report(f"topic {inbox.topic}", ERROR, problem)
        self.publish_diagnostics()

    def _incompatible(self, topic: str, info: Any) -> None:
        policy = str(getattr(info.last_policy_kind, "name", info.last_policy_kind)).lower()
        message = f"{topic}: the other side uses an incompatible quality of service ({policy}); no message will pass"
        self.get_logger().error(message)
        self.report(f"topic {topic}", ERROR, message)

    def _beat(self) -> None:
        self._heartbeat.publish(Header(stamp=self.get_clock().now().to_msg(), frame_id=self.get_name()))


def main(make: Callable[[], RobotNode], arguments: Sequence[str] | None = None) -> int:
    """Run one node until SIGINT, SIGTERM or SIGHUP; return the exit code: 0 after a clean end, ``REFUSED`` where it did
    not start at all, 1 after anything else.

    rclpy's own signal handlers would invalidate the context first, and nothing can be published afterwards: ours only
    wake the loop, the robot is made safe, and then the context ends.
    """
    with StopSignal() as stop:
        rclpy.init(
            args=list(sys.argv if arguments is None else arguments), signal_handler_options=SignalHandlerOptions.NO
        )
        node: RobotNode | None = None
        code = 1
        try:
            node = make()
            code = _spin(node, stop)
        except REFUSALS as error:
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
            code = REFUSED
        finally:
            if node is not None and not node.close():
                code = 1
            rclpy.try_shutdown()
    return code


def _spin(node: RobotNode, stop: StopSignal) -> int:
    executor = rclpy.executors.SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if node.value("autostart"):
            for step in (node.trigger_configure, node.trigger_activate):
                if not stop.received and step() is not TransitionCallbackReturn.SUCCESS:
                    return REFUSED
        # A collection that goes through all that was imported stops every thread, the control loop too: 40 ms were
        # measured. What lives now lives to the end, so only what comes later is looked at.
        gc.freeze()
        while not stop.received:
            executor.spin_once(timeout_sec=0.1)
        return 0
    finally:
        executor.shutdown()
