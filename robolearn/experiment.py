"""One experiment: a robot, a task, and everything that training needs, composed from YAML files and overrides.

An experiment file names a robot and a task and overrides what differs from ``configs/defaults.yaml``::

    base: defaults          # another experiment file; its entries are kept where this one is silent
    robot: a1               # a name, or the path of a robot YAML
    task: velocity_flat     # a name, a path, or a mapping such as {base: velocity_flat, episode_s: 10}
    ppo: {learning_rate: 1.0e-3}
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robolearn.config import ConfigError, load_yaml, parse, parse_override, to_dict, unknown
from robolearn.methods.eco.config import MIRROR, EcoConfig
from robolearn.rl.config import NetworkConfig, PPOConfig, RunnerConfig
from sim.environment import EnvConfig, TaskEnv
from sim.robots import list_robots, load_robot
from sim.tasks import TaskConfig, list_tasks, load_task

if TYPE_CHECKING:
    from robolearn.rl.distributed import ProcessGroup
    from robolearn.rl.runner import OnPolicyRunner

FOLDER = Path(__file__).parent / "configs"
DEFAULTS = "defaults"
SEED_STEP = 7919  # distance of the seeds of two processes; any number larger than the usual seeds


@dataclass(frozen=True)
class ExperimentConfig:
    """Everything that determines a training run.

    Attributes:
        name: short name, part of the run folder's name.
        robot: name of a robot, or path of its YAML file.
        task: what to do.
        env: how many copies run where; the number is per process.
        network: shape of actor and critics.
        ppo: settings of the update.
        eco: constraints on the task's costs, and how they are kept; none where null.
        runner: settings of the training loop.
        seed: of everything that is drawn.
    """

    name: str
    robot: str
    task: TaskConfig
    env: EnvConfig = field(default_factory=EnvConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    eco: EcoConfig | None = None
    runner: RunnerConfig = field(default_factory=RunnerConfig)
    seed: int = 1

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise ValueError(f"name must be usable as a folder name, got {self.name!r}")
        if self.seed < 0:
            raise ValueError(f"seed must be >= 0, got {self.seed}")
        bounds = self.eco.constraints if self.eco else {}
        if any(entry.cost == MIRROR for entry in bounds.values()) and self.ppo.symmetry not in ("loss", "both"):
            raise ValueError(
                "ppo.symmetry: a constraint on the mirror error needs it computed: set it to loss or both, and "
                "ppo.mirror_coef to 0 so that only the multiplier weighs it"
            )


def list_experiments() -> list[str]:
    """Names of the experiments that come with the project (those that name a robot and a task)."""
    names = (path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml"))
    return sorted(name for name in names if name != DEFAULTS)


def compose(
    source: str | Path | Mapping[str, Any], robot: str | None = None, overrides: Sequence[str] = ()
) -> ExperimentConfig:
    """Build the configuration of an experiment.

    Args:
        source: name of an experiment, name of a task (any pair of robot and task works without a file), path of an
            experiment file (the ``config.yaml`` of a run is one), or a mapping.
        robot: robot to use instead of the experiment's.
        overrides: ``"ppo.learning_rate=1e-3"``, ``"task.rewards.action_rate.weight=-0.02"``, ...; ``null`` removes an
            entry of a table (a reward, a cost, ...) and sets an optional field to null.

    Raises:
        ConfigError: unknown name or key, wrong type, or refused value.
    """
    data = _read(source)
    if robot is not None:
        data["robot"] = robot
        data.pop("name", None)
    if "robot" not in data:
        raise ConfigError(
            f"task {source!r} needs a robot: add --robot with one of {', '.join(list_robots())}, or a path"
        )
    data["robot"] = _robot_path(data["robot"])
    if (
        robot is not None and load_robot(data["robot"]).mirror is None
    ):  # settings made for another robot must not stop it
        data = overlay(ExperimentConfig, data, {"ppo": {"symmetry": "none"}})
    if "task" not in data:
        raise ConfigError(f"{source}: names no task; valid: {', '.join(list_tasks())}, or the path of a task file")
    data.setdefault("name", f"{Path(str(data['robot'])).stem}_{data['task']['name']}")
    for text in overrides:
        data = overlay(ExperimentConfig, data, parse_override(text))
    if not isinstance(data["task"], Mapping):
        raise ConfigError("override 'task=...': name the task as the first argument, or override entries of it")
    data["task"] = load_task(data["task"])
    return parse(ExperimentConfig, data)


def _read(source: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """Return the raw mapping of an experiment with its bases laid under it and its task resolved."""
    if isinstance(source, Mapping):
        data, folder = dict(source), Path.cwd()
    elif Path(source).suffix in (".yaml", ".yml"):
        data, folder = load_yaml(source), Path(source).parent
        data.setdefault("name", Path(source).stem)
    elif (FOLDER / f"{source}.yaml").is_file():
        data, folder = load_yaml(FOLDER / f"{source}.yaml"), FOLDER
        data.setdefault("name", str(source).replace("/", "_"))
    elif str(source) in list_tasks():
        data, folder = {"base": DEFAULTS, "task": str(source)}, FOLDER
    else:
        raise unknown("experiment or task", str(source), [*list_experiments(), *list_tasks()])
    for key in ("robot", "task"):  # files named in a file are relative to it
        value = data.get(key)
        if isinstance(value, str) and value.endswith((".yaml", ".yml")) and (folder / value).is_file():
            data[key] = str((folder / value).resolve())
    below: dict[str, Any] = {}
    if "base" in data:
        base = str(data.pop("base"))
        below = _read(folder / base if base.endswith((".yaml", ".yml")) else base)
        below.pop("name", None)
    task = data.get("task")
    if isinstance(task, str) or (isinstance(task, Mapping) and ("base" in task or "task" not in below)):
        below["task"] = to_dict(load_task(data.pop("task")))
    return overlay(ExperimentConfig, below, data)


def _robot_path(robot: Any) -> Any:
    if isinstance(robot, str) and robot.endswith((".yaml", ".yml")):
        return str(Path(robot).resolve())
    return robot


def overlay(hint: Any, base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Lay ``override`` over ``base`` (raw mappings of the type ``hint``) and return the result.

    Mappings are laid over each other entry by entry, all else replaces. ``None`` removes an entry of a table
    (``dict[str, ...]``) and is kept as a value in the fields of a dataclass.
    """
    fields = typing.get_type_hints(hint) if dataclasses.is_dataclass(hint) else None
    entry = typing.get_args(hint)[1] if typing.get_origin(hint) is dict else Any
    result = dict(base)
    for key, value in override.items():
        inner = _mapping_type(fields.get(key, Any) if fields is not None else entry)
        if value is None and fields is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            below = result.get(key)
            result[key] = overlay(inner, below if isinstance(below, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def _mapping_type(hint: Any) -> Any:
    """The dataclass or table inside an optional hint."""
    options = [hint, *typing.get_args(hint)]
    return next((o for o in options if dataclasses.is_dataclass(o) or typing.get_origin(o) is dict), Any)


def make_env(
    config: ExperimentConfig, *, num_envs: int | None = None, seed: int | None = None, stagger: bool = False
) -> TaskEnv:
    """Build the environment of an experiment.

    Args:
        config: the experiment.
        num_envs: another number of environments.
        seed: another seed.
        stagger: start the first episodes at random ages, as training needs it.

    Raises:
        ConfigError: the robot or a term of the task does not exist, or they do not fit each other.
    """
    env = config.env if num_envs is None else dataclasses.replace(config.env, num_envs=num_envs)
    return TaskEnv(config.task, load_robot(config.robot), env, config.seed if seed is None else seed, stagger)


def make_runner(
    config: ExperimentConfig, env: TaskEnv, folder: Path | None = None, group: ProcessGroup | None = None
) -> OnPolicyRunner:
    """Build policy, update and training loop of an experiment.

    Raises:
        ConfigError: settings that do not fit each other or the environment.
    """
    from robolearn.methods.eco import EcoMethod
    from robolearn.rl import PPO, ActorCritic, OnPolicyRunner, ProcessGroup, seed_everything

    group = group or ProcessGroup()
    samples = config.env.num_envs * config.runner.steps_per_env
    if config.ppo.minibatches > samples:
        raise ConfigError(f"ppo.minibatches: {config.ppo.minibatches} is more than the {samples} samples of a roll-out")
    seed_everything(config.seed)
    env.dump_folder = folder
    method = None
    if config.eco:
        method = EcoMethod(config.eco, env, config.ppo.clip, config.seed, group, config.task.clip_reward)
    costs = len(method.cost_names) if method else 0
    policy = ActorCritic(env.obs_dims, env.num_actions, costs, config.network).to(env.device)
    seed = config.seed + SEED_STEP * group.rank
    objective = method.objective if method else None
    try:
        ppo = PPO(policy, config.ppo, env.symmetries, seed=seed, group=group, objective=objective)
    except ValueError as error:
        raise ConfigError(f"ppo.{error}") from error
    meta = {"experiment": to_dict(config)}
    return OnPolicyRunner(env, policy, ppo, config.runner, method=method, folder=folder, meta=meta)
