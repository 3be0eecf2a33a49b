"""When the condition of each check first held in what was recorded: written a second time, apart from the monitor.

The monitor decides tick by tick with what it remembers; here whole recordings are searched with numpy. Where the two
disagree, one of them is wrong, and the safety check says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from robolearn.deploy.checks import Reason
from robolearn.deploy.controller import ControlOutput
from robolearn.deploy.inputs import Inputs
from robolearn.deploy.modes import DRIVEN
from robolearn.deploy.robot import RobotFile
from robolearn.evaluate.safety_check_record import Flags, Floats, Record

MOVED = 1e-3  # rad; docs/safety.md: the reading contradicts itself
NEVER = 2**31


def first_times(record: Record, begin: int, reasons: Sequence[Reason]) -> dict[Reason, int]:
    """Return the first tick from ``begin`` on in which the condition of each check holds; ``NEVER`` where in none."""
    found = {}
    for reason in reasons:
        ticks = np.flatnonzero(CONDITIONS[reason](record)[begin:])
        found[reason] = begin + int(ticks[0]) if len(ticks) else NEVER
    return found


def _in_a_row(bad: Flags, counts: Flags, needed: int) -> Flags:
    """Return where the ``needed``-th bad one in a row came, among the ticks that count."""
    result, run = np.zeros(len(bad), bool), 0
    for i in np.flatnonzero(counts):
        run = run + 1 if bad[i] else 0
        result[i] = run >= needed
    return result


def _among(bad: ArrayLike, counts: Flags, count: int, window: int) -> Flags:
    """Return where more than ``count`` of the last ``window`` were bad, among the ticks that count."""
    bad, chosen = np.asarray(bad, bool), np.flatnonzero(counts)
    total = np.cumsum(np.r_[0, bad[chosen]])
    recent = total[1:] - total[np.maximum(np.arange(1, len(chosen) + 1) - window, 0)]
    result = np.zeros(len(bad), bool)
    result[chosen] = recent > count
    return result


def _answers(record: Record) -> Flags:
    """Return the ticks in which the policy answered."""
    return np.array([sample.tick.result is not None for sample in record.samples]) & record.walking


def _spoiled(record: Record, *names: str) -> Flags:
    results = [sample.tick.result for sample in record.samples]
    return np.array([r is not None and not all(np.isfinite(getattr(r, n)).all() for n in names) for r in results])


def _result_invalid(*names: str) -> Callable[[Record], Flags]:
    return lambda r: _in_a_row(_spoiled(r, *names), _answers(r), r.robot.safety.action_invalid.consecutive)


def _slow(r: Record) -> Flags:
    entry = r.robot.safety.inference_time
    times = [0.0 if sample.tick.result is None else sample.tick.result.inference_time for sample in r.samples]
    slow = np.array(times) > entry.limit
    return _in_a_row(slow, _answers(r), entry.consecutive) | _among(slow, _answers(r), entry.count, entry.window)


def _missed(r: Record) -> Flags:
    entry, dt = r.robot.safety.policy_deadline, r.robot.policy_dt
    starts = r.walking & ~np.r_[False, r.walking[:-1]]
    return r.walking & (r.since(_answers(r) | starts) > (entry.limit + entry.consecutive) * dt + r.slack)


def _strange(r: Record, z_score: bool) -> Flags:
    """Return where the observation was out of the training's distribution for too many outputs."""
    entry = r.robot.safety.observation_z_score if z_score else r.robot.safety.observation_range
    p, bad = r.policy, np.zeros(len(r.now), bool)
    answers = _answers(r)
    for i in np.flatnonzero(answers).tolist():
        result = r.samples[i].tick.result
        assert result is not None
        o = result.observation
        if z_score:
            values = np.abs(o - p.observation_mean) / np.maximum(p.observation_std, 1e-3)
        else:
            width = np.maximum(p.observation_high - p.observation_low, 1e-3)
            values = np.maximum(p.observation_low - o, o - p.observation_high) / width
        bad[i] = values.max() > entry.limit
    return _among(bad, answers, entry.count, entry.window)


def _angle(r: Record) -> Floats:
    w, x, y, z = (r.orientation / np.linalg.norm(r.orientation, axis=1, keepdims=True)).T
    return np.arccos(np.clip(w * w - x * x - y * y + z * z, -1.0, 1.0))


def _imu_frozen(r: Record) -> Flags:
    readings = np.c_[r.orientation, r.rate]
    changed = np.r_[True, (np.diff(readings, axis=0) != 0).any(1)]
    age = r.since(changed)
    since = np.maximum.accumulate(np.where(changed, np.arange(len(changed)), 0))
    moved = np.abs(r.position - r.position[since]).max(1)
    told = np.abs(r.rate).max(1) * age
    return (age > r.robot.safety.imu_frozen.trip * r.robot.policy_dt + r.slack) & (np.maximum(moved, told) > MOVED)


def _joint_frozen(r: Record) -> Flags:
    same = (np.diff(r.position, axis=0) == 0) & (np.diff(r.velocity, axis=0) == 0)
    changed = np.r_[np.ones((1, same.shape[1]), bool), ~same]
    age = r.now[:, None] - np.maximum.accumulate(np.where(changed, r.now[:, None], -np.inf), axis=0)
    limit = r.robot.safety.joint_frozen.trip * r.robot.policy_dt + r.slack
    return ((age > limit) & (np.abs(r.velocity) * age > MOVED)).any(1)


def _jump(r: Record) -> Flags:
    chosen = np.flatnonzero(r.good)
    elapsed = np.maximum(np.diff(r.stamp[chosen]), r.robot.control_dt)
    speed = np.abs(np.diff(r.position[chosen], axis=0)) / elapsed[:, None]
    result = np.zeros(len(r.now), bool)
    result[chosen[1:]] = (speed > r.robot.safety.position_jump.limit * r.robot.velocity_limit).any(1)
    return result


def _share(r: Record, values: Floats, limits: Floats, stand: float, policy: float, debounce: float) -> Flags:
    return r.held((np.abs(values) / limits > r.per_mode(stand, policy)).any(1), debounce)


def _tracking(r: Record) -> Flags:
    entry = r.robot.safety.tracking
    far = (np.abs(r.target - r.position) > r.per_mode(entry.stand, entry.policy)).any(1)
    return r.held(far & r.driven & r.kp.any(1), entry.debounce)


def _away(r: Record) -> Flags:
    entry, effort = r.robot.safety.drive_response, r.robot.effort_limit
    asked = np.clip(r.kp * (r.target - r.position) - r.kd * r.velocity, -effort, effort)
    return (np.abs(r.torque - asked) / effort > entry.limit).any(1) & _held(r)


def _held(r: Record) -> Flags:
    return r.driven & r.kp.any(1)


def _limited(changed: Callable[[RobotFile, ControlOutput], bool]) -> Callable[[Record], Flags]:
    """Return the ticks with a limited command.

    In the tick of a reaction the command that was too much is not there any more: it is taken for a limited one.
    """

    def ticks(r: Record) -> Flags:
        outputs = [sample.tick.output for sample in r.samples]
        return np.array([output.mode not in DRIVEN or changed(r.robot, output) for output in outputs]) & r.driven

    return ticks


def _out_of_range(robot: RobotFile, output: ControlOutput) -> bool:
    wanted = output.wanted
    return bool(wanted.kp.any() and ((wanted.position < robot.soft_low) | (wanted.position > robot.soft_high)).any())


def _too_fast(robot: RobotFile, output: ControlOutput) -> bool:
    reachable = np.clip(output.wanted.position, robot.soft_low, robot.soft_high)
    return bool(output.wanted.kp.any() and (output.command.position != reachable).any())


def _too_stiff(robot: RobotFile, output: ControlOutput) -> bool:
    return bool((output.command.kp < np.minimum(output.wanted.kp, robot.kp_limit)).any())


def _clipped(r: Record) -> Flags:
    entry, most = r.robot.safety.action_clip, r.policy.action_clip * (1.0 - 1e-6)
    results = [sample.tick.result for sample in r.samples]
    at_clip = np.array([result is not None and np.abs(result.action).max() >= most for result in results])
    return _among(at_clip, _answers(r), entry.count, entry.window)


def _old(r: Record, refused: Flags, trip: float) -> Flags:
    """Return where readings were refused for so long, for one cause."""
    return refused & (r.since(r.good) > trip * r.robot.policy_dt + r.slack)


def _backwards(r: Record) -> Flags:
    behind = np.r_[False, (np.diff(r.sequence) < 0) | (np.diff(r.stamp) < 0)]
    return _old(r, behind | (r.since(behind) < r.since(r.good)), r.robot.safety.time_backwards.trip)


def _repeated(r: Record) -> Flags:
    return r.finite & np.r_[False, (np.diff(r.sequence) == 0) & (np.diff(r.stamp) > 0)]


def _stale(r: Record) -> Flags:
    last = np.maximum.accumulate(np.where(r.good, r.stamp, -np.inf))
    return r.now - last > r.robot.safety.state_stale.trip * r.robot.policy_dt + r.slack


def _unit(r: Record) -> Flags:
    entry = r.robot.safety.imu_not_unit
    unit = np.abs(np.linalg.norm(r.orientation, axis=1) - 1.0) <= entry.limit
    return ~unit & (r.since(unit) > entry.trip * r.robot.policy_dt + r.slack)


def _disagrees(r: Record) -> Flags:
    """Compare the readings' orientations as rotation matrices; the monitor does it with quaternions."""
    entry, chosen = r.robot.safety.imu_disagrees, np.flatnonzero(r.good)
    w, x, y, z = r.orientation[chosen].T
    matrices = np.stack(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    ).transpose(2, 0, 1)
    turn = matrices[:-1].transpose(0, 2, 1) @ matrices[1:]
    angles = np.stack([turn[:, 2, 1] - turn[:, 1, 2], turn[:, 0, 2] - turn[:, 2, 0], turn[:, 1, 0] - turn[:, 0, 1]], 1)
    elapsed = np.maximum(np.diff(r.stamp[chosen]), 0.5 * r.robot.control_dt)[:, None]
    mean = 0.5 * (r.rate[chosen][1:] + r.rate[chosen][:-1])
    bad = np.zeros(len(r.now), bool)
    bad[chosen[1:]] = np.linalg.norm(0.5 * angles / elapsed - mean, axis=1) > entry.limit
    return bad


def _driven(r: Record) -> Flags:
    return r.driven


COUNTED: dict[Reason, tuple[Callable[[Record], Flags], Callable[[Record], Flags]]] = {
    Reason.SOFT_RANGE: (_limited(_out_of_range), _driven),
    Reason.RATE_LIMIT: (_limited(_too_fast), _driven),
    Reason.PREDICTED_TORQUE: (_limited(_too_stiff), _driven),
    Reason.DRIVE_RESPONSE: (_away, _held),
    Reason.IMU_DISAGREES: (_disagrees, lambda r: r.good),
}
"""Checks that count: from a recording to the bad ticks (T,), and to those that are looked at at all."""


def fullest(r: Record, reason: Reason) -> float:
    """Return the largest number of bad ticks in a check's window, as a share of what it allows."""
    entry, (bad, counts) = getattr(r.robot.safety, reason.value), COUNTED[reason]
    flags = bad(r)[counts(r)].astype(float)
    return float(np.convolve(flags, np.ones(entry.window)).max() / entry.count) if len(flags) else 0.0


def _too_many(reason: Reason) -> Callable[[Record], Flags]:
    def condition(r: Record) -> Flags:
        entry, (bad, counts) = getattr(r.robot.safety, reason.value), COUNTED[reason]
        return _among(bad(r), counts(r), entry.count, entry.window)

    return condition


def _told(read: Callable[[Inputs], float], name: str) -> Callable[[Record], Flags]:
    """An age among the inputs against the limit of a check."""

    def condition(r: Record) -> Flags:
        return np.array([read(sample.inputs) > getattr(r.robot.safety, name).limit + r.slack for sample in r.samples])

    return condition


def _command_invalid(r: Record) -> Flags:
    return r.walking & np.array([not np.isfinite(sample.inputs.command).all() for sample in r.samples])


def _position(r: Record) -> Flags:
    low, high, entry = r.robot.hard_low, r.robot.hard_high, r.robot.safety.position
    return r.held((np.maximum(low - r.position, r.position - high) > entry.limit).any(1), entry.debounce)


def _level(values: Callable[[Record], Floats], name: str) -> Callable[[Record], Flags]:
    """A value above the limit of a check for as long as its debounce says."""

    def condition(r: Record) -> Flags:
        entry = getattr(r.robot.safety, name)
        return r.held(values(r) > entry.limit, entry.debounce)

    return condition


CONDITIONS: dict[Reason, Callable[[Record], Flags]] = {
    Reason.STATE_INVALID: lambda r: r.arrived & ~r.finite,
    Reason.ACTION_INVALID: _result_invalid("joint_target", "action"),
    Reason.OBSERVATION_INVALID: _result_invalid("observation"),
    Reason.COMMAND_INVALID: _command_invalid,
    Reason.ACTION_CLIP: _clipped,
    **{reason: _too_many(reason) for reason in COUNTED},
    Reason.POSITION: _position,
    Reason.POSITION_JUMP: _jump,
    Reason.VELOCITY: lambda r: _share(
        r, r.velocity, r.robot.velocity_limit, r.robot.safety.velocity.stand, r.robot.safety.velocity.policy,
        r.robot.safety.velocity.debounce,
    ),
    Reason.TORQUE: lambda r: _share(
        r, r.torque, r.robot.effort_limit, r.robot.safety.torque.stand, r.robot.safety.torque.policy,
        r.robot.safety.torque.debounce,
    ),
    Reason.TRACKING: _tracking,
    Reason.TILT: _level(_angle, "tilt"),
    Reason.FALL: _level(_angle, "fall"),
    Reason.ANGULAR_RATE: _level(lambda r: np.linalg.norm(r.rate, axis=1), "angular_rate"),
    Reason.STATE_STALE: _stale,
    Reason.STATE_FROZEN: lambda r: _old(r, _repeated(r), r.robot.safety.state_frozen.trip),
    Reason.TIME_BACKWARDS: _backwards,
    Reason.IMU_FROZEN: _imu_frozen,
    Reason.JOINT_FROZEN: _joint_frozen,
    Reason.IMU_NOT_UNIT: _unit,
    Reason.LOOP_STALLED: _level(lambda r: np.diff(r.now, prepend=r.now[0]), "loop_stalled"),
    Reason.POLICY_DEADLINE: _missed,
    Reason.INFERENCE_TIME: _slow,
    Reason.OBSERVATION_RANGE: lambda r: _strange(r, z_score=False),
    Reason.OBSERVATION_Z_SCORE: lambda r: _strange(r, z_score=True),
    Reason.COMMAND_LOST: _told(lambda inputs: inputs.command_age, "command_lost"),
    Reason.HEARTBEAT_POLICY: _told(lambda inputs: inputs.policy_age, "heartbeat_policy"),
    Reason.HEARTBEAT_MONITOR: _told(lambda inputs: inputs.monitor_age, "heartbeat_monitor"),
    Reason.HEARTBEAT_HARDWARE: _told(lambda inputs: inputs.hardware_age, "heartbeat_hardware"),
    Reason.TEMPERATURE: lambda r: r.held(
        r.hottest > r.robot.safety.temperature.trip, r.robot.safety.temperature.debounce
    ),
    Reason.BATTERY: lambda r: r.held(r.battery < r.robot.safety.battery.trip, r.robot.safety.battery.debounce),
    Reason.PROCESS_FAULT: lambda r: np.array([bool(sample.inputs.fault) for sample in r.samples]),
    Reason.ESTOP: lambda r: np.array([sample.inputs.estop for sample in r.samples]),
}  # fmt: skip
"""From a recording to the ticks (T,) in which a check's stated condition holds."""
