"""Constrained learning in one of several processes; writes what it found into a folder."""

import sys
from pathlib import Path

import torch
from test_eco_method import Longer, Unequal, build, energy, learn

from robolearn.methods.eco import ConstraintConfig, DualConfig
from robolearn.rl.distributed import start


class Differing(Unequal):
    """What is observed differs from process to process, and with it the mirror error."""

    def _observe(self, count):
        return {name: torch.randn(count, 1) for name in self.obs_dims}


class Ranked(Longer):
    """The second process has shorter episodes, and rewards above 0."""

    def __init__(self, rank):
        super().__init__()
        self.rank = rank

    def step(self, actions):
        result = super().step(actions)
        result.reward = result.reward + 20.0 * self.rank
        if self.rank:
            result.terminated[:] = True
            result.final_ids = torch.arange(self.num_envs)
            result.final_obs = self._observe(self.num_envs)
        return result


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
    found["running"] = soft.method.state_dict()["running"]
    # Mean episodes of 3 and of 1 step: one process alone would have warmed up, the other not.
    dual = DualConfig("normalized", warm_up=0.5)
    sums = build(
        {"energy": energy(kind="episode_sum", budget=0.01, dual=dual)},
        env=Ranked(group.rank),
        seed=1 + group.rank,
        group=group,
        cost_scale="price",
    )
    learn(sums, 3)
    found["sums"] = torch.tensor(
        [sums.method.state.reward_size, sums.method.state_dict()["longest"], *sums.method.state.multipliers]
    )
    priced = build({"energy": energy()}, env=Ranked(group.rank), group=group, algorithm="shaped", clip_rewards=True)
    found["clipped"] = torch.tensor([row["eco/clipped_share"] for row in learn(priced, 1)])
    torch.save(found, folder / f"eco{group.rank}.pt")
    group.close()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
