"""One PPO update alone, on equal data: ours, rsl_rl's and Stable-Baselines3's.

All three start from the same weights and learn from one roll-out of the real task: same observations, actions, values,
advantages and returns, same networks (128-128, ELU, separate critic), epochs, minibatches, clipped losses and no
normalisation of observations. The advantages are given; what is measured is the update. rsl_rl and we also adapt the
step size to the divergence, SB3 does not.

rsl_rl comes with ``pip install '.[bench]'``; without it, only SB3 is compared.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial

import gymnasium
import numpy as np
import torch
from common import Report, finish, parse, parser, take_turns, timed
from physics import make_env
from torch import nn

from robolearn.packages import missing
from robolearn.rl import PPO, ActorCritic, NetworkConfig, OnPolicyRunner, PPOConfig, RolloutStorage, RunnerConfig

AIM = 1.0
HIDDEN = (128, 128)
EPOCHS = MINIBATCHES = 4
LEARNING_RATE = 1e-3


def linears(module: nn.Module) -> list[nn.Linear]:
    """The linear layers of a network, in order."""
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear)]


@torch.no_grad()
def copy_weights(policy: ActorCritic, actor: Sequence[nn.Module], critic: Sequence[nn.Module]) -> None:
    """Give other networks the weights of ours."""
    for source, target in ((policy.actor, actor), (policy.critic, critic)):
        for ours, theirs in zip(linears(source), target, strict=True):
            assert isinstance(theirs, nn.Linear)
            theirs.weight.copy_(ours.weight)
            theirs.bias.copy_(ours.bias)


def ours(policy: ActorCritic, storage: RolloutStorage, seed: int) -> Callable[[], object]:
    """Return our update."""
    update = PPO(policy, PPOConfig(epochs=EPOCHS, minibatches=MINIBATCHES, learning_rate=LEARNING_RATE), seed=seed)
    return partial(update.update, storage)


def rsl_rl(policy: ActorCritic, storage: RolloutStorage) -> Callable[[], object]:
    """Return rsl_rl's update on the same data."""
    from rsl_rl import algorithms, models
    from rsl_rl.storage import RolloutStorage as Storage
    from tensordict import TensorDict

    observations = TensorDict({"policy": storage.obs["policy"][0]}, batch_size=[storage.num_envs])
    gaussian = {"class_name": "rsl_rl.modules.distribution:GaussianDistribution", "init_std": 1.0}
    shared = {"hidden_dims": list(HIDDEN), "activation": "elu"}
    actor = models.MLPModel(
        observations, {"actor": ["policy"]}, "actor", storage.actions.shape[-1], **shared, distribution_cfg=gaussian
    )
    critic = models.MLPModel(observations, {"critic": ["policy"]}, "critic", 1, **shared)
    copy_weights(policy, linears(actor.mlp), linears(critic.mlp))
    copy = Storage("rl", storage.num_envs, storage.steps, observations, [storage.actions.shape[-1]])
    copy.observations["policy"].copy_(storage.obs["policy"])
    copy.actions.copy_(storage.actions)
    copy.rewards.copy_(storage.rewards)
    copy.dones.copy_((storage.terminated | storage.truncated).unsqueeze(-1))
    copy.values.copy_(storage.values)
    copy.actions_log_prob.copy_(storage.log_prob.unsqueeze(-1))
    copy.distribution_params = (storage.mean.clone(), torch.ones_like(storage.mean))
    copy.returns.copy_(storage.returns)
    advantages = storage.advantages
    copy.advantages.copy_((advantages - advantages.mean()) / advantages.std())
    copy.step = storage.steps
    update = algorithms.PPO(
        actor, critic, copy, num_learning_epochs=EPOCHS, num_mini_batches=MINIBATCHES, learning_rate=LEARNING_RATE
    )
    return update.update


class NoEnv(gymnasium.Env):
    """Gives SB3 the sizes that it builds its buffers from."""

    def __init__(self, observation: int, action: int) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (observation,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (action,), np.float32)


def sb3(policy: ActorCritic, storage: RolloutStorage) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return SB3's update, and what fills its buffer before each: SB3 reorders the buffer in place when it learns."""
    from stable_baselines3 import PPO as SB3
    from stable_baselines3.common.logger import Logger
    from stable_baselines3.common.vec_env import DummyVecEnv

    sizes = (storage.obs["policy"].shape[-1], storage.actions.shape[-1])
    env = DummyVecEnv([lambda: NoEnv(*sizes)] * storage.num_envs)
    model = SB3(
        "MlpPolicy", env, n_steps=storage.steps, batch_size=storage.num_samples // MINIBATCHES, n_epochs=EPOCHS,
        learning_rate=LEARNING_RATE, clip_range_vf=0.2, max_grad_norm=1.0, ent_coef=0.005, vf_coef=1.0, device="cpu",
        policy_kwargs={"net_arch": list(HIDDEN), "activation_fn": nn.ELU},
    )  # fmt: skip
    model.set_logger(Logger(None, []))
    net = model.policy
    extractor = net.mlp_extractor
    copy_weights(
        policy,
        [*linears(extractor.policy_net), net.action_net],
        [*linears(extractor.value_net), net.value_net],
    )
    data = {
        "observations": storage.obs["policy"],
        "actions": storage.actions,
        "values": storage.values[..., 0],
        "log_probs": storage.log_prob,
        "advantages": storage.advantages[..., 0],
        "returns": storage.returns[..., 0],
    }
    buffer = model.rollout_buffer
    buffer.pos, buffer.full = storage.steps, True

    def fill() -> None:
        buffer.generator_ready = False
        for name, value in data.items():
            setattr(buffer, name, value.numpy().copy())

    return model.train, fill


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = parser(__doc__)
    options.add_argument("--robot", default="a1")
    options.add_argument("--task", default="velocity_flat")
    options.add_argument("--num-envs", type=int, default=512)
    options.add_argument("--steps", type=int, default=24, help="of the roll-out")
    args = parse(options, arguments)
    if args.quick:
        args.num_envs, args.steps = 16, 4
    rounds = args.rounds or (2 if args.quick else 21)
    env = make_env(args.robot, args.task, args.num_envs, args.threads, args.seed)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    network = NetworkConfig(HIDDEN, HIDDEN, critic_group="policy", normalize=False)
    policy = ActorCritic(env.obs_dims, env.num_actions, 0, network)
    runner = OnPolicyRunner(env, policy, PPO(policy, seed=args.seed), RunnerConfig(steps_per_env=args.steps))
    runner.collect()
    storage = runner.storage
    sb3_update, sb3_fill = sb3(policy, storage)
    updates: dict[str, Callable[[], object]] = {"SB3": sb3_update}
    notes = []
    try:
        updates["rsl_rl"] = rsl_rl(policy, storage)
    except ImportError:
        notes.append(f"Without rsl_rl: {missing('rsl_rl')}.")
    updates = {"ours": ours(policy, storage, args.seed), **updates}

    def turn(name: str) -> float:
        if name == "SB3":
            sb3_fill()
        return timed(updates[name], EPOCHS * storage.num_samples)

    for name in updates:
        turn(name)
    report = Report(
        "ppo_update",
        {"robot": args.robot, "task": args.task, "environments": args.num_envs, "steps": args.steps,
         "epochs": EPOCHS, "minibatches": MINIBATCHES, "threads": args.threads, "seed": args.seed},
        "samples/s",
        notes=notes,
    )  # fmt: skip
    report.speeds = take_turns({name: partial(turn, name) for name in updates}, rounds)
    for name in updates:
        if name != "ours":
            report.compare("ours", name, AIM)
    return finish(report, args)


if __name__ == "__main__":
    sys.exit(main())
