"""The controller: one state machine between operator, policy and drives, with the monitor and the limiter in its path.

Between two outputs of the policy its last target is held, not interpolated: as in training, where the drives hold a
target for a policy period. Call everything here from one thread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from robolearn.deploy.checks import Event, Reaction, Reason
from robolearn.deploy.inputs import Inputs, PolicyResult, PolicySetup
from robolearn.deploy.limiter import Limited, Limiter
from robolearn.deploy.modes import TRANSITIONS, Answer, Internal, Mode, Request, Trigger, allowed
from robolearn.deploy.monitor import Monitor, Verdict
from robolearn.deploy.ramps import CommandRamp, StandRamp, stiff
from robolearn.deploy.robot import RobotFile
from robolearn.deploy.types import Array, JointCommand, RobotState

_TRIPS = {
    Reaction.STAND: Internal.TRIP_STAND,
    Reaction.DAMPING: Internal.TRIP_DAMPING,
    Reaction.ESTOP: Internal.TRIP_ESTOP,
}


@dataclass(frozen=True, slots=True, eq=False)
class ControlOutput:
    """What a control tick gives.

    Attributes:
        command: to send to the drives, after all limits.
        wanted: what would have been sent without limits.
        mode: what the robot is doing with this command.
        armed: whether a request to stand would be heard.
        velocity_command: (C,) what the policy shall follow; zero outside of the policy.
        events: what the monitor noticed in this tick.
        stop_reason: why the robot was stopped last, or its policy, in words; empty when it never was.
    """

    command: JointCommand
    wanted: JointCommand
    mode: Mode
    armed: bool
    velocity_command: Array
    events: tuple[Event, ...]
    stop_reason: str


class Controller:
    """Controls one robot. Call ``step`` ``control_hz`` times a second; ask for things with ``request``.

    Attributes:
        mode: what the robot is doing.
        armed: whether a request to stand would be heard; only ever true in IDLE.
        monitor: judges every tick; has the counters for diagnostics.
        stop_reason: why the robot was stopped last, or its policy, in words.
    """

    def __init__(self, robot: RobotFile, policy: PolicySetup | None = None, latched: bool = False) -> None:
        """Start without torque, or in ESTOP.

        Args:
            robot: limits and checks.
            policy: what is known of the policy; without one the robot can only stand.
            latched: an emergency stop from before is still latched (``Latch.is_set``).

        Raises:
            ConfigError: the policy does not fit the robot.
        """
        if policy is not None:
            policy.check(robot)
        self._robot = robot
        self._policy = policy
        self.mode = Mode.ESTOP if latched else Mode.IDLE
        self.armed = False
        self.monitor = Monitor(robot, policy)
        self.stop_reason = "the emergency stop was latched before the start" if latched else ""
        self._limiter = Limiter(robot)
        command_range = np.zeros((0, 2)) if policy is None else policy.command_range
        self._command_ramp = CommandRamp(command_range, robot.command_ramp_time)
        self._sent = self._brake() if latched else self._limp()
        self._wanted = self._sent
        self._ramp: StandRamp | None = None
        self._blend_start = robot.default_pose
        self._blend_time = 0.0
        self._inputs: Inputs | None = None
        self._events: list[Event] = []
        self._last_step = -math.inf

    def step(self, state: RobotState | None, result: PolicyResult | None, inputs: Inputs, now: float) -> ControlOutput:
        """Run one control tick. Never raises: whatever goes wrong in here brakes the robot.

        Args:
            state: the robot's reading; None when nothing new arrived.
            result: the policy's output; None when there is no new one.
            inputs: everything else.
            now: s, monotonic.
        """
        try:
            with np.errstate(all="ignore"):  # readings may be finite and absurd; comparisons are written for that
                self._step(state, result, inputs, now)
        except Exception as error:  # the drives need a command, whatever happened
            self._fail(error, inputs, now)
        self._last_step = now
        events, self._events = tuple(self._events), []
        return ControlOutput(
            command=self._sent,
            wanted=self._wanted,
            mode=self.mode,
            armed=self.armed,
            velocity_command=self._command_ramp.value,
            events=events,
            stop_reason=self.stop_reason,
        )

    def request(self, request: Request, now: float) -> Answer:
        """Ask for a change; answered at once, visible in the command of the next step.

        Stops are always accepted. Everything else needs a running control loop.
        """
        try:
            request = Request(request)
        except ValueError:
            return Answer(False, f"unknown request {request!r}; possible in {self.mode}: {allowed(self.mode)}")
        target = TRANSITIONS[self.mode].get(request)
        if target is None:
            return Answer(False, f"{request} is not possible in {self.mode}; possible: {allowed(self.mode)}")
        if request in (Request.STOP, Request.ESTOP):
            if target is not self.mode:
                self.stop_reason = f"operator: {request}"
            if request is Request.ESTOP:
                self._events.append(
                    Event(Reason.ESTOP, Reaction.ESTOP, math.nan, math.nan, "emergency stop requested", now)
                )
            self._enter(target)
            return Answer(True, f"now {target}")
        if refusal := self._refusal(request, now):
            return Answer(False, f"{request} refused: {refusal}")
        if request is Request.ARM:
            self.armed = True
            return Answer(True, "armed")
        if self.mode is Mode.POLICY:
            self.stop_reason = f"operator: {request}"
        self._enter(target)
        return Answer(True, f"now {target}")

    def _refusal(self, request: Request, now: float) -> str:
        """Return why a request that the table knows is refused; empty when nothing is against it."""
        inputs, state = self._inputs, self.monitor.readings.state
        if inputs is None or not 0.0 <= now - self._last_step <= self._robot.command_timeout:
            return "the control loop is not running"
        if request is Request.STAND and self.mode is Mode.POLICY:
            return ""  # less motion is always possible
        if state is None:
            return "no valid state of the robot was ever received"
        if active := self.monitor.active():
            return f"not clear: {', '.join(active)}"
        if request is Request.RESET:
            fastest = float(np.abs(state.velocity).max())
            slow = fastest <= self._robot.reset_velocity
            return "" if slow else f"joints still move ({fastest:.2g} rad/s, limit {self._robot.reset_velocity:g})"
        if weak := self.monitor.warm_or_empty():
            return f"too warm or too empty to start, or not reported: {', '.join(weak)}"
        if request is Request.STAND and not self.armed:
            return "not armed"
        if request is Request.START_POLICY:
            heartbeat = self._robot.safety.heartbeat_policy
            if self._policy is None:
                return "no policy is loaded"
            if heartbeat.mode == "trip" and not inputs.policy_age <= heartbeat.limit:
                return f"the policy's heartbeat is {inputs.policy_age:.3g} s old (limit {heartbeat.limit:g})"
        return ""

    def _step(self, state: RobotState | None, result: PolicyResult | None, inputs: Inputs, now: float) -> None:
        self._inputs = inputs
        verdict = self.monitor.check(state, result, inputs, self.mode, self._sent, now)
        self._events += verdict.events
        self._react(verdict.reaction, verdict.events)
        self._want(verdict)
        command, limited = self._limit()
        reaction, events = self.monitor.check_limits(limited, self.mode)
        self._events += events
        if reaction >= Reaction.STAND:
            self._react(reaction, events)
            self._want(verdict)
            command, _ = self._limit()
        self._sent = command

    def _limit(self) -> tuple[JointCommand, Limited]:
        return self._limiter.limit(self._wanted, self.monitor.readings.state, self.monitor.clock.dt)

    def _react(self, reaction: Reaction, events: list[Event]) -> None:
        """Turn a reaction into a transition. Limp and unarmed there is nothing to brake: only ESTOP counts."""
        if self.mode is Mode.IDLE and not self.armed and reaction < Reaction.ESTOP:
            return
        if reaction < Reaction.STAND:
            return
        self._trigger(_TRIPS[reaction], next((event.message for event in events if event.reaction is reaction), ""))

    def _trigger(self, trigger: Trigger, why: str = "") -> None:
        target = TRANSITIONS[self.mode].get(trigger)
        if target is None or target is self.mode:
            return
        if why:
            self.stop_reason = why
        self._enter(target)

    def _enter(self, mode: Mode) -> None:
        if mode is Mode.STAND:
            self._ramp = self._stand_from_policy() if self.mode is Mode.POLICY else None
        if mode is Mode.POLICY:
            self._blend_start = self._sent.position
            self._blend_time = 0.0
        if mode is not self.mode:
            self._command_ramp.reset()
        self.armed = False
        self.mode = mode

    def _want(self, verdict: Verdict) -> None:
        """Set what the mode asks for in this tick, before limits."""
        robot, dt = self._robot, self.monitor.clock.dt
        if self.mode is Mode.STAND:
            if self._ramp is None:
                self._ramp = self._stand_from_limp()
            self._wanted = self._ramp.step(dt)
            if self._ramp.done:
                self._trigger(Internal.RAMP_DONE)
        elif self.mode is Mode.READY:
            self._wanted = stiff(robot.default_pose, robot.stand_kp, robot.stand_kd)
        elif self.mode is Mode.POLICY and self._policy is not None:
            self._follow(verdict, self._policy, dt)
        elif self.mode is Mode.IDLE:
            self._wanted = self._limp()
        else:
            self._wanted = self._brake()

    def _stand_from_policy(self) -> StandRamp:
        """Start at the policy's last command, which holds the robot up."""
        return StandRamp(self._robot, self._sent.position, self._wanted.kp, self._wanted.kd)

    def _stand_from_limp(self) -> StandRamp:
        """Start at the measured joints, limp: also when no tick lies between a stop and the way back."""
        start = self._measured()
        self._limiter.restart(start)
        zero = np.zeros(len(start))
        return StandRamp(self._robot, self._limiter.position, zero, zero)

    def _follow(self, verdict: Verdict, policy: PolicySetup, dt: float) -> None:
        if verdict.command_lost:
            self._command_ramp.fade(dt)
        elif verdict.command is not None:
            self._command_ramp.follow(verdict.command)
        robot = self._robot
        if verdict.target is None:  # the policy has not answered yet
            self._wanted = stiff(self._blend_start, robot.stand_kp, robot.stand_kd)
            return
        self._blend_time += dt
        share = min(self._blend_time / robot.blend_time, 1.0)
        self._wanted = stiff(
            self._blend_start + share * (verdict.target - self._blend_start),
            robot.stand_kp + share * (policy.kp - robot.stand_kp),
            robot.stand_kd + share * (policy.kd - robot.stand_kd),
        )

    def _fail(self, error: Exception, inputs: Inputs, now: float) -> None:
        message = f"internal error: {type(error).__name__}: {error}"
        pressed = getattr(inputs, "estop", False) is True  # nobody may have judged it yet; inputs may be anything
        reaction = Reaction.ESTOP if pressed else Reaction.DAMPING
        self._events.append(Event(Reason.PROCESS_FAULT, reaction, math.nan, math.nan, message, now))
        self._trigger(_TRIPS[reaction], message)
        self._wanted = self._sent = self._brake()

    def _measured(self) -> Array:
        """Return the joints (J,) in rad inside the soft range; the default pose when nothing was ever measured."""
        state, robot = self.monitor.readings.state, self._robot
        return robot.default_pose if state is None else np.clip(state.position, robot.soft_low, robot.soft_high)

    def _limp(self) -> JointCommand:
        zero = np.zeros(len(self._robot.joints))
        return stiff(self._measured(), zero, zero.copy())

    def _brake(self) -> JointCommand:
        """Return the damping command. With ``kp`` 0 its position means nothing; it is where the joints are."""
        return stiff(self._measured(), np.zeros(len(self._robot.joints)), np.array(self._robot.damping_kd))
