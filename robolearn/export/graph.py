"""What goes into the file: observation pipeline, memory, normalisation, network and action mapping, as one module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from robolearn.deploy.contract import NEXT, OUTPUTS
from sim.gait import advance
from sim.observation import TERMS, ObservationGroup

PREVIOUS_ACTION, GAIT_PHASE, HISTORY, HIDDEN = "previous_action", "gait_phase", "history", "hidden"
"""Memories: the last output and the gait's clock (signals of the pipeline), earlier frames, the state of a
recurrent layer."""
KEPT_SIGNALS = (PREVIOUS_ACTION, GAIT_PHASE)
"""Signals of the pipeline that the graph keeps itself: nobody has to give them on the robot."""


class Actor(Protocol):
    """The deterministic part of a policy: (1, D) observation and (1, H) memory to (1, J) output and new memory."""

    def __call__(self, obs: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate it."""


class PolicyGraph(nn.Module):
    """Raw signals and memory to joint targets: the same modules that were trained, nothing written twice.

    Attributes:
        signals: names and widths of the raw inputs, in order.
        memory: names and shapes of the memories, in order.
    """

    default_pose: Tensor
    scale: Tensor
    target_range: Tensor

    def __init__(
        self,
        group: ObservationGroup,
        actor: nn.Module,
        memory_size: int,
        default_pose: Tensor,
        scale: Tensor,
        clip: float,
        widths: Mapping[str, int],
        gait_step: float | None = None,
        target_range: Tensor | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            group: the observation group that the actor reads.
            actor: see ``Actor``.
            memory_size: H, width of the actor's own memory.
            default_pose: (J,) rad.
            scale: (J,) rad per unit of the actor's output.
            clip: limit of the output.
            widths: number of values of each raw signal.
            gait_step: cycles of the gait per control step, for policies that read its clock.
            target_range: (J, 2) rad, in which joint targets are held; None for no limit.
        """
        super().__init__()
        self.group, self.actor, self.clip, self._memory_size = group, actor, clip, memory_size
        self._gait_step = gait_step or 0.0
        self.register_buffer("default_pose", default_pose.float())
        self.register_buffer("scale", scale.float())
        self.limited = target_range is not None
        self.register_buffer("target_range", torch.empty(0) if target_range is None else target_range.float())
        read = dict.fromkeys(TERMS[term].signal for term in group.slices)
        self.signals = {name: widths[name] for name in read if name not in KEPT_SIGNALS}
        self.memory: dict[str, tuple[int, ...]] = {}
        if PREVIOUS_ACTION in read:
            self.memory[PREVIOUS_ACTION] = (1, len(default_pose))
        if GAIT_PHASE in read:
            self.memory[GAIT_PHASE] = (1, 1)
        if group.config.history > 1:
            self.memory[HISTORY] = (1, group.config.history - 1, group.frame_width)
        if memory_size:
            self.memory[HIDDEN] = (1, memory_size)

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs, in order."""
        return [*self.signals, *self.memory]

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs, in order."""
        return [*OUTPUTS, *(name + NEXT for name in self.memory)]

    def initial_memory(self) -> dict[str, Tensor]:
        """Memory at the start of an episode: zeros."""
        return {name: torch.zeros(shape) for name, shape in self.memory.items()}

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Evaluate the policy for one robot; inputs and outputs in the order of ``inputs`` and ``outputs``."""
        given = dict(zip(self.inputs, inputs, strict=True))
        first = inputs[0]
        frames = given.get(HISTORY, first.new_zeros(1, 0, self.group.frame_width))
        observation, frames = self.group(given, frames)
        action, hidden = self.actor(observation, given.get(HIDDEN, first.new_zeros(1, 0)))
        action = action.clamp(-self.clip, self.clip)
        target = self.default_pose + action * self.scale
        if self.limited:
            target = target.clamp(*self.target_range.unbind(1))
        after = {PREVIOUS_ACTION: action, HISTORY: frames, HIDDEN: hidden}
        if GAIT_PHASE in self.memory:
            after[GAIT_PHASE] = advance(given[GAIT_PHASE], self._gait_step)
        # A memory is never the same tensor as another output: some runtimes drop one of two names for one value.
        return (
            target,
            action,
            observation,
            *(after[name].clone() for name in self.memory),
        )
