"""Roll-outs for the export: raw signals with what torch makes of them, and the statistics of what a policy sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from robolearn.deploy.contract import NEXT, Statistics
from robolearn.export.graph import PolicyGraph
from sim.environment import TaskEnv


@dataclass(frozen=True)
class Sample:
    """One evaluation of the graph in torch: its inputs and outputs by name, (1, ...) each."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


class ParityError(RuntimeError):
    """Two ways to compute the same thing give different results."""


@torch.no_grad()
def samples(env: TaskEnv, group: str, graph: PolicyGraph, steps: int, limit: float) -> Iterator[Sample]:
    """Walk with the graph, each robot on its own memory, and give every evaluation.

    The environment computes the same observation in its own way, for all robots at once and with its own memory; the
    two are compared on the way.

    Args:
        env: an environment whose sensors are perfect.
        group: the observation group that the actor reads.
        graph: the policy.
        steps: control steps.
        limit: largest difference between the environment's observation and the graph's.

    Raises:
        ParityError: the graph reads something else than the environment shows in training.
    """
    obs = env.reset()[group]
    memories = [graph.initial_memory() for _ in range(env.num_envs)]
    for step in range(steps):
        signals = env.sensing.signals()
        actions = []
        for robot, memory in enumerate(memories):
            inputs = {name: signals[name][robot : robot + 1].clone() for name in graph.signals} | memory
            outputs = dict(zip(graph.outputs, graph(*inputs.values()), strict=True))
            error = float((outputs["observation"][0] - obs[robot]).abs().max())
            if not error <= limit:
                raise ParityError(
                    f"the observation of the graph differs from the environment's by {error:.2g} at step {step} "
                    f"(limit {limit:g}): the pipeline reads a signal or a memory differently"
                )
            yield Sample(inputs, outputs)
            memories[robot] = {name: outputs[name + NEXT] for name in memory}
            actions.append(outputs["action"])
        result = env.step(torch.cat(actions))
        obs = result.obs[group]
        for robot in result.final_ids.tolist():
            memories[robot] = graph.initial_memory()


@torch.no_grad()
def statistics(env: TaskEnv, group: str, graph: PolicyGraph, memory_size: int, steps: int) -> Statistics:
    """Return what the policy sees in the environment as it was trained in: noise, delays, randomisation and pushes."""
    obs = env.reset()[group]
    hidden = torch.zeros(env.num_envs, memory_size)
    rows = []
    for _ in range(steps):
        rows.append(obs.clone())
        actions, hidden = graph.actor(obs, hidden)
        result = env.step(actions)
        obs = result.obs[group]
        hidden = hidden.index_fill(0, result.final_ids, 0.0)
    seen = torch.cat(rows).double()
    return Statistics(
        samples=len(seen),
        mean=tuple(seen.mean(0).tolist()),
        std=tuple(seen.std(0, correction=0).tolist()),
        low=tuple(seen.amin(0).tolist()),
        high=tuple(seen.amax(0).tolist()),
    )
