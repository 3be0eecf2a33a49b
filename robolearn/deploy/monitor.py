"""The safety monitor: judges every control tick by the robot file's checks. Pure: no clock, no files, no messages.

The worst reaction of a tick wins. What each check looks at is in ``checks.CHECKS`` and in docs/safety.md.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from robolearn.deploy.checks import CHECKS, DRIVEN_ONLY, POLICY_ONLY, Check, Event, Reaction, Reason, build
from robolearn.deploy.inputs import AnyFloat, Inputs, PolicyResult, PolicySetup
from robolearn.deploy.limiter import Limited
from robolearn.deploy.modes import DRIVEN, Mode
from robolearn.deploy.readings import Clock, Readings, invalid
from robolearn.deploy.robot import RobotFile
from robolearn.deploy.types import Array, JointCommand, RobotState

_MIN_WIDTH = 1e-3
"""Smallest range and spread of an observation that is compared with; a constant would make any rounding an alarm."""
_OLD = 2.0
"""Policy periods after which an output is too old to be used."""
_AT_CLIP = 1.0 - 1e-6
_LIMITS = (Reason.SOFT_RANGE, Reason.RATE_LIMIT, Reason.PREDICTED_TORQUE)  # in the order of ``Limited``


class Verdict(NamedTuple):
    """What the monitor thinks of a tick.

    Attributes:
        reaction: the worst one.
        events: what began in this tick.
        target: (J,) rad, the policy's last good target since it was started; None when there is none.
        command: (C,) the velocity command of this tick; None when it is invalid and the one before shall hold.
        command_lost: the velocity command shall go to zero.
    """

    reaction: Reaction
    events: list[Event]
    target: Array | None
    command: AnyFloat | None
    command_lost: bool


class Monitor:
    """Judges one robot. Call ``check`` once in every control tick, then ``check_limits`` with what the limiter did.

    Attributes:
        clock: the monitor's time.
        readings: the robot's readings, with the last good one.
    """

    def __init__(self, robot: RobotFile, policy: PolicySetup | None = None) -> None:
        """Prepare the checks of ``robot``; without a policy nothing is judged about one."""
        self._robot = robot
        self._policy = policy
        self._checks = build(robot.safety)
        self._estop = False
        self._estop_count = 0
        self._events: list[Event] = []
        self._now = 0.0
        self._mode = Mode.IDLE
        self.clock = Clock(robot.control_dt)
        self.readings = Readings(len(robot.joints), robot.control_dt)
        self._start_policy()

    def _start_policy(self) -> None:
        self._target: Array | None = None
        self._first = True
        self._since = self._now
        self._result_stamp = -math.inf
        self._result_time = self.clock.time
        late = self._robot.safety.policy_deadline.limit
        self._due = self.clock.time + (1.0 + late) * self._robot.policy_dt
        self._late = False  # the output that is awaited was counted as missed
        self._command_age = math.inf

    def check(
        self,
        state: RobotState | None,
        result: PolicyResult | None,
        inputs: Inputs,
        mode: Mode,
        sent: JointCommand,
        now: float,
    ) -> Verdict:
        """Judge a control tick.

        Args:
            state: the robot's reading; None when nothing new arrived; an old one may be given again.
            result: the policy's output; None when there is none; an old one may be given again.
            inputs: everything else.
            mode: what the robot is doing.
            sent: the command of the tick before.
            now: s, the caller's clock.
        """
        self._events = []
        self._now = now
        self.clock.tick(now)
        self.readings.take(state, now, self.clock.time, self._robot.safety.imu_not_unit.limit)
        self._change_mode(mode)
        self._judge_time()
        self._judge_readings()
        self._judge_process(inputs)
        if self.readings.state is not None:
            self._judge_body(self.readings.state)
            self._judge_joints(self.readings.state, sent)
        command = None
        if mode is Mode.POLICY and self._policy is not None:
            command = self._judge_command(inputs, self._policy)
            self._judge_deadline()
            if result is not None:
                self._judge_result(result, self._policy, sent)
        lost = self._checks[Reason.COMMAND_LOST].level >= Reaction.RAMP_DOWN
        return Verdict(self._worst(), self._events, self._target, command, lost)

    def check_limits(self, limited: Limited, mode: Mode) -> tuple[Reaction, list[Event]]:
        """Count what the limiter did to the command of this tick; return the worst reaction to that and its events."""
        self._events = []
        worst = Reaction.NONE
        if mode in DRIVEN:
            for reason, changed in zip(_LIMITS, limited, strict=True):
                self._occur(reason, changed)
                worst = max(worst, self._checks[reason].level)
        return worst, self._events

    def active(self) -> list[Reason]:
        """Return the checks that ask for more than a warning now, but those on the policy."""
        found = [r for r, check in self._checks.items() if check.level >= Reaction.STAND and r not in POLICY_ONLY]
        return [*found, Reason.ESTOP] if self._estop else found

    def warm_or_empty(self) -> list[Reason]:
        """Return temperature and battery when they warn: the robot shall go on, but not start."""
        checks = (self._checks[Reason.TEMPERATURE], self._checks[Reason.BATTERY])
        return [check.reason for check in checks if check.level is Reaction.WARN and check.entry.mode == "trip"]

    def counters(self) -> dict[str, int]:
        """Return how often each check has found something, by reason."""
        counts = {reason.value: check.count for reason, check in self._checks.items()}
        return counts | {Reason.ESTOP.value: self._estop_count}

    def _worst(self) -> Reaction:
        worst = max(check.level for check in self._checks.values())
        return Reaction.ESTOP if self._estop else worst

    def _change_mode(self, mode: Mode) -> None:
        if mode is self._mode:
            return
        self._mode = mode
        for reason in POLICY_ONLY + (() if mode in DRIVEN else DRIVEN_ONLY):
            self._checks[reason].clear()
        if mode is Mode.POLICY:
            self._start_policy()

    def _judge_time(self) -> None:
        entry, period = self._robot.safety.time_backwards, self._robot.policy_dt
        refused = self.readings.unaccepted(self.clock.time) if self.readings.backwards else 0.0
        age = max(self.clock.unsteady, refused)
        self._judge(Reason.TIME_BACKWARDS, age > entry.trip * period, age, entry.trip * period, warn=age > 0.0)
        limit = self._robot.safety.loop_stalled.limit
        self._judge(Reason.LOOP_STALLED, self.clock.gap > limit, self.clock.gap, limit)

    def _judge_readings(self) -> None:
        readings, time, safety = self.readings, self.clock.time, self._robot.safety
        if readings.arrived:
            self._occur(Reason.STATE_INVALID, bool(readings.problem), where=readings.problem)
        joint_age, joint = readings.joint_frozen(time)
        for reason, entry, age, where in (
            (Reason.STATE_STALE, safety.state_stale, readings.age(time), ""),
            (Reason.STATE_FROZEN, safety.state_frozen, readings.unaccepted(time) if readings.frozen else 0.0, ""),
            (Reason.IMU_FROZEN, safety.imu_frozen, readings.imu_frozen(time), ""),
            (Reason.JOINT_FROZEN, safety.joint_frozen, joint_age, self._robot.joints[joint]),
            (Reason.IMU_NOT_UNIT, safety.imu_not_unit, readings.not_unit(time), ""),
        ):
            warn, trip = entry.warn * self._robot.policy_dt, entry.trip * self._robot.policy_dt
            self._judge(reason, age > trip, age, trip if age > trip else warn, where=where, warn=age > warn)
        if readings.unaccepted(time) == 0.0:  # a new one
            self._occur(Reason.IMU_DISAGREES, readings.disagreement > safety.imu_disagrees.limit)

    def _judge_process(self, inputs: Inputs) -> None:
        safety = self._robot.safety
        if inputs.estop and not self._estop:
            self._estop_count += 1
            self._events.append(
                Event(Reason.ESTOP, Reaction.ESTOP, math.nan, math.nan, "emergency stop pressed", self._now)
            )
        self._estop = bool(inputs.estop)
        for reason, age, limit in (
            (Reason.HEARTBEAT_MONITOR, inputs.monitor_age, safety.heartbeat_monitor.limit),
            (Reason.HEARTBEAT_HARDWARE, inputs.hardware_age, safety.heartbeat_hardware.limit),
        ):
            self._judge(reason, not age <= limit, age, limit)
        fault = bool(inputs.fault)
        self._judge(Reason.PROCESS_FAULT, fault, math.nan, math.nan, where=inputs.fault)

    def _judge_body(self, state: RobotState) -> None:
        safety, norm = self._robot.safety, self.readings.norm
        if self._policy is None or not self._policy.may_fall:
            if abs(norm - 1.0) <= safety.imu_not_unit.limit or safety.imu_not_unit.mode == "off":
                _, x, y, _ = state.orientation.tolist()
                up = 1.0 - 2.0 * (x * x + y * y) / (norm * norm) if norm > 0.0 else -1.0
                angle = math.acos(min(max(up, -1.0), 1.0))
                self._judge(Reason.TILT, angle > safety.tilt.limit, angle, safety.tilt.limit)
                self._judge(Reason.FALL, angle > safety.fall.limit, angle, safety.fall.limit)
            rate = math.hypot(*state.angular_velocity.tolist())
            self._judge(Reason.ANGULAR_RATE, rate > safety.angular_rate.limit, rate, safety.angular_rate.limit)
        self._judge_supply(state)

    def _judge_supply(self, state: RobotState) -> None:
        """Judge motors' heat and battery. What is not reported, or cannot be true, warns: the robot shall not start."""
        hot, empty = self._robot.safety.temperature, self._robot.safety.battery
        unknown = np.isnan(state.temperature)
        hottest = float(np.fmax.reduce(state.temperature)) if state.temperature.size else math.nan
        silent = "not reported" if math.isnan(hottest) else ""
        if unknown.any() and not silent:  # one sensor that fails must not hide the others
            silent = f"not reported by {self._robot.joints[int(unknown.argmax())]}, else"
        charge = state.battery
        odd = "not reported" if math.isnan(charge) else "no share from 0 to 1" if charge > 1.0 else ""
        for reason, value, critical, weak, where in (
            (Reason.TEMPERATURE, hottest, hottest > hot.trip, bool(silent) or hottest > hot.warn, silent),
            (Reason.BATTERY, charge, charge < empty.trip, bool(odd) or charge < empty.warn, odd),
        ):
            entry = self._checks[reason].entry
            self._judge(reason, critical, value, entry.trip if critical else entry.warn, where=where, warn=weak)

    def _judge_joints(self, state: RobotState, sent: JointCommand) -> None:
        robot, safety = self._robot, self._robot.safety
        beyond = np.maximum(robot.hard_low - state.position, state.position - robot.hard_high)
        self._joint(Reason.POSITION, beyond, safety.position.limit)
        self._joint(Reason.POSITION_JUMP, self.readings.speed / robot.velocity_limit, safety.position_jump.limit)
        policy = self._mode is Mode.POLICY
        speed, effort, tracking = safety.velocity, safety.torque, safety.tracking
        self._joint(
            Reason.VELOCITY, np.abs(state.velocity) / robot.velocity_limit, speed.policy if policy else speed.stand
        )
        self._joint(Reason.TORQUE, np.abs(state.torque) / robot.effort_limit, effort.policy if policy else effort.stand)
        if self._mode in DRIVEN and sent.kp.any():
            error = np.abs(sent.position - state.position)
            self._joint(Reason.TRACKING, error, tracking.policy if policy else tracking.stand)
            self._judge_drives(state, sent)

    def _judge_drives(self, state: RobotState, sent: JointCommand) -> None:
        """Compare the torques that the drives report with those that the last command asks for."""
        effort, limit = self._robot.effort_limit, self._robot.safety.drive_response.limit
        asked = sent.kp * (sent.position - state.position) - sent.kd * state.velocity
        away = np.abs(state.torque - np.clip(asked, -effort, effort)) / effort
        worst = int(away.argmax())
        self._occur(Reason.DRIVE_RESPONSE, bool(away[worst] > limit), where=self._robot.joints[worst])

    def _judge_command(self, inputs: Inputs, policy: PolicySetup) -> AnyFloat | None:
        safety = self._robot.safety
        for reason, age, limit in (
            (Reason.COMMAND_LOST, inputs.command_age, safety.command_lost.limit),
            (Reason.HEARTBEAT_POLICY, inputs.policy_age, safety.heartbeat_policy.limit),
        ):
            self._judge(reason, not age <= limit, age, limit)
        problem = invalid(inputs.command, (len(policy.command_range),))
        if not inputs.command_age > self._command_age:  # a new message, not the last one a tick older
            self._occur(Reason.COMMAND_INVALID, bool(problem), where=problem)
        self._command_age = inputs.command_age
        return None if problem else inputs.command

    def _judge_result(self, result: PolicyResult, policy: PolicySetup, sent: JointCommand) -> None:
        if math.isfinite(result.stamp):
            if result.stamp <= self._result_stamp or result.stamp < self._since:
                return  # the same one again, or from before the start
            if result.stamp <= self._now + self._robot.control_dt:
                self._result_stamp = result.stamp
            if self._now - result.stamp > _OLD * policy.dt:
                return  # the deadline check sees that nothing useful came
        if not self._valid(result, policy):
            return
        safety, time = self._robot.safety, self.clock.time
        slow, budget = result.inference_time, safety.inference_time.limit
        self._occur(Reason.INFERENCE_TIME, not slow <= budget, slow, budget)
        largest = float(np.abs(result.action).max())
        self._occur(Reason.ACTION_CLIP, largest >= policy.action_clip * _AT_CLIP, largest, policy.action_clip)
        self._judge_distribution(result.observation, policy)
        if not self._late:
            self._occur(Reason.POLICY_DEADLINE, False)
        self._late = False
        self._due = time + (1.0 + safety.policy_deadline.limit) * policy.dt
        self._result_time = time
        target = np.array(result.joint_target, dtype=np.float64)
        if self._first:
            self._joint(Reason.FIRST_ACTION, np.abs(target - sent.position), safety.first_action.limit)
            if self._checks[Reason.FIRST_ACTION].level >= Reaction.STAND:
                return
            self._first = False
        self._target = target

    def _valid(self, result: PolicyResult, policy: PolicySetup) -> bool:
        joints = (len(policy.joints),)
        problem = invalid(result.joint_target, joints) or invalid(result.action, joints)
        if not result.stamp <= self._now + self._robot.control_dt:
            problem = problem or f"stamp {result.stamp:g} s is not before now ({self._now:g} s)"
        self._occur(Reason.ACTION_INVALID, bool(problem), where=problem)
        unseen = invalid(result.observation, policy.observation_mean.shape)
        self._occur(Reason.OBSERVATION_INVALID, bool(unseen), where=unseen)
        return not problem and not unseen

    def _judge_distribution(self, observation: AnyFloat, policy: PolicySetup) -> None:
        safety = self._robot.safety
        low, high = policy.observation_low, policy.observation_high
        width = np.maximum(high - low, _MIN_WIDTH)
        outside = np.maximum(low - observation, observation - high) / width
        scores = np.abs(observation - policy.observation_mean) / np.maximum(policy.observation_std, _MIN_WIDTH)
        for reason, values, limit in (
            (Reason.OBSERVATION_RANGE, outside, safety.observation_range.limit),
            (Reason.OBSERVATION_Z_SCORE, scores, safety.observation_z_score.limit),
        ):
            worst = int(values.argmax())
            self._occur(reason, bool(values[worst] > limit), float(values[worst]), limit, where=f"column {worst}")

    def _judge_deadline(self) -> None:
        if self.clock.time > self._due:
            limit = (1.0 + self._robot.safety.policy_deadline.limit) * self._robot.policy_dt
            self._occur(Reason.POLICY_DEADLINE, True, self.clock.time - self._result_time, limit)
            self._due += self._robot.policy_dt
            self._late = True

    def _joint(self, reason: Reason, values: Array, limit: float) -> None:
        worst = int(values.argmax())
        self._judge(reason, bool(values[worst] > limit), float(values[worst]), limit, where=self._robot.joints[worst])

    def _judge(
        self, reason: Reason, over: bool, value: float, limit: float, where: str = "", warn: bool = False
    ) -> None:
        if self._checks[reason].judge(over, self.clock.gap, warn):
            self._report(self._checks[reason], value, limit, where)

    def _occur(
        self, reason: Reason, bad: bool, value: float = math.nan, limit: float = math.nan, where: str = ""
    ) -> None:
        check = self._checks[reason]
        if check.occur(bad):
            self._report(check, *(check.tally if math.isnan(limit) else (value, limit)), where)

    def _report(self, check: Check, value: float, limit: float, where: str) -> None:
        judged = CHECKS[check.reason]
        unit = f" {judged.unit}" if judged.unit else ""
        unheard = value == math.inf and judged.unit == "s"
        shown = "never" if unheard else f"{value:.4g}{unit}"
        figures = "" if math.isnan(value) else f": {shown} (limit {limit:.4g})"
        message = f"{where}: {judged.what}{figures}" if where else f"{judged.what}{figures}"
        self._events.append(Event(check.reason, check.level, value, limit, message, self._now))
