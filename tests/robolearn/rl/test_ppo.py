import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.utils._python_dispatch import TorchDispatchMode
from toy import RecallEnv, TargetEnv, make_runner, random_storage

from robolearn.rl import PPO, ActorCritic, NetworkConfig, PPOConfig
from robolearn.rl.ppo import (
    adapt_lr,
    gaussian_entropy,
    gaussian_kl,
    gaussian_log_prob,
    surrogate_loss,
    value_loss,
)
from sim.interface import SignedPermutation, Symmetry

SMALL = NetworkConfig(actor_hidden=(8,), critic_hidden=(8,), normalize=False, actor_gain=1.0)


def make_ppo(storage, symmetries=(), network=SMALL, seed=0, hooks=None, **changes):
    torch.manual_seed(seed)
    dims = {name: obs.shape[-1] for name, obs in storage.obs.items()}
    policy = ActorCritic(dims, storage.actions.shape[-1], storage.rewards.shape[-1] - 1, network)
    return PPO(policy, PPOConfig(**changes), symmetries, seed=seed, **(hooks or {}))


def finished(**sizes):
    storage = random_storage(**sizes)
    storage.finish(torch.zeros_like(storage.values[0]), 0.9, 0.8)
    return storage


def mirror(obs_dim=3, critic_dim=4, actions=2):
    def operator(dim):
        """Swap the first two entries and flip the last one."""
        index, sign = torch.arange(dim), torch.ones(dim)
        index[:2] = torch.tensor([1, 0])
        sign[-1] = -1.0 if dim > 2 else 1.0
        return SignedPermutation(index, sign)

    return Symmetry({"policy": operator(obs_dim), "critic": operator(critic_dim)}, operator(actions))


def test_gaussian_formulas_equal_torch_distributions():
    mean, old_mean, x = torch.randn(3, 50, 4)
    log_std, old_log_std = torch.randn(2, 4)
    new, old = Normal(mean, log_std.exp()), Normal(old_mean, old_log_std.exp())
    torch.testing.assert_close(gaussian_log_prob(x, mean, log_std), new.log_prob(x).sum(-1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gaussian_entropy(log_std), new.entropy()[0].sum(), rtol=1e-4, atol=1e-5)
    expected = kl_divergence(old, new).sum(-1)
    torch.testing.assert_close(gaussian_kl(old_mean, old_log_std, mean, log_std), expected, rtol=1e-4, atol=1e-4)


def test_losses_equal_a_slow_reference():
    new, old, advantages = torch.randn(3, 40) * 0.5
    values, old_values, returns = torch.randn(3, 40, 3)
    weights = torch.rand(40)
    surrogate, value = 0.0, 0.0
    for i in range(40):
        ratio = math.exp(new[i] - old[i])
        limited = min(max(ratio, 0.8), 1.2)
        surrogate -= min(ratio * advantages[i].item(), limited * advantages[i].item()) / 40
        for s in range(3):
            near = old_values[i, s] + min(max((values[i, s] - old_values[i, s]).item(), -0.2), 0.2)
            errors = ((values[i, s] - returns[i, s]) ** 2, (near - returns[i, s]) ** 2)
            value += weights[i].item() * max(errors).item() / 40
    assert surrogate_loss(new, old, advantages, 0.2).item() == pytest.approx(surrogate, rel=1e-4)
    assert value_loss(values, old_values, returns, weights, 0.2).item() == pytest.approx(value, rel=1e-4)
    plain = ((values - returns).square() * weights.unsqueeze(-1)).mean(0).sum()
    torch.testing.assert_close(value_loss(values, old_values, returns, weights, None), plain)


@pytest.mark.parametrize(
    ("kl", "expected"),
    [(0.021, 1e-3 / 1.5), (0.004, 1.5e-3), (0.01, 1e-3), (1.0, 1e-3 / 1.5), (float("nan"), 1e-3), (0.0, 1.5e-3)],
)
def test_step_size_follows_the_divergence(kl, expected):
    lr = adapt_lr(torch.tensor(1e-3), torch.tensor(kl), desired_kl=0.01, low=1e-5, high=1e-2)
    assert lr.item() == pytest.approx(expected)


@pytest.mark.parametrize(("share", "factor"), [(0.4, 1 / 1.5), (1.0, 1.0), (2.5, 1.5)])
def test_the_last_epoch_decides_the_step_size_of_the_next_update(share, factor):
    def update(**changes):
        storage = finished()
        ppo = make_ppo(storage, minibatches=1, learning_rate=5e-3, **changes)
        with torch.no_grad():
            storage.mean.copy_(ppo.policy.evaluate(*ppo.policy.normalize(storage.obs))[0])
        old = Normal(storage.mean.clone(), ppo.policy.log_std.detach().exp())
        ppo.update(storage)
        return ppo, storage, old

    once, storage, old = update(epochs=1, schedule="fixed")
    with torch.no_grad():  # what the second epoch of two starts from
        mean = once.policy.evaluate(*once.policy.normalize(storage.obs))[0]
        divergence = kl_divergence(old, Normal(mean, once.policy.log_std.exp())).sum(-1).mean().item()
    ppo, _, _ = update(epochs=2, desired_kl=share * divergence)
    assert ppo.optimizer.lr.item() == pytest.approx(5e-3 * factor)


def test_step_size_stays_between_its_limits():
    assert adapt_lr(torch.tensor(1e-2), torch.tensor(0.0), 0.01, 1e-5, 1e-2).item() == pytest.approx(1e-2)
    assert adapt_lr(torch.tensor(1.2e-5), torch.tensor(1.0), 0.01, 1e-5, 1e-2).item() == pytest.approx(1e-5)


@pytest.mark.parametrize("costs", [0, 2])
def test_an_update_equals_a_plain_reference(costs):
    """Three epochs on the full batch against torch.distributions, torch.optim.Adam and boolean masks."""
    storage = finished(costs=costs)
    settings = {"epochs": 3, "minibatches": 1, "schedule": "fixed", "entropy_coef": 0.01, "max_grad_norm": 0.3}
    ppo, reference = make_ppo(storage, **settings), make_ppo(storage, **settings).policy
    metrics = ppo.update(storage)

    groups = reference.parameter_groups()
    for parameter in (p for group in groups for p in group):  # off the flat vector of the other PPO
        parameter.data, parameter.grad = parameter.data.clone(), None
    adam = torch.optim.Adam([p for group in groups for p in group], lr=1e-3)
    keep = storage.valid.flatten()
    flat = {
        name: getattr(storage, name).flatten(0, 1)[keep]
        for name in ("actions", "log_prob", "values", "returns", "advantages")
    }
    obs = {name: tensor.flatten(0, 1)[keep] for name, tensor in storage.obs.items()}
    advantage = flat["advantages"][:, 0]
    advantage = (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-8)
    surrogates = []
    for _ in range(3):
        mean, _ = reference(obs["policy"], reference.initial_actor_memory(len(advantage)))
        values = reference.values(obs, reference.initial_memory(len(advantage)))
        distribution = Normal(mean, reference.log_std.exp())
        ratio = (distribution.log_prob(flat["actions"]).sum(-1) - flat["log_prob"]).exp()
        surrogate = torch.max(-advantage * ratio, -advantage * ratio.clamp(0.8, 1.2)).mean()
        near = flat["values"] + (values - flat["values"]).clamp(-0.2, 0.2)
        value = torch.max((values - flat["returns"]) ** 2, (near - flat["returns"]) ** 2).mean(0).sum()
        adam.zero_grad()
        (surrogate + value - 0.01 * distribution.entropy().sum(-1).mean()).backward()
        for group in groups:
            torch.nn.utils.clip_grad_norm_(group, 0.3)
        adam.step()
        surrogates.append(surrogate.item())
    assert metrics["loss/surrogate"] == pytest.approx(sum(surrogates) / 3, rel=1e-5)
    for ours, theirs in zip(ppo.policy.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_invalid_samples_do_not_matter():
    storage, twin = finished(), finished()
    bad = ~storage.valid
    assert bad.any()
    twin.actions[bad], twin.returns[bad] = 3.0, 100.0
    results = []
    for data in (storage, twin):
        ppo = make_ppo(data, minibatches=1)
        ppo.update(data)
        results.append(ppo.optimizer.params.clone())
    torch.testing.assert_close(*results)


def test_each_stream_is_normalised_by_itself():
    storage = finished(costs=2)
    ppo = make_ppo(storage, minibatches=1)
    advantages, weights, scale = ppo._weighted_advantages(storage)
    for i in range(3):
        valid = storage.advantages[..., i][storage.valid]
        expected = (storage.advantages[..., i] - valid.mean()) / valid.std(correction=0)
        expected = expected * storage.valid * (storage.num_samples / len(valid))
        torch.testing.assert_close(advantages[..., i], expected, rtol=1e-4, atol=1e-5)
        assert scale.mean[i].item() == pytest.approx(valid.mean().item(), rel=1e-4)
        assert scale.std[i].item() == pytest.approx(valid.std(correction=0).item(), rel=1e-4)
    assert weights.mean().item() == pytest.approx(1.0)


class FollowACost:
    """Minimises the probability-weighted advantage of the second cost."""

    def begin(self, storage, scale):
        self.begun = storage

    def __call__(self, batch):
        ratio = (batch.log_prob - batch.old_log_prob).exp()
        return {"cost": (ratio * batch.advantages[:, 2]).mean(), "nothing": 0.0 * ratio.mean()}


def test_the_objective_decides_what_the_actor_follows():
    """With an objective that follows the second cost, actions that cost more than expected become less likely."""
    storage = finished(costs=2)
    objective = FollowACost()
    ppo = make_ppo(storage, minibatches=1, learning_rate=1e-2, schedule="fixed", hooks={"objective": objective})
    metrics = ppo.update(storage)
    assert objective.begun is storage
    assert {"loss/cost", "loss/nothing"} <= metrics.keys()
    mean, _ = ppo.policy.evaluate(*ppo.policy.normalize({n: x.flatten(0, 1) for n, x in storage.obs.items()}))
    log_prob = gaussian_log_prob(storage.actions.flatten(0, 1), mean, ppo.policy.log_std)
    advantages, _, _ = ppo._weighted_advantages(storage)
    change = ((log_prob - storage.log_prob.flatten()) * advantages[..., 2].flatten()).mean()
    assert change.item() < -1e-3


def test_auxiliary_losses_train_their_own_parameters():
    storage = finished()
    extra = torch.nn.Parameter(torch.tensor([5.0]))
    seen = []

    def pull_to_one(batch):
        seen.append(batch.select(storage.rewards).shape)
        assert batch.mean.shape == (10, 2)
        return {"pull": (extra - 1.0).square().sum()}

    hooks = {"auxiliary_losses": [pull_to_one], "auxiliary_parameters": [[extra]]}
    ppo = make_ppo(storage, learning_rate=0.1, schedule="fixed", hooks=hooks)
    metrics = ppo.update(storage)
    assert seen == [torch.Size([10, 1])] * 16
    assert extra.item() < 4.0
    assert 0.0 < metrics["loss/pull"] < 16.0


def test_a_bad_loss_skips_its_step_and_is_counted():
    storage = finished()
    calls = []

    def sometimes_nan(batch):
        calls.append(0)
        return {"trap": batch.mean.sum() * (float("nan") if len(calls) == 2 else 0.0)}

    ppo = make_ppo(storage, hooks={"auxiliary_losses": [sometimes_nan]})
    metrics = ppo.update(storage)
    assert metrics["ppo/skipped"] == 1.0
    assert torch.isfinite(ppo.optimizer.params).all()
    assert int(ppo.optimizer.count) == 15


def test_nothing_in_a_minibatch_waits_for_the_device():
    class CountReads(TorchDispatchMode):
        reads = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
                self.reads += 1
            return func(*args, **(kwargs or {}))

    counts = []
    for epochs in (1, 5):
        storage = finished()
        ppo = make_ppo(storage, [mirror()], symmetry="both", epochs=epochs)
        with CountReads() as counter:
            torch.zeros(1).item()
            ppo.update(storage)
        counts.append(counter.reads)
    assert counts[0] == counts[1] >= 1


def test_same_seed_same_result_other_seed_other_result():
    results = []
    for seed in (1, 1, 2):
        storage = finished()
        ppo = make_ppo(storage, seed=seed)
        ppo.update(storage)
        results.append(ppo.optimizer.params.clone())
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_the_mirror_operator_is_an_involution():
    symmetry = mirror()
    for operator in (*symmetry.obs.values(), symmetry.action):
        x = torch.randn(5, len(operator.index))
        assert not torch.equal(operator(x), x)
        assert torch.equal(operator(operator(x)), x)


def test_augmentation_learns_the_same_from_data_and_from_mirrored_data():
    """Mirroring the whole roll-out only swaps the two halves of the augmented batch."""
    symmetry, storage, mirrored = mirror(), finished(), finished()
    for name, operator in symmetry.obs.items():
        mirrored.obs[name] = operator(mirrored.obs[name])
    mirrored.actions, mirrored.mean = symmetry.action(mirrored.actions), symmetry.action(mirrored.mean)
    results = []
    for data in (storage, mirrored):
        ppo = make_ppo(data, [symmetry], symmetry="augment", schedule="fixed", minibatches=1)
        ppo.update(data)
        results.append(ppo.optimizer.params.clone())
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)
    plain = make_ppo(storage, schedule="fixed", minibatches=1)
    plain.update(storage)
    assert (plain.optimizer.params - results[0]).abs().max() > 1e-4


def test_the_mirror_loss_is_zero_for_an_equivariant_policy_and_makes_others_so():
    storage, symmetry = finished(), mirror()
    ppo = make_ppo(storage, [symmetry], symmetry="loss", mirror_coef=100.0, schedule="fixed", learning_rate=1e-2)
    count = 6
    part = torch.randn(count, 2)
    assert ppo._mirror_loss(torch.cat((part, symmetry.action(part))), count).item() == 0.0
    assert ppo._mirror_loss(torch.cat((part, part + 1.0)), count).item() > 0.0
    first = ppo.update(storage)["loss/mirror"]
    for _ in range(5):
        last = ppo.update(storage)["loss/mirror"]
    assert last < 0.2 * first


def test_the_mirror_loss_is_a_mean_over_actions_and_pulls_on_both_sides():
    """Means of a state and of its image that differ from each other's image by d: |d|^2 / 2 for two actions."""
    symmetry = mirror()
    ppo = make_ppo(finished(), [symmetry], symmetry="loss")
    state, off = torch.tensor([[0.5, -1.0]]), torch.tensor([[0.3, 0.4]])
    means = torch.cat((state, symmetry.action(state) + off)).requires_grad_()
    loss = ppo._mirror_loss(means, 1)
    loss.backward()
    assert loss.item() == pytest.approx((0.3**2 + 0.4**2) / 2)
    torch.testing.assert_close(means.grad, torch.cat((-symmetry.action(off), off)))


def test_symmetry_must_be_known_and_needs_a_policy_without_memory():
    storage = finished()
    with pytest.raises(ValueError, match="symmetry: the environment knows none"):
        make_ppo(storage, symmetry="augment")
    with pytest.raises(ValueError, match="not possible with a recurrent policy"):
        make_ppo(storage, [mirror()], network=NetworkConfig(rnn="gru"), symmetry="loss")


def test_too_many_minibatches_are_refused():
    with pytest.raises(ValueError, match="minibatches: 100 is more than the 40 samples"):
        make_ppo(finished(), minibatches=100).update(finished())


def test_recurrent_minibatches_hold_whole_environments_and_equal_the_full_batch():
    """Gradients of minibatches, averaged, are the gradient of the full unroll."""
    runner = make_runner(RecallEnv(num_envs=8), network={"rnn": "gru", "rnn_size": 4}, runner={"steps_per_env": 7})
    runner.collect()
    storage, ppo = runner.storage, runner.ppo
    seen = torch.cat([index for index, sequences in ppo._minibatches(storage) if sequences])
    assert sorted(seen.tolist()) == sorted(list(range(8)) * ppo.config.epochs)

    def gradient(environments):
        inputs = (x[:, environments] for x in ppo.policy.normalize(storage.obs))
        starts = storage.starts[:, environments]
        mean, values = ppo.policy.evaluate_sequence(*inputs, storage.memory[environments], starts)
        loss = mean.square().mean() + (values - storage.returns[:, environments]).square().mean()
        return torch.cat(
            [
                g.flatten()
                for g in torch.autograd.grad(loss, list(ppo.policy.parameters()), allow_unused=True)
                if g is not None
            ]
        )

    parts = torch.stack([gradient(torch.tensor(part)) for part in ([0, 3], [1, 2], [4, 7], [5, 6])])
    torch.testing.assert_close(parts.mean(0), gradient(torch.arange(8)), rtol=1e-4, atol=1e-6)


def test_target_is_learned():
    runner = make_runner(TargetEnv(), ppo={"value_clip": None}, runner={"iterations": 40, "steps_per_env": 8})
    rewards = []
    runner.learn(on_iteration=lambda metrics: rewards.append(metrics["train/mean_step_reward"]))
    assert rewards[0] < -2.0
    assert rewards[-1] > -0.2


def test_memory_is_learned():
    """Without memory nobody can do better than -1/3 per step (the bit is +1 or -1, the best guess 0)."""
    runner = make_runner(
        RecallEnv(),
        network={"rnn": "gru", "rnn_size": 8, "init_std": 0.5},
        ppo={"value_clip": None, "minibatches": 2, "gamma": 0.95},
        runner={"iterations": 40},
    )
    rewards = []
    runner.learn(on_iteration=lambda metrics: rewards.append(metrics["train/mean_step_reward"]))
    assert rewards[-1] > -0.1
