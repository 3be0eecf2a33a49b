"""The task file: everything that says what to do, as a checked tree of dataclasses."""

from __future__ import annotations

import importlib.util
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robolearn.config import ConfigError, convert, load_yaml, merge, parse, unknown
from sim.actuators import ActuatorConfig
from sim.commands import VelocityCommandConfig
from sim.disturbances import DisturbanceConfig
from sim.gait import GaitConfig
from sim.observation import TERMS, ObservationConfig, SensorConfig
from sim.scene import PhysicsConfig
from sim.settings import SettingConfig
from sim.terrain import TerrainConfig

if TYPE_CHECKING:
    from sim.robots import Robot

FOLDER = Path(__file__).parent
Params = dict[str, Any]


@dataclass(frozen=True)
class ActionConfig:
    """From the policy's output to joint targets: ``default pose + robot's action scale * scale * clip(action)``.

    Attributes:
        scale: factor on the robot's own action scale.
        clip: limit of the raw action.
        margin: rad inside a joint's range in which its targets are held, as the soft range of a robot file does; null
            lets them lie anywhere: a policy may then use a weak drive's target as a torque.
        delay: range of the delay in physics steps, drawn at every control step; the previous target holds until then.
    """

    scale: float = 1.0
    clip: float = 10.0
    margin: float | None = None
    delay: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if self.scale <= 0 or self.clip <= 0:
            raise ValueError("scale and clip must be > 0")
        if self.margin is not None and self.margin < 0:
            raise ValueError(f"margin must be 0 or more, or null, got {self.margin}")
        if not 0 <= self.delay[0] <= self.delay[1]:
            raise ValueError(f"delay must be an ordered pair of physics steps, got {list(self.delay)}")

    def target_range(self, robot: Robot) -> tuple[tuple[float, float], ...] | None:
        """Return the lowest and the highest target of each joint, rad; None where targets are not limited.

        Raises:
            ConfigError: the margin leaves the default pose of a joint outside.
        """
        if self.margin is None:
            return None
        for joint, pose, (low, high) in zip(robot.joints, robot.default_pose, robot.position_limit, strict=True):
            if not low + self.margin <= pose <= high - self.margin:
                raise ConfigError(
                    f"actions.margin: {self.margin:g} rad inside its range from {low:g} to {high:g}, joint {joint!r} "
                    f"cannot be in its default pose {pose:g}"
                )
        return tuple((low + self.margin, high - self.margin) for low, high in robot.position_limit)


@dataclass(frozen=True)
class TaskConfig:
    """One task. Term entries map a term's name to its parameters (``{}`` for none).

    Attributes:
        name: name of the task.
        observations: observation groups.
        rewards: reward terms; each has a ``weight`` (per second) besides its parameters.
        clip_reward: whether a negative sum of the rewards counts as 0; the log then tells how often.
        gait: clock of a periodic gait; null for none.
        terminations: conditions that end an episode.
        costs: costs reported beside the reward.
        randomization: what is drawn anew at the start of each episode.
        physics, actuators, actions, sensors, commands, disturbances, terrain: see their classes.
        settings: what the operator of the policy may set, by name; for a policy that reads it as an observation term.
        episode_s: length of an episode in s.
        extensions: Python files, relative to the task file, that register further terms.
    """

    name: str
    observations: ObservationConfig
    rewards: dict[str, Params]
    terminations: dict[str, Params] = field(default_factory=dict)
    costs: dict[str, Params] = field(default_factory=dict)
    randomization: dict[str, Params] = field(default_factory=dict)
    physics: PhysicsConfig = field(default_factory=PhysicsConfig)
    actuators: ActuatorConfig = field(default_factory=ActuatorConfig)
    actions: ActionConfig = field(default_factory=ActionConfig)
    sensors: SensorConfig = field(default_factory=SensorConfig)
    commands: VelocityCommandConfig = field(default_factory=VelocityCommandConfig)
    disturbances: DisturbanceConfig = field(default_factory=DisturbanceConfig)
    terrain: TerrainConfig = field(default_factory=TerrainConfig)
    gait: GaitConfig | None = None
    clip_reward: bool = False
    settings: dict[str, SettingConfig] = field(default_factory=dict)
    episode_s: float = 20.0
    extensions: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        readable = [name for name, term in TERMS.items() if term.setting]
        for name in self.settings:
            if name not in readable:
                raise unknown("setting", name, readable, "task.settings")
        if self.episode_s <= 0:
            raise ValueError(f"episode_s must be > 0, got {self.episode_s}")
        if self.actions.delay[1] > self.physics.decimation:
            raise ValueError(
                f"actions.delay may not pass one control step ({self.physics.decimation} physics steps), "
                f"got {list(self.actions.delay)}"
            )

    @property
    def step_dt(self) -> float:
        """Control period in s."""
        return self.physics.timestep * self.physics.decimation


def list_tasks() -> list[str]:
    """Names of the tasks that come with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_task(source: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> TaskConfig:
    """Read a task by name (``velocity_flat``), from a file of the user's, or from a mapping.

    A file or mapping may build on another task with ``base: NAME``; its entries are laid over that one's, and the
    extensions of both are loaded.

    Raises:
        ConfigError: unknown name or key, wrong type or value; the message says which and what would be right.
    """
    data = _resolve(source)
    if overrides:
        data = merge(data, overrides)
    for path in convert(list[str], data.get("extensions", []), "task.extensions"):
        load_extension(Path(path).resolve())
    return parse(TaskConfig, data, "task")


def _resolve(source: str | Path | Mapping[str, Any], above: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the raw mapping of a task with its bases laid under it; ``above`` are the files that build on it."""
    if isinstance(source, Mapping):
        data, folder = dict(source), Path.cwd()
    else:
        path = Path(source)
        if path.suffix not in (".yaml", ".yml"):
            path = FOLDER / f"{source}.yaml"
            if not path.is_file():
                raise unknown("task", str(source), list_tasks())
        if str(path.resolve()) in above:
            raise ConfigError(f"{path}: a task cannot be its own base")
        above = (*above, str(path.resolve()))
        data, folder = load_yaml(path), path.parent
    extensions = convert(list[str], data.get("extensions", []), "task.extensions")
    extensions = [str((folder / entry).resolve()) for entry in extensions]
    if "base" in data:
        base = str(data.pop("base"))
        below = _resolve(folder / base if base.endswith((".yaml", ".yml")) else base, above)
        extensions = list(dict.fromkeys([*below.get("extensions", []), *extensions]))  # the base's terms are used too
        data = merge(below, data)
    if extensions:
        data["extensions"] = extensions
    return data


def load_extension(path: Path) -> None:
    """Run a Python file of the user's once, so that its decorated functions become terms.

    Raises:
        ConfigError: the file is missing or fails to run.
    """
    name = f"robolearn_extension_{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigError(f"task.extensions: {path} is not a Python file that can be read")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"task.extensions: {path} fails to run: {type(error).__name__}: {error}") from error
