"""A robot that runs ros2_control: joint states and IMU in, a forward controller's commands out.

rclpy is imported in ``open``. The link has a context, a node and a thread of its own, so that the damping commands go
out also while the program around it ends.
"""

from __future__ import annotations

import contextlib
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from hardware.joints import JointMap, Motor
from hardware.link import Clock
from hardware.ros2_format import (
    EFFORT,
    CommandLayout,
    FormatError,
    JointReader,
    Merger,
    blocks_of,
    check_interface,
    pd_torque,
    read_battery,
    read_imu,
)
from robolearn.config import ConfigError, nearest
from robolearn.deploy.bringup import NODES
from robolearn.deploy.robot import RobotFile
from robolearn.deploy.types import Array, JointCommand, RobotState

PATIENCE = 10.0
"""s; finding the other side was measured to take up to 3 s."""
_SPIN = 0.05
_REPEAT = 1.0
"""s between two questions of the same kind: to the controller, and who else commands."""


class Ros2Control:
    """A link through one forward controller, by its parameters ``joints`` and ``interface_name`` (or ``..._names``).

    The joints' order is asked from the controller itself; that order is nowhere else written down. ``interface``:

    - ``effort``: one torque per joint, computed here at every ``send`` from the newest joint state:
      ``clip(kp (position - q) + kd (velocity - dq) + torque)``. Blind for longer than the robot file's
      ``state_stale.warn`` it sends zero torque and raises: with an old velocity, damping would push.
    - ``pd``: position, velocity, effort, kp and kd of every joint; the drives compute.

    A publisher of joint states or IMU stays the only one that is heard: a second one would alternate with it. So would
    a second commander: ``send`` says it within a second or two.

    Attributes:
        refused: number of messages that could not be used, by topic.
        problem: what was wrong with the last of them; empty while there was none.
    """

    def __init__(
        self,
        robot: RobotFile,
        clock: Clock,
        controller: str,
        interface: str = EFFORT,
        namespace: str = "",
        *,
        joint_states: str = "joint_states",
        imu: str = "imu/data",
        battery: str = "battery_state",
        patience: float = PATIENCE,
    ) -> None:
        """Describe the robot; nothing is connected yet.

        Args:
            robot: joints, effort limits.
            clock: stamps what arrives.
            controller: name of its node.
            interface: ``effort`` or ``pd``.
            namespace: of the controller and of the topics.
            joint_states, imu, battery: names of the topics; relative ones are in ``namespace``.
            patience: s of the computer's time in which ``open`` must find each part of the robot.

        Raises:
            ConfigError: there is no such interface.
        """
        check_interface(interface)
        self._robot, self._clock, self._controller, self._interface = robot, clock, controller, interface
        self._namespace, self._patience = namespace, patience
        self._topics = {"joint_states": joint_states, "imu": imu, "battery": battery}
        self._blind_time = robot.safety.state_stale.warn * robot.policy_dt
        self._lock = threading.Lock()
        self._motors: tuple[Motor, ...] = ()
        self._context: Any = None
        self._node: Any = None
        self._executor: Any = None
        self._publisher: Any = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._failed: Exception | None = None
        self._listeners, self._heard, self._rivals = 0, False, ""
        self.refused: Counter[str] = Counter()
        self.problem = ""

    @property
    def motors(self) -> tuple[Motor, ...]:
        """The controller's joints, in its order."""
        return self._motors

    @property
    def estimated(self) -> list[str]:
        """Joints that report no effort: their torque is estimated."""
        return [motor.joint for motor, missing in zip(self._motors, self._merger.estimated, strict=True) if missing]

    def open(self) -> None:
        """Find the controller, ask it for its joints, and wait for the first messages.

        Raises:
            ConfigError: it takes other commands or has other joints.
            ConnectionError: something does not answer or sends what cannot be used, or somebody else commands already.
            ModuleNotFoundError: rclpy is not installed.
        """
        import rclpy
        import rclpy.context
        import rclpy.executors
        from rclpy.signals import SignalHandlerOptions
        from std_msgs.msg import Float64MultiArray

        self._message, self._failed = Float64MultiArray, None
        self._listeners, self._heard, self._rivals = 0, False, ""
        self._sources: dict[str, object] = {}
        self._context = rclpy.context.Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        # Arguments of the program are for its own node: a new name or parameters must not reach this one.
        options = {"namespace": self._namespace, "context": self._context, "use_global_arguments": False}
        self._node = rclpy.create_node("ros2_control_link", start_parameter_services=False, **options)
        self._executor = rclpy.executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        joints, declared = self._ask_controller()
        self._layout = CommandLayout(self._controller, self._interface, declared)
        self._motors = tuple(Motor(joint) for joint in joints)
        JointMap(self._motors, self._robot.joints)  # says which joint is wrong, before messages are looked at
        order = [self._robot.joints.index(joint) for joint in joints]
        self._merger = Merger(self._robot.effort_limit[order])
        self._command = JointCommand.zero(len(joints))
        self._subscribe(JointReader(joints))
        self._wait(self._is_heard, self._no_listener)
        self._wait(lambda: self._merger.complete, self._silence)
        self._wait(lambda: not self._others(), self._not_alone)
        self._ended.clear()
        self._thread = threading.Thread(target=self._spin, name="ros2_control_link", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Disconnect. The controller keeps the last command."""
        # The thread ends first: what it waits for must not be destroyed under it, that ends the process.
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        if self._executor is not None:
            self._executor.shutdown()
        if self._node is not None:
            self._node.destroy_node()
        if self._context is not None:
            self._context.try_shutdown()
        self._context = self._node = self._executor = self._publisher = self._thread = None

    def read(self) -> RobotState | None:
        """Return the newest complete reading, or None."""
        if self._failed is not None:
            raise RuntimeError(f"receiving from the robot failed: {self._failed!r}") from self._failed
        with self._lock:
            return self._merger.reading(self._command, self._clock.now())

    def send(self, command: JointCommand) -> None:
        """Give the controller a command; it keeps it until the next one.

        Raises:
            ConnectionError: the controller does not listen, somebody else commands too, or (``effort``) there is no
                usable joint state: zero torque was sent.
        """
        blind = ""
        values = blocks_of(command)
        with self._lock:
            if self._interface == EFFORT:
                values[EFFORT], blind = self._law(command)
            self._command = command
        self._publisher.publish(self._message(data=array("d", self._layout.pack(values).tobytes())))
        if blind:
            raise ConnectionError(f"{blind}; zero torque was sent")
        if not self._is_heard():
            raise ConnectionError(f"controller {self._controller!r} no longer listens on {self._publisher.topic_name}")
        if self._rivals:
            raise ConnectionError(self._rivals)

    def _is_heard(self) -> bool:
        """Whether the controller hears the commands: a recorder that hears them too drives nothing.

        The names are asked when the number of listeners has changed, and once a second: that takes longer than to send.
        """
        count = self._publisher.get_subscription_count()
        if count != self._listeners:
            listeners = self._node.get_subscriptions_info_by_topic(self._publisher.topic_name)
            self._heard = self._controller.rsplit("/", 1)[-1] in {info.node_name for info in listeners}
            if self._heard and len(listeners) == count:  # until then names are unknown, or older than the number
                self._listeners = count
        return count > 0 and self._heard

    def _law(self, command: JointCommand) -> tuple[Array, str]:
        """Return the torques of ``effort``, and why they are zero; empty where they are not."""
        zero = np.zeros(len(self._motors))
        joints = self._merger.usable_joints()
        if joints is None:
            return zero, "no usable joint state ever came"
        position, velocity, arrived = joints
        age = self._clock.now() - arrived
        if age > self._blind_time:
            return zero, f"no usable joint state for {age:.3f} s: torques cannot be computed"
        return pd_torque(command, position, velocity, self._merger.effort_limit), ""

    # Opening.

    def _ask_controller(self) -> tuple[list[str], list[str] | None]:
        """Return the controller's joints and, where it says, its interfaces."""
        from rcl_interfaces.msg import ParameterType
        from rcl_interfaces.srv import GetParameters

        client = self._node.create_client(GetParameters, f"{self._controller}/get_parameters")
        self._wait(client.service_is_ready, self._no_controller)
        found: dict[str, Any] = {}
        # One by one: a controller that lacks one of several parameters answers with none.
        for name in ("joints", "interface_name", "interface_names"):
            values = self._call(client, GetParameters.Request(names=[name])).values
            if values and values[0].type == ParameterType.PARAMETER_STRING_ARRAY:
                found[name] = list(values[0].string_array_value)
            elif values and values[0].type == ParameterType.PARAMETER_STRING and values[0].string_value:
                found[name] = [values[0].string_value]
        self._node.destroy_client(client)
        if not found.get("joints"):
            raise ConfigError(f"controller {self._controller!r} has no parameter 'joints': it is no group controller")
        return found["joints"], found.get("interface_names") or found.get("interface_name")

    def _call(self, client: Any, request: Any) -> Any:
        """Return the answer of a service. Asked again after a while: an answer that leaves before both sides have
        found each other entirely is lost."""
        futures: list[Any] = []
        again = time.monotonic()

        def answered() -> bool:
            nonlocal again
            if time.monotonic() >= again:
                futures.append(client.call_async(request))
                again = time.monotonic() + _REPEAT
            return any(future.done() for future in futures)

        self._wait(answered, lambda: f"{client.srv_name} does not answer: does the controller manager run?")
        return next(future.result() for future in futures if future.done())

    def _subscribe(self, reader: JointReader) -> None:
        from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import BatteryState, Imu, JointState

        # Best effort hears reliable and best-effort publishers alike. With a depth of one, a gripper's joint states
        # would push out the legs'.
        sensor = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        command = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE)
        for kind, topic, take in (
            (JointState, "joint_states", partial(self._take_joints, reader)),
            (Imu, "imu", self._take_imu),
            (BatteryState, "battery", self._take_battery),
        ):
            callback = partial(self._receive, topic, take)
            self._node.create_subscription(kind, self._topics[topic], callback, sensor)
        self._publisher = self._node.create_publisher(self._message, f"{self._controller}/commands", command)

    def _others(self) -> list[str]:
        """Return the nodes that command the robot besides this one, as far as they were discovered yet."""
        names = [info.node_name for info in self._node.get_publishers_info_by_topic(self._publisher.topic_name)]
        with contextlib.suppress(ValueError):
            names.remove(self._node.get_name())
        return names

    def _wait(self, ready: Callable[[], bool], complaint: Callable[[], str]) -> None:
        """Wait in the computer's time, whatever clock was given: finding each other takes real seconds."""
        end = time.monotonic() + self._patience
        while not ready():
            if time.monotonic() > end:
                raise ConnectionError(complaint())
            self._executor.spin_once(timeout_sec=_SPIN)

    def _no_controller(self) -> str:
        # Nodes of this package are no controllers, and those of the command line neither.
        ours = {self._node.get_name(), *NODES}
        names = {name for name in self._node.get_node_names() if name not in ours and not name.startswith("operator_")}
        return (
            f"controller {self._controller!r} was not found in namespace {self._node.get_namespace()!r} (domain "
            f"{self._context.get_domain_id()}) within {self._patience:g} s.{nearest(self._controller, names)}"
        )

    def _no_listener(self) -> str:
        topic = self._publisher.topic_name
        return f"nobody listens on {topic}: is controller {self._controller!r} loaded and active?"

    def _not_alone(self) -> str:
        return (
            f"{self._publisher.topic_name}: {', '.join(self._others())} publishes commands too; only one may drive the "
            "robot (one that was killed is forgotten after about 20 s)"
        )

    def _silence(self) -> str:
        missing = [self._node.resolve_topic_name(self._topics[name]) for name in ("joint_states", "imu")]
        reason = f"; the last message that came was refused: {self.problem}" if self.problem else ""
        return f"no usable messages on {' and '.join(missing)} within {self._patience:g} s{reason}"

    # Receiving, in the executor's thread.

    def _spin(self) -> None:
        look = 0.0
        try:
            while not self._ended.is_set():
                self._executor.spin_once(timeout_sec=_SPIN)
                if time.monotonic() >= look:
                    self._rivals = self._not_alone() if self._others() else ""
                    self._listeners = -1  # asks again
                    look = time.monotonic() + _REPEAT
        except Exception as error:  # read() says it to the driver
            self._failed = error

    def _receive(self, topic: str, take: Callable[[Any, float], bool], message: Any, info: Any) -> None:
        now = self._clock.now()
        source = (info.get("publisher_gid") or {}).get("data")  # older rclpy does not tell
        try:
            with self._lock:
                if self._sources.get(topic, source) != source:
                    raise FormatError("a second publisher; only the first is heard")
                if take(message, now):
                    self._sources[topic] = source
        except FormatError as error:
            self.refused[topic] += 1
            self.problem = f"{self._node.resolve_topic_name(self._topics[topic])}: {error}"

    def _take_joints(self, reader: JointReader, message: Any, now: float) -> bool:
        parts = reader.read(message)
        if parts is None:
            return False
        self._merger.take_joints(parts, _made(message), now)
        return True

    def _take_imu(self, message: Any, now: float) -> bool:
        self._merger.take_imu(read_imu(message), _made(message), now)
        return True

    def _take_battery(self, message: Any, now: float) -> bool:
        charge = read_battery(message)
        self._merger.take_battery(charge, now)
        return not np.isnan(charge)


def _made(message: Any) -> int:
    """Return the robot's time of a message, ns."""
    stamp = message.header.stamp
    made = int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
    if made == 0:
        raise FormatError("it carries no time stamp: a robot that stands still could not be told from a frozen one")
    return made
