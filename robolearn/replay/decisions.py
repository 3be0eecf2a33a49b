"""Lets a fresh controller decide a recorded run again and compares its modes and commands with the recorded ones.

The controller reads no clock and no file: what it was given in each tick, and what the operator asked for before it, is
in the recording.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from robolearn.deploy.controller import Controller, ControlOutput
from robolearn.deploy.inputs import Inputs, PolicyResult, PolicySetup
from robolearn.deploy.modes import Mode, Request
from robolearn.deploy.types import Array, RobotState
from robolearn.replay.mcap import BagError
from robolearn.replay.packets import Series
from robolearn.replay.recording import MODES, Note, Recording
from robolearn.replay.summary import holes

TOLERANCE = 1e-9
"""Largest difference of commands that counts as none: rad, N m/rad, N m s/rad."""
_FAULT = "the drives' driver is in fault"


@dataclass(frozen=True)
class Disagreement:
    """The first tick in which the fresh controller did something else.

    Attributes:
        time: s.
        recorded, decided: modes.
        what: what differs.
    """

    time: float
    recorded: Mode
    decided: Mode
    what: str


@dataclass(frozen=True)
class Decisions:
    """A run, decided again.

    Attributes:
        ticks: how many were compared.
        left: ticks that were not: before the controller was at rest, or behind ``end``.
        requests: how many of the operator's were repeated.
        largest: largest difference of a command: rad, N m/rad or N m s/rad.
        disagreement: None when all is the same. What comes after the first one means nothing and is not compared.
        end: s, where the recording has a hole or the controller was started anew; None where neither is.
    """

    ticks: int
    left: int
    requests: int
    largest: float
    disagreement: Disagreement | None
    end: float | None


def decide_again(recording: Recording) -> Decisions:
    """Decide a recorded run again.

    Raises:
        BagError: the recording does not say what the controller saw, or never sees it without motion.
    """
    run = _Run(recording)
    begin, end = run.bounds()
    count = len(recording.ticks)
    stop = float(recording.ticks.time[end - 1]) if end < count else None
    largest = 0.0
    for i in range(begin, end):
        output = run.step(i)
        difference = run.difference(i, output)
        largest = max(largest, difference)
        mode = run.mode(i)
        if output.mode is not mode or output.armed is not run.armed(i) or difference > TOLERANCE:
            what = "mode" if output.mode is not mode else "armed" if output.armed is not run.armed(i) else "command"
            found = Disagreement(float(recording.ticks.time[i]), mode, output.mode, what)
            return Decisions(i - begin + 1, count - end + begin, run.requests, largest, found, stop)
    return Decisions(end - begin, count - end + begin, run.requests, largest, None, stop)


class _Run:
    """The recorded ticks, ready for a controller.

    Attributes:
        requests: how many were given to the controller so far.
    """

    def __init__(self, recording: Recording) -> None:
        if not len(recording.ticks):
            raise BagError(f"{recording.path}: no ticks of the controller are recorded (safety_monitor/tick)")
        self._recording, self._ticks, self._states = recording, recording.ticks, recording.states
        contract = recording.contract
        setup = None if contract is None else PolicySetup.from_contract(contract, recording.robot)
        self._setup = setup
        self._state_of = _first_places(self._states, "cycle")
        self._answer_of = _first_places(recording.answered, "number")
        self._command_of = _first_places(recording.commands, "cycle")
        self._silent = set(recording.silent.tolist())
        self._controller = Controller(recording.robot, setup)
        self.requests = 0
        self._asked = deque(_requests(recording))
        self._starts = [each for note in recording.notes if (each := _start(note)) is not None]
        self._scalars = {name: self._ticks.column(name) for name in self._ticks.fields if name not in _VECTORS}

    def bounds(self) -> tuple[int, int]:
        """Return the first tick that a fresh controller can decide, and the one behind the last.

        A controller that starts is in IDLE and unarmed, or latched. It ends where something was not recorded.
        """
        begin = 0
        if self.mode(0) is Mode.ESTOP:
            self._controller = Controller(self._recording.robot, self._setup, latched=True)
        else:
            idle = (i for i in range(len(self._ticks)) if self.mode(i) is Mode.IDLE and not self.armed(i))
            begin = next(idle, -1)
        if begin < 0:
            raise BagError(f"{self._recording.path}: the controller is in motion from the first to the last tick")
        now = self._scalars["now"]
        while self._asked and self._asked[0][0] < now[begin]:
            self._asked.popleft()
        starts = [time for time in self._starts if time > now[begin]]
        gaps = holes(self._recording) if len(self._ticks) > 1 else np.zeros(0, bool)
        for i in range(begin, len(self._ticks)):
            if not self._known(i) or (i > begin and gaps[i - 1]) or (starts and now[i] >= starts[0]):
                return begin, i
        return begin, len(self._ticks)

    def mode(self, i: int) -> Mode:
        """Return the recorded mode after a tick."""
        return MODES[int(self._scalars["mode"][i])]

    def armed(self, i: int) -> bool:
        """Return whether the controller was armed after a tick."""
        return bool(self._scalars["armed"][i])

    def _known(self, i: int) -> bool:
        """Tell whether all that the controller was given in a tick is recorded."""
        cycle, answer = float(self._scalars["cycle"][i]), float(self._scalars["answer"][i])
        reading = np.isnan(cycle) or cycle in self._state_of or cycle in self._silent
        return bool(reading) and (answer < 0 or answer in self._answer_of)

    def step(self, i: int) -> ControlOutput:
        """Decide a tick, after what was asked for before it."""
        now = float(self._scalars["now"][i])
        while self._asked and self._asked[0][0] <= now:
            time, request = self._asked.popleft()
            self._controller.request(request, time)
            self.requests += 1
        return self._controller.step(self._state(i, now), self._result(i, now), self._inputs(i), now)

    def difference(self, i: int, output: ControlOutput) -> float:
        """Return the largest difference of a tick's command from the one that was sent; 0 where it is not recorded."""
        place = self._command_of.get(float(self._scalars["cycle"][i]))
        if place is None:
            return 0.0
        sent = self._recording.commands
        return max(
            float(np.abs(getattr(output.command, name) - sent[name][place]).max()) for name in ("position", "kp", "kd")
        )

    def _state(self, i: int, now: float) -> RobotState | None:
        place = self._state_of.get(float(self._scalars["cycle"][i]))
        if place is None:
            return None
        s = self._states
        temperature: Array = s["temperature"][place]
        return RobotState(
            position=s["position"][place],
            velocity=s["velocity"][place],
            torque=s["torque"][place],
            orientation=s["orientation"][place],
            angular_velocity=s["angular_velocity"][place],
            sequence=int(s["sequence"][place, 0]),
            stamp=now - float(s["age"][place, 0]),
            acceleration=s["acceleration"][place],
            temperature=temperature[:0] if np.isnan(temperature).all() else temperature,
            battery=float(s["battery"][place, 0]),
        )

    def _result(self, i: int, now: float) -> PolicyResult | None:
        place = self._answer_of.get(float(self._scalars["answer"][i]))
        if place is None:
            return None
        a = self._recording.answered
        return PolicyResult(
            joint_target=a["joint_target"][place],
            action=a["action"][place],
            observation=a["observation"][place],
            inference_time=float(a["inference_time"][place, 0]),
            stamp=now,
        )

    def _inputs(self, i: int) -> Inputs:
        scalar = self._scalars
        return Inputs(
            estop=bool(scalar["estop"][i]),
            command=self._ticks["command"][i],
            command_age=float(scalar["command_age"][i]),
            policy_age=float(scalar["policy_age"][i]),
            monitor_age=0.0,
            hardware_age=float(scalar["hardware_age"][i]),
            fault=_FAULT if scalar["fault"][i] else "",
        )


def _first_places(series: Series, name: str) -> dict[float, int]:
    """Return where each value of a field comes first; after a restart numbers come again, and mean something else."""
    places: dict[float, int] = {}
    for place, value in enumerate(series.column(name).tolist() if len(series) else ()):
        places.setdefault(value, place)
    return places


def _requests(recording: Recording) -> Iterator[tuple[float, Request]]:
    """Yield what was asked for, with the time of the tick before which it was: s on the controller's clock."""
    known = {request.value for request in Request}
    for note in recording.notes:
        time = note.data.get("time")
        if note.data.get("request") in known and isinstance(time, int | float):
            yield float(time), Request(note.data["request"])


def _start(note: Note) -> float | None:
    """Return when a controller started, s on its clock; None where the note says something else."""
    time = note.data.get("time")
    started = "from" in note.data and note.data["from"] is None and isinstance(time, int | float)
    return float(time) if started and time is not None else None


_VECTORS = ("command", "followed")
