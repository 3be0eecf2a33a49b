"""The registries of reward, cost and termination terms.

A term is a function of the robot's state, ``(state: RobotState, *, keyword parameters) -> (N,)``; decorating it makes
it a word of the task YAML, its keyword parameters become keys there.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from sim.registry import Registry

reward: Registry[Callable[..., Tensor]] = Registry("reward")
"""Weighted by the task and by the control period, and summed: (N,) float."""
cost: Registry[Callable[..., Tensor]] = Registry("cost")
"""Reported one by one, in physical units: (N,) float."""
termination: Registry[Callable[..., Tensor]] = Registry("termination")
"""Ends the episode where True: (N,) bool."""
