"""T0: constrained problems of one step, whose solution is known in closed form."""

import torch

from sim.interface import SignedPermutation, StepResult, Symmetry


class Bandit:
    """Actions a ~ N(mu, sigma) per dimension; the reward is -|a - 2|^2, cost ``square`` is |a|^2, ``far`` is |a - 9|^2.

    With E[square] <= D (m^2 + sigma^2) for m < 2 the best mean is m and the multiplier (2 - m) / m: the gradients of
    -(mu - 2)^2 and of multiplier * mu^2 cancel. Each step is an episode.
    """

    def __init__(self, num_envs=256, dim=1):
        self.num_envs, self.num_actions, self.device = num_envs, dim, torch.device("cpu")
        self.obs_dims = {"policy": 1, "critic": 1}
        self.cost_names = ("far", "square")
        self.max_episode_length, self.step_dt = 1, 1.0
        same = SignedPermutation(torch.tensor([0]), torch.ones(1))
        swap = SignedPermutation(torch.arange(dim).flip(0), torch.ones(dim))
        self.symmetries = (Symmetry({"policy": same, "critic": same}, swap),)

    def _observe(self, count):
        return {name: torch.ones(count, 1) for name in self.obs_dims}

    def reset(self):
        return self._observe(self.num_envs)

    def step(self, actions):
        reward = -(actions - 2.0).square().sum(1)
        costs = torch.stack(((actions - 9.0).square().sum(1), actions.square().sum(1)), 1)
        ended = torch.ones(self.num_envs, dtype=torch.bool)
        ids, valid = torch.arange(self.num_envs), torch.ones(self.num_envs, dtype=torch.bool)
        obs = self._observe(self.num_envs)
        return StepResult(obs, reward, costs, ended, ~ended, ids, self._observe(self.num_envs), valid)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

    def close(self):
        pass
