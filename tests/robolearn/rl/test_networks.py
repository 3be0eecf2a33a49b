import math

import pytest
import torch
from toy import RecallEnv, TargetEnv, make_runner

from robolearn.config import ConfigError
from robolearn.rl import ActorCritic, NetworkConfig
from robolearn.rl.networks import GRU

DIMS = {"policy": 5, "critic": 7}


def build(costs=0, **changes):
    torch.manual_seed(0)
    return ActorCritic(DIMS, 3, costs, NetworkConfig(actor_hidden=(16,), critic_hidden=(16, 8), **changes))


def observe(num):
    return {name: torch.randn(num, dim) for name, dim in DIMS.items()}


@pytest.mark.parametrize("rnn", ["none", "gru"])
@pytest.mark.parametrize("costs", [0, 2])
def test_shapes(rnn, costs):
    policy = build(costs, rnn=rnn, rnn_size=4)
    memory = policy.initial_memory(6)
    decision = policy.act(observe(6), memory)
    assert decision.actions.shape == decision.mean.shape == (6, 3)
    assert decision.log_prob.shape == (6,)
    assert decision.values.shape == (6, 1 + costs)
    networks = 2 + (costs > 0)
    assert decision.memory.shape == memory.shape == (6, 4 * networks if rnn == "gru" else 0)


def test_no_cost_critic_without_costs():
    assert build(0).cost_critic is None
    assert len(build(0).parameter_groups()) == 2
    assert len(build(2).parameter_groups()) == 3


def test_the_actor_sees_only_its_group():
    policy = build()
    obs = observe(4)
    changed = {**obs, "critic": obs["critic"] + 1.0}
    memory = policy.initial_memory(4)
    first = policy.act(obs, memory, torch.Generator().manual_seed(1))
    second = policy.act(changed, memory, torch.Generator().manual_seed(1))
    assert torch.equal(first.actions, second.actions)
    assert not torch.equal(first.values, second.values)


def test_log_prob_is_that_of_the_normal_distribution():
    policy = build(init_std=0.3)
    decision = policy.act(observe(50), policy.initial_memory(50))
    expected = torch.distributions.Normal(decision.mean, 0.3).log_prob(decision.actions).sum(-1)
    torch.testing.assert_close(decision.log_prob, expected, rtol=1e-5, atol=1e-5)


def test_first_actions_are_small_and_layers_orthogonal():
    policy = build(actor_gain=0.01)
    mean, _ = policy(torch.randn(100, 5), policy.initial_actor_memory(100))
    assert mean.abs().max() < 0.1
    weight = policy.critic.layers[0].weight
    torch.testing.assert_close(weight.T @ weight, 2.0 * torch.eye(7), rtol=1e-5, atol=1e-5)


def test_std_is_put_back_between_its_limits():
    policy = build(min_std=0.1, max_std=2.0)
    with torch.no_grad():
        policy.log_std.copy_(torch.tensor([-9.0, 0.0, 9.0]))
    policy.limit_std()
    torch.testing.assert_close(policy.log_std.exp(), torch.tensor([0.1, 1.0, 2.0]))


def test_gru_equals_torch():
    ours, theirs = GRU(5, 4), torch.nn.GRUCell(5, 4)
    theirs.load_state_dict(
        {
            "weight_ih": ours.input.weight,
            "bias_ih": ours.input.bias,
            "weight_hh": ours.hidden.weight,
            "bias_hh": ours.hidden.bias,
        }
    )
    x, memory = torch.randn(6, 5), torch.randn(6, 4)
    torch.testing.assert_close(ours(x, memory), theirs(x, memory))


def test_a_sequence_equals_single_steps_with_cleared_memory():
    gru = GRU(3, 4)
    x, memory = torch.randn(7, 2, 3), torch.randn(2, 4)
    starts = torch.rand(7, 2) < 0.4
    states, current = gru.sequence(x, memory, starts), memory
    for t in range(7):
        current = torch.where(starts[t].unsqueeze(-1), torch.zeros_like(current), current)
        current = gru(x[t], current)
        torch.testing.assert_close(states[t], current)


def test_recurrent_learning_sees_what_the_policy_saw_while_acting():
    """The second roll-out starts in the middle of episodes, with memory from the first."""
    runner = make_runner(RecallEnv(num_envs=9), network={"rnn": "gru", "rnn_size": 8}, runner={"steps_per_env": 7})
    for _ in range(2):
        runner.collect()
    storage, policy = runner.storage, runner.policy
    assert storage.memory.abs().max() > 0
    assert not storage.starts[0].all()
    inputs = policy.normalize(storage.obs)
    mean, values = policy.evaluate_sequence(*inputs, storage.memory, storage.starts)
    torch.testing.assert_close(mean, storage.mean)
    torch.testing.assert_close(values, storage.values)
    some = torch.tensor([4, 1])
    mean, _ = policy.evaluate_sequence(*(x[:, some] for x in inputs), storage.memory[some], storage.starts[:, some])
    torch.testing.assert_close(mean, storage.mean[:, some])


def test_the_exported_graph_equals_the_module():
    for rnn in ("none", "gru"):
        policy = build(rnn=rnn).eval()
        policy.actor_norm.update(torch.randn(100, 5) * 3 + 1)
        inputs = (torch.randn(2, 5), torch.randn(2, policy.actor.memory_size))
        graph = torch.export.export(policy, inputs).module()
        for ours, theirs in zip(policy(*inputs), graph(*inputs), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_spec_rebuilds_the_same_networks():
    policy = build(2, rnn="gru", init_std=0.5)
    twin = ActorCritic.from_spec(policy.spec())
    twin.load_state_dict(policy.state_dict())
    obs, memory = observe(3), policy.initial_memory(3)
    assert torch.equal(policy.values(obs, memory), twin.values(obs, memory))
    assert twin.config == policy.config


def test_unknown_group_is_named():
    with pytest.raises(ConfigError, match=r"unknown observation group 'polcy'. Did you mean 'policy'"):
        ActorCritic(DIMS, 3, 0, NetworkConfig(actor_group="polcy"))


def test_number_of_costs_must_fit():
    env = TargetEnv(costs=2)
    runner = make_runner(env)
    env.cost_names = ("one",)
    with pytest.raises(ValueError, match="num_costs: the policy values 2 costs, the environment has 1"):
        type(runner)(env, runner.policy, runner.ppo)


def test_log_2pi():
    from robolearn.rl.networks import LOG_2PI

    assert math.isclose(LOG_2PI, 1.8378770664093453)
