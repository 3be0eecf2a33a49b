"""The controller and its safety monitor as a node: between policy and drives, and the only one who asks for motion.

One thread runs the control loop, woken by the drives' readings. The executor's thread only fills mailboxes.
"""

from __future__ import annotations

import json
import math
import queue
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import Twist, TwistStamped
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.subscription import MessageInfo
from std_msgs.msg import Bool, Float64MultiArray, Header, String
from std_srvs.srv import Trigger

from robolearn.config import ConfigError
from robolearn.deploy.checks import Event, Reaction
from robolearn.deploy.contract import PolicyContract, read_contract
from robolearn.deploy.estop import Buttons
from robolearn.deploy.inputs import AnyFloat, Inputs, PolicySetup
from robolearn.deploy.latch import Latch
from robolearn.deploy.modes import Answer, Mode, Request
from robolearn.deploy.robot import load_robot_file
from robolearn.deploy.runner import ControlLoop, Tick
from robolearn.deploy.types import JointCommand
from robolearn.deploy.wire import CommandPacket, Cycle, PolicyPackets, StatePacket, TickPacket, WireError
from robolearn_ros import messages, qos
from robolearn_ros.node import ERROR, OK, WARN, Parameter, RobotNode
from robolearn_ros.node import main as run
from robolearn_ros.remote import LastHeard, RemoteDrive, RemotePolicy

PARAMETERS = (
    Parameter("policy", "", "path of the policy file (.onnx); empty: the robot can only stand"),
    Parameter("latch_file", "", "remembers an emergency stop over a restart; empty: in ~/.ros, by name of the node"),
    Parameter("cmd_vel_stamped", False, "cmd_vel is a TwistStamped"),
)
COMMANDS = {"vx": ("linear", "x"), "vy": ("linear", "y"), "yaw_rate": ("angular", "z")}
"""Where the policy's commands are in a Twist."""
UNITS = {"linear": "m/s", "angular": "rad/s"}
PATIENCE = 1.5
"""s of wall time to wait for the policy in simulated time: the world stands still meanwhile, for 2 s by default.

On a computer with twice as many busy processes as cores, answers were measured to take up to 0.33 s."""
SILENCE = 2.0
"""s of wall time without a cycle of the simulation after which the controller runs on without it."""
ANSWER_LIMIT = 5.0
"""s of wall time that an operator's request waits for its tick."""
FINAL_COMMANDS = 5
LATCH_RETRY = 1.0
"""s of wall time between two tries to write the latch file."""
ESTOP = "estop"
"""Topic of the operator's button."""
DRIVE_FAULT = "the drives' driver is in fault and damps"


class Asked:
    """A request of the operator that the control thread shall answer."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.answer = Answer(False, "the safety monitor failed to answer; see its log")
        self.answered = threading.Event()
        self._taken = threading.Lock()

    def take(self) -> bool:
        """Decide its fate: True for the first who asks, who carries it out or withdraws it."""
        return self._taken.acquire(blocking=False)


class SafetyMonitorNode(RobotNode):
    """Runs ``ControlLoop`` against drives and a policy in other processes."""

    def __init__(self, **options: Any) -> None:
        super().__init__("safety_monitor", PARAMETERS, **options)
        self._thread: threading.Thread | None = None
        self._undo: list[Callable[[], object]] = []  # of what ``setup`` made
        self._stopped = False  # by an emergency stop, when it was active last

    def setup(self) -> None:
        """Load robot file, contract and latch."""
        self._robot = robot = load_robot_file(self.value("robot"))
        self._simulated = bool(self.value("use_sim_time"))
        self._contract: PolicyContract | None = None
        if self.value("policy"):
            self._contract, sha256 = read_contract(self.value("policy"))
            self._setup = PolicySetup.from_contract(self._contract, robot)
            self._policy_packets = PolicyPackets(robot, self._contract, sha256)
            for entry in self._contract.command:
                if entry.name not in COMMANDS:
                    raise ConfigError(f"policy command {entry.name!r}: cmd_vel has only {', '.join(COMMANDS)}")
                if entry.unit != (unit := UNITS[COMMANDS[entry.name][0]]):
                    raise ConfigError(f"policy command {entry.name!r}: is in {entry.unit!r}, cmd_vel in {unit!r}")
        self._latch = Latch(self._latch_path())
        self._buttons, self._deaf = Buttons(), ""
        # A stop counts also while the node is not active: then it is remembered, and the next start is latched.
        self.teardown()  # what an attempt that failed has left
        events = SubscriptionEventCallbacks(incompatible_qos=self._on_deaf)
        button = self.create_subscription(Bool, ESTOP, self._on_button, qos.BUTTON, event_callbacks=events)
        self._undo.append(lambda: self.destroy_subscription(button))
        service = self.create_service(Trigger, f"~/{Request.ESTOP}", partial(self._serve, Request.ESTOP))
        self._undo.append(lambda: self.destroy_service(service))
        timer = self.create_timer(LATCH_RETRY, self._latch_again, clock=self.steady_clock)
        self._undo.append(lambda: self.destroy_timer(timer))
        self._cycles, self._commands = StatePacket(robot), CommandPacket(robot)
        self._ticks = TickPacket(robot, self._command_count)

    @property
    def _command_count(self) -> int:
        return 0 if self._contract is None else len(self._contract.command)

    def _latch_path(self) -> Path:
        if self.value("latch_file"):
            return Path(self.value("latch_file")).expanduser()
        folder = Path.home() / ".ros"
        folder.mkdir(exist_ok=True)
        name = f"{self.get_fully_qualified_name().strip('/').replace('/', '.')}.{self._robot.name}"
        # A reset in simulation must not release a stop of the real robot.
        return folder / f"{name}{'.sim' if self._simulated else ''}.latch"

    def start(self) -> None:
        """Run the control loop. It starts without torque, or latched."""
        robot, sensor, command = self._robot, qos.SENSOR, qos.COMMAND
        self._inbox = self.inbox(Float64MultiArray, "robot_state", sensor)
        self._asked: queue.SimpleQueue[Asked] = queue.SimpleQueue()
        self._now = 0.0 if self._simulated else time.monotonic()
        self._command: AnyFloat = np.zeros(self._command_count)
        self._cmd_vel, self._policy_beat, self._drive_heard = LastHeard(), LastHeard(), LastHeard()
        self._fault = self._drive_fault = ""
        self._pressed = False
        self._refused = 0
        self._try_again = 0.0  # wall time at which the latch file is tried again; 0: all is well
        self._periods: list[float] = []

        self._drive = RemoteDrive(self._commands, self.publisher(Float64MultiArray, "joint_commands", command))
        self._policy: RemotePolicy | None = None
        if self._contract is not None:
            requests = self.publisher(Float64MultiArray, "policy_input", command)
            patience = PATIENCE if self._simulated else 0.5 * robot.control_dt
            answers = self.inbox(Float64MultiArray, "policy_output", command)
            self._policy = RemotePolicy(self._setup, self._policy_packets, requests, answers, patience)
            self.listen(Header, "policy_node/heartbeat", qos.HEARTBEAT, lambda _: self._policy_beat.hear(self._now))
        self._loop = ControlLoop(self._drive, robot, self._policy, self._stopped or self._latch.is_set())
        self._mode: Mode | None = None
        self._cycle_time = math.nan

        self._wanted = self.publisher(Float64MultiArray, "joint_commands_wanted", sensor)
        self._tick_log = self.publisher(Float64MultiArray, "~/tick", sensor)
        self._events = self.publisher(String, "~/events", qos.EVENTS)
        self._state = self.publisher(String, "~/state", qos.LATCHED)
        self._estop_active = self.publisher(Bool, "~/estop_active", qos.LATCHED)
        stamped = self.value("cmd_vel_stamped")
        self.listen(TwistStamped if stamped else Twist, "cmd_vel", command, self._on_twist)
        for request in set(Request) - {Request.ESTOP}:
            service = self.create_service(Trigger, f"~/{request}", partial(self._serve, request))
            self.own(partial(self.destroy_service, service))
        timer = self.create_timer(1.0, self._report, clock=self.steady_clock)
        self.own(lambda: self.destroy_timer(timer))

        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the control loop; the last commands brake every joint."""
        if self._thread is None:
            return
        self._ended.set()
        self._thread.join()
        self._thread = None
        for _ in range(FINAL_COMMANDS):
            self._drive.write_command(JointCommand.damping(self._robot.damping_kd))
        try:
            self._answer_requests(math.nextafter(self._now, math.inf))  # what was asked after the last tick
            if self._pressed or self._buttons.read():
                self._loop.controller.request(Request.ESTOP, self._now)
        finally:
            self._stopped = self._loop.controller.mode is Mode.ESTOP  # also where no disk remembers it
            self._remember_stop(at_once=True)
        if not self._drive.deliver():
            self.get_logger().warning("the last command, damping, was not confirmed by every node that listens")

    def teardown(self) -> None:
        """Hear no more of the emergency stop."""
        while self._undo:
            self._undo.pop()()

    # In the executor's thread.

    def _on_deaf(self, info: Any) -> None:
        """A button that cannot be heard: nothing may move until it is put right."""
        self._incompatible(ESTOP, info)
        self._deaf = "a publisher of 'estop' cannot be heard: it must be reliable and transient local"

    def _on_button(self, message: Bool, info: MessageInfo) -> None:
        gid = info.get("publisher_gid") or {"data": b""}  # older rclpy does not tell who it was: one button for all
        sender = bytes(gid["data"])
        if not message.data:
            publishers = self.get_publishers_info_by_topic(self.resolve_topic_name(ESTOP))
            self._buttons.release(sender, {bytes(each.endpoint_gid) for each in publishers})
            return
        self._buttons.press(sender)
        if self._thread is None:
            self._latch_now("the emergency stop was pressed while the safety monitor was not active")

    def _latch_now(self, reason: str) -> str:
        """Latch without a control loop, for its next start; return what went wrong, or nothing."""
        self._stopped = True
        problem = self._latch.follow(Mode.ESTOP, reason)
        if problem:
            self.get_logger().error(problem)
        return problem

    def _latch_again(self) -> None:
        """Write what could not be written, also while no control loop runs."""
        if self._stopped and self._thread is None:
            self._latch_now("an emergency stop; when it was pressed, this could not be written")

    def _on_twist(self, message: Twist | TwistStamped) -> None:
        twist = message.twist if isinstance(message, TwistStamped) else message
        if self._contract is not None:
            places = [COMMANDS[entry.name] for entry in self._contract.command]
            self._command = np.array([getattr(getattr(twist, part), axis) for part, axis in places])
        self._cmd_vel.hear(self._now)

    def _serve(self, request: Request, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._thread is None:  # not active: only an emergency stop is served
            problem = self._latch_now("an emergency stop was asked for while the safety monitor was not active")
            response.success = not problem
            response.message = problem or "latched: the safety monitor is not active, nothing is driven"
            return response
        asked = Asked(request)
        self._asked.put(asked)
        stop = request in (Request.STOP, Request.ESTOP)
        if asked.answered.wait(ANSWER_LIMIT) or not (stop or asked.take()):
            asked.answered.wait(ANSWER_LIMIT)  # the control thread was faster by a moment
            response.success, response.message = asked.answer.accepted, asked.answer.reason
        else:  # a stop still counts whenever it is heard; nothing else may happen after its refusal
            response.success, response.message = False, "the control loop does not answer: use the robot's own stop"
        return response

    # In the control thread.

    def _run(self) -> None:
        self._arrived = time.monotonic()
        while not self._ended.is_set():
            try:
                self._turn()
            except Exception as error:  # nothing may end this loop; the fault stays until the node is started again
                self._fault = f"internal error of the safety monitor: {type(error).__name__}: {error}"
                self.get_logger().error(self._fault)
                self._drive.write_command(JointCommand.damping(self._robot.damping_kd))

    def _turn(self) -> None:
        """Wait for a cycle of the drives and answer it; without one, tick when it is too late."""
        patience = SILENCE if self._simulated else 1.5 * self._robot.control_dt
        cycle = self._next_cycle(min(patience, 0.1))
        begin = time.monotonic()
        if cycle is not None:
            self._drive_heard.hear(self._now)
            if self._simulated and cycle.time == self._cycle_time:
                self._drive.repeat()  # our answer was lost, or not needed: time stands still until it arrives
                self._answer_requests(math.nextafter(self._now, math.inf))  # its tick is over
                self._remember_stop()
                return
            self._cycle_time = cycle.time
        elif begin - self._arrived < patience or (self._simulated and math.isnan(self._cycle_time)):
            self._answer_requests(math.nextafter(self._now, math.inf))
            self._remember_stop()  # a request may have been accepted, and no tick follows it
            return
        if not self._simulated:
            self._now = begin
        elif cycle is not None:
            self._now = cycle.time
        else:
            self._now += begin - self._arrived
        self._periods.append(begin - self._arrived)
        self._arrived = begin
        self._drive.cycle = cycle
        self._answer_requests(self._now)
        self._step(begin)

    def _next_cycle(self, timeout: float) -> Cycle | None:
        message = self._inbox.take(timeout)
        if message is None:
            return None
        now = math.nan if self._simulated else time.monotonic()
        try:
            cycle = self._cycles.unpack(message.data, message.layout.data_offset, now)
            if cycle.fault:
                self._drive_fault = f"{DRIVE_FAULT} ({messages.note_of(message) or 'its diagnostics say why'})"
            return cycle
        except WireError as error:
            self._refused += 1
            self.report("topic robot_state", ERROR, str(error), {"refused": self._refused})
            return None

    def _policy_age(self, now: float) -> float:
        if self._policy is None:
            return math.inf
        return min(self._policy_beat.age(now), self._policy.heard.age(now))

    def _answer_requests(self, now: float) -> None:
        while not self._asked.empty():
            asked = self._asked.get()
            if not asked.take():  # withdrawn: the operator was told that it is refused
                continue
            try:
                asked.answer = answer = self._loop.controller.request(asked.request, now)
            finally:
                asked.answered.set()  # whoever asked must not wait for ever
            self._publish_event(
                {"request": asked.request, "accepted": answer.accepted, "message": answer.reason, "time": now}
            )

    def _step(self, begin: float) -> None:
        now, cycle = self._now, self._drive.cycle
        self._pressed = self._buttons.read() or self._pressed  # until a tick has judged it
        inputs = Inputs(
            estop=self._pressed,
            command=self._command,
            command_age=self._cmd_vel.age(now),
            policy_age=self._policy_age(now),
            monitor_age=0.0,
            hardware_age=self._drive_heard.age(now),
            fault=self._deaf or self._fault or (self._drive_fault if cycle is not None and cycle.fault else ""),
        )
        tick = self._loop.tick(inputs, now)
        self._pressed = False
        wanted = self._commands.pack(math.nan if cycle is None else cycle.time, tick.output.wanted)
        self._wanted.publish(messages.multi_array(self._commands.packet, wanted))
        answer_number = -1 if self._policy is None or tick.result is None else self._policy.used
        log = self._ticks.pack(
            now, begin, math.nan if cycle is None else cycle.time, answer_number, inputs, tick.output
        )
        self._tick_log.publish(messages.multi_array(self._ticks.packet, log))
        self._announce(tick)

    def _announce(self, tick: Tick) -> None:
        """Publish what changed; remember an emergency stop."""
        output = tick.output
        for event in output.events:
            self._publish_event(_as_dict(event, output.mode))
        self._remember_stop(at_once=output.mode is not self._mode)
        if output.mode is self._mode:
            return
        before, self._mode = self._mode, output.mode
        self._state.publish(String(data=output.mode))
        self._estop_active.publish(Bool(data=output.mode is Mode.ESTOP))
        stopped = output.mode in (Mode.DAMPING, Mode.ESTOP) or before is Mode.POLICY
        reason = output.stop_reason if stopped else ""
        self._publish_event({"mode": output.mode, "from": before, "message": reason, "time": self._now})
        self.get_logger().info(f"{before or 'start'} -> {output.mode}{': ' if reason else ''}{reason}")

    def _remember_stop(self, at_once: bool = False) -> None:
        """Let the latch file follow the mode; where that failed, try again after a while or ``at_once``."""
        if not at_once and time.monotonic() < self._try_again:
            return
        controller = self._loop.controller
        if problem := self._latch.follow(controller.mode, controller.stop_reason):
            self._try_again = time.monotonic() + LATCH_RETRY
            self.get_logger().error(problem)
            self.report("latch", ERROR, problem)
        elif self._try_again:
            self._try_again = 0.0
            self.report("latch", OK, "written")

    def _publish_event(self, event: dict[str, object]) -> None:
        self._events.publish(String(data=json.dumps(event)))

    # Diagnostics.

    def _report(self) -> None:
        controller = self._loop.controller
        periods, self._periods = self._periods, []
        counters = {name: count for name, count in controller.monitor.counters().items() if count}
        stopped = controller.mode in (Mode.DAMPING, Mode.ESTOP)
        self.report(
            "controller", WARN if stopped else OK, controller.stop_reason if stopped else controller.mode, counters
        )
        if periods:
            values = {
                "ticks per s": len(periods),
                "longest period, ms": f"{1e3 * max(periods):.2f}",
                "readings overwritten": self._inbox.skipped,
                "late answers of the policy": 0 if self._policy is None else self._policy.late_answers,
            }
            self.report("control loop", OK, "running", values)
        if self._policy is not None and self._policy.refused:
            self.report("topic policy_output", ERROR, self._policy.refused)
        if self._drive_heard.age(self._now) > SILENCE:
            topic = self.resolve_topic_name("robot_state")
            self.report("drives", ERROR, f"nothing is heard on {topic}: does hardware_node or sim_node run there?")
        else:
            self.report("drives", OK, "heard")


def _as_dict(event: Event, mode: Mode) -> dict[str, object]:
    number = {name: None if math.isnan(getattr(event, name)) else getattr(event, name) for name in ("value", "limit")}
    return {
        "reason": event.reason,
        "reaction": Reaction(event.reaction).name.lower(),
        **number,
        "message": event.message,
        "mode": mode,
        "time": event.time,
    }


def main() -> int:
    """Run the node."""
    return run(SafetyMonitorNode)


if __name__ == "__main__":
    sys.exit(main())
