import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robolearn.methods.eco.estimators import EpisodeSums, Smoothed, hat_weights, rollout_means
from robolearn.rl import ProcessGroup, RolloutStorage

KNOTS = torch.tensor([0.5, 0.7, 1.0])


@given(st.lists(st.floats(0.3, 1.2), min_size=1, max_size=20))
def test_weights_are_those_of_linear_interpolation(shares):
    weights = hat_weights(torch.tensor(shares), KNOTS)
    values = torch.tensor([3.0, -1.0, 2.0])
    expected = np.interp(shares, KNOTS.numpy(), values.numpy())
    np.testing.assert_allclose((weights @ values).numpy(), expected, atol=1e-4)
    torch.testing.assert_close(weights.sum(1), torch.ones(len(shares)))


def storage(steps, envs, seed):
    """A roll-out with random costs and ends."""
    generator = torch.Generator().manual_seed(seed)
    made = RolloutStorage(steps, envs, {"policy": 1}, 1, num_costs=2)
    made.rewards.copy_(torch.rand(made.rewards.shape, generator=generator))
    kind = torch.rand(steps, envs, generator=generator)
    made.terminated.copy_(kind < 0.15)
    made.truncated.copy_((kind >= 0.15) & (kind < 0.25))
    made.valid.copy_(kind < 0.97)
    return made


def brute_force(rollouts, shares, length):
    """Every episode that was seen from its start to its end: (cost sums over a full length, steps, its share)."""
    found, running, steps = [], np.zeros((rollouts[0].num_envs, 2)), np.zeros(rollouts[0].num_envs)
    whole = np.zeros(rollouts[0].num_envs, bool)
    for made in rollouts:
        for t in range(made.steps):
            for n in range(made.num_envs):
                running[n] += made.rewards[t, n, 1:].numpy()
                steps[n] += 1
                valid = bool(made.valid[t, n])
                if bool(made.terminated[t, n] | made.truncated[t, n]) or not valid:
                    if valid and whole[n]:
                        found.append((running[n] / length, steps[n], shares[n]))
                    running[n], steps[n], whole[n] = 0, 0, True
    return found


@pytest.mark.parametrize("window", [1, 10**6])
def test_episode_sums_against_plain_loops(window):
    envs, length, group = 5, 8, ProcessGroup()
    rollouts = [storage(7, envs, seed) for seed in range(4)]
    shares = torch.tensor([0.5, 0.6, 0.7, 0.9, 1.0])
    weights = hat_weights(shares, KNOTS)
    sums = EpisodeSums(envs, 2, 3, length, torch.device("cpu"))
    for made in rollouts:
        sums.add(made, weights.expand(made.steps, -1, -1))
        means, mean, mean_length = sums.close(group, window)
    found = brute_force(rollouts, shares, length)
    if window == 1:  # the newest roll-out that has an episode
        found = found[len(brute_force(rollouts[:-1], shares, length)) :]
    mass = hat_weights(torch.tensor([share for _, _, share in found]), KNOTS).numpy()
    expected = (mass.T @ np.array([cost for cost, _, _ in found])) / mass.sum(0)[:, None]
    np.testing.assert_allclose(means.numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(mean.numpy(), np.mean([cost for cost, _, _ in found], 0), rtol=1e-5)
    assert mean_length == pytest.approx(np.mean([steps for _, steps, _ in found]))


def test_without_an_episode_nothing_is_known():
    means, mean, length = EpisodeSums(3, 2, 1, 8, torch.device("cpu")).close(ProcessGroup(), 10)
    assert means.isnan().all() and mean.isnan().all()
    assert length == 0.0


def test_roll_out_means_leave_invalid_steps_out():
    made = storage(6, 4, 1)
    means, mean = rollout_means(made, torch.ones(()).expand(6, 4, 1), ProcessGroup())
    torch.testing.assert_close(means[0].float(), made.rewards[..., 1:][made.valid].mean(0))
    torch.testing.assert_close(means[0], mean)


def test_a_knot_that_no_sample_is_near_is_unknown():
    made = storage(6, 4, 1)
    weights = hat_weights(torch.full((4,), 0.6), KNOTS).expand(6, -1, -1)
    means, mean = rollout_means(made, weights, ProcessGroup())
    assert means[:2].isfinite().all()
    assert means[2].isnan().all()
    torch.testing.assert_close(mean.float(), made.rewards[..., 1:][made.valid].mean(0))


def test_the_moving_average_begins_with_its_first_value():
    average = Smoothed(0.75)
    nan = float("nan")
    assert average(torch.tensor([4.0, nan])).tolist() == pytest.approx([4.0, nan], nan_ok=True)
    assert average(torch.tensor([8.0, 2.0])).tolist() == [5.0, 2.0]
    assert average(torch.tensor([nan, 4.0])).tolist() == [5.0, 2.5]
    again = Smoothed(0.75)
    again.load_state_dict(average.state_dict())
    assert again(torch.tensor([1.0, 1.0])).tolist() == average(torch.tensor([1.0, 1.0])).tolist()
