"""Records what robot, controller, policy and operator did into an mcap bag, which ``robolearn log`` reads.

Messages are stored as they arrive on the wire, without being decoded. Topics that nobody publishes are no error.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist, TwistStamped
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.qos import HistoryPolicy, QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import BatteryState, Imu, JointState
from std_msgs.msg import Bool, Float64MultiArray, Header, String

from robolearn.deploy.recording import About, describe, folder_name, write_about
from robolearn_ros import qos
from robolearn_ros.bag_writer import BagWriter, Limits
from robolearn_ros.node import ERROR, OK, WARN, Parameter, RobotNode
from robolearn_ros.node import main as run

DEPTH = 200
"""Messages that may wait for this node; how many is each subscriber's own affair."""


class Topic(NamedTuple):
    """A topic to record: relative name, message class, and the quality of service of its publisher."""

    name: str
    kind: type
    profile: QoSProfile


TOPICS = (
    Topic("robot_state", Float64MultiArray, qos.SENSOR),
    Topic("joint_commands", Float64MultiArray, qos.COMMAND),
    Topic("joint_commands_wanted", Float64MultiArray, qos.SENSOR),
    Topic("policy_input", Float64MultiArray, qos.COMMAND),
    Topic("policy_output", Float64MultiArray, qos.COMMAND),
    Topic("power", Float64MultiArray, qos.SENSOR),
    Topic("joint_states", JointState, qos.SENSOR),
    Topic("imu/data", Imu, qos.SENSOR),
    Topic("battery_state", BatteryState, qos.SENSOR),
    Topic("estop", Bool, qos.LATCHED),
    Topic("safety_monitor/state", String, qos.LATCHED),
    Topic("safety_monitor/estop_active", Bool, qos.LATCHED),
    Topic("safety_monitor/tick", Float64MultiArray, qos.SENSOR),
    Topic("safety_monitor/events", String, qos.EVENTS),
    Topic("diagnostics", DiagnosticArray, qos.DIAGNOSTICS),
    *(
        Topic(f"{node}/heartbeat", Header, qos.HEARTBEAT)
        for node in ("hardware_node", "sim_node", "safety_monitor", "policy_node", "teleop_node")
    ),
)

PARAMETERS = (
    Parameter("out", "recordings", "folder of recordings; each start makes a new folder in it"),
    Parameter("policy", "", "policy file that is recorded along, so that the recording can be read without it"),
    Parameter("max_megabytes", 2000.0, "MB, size at which a recording ends", 1.0, 1e6),
    Parameter("min_free_megabytes", 500.0, "MB that stay free on the disk: a recording ends before", 0.0, 1e6),
    Parameter("cmd_vel_stamped", False, "cmd_vel is a TwistStamped, not a Twist"),
)


def ros_name(kind: type) -> str:
    """Return the name of a message class as bags write it: ``std_msgs/msg/String``."""
    return f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"


def listening(profile: QoSProfile) -> QoSProfile:
    """Return a profile that hears publishers of ``profile``, with a queue for moments when this node is busy."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=DEPTH,
        reliability=profile.reliability,
        durability=profile.durability,
    )


class RecorderNode(RobotNode):
    """Records while it is active; every activation begins a new recording.

    Args:
        now: date and time with its zone, for the name of the folder.
        options: for ``rclpy``'s node.
    """

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now().astimezone(), **options: Any) -> None:
        self._now = now
        self._about: About | None = None
        self._writer: BagWriter | None = None
        self._heard: set[str] = set()
        self._lost = 0
        self._stopped = ""
        super().__init__("recorder_node", PARAMETERS, **options)

    def setup(self) -> None:
        """Read robot and policy file; the folder must be writable."""
        self._about = describe(self.value("robot"), self.value("policy") or None, self.get_namespace(), self._now())
        Path(self.value("out")).mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """Begin a recording."""
        self._about = describe(self.value("robot"), self.value("policy") or None, self.get_namespace(), self._now())
        velocity = Topic("cmd_vel", TwistStamped if self.value("cmd_vel_stamped") else Twist, qos.COMMAND)
        topics = (*TOPICS, velocity)
        names = [(self.resolve_topic_name(topic.name), ros_name(topic.kind)) for topic in topics]
        limits = Limits(self.value("max_megabytes") * 1e6, self.value("min_free_megabytes") * 1e6)
        self._heard, self._lost, self._stopped = set(), 0, ""
        self._writer = BagWriter(self._new_folder(self._about), names, limits)
        write_about(self._writer.folder, self._about, self.value("robot"))
        for place, topic in enumerate(topics):
            self._subscribe(place, topic)
        timer = self.create_timer(1.0, self._report, clock=self.steady_clock)
        self.own(lambda: self.destroy_timer(timer))
        self.get_logger().info(f"recording into {self._writer.folder}")

    def stop(self) -> None:
        """End the recording."""
        if self._writer is not None:
            self._writer.close()
            self._report()
            self._writer = None

    def _new_folder(self, about: About) -> Path:
        folder = Path(self.value("out")) / folder_name(about)
        again = 1
        while folder.exists():  # two recordings that began in the same second
            again += 1
            folder = folder.with_name(f"{folder_name(about)}_{again}")
        return folder

    def _subscribe(self, place: int, topic: Topic) -> None:
        events = SubscriptionEventCallbacks(
            incompatible_qos=lambda info: self._incompatible(topic.name, info),
            message_lost=self._lose,
            use_default_callbacks=False,
        )

        def take(data: bytes, info: Mapping[str, Any]) -> None:
            self._take(place, topic.name, data, info)

        subscription: Subscription[Any] = self.create_subscription(
            topic.kind,
            topic.name,
            take,
            listening(topic.profile),
            event_callbacks=events,
            raw=True,
        )
        self.own(lambda: self.destroy_subscription(subscription))

    def _take(self, place: int, name: str, data: bytes, info: Mapping[str, Any]) -> None:
        self._heard.add(name)
        if self._writer is not None:
            self._writer.put(place, info["received_timestamp"], data)  # not when this node found time for it

    def _lose(self, info: Any) -> None:
        if self._writer is not None:
            self._writer.lose(info.total_count_change)

    def _report(self) -> None:
        """Say in the diagnostics how the recording is getting on."""
        if self._writer is None:
            return
        progress = self._writer.progress
        level, message = OK, "recording"
        if progress.problem:
            level, message = ERROR, f"recording has stopped, what is there is kept: {progress.problem}"
            if progress.problem != self._stopped:
                self.get_logger().error(message)
        elif progress.lost > self._lost:
            level, message = WARN, f"{progress.lost - self._lost} messages were lost"
        self._stopped, self._lost = progress.problem, progress.lost
        self.report(
            "recording",
            level,
            message,
            {
                "folder": self._writer.folder,
                "messages": progress.messages,
                "megabytes": f"{progress.size / 1e6:.1f}",
                "lost": progress.lost,
                "topics heard": ", ".join(sorted(self._heard)) or "none",
            },
        )


def main() -> int:
    """Run the node."""
    return run(RecorderNode)


if __name__ == "__main__":
    sys.exit(main())
