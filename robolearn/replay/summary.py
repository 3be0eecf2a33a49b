"""What happened in a recording, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robolearn.deploy.modes import Mode
from robolearn.deploy.types import Array
from robolearn.replay.energy import Consumption, consumption
from robolearn.replay.packets import Series
from robolearn.replay.recording import Note, Recording, mode_spans

LATE = 1.5
"""Periods after which a tick counts as late."""
CHANGED = 1e-9
"""Smallest difference between wanted and sent that counts, in the unit of the field."""
_SAME_MOMENT = 0.05
"""s within which a note belongs to a change of mode: notes have the time of their arrival."""
_LEADS_TO = {Mode.STAND: ("stand",), Mode.POLICY: ("start_policy",), Mode.IDLE: ("reset",)}
"""Requests by the mode that they lead to; the stops come with words of their own."""


@dataclass(frozen=True)
class Spread:
    """Of N values: mean, median, 99th percentile, largest; all in ms."""

    count: int
    mean: float
    p50: float
    p99: float
    max: float


@dataclass(frozen=True)
class Entered:
    """A mode that was entered.

    Attributes:
        time: s.
        mode: which.
        duration: s until it was left or the recording ended.
        why: in words; empty where the recording does not say.
    """

    time: float
    mode: Mode
    duration: float
    why: str


@dataclass(frozen=True)
class Found:
    """What one check found.

    Attributes:
        reason: of the check.
        reaction: the worst that it asked for.
        count: events.
        first, last: s.
        message: of the first with the worst reaction.
    """

    reason: str
    reaction: str
    count: int
    first: float
    last: float
    message: str


@dataclass(frozen=True)
class Asked:
    """A request of the operator.

    Attributes:
        time: s.
        request: what was asked for.
        accepted: whether it was granted.
        message: the answer.
    """

    time: float
    request: str
    accepted: bool
    message: str


@dataclass(frozen=True)
class Limiting:
    """How commands were limited while joints were held with stiffness.

    Attributes:
        ticks: such ticks with both commands recorded.
        share: of them in which the command that left was not the wanted one.
        joints: share by joint, those that were ever limited, worst first.
        largest: rad, largest change of a position.
        joint: whose.
    """

    ticks: int
    share: float
    joints: Mapping[str, float]
    largest: float
    joint: str


@dataclass(frozen=True)
class Tracking:
    """Distance between commanded and measured joint position, rad, while joints were held with stiffness."""

    joint: str
    rms: float
    max: float


@dataclass(frozen=True)
class Summary:
    """What happened.

    Attributes:
        duration: s.
        modes: one after the other.
        checks: what the checks found, worst first.
        requests: of the operator.
        period: between control ticks, on the controller's clock; None without ticks.
        wall: the same by the wall, where that is another clock: in simulated time.
        late: control ticks that came later than ``LATE`` periods after the one before.
        blind: control ticks without a reading of the robot.
        answer: from reading to command, as the recorder saw them arrive.
        inference: of the policy.
        unanswered: requests to the policy without an answer.
        limiting: None where wanted or sent commands are missing.
        tracking: by joint; empty where it cannot be told.
        missing: readings by number of control cycles that are missing in the recording, and ticks likewise.
        energy: what the drives used, by mode and in total; empty where it was not recorded.
    """

    duration: float
    modes: tuple[Entered, ...]
    checks: tuple[Found, ...]
    requests: tuple[Asked, ...]
    period: Spread | None
    wall: Spread | None
    late: int
    blind: int
    answer: Spread | None
    inference: Spread | None
    unanswered: int
    limiting: Limiting | None
    tracking: tuple[Tracking, ...]
    missing: Mapping[str, int]
    energy: tuple[Consumption, ...]


def summarize(recording: Recording) -> Summary:
    """Return what happened."""
    ticks, answered = recording.ticks, recording.answered
    whole = ~holes(recording) if len(ticks) > 1 else np.zeros(0, bool)
    periods, wall = (np.diff(ticks.column(name))[whole] if len(whole) else np.zeros(0) for name in ("now", "wall"))
    return Summary(
        duration=recording.duration,
        modes=_modes(recording),
        checks=_checks(recording.notes),
        requests=tuple(
            Asked(note.time, str(note.data["request"]), bool(note.data.get("accepted")), _text(note))
            for note in recording.notes
            if "request" in note.data
        ),
        period=_spread(periods),
        wall=None if np.allclose(periods, wall, atol=1e-6) else _spread(wall),
        late=int(np.count_nonzero(periods > LATE * recording.robot.control_dt)),
        blind=int(np.count_nonzero(np.isnan(ticks.column("cycle")))) if len(ticks) else 0,
        answer=_spread(_answer_times(recording)),
        inference=_spread(answered.column("inference_time")) if len(answered) else None,
        unanswered=_unanswered(recording),
        limiting=_limiting(recording),
        tracking=_tracking(recording),
        missing=_missing(recording),
        energy=consumption(recording),
    )


def match(left: Series, right: Series) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the places of the first packets of each control cycle that both series have, in order of time.

    Only the first one answers the cycle: a controller that hears nothing goes on with the name of the last one.
    """
    if not len(left) or not len(right):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    _, one, other = np.intersect1d(left.column("cycle"), right.column("cycle"), return_indices=True)
    return one, other


def _spread(seconds: Array) -> Spread | None:
    if not len(seconds):
        return None
    p50, p99 = np.percentile(seconds, [50, 99])
    values = 1e3 * np.array([seconds.mean(), p50, p99, seconds.max()])
    return Spread(len(seconds), *(float(value) for value in values))


def _text(note: Note) -> str:
    return str(note.data.get("message") or "")


def _modes(recording: Recording) -> tuple[Entered, ...]:
    return tuple(
        Entered(begin, mode, end - begin, _why(recording, begin, mode)) for begin, end, mode in mode_spans(recording)
    )


def _why(recording: Recording, begin: float, mode: Mode) -> str:
    """Return why a mode was entered: what the safety monitor said, else who asked for it in that same tick."""
    near = [note for note in recording.notes if abs(note.time - begin) <= _SAME_MOMENT]
    entered = next((note for note in near if note.data.get("mode") == mode and "from" in note.data), None)
    if entered is None or entered.data["from"] is None:
        return ""
    if _text(entered):
        return _text(entered)
    same = [note for note in near if note.data.get("time") == entered.data.get("time")]
    for note in same:
        if note.data.get("accepted") and (request := note.data.get("request")) in _LEADS_TO.get(mode, ()):
            return f"operator: {request}"
    for note in same:
        if note.data.get("reaction") == "stand":
            return _text(note)
    return "ramp done" if mode is Mode.READY else ""


def _checks(notes: tuple[Note, ...]) -> tuple[Found, ...]:
    order = ("none", "warn", "ramp_down", "stand", "damping", "estop")
    by_reason: dict[str, list[Note]] = {}
    for note in notes:
        if "reason" in note.data:
            by_reason.setdefault(str(note.data["reason"]), []).append(note)

    def level(note: Note) -> int:
        reaction = note.data.get("reaction")
        return order.index(reaction) if reaction in order else 0

    found = []
    for reason, its in by_reason.items():
        worst = max(its, key=level)
        found.append(Found(reason, str(worst.data.get("reaction")), len(its), its[0].time, its[-1].time, _text(worst)))
    return tuple(sorted(found, key=lambda each: -order.index(each.reaction) if each.reaction in order else 0))


def _answer_times(recording: Recording) -> Array:
    sent, read = match(recording.commands, recording.states)
    times = recording.commands.arrival[sent] - recording.states.arrival[read]
    return times[times >= 0.0]


def _unanswered(recording: Recording) -> int:
    if not len(recording.asked):
        return 0
    answered = recording.answered.column("number") if len(recording.answered) else np.zeros(0)
    return int(np.count_nonzero(~np.isin(recording.asked.column("number"), answered)))


def _limiting(recording: Recording) -> Limiting | None:
    sent, wanted = match(recording.commands, recording.wanted)
    if not len(sent):
        return None
    after = {name: recording.commands[name][sent] for name in ("position", "kp", "kd")}
    before = {name: recording.wanted[name][wanted] for name in after}
    stiff = before["kp"].any(axis=1)
    changes = {name: np.abs(after[name] - before[name])[stiff] for name in after}
    changed = np.logical_or.reduce([change > CHANGED for change in changes.values()])
    if not len(changed):
        return Limiting(0, 0.0, {}, 0.0, "")
    joints, shares = recording.robot.joints, changed.mean(axis=0)
    order = np.argsort(-shares, kind="stable")
    worst = changes["position"].max(axis=0)
    return Limiting(
        ticks=len(changed),
        share=float(changed.any(axis=1).mean()),
        joints={joints[i]: float(shares[i]) for i in order if shares[i] > 0},
        largest=float(worst.max()),
        joint=joints[int(worst.argmax())] if worst.max() > CHANGED else "",
    )


def _tracking(recording: Recording) -> tuple[Tracking, ...]:
    """Compare each command with the reading of the next cycle: what the joints made of it."""
    sent, read = match(recording.commands, recording.states)
    follows = read + 1 < len(recording.states)
    sent, read = sent[follows], read[follows]
    stiff = recording.commands["kp"][sent].any(axis=1) if len(sent) else np.zeros(0, bool)
    if not stiff.any():
        return ()
    error = recording.states["position"][read[stiff] + 1] - recording.commands["position"][sent[stiff]]
    rms, largest = np.sqrt((error**2).mean(axis=0)), np.abs(error).max(axis=0)
    return tuple(
        Tracking(joint, float(one), float(other))
        for joint, one, other in zip(recording.robot.joints, rms, largest, strict=True)
    )


def holes(recording: Recording) -> NDArray[np.bool_]:
    """Return (N - 1,) whether ticks are missing in the recording between one and the next: commands tell."""
    cycles = recording.ticks.column("cycle")
    sent = [series.column("cycle") for series in (recording.commands, recording.wanted) if len(series)]
    known = np.concatenate([np.zeros(0), *sent])
    lost = np.setdiff1d(known[np.isfinite(known)], cycles)
    times = np.maximum.accumulate(np.nan_to_num(cycles, nan=-np.inf))
    return np.asarray(np.searchsorted(lost, times[:-1], "right") != np.searchsorted(lost, times[1:], "left"))


def _missing(recording: Recording) -> dict[str, int]:
    """Count what the recorder did not hear, topic by topic: each tick names its cycle, its answer, and so on."""
    missing = {}
    states = recording.states
    if len(states):
        cycles = [series.column("cycle") for series in (recording.ticks, recording.commands) if len(series)]
        answered = np.unique(np.concatenate([np.zeros(0), *cycles]))
        inside = answered[answered >= states.column("cycle")[0]]
        known = np.concatenate([states.column("cycle"), recording.silent])
        missing["robot_state"] = int(np.count_nonzero(~np.isin(inside, known)))
    if len(recording.ticks) > 1:
        missing["safety_monitor/tick"] = int(np.count_nonzero(holes(recording)))
        ticked = recording.ticks.column("cycle")
        for topic, series in (("joint_commands", recording.commands), ("joint_commands_wanted", recording.wanted)):
            sent = series.column("cycle") if len(series) else np.zeros(0)
            missing[topic] = int(np.count_nonzero(~np.isin(ticked[np.isfinite(ticked)], sent)))
    for topic, series in (("policy_input", recording.asked), ("policy_output", recording.answered)):
        if len(series) > 1:
            steps = np.diff(series.column("number"))
            missing[topic] = int(np.sum(steps[steps > 1] - 1))
    return {topic: count for topic, count in missing.items() if count}
