import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import CycleEnv, TargetEnv, make_runner

from robolearn.rl import gae


def column(*values):
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1)


def flags(*values):
    return torch.tensor(values, dtype=torch.bool).reshape(-1, 1)


def test_hand_computed_case():
    """gamma = 0.5, lambda = 0.5, five steps: plain, time limit, plain, death, plain.

    V = (1, 2, 3, 4, 5), r = (1, 1, 1, 1, 1), value of the final observation after step 1: 10, after the last step: 6.
    delta = (1 + 1 - 1, 1 + 5 - 2, 1 + 2 - 3, 1 + 0 - 4, 1 + 3 - 5) = (1, 4, 0, -3, -1)
    A_4 = -1; A_3 = -3 (death); A_2 = 0 + 0.25 * -3 = -0.75; A_1 = 4 (time limit); A_0 = 1 + 0.25 * 4 = 2
    """
    advantages, returns = gae(
        rewards=column(1, 1, 1, 1, 1),
        values=column(1, 2, 3, 4, 5),
        terminated=flags(0, 0, 0, 1, 0),
        truncated=flags(0, 1, 0, 0, 0),
        final_values=column(99, 10, 99, 99, 99),
        last_values=column(6)[0],
        gamma=0.5,
        lam=0.5,
    )
    assert advantages.flatten().tolist() == [2.0, 4.0, -0.75, -3.0, -1.0]
    assert returns.flatten().tolist() == [3.0, 6.0, 2.25, 1.0, 4.0]


def test_an_invalid_transition_teaches_nothing_and_cuts_what_lies_behind():
    """As above without endings; step 2 is invalid: A_2 = 0, A_1 = delta_1 = 1 + 1.5 - 2 = 0.5, A_0 = 1 + 0.25 * 0.5."""
    nothing = flags(0, 0, 0, 0, 0)
    advantages, _ = gae(
        column(1, 1, float("nan"), 1, 1),
        column(1, 2, 3, 4, 5),
        nothing,
        nothing,
        column(0, 0, 0, 0, 0),
        column(6)[0],
        0.5,
        0.5,
        flags(1, 1, 0, 1, 1),
    )
    # A_4 = 1 + 3 - 5 = -1; A_3 = 1 + 2.5 - 4 + 0.25 * -1 = -0.75
    assert advantages.flatten().tolist() == [1.125, 0.5, 0.0, -0.75, -1.0]


def brute_force(rewards, values, terminated, truncated, final_values, last_values, gamma, lam, valid):
    """The definition as a sum over future steps, one environment and one stream at a time."""
    steps, num, streams = rewards.shape
    result = torch.zeros_like(rewards)
    for n in range(num):
        for s in range(streams):
            for t in range(steps):
                weight = 1.0
                for u in range(t, steps):
                    if not valid[u, n]:
                        break
                    if terminated[u, n]:
                        following = 0.0
                    elif truncated[u, n]:
                        following = final_values[u, n, s]
                    else:
                        following = values[u + 1, n, s] if u + 1 < steps else last_values[n, s]
                    result[t, n, s] += weight * (rewards[u, n, s] + gamma[s] * following - values[u, n, s])
                    weight *= gamma[s] * lam[s]
                    if terminated[u, n] or truncated[u, n]:
                        break
    return result


@settings(max_examples=40, deadline=None)
@given(
    steps=st.integers(1, 9),
    streams=st.integers(1, 3),
    seed=st.integers(0, 10**6),
    share=st.sampled_from([0.0, 0.2, 0.6]),
)
def test_equals_the_definition(steps, streams, seed, share):
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape):
        return torch.randn(*shape, streams, generator=generator, dtype=torch.float64)

    def events(probability):
        return torch.rand(steps, 2, generator=generator) < probability

    gamma, lam = torch.rand(streams, generator=generator).double(), torch.rand(streams, generator=generator).double()
    data = (numbers(steps, 2), numbers(steps, 2), events(share), events(share), numbers(steps, 2), numbers(2))
    valid = events(1.0 - share / 2)
    advantages, returns = gae(*data, gamma.tolist(), lam, valid)
    torch.testing.assert_close(advantages, brute_force(*data, gamma, lam, valid), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(returns, advantages + data[1])


@pytest.mark.parametrize(
    ("limit", "terminate", "expected"),
    [
        # gamma = 0.8 and period 3: 1 / (1 - 0.512) = 2.0492; phase 1 waits two steps, phase 2 one.
        (4, False, [2.0492, 2.0492 * 0.64, 2.0492 * 0.8]),
        (3, True, [1.0, 0.0, 0.0]),
    ],
)
def test_values_with_time_limits_and_with_deaths_reach_their_closed_form(limit, terminate, expected):
    env = CycleEnv(num_envs=24, period=3, limit=limit, terminate=terminate)
    runner = make_runner(
        env,
        network={"normalize": False, "critic_hidden": (16,)},
        ppo={
            "gamma": 0.8,
            "lam": 0.9,
            "value_clip": None,
            "schedule": "fixed",
            "learning_rate": 2e-2,
            "minibatches": 1,
        },
        runner={"iterations": 60},
    )
    runner.learn()
    observations = {"policy": torch.eye(3), "critic": torch.eye(3)}
    values = runner.policy.values(observations, runner.policy.initial_memory(3))[:, 0]
    torch.testing.assert_close(values, torch.tensor(expected), rtol=0.0, atol=0.05)


def test_collected_rollout_matches_the_environment():
    """Replay the stored actions in a second environment: the same rewards, observations and endings appear."""
    runner = make_runner(TargetEnv(num_envs=5, costs=2, limit=4, seed=3))
    runner.collect()
    storage, twin = runner.storage, TargetEnv(num_envs=5, costs=2, limit=4, seed=3)
    obs, starts = twin.reset(), torch.ones(5, dtype=torch.bool)
    for t in range(storage.steps):
        assert torch.equal(storage.obs["critic"][t], obs["critic"])
        assert torch.equal(storage.starts[t], starts)
        result = twin.step(storage.actions[t])
        assert torch.equal(storage.rewards[t], torch.cat((result.reward.unsqueeze(-1), result.costs), -1))
        assert torch.equal(storage.truncated[t], result.truncated)
        final = torch.zeros(5, 3)
        memory = runner.policy.initial_memory(len(result.final_ids))
        final[result.final_ids] = runner.policy.values(result.final_obs, memory).detach()
        torch.testing.assert_close(storage.final_values[t], final)
        obs, starts = result.obs, result.truncated
    assert storage.truncated.any()
