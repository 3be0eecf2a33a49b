"""Runs a policy again over the recorded requests and says where it differs from what was recorded, and since when.

A robot and a training that disagree about one signal show up here: as the one term of the observation that differs.
What the operator had set comes with each recorded answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robolearn.config import ConfigError
from robolearn.deploy.contract import Observation, PolicyContract
from robolearn.deploy.inputs import PolicyResult
from robolearn.deploy.policy import OnnxPolicy
from robolearn.deploy.robot import RobotFile
from robolearn.deploy.runner import PolicyRunner
from robolearn.deploy.types import Array, RobotState
from robolearn.replay.mcap import BagError
from robolearn.replay.recording import Recording

TOLERANCE = 1e-5
"""Largest difference that counts as none, in the unit of the quantity; the observation has the network's units."""

_LATEST = 1.0
"""s between a request and its answer, at most."""


@dataclass(frozen=True)
class Difference:
    """How one quantity differs from what was recorded.

    Attributes:
        group: ``observation``, ``action`` or ``joint_target``.
        name: term of the observation, or joint.
        largest: largest absolute difference; infinite where one of the two is not finite.
        rms: root of the mean square over all columns and outputs.
        since: s, when it was above the tolerance for the first time; None when it never was.
        where: column and frame of the largest difference, in words; empty where there is only one or no difference.
        remembered: the term is read from the policy's own memory: it follows from earlier outputs.
    """

    group: str
    name: str
    largest: float
    rms: float
    since: float | None
    where: str
    remembered: bool


@dataclass(frozen=True)
class Rerun:
    """A policy over recorded requests.

    Attributes:
        policy: its file.
        outputs: how many were compared.
        skipped: requests that could not be: without an answer, or behind a hole in the recording, where nobody knows
            what the policy remembered.
        tolerance: above which a difference counts.
        differences: terms of the observation in order, then actions, then joint targets.
        left_out: terms that only one of the two policies has.
    """

    policy: Path
    outputs: int
    skipped: int
    tolerance: float
    differences: tuple[Difference, ...]
    left_out: tuple[str, ...]

    @property
    def identical(self) -> bool:
        """Whether nothing differs."""
        return all(difference.since is None for difference in self.differences)

    @property
    def first(self) -> Difference | None:
        """What differs first: the cause is there; of several at once, that which differs most."""
        differing = [difference for difference in self.differences if difference.since is not None]
        return min(differing, key=lambda each: (each.since, _rank(each), -each.largest), default=None)

    @property
    def most(self) -> Difference | None:
        """Which term of the observation that is read from the robot differs most; None when none does."""
        terms = [each for each in self.differences if each.group == "observation" and not each.remembered]
        differing = [each for each in terms if each.since is not None]
        return max(differing, key=lambda each: each.largest, default=None)


def rerun(recording: Recording, policy: str | Path | None = None, tolerance: float = TOLERANCE) -> Rerun:
    """Feed the recorded requests to a policy and compare.

    Args:
        recording: with requests and answers of a policy.
        policy: file of the policy; None takes the one of the recording.
        tolerance: above which a difference counts.

    Raises:
        BagError: the recording has no requests, or names no policy.
        ConfigError: the policy does not fit the robot, or reads other commands.
        PolicyFileError: the policy file cannot be used.
    """
    file = policy or recording.policy
    if file is None or recording.contract is None:
        raise BagError(f"{recording.path}: the recorder was not told of a policy; name the one that ran with --policy")
    loaded = OnnxPolicy(file)
    held = _settings(recording, loaded.contract)
    runner = PolicyRunner(loaded, recording.robot, timer=lambda: 0.0)
    if len(loaded.contract.command) != len(recording.contract.command):
        raise ConfigError(
            f"{file}: reads {len(loaded.contract.command)} commands, but {len(recording.contract.command)} are recorded"
        )
    places, results = [], []
    skipped = 0
    for request, answer, result in _evaluate(recording, loaded, runner, held):
        if answer is None or result is None:
            skipped += 1
        else:
            places.append((request, answer))
            results.append(np.concatenate([result.observation, result.action, result.joint_target]))
    if not places:
        raise BagError(f"{recording.path}: no request to the policy is recorded with its answer; did it ever run?")
    requests, answers = np.array(places).T
    answered = recording.answered
    recorded = np.hstack([answered[name][answers] for name in ("observation", "action", "joint_target")])
    pairs = list(_pairs(loaded.contract, recording.contract, recording.robot))
    time = recording.asked.time[requests]
    again = np.array(results, np.float64)
    return Rerun(
        policy=Path(file),
        outputs=len(places),
        skipped=skipped,
        tolerance=tolerance,
        differences=tuple(
            _difference(pair, again[:, pair.ours], recorded[:, pair.theirs], time, tolerance) for pair in pairs
        ),
        left_out=_left_out(loaded.contract.observation, recording.contract.observation),
    )


@dataclass(frozen=True)
class _Pair:
    """Columns that belong together: in the outputs computed again, and in the recorded ones."""

    group: str
    name: str
    ours: list[int]
    theirs: list[int]
    labels: list[str]
    remembered: bool = False


def _settings(recording: Recording, ours: PolicyContract) -> list[dict[str, float] | None]:
    """Return for each request what the operator had set, of what our policy and the recorded one have both.

    An answer says it. Where one is missing, it is what the answers before and behind it agree on; None: nobody knows.
    """
    asked, answered = recording.asked, recording.answered
    recorded = {} if recording.contract is None else recording.contract.settings
    both = {name: column for column, name in enumerate(recorded) if name in ours.settings}
    if not both or not len(answered):
        return [{}] * len(asked)
    values = answered["settings"][:, list(both.values())]
    behind = np.searchsorted(answered.arrival, asked.arrival)
    found: list[dict[str, float] | None] = []
    for i in range(len(asked)):
        its = _answer(recording, i)
        around = (int(behind[i]) - 1, int(behind[i])) if its is None else (its,)
        near = [place for place in around if 0 <= place < len(answered)]
        same = (values[near] == values[near[0]]).all()
        found.append(dict(zip(both, values[near[0]].tolist(), strict=True)) if same else None)
    return found


def _evaluate(
    recording: Recording, policy: OnnxPolicy, runner: PolicyRunner, held: Sequence[Mapping[str, float] | None]
) -> Iterator[tuple[int, int | None, PolicyResult | None]]:
    """Yield the places of each request and its answer, and the policy's output; None where there is none."""
    asked = recording.asked
    if not len(asked):
        return
    numbers, firsts = asked.column("number"), asked.column("first")
    evaluations = recording.answered.column("evaluation") if len(recording.answered) else np.zeros(0)
    known = False  # whether the policy remembers what it remembered then
    count = 0  # outputs since it forgot its past
    waiting: list[int] = []  # requests without an answer: whether the policy saw them, the next answer tells

    def step(i: int) -> PolicyResult | None:
        nonlocal known, count
        settings = held[i]
        if firsts[i]:
            runner.reset()
            known, count = True, 0
        known = known and settings is not None
        if not known or settings is None:
            return None
        policy.set(settings)
        count += 1
        return runner.evaluate(_reading(recording, i), asked["command"][i], 0.0)

    for i in range(len(asked)):
        if i == 0 or numbers[i] != numbers[i - 1] + 1:
            known = False
        answer = _answer(recording, i)
        if answer is None:
            waiting.append(i)
            continue
        seen = _seen([*waiting, i], firsts, count, int(evaluations[answer]))
        known = known and seen is not None
        for j in waiting:
            if seen is not None and j in seen:
                step(j)
            yield j, None, None
        waiting = []
        yield i, answer, step(i)
    yield from ((j, None, None) for j in waiting)


def _seen(requests: Sequence[int], firsts: Array, count: int, evaluation: int) -> Sequence[int] | None:
    """Return which requests the policy saw, of some in a row of which only the last has an answer; None: nobody knows.

    Args:
        requests: their places.
        firsts: (N,) whether the policy forgets its past before a request.
        count: outputs that it had given before them since it forgot its past.
        evaluation: the same with the answer.
    """
    for seen in (requests, requests[-1:]):
        total = count
        for i in seen:
            total = 1 if firsts[i] else total + 1
        if total == evaluation:
            return seen
    return None


def _reading(recording: Recording, request: int) -> RobotState:
    """Return what the policy was given of the robot."""
    asked = recording.asked
    return RobotState(
        position=asked["position"][request],
        velocity=asked["velocity"][request],
        torque=np.zeros(len(recording.robot.joints)),
        orientation=asked["orientation"][request],
        angular_velocity=asked["angular_velocity"][request],
        sequence=request,
        stamp=0.0,
    )


def _answer(recording: Recording, request: int) -> int | None:
    """Return the place of the answer to a request; after a restart of the controller numbers come a second time."""
    asked, answered = recording.asked, recording.answered
    if not len(answered):
        return None
    numbered = np.flatnonzero(answered.column("number") == asked.column("number")[request])
    near = numbered[np.abs(answered.arrival[numbered] - asked.arrival[request]) < _LATEST]
    return int(near[0]) if len(near) else None


def _columns(contract: PolicyContract) -> dict[str, dict[str, int]]:
    """Return by term, and by what to call it, each column of the observation."""
    found: dict[str, dict[str, int]] = {term.name: {} for term in contract.observation.terms}
    place = 0
    for frame in range(contract.observation.history):
        for term in contract.observation.terms:
            joints = contract.robot.joints
            names = joints if term.width == len(joints) else [f"column {i}" for i in range(term.width)]
            for name in names:
                found[term.name][f"{name}, {frame} outputs old" if frame else name] = place
                place += 1
    return found


def _pairs(ours: PolicyContract, theirs: PolicyContract, robot: RobotFile) -> Iterator[_Pair]:
    left, right = _columns(ours), _columns(theirs)
    for term in ours.observation.terms:
        columns, others = left[term.name], right.get(term.name, {})
        if labels := [label for label in columns if label in others]:
            mine, its = [columns[each] for each in labels], [others[each] for each in labels]
            yield _Pair("observation", term.name, mine, its, labels, term.signal in ours.memory)
    for group, shift in (("action", 0), ("joint_target", len(robot.joints))):
        for i, joint in enumerate(robot.joints):
            yield _Pair(
                group, joint, [ours.observation.width + shift + i], [theirs.observation.width + shift + i], [""]
            )


def _left_out(ours: Observation, theirs: Observation) -> tuple[str, ...]:
    names = {term.name for term in ours.terms} ^ {term.name for term in theirs.terms}
    return tuple(sorted(names))


def _difference(pair: _Pair, ours: Array, theirs: Array, time: Array, tolerance: float) -> Difference:
    with np.errstate(invalid="ignore"):
        error = np.abs(ours - theirs)
    both = np.isnan(ours) & np.isnan(theirs)
    error = np.where(both | (ours == theirs), 0.0, np.nan_to_num(error, nan=np.inf))
    above = np.flatnonzero((error > tolerance).any(axis=1))
    worst = int(error.max(axis=0).argmax())
    return Difference(
        group=pair.group,
        name=pair.name,
        largest=float(error.max()),
        rms=float(np.sqrt((error**2).mean())),
        since=float(time[above[0]]) if len(above) else None,
        where=pair.labels[worst] if len(above) else "",
        remembered=pair.remembered,
    )


def _rank(difference: Difference) -> int:
    return ("observation", "action", "joint_target").index(difference.group)
