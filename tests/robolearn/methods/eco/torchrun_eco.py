"""Constrained learning in one of several processes; writes what it found into a folder."""

import sys
from pathlib import Path

import torch
from test_eco_method import Unequal, build, energy, learn

from robolearn.methods.eco import ConstraintConfig, DualConfig
from robolearn.rl.distributed import start


class Differing(Unequal):
    """What is observed differs from process to process, and with it the mirror error."""

    def _observe(self, count):
        return {name: torch.randn(count, 1) for name in self.obs_dims}


def main(folder):
    group = start("cpu")
    mirror = ConstraintConfig("mirror", 1e-6, kind="batch_average", dual=DualConfig("pid"))
    runner = build({"energy": energy(), "mirror": mirror}, env=Differing(32, dim=2), seed=1 + group.rank, group=group)
    learn(runner, 12)
    found = {"multipliers": runner.method.state.multipliers, "violations": runner.method.state.violations}
    soft = build(
        {"energy": energy(budget=0.5)}, env=Differing(32, dim=2), seed=1 + group.rank, group=group, algorithm="cat"
    )
    learn(soft, 4)
    torch.save({**found, "running": soft.method.state_dict()["running"]}, folder / f"eco{group.rank}.pt")
    group.close()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
