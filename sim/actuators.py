"""Actuator models: joint targets to joint torques, evaluated at every physics step.

Both models are explicit: the torque of a physics step follows from the state at its start, as on a drive that runs
its own position loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sim.robots.robot import Robot

FRICTION_SPEED = 0.2
"""rad/s at which randomised dry friction reaches its full size; far slower than any useful motion of a joint."""


@dataclass(frozen=True)
class ActuatorConfig:
    """Which actuator model a task uses.

    Attributes:
        type: ``pd`` limits the torque to the effort limit; ``dc_motor`` also to the torque-speed line of a DC motor.
        stall_ratio: (``dc_motor``) stall torque over effort limit: where the torque-speed line crosses zero speed.
    """

    type: Literal["pd", "dc_motor"] = "pd"
    stall_ratio: float = 1.5

    def __post_init__(self) -> None:
        if self.stall_ratio < 1.0:
            raise ValueError(f"stall_ratio must be at least 1, got {self.stall_ratio}")


class Actuators:
    """Position-controlled joints of N environments.

    Attributes:
        kp: (N, J) stiffness in N m/rad.
        kd: (N, J) damping in N m s/rad.
        strength: (N, J) factor on the PD torque before the limits; 1 is nominal.
        friction: (N, J) N m, dry friction between motor and link, beyond what the model itself has.
    """

    def __init__(
        self, config: ActuatorConfig, robot: Robot, num_envs: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        def row(values: tuple[float, ...]) -> Tensor:
            return torch.tensor(values, device=device, dtype=dtype)

        self.nominal_kp, self.nominal_kd = row(robot.kp), row(robot.kd)
        self.effort_limit, self.velocity_limit = row(robot.effort_limit), row(robot.velocity_limit)
        self.kp = self.nominal_kp.repeat(num_envs, 1)
        self.kd = self.nominal_kd.repeat(num_envs, 1)
        self.strength = torch.ones_like(self.kp)
        self.friction = torch.zeros_like(self.kp)
        self._stall = self.effort_limit * config.stall_ratio if config.type == "dc_motor" else None

    def torque(self, target: Tensor, position: Tensor, velocity: Tensor) -> Tensor:
        """Return joint torques in N m, (N, J), for targets and positions in rad and velocities in rad/s, (N, J) each.

        PD: ``tau = strength * (kp (target - q) - kd dq)``, limited to the effort limit. A DC motor gives at most
        ``stall (1 - dq / no-load speed)`` in the direction of motion, and correspondingly more when braking.
        """
        torque = torch.addcmul(self.kp * (target - position), self.kd, velocity, value=-1).mul_(self.strength)
        if self._stall is None:
            return torque.clamp_(-self.effort_limit, self.effort_limit)
        speed = velocity / self.velocity_limit
        upper = torch.minimum(self._stall * (1 - speed), self.effort_limit).clamp_(min=0)
        lower = torch.maximum(self._stall * (-1 - speed), -self.effort_limit).clamp_(max=0)
        return torch.maximum(torch.minimum(torque, upper), lower)

    def friction_torque(self, velocity: Tensor) -> Tensor:
        """Return the torque (N, J) in N m that dry friction takes away at joint velocities (N, J) in rad/s.

        ``friction * clamp(dq / FRICTION_SPEED, -1, 1)``: continuous, so that it needs no constraint of the simulator.
        As constraints, the twelve joints of a quadruped cost a sixth of the physics.
        """
        return (velocity / FRICTION_SPEED).clamp_(-1.0, 1.0).mul_(self.friction)
