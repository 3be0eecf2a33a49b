"""A recording in memory: what recorder_node wrote, as time series."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_typestore

from robolearn.config import ConfigError, load_yaml
from robolearn.deploy.contract import PolicyContract, read_contract
from robolearn.deploy.modes import Mode
from robolearn.deploy.recording import ABOUT, POLICY, ROBOT, About, read_about
from robolearn.deploy.robot import RobotFile, load_robot_file
from robolearn.deploy.types import Array
from robolearn.deploy.wire import (
    CommandPacket,
    Packet,
    PolicyPackets,
    PowerPacket,
    StatePacket,
    TickPacket,
    WireError,
)
from robolearn.replay.mcap import BagError, Mcap, Stream, read_mcap
from robolearn.replay.packets import Rows, Series, rows, take_apart

TYPES = get_typestore(Stores.ROS2_KILTED)
MODES = tuple(Mode)


@dataclass(frozen=True)
class Note:
    """Something that the safety monitor published in words.

    Attributes:
        time: s since the first control cycle.
        data: its JSON object: a request, a change of mode, or what a check found.
    """

    time: float
    data: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Recording:
    """What is in a recording. Absent topics are empty series.

    Attributes:
        path: its folder.
        about: what it says about itself.
        robot: the robot file that was used.
        contract: the policy's contract; None when the policy is not known.
        policy: file of the policy; None when it is not known.
        states, commands, wanted, asked, answered, ticks: the packets of ``robolearn.deploy.wire``.
        power: of the drives: fields ``power``, W, and ``energy``, J, each (N, 1), at the end of each control cycle.
        velocity: what was asked for on cmd_vel: field ``command``, (N, 3) m/s, m/s, rad/s.
        notes: from safety_monitor/events.
        modes: (time, mode) as safety_monitor/state said.
        silent: (N,) times of the control cycles without a reading, s on the robot's clock.
        start: s on the robot's clock at the first cycle, from which all times are counted; 0 where no cycle was heard.
        counts: messages by topic.
        unreadable: packets by topic that fit neither robot nor policy.
        complete: whether the recorder ended in an orderly way.
        lost: messages that the recorder lost, as far as it knew; None when it did not say.
    """

    path: Path
    about: About
    robot: RobotFile
    contract: PolicyContract | None
    policy: Path | None
    states: Series
    commands: Series
    wanted: Series
    asked: Series
    answered: Series
    ticks: Series
    power: Series
    velocity: Series
    notes: tuple[Note, ...]
    modes: tuple[tuple[float, Mode], ...]
    silent: Array
    start: float
    counts: Mapping[str, int]
    unreadable: Mapping[str, int]
    complete: bool
    lost: int | None

    @property
    def duration(self) -> float:
        """Length, s on the robot's clock."""
        series = (self.states, self.commands, self.ticks)
        return max((float(each.time[-1]) for each in series if len(each)), default=0.0)


def find(path: str | Path) -> Path:
    """Return the folder of a recording: ``path`` itself, the folder of an mcap file, or the newest one in ``path``.

    Raises:
        BagError: there is none.
    """
    path = Path(path)
    if not path.exists():
        raise BagError(f"{path}: no such file or folder")
    folder = path if path.is_dir() else path.parent
    if (folder / ABOUT).exists():
        return folder
    if path.is_dir():
        inside = sorted((each.parent for each in path.glob(f"*/{ABOUT}")), key=lambda each: each.name)
        if inside:
            return inside[-1]
    raise BagError(f"{path}: no recording of recorder_node here ({ABOUT} is missing)")


def load(path: str | Path, policy: str | Path | None = None) -> Recording:
    """Read a recording.

    Args:
        path: as for ``find``.
        policy: the policy file that ran, where the recorder was not told of it; with another file nothing of the
            policy can be read.

    Raises:
        BagError: there is no recording, it is empty, damaged, or of another kind.
        ConfigError: its description or robot file is damaged.
        PolicyFileError: the policy file cannot be used.
    """
    folder = find(path)
    about = read_about(folder)
    robot = load_robot_file(folder / ROBOT)
    files = sorted(folder.glob("*.mcap"))
    if len(files) != 1:
        raise BagError(f"{folder}: {len(files)} mcap files instead of one")
    bag = read_mcap(files[0])
    if not any(stream.messages for stream in bag.streams.values()):
        raise BagError(f"{folder}: no message was recorded; did the robot's nodes run in namespace {about.namespace}?")
    file = folder / POLICY if (folder / POLICY).exists() else Path(policy) if policy else None
    contract, sha256 = read_contract(file) if file else (None, "")
    return _Loader(folder, about, robot, contract, file, bag).load(sha256)


class _Loader:
    def __init__(
        self,
        folder: Path,
        about: About,
        robot: RobotFile,
        contract: PolicyContract | None,
        policy: Path | None,
        bag: Mcap,
    ) -> None:
        self._folder, self._about, self._robot = folder, about, robot
        self._contract, self._policy, self._bag = contract, policy, bag
        prefix = about.namespace.rstrip("/") + "/"
        self._streams = {topic.removeprefix(prefix): stream for topic, stream in bag.streams.items()}
        self._begin = min(stream.stamps[0] for stream in bag.streams.values() if stream.stamps)
        self._unreadable: dict[str, int] = {}
        self._arrivals, self._cycles = np.zeros(0), np.zeros(0)

    def load(self, sha256: str) -> Recording:
        robot, contract = self._robot, self._contract
        state = StatePacket(robot).packet
        self._set_clock(state)
        asked = answered = Series()
        if contract is not None:
            packets = PolicyPackets(robot, contract, sha256)
            asked = self._series("policy_input", packets.input)
            answered = self._series("policy_output", packets.output)
        else:
            self._unreadable |= {t: n for t in ("policy_input", "policy_output") if (n := self._count(t))}
        command = CommandPacket(robot).packet
        ticks = TickPacket(robot, 0 if contract is None else len(contract.command)).packet
        return Recording(
            path=self._folder,
            about=self._about,
            robot=robot,
            contract=contract,
            policy=self._policy,
            states=self._series("robot_state", state),
            commands=self._series("joint_commands", command),
            wanted=self._series("joint_commands_wanted", command),
            asked=asked,
            answered=answered,
            ticks=self._series("safety_monitor/tick", ticks),
            power=self._series("power", PowerPacket(robot).packet),
            velocity=self._velocity(),
            notes=self._notes(),
            modes=self._modes(),
            silent=self._silent(state),
            start=float(self._cycles[0]) if len(self._cycles) else 0.0,
            counts={topic: len(stream.messages) for topic, stream in sorted(self._streams.items()) if stream.messages},
            unreadable={topic: count for topic, count in self._unreadable.items() if count},
            complete=self._bag.complete,
            lost=self._lost(),
        )

    def _count(self, topic: str) -> int:
        return len(self._streams[topic].messages) if topic in self._streams else 0

    def _set_clock(self, packet: Packet) -> None:
        """Learn from the readings when, on the robot's clock, things arrived."""
        stream = self._streams.get("robot_state", Stream(""))
        for found in rows(stream.messages):
            if found.fingerprint == packet.fingerprint and found.values.shape[1] == packet.size:
                arrivals, cycles = self._seconds(stream, found.where), found.values[:, 0]
                if (np.diff(cycles) >= 0).all() and (np.diff(arrivals) >= 0).all():  # else: the recorder's own clock
                    self._arrivals, self._cycles = arrivals, cycles

    def _seconds(self, stream: Stream, where: NDArray[np.intp]) -> Array:
        """Return when messages arrived, s since the recording began."""
        return (np.array(stream.stamps, np.int64)[where] - self._begin) / 1e9

    def _time(self, arrival: Array) -> Array:
        """Return when something happened on the robot's clock, s since its first cycle."""
        if not len(self._cycles):
            return arrival
        known, first = self._arrivals, self._cycles[0]
        beyond = np.minimum(arrival - known[0], 0.0) + np.maximum(arrival - known[-1], 0.0)
        return np.interp(arrival, known, self._cycles) - first + beyond

    def _series(self, topic: str, packet: Packet) -> Series:
        stream = self._streams.get(topic)
        if stream is None:
            return Series()
        fitting, parts = [], []
        unreadable = len(stream.messages)
        for found in rows(stream.messages):
            if topic == "robot_state" and _is_silent(packet, found):
                unreadable -= len(found.where)
                continue
            try:
                parts.append(take_apart(packet, found))
            except WireError:
                continue
            fitting.append(found.where)
            unreadable -= len(found.where)
        self._unreadable[topic] = unreadable
        if not fitting:
            return Series()
        where = fitting[0]  # one fingerprint and one size: one group
        arrival = self._seconds(stream, where)
        time = self._time(arrival)
        if "cycle" in parts[0] and len(self._cycles):
            exact = parts[0]["cycle"][:, 0] - self._cycles[0]
            time = np.where(np.abs(exact - time) < 1.0, exact, time)  # some packets answer no cycle
        return Series(time, arrival, parts[0])

    def _silent(self, packet: Packet) -> Array:
        messages = self._streams.get("robot_state", Stream("")).messages
        return np.concatenate([np.zeros(0), *(f.values[:, 0] for f in rows(messages) if _is_silent(packet, f))])

    def _messages(self, topic: str) -> tuple[Array, list[Any]]:
        """Return the times (N,) and the messages of an ordinary topic; damaged ones are counted as unreadable."""
        stream = self._streams.get(topic, Stream(""))
        where, found = [], []
        for place, message in enumerate(stream.messages):
            try:
                found.append(TYPES.deserialize_cdr(bytes(message), stream.kind))
            except Exception:  # the library has no common base for what can be wrong with bytes
                self._unreadable[topic] = self._unreadable.get(topic, 0) + 1
                continue
            where.append(place)
        return self._seconds(stream, np.array(where, np.intp)), found

    def _velocity(self) -> Series:
        arrival, found = self._messages("cmd_vel")
        twists = [getattr(message, "twist", message) for message in found]
        command = np.array([(t.linear.x, t.linear.y, t.angular.z) for t in twists]).reshape(-1, 3)
        return Series(self._time(arrival), arrival, {"command": command})

    def _notes(self) -> tuple[Note, ...]:
        arrival, found = self._messages("safety_monitor/events")
        notes = []
        for time, message in zip(self._time(arrival).tolist(), found, strict=True):
            try:
                data = json.loads(message.data)
            except ValueError:
                data = None
            notes.append(Note(time, data if isinstance(data, dict) else {"message": message.data}))
        return tuple(notes)

    def _modes(self) -> tuple[tuple[float, Mode], ...]:
        arrival, found = self._messages("safety_monitor/state")
        times = self._time(arrival).tolist()
        known = {mode.value for mode in Mode}
        return tuple((t, Mode(m.data)) for t, m in zip(times, found, strict=True) if m.data in known)

    def _lost(self) -> int | None:
        """Return what the recorder said at its end."""
        try:
            data = load_yaml(self._folder / "metadata.yaml")["rosbag2_bagfile_information"]["custom_data"]
            return int(data["lost"])
        except (ConfigError, KeyError, TypeError, ValueError):
            return None


def _is_silent(packet: Packet, found: Rows) -> bool:
    """Tell whether these are cycles of the drives without a reading: their packets are short."""
    return found.fingerprint == packet.fingerprint and found.values.shape[1] == 2


def mode_spans(recording: Recording) -> list[tuple[float, float, Mode]]:
    """Return (begin, end, mode), one after the other, s: by the controller's ticks, or by what it announced."""
    ticks = recording.ticks
    changes: Sequence[tuple[float, Mode]]
    if len(ticks):
        index = ticks.column("mode").astype(int)
        places = np.flatnonzero(np.diff(index, prepend=-1))
        changes = [(float(ticks.time[i]), MODES[index[i]]) for i in places]
    else:
        changes = [
            change
            for before, change in zip((None, *recording.modes), recording.modes, strict=False)
            if before is None or before[1] is not change[1]
        ]
    ends = [begin for begin, _ in changes[1:]] + [max(recording.duration, changes[-1][0] if changes else 0.0)]
    return [(begin, end, mode) for (begin, mode), end in zip(changes, ends, strict=False)]


def finite(value: float) -> float | None:
    """Return a number for JSON: None where it is not finite."""
    return value if math.isfinite(value) else None
