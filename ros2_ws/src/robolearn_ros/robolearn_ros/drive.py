"""What the nodes in front of the drives share: publish readings, receive commands, say how the driver is."""

from __future__ import annotations

from dataclasses import dataclass

from sensor_msgs.msg import BatteryState, Imu, JointState
from std_msgs.msg import Float64MultiArray

from hardware.base import Lifecycle, RobotDriver
from robolearn.deploy.power import Power, PowerMeter
from robolearn.deploy.robot import RobotFile
from robolearn.deploy.types import JointCommand, RobotState
from robolearn.deploy.wire import CommandPacket, PowerPacket, StatePacket, WireError
from robolearn_ros import messages, qos
from robolearn_ros.node import ERROR, OK, WARN, RobotNode

PUBLIC_HZ = 50.0
"""How often readings are published for everyone else; the controller has every one of them."""
ROLE = "hardware_node or sim_node"
"""Only one of them may drive the robot of a namespace: real drives would follow the controller of a simulation."""
RELEASE = 0.5
"""s of commands without stiffness after which a fault of the driver is cleared."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Order:
    """A command that arrived, and the time of the cycle that it answers, s on this node's clock."""

    cycle: float
    command: JointCommand


class Drive:
    """Stands between a driver and the topics of a node; destroyed with the node's deactivation.

    Attributes:
        refused: commands that were not what was expected, too old, or overtaken by a newer one.
    """

    def __init__(self, node: RobotNode, robot: RobotFile, driver: RobotDriver, public: bool = True) -> None:
        """Begin.

        Args:
            node: whose topics.
            robot: its file.
            driver: configured.
            public: publish readings for everyone else too: joint_states, imu/data, battery_state.
        """
        self._node, self._robot, self._driver = node, robot, driver
        self._state, self._command = StatePacket(robot), CommandPacket(robot)
        self._readings = node.publisher(Float64MultiArray, "robot_state", qos.SENSOR)
        self._meter, self._power = PowerMeter(), PowerPacket(robot)
        self._powers = node.publisher(Float64MultiArray, "power", qos.SENSOR)
        self._public = public
        if public:
            self._joints = node.publisher(JointState, "joint_states", qos.SENSOR)
            self._imu = node.publisher(Imu, "imu/data", qos.SENSOR)
            self._battery = node.publisher(BatteryState, "battery_state", qos.SENSOR)
        self.refused = 0
        self._answered = -1.0
        self._limp_since: float | None = None
        self._released = False  # a command without stiffness came since the drives were taken over
        self._every = max(1, round(robot.control_hz / PUBLIC_HZ))
        self._count = 0
        self._orders = node.inbox(Float64MultiArray, "joint_commands", qos.COMMAND)

    def publish(self, cycle: float, state: RobotState | None) -> None:
        """Publish the cycle at time ``cycle``, s, and its reading."""
        fault = self._driver.state is Lifecycle.FAULT
        packet = self._state.pack(cycle, fault, state)
        self._readings.publish(messages.multi_array(self._state.packet, packet, self._driver.fault or ""))
        self._count += 1
        if state is None:
            return
        power = self._meter.take(state)
        self._powers.publish(messages.multi_array(self._power.packet, self._power.pack(cycle, power)))
        if self._count % self._every:
            return
        each_second = self._count % round(self._robot.control_hz) < self._every
        if self._public:
            stamp = messages.to_time(cycle)
            self._joints.publish(messages.joint_state(self._robot, state, stamp))
            self._imu.publish(messages.imu(state, stamp))
            if each_second:
                self._battery.publish(messages.battery(state, stamp))
        if each_second:
            self._report(power)

    def take(self, timeout: float) -> Order | None:
        """Return the newest command, waiting at most ``timeout`` s for one."""
        message = self._orders.take(timeout)
        if message is None:
            return None
        try:
            cycle, command = self._command.unpack(message.data, message.layout.data_offset)
        except WireError as error:
            self.refused += 1
            self._node.report("joint_commands", ERROR, str(error), {"refused": self.refused})
            return None
        if cycle < self._answered:  # never go back
            self.refused += 1
            return None
        self._answered = cycle
        return Order(cycle, command)

    def apply(self, order: Order, now: float) -> None:
        """Hand a command to the driver. After a fault, commands without stiffness for a while clear it.

        Stiffness then only comes back by an operator who arms the robot, through a ramp from the joints as they are.
        A command counts as none when it answers a cycle longer than the command timeout ago, or one that is not of this
        node: it was late, or is meant for other drives. So does stiffness before the first command without it: drives
        that were just taken over never join a motion that goes on.
        """
        age = now - order.cycle
        self._released |= not order.command.kp.any()
        if not -_ROUNDING <= age <= self._robot.command_timeout or not self._released:
            self.refused += 1
            self._driver.cycle()
            return
        if self._driver.state is Lifecycle.FAULT:
            self._limp_since = None if order.command.kp.any() else self._limp_since or now
            if self._limp_since is not None and now - self._limp_since >= RELEASE:
                self._driver.clear_fault()
                self._driver.activate()
                self._limp_since = None
        else:
            self._limp_since = None
        self._driver.write_command(order.command)

    def _report(self, power: Power) -> None:
        fault = self._driver.fault
        values: dict[str, object] = {
            "life cycle": self._driver.state.value,
            "commands refused": self.refused,
            "power, W": f"{power.power:.1f}",
            "energy, J": f"{power.energy:.1f}",
        }
        if (count := self._node.count_publishers("joint_commands")) > 1:
            values["publishers of joint_commands"] = count
            self._node.report("commands", ERROR, "several nodes command this robot: is there a second safety_monitor?")
        else:  # one that was killed is counted for some seconds beside the one started in its place
            self._node.report("commands", OK, "at most one node commands this robot")
        if fault:
            self._node.report("drives", ERROR, fault, values)
        elif self._answered < 0:
            self._node.report("drives", WARN, "no command was ever received", values)
        else:
            self._node.report("drives", OK, "commanded", values)
