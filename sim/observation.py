"""The observation pipeline: raw named signals in SI units to the network's input, memory included.

It is a torch module without any reference to the simulator. Training calls it, export puts the same module into the
policy's graph, the robot feeds it with its own sensors: nothing is written twice.

Raw signals, (N, width): ``joint_position`` rad, ``joint_velocity`` rad/s, ``base_angular_velocity`` rad/s in the base
frame, ``base_orientation`` quaternion (w, x, y, z), ``command``, ``previous_action``, ``gait_phase`` in cycles; set by
the operator: ``budget``, share of the unconstrained energy; in simulation only: ``base_linear_velocity`` m/s in the
base frame, ``height_scan`` m relative to the base, ``foot_force`` N, ``external_force`` N in the base frame,
``gait_stance`` 1 for feet that should stand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from robolearn.config import ConfigError, unknown
from sim.interface import SignedPermutation, Symmetry
from sim.robots.robot import Robot
from sim.rotations import projected_gravity, roll_pitch

Signals = Mapping[str, Tensor]
Mirror = tuple[list[int], list[float]]
VECTOR, PSEUDOVECTOR, PLANAR_TWIST = [1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, -1.0, -1.0]


@dataclass(frozen=True)
class Layout:
    """What the pipeline must know of robot and task to size and mirror its terms.

    Attributes:
        robot: the robot.
        scan: rows and columns of the height scan (rear to front, right to left); (0, 0) without one.
        command_mirror: sign of each command entry under left-right mirroring; its length is the command's width.
        gait: whether the task has a gait, and so a clock.
        settings: names of what the operator sets.
    """

    robot: Robot
    scan: tuple[int, int]
    command_mirror: tuple[float, ...]
    gait: bool = False
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Term:
    """One kind of observation: how to read it, how wide it is, what it becomes under left-right mirroring.

    Attributes:
        signal: the raw signal it reads.
        unit: unit of the values before scaling.
        read: raw signals to values, (N, width).
        width: number of values.
        mirror: permutation and signs of the values; None when the robot declares no mirror symmetry.
        offset: subtracted from the values before scaling; zero when None.
        setting: the operator gives the signal; a task with this term has it among its settings.
    """

    signal: str
    unit: str
    read: Callable[[Signals], Tensor]
    width: Callable[[Layout], int]
    mirror: Callable[[Layout], Mirror]
    offset: Callable[[Layout], tuple[float, ...]] | None = None
    setting: bool = False


def _joint_mirror(layout: Layout) -> Mirror:
    mirror = layout.robot.mirror
    if mirror is None:
        raise ConfigError(f"robot {layout.robot.name!r} declares no mirror symmetry")
    return [joint.index for joint in mirror], [float(joint.sign) for joint in mirror]


def _foot_mirror(layout: Layout) -> Mirror:
    feet = layout.robot.foot_mirror
    if feet is None:
        raise ConfigError(f"robot {layout.robot.name!r} declares no mirror symmetry of its feet")
    return list(feet), [1.0] * len(feet)


def _scan_mirror(layout: Layout) -> Mirror:
    rows, columns = layout.scan
    grid = torch.arange(rows * columns).view(rows, columns)
    return grid.flip(1).flatten().tolist(), [1.0] * (rows * columns)


def _signal(name: str) -> Callable[[Signals], Tensor]:
    return lambda signals: signals[name]


def _vector(signs: list[float]) -> Callable[[Layout], Mirror]:
    return lambda _: ([0, 1, 2], signs)


def _clock(signals: Signals) -> Tensor:
    angle = 2 * math.pi * signals["gait_phase"]
    return torch.cat((angle.sin(), angle.cos()), -1)


def _joints(layout: Layout) -> int:
    return len(layout.robot.joints)


def _setting(name: str) -> Term:
    """A setting of the operator: one number, which has no side."""
    return Term(
        name, "1", _signal(name), lambda layout: int(name in layout.settings), lambda _: ([0], [1.0]), setting=True
    )


TERMS: dict[str, Term] = {
    "command": Term(
        "command",
        "m/s, m/s, rad/s",
        _signal("command"),
        lambda layout: len(layout.command_mirror),
        lambda layout: (list(range(len(layout.command_mirror))), list(layout.command_mirror)),
    ),
    "base_angular_velocity": Term(
        "base_angular_velocity", "rad/s", _signal("base_angular_velocity"), lambda _: 3, _vector(PSEUDOVECTOR)
    ),
    "projected_gravity": Term(
        "base_orientation", "1", lambda s: projected_gravity(s["base_orientation"]), lambda _: 3, _vector(VECTOR)
    ),
    "joint_position": Term(
        "joint_position",
        "rad",
        _signal("joint_position"),
        _joints,
        _joint_mirror,
        offset=lambda layout: layout.robot.default_pose,
    ),
    "joint_velocity": Term("joint_velocity", "rad/s", _signal("joint_velocity"), _joints, _joint_mirror),
    "previous_action": Term("previous_action", "1", _signal("previous_action"), _joints, _joint_mirror),
    "roll_pitch": Term(
        "base_orientation",
        "rad",
        lambda s: roll_pitch(s["base_orientation"]),
        lambda _: 2,
        lambda _: ([0, 1], [-1.0, 1.0]),
    ),
    "gait_clock": Term(  # half a cycle later both change their sign
        "gait_phase", "1", _clock, lambda layout: 2 * layout.gait, lambda _: ([0, 1], [-1.0, -1.0])
    ),
    "gait_stance": Term(
        "gait_stance", "1", _signal("gait_stance"), lambda la: len(la.robot.feet) * la.gait, _foot_mirror
    ),
    "base_linear_velocity": Term(
        "base_linear_velocity", "m/s", _signal("base_linear_velocity"), lambda _: 3, _vector(VECTOR)
    ),
    "external_force": Term("external_force", "N", _signal("external_force"), lambda _: 3, _vector(VECTOR)),
    "foot_force": Term("foot_force", "N", _signal("foot_force"), lambda la: len(la.robot.feet), _foot_mirror),
    "height_scan": Term(
        "height_scan", "m", _signal("height_scan"), lambda layout: layout.scan[0] * layout.scan[1], _scan_mirror
    ),
    "budget": _setting("budget"),
}
"""Every observation term by name; a new one is one entry."""


@dataclass(frozen=True)
class TermConfig:
    """How one term enters an observation group: ``clip((value + noise - offset) * scale)``.

    Attributes:
        scale: factor, one for all or one per value.
        clip: limit of the scaled value; none when None.
        noise: half-width of uniform noise, in the term's unit, drawn anew at every step.
        bias: half-width of a uniform offset, in the term's unit, drawn once per episode.
    """

    scale: float | list[float] = 1.0
    clip: float | None = None
    noise: float = 0.0
    bias: float = 0.0

    def __post_init__(self) -> None:
        if self.noise < 0 or self.bias < 0 or (self.clip is not None and self.clip <= 0):
            raise ValueError("noise and bias must be >= 0, clip > 0")


@dataclass(frozen=True)
class GroupConfig:
    """One observation group.

    Attributes:
        terms: its terms, in order.
        history: number of frames, newest first; 1 is the present frame alone.
        measured: read the sensors (noise, bias, delay) instead of the simulator's true state.
    """

    terms: dict[str, TermConfig]
    history: int = 1
    measured: bool = False

    def __post_init__(self) -> None:
        if not self.terms:
            raise ValueError("an observation group needs at least one term")
        if not 1 <= self.history <= 256:
            raise ValueError(f"history must be between 1 and 256 frames, got {self.history}")


class ObservationGroup(nn.Module):
    """Turns raw signals and memory into one observation group.

    Args:
        name: the group's name, used in messages.
        config: its terms.
        layout: robot and task sizes.

    Attributes:
        frame_width: D, values of one frame.
        width: ``history * D``.
        slices: columns of each term within a frame.
    """

    scale: Tensor
    offset: Tensor
    limit: Tensor
    noise: Tensor
    bias: Tensor

    def __init__(self, name: str, config: GroupConfig, layout: Layout) -> None:
        super().__init__()
        self.name, self.config = name, config
        self.slices: dict[str, slice] = {}
        self._read: list[Callable[[Signals], Tensor]] = []
        columns: dict[str, list[float]] = {key: [] for key in ("scale", "offset", "limit", "noise", "bias")}
        start = 0
        for term_name, term_config in config.terms.items():
            where = f"observations.{name}.terms"
            if term_name not in TERMS:
                raise unknown("observation term", term_name, TERMS, where)
            term = TERMS[term_name]
            width = term.width(layout)
            if width == 0:
                raise ConfigError(f"{where}.{term_name}: this robot or task has no such signal")
            scale = term_config.scale if isinstance(term_config.scale, list) else [term_config.scale] * width
            if len(scale) != width:
                raise ConfigError(f"{where}.{term_name}.scale: expected {width} values, got {len(scale)}")
            columns["scale"] += scale
            columns["offset"] += list(term.offset(layout)) if term.offset else [0.0] * width
            columns["limit"] += [term_config.clip if term_config.clip is not None else float("inf")] * width
            columns["noise"] += [term_config.noise] * width
            columns["bias"] += [term_config.bias] * width
            self.slices[term_name] = slice(start, start + width)
            self._read.append(term.read)
            start += width
        for key, values in columns.items():
            self.register_buffer(key, torch.tensor(values, dtype=torch.float32))
        self.frame_width = start
        self.width = start * config.history
        self._clips = bool(torch.isfinite(self.limit).any())
        self._noisy, self._biased = _span(self.noise), _span(self.bias)
        self.noisy = bool(config.measured and self.noise.any())
        self.biased = bool(config.measured and self.bias.any())

    def initial_memory(self, num_envs: int, device: torch.device | str) -> Tensor:
        """Memory at the start of an episode: zeros, (N, history - 1, D)."""
        return torch.zeros(num_envs, self.config.history - 1, self.frame_width, device=device)

    def forward(self, signals: Signals, memory: Tensor, disturbance: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute the group's observation.

        Args:
            signals: raw signals, (N, width) each.
            memory: the frames before this one, newest first, (N, history - 1, D).
            disturbance: sensor noise in the terms' units, (N, D), added before scaling; None for none.

        Returns:
            The observation (N, history * D), and the memory for the next step.
        """
        raw = torch.cat([read(signals) for read in self._read], -1)
        if disturbance is not None:
            raw = raw + disturbance
        frame = (raw - self.offset) * self.scale
        if self._clips:
            frame = torch.minimum(torch.maximum(frame, -self.limit), self.limit)
        if self.config.history == 1:
            return frame, memory
        frames = torch.cat((frame.unsqueeze(1), memory), 1)
        return frames.flatten(1), frames[:, :-1]

    def sample_noise(self, num_envs: int, generator: torch.Generator | None) -> Tensor:
        """Draw uniform sensor noise in the terms' units, (num_envs, D)."""
        return _symmetric(self.noise, self._noisy, num_envs, generator)

    def sample_bias(self, num_envs: int, generator: torch.Generator | None) -> Tensor:
        """Draw the sensors' offsets of an episode, (num_envs, D)."""
        return _symmetric(self.bias, self._biased, num_envs, generator)

    def mirror(self, layout: Layout) -> SignedPermutation:
        """Return what left-right mirroring does to the group's observation (every frame of the history alike)."""
        index: list[int] = []
        sign: list[float] = []
        for term_name, columns in self.slices.items():
            term_index, term_sign = TERMS[term_name].mirror(layout)
            index += [columns.start + i for i in term_index]
            sign += term_sign
        frames = self.config.history
        full = [frame * self.frame_width + i for frame in range(frames) for i in index]
        return SignedPermutation(torch.tensor(full), torch.tensor(sign * frames)).to(self.scale.device)


def _span(widths: Tensor) -> slice:
    """Columns from the first to the last that is not zero."""
    columns = widths.nonzero().flatten().tolist()
    return slice(columns[0], columns[-1] + 1) if columns else slice(0, 0)


def _symmetric(widths: Tensor, span: slice, num_envs: int, generator: torch.Generator | None) -> Tensor:
    """Draw (num_envs, D) from U(-widths, widths); only within ``span``, since drawing is slow, and 0 elsewhere."""
    sample = torch.empty(num_envs, span.stop - span.start, device=widths.device).uniform_(-1, 1, generator=generator)
    return nn.functional.pad(sample.mul_(widths[span]), (span.start, len(widths) - span.stop))


class ObservationPipeline(nn.Module):
    """All observation groups of a task."""

    def __init__(self, groups: Mapping[str, GroupConfig], layout: Layout) -> None:
        super().__init__()
        self.groups = nn.ModuleDict({name: ObservationGroup(name, config, layout) for name, config in groups.items()})
        self.layout = layout

    def group(self, name: str) -> ObservationGroup:
        """Return one group by name."""
        if name not in self.groups:
            raise unknown("observation group", name, self.groups)
        group = self.groups[name]
        assert isinstance(group, ObservationGroup)
        return group

    def items(self) -> list[tuple[str, ObservationGroup]]:
        """Groups by name, in order."""
        return [(name, self.group(name)) for name in self.groups]

    @property
    def uses(self) -> set[str]:
        """Raw signals that some group reads."""
        return {TERMS[term].signal for _, group in self.items() for term in group.slices}

    def symmetry(self) -> Symmetry | None:
        """The left-right symmetry, when the robot declares one."""
        if self.layout.robot.mirror is None:
            return None
        index, sign = _joint_mirror(self.layout)
        groups = {name: group.mirror(self.layout) for name, group in self.items()}
        device = next(iter(groups.values())).sign.device
        return Symmetry(groups, SignedPermutation(torch.tensor(index), torch.tensor(sign)).to(device))


@dataclass(frozen=True)
class SensorConfig:
    """Imperfections of the measuring chain as a whole.

    Attributes:
        delay: range of the age of joint and IMU readings in physics steps, drawn per episode.
        scan_size: length and width of the height scan in m, centred below the base; (0, 0) for none.
        scan_spacing: distance of its points in m.
    """

    delay: tuple[int, int] = (0, 0)
    scan_size: tuple[float, float] = (0.0, 0.0)
    scan_spacing: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.delay[0] <= self.delay[1] <= 64:
            raise ValueError(f"delay must be an ordered pair between 0 and 64 physics steps, got {list(self.delay)}")
        if min(self.scan_size) < 0 or self.scan_spacing <= 0:
            raise ValueError("scan_size must be >= 0 and scan_spacing > 0")

    @property
    def scan_shape(self) -> tuple[int, int]:
        """Rows (rear to front) and columns (right to left) of the scan."""
        if max(self.scan_size) == 0:
            return (0, 0)
        rows, columns = (round(size / self.scan_spacing) + 1 for size in self.scan_size)
        return rows, columns


@dataclass(frozen=True)
class ObservationConfig:
    """Observation groups by name, and the sensors behind them. ``policy`` and ``critic`` are what learners expect."""

    policy: GroupConfig
    critic: GroupConfig
    extra: dict[str, GroupConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("policy", "critic"):
            if name in self.extra:
                raise ValueError(f"extra: {name!r} has its own entry; give the extra group another name")

    @property
    def groups(self) -> dict[str, GroupConfig]:
        """Every group by name."""
        return {"policy": self.policy, "critic": self.critic, **self.extra}
