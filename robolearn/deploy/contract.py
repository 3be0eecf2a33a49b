"""The policy contract: everything about a policy that its graph does not say by itself, in one versioned document.

It travels inside the ONNX file. Every field is required: a loader that made up a default could move a robot wrongly.
Only ``settings`` may be absent, which means that there are none: a signal that is neither a reading of the robot nor a
setting is refused, so nothing is made up. Files from before there were settings stay valid.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from robolearn.config import ConfigError, parse, to_dict, unknown
from robolearn.deploy.onnx_file import PolicyFileError, join, read_file, unseal

KEY = "robolearn.contract"
"""Metadata key of the document."""
VERSION = 1
OUTPUTS = ("joint_target", "action", "observation")
"""Outputs of the graph beside the memory: (1, J) rad, (1, J) as the network gave it after clipping, (1, D)."""
NEXT = "_next"
"""Suffix of the output that holds the new value of a memory."""
SIGNALS = {
    "joint_position": ("rad", "joints in the order of robot.joints"),
    "joint_velocity": ("rad/s", "joints in the order of robot.joints"),
    "base_angular_velocity": ("rad/s", "base frame: x forward, y left, z up"),
    "base_orientation": ("1", "unit quaternion (w, x, y, z), base to world"),
    "command": ("see command", "base heading frame"),
}
"""Raw signals that a robot can measure, with unit and frame."""
SETTING = ("see settings", "set by the operator")
"""Unit and frame of a raw signal that the operator sets."""
TARGET_TOLERANCE = 1e-4
"""rad, between a golden target, which the graph computed in float32, and what the document says that it is."""
Vector = tuple[float, ...]


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class RobotPart:
    """The robot that the policy was made for; J joints in the order of the policy.

    Attributes:
        name: name of the robot.
        joints: (J,) joint names.
        default_pose: (J,) rad.
        kp: (J,) N m/rad, stiffness of the drives under the policy.
        kd: (J,) N m s/rad, damping.
        effort_limit: (J,) N m.
        velocity_limit: (J,) rad/s.
        position_limit: (J,) pairs (lower, upper), rad.
    """

    name: str
    joints: tuple[str, ...]
    default_pose: Vector
    kp: Vector
    kd: Vector
    effort_limit: Vector
    velocity_limit: Vector
    position_limit: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        count = len(self.joints)
        _need(count > 0 and len(set(self.joints)) == count, "joints must be named, each once")
        for name in ("default_pose", "kp", "kd", "effort_limit", "velocity_limit", "position_limit"):
            _need(len(getattr(self, name)) == count, f"{name} has {len(getattr(self, name))} values for {count} joints")
        _need(min(self.kp) > 0 and min(self.kd) >= 0, "kp must be above 0 and kd not below 0")
        _need(min(self.effort_limit) > 0 and min(self.velocity_limit) > 0, "effort and velocity limits must be above 0")
        _need(all(low < high for low, high in self.position_limit), "every position limit must be (lower, upper)")


@dataclass(frozen=True)
class Action:
    """From the network's output to joint targets: ``default_pose + scale * clip(output, -clip, clip)``.

    Attributes:
        scale: (J,) rad per unit of the output.
        clip: limit of the output.
        target_range: lowest and highest target of each joint, rad, in which the graph holds them; None for no limit, as
            in files of before there was one.
    """

    scale: Vector
    clip: float
    target_range: tuple[tuple[float, float], ...] | None = None

    def __post_init__(self) -> None:
        _need(self.clip > 0 and all(scale > 0 for scale in self.scale), "scale and clip must be above 0")
        if self.target_range is not None:
            _need(all(low < high for low, high in self.target_range), "every target_range must be (lowest, highest)")


@dataclass(frozen=True)
class Signal:
    """A raw input of the graph, shape (1, width).

    Attributes:
        width: number of values.
        unit: their unit.
        frame: frame or order in which they are given.
    """

    width: int
    unit: str
    frame: str

    def __post_init__(self) -> None:
        _need(self.width > 0, "width must be above 0")


@dataclass(frozen=True)
class Memory:
    """State between steps: an input of the graph, and the output of the same name with ``_next``.

    Attributes:
        shape: shape of the tensor.
        initial: its values at the start, flattened.
    """

    shape: tuple[int, ...]
    initial: Vector

    def __post_init__(self) -> None:
        _need(math.prod(self.shape) == len(self.initial), f"shape {self.shape} needs {math.prod(self.shape)} values")


@dataclass(frozen=True)
class ObservationTerm:
    """One term of a frame: ``clip((value - offset) * scale)``.

    Attributes:
        name: name of the term.
        signal: the raw signal it is read from.
        width: number of values.
        unit: unit of the values before scaling.
        scale: factor of each value.
        offset: subtracted from each value before.
        clip: limit of the scaled values; null for none.
    """

    name: str
    signal: str
    width: int
    unit: str
    scale: Vector
    offset: Vector
    clip: float | None

    def __post_init__(self) -> None:
        _need(len(self.scale) == len(self.offset) == self.width > 0, "scale and offset need one value per column")


@dataclass(frozen=True)
class Statistics:
    """What the policy saw in training-like roll-outs, per column of the observation, for alarms.

    Attributes:
        samples: number of observations.
        mean: mean of each column.
        std: standard deviation of each column.
        low: smallest value of each column.
        high: largest value of each column.
    """

    samples: int
    mean: Vector
    std: Vector
    low: Vector
    high: Vector


@dataclass(frozen=True)
class Observation:
    """What the network reads: ``history`` frames, newest first, of the terms in order.

    Attributes:
        terms: terms of a frame.
        history: number of frames.
        statistics: of the whole observation.
    """

    terms: tuple[ObservationTerm, ...]
    history: int
    statistics: Statistics

    @property
    def width(self) -> int:
        """D, columns of the observation."""
        return self.history * sum(term.width for term in self.terms)

    def __post_init__(self) -> None:
        _need(self.history >= 1 and len(self.terms) > 0, "needs at least one term and one frame")
        for name in ("mean", "std", "low", "high"):
            count = len(getattr(self.statistics, name))
            _need(count == self.width, f"statistics.{name} has {count} values for {self.width} columns")


@dataclass(frozen=True)
class CommandEntry:
    """One number that the operator commands, with the range it was trained in.

    Attributes:
        name: what it is.
        unit: its unit.
        low: smallest value in training.
        high: largest value in training.
    """

    name: str
    unit: str
    low: float
    high: float

    def __post_init__(self) -> None:
        _need(self.low <= self.high, "low must not be above high")


@dataclass(frozen=True)
class Setting:
    """One number that the operator sets before or during a run, an input of the graph with the same name.

    Attributes:
        low: smallest value in training.
        high: largest value in training.
        default: value where the operator gives none.
        unit: its unit.
        meaning: a line for the operator.
    """

    low: float
    high: float
    default: float
    unit: str
    meaning: str

    def __post_init__(self) -> None:
        _need(self.low < self.high, "low must be below high")
        _need(self.low <= self.default <= self.high, "default must be from low to high")


@dataclass(frozen=True)
class Golden:
    """Inputs and the outputs that torch gave for them, flattened, to be computed again by whoever runs the graph."""

    inputs: dict[str, Vector]
    outputs: dict[str, Vector]


@dataclass(frozen=True)
class PolicyContract:
    """The document.

    Attributes:
        format: names the kind of document.
        version: of the format.
        robot: the robot.
        task: name of the task it was trained on.
        control_dt: s between two evaluations of the graph.
        action: from output to joint targets.
        signals: raw inputs of the graph by name.
        memory: inputs and outputs that carry state, by the input's name.
        observation: what the network reads.
        command: the columns of the signal ``command``.
        golden: pairs to check a runtime with.
        provenance: where it comes from: run, commit, versions, hash of the configuration, time.
        settings: the signals that the operator sets, by name; the others are readings of the robot.
    """

    format: Literal["robolearn.policy"]
    version: Literal[1]
    robot: RobotPart
    task: str
    control_dt: float
    action: Action
    signals: dict[str, Signal]
    memory: dict[str, Memory]
    observation: Observation
    command: tuple[CommandEntry, ...]
    golden: tuple[Golden, ...]
    provenance: dict[str, str]
    settings: dict[str, Setting] = field(default_factory=dict)

    def __post_init__(self) -> None:
        joints = len(self.robot.joints)
        _need(0 < self.control_dt <= 1, "control_dt must be in (0, 1] s")
        _need(len(self.action.scale) == joints, f"action.scale has {len(self.action.scale)} values for {joints} joints")
        limits = self.action.target_range
        if limits is not None:
            _need(len(limits) == joints, f"action.target_range has {len(limits)} entries for {joints} joints")
        overlap = set(self.signals) & set(self.memory)
        _need(not overlap, f"signals and memory share the names {sorted(overlap)}")
        for i, term in enumerate(self.observation.terms):
            known = set(self.signals) | set(self.memory)
            _need(term.signal in known, f"observation.terms[{i}] reads {term.signal!r}, which is no input")
        width = self.signals["command"].width if "command" in self.signals else 0
        set_by_operator = {name for name, signal in self.signals.items() if signal == Signal(1, *SETTING)}
        _need(
            set_by_operator == set(self.settings),
            f"settings has {sorted(self.settings)}, but of the signals the operator sets {sorted(set_by_operator)}",
        )
        _need(not set_by_operator & set(SIGNALS), "settings: what a robot measures cannot be set")
        _need(len(self.command) == width, f"command has {len(self.command)} entries, the signal has {width}")
        _need(len(self.golden) > 0, "golden: at least one pair is needed")
        for i, pair in enumerate(self.golden):
            for kind, sizes, values in (
                ("inputs", self.input_sizes, pair.inputs), ("outputs", self.output_sizes, pair.outputs)
            ):  # fmt: skip
                found = {name: len(value) for name, value in values.items()}
                _need(found == sizes, f"golden[{i}].{kind} has the sizes {found}, the graph {sizes}")
            self._check_targets(i, pair)

    def _check_targets(self, i: int, pair: Golden) -> None:
        """Compare a golden pair with default pose and ``action``: the graph must do what the document says of it."""
        action, (target_name, action_name, _) = self.action, OUTPUTS
        ranges = action.target_range or ((-math.inf, math.inf),) * len(action.scale)
        for joint, output, value, scale, pose, (low, high) in zip(
            self.robot.joints, pair.outputs[action_name], pair.outputs[target_name], action.scale,
            self.robot.default_pose, ranges, strict=True,
        ):  # fmt: skip
            said = min(max(pose + scale * output, low), high)
            _need(
                abs(value - said) <= TARGET_TOLERANCE,
                f"golden[{i}]: the target of joint {joint!r} is {value:.6g} rad; by robot.default_pose and action it "
                f"would be {said:.6g}",
            )

    @property
    def readings(self) -> tuple[str, ...]:
        """Names of the signals that a robot measures: all but the settings."""
        return tuple(name for name in self.signals if name not in self.settings)

    def complete(self, given: Mapping[str, float]) -> dict[str, float]:
        """Return a value for every setting: the given ones, and the defaults of the others.

        Raises:
            ConfigError: a setting that the policy does not have, or a value that it was not trained with.
        """
        for name, value in given.items():
            if not self.settings:
                raise ConfigError(f"unknown setting {name!r}: the policy has none")
            if name not in self.settings:
                raise unknown("setting", name, self.settings)
            setting = self.settings[name]
            if not setting.low <= value <= setting.high:
                raise ConfigError(f"setting {name!r}: must be from {setting.low:g} to {setting.high:g}, got {value:g}")
        return {name: float(given.get(name, setting.default)) for name, setting in self.settings.items()}

    @property
    def input_sizes(self) -> dict[str, int]:
        """Number of values of each input of the graph."""
        signals = {name: signal.width for name, signal in self.signals.items()}
        return signals | {name: len(memory.initial) for name, memory in self.memory.items()}

    @property
    def output_sizes(self) -> dict[str, int]:
        """Number of values of each output of the graph."""
        joints = len(self.robot.joints)
        sizes = dict(zip(OUTPUTS, (joints, joints, self.observation.width), strict=True))
        return sizes | {name + NEXT: len(memory.initial) for name, memory in self.memory.items()}


def to_json(contract: PolicyContract) -> str:
    """Return the document; numbers keep every digit. Without settings it has no such part, as before there were any."""
    data = to_dict(contract)
    if not contract.settings:
        del data["settings"]
    return json.dumps(data, allow_nan=False)


def with_defaults(data: bytes, settings: Mapping[str, float]) -> bytes:
    """Return a policy file with other defaults of its settings; the graph is the same.

    Raises:
        ConfigError: a setting that the policy does not have, or a value outside of its range.
        PolicyFileError: the file is damaged, edited, or of another version.
    """
    model, metadata = unseal(data)
    contract = from_metadata(metadata)
    defaults = contract.complete(settings)
    changed = {name: replace(each, default=defaults[name]) for name, each in contract.settings.items()}
    return join(model, {**metadata, KEY: to_json(replace(contract, settings=changed))})


def read_contract(path: str | Path) -> tuple[PolicyContract, str]:
    """Return what a policy file says about itself, and the SHA-256 of the whole file; its graph is not loaded.

    Raises:
        PolicyFileError: the file is missing, damaged, edited, or of another version.
    """
    try:
        data = read_file(path)
        return from_metadata(unseal(data)[1]), hashlib.sha256(data).hexdigest()
    except PolicyFileError as error:
        raise PolicyFileError(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def from_metadata(metadata: Mapping[str, str]) -> PolicyContract:
    """Return the contract in a file's metadata.

    Raises:
        PolicyFileError: it is missing, not JSON, of another version, or a field is missing, unknown or inconsistent.
    """
    if KEY not in metadata:
        raise PolicyFileError(f"metadata {KEY!r} is missing: this ONNX file was not written by robolearn export")
    try:
        data: Any = json.loads(metadata[KEY])
    except ValueError as error:
        raise PolicyFileError(f"metadata {KEY!r} is not JSON: {error}") from error
    version = data.get("version") if isinstance(data, dict) else None
    if version != VERSION:
        raise PolicyFileError(
            f"contract.version is {version!r}, this robolearn reads {VERSION}; export the policy again with it"
        )
    try:
        return parse(PolicyContract, data, "contract")
    except ConfigError as error:
        raise PolicyFileError(str(error)) from error
