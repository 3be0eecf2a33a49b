"""A recorded episode by control cycle: what the drives were told, what the policy was asked and answered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robolearn.deploy.robot import RobotFile
from robolearn.deploy.types import Array, JointCommand
from robolearn.replay.mcap import BagError
from robolearn.replay.packets import Series
from robolearn.replay.recording import Note, Recording

_FIELDS = ("position", "velocity", "kp", "kd", "torque")


@dataclass(frozen=True, eq=False)
class Episode:
    """What the nodes did, from the beginning of the robot's clock to the end of an episode of T steps.

    Cycle i is the i-th of the drives, from 1 on, at ``i * control_dt`` s.

    Attributes:
        robot: the robot file that was used.
        commands: what answered each cycle, from cycle 1 on.
        stood: cycle from which on the joints were stiff.
        first: cycle in which the policy answered first.
        every: cycles for each step of the policy.
        command: (T, C) velocity that the policy was asked for in each of its steps.
        action, target: (T, J) what it answered, in the robot file's order of joints.
        readings: the recorded ones, by cycle.
        stopped: why the nodes ended the episode before its time, in words; empty where they did not.
    """

    robot: RobotFile
    commands: tuple[JointCommand, ...]
    stood: int
    first: int
    every: int
    command: Array
    action: Array
    target: Array
    readings: dict[int, dict[str, Array]]
    stopped: str

    @property
    def steps(self) -> int:
        """T."""
        return len(self.command)


def take_apart(recording: Recording, steps: int) -> Episode:
    """Find an episode of at most ``steps`` steps in a recording of ``nodes.walk``.

    Raises:
        BagError: something that belongs to it was not recorded, so that nothing can be said; or the policy never
            walked, or did not keep its times.
    """
    robot, path = recording.robot, recording.path
    every = round(robot.policy_dt * robot.control_hz)
    begin, numbers = _policy_begin(recording, every)
    answers = {int(number): place for place, number in _places(recording.answered, "number")}
    requests = {int(number): place for place, number in _places(recording.asked, "number")}
    sent = {_cycle(time, robot): place for place, time in _places(recording.commands, "cycle")}
    lost_control, stopped = _end(recording, begin)
    end = min(lost_control, max(sent), begin + every * steps)
    count = (end - begin) // every
    wanted = range(numbers, numbers + count)
    if lost := [number for number in wanted if number not in answers or number not in requests]:
        raise BagError(f"{path}: {len(lost)} of {count} steps of the policy were not recorded: run it again")
    if not count:
        raise BagError(f"{path}: the policy was stopped in its first step: {stopped or _last_word(recording)}")
    end = begin + every * count
    known = min(sent)
    if lost := [cycle for cycle in range(known, end + 1) if cycle not in sent]:
        raise BagError(
            f"{path}: {len(lost)} commands were not recorded, the first at {lost[0] * robot.control_dt:.3f} s: the "
            "computer is too busy; run it again, or more slowly"
        )
    commands = [_command(recording.commands, sent[cycle]) for cycle in range(known, end + 1)]
    if known > 1 and (commands[0].kp.any() or commands[0].kd.any()):
        raise BagError(f"{path}: the robot was driven before anything was recorded: what it did then is not known")
    # Before the recorder heard the first one, the controller was at rest too: replayed readings show whether it was.
    commands = [JointCommand.zero(len(robot.joints))] * (known - 1) + commands
    states = recording.states
    readings = {
        _cycle(time, robot): {name: values[place] for name, values in states.fields.items()}
        for place, time in _places(states, "cycle")
    }
    if not any(cycle in readings for cycle in range(end - every + 1, end + 1)):
        raise BagError(f"{path}: no reading of the episode's last step was recorded: where it led to is not known")
    return Episode(
        robot=robot,
        commands=tuple(commands),
        stood=1 + next(i for i, command in enumerate(commands) if command.kp.any()),
        first=begin,
        every=every,
        command=recording.asked["command"][[requests[number] for number in wanted]],
        action=recording.answered["action"][[answers[number] for number in wanted]],
        target=recording.answered["joint_target"][[answers[number] for number in wanted]],
        readings=readings,
        stopped=stopped if count < steps else "",
    )


def _policy_begin(recording: Recording, every: int) -> tuple[int, int]:
    """Return the cycle and the number of the policy's first answer; all others must follow step by step."""
    ticks = recording.ticks
    used = ticks.column("answer") if len(ticks) else np.zeros(0)
    if not (used >= 0).any() or not len(recording.answered):
        raise BagError(f"{recording.path}: the policy never answered: {_last_word(recording)}")
    numbers = used[used >= 0].astype(int)
    cycles = np.rint(ticks.column("cycle")[used >= 0] * recording.robot.control_hz).astype(int)
    first = int(recording.answered.column("number").min())
    begins: NDArray[np.int_] = cycles - every * (numbers - first)
    entered = [_cycle(note.data["time"], recording.robot) for note in recording.notes if _enters(note, "policy")]
    if (late := begins != (entered or begins)[-1]).any():
        raise BagError(
            f"{recording.path}: the policy answered late at {cycles[late][0] * recording.robot.control_dt:.3f} s: the "
            "computer is too busy; run it again, or more slowly"
        )
    return int(begins[0]), first


def _end(recording: Recording, begin: int) -> tuple[int, str]:
    """Return the cycle in which the policy lost control, and why; far away where it never did."""
    start = begin * recording.robot.control_dt
    for note in recording.notes:
        if note.data.get("from") == "policy" and note.data["time"] >= start:
            return _cycle(note.data["time"], recording.robot), str(note.data["message"] or note.data["mode"])
    return 2**31, ""


def _enters(note: Note, mode: str) -> bool:
    return note.data.get("mode") == mode and "from" in note.data


def _last_word(recording: Recording) -> str:
    return str(recording.notes[-1].data.get("message")) if recording.notes else "nothing was said"


def _cycle(time: float, robot: RobotFile) -> int:
    return round(time * robot.control_hz)


def _places(series: Series, name: str) -> list[tuple[int, float]]:
    """Return place and value of each message that has something new to say: repeated ones are the same again."""
    values = series.column(name) if len(series) else np.zeros(0)
    _, first = np.unique(values, return_index=True)
    return [(int(place), float(values[place])) for place in sorted(first) if np.isfinite(values[place])]


def _command(series: Series, place: int) -> JointCommand:
    return JointCommand(*(series[name][place] for name in _FIELDS))
