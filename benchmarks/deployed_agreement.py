"""How often ``robolearn sim2sim-deployed`` finds fault where there is none, and how small a fault its means show.

In place of the nodes the stack in one process, which does the same: with random times of idling and delays of commands,
and with drives that have a share of the stiffness that they are told. Only the measures are compared.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
from common import Report, finish, parse, parser

POLICY = Path(__file__).parents[1] / "policies" / "a1_velocity_flat" / "policy.onnx"
SHARES = (1.0, 0.9, 0.8, 0.7)
IDLE, STANDS, WAITS, LATE = (20, 400), 1000, (0, 100), (1, 4)
"""Cycles until the robot is asked to stand, until it surely does, until the policy starts; steps of delay."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure."""
    options = parser(__doc__)
    options.add_argument("--episodes", type=int, default=3, metavar="N", help="of 10 s, in each comparison")
    options = parse(options, arguments)

    import torch

    from robolearn.deploy.policy import OnnxPolicy
    from robolearn.evaluate.deployed import DeployedRobot
    from robolearn.evaluate.sim2sim import scripts
    from robolearn.evaluate.sim2sim.deployed.again import run_again
    from robolearn.evaluate.sim2sim.deployed.agreement import compare_measures
    from robolearn.evaluate.sim2sim.deployed.check import reference, timestep
    from robolearn.evaluate.sim2sim.deployed.episode import Episode
    from robolearn.evaluate.sim2sim.measures import measure
    from robolearn.evaluate.sim2sim.simulators import REFERENCE
    from robolearn.evaluate.sim2sim.world import World, make_world

    torch.set_num_threads(options.threads)
    rounds = options.rounds or (1 if options.quick else 8)
    episodes, seconds = (1, 1.0) if options.quick else (options.episodes, scripts.SECONDS)
    rng = np.random.default_rng(options.seed)

    def walk(world: World, script: np.ndarray, share: float) -> Mapping[str, np.ndarray]:
        robot = DeployedRobot(OnnxPolicy(POLICY), timestep=timestep())
        send = robot.link.send
        robot.link.send = lambda command: send(replace(command, kp=share * command.kp))
        stood = int(rng.integers(*IDLE))
        nothing = np.zeros((0, 12))
        first = stood + STANDS + int(rng.integers(*WAITS))
        episode = Episode(robot.robot, (), stood, first, 4, script, nothing, nothing, {}, "")
        found = run_again(episode, script, robot)
        return measure(found.truth.trace(world, episode, script, found.steps))

    report = Report("deployed_agreement", {"episodes": episodes, "seconds": seconds, "threads": options.threads}, "")
    differing: dict[float, list[list[str]]] = {share: [] for share in SHARES}
    world = make_world(POLICY, REFERENCE, 1)
    world.reset()
    for number in range(options.seed, options.seed + rounds):
        experiments = [(number, episode) for episode in range(episodes)]
        drawn = scripts.draw(world.contract.command, experiments, seconds, world.env.step_dt)
        late = rng.integers(*LATE, episodes)
        asked = [np.roll(drawn[:, e], steps, axis=0) for e, steps in enumerate(late)]  # it stands at either end
        benchmark = reference(POLICY, asked, number)
        for share in SHARES:
            theirs = [walk(world, script, share) for script in asked]
            names = [row.name for row in compare_measures(benchmark, theirs, theirs) if not row.agrees]
            differing[share] += [names] if names else []
    world.close()
    for share, found in differing.items():
        often = Counter(chain.from_iterable(found)).most_common(4)
        report.rows.append({
            "stiffness": f"{share:g}",
            "comparisons": rounds,
            "did not agree": len(found),
            "most often in": ", ".join(f"{name} {count}" for name, count in often),
        })  # fmt: skip
    return finish(report, options)


if __name__ == "__main__":
    sys.exit(main())
