"""Keyboard and joystick to velocity commands and to the safety monitor's services."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Any

from geometry_msgs.msg import Twist, TwistStamped
from rclpy.client import Client
from rclpy.duration import Duration
from rclpy.task import Future
from sensor_msgs.msg import Joy
from std_msgs.msg import String
from std_srvs.srv import Trigger

from robolearn.deploy.modes import Mode, Request
from robolearn.deploy.teleop import AXES, HELP, Teleop, TeleopSettings, status_line
from robolearn.deploy.types import Array
from robolearn_ros import qos
from robolearn_ros.node import ERROR, OK, WARN, Parameter, RobotNode
from robolearn_ros.node import main as run
from robolearn_ros.terminal import Terminal, TerminalError, announce

COMMAND_HZ = 20.0
KEYS_HZ = 50.0
"""A key waits for at most 20 ms: it may be the emergency stop."""
ANSWER_TIME = 1.0
"""s after which an answer is no longer awaited."""
REPEAT_TIME = 0.2
"""s after which an emergency stop without an answer is sent again."""
FLUSH_TIME = 0.2
_BUTTONS = {
    Request.STOP: 0,
    Request.ESTOP: 1,
    Request.ARM: 2,
    Request.STAND: 3,
    Request.RESET: 6,
    Request.START_POLICY: 7,
}

PARAMETERS = (
    Parameter("cmd_vel_stamped", False, "publish TwistStamped instead of Twist"),
    Parameter("keyboard", True, "read keys from the terminal, where there is one"),
    Parameter("max_vx", 0.5, "largest velocity forward and back, m/s", 0.0, 5.0),
    Parameter("max_vy", 0.3, "largest velocity to the left and right, m/s", 0.0, 5.0),
    Parameter("max_wz", 0.8, "largest turning rate, rad/s", 0.0, 5.0),
    Parameter("acceleration", 1.0, "how fast vx and vy may change, m/s^2; stopping is not limited", 0.05, 20.0),
    Parameter("turn_acceleration", 2.0, "how fast wz may change, rad/s^2; stopping is not limited", 0.05, 20.0),
    Parameter("key_step", 0.1, "share of the largest velocity that a key press adds", 0.01, 1.0),
    Parameter(
        "key_timeout", 1.0, "s without a key until velocity is zero; 0: it stays until a key changes it", 0.0, 60.0
    ),
    Parameter("joy_timeout", 0.5, "s without a joystick message until velocity is zero", 0.05, 2.0),
    Parameter("dead_zone", 0.1, "share of an axis around its centre that means zero", 0.0, 0.9),
    Parameter("axis_vx", 1, "joystick axis for forward", 0, 63),
    Parameter("axis_vy", 0, "joystick axis for left", 0, 63),
    Parameter("axis_wz", 3, "joystick axis for turning left", 0, 63),
    Parameter("scale_vx", 1.0, "share of max_vx at full deflection; negative turns the axis round", -1.0, 1.0),
    Parameter("scale_vy", 1.0, "share of max_vy at full deflection; negative turns the axis round", -1.0, 1.0),
    Parameter("scale_wz", 1.0, "share of max_wz at full deflection; negative turns the axis round", -1.0, 1.0),
    Parameter("button_deadman", 4, "joystick button that must be held to move", 0, 63),
    *(
        Parameter(f"button_{request}", index, f"joystick button for {request}; -1: none", -1, 63)
        for request, index in _BUTTONS.items()
    ),
)


class TeleopNode(RobotNode):
    """One operator of one robot. Decides nothing: the safety monitor may refuse whatever is asked for."""

    def __init__(self, **options: Any) -> None:
        super().__init__("teleop_node", PARAMETERS, **options)
        self._terminal: Terminal | None = None
        self._commands: Any = None

    def setup(self) -> None:
        """Check the settings."""
        value = self.value
        self._settings = TeleopSettings(
            limit=(value("max_vx"), value("max_vy"), value("max_wz")),
            acceleration=(value("acceleration"), value("acceleration"), value("turn_acceleration")),
            key_step=value("key_step"),
            key_timeout=value("key_timeout"),
            joy_timeout=value("joy_timeout"),
            dead_zone=value("dead_zone"),
            axes=tuple(value(f"axis_{axis}") for axis in AXES),
            scales=tuple(value(f"scale_{axis}") for axis in AXES),
            deadman=value("button_deadman"),
            buttons={request: value(f"button_{request}") for request in _BUTTONS},
        )

    def start(self) -> None:
        """Listen to the operator."""
        self._teleop = Teleop(self._settings)
        self._mode: Mode | str = "unknown"
        self._answer = "no request yet"
        self._pending: dict[Request, tuple[Future, float]] = {}
        self._estop_wanted = False
        self._stamped = bool(self.value("cmd_vel_stamped"))
        self._commands = self.publisher(TwistStamped if self._stamped else Twist, "cmd_vel", qos.COMMAND)
        self._calls: dict[Request, Client] = {}
        for request in Request:
            client: Client[Any, Any] = self.create_client(Trigger, f"safety_monitor/{request}")
            self._calls[request] = client
            self.own(partial(self.destroy_client, client))
        self.listen(String, "safety_monitor/state", qos.LATCHED, self._hear_state)
        self.listen(Joy, "joy", qos.SENSOR, self._hear_joystick)
        # A person's hands are in real time, also where the robot lives in simulated time.
        for rate, callback in ((COMMAND_HZ, self._tick), (KEYS_HZ, self._read_keys)):
            timer = self.create_timer(1.0 / rate, callback, clock=self.steady_clock)
            self.own(partial(self.destroy_timer, timer))
        self._open_terminal()

    def stop(self) -> None:
        """Command zero velocity, then nothing; give the terminal back."""
        if self._terminal is not None:
            self._terminal.close()
            self._terminal = None
        if self._commands is not None:
            self._publish(Teleop(self._settings).velocity)
            self._commands.wait_for_all_acked(Duration(seconds=FLUSH_TIME))  # a publisher takes its message along
            self._commands = None

    def _open_terminal(self) -> None:
        if not self.value("keyboard"):
            return
        terminal = Terminal()
        try:
            terminal.open()
        except TerminalError as error:
            self.get_logger().warning(f"keyboard off: {error}; the joystick goes on")
            return
        self._terminal = terminal
        announce(HELP)

    def _read_keys(self) -> None:
        if self._terminal is None:
            return
        try:
            keys = self._terminal.read()
        except TerminalError as error:
            keys = ["lost"]  # as any unknown key: velocity zero
            self._terminal.close()
            self._terminal = None
            self.get_logger().warning(f"keyboard off: {error}; the joystick goes on")
        for key in keys:
            request = self._teleop.key(key, time.monotonic())
            if request is not None:
                self._ask(request)

    def _hear_joystick(self, message: Joy) -> None:
        for request in self._teleop.joy(message.axes, message.buttons, time.monotonic()):
            self._ask(request)

    def _hear_state(self, message: String) -> None:
        self._mode = message.data
        if message.data == Mode.ESTOP:
            self._estop_wanted = False

    def _tick(self) -> None:
        now = time.monotonic()
        velocity = self._teleop.tick(now)
        if velocity is not None:
            self._publish(velocity)
        self._watch_answers(now)
        joystick = "silent" if self._teleop.joy_silent else "there"
        level = WARN if self._teleop.ignored else OK
        self.report("joystick", level, joystick, {"messages ignored": self._teleop.ignored})
        if self._terminal is not None:
            width = self._terminal.width
            self._terminal.show(status_line(self._teleop.set_point, self._mode, joystick, self._answer, width))

    def _publish(self, velocity: Array) -> None:
        twist = Twist()
        twist.linear.x, twist.linear.y, twist.angular.z = velocity.tolist()
        if self._stamped:
            stamped = TwistStamped(twist=twist)
            stamped.header.stamp, stamped.header.frame_id = self.get_clock().now().to_msg(), "base_link"
            self._commands.publish(stamped)
        else:
            self._commands.publish(twist)

    def _ask(self, request: Request) -> None:
        """Call a service without waiting. An emergency stop is asked for until it is answered."""
        if request is Request.ESTOP:
            self._estop_wanted = True
        client = self._calls[request]
        if not client.service_is_ready():
            self._say(request, ERROR, "NOT SENT: no safety_monitor is there; use the robot's own stop")
            return
        future = client.call_async(Trigger.Request())
        self._pending[request] = future, time.monotonic()
        future.add_done_callback(partial(self._hear_answer, request))

    def _hear_answer(self, request: Request, future: Future) -> None:
        answer = future.result()
        if answer is None:
            return
        if request is Request.ESTOP and answer.success:
            self._estop_wanted = False
        self._say(request, OK, answer.message if answer.success else f"REFUSED: {answer.message}")
        if self._pending.get(request, (None, 0.0))[0] is future:
            del self._pending[request]

    def _watch_answers(self, now: float) -> None:
        for request, (future, since) in list(self._pending.items()):
            if now - since > (REPEAT_TIME if request is Request.ESTOP else ANSWER_TIME):
                self._calls[request].remove_pending_request(future)
                del self._pending[request]
                self._say(request, ERROR, "NO ANSWER from safety_monitor; use the robot's own stop")
        if self._estop_wanted and Request.ESTOP not in self._pending:
            self._ask(Request.ESTOP)

    def _say(self, request: Request, level: bytes, text: str) -> None:
        answer = f"{request}: {text}"
        if answer != self._answer and self._terminal is None:
            self.get_logger().info(answer)
        self._answer = answer
        self.report("safety_monitor", level, answer)


def main() -> int:
    """Run the node."""
    return run(TeleopNode)


if __name__ == "__main__":
    sys.exit(main())
