"""Runs the same episodes three ways: in the benchmark's world, deployed in one process, and through the ROS 2 nodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hardware.hoist import needs_hoist
from robolearn.config import ConfigError
from robolearn.deploy.contract import read_contract
from robolearn.deploy.policy import OnnxPolicy
from robolearn.deploy.types import Array
from robolearn.evaluate.deployed import DeployedRobot
from robolearn.evaluate.sim2sim import scripts
from robolearn.evaluate.sim2sim.deployed.again import Replay, replay, run_again
from robolearn.evaluate.sim2sim.deployed.agreement import (
    Agreement,
    Check,
    compare_actions,
    compare_commands,
    compare_measures,
)
from robolearn.evaluate.sim2sim.deployed.episode import Episode, take_apart
from robolearn.evaluate.sim2sim.deployed.nodes import Way, walk
from robolearn.evaluate.sim2sim.deployed.truth import Truth
from robolearn.evaluate.sim2sim.episodes import place, run
from robolearn.evaluate.sim2sim.measures import measure
from robolearn.evaluate.sim2sim.simulators import REFERENCE, find
from robolearn.evaluate.sim2sim.world import World, make_world
from robolearn.replay.mcap import BagError
from robolearn.replay.recording import load
from sim.robots import load_robot

ATTEMPTS = 3
"""How often an episode is walked until its recording is whole: a busy computer says nothing about a policy."""
STARTS = 16
"""Of each episode in the benchmark."""
Values = Mapping[str, Array]
Say = Callable[[str], object]


@dataclass
class _Found:
    """What the episodes gave so far, an entry for each."""

    asked: list[Array] = field(default_factory=list)  # (S, 3), what the policies were asked for, to the script's end
    late: list[float] = field(default_factory=list)  # s; NaN where it was something else than the script
    replays: list[Replay] = field(default_factory=list)
    answers: list[tuple[Array, Array]] = field(default_factory=list)  # (T, 2 J) in process, and the nodes'
    stopped: list[str] = field(default_factory=list)
    in_process: list[Values] = field(default_factory=list)
    nodes: list[Values] = field(default_factory=list)


def check(way: Way, episodes: int, seconds: float, seed: int, out: Path, say: Say = print) -> Agreement:
    """Compare the three ways.

    Args:
        way: policy, and how the nodes are run.
        episodes: E, each with a command script of its own, those that the benchmark draws for the seed.
        seconds: length of each.
        seed: of the scripts and of the benchmark's starts.
        out: folder; gets a folder with a recording for each episode.
        say: is told how it gets on.

    Raises:
        BagError: a recording has a hole, or the policy was late, in each of ``ATTEMPTS``.
        ConfigError: the policy cannot be deployed, its robot must be hoisted to get up, or ROS 2 is not installed.
        NodesError: the nodes did not get as far as walking.
        PolicyFileError: the policy file cannot be used.
    """
    contract, _ = read_contract(way.policy)
    name = contract.robot.name
    if needs_hoist(len(load_robot(name).feet)):
        raise ConfigError(
            f"{way.policy}: its robot {name!r} must be hoisted to get up, and this check begins on the ground: "
            "use robolearn rehearse for its nodes, and robolearn sim2sim for the transfer"
        )
    wanted = scripts.draw(
        contract.command, [(seed, episode) for episode in range(episodes)], seconds, contract.control_dt
    )
    found = _Found()
    world = make_world(way.policy, REFERENCE, 1)
    world.reset()
    try:
        for episode in range(episodes):
            say(f"episode {episode}: ROS 2 nodes ...")
            walked = _walk(way, wanted[:, episode], f"transfer_{episode}", out / f"episode_{episode}", say)
            say(f"episode {episode}: the same in one process ...")
            _examine(walked, way, world, wanted[:, episode], found)
    finally:
        world.close()
    say(f"the benchmark, {STARTS} starts of each ...")
    benchmark = reference(way.policy, found.asked, seed)
    checks = (
        _commands(found.late),
        _readings(found.replays),
        _stops(found.stopped),
        compare_actions(found.answers, contract.control_dt),
    )
    rows = compare_measures(benchmark, found.in_process, found.nodes)
    return Agreement(episodes, STARTS, rows, checks)


def timestep() -> float:
    """Return the physics step of the benchmark's reference, s."""
    return find(REFERENCE).physics.timestep


def _walk(way: Way, script: Array, namespace: str, folder: Path, say: Say) -> Episode:
    """Walk an episode; once more where the computer was too busy for it."""
    attempt = 1
    while True:
        walk(way, script, namespace, folder)
        try:
            return take_apart(load(folder), len(script))
        except BagError as error:
            if attempt == ATTEMPTS:
                raise
            say(f"  once more: {error}")
        attempt += 1


def _examine(episode: Episode, way: Way, world: World, script: Array, found: _Found) -> None:
    def robot() -> DeployedRobot:
        return DeployedRobot(OnnxPolicy(way.policy), episode.robot, timestep=way.timestep)

    asked = np.concatenate((episode.command, script[episode.steps :]))
    again, local = replay(episode, robot()), run_again(episode, asked, robot())
    both = min(local.steps, episode.steps)
    same, late = compare_commands(episode.command, script, world.env.step_dt)
    found.asked.append(asked)
    found.late.append(late if same else math.nan)
    found.replays.append(again)
    found.answers.append(
        (
            np.hstack((local.action[:both], local.target[:both])),
            np.hstack((episode.action[:both], episode.target[:both])),
        )
    )
    local_end = f"in one process: {local.stopped}" if local.stopped else ""
    found.stopped.append("; ".join(filter(None, (episode.stopped, local_end))))
    found.in_process.append(_measures(local.truth, local.steps, episode, world, asked))
    known = again.difference is None  # else nobody knows what the nodes' robot did
    found.nodes.append(_measures(again.truth, episode.steps if known else 0, episode, world, asked))


def _measures(truth: Truth, steps: int, episode: Episode, world: World, asked: Array) -> Values:
    return measure(truth.trace(world, episode, asked, steps)) if steps else {}


def reference(policy: Path, asked: Sequence[Array], seed: int) -> list[Values]:
    """Return the benchmark's measures of the episodes, from ``STARTS`` starts of each."""
    count = len(asked)
    world = make_world(policy, REFERENCE, count * STARTS)
    try:
        world.reset()
        place(world.env, [(seed, number) for number in range(count * STARTS)])
        script = np.repeat(np.stack(asked, 1), STARTS, axis=1)
        values = measure(run(world, script, lambda step: None, lambda signals: signals).trace)
    finally:
        world.close()
    return [
        {name: each[episode * STARTS : (episode + 1) * STARTS] for name, each in values.items()}
        for episode in range(count)
    ]


def _commands(late: Sequence[float]) -> Check:
    wrong = [str(episode) for episode, each in enumerate(late) if math.isnan(each)]
    if wrong:
        return Check("velocity commands", f"not those of the script in episode {', '.join(wrong)}", False)
    return Check("velocity commands", f"those of the scripts, at most {max(late):.2f} s late", True)


def _readings(replays: Sequence[Replay]) -> Check:
    name = "readings of the nodes' robot, and of their commands again"
    for episode, each in enumerate(replays):
        if (first := each.difference) is not None:
            return Check(
                name,
                f"episode {episode}, {first.time:.3f} s: {first.field} differs by {first.size:.3g}: between the nodes' "
                "drives and driver something is not as it should be",
                False,
            )
    compared, cycles = sum(each.compared for each in replays), sum(each.cycles for each in replays)
    return Check(name, f"the same, {compared} readings recorded of {cycles}", True)


def _stops(stopped: Sequence[str]) -> Check:
    reasons = [f"episode {episode}: {reason}" for episode, reason in enumerate(stopped) if reason]
    return Check("walked to the end", "; ".join(reasons) or "all", not reasons)
