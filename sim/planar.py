"""Two planar robots, Hopper and Walker2d of Gymnasium, as vectorised environments with physical costs.

They are small enough for a constrained-learning experiment to take minutes on one core, and known well enough for its
result to be compared with published figures. Observation, action, reward, termination, time limit, reset noise and
frame skip are those of ``Hopper-v5`` and ``Walker2d-v5``; the models are read from the installed package. Actions are
limited to the model's control range before anything else is computed from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from math import inf
from typing import Any, Literal

import mujoco
import torch
from torch import Tensor

from robolearn.config import ConfigError, unknown
from sim.engines import make_engine
from sim.interface import Observations, StepResult, Symmetry

COSTS = ("mechanical_power", "speed_excess", "torque_square")
"""Columns that an environment can have: W, 1 while too fast, (N m)^2."""
FRAME_SKIP = 4
"""Physics steps per control step."""
RESET_NOISE = 5e-3
"""Half width of the uniform noise on the first positions (m, rad) and velocities (m/s, rad/s)."""
CONTROL_PENALTY = 1e-3
"""Weight of the squared action in the reward."""
MAX_OBSERVED_SPEED = 10.0
"""Limit of the observed velocities (m/s, rad/s)."""


@dataclass(frozen=True)
class PlanarRobot:
    """What differs between the robots.

    Attributes:
        model_file: MJCF in Gymnasium's assets.
        height: lowest and highest healthy height of the root in m.
        pitch: largest healthy pitch of the root in rad.
        state: largest healthy size of positions (from the height on) and velocities.
        speed_limit: forward speed in m/s above which ``speed_excess`` is 1: that of Safety-Gymnasium's
            ``SafetyHopperVelocity-v1`` and ``SafetyWalker2dVelocity-v1``.
    """

    model_file: str
    height: tuple[float, float]
    pitch: float
    state: float
    speed_limit: float


ROBOTS: Mapping[str, PlanarRobot] = {
    "hopper": PlanarRobot("hopper.xml", (0.7, inf), 0.2, 100.0, 0.7402),
    "walker2d": PlanarRobot("walker2d_v5.xml", (0.8, 2.0), 1.0, inf, 2.3415),
}


@dataclass(frozen=True)
class PlanarConfig:
    """Which robot, how many copies, and what is measured.

    Attributes:
        name: the robot.
        num_envs: number of copies.
        threads: simulator threads; 0 for one per core.
        episode_steps: control steps until the time limit.
        costs: columns of the costs, out of ``COSTS``.
        reward_scale: factor of the reward; returns of thousands take a critic long to reach.
    """

    name: Literal["hopper", "walker2d"] = "hopper"
    num_envs: int = 64
    threads: int = 0
    episode_steps: int = 1000
    costs: tuple[str, ...] = COSTS
    reward_scale: float = 1.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: a robot or cost that is not known, a cost named twice, or a number out of range.
        """
        if self.name not in ROBOTS:
            raise unknown("planar robot", self.name, ROBOTS)
        for cost in self.costs:
            if cost not in COSTS:
                raise unknown("cost", cost, COSTS)
        if len(set(self.costs)) < len(self.costs):
            raise ConfigError(f"costs: each may be named once, got {', '.join(self.costs)}")
        for field, low in (("num_envs", 1), ("threads", 0), ("episode_steps", 1)):
            if getattr(self, field) < low:
                raise ConfigError(f"{field}: must be {low} or more, got {getattr(self, field)}")
        if not 0 < self.reward_scale < inf:
            raise ConfigError(f"reward_scale: must be above 0 and finite, got {self.reward_scale}")


def load_model(name: str) -> mujoco.MjModel:
    """Compile the model of a robot in ``ROBOTS`` from the installed Gymnasium.

    Raises:
        ConfigError: no such robot, or a Gymnasium without its file.
    """
    if name not in ROBOTS:
        raise unknown("planar robot", name, ROBOTS)
    file = resources.files("gymnasium.envs.mujoco") / "assets" / ROBOTS[name].model_file
    if not file.is_file():
        raise ConfigError(f"the installed gymnasium has no {file.name}: pip install 'gymnasium>=1.0'")
    return mujoco.MjModel.from_xml_string(file.read_text(encoding="utf-8"))


class PlanarEnv:
    """N copies of a planar robot; implements ``sim.interface.VecEnv``.

    The observation (both groups are the same) is every position but the horizontal one, then the velocities.

    Args:
        config: robot, size and costs.
        seed: of everything that is drawn.
        stagger: start the first episodes at random ages, so that they do not all end in the same step.

    Attributes:
        config: as given.
        robot: what the robot's name stands for.
        engine: the simulator.
        speed: (N,) float64, mean forward speed in m/s over the last control step.
    """

    def __init__(self, config: PlanarConfig | None = None, seed: int = 0, stagger: bool = False) -> None:
        self.config = config = config or PlanarConfig()
        self.robot = ROBOTS[config.name]
        self.stagger = stagger
        model = load_model(config.name)
        # A state that is not finite must be seen: by default MuJoCo would put the model's own in its place, silently.
        model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        self.engine = make_engine("mujoco", model, config.num_envs, threads=config.threads)
        self.device = self.engine.device
        self.num_envs, self.num_actions = config.num_envs, int(model.nu)
        self.cost_names = config.costs
        self.max_episode_length = config.episode_steps
        self.step_dt = FRAME_SKIP * self.engine.timestep
        self.symmetries: tuple[Symmetry, ...] = ()
        self.obs_dims = dict.fromkeys(("policy", "critic"), int(model.nq + model.nv) - 1)
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self._qpos, self._qvel, self._ctrl = (self.engine.field(name) for name in ("qpos", "qvel", "ctrl"))
        self._start_qpos = torch.from_numpy(model.qpos0.copy())
        self._low, self._high = torch.from_numpy(model.actuator_ctrlrange.copy()).unbind(1)
        self._gear = torch.from_numpy(model.actuator_gear[:, 0].copy())
        self._joints = torch.from_numpy(model.jnt_dofadr[model.actuator_trnid[:, 0]].astype("int64"))
        self._all = torch.arange(self.num_envs, device=self.device)
        self._nothing = self._groups(torch.zeros(0, self.obs_dims["policy"], device=self.device))
        self._age = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
        self.speed = torch.zeros(self.num_envs, dtype=self.engine.dtype, device=self.device)

    def reset(self) -> Observations:
        """Start a new episode everywhere and return its first observations."""
        self._restart(self._all)
        if self.stagger:
            self._age = torch.randint(self.max_episode_length, self._age.shape, generator=self.generator)
        return self._observe()

    @torch.no_grad()
    def step(self, actions: Tensor) -> StepResult:
        """Apply actions (N, A), limited to the control range, for one control period.

        Raises:
            ValueError: ``actions`` has another shape.
        """
        if actions.shape != (self.num_envs, self.num_actions):
            raise ValueError(f"actions must be {(self.num_envs, self.num_actions)}, got {tuple(actions.shape)}")
        action = torch.clamp(actions.to(self.engine.dtype), self._low, self._high)
        torque = action * self._gear
        start = self._qpos[:, 0].clone()
        power = self._simulate(action, torque)
        valid = self._recover(action)
        self.speed = (self._qpos[:, 0] - start) / self.step_dt
        healthy = self._healthy()
        reward = self.speed + healthy - CONTROL_PENALTY * action.square().sum(1)
        reward = (reward * self.config.reward_scale).float()
        columns = {
            "mechanical_power": power,
            "speed_excess": (self.speed > self.robot.speed_limit).to(power),
            "torque_square": torque.square().sum(1),
        }
        costs = reward.new_zeros(self.num_envs, len(self.cost_names))
        for k, name in enumerate(self.cost_names):
            costs[:, k] = columns[name]
        self._age += 1
        terminated = ~healthy & valid
        truncated = ((self._age >= self.max_episode_length) | ~valid) & ~terminated
        obs, final = self._observe(), self._nothing
        ended = (terminated | truncated).nonzero().squeeze(1)
        if len(ended):
            final = self._groups(obs["policy"][ended])
            reward, costs = reward.masked_fill(~valid, 0), costs.masked_fill(~valid.unsqueeze(1), 0)
            self._restart(ended)
            obs = self._observe()
        log: dict[str, float | Tensor] = {"speed": torch.where(valid, self.speed, 0).mean()}
        return StepResult(obs, reward, costs, terminated, truncated, ended, final, valid, log)

    def _simulate(self, action: Tensor, torque: Tensor) -> Tensor:
        """Run one control step; return (N,) the mean over its physics steps of ``sum_j |torque_j velocity_j|`` in W.

        Each physics step counts with the joint velocities that it starts from, as in ``TaskEnv``.
        """
        self._ctrl.copy_(action)
        if "mechanical_power" not in self.cost_names:
            self.engine.step(FRAME_SKIP)
            return torch.zeros_like(self.speed)
        power = torch.zeros_like(self.speed)
        for _ in range(FRAME_SKIP):
            power += (torque * self._qvel[:, self._joints]).abs_().sum(1)
            self.engine.step()
        return power / FRAME_SKIP

    def _recover(self, action: Tensor) -> Tensor:
        """Put environments whose state or action is not finite back to the start; return (N,) bool, True for the rest.

        An action that is not a number must be caught here: MuJoCo would replace it by zero torque without a word.
        """
        valid = self.engine.finite() & action.sum(1).isfinite()
        if not bool(valid.all()):
            bad = (~valid).nonzero().squeeze(1)
            self.engine.reset(bad)
            self._qpos[bad], self._qvel[bad] = self._start_qpos, 0.0
        return valid

    def _healthy(self) -> Tensor:
        """(N,) bool: height, pitch and the size of the state are within the robot's limits."""
        low, high = self.robot.height
        height, pitch = self._qpos[:, 1], self._qpos[:, 2]
        healthy = (low < height) & (height < high) & (pitch.abs() < self.robot.pitch)
        if self.robot.state < inf:
            size = torch.maximum(self._qpos[:, 2:].abs().amax(1), self._qvel.abs().amax(1))
            healthy &= size < self.robot.state
        return healthy

    def _observe(self) -> Observations:
        velocity = self._qvel.clamp(-MAX_OBSERVED_SPEED, MAX_OBSERVED_SPEED)
        return self._groups(torch.cat((self._qpos[:, 1:], velocity), 1).float())

    def _groups(self, obs: Tensor) -> Observations:
        return dict.fromkeys(self.obs_dims, obs)

    def _restart(self, ids: Tensor) -> None:
        """Begin new episodes in environments (M,) with a drawn state near the model's own."""
        self.engine.reset(ids)
        self._qpos[ids] = self._start_qpos + self._noise(len(ids), self._qpos.shape[1])
        self._qvel[ids] = self._noise(len(ids), self._qvel.shape[1])
        self._age[ids] = 0

    def _noise(self, rows: int, columns: int) -> Tensor:
        uniform = torch.rand(rows, columns, dtype=self.engine.dtype, device=self.device, generator=self.generator)
        return (2 * uniform - 1) * RESET_NOISE

    def state_dict(self) -> dict[str, Any]:
        """A copy of everything that the future depends on: simulator, ages of the episodes, random state."""
        return {
            "engine": self.engine.state_dict(),
            "age": self._age.clone(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly from ``state_dict()``.

        Raises:
            ValueError: the state was saved by an environment of another size or robot.
        """
        self.engine.load_state_dict(state["engine"])
        self._age = state["age"].clone()
        self.generator.set_state(state["generator"].cpu())

    def close(self) -> None:
        """Release the simulator."""
        self.engine.close()
