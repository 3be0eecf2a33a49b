"""The robot's state as tasks see it: float32 tensors of N environments, computed once per control step."""

from __future__ import annotations

import torch
from torch import Tensor

from sim.engines import Engine
from sim.gait import GaitConfig, advance, stance
from sim.robots.robot import Robot
from sim.rotations import rotation_matrix
from sim.scene import Scene
from sim.terrain import Terrain

CONTACT_FORCE = 1.0
"""A body counts as touching the ground above this net force, in N."""
_READ = (
    "base_position", "base_quat", "base_rotation", "base_linear_velocity", "base_angular_velocity",
    "base_velocity_w", "projected_gravity", "heading", "base_height", "joint_position", "joint_velocity",
    "foot_position", "foot_velocity", "foot_force", "foot_contact", "termination_contact", "undesired_contact",
)  # fmt: skip
"""What comes straight from the simulator."""


class RobotState:
    """State of N robots. Frames: ``_w`` world, ``_b`` base. Written by ``update`` and by the environment.

    Attributes:
        base_position: (N, 3) m, in the world.
        base_quat: (N, 4) unit quaternion (w, x, y, z), base to world.
        base_rotation: (N, 3, 3) base to world.
        base_linear_velocity: (N, 3) m/s, base frame.
        base_angular_velocity: (N, 3) rad/s, base frame.
        base_velocity_w: (N, 6) m/s and rad/s, linear and angular velocity in the world.
        base_acceleration: (N, 6) m/s^2 and rad/s^2, change of that over the control step, kicks included.
        projected_gravity: (N, 3) direction of gravity in the base frame.
        heading: (N,) rad.
        base_height: (N,) m above the ground below the base.
        joint_position, joint_velocity: (N, J) rad, rad/s.
        joint_acceleration: (N, J) rad/s^2, mean over the control step.
        torque: (N, J) N m, of the last physics step.
        power: (N,) W, mechanical power ``sum |tau dq|``, mean over the physics steps of the control step.
        torque_square: (N,) (N m)^2, sum of the squared torques, mean over the physics steps of the control step.
        foot_position, foot_velocity: (N, F, 3) m, m/s in the world (one physics step old, as the simulator gives them).
        foot_force: (N, F) N, net contact force.
        foot_contact: (N, F) bool.
        foot_air_time: (N, F) s since the foot left the ground; 0 while it touches.
        foot_landed: (N, F) bool, the foot touched down in this step.
        foot_last_air_time: (N, F) s, length of the last completed swing.
        gait_phase: (N,) in [0, 1), the clock of the task's gait; 0 where the task has none.
        gait_stance: (N, F) bool, feet that should stand at that phase; all of them where the task has no gait.
        termination_contact: (N,) bool, a body that must not touch the ground does.
        undesired_contact: (N, U) bool, for each part (body, or geom beside a foot) that should not touch the ground.
        action, previous_action, earlier_action: (N, J) the actions of this step and the two before.
        command: (N, C) what is asked of the robot.
        settings: (N, 1) by name, what the operator has set; kept by ``sim.settings``.
        external_force: (N, 3) N on the base, in the world, random and given ones together.
        episode_step: (N,) int64 control steps since the episode began.
    """

    def __init__(
        self,
        engine: Engine,
        scene: Scene,
        robot: Robot,
        terrain: Terrain,
        command_width: int,
        step_dt: float,
        gait: GaitConfig | None = None,
    ) -> None:
        n, joints, feet, device = engine.num_envs, len(robot.joints), len(robot.feet), engine.device
        self.num_envs, self.step_dt, self.robot, self.terrain, self.device = n, step_dt, robot, terrain, device
        self._scene, self._gait = scene, gait
        self._gait_step = step_dt / gait.period if gait else 0.0
        self._gait_offsets = torch.tensor(gait.foot_offsets(robot) if gait else (), device=device)
        self._qpos, self._qvel = engine.field("qpos"), engine.field("qvel")
        self._sensors, self._body_position = engine.field("sensordata"), engine.field("xpos")
        contacts = (scene.foot_force, scene.termination_force, scene.undesired_force)  # columns in one run
        first, stop = contacts[0].start, contacts[-1].stop
        self._contacts = slice(first, stop)
        self._parts = [slice((columns.start - first) // 3, (columns.stop - first) // 3) for columns in contacts]
        self._triples = torch.kron(torch.eye((stop - first) // 3), torch.ones(1, 3)).to(device)
        self.joint_q = _columns(scene.joint_qpos, device)
        self.joint_v = _columns(scene.joint_qvel, device)

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(n, *shape, device=device, dtype=dtype)

        self.base_position, self.base_quat, self.base_rotation = zeros(3), zeros(4), zeros(3, 3)
        self.base_linear_velocity, self.base_angular_velocity = zeros(3), zeros(3)
        self.base_velocity_w, self.base_acceleration = zeros(6), zeros(6)
        self.projected_gravity, self.heading, self.base_height = zeros(3), zeros(), zeros()
        self.joint_position, self.joint_velocity, self.joint_acceleration = zeros(joints), zeros(joints), zeros(joints)
        self.torque, self.power, self.torque_square = zeros(joints), zeros(), zeros()
        self.foot_position, self.foot_velocity, self.foot_force = zeros(feet, 3), zeros(feet, 3), zeros(feet)
        self.foot_contact, self.foot_landed = zeros(feet, dtype=torch.bool), zeros(feet, dtype=torch.bool)
        self.foot_air_time, self.foot_last_air_time = zeros(feet), zeros(feet)
        self.gait_phase, self.gait_stance = zeros(), ~zeros(feet, dtype=torch.bool)
        self.termination_contact = zeros(dtype=torch.bool)
        self.undesired_contact = zeros(len(robot.undesired_contact_bodies), dtype=torch.bool)
        self.action, self.previous_action, self.earlier_action = zeros(joints), zeros(joints), zeros(joints)
        self.command, self.external_force = zeros(command_width), zeros(3)
        self.settings: dict[str, Tensor] = {}
        self.episode_step = zeros(dtype=torch.int64)
        self.default_pose = torch.tensor(robot.default_pose, device=device)
        self.position_limit = torch.tensor(robot.position_limit, device=device)

    def update(self) -> None:
        """Read the simulator after a control step of every environment."""
        last_velocity, last_base_velocity = self.joint_velocity, self.base_velocity_w
        self._read(slice(None))
        self.joint_acceleration = (self.joint_velocity - last_velocity) / self.step_dt
        self.base_acceleration = (self.base_velocity_w - last_base_velocity) / self.step_dt
        touching = self.foot_contact
        self.foot_landed = touching & (self.foot_air_time > 0)
        swing = self.foot_air_time + self.step_dt
        self.foot_last_air_time = torch.where(self.foot_landed, swing, self.foot_last_air_time)
        self.foot_air_time = torch.where(touching, 0.0, swing)
        self.set_phase(advance(self.gait_phase, self._gait_step))

    def set_phase(self, phase: Tensor) -> None:
        """Set the gait clock to phases (N,), where the task has a gait."""
        if self._gait is not None:
            self.gait_phase = phase
            self.gait_stance = stance(phase, self._gait_offsets, self._gait.double_support)

    def start_at(self, episode_step: Tensor) -> None:
        """Let episodes begin at an age of (N,) int64 control steps."""
        self.episode_step = episode_step
        self.set_phase(advance(episode_step * self._gait_step, 0.0))

    def refresh(self, ids: Tensor) -> None:
        """Read the simulator again for environments (M,) that were reset, and clear what spans steps."""
        whole = {name: getattr(self, name) for name in _READ}
        self._read(ids)
        for name, tensor in whole.items():
            setattr(self, name, tensor.index_copy_(0, ids, getattr(self, name)))
        for tensor in (
            self.joint_acceleration, self.base_acceleration, self.torque, self.power, self.torque_square,
            self.foot_air_time,
            self.foot_last_air_time, self.foot_landed, self.action, self.previous_action, self.earlier_action,
            self.external_force, self.episode_step, self.gait_phase,
        ):  # fmt: skip
            tensor.index_fill_(0, ids, 0)
        self.set_phase(self.gait_phase)

    def _read(self, rows: slice | Tensor) -> None:
        qpos, qvel, sensors = (_by_column(tensor[rows]) for tensor in (self._qpos, self._qvel, self._sensors))
        self.base_position, self.base_quat = qpos[:, 0:3], qpos[:, 3:7]
        rotation = self.base_rotation = rotation_matrix(self.base_quat)
        self.projected_gravity = -rotation[:, 2]
        self.base_linear_velocity = (qvel[:, 0:3].unsqueeze(1) @ rotation).squeeze(1)
        self.base_angular_velocity = qvel[:, 3:6]
        self.base_velocity_w = torch.cat((qvel[:, 0:3], (rotation @ qvel[:, 3:6].unsqueeze(2)).squeeze(2)), 1)
        self.heading = torch.atan2(rotation[:, 1, 0], rotation[:, 0, 0])
        self.base_height = qpos[:, 2] - self.terrain.heights_at(qpos[:, 0:2])
        self.joint_position, self.joint_velocity = qpos[:, self.joint_q], qvel[:, self.joint_v]
        scene = self._scene
        self.foot_position = sensors[:, scene.foot_position].unflatten(1, (-1, 3))
        self.foot_velocity = sensors[:, scene.foot_velocity].unflatten(1, (-1, 3))
        # The net force of every part at once: its square times a table of ones takes a fifth of summing three by three.
        forces = (self._triples @ sensors.t()[self._contacts].square()).sqrt_().t()
        touching = forces > CONTACT_FORCE
        feet, fatal, undesired = self._parts
        self.foot_force, self.foot_contact = forces[:, feet], touching[:, feet]
        self.termination_contact, self.undesired_contact = touching[:, fatal].any(1), touching[:, undesired]

    @property
    def gait_step(self) -> float | None:
        """Cycles of the gait per control step; None where the task has no gait."""
        return None if self._gait is None else self._gait_step

    @property
    def knee_position(self) -> Tensor:
        """(N, F, 3) m in the world: the knee of each foot's leg, one physics step old as the feet's positions are."""
        return self._body_position[:, self._scene.knee_bodies].float()

    def scan(self, grid: Tensor, rows: slice | Tensor = slice(None)) -> Tensor:
        """Ground height below the base's heading-aligned grid (P, 2) of points, relative to the base, (N, P) m.

        ``rows`` picks environments.
        """
        heading, position = self.heading[rows].unsqueeze(1), self.base_position[rows]
        cos, sin, x, y = heading.cos(), heading.sin(), grid[:, 0], grid[:, 1]
        points = torch.stack((cos * x - sin * y, sin * x + cos * y), -1) + position[:, None, :2]
        return self.terrain.heights_at(points) - position[:, 2:3]

    def state_dict(self) -> dict[str, Tensor]:
        """Every tensor of the state by name."""
        return {name: value for name, value in vars(self).items() if _is_state(name, value)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore ``state_dict()``."""
        for name, value in self.state_dict().items():
            setattr(self, name, state[name].to(value.device, value.dtype).clone())


def _is_state(name: str, value: object) -> bool:
    constants = ("default_pose", "position_limit")
    return isinstance(value, Tensor) and not name.startswith("_") and name not in constants


def _by_column(rows: Tensor) -> Tensor:
    """A float32 copy of (N, D), column after column in memory: terms compute with columns, N numbers at a time.

    Always a copy: a view of a float32 engine would move along with the simulator, and the last step's values with it.
    """
    return rows.t().to(torch.float32, memory_format=torch.contiguous_format, copy=True).t()


def _columns(index: object, device: torch.device) -> slice | Tensor:
    """A slice where the indices are consecutive (a view, no copy), an index tensor otherwise."""
    columns = torch.as_tensor(index, dtype=torch.int64)
    first = int(columns[0])
    if torch.equal(columns, torch.arange(first, first + len(columns))):
        return slice(first, first + len(columns))
    return columns.to(device)
