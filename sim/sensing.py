"""From the simulator's state to raw signals, true and measured, and on to observations."""

from __future__ import annotations

import torch
from torch import Tensor

from sim.engines import Engine
from sim.interface import Observations
from sim.observation import ObservationPipeline, SensorConfig
from sim.state import RobotState
from sim.terrain import scan_points


class Sensing:
    """Keeps the memory of the observation pipeline, the sensors' biases, and the delayed readings of N robots."""

    def __init__(
        self,
        config: SensorConfig,
        pipeline: ObservationPipeline,
        state: RobotState,
        engine: Engine,
        generator: torch.Generator,
    ) -> None:
        self.config, self.pipeline, self._state, self._generator = config, pipeline, state, generator
        self._qpos, self._qvel = engine.field("qpos"), engine.field("qvel")
        n, device = state.num_envs, state.device
        self._memory = {name: group.initial_memory(n, device) for name, group in pipeline.items()}
        self._bias = {
            name: torch.zeros(n, group.frame_width, device=device) for name, group in pipeline.items() if group.biased
        }
        self._uses = pipeline.uses
        self._grid = scan_points(*config.scan_size, config.scan_spacing).to(device) if config.scan_shape[0] else None
        self._joints = len(state.robot.joints)
        self._length = config.delay[1] + 1
        self._readings = torch.zeros(self._length, n, 2 * self._joints + 7, device=device) if self.delayed else None
        self._age = torch.zeros(n, dtype=torch.int64, device=device)
        self._head = 0
        self._rows = torch.arange(n, device=device)

    @property
    def delayed(self) -> bool:
        """Whether readings have an age at all."""
        return self.config.delay[1] > 0

    def record(self) -> None:
        """Keep the readings of this physics step (only when they are delayed)."""
        if self._readings is not None:
            self._head = (self._head + 1) % self._length
            self._readings[self._head] = self._read(slice(None))

    def _read(self, rows: slice | Tensor) -> Tensor:
        s, qpos, qvel = self._state, self._qpos[rows], self._qvel[rows]
        return torch.cat((qpos[:, s.joint_q], qvel[:, s.joint_v], qvel[:, 3:6], qpos[:, 3:7]), 1).float()

    def forget(self, ids: Tensor) -> None:
        """Replace the delayed readings of environments (M,) by present ones."""
        if self._readings is not None:
            self._readings[:, ids] = self._read(ids)

    def reset(self, ids: Tensor) -> None:
        """Forget the past of environments (M,) and draw their sensors' biases and delays."""
        for name, group in self.pipeline.items():
            self._memory[name][ids] = 0
            if group.biased:
                self._bias[name][ids] = group.sample_bias(len(ids), self._generator)
        if self._readings is not None:
            low, high = self.config.delay
            self._age[ids] = torch.randint(low, high + 1, (len(ids),), generator=self._generator, device=ids.device)
        self.forget(ids)

    def signals(self, rows: slice | Tensor = slice(None)) -> dict[str, Tensor]:
        """Raw signals of the true state that some observation term reads, for the environments picked by ``rows``."""
        s = self._state
        signals = {
            "command": s.command[rows],
            "joint_position": s.joint_position[rows],
            "joint_velocity": s.joint_velocity[rows],
            "base_angular_velocity": s.base_angular_velocity[rows],
            "base_orientation": s.base_quat[rows],
            "previous_action": s.action[rows],
            "base_linear_velocity": s.base_linear_velocity[rows],
            "foot_force": s.foot_force[rows],
            **{name: value[rows] for name, value in s.settings.items()},
        }
        if "gait_phase" in self._uses:
            signals["gait_phase"] = s.gait_phase[rows].unsqueeze(1)
        if "gait_stance" in self._uses:
            signals["gait_stance"] = s.gait_stance[rows].float()
        if "external_force" in self._uses:
            signals["external_force"] = (s.external_force[rows].unsqueeze(1) @ s.base_rotation[rows]).squeeze(1)
        if "height_scan" in self._uses and self._grid is not None:
            signals["height_scan"] = s.scan(self._grid, rows)
        return signals

    def _delay(self, signals: dict[str, Tensor], rows: slice | Tensor) -> dict[str, Tensor]:
        """Replace joint and IMU signals by their delayed readings."""
        assert self._readings is not None
        readings = self._readings[(self._head - self._age[rows]) % self._length, self._rows[rows]]
        names = ("joint_position", "joint_velocity", "base_angular_velocity", "base_orientation")
        parts = readings.split((self._joints, self._joints, 3, 4), 1)
        return signals | dict(zip(names, parts, strict=True))

    def observe(self, ids: Tensor | None = None) -> Observations:
        """Compute every observation group, for all environments or only for (M,) ``ids``, and move the memory on."""
        rows, count = (slice(None), self._state.num_envs) if ids is None else (ids, len(ids))
        true = self.signals(rows)
        measured = self._delay(true, rows) if self.delayed else true
        observations: Observations = {}
        for name, group in self.pipeline.items():
            disturbance = None
            if group.noisy:
                disturbance = group.sample_noise(count, self._generator)
            if group.biased:
                bias = self._bias[name][rows]
                disturbance = bias if disturbance is None else disturbance + bias
            signals = measured if group.config.measured else true
            observations[name], memory = group(signals, self._memory[name][rows], disturbance)
            if group.config.history > 1:  # copied: the observation, which is the caller's, shares memory's storage
                self._memory[name][rows] = memory
        return observations

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that spans steps."""
        state = {f"memory.{name}": value for name, value in self._memory.items()}
        state |= {f"bias.{name}": value for name, value in self._bias.items()}
        state |= {"age": self._age, "head": torch.tensor(self._head)}
        if self._readings is not None:
            state["readings"] = self._readings
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore ``state_dict()``."""
        for prefix, store in (("memory", self._memory), ("bias", self._bias)):
            for name in store:
                store[name].copy_(state[f"{prefix}.{name}"])
        self._age.copy_(state["age"])
        self._head = int(state["head"])
        if self._readings is not None:
            self._readings.copy_(state["readings"])
