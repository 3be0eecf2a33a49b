"""Small environments with known answers, in plain torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from robolearn.rl import (
    PPO,
    ActorCritic,
    NetworkConfig,
    OnPolicyRunner,
    PPOConfig,
    RolloutStorage,
    RunnerConfig,
    seed_everything,
)
from robolearn.rl.ppo import gaussian_log_prob
from sim.interface import SignedPermutation, StepResult, Symmetry


class TargetEnv:
    """The reward is -|action - target|^2 for a target that is seen; one step is as good as any other.

    Args:
        num_envs: N.
        dim: width of target and action.
        costs: K; cost k is |action_0| * (k + 1).
        limit: steps until truncation.
        invalid_every: every so many steps environment 0 is marked invalid; 0 never.
    """

    def __init__(self, num_envs=64, dim=2, costs=0, limit=10, seed=0, invalid_every=0, sign=1.0):
        self.num_envs, self.num_actions, self.device = num_envs, dim, torch.device("cpu")
        self.obs_dims = {"policy": dim, "critic": dim + 1}
        self.cost_names = tuple(f"cost_{k}" for k in range(costs))
        self.max_episode_length, self.step_dt = limit, 0.02
        self.sign, self.invalid_every = sign, invalid_every
        flip = SignedPermutation(torch.arange(dim).flip(0), -torch.ones(dim))
        critic = SignedPermutation(torch.cat((flip.index, torch.tensor([dim]))), torch.cat((flip.sign, torch.ones(1))))
        self.symmetries = (Symmetry({"policy": flip, "critic": critic}, flip),)
        self.generator = torch.Generator().manual_seed(seed)
        self.clock = torch.randint(0, limit, (num_envs,), generator=self.generator)
        self.target = torch.zeros(num_envs, dim)
        self.steps = 0

    def _draw(self) -> Tensor:
        return torch.rand(self.num_envs, self.num_actions, generator=self.generator) * 2 - 1

    def _observe(self) -> dict[str, Tensor]:
        time = self.clock.unsqueeze(-1) / self.max_episode_length
        return {"policy": self.target.clone(), "critic": torch.cat((self.target, time), -1)}

    def reset(self):
        self.target = self._draw()
        return self._observe()

    def step(self, actions):
        reward = -(actions - self.sign * self.target).square().sum(-1)
        costs = actions[:, :1].abs() * torch.arange(1, len(self.cost_names) + 1)
        self.target, self.clock = self._draw(), self.clock + 1
        self.steps += 1
        truncated = self.clock >= self.max_episode_length
        valid = torch.ones(self.num_envs, dtype=torch.bool)
        if self.invalid_every and self.steps % self.invalid_every == 0:
            valid[0] = False
            reward = torch.where(valid, reward, 0.0)
        ids = truncated.nonzero().squeeze(-1)
        final = {name: obs[ids] for name, obs in self._observe().items()}
        self.clock = torch.where(truncated, 0, self.clock)
        done = torch.zeros(self.num_envs, dtype=torch.bool)
        log = {"half": 0.5, "error": reward.mean().neg()}
        return StepResult(self._observe(), reward, costs, done, truncated, ids, final, valid, log)

    def state_dict(self) -> dict[str, Any]:
        return {
            "clock": self.clock.numpy().copy(),
            "target": self.target,
            "steps": self.steps,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.clock, self.target, self.steps = torch.from_numpy(state["clock"]), state["target"], state["steps"]
        self.generator.set_state(state["generator"])

    def close(self) -> None:
        pass


class CycleEnv:
    """Phases 0, 1, .. period-1 follow each other; acting in phase 0 is worth 1; every episode starts in phase 0.

    Without an end, phase p is worth gamma^((period - p) mod period) / (1 - gamma^period). A time limit that is no
    multiple of the period ends episodes in a phase other than 0: whoever bootstraps with the next episode's first
    observation instead of the final one learns other values. With ``terminate`` and limit = period, phase 0 is worth
    1 and the others 0.
    """

    def __init__(self, num_envs=16, period=3, limit=4, terminate=False):
        self.num_envs, self.num_actions, self.device = num_envs, 1, torch.device("cpu")
        self.obs_dims = {"policy": period, "critic": period}
        self.cost_names: tuple[str, ...] = ()
        self.max_episode_length, self.step_dt, self.symmetries = limit, 0.02, ()
        self.period, self.terminate = period, terminate
        self.clock = torch.arange(num_envs) % limit

    def _observe(self):
        one_hot = torch.nn.functional.one_hot(self.clock % self.period, self.period).float()
        return {"policy": one_hot, "critic": one_hot.clone()}

    def reset(self):
        return self._observe()

    def step(self, actions):
        reward, costs = (self.clock % self.period == 0).float(), torch.zeros(self.num_envs, 0)
        self.clock = self.clock + 1
        ended = self.clock >= self.max_episode_length
        ids = ended.nonzero().squeeze(-1)
        final = {name: obs[ids] for name, obs in self._observe().items()}
        self.clock = torch.where(ended, 0, self.clock)
        no = torch.zeros_like(ended)
        terminated, truncated = (ended, no) if self.terminate else (no, ended)
        return StepResult(self._observe(), reward, costs, terminated, truncated, ids, final, ~no)

    def state_dict(self):
        return {"clock": self.clock}

    def load_state_dict(self, state):
        self.clock = state["clock"]

    def close(self):
        pass


class RecallEnv:
    """A bit is shown at the first of three steps only; the reward is for repeating it at the last one."""

    def __init__(self, num_envs=64, seed=0):
        self.num_envs, self.num_actions, self.device = num_envs, 1, torch.device("cpu")
        self.obs_dims = {"policy": 2, "critic": 2}
        self.cost_names: tuple[str, ...] = ()
        self.max_episode_length, self.step_dt, self.symmetries = 3, 0.02, ()
        self.generator = torch.Generator().manual_seed(seed)
        self.clock = torch.zeros(num_envs, dtype=torch.int64)
        self.bit = self._draw()

    def _draw(self):
        return torch.randint(0, 2, (self.num_envs,), generator=self.generator) * 2.0 - 1.0

    def _observe(self):
        shown = torch.where(self.clock == 0, self.bit, 0.0)
        obs = torch.stack((shown, (self.clock == 2).float()), -1)
        return {"policy": obs, "critic": obs.clone()}

    def reset(self):
        return self._observe()

    def step(self, actions):
        reward = torch.where(self.clock == 2, -(actions[:, 0] - self.bit).square(), 0.0)
        self.clock = self.clock + 1
        ended = self.clock >= 3
        ids = ended.nonzero().squeeze(-1)
        final = {name: obs[ids] for name, obs in self._observe().items()}
        self.clock = torch.where(ended, 0, self.clock)
        self.bit = torch.where(ended, self._draw(), self.bit)
        no = torch.zeros_like(ended)
        return StepResult(self._observe(), reward, torch.zeros(self.num_envs, 0), ended, no, ids, final, ~no)

    def state_dict(self):
        return {"clock": self.clock, "bit": self.bit, "generator": self.generator.get_state()}

    def load_state_dict(self, state):
        self.clock, self.bit = state["clock"], state["bit"]
        self.generator.set_state(state["generator"])

    def close(self):
        pass


def make_runner(env, folder=None, seed=0, network=None, ppo=None, runner=None, **hooks):
    """Return a runner with small networks; ``network``, ``ppo`` and ``runner`` are changes of the configurations."""
    torch.set_num_threads(1)
    seed_everything(seed)
    shapes = {"actor_hidden": (32, 32), "critic_hidden": (32, 32), **(network or {})}
    policy = ActorCritic(env.obs_dims, env.num_actions, len(env.cost_names), NetworkConfig(**shapes))
    algorithm = PPO(policy, PPOConfig(**{"entropy_coef": 0.0, **(ppo or {})}), env.symmetries, seed=seed, **hooks)
    loop = {"steps_per_env": 6, "iterations": 4, "checkpoint_every": 2, **(runner or {})}
    return OnPolicyRunner(env, policy, algorithm, RunnerConfig(**loop), folder=folder)


def random_storage(steps=5, num_envs=8, obs_dim=3, actions=2, costs=0, seed=0, critic_dim=4):
    """Return a roll-out of random numbers with every kind of ending in it; advantages are not yet filled."""
    generator = torch.Generator().manual_seed(seed)
    storage = RolloutStorage(steps, num_envs, {"policy": obs_dim, "critic": critic_dim}, actions, costs)
    tensors = (storage.actions, storage.mean, storage.rewards, storage.values, storage.final_values)
    for tensor in (*storage.obs.values(), *tensors):
        tensor.normal_(generator=generator)
    storage.log_prob.copy_(gaussian_log_prob(storage.actions, storage.mean, torch.zeros(actions)))
    for tensor, share in ((storage.terminated, 0.1), (storage.truncated, 0.1), (storage.valid, 0.9)):
        tensor.copy_(torch.rand(steps, num_envs, generator=generator) < share)
    return storage
