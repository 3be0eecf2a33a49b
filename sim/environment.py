"""The vectorised environment: N copies of one robot doing one task."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from sim.actuators import Actuators
from sim.commands import VelocityCommand
from sim.disturbances import Disturbances
from sim.engines import make_engine
from sim.engines.dump import StateRecorder, write_dump
from sim.interface import Observations, StepResult, Symmetry
from sim.observation import Layout, ObservationPipeline
from sim.randomization import Randomizable
from sim.robots.robot import Robot
from sim.scene import build_scene
from sim.sensing import Sensing
from sim.settings import Settings
from sim.state import RobotState
from sim.tasks.config import TaskConfig
from sim.tasks.evaluation import TermEvaluator
from sim.terrain import Terrain, TerrainCurriculum

LOG = logging.getLogger(__name__)
RECORDED_STEPS = 8
"""Control steps that a divergence dump holds; a replay keeps each step's first torques, which costs a hundredth of the
physics, where recording every physics step would cost four."""
MAX_DUMPS = 3
"""Dumps written in one run at most."""


@dataclass(frozen=True)
class EnvConfig:
    """How many copies run where.

    Attributes:
        num_envs: number of environments.
        engine: ``mujoco`` (CPU) or ``warp`` (GPU).
        device: ``cpu`` or ``cuda:0``, ....
        threads: simulator threads on the CPU; 0 for one per core.
    """

    num_envs: int = 512
    engine: Literal["mujoco", "warp", "pybullet", "drake"] = "mujoco"
    device: str = "cpu"
    threads: int = 0

    def __post_init__(self) -> None:
        if self.num_envs < 1 or self.threads < 0:
            raise ValueError("num_envs must be >= 1 and threads >= 0")


class TaskEnv:
    """N robots on a task; implements ``sim.interface.VecEnv``.

    Args:
        task: the task.
        robot: the robot.
        config: size, engine and device.
        seed: of everything that is drawn.
        stagger: start the first episodes at random ages, so that they do not all end in the same step.

    Attributes:
        state: the robots' state, what the terms read.
        commands: what is asked of the robots.
        settings: what the operator sets, such as an energy budget.
        disturbances: pushes and forces; its ``external`` adds a force of the caller's.
        pipeline: raw signals to observations.
        engine, scene, robot, task, terrain: the parts it is made of.
        dump_folder: where the states before a divergence are written, for ``robolearn replay``; None writes nothing.
    """

    def __init__(
        self, task: TaskConfig, robot: Robot, config: EnvConfig | None = None, seed: int = 0, stagger: bool = False
    ) -> None:
        config = config or EnvConfig()
        self.task, self.robot, self.config, self.stagger = task, robot, config, stagger
        self.device = torch.device(config.device)
        self.num_envs, self.num_actions = config.num_envs, len(robot.joints)
        self.step_dt = task.step_dt
        self.max_episode_length = max(1, round(task.episode_s / self.step_dt))
        self.generator = torch.Generator(device=self.device).manual_seed(seed)
        self.terrain = Terrain(task.terrain, self.device)
        self.scene = build_scene(robot, self.terrain, task.physics)
        self._terms = TermEvaluator(task)
        self.cost_names = self._terms.cost_names
        self.engine = make_engine(
            config.engine, self.scene.model, self.num_envs, config.device, config.threads, self._terms.model_fields
        )
        self._qpos, self._qvel, self._ctrl = (self.engine.field(name) for name in ("qpos", "qvel", "ctrl"))
        width = len(VelocityCommand.mirror)
        self.state = RobotState(self.engine, self.scene, robot, self.terrain, width, self.step_dt, task.gait)
        self.actuators = Actuators(task.actuators, robot, self.num_envs, self.device, self.engine.dtype)
        self.commands = VelocityCommand(task.commands, self.state, self.generator)
        self.settings = Settings(task.settings, self.num_envs, self.device, self.generator)
        self.state.settings = self.settings.values
        self.disturbances = Disturbances(task.disturbances, self.engine, self.scene, self.state, self.generator)
        self.curriculum = TerrainCurriculum(self.terrain, self.num_envs, self.generator)
        layout = Layout(
            robot, task.sensors.scan_shape, VelocityCommand.mirror, task.gait is not None, tuple(task.settings)
        )
        self.pipeline = ObservationPipeline(task.observations.groups, layout).to(self.device)
        self.sensing = Sensing(task.sensors, self.pipeline, self.state, self.engine, self.generator)
        self.obs_dims = {name: group.width for name, group in self.pipeline.items()}
        symmetry = self.pipeline.symmetry()
        self.symmetries: tuple[Symmetry, ...] = () if symmetry is None else (symmetry,)
        self._default_pose = torch.tensor(robot.default_pose, device=self.device, dtype=self.engine.dtype)
        self._action_scale = (
            torch.tensor(robot.action_scale, device=self.device, dtype=self.engine.dtype) * task.actions.scale
        )
        limits = task.actions.target_range(robot)
        self._target_range = (
            None if limits is None else torch.tensor(limits, device=self.device, dtype=self.engine.dtype).unbind(1)
        )
        self._all = torch.arange(self.num_envs, device=self.device)
        self._target = self._default_pose.repeat(self.num_envs, 1)
        self._start_qpos = self._default_state()
        self._nominal = {
            name: torch.as_tensor(getattr(self.scene.model, name), device=self.device, dtype=self.engine.dtype)
            for name in self._terms.model_fields
        }
        self._randomizable = Randomizable(
            self.engine, self.scene, robot, self.actuators, self._nominal, self.generator, *self._start(self._all)
        )
        self._nothing = {name: torch.zeros(0, width, device=self.device) for name, width in self.obs_dims.items()}
        self._recorder = StateRecorder(self.engine, RECORDED_STEPS, task.physics.decimation)
        self.dump_folder: Path | None = None
        self._dumps = 0
        self._rubs = "joint_friction" in task.randomization
        self._start_xy = torch.zeros(self.num_envs, 2, device=self.device)
        self._commanded = torch.zeros(self.num_envs, device=self.device)

    def _default_state(self) -> Tensor:
        """(nq,) generalised positions of the start pose at the world's origin."""
        qpos = torch.as_tensor(self.scene.model.qpos0, device=self.device, dtype=self.engine.dtype).clone()
        qpos[:3] = 0
        qpos[2] = self.robot.base_height
        qpos[3:7] = torch.tensor([1.0, 0, 0, 0])
        qpos[torch.as_tensor(self.scene.joint_qpos, dtype=torch.int64)] = self._default_pose
        return qpos

    def reset(self) -> Observations:
        """Start a new episode everywhere and return its first observations."""
        self._restart(self._all)
        if self.stagger:
            shape, limit = (self.num_envs,), self.max_episode_length
            self.state.start_at(torch.randint(limit, shape, generator=self.generator, device=self.device))
        return self.sensing.observe()

    @torch.no_grad()
    def step(self, actions: Tensor) -> StepResult:
        """Apply actions (N, J) for one control period.

        In this order: disturbances change; the physics runs, torques follow from the state at every physics step;
        rewards, costs and terminations are computed from the state reached and the command that held; commands move on;
        episodes that ended give away their last observation and begin anew; everyone's observations are taken.

        Raises:
            ValueError: ``actions`` has another shape.
        """
        if actions.shape != (self.num_envs, self.num_actions):
            raise ValueError(f"actions must be {(self.num_envs, self.num_actions)}, got {tuple(actions.shape)}")
        s = self.state
        limit = self.task.actions.clip
        s.earlier_action, s.previous_action = s.previous_action, s.action
        s.action = actions.to(s.action.dtype).clamp(-limit, limit)
        self.disturbances.update()
        self._simulate()
        valid = self._recover()
        s.episode_step += 1
        s.update()
        reward, costs, terminated, log = self._terms(s)
        terminated &= valid
        truncated = (s.episode_step >= self.max_episode_length) | ~valid
        if not self.terrain.is_flat:  # beyond the rim there is nothing to stand on
            truncated |= self.terrain.outside(s.base_position[:, :2])
        truncated &= ~terminated
        self._commanded += s.command[:, :2].norm(dim=1) * self.step_dt
        self.commands.update()
        ended = (terminated | truncated).nonzero().squeeze(1)
        final = self._nothing
        if len(ended):
            final = self.sensing.observe(ended)
            log |= self._learn_from(ended)
            self._restart(ended)
            reward, costs = reward.masked_fill(~valid, 0), costs.masked_fill(~valid.unsqueeze(1), 0)
        return StepResult(self.sensing.observe(), reward, costs, terminated, truncated, ended, final, valid, log)

    def _simulate(self) -> None:
        """Run the physics of one control step; joint torques are computed anew at every physics step."""
        s, decimation = self.state, self.task.physics.decimation
        goal = torch.addcmul(self._default_pose, s.action.to(self.engine.dtype), self._action_scale)
        if self._target_range is not None:
            goal = goal.clamp(*self._target_range)
        low, high = self.task.actions.delay
        delay = None
        if high > 0:
            delay = torch.randint(low, high + 1, (self.num_envs, 1), generator=self.generator, device=self.device)
        power = torch.zeros(self.num_envs, device=self.device, dtype=self.engine.dtype)
        heat = torch.zeros_like(power)
        torque = self._ctrl
        for k in range(decimation):
            target = goal if delay is None or k >= high else torch.where(delay > k, self._target, goal)
            velocity = self._qvel[:, s.joint_v]
            torque = self.actuators.torque(target, self._qpos[:, s.joint_q], velocity)
            power += (torque * velocity).abs_().sum(1)
            heat += torch.linalg.vecdot(torque, torque)
            self._ctrl.copy_(torque - self.actuators.friction_torque(velocity) if self._rubs else torque)
            if k == 0:
                self._recorder.record()
            self.engine.step(derived=k == decimation - 1)
            self.sensing.record()
        self._target = goal
        s.torque = torque.float()
        s.power, s.torque_square = (power / decimation).float(), (heat / decimation).float()

    def _recover(self) -> Tensor:
        """Put environments whose state or action is not finite back to the start; return (N,) bool, True for the rest.

        An action that is not a number must be caught here: MuJoCo would replace it by zero torque without a word.
        """
        s = self.state
        valid = self.engine.finite() & s.action.sum(1).isfinite()
        if not bool(valid.all()):
            bad = (~valid).nonzero().squeeze(1)
            self._dump(bad)
            self.engine.reset(bad)
            self._qpos[bad], self._qvel[bad] = self._start(bad)
            self.engine.forward(bad)
            for tensor in (s.action, s.torque, s.power, s.torque_square, s.joint_velocity, s.base_velocity_w):
                tensor[bad] = 0
            self.sensing.forget(bad)
        return valid

    def _dump(self, ids: Tensor) -> None:
        """Write what happened before environments (M,) failed: the first few times, and only into a given folder."""
        if self.dump_folder is None or self._dumps >= MAX_DUMPS:
            return
        self._dumps += 1
        path = self.dump_folder / f"divergence_{self._dumps}.npz"
        try:
            write_dump(path, self.engine, self._recorder, ids, f"task {self.task.name}, robot {self.robot.name}")
        except OSError as error:
            LOG.warning("the dump %s could not be written: %s", path, error)
        else:
            LOG.warning("%d environments had a state that is not finite; what came before is in %s", len(ids), path)

    def _start(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(M, nq), (M, nv): the start pose on the ground of environments (M,), at rest."""
        qpos = self._start_qpos.repeat(len(ids), 1)
        qpos[:, :3] += self.curriculum.origins(ids).to(qpos)
        return qpos, torch.zeros(len(ids), self._qvel.shape[1], device=self.device, dtype=self.engine.dtype)

    def _learn_from(self, ended: Tensor) -> dict[str, float | Tensor]:
        """Move the curricula on, from the episodes that ended, and say where they stand."""
        log: dict[str, float | Tensor] = {}
        if not self.terrain.is_flat:
            walked = (self.state.base_position[ended, :2] - self._start_xy[ended]).norm(dim=1)
            self.curriculum.update(ended, walked, self._commanded[ended])
            log["curriculum/level"] = self.curriculum.mean_level
        return log

    def _restart(self, ids: Tensor) -> None:
        """Begin new episodes in environments (M,): draw what is randomised, place the robots, read their state."""
        self.engine.reset(ids)
        drawn = self._randomizable
        drawn.qpos, drawn.qvel = self._start(ids)
        self._terms.randomize(drawn, ids)
        self._qpos.index_copy_(0, ids, drawn.qpos)
        self._qvel.index_copy_(0, ids, drawn.qvel)
        self._target.index_copy_(0, ids, drawn.qpos[:, drawn.joint_position_index])
        self._place(ids)
        self.disturbances.reset(ids)
        self.commands.sample(ids)
        self.commands.follow_heading()
        self.settings.sample(ids)
        self.sensing.reset(ids)
        self._start_xy[ids] = self.state.base_position[ids, :2]
        self._commanded[ids] = 0

    def _place(self, ids: Tensor) -> None:
        """Read the state of robots (M,), and raise those whose drawn pose would begin with a foot in the ground.

        What rises is corrected by hand: on Warp, a second ``forward`` costs as much as a physics step of everyone.
        """
        s = self.state
        self.engine.forward(ids)
        s.refresh(ids)
        feet = s.foot_position[ids]
        depth = self.scene.foot_clearance + self.terrain.heights_at(feet[..., :2]) - feet[..., 2]
        rise = depth.amax(1).clamp(min=0)
        self._qpos[ids, 2] += rise.to(self._qpos.dtype)
        s.base_position[ids, 2] += rise
        s.base_height[ids] += rise
        s.foot_position[ids, :, 2] += rise.unsqueeze(1)
        unloaded = (rise > 0).unsqueeze(1)
        s.foot_force[ids] = s.foot_force[ids].masked_fill(unloaded, 0)
        s.foot_contact[ids] &= ~unloaded

    def state_dict(self) -> dict[str, Any]:
        """A copy of everything that the future depends on: simulator, buffers, curricula, random state."""
        return _copied({
            "engine": self.engine.state_dict(),
            "state": self.state.state_dict(),
            "commands": self.commands.state_dict(),
            "settings": self.settings.state_dict(),
            "disturbances": self.disturbances.state_dict(),
            "curriculum": self.curriculum.state_dict(),
            "sensing": self.sensing.state_dict(),
            "kp": self.actuators.kp,
            "kd": self.actuators.kd,
            "strength": self.actuators.strength,
            "friction": self.actuators.friction,
            "target": self._target,
            "start_xy": self._start_xy,
            "commanded": self._commanded,
            "generator": self.generator.get_state(),
        })  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly from ``state_dict()``.

        Raises:
            ValueError: the state was saved by an environment of another size or model.
        """
        self.engine.load_state_dict(state["engine"])
        for part in ("state", "commands", "disturbances", "curriculum", "sensing"):
            getattr(self, part).load_state_dict(state[part])
        self.settings.load_state_dict(state.get("settings", {}))  # states from before there were any have no entry
        for name in ("kp", "kd", "strength", "friction"):
            getattr(self.actuators, name).copy_(state[name])
        self._target = state["target"].to(self._target, copy=True)
        self._start_xy.copy_(state["start_xy"])
        self._commanded.copy_(state["commanded"])
        self.generator.set_state(state["generator"].cpu())

    def close(self) -> None:
        """Release the simulator."""
        self.engine.close()


def _copied(tree: Any) -> Any:
    """Return a tree of mappings with every tensor in it cloned."""
    if isinstance(tree, Mapping):
        return {name: _copied(value) for name, value in tree.items()}
    return tree.clone() if isinstance(tree, Tensor) else tree
