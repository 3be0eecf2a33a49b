from dataclasses import replace

import pytest
import torch

from robolearn.methods.eco.config import ConstraintConfig, EcoConfig
from robolearn.methods.eco.objectives import ConstraintState, make_objective
from robolearn.rl import RolloutStorage
from robolearn.rl.ppo import AdvantageScale, Batch

CLIP = 0.2
CONSTRAINTS = {
    "energy": ConstraintConfig("power", 60.0),
    "heat": ConstraintConfig("torque", 5.0),
    "mirror": ConstraintConfig("mirror", 0.05, kind="batch_average"),
}


def make_batch(seed=0, samples=12):
    """Random ratios and advantages of a reward and two costs; the mirror error is 0.2."""
    generator = torch.Generator().manual_seed(seed)
    old = torch.randn(samples, generator=generator)
    new = (old + 0.4 * torch.randn(samples, generator=generator)).requires_grad_()
    advantages = torch.randn(samples, 3, generator=generator)
    storage = RolloutStorage(3, 4, {"policy": 1}, 1, 2)
    empty = torch.zeros(samples, 1)
    index = torch.randperm(samples, generator=generator)
    mirror = torch.tensor(0.2, requires_grad=True)
    return Batch(storage, index, False, 1, empty, empty, empty, empty, new, old, advantages, mirror)


def make(algorithm, violations=(0.5, -0.5, 0.1), multipliers=(2.0, 0.5, 3.0), weights=(1.0, 1.0, 1.0), **entries):
    state = ConstraintState(2, *(torch.tensor(x) for x in (violations, multipliers, weights)), mirror_budget=0.16)
    objective = make_objective(EcoConfig(CONSTRAINTS, algorithm=algorithm, **entries), state, CLIP)
    scale = AdvantageScale(torch.zeros(3), torch.tensor([2.0, 0.5, 4.0]))
    objective.begin(RolloutStorage(3, 4, {"policy": 1}, 1, 2), scale)
    return objective, state


def parts(batch):
    """The reward's clipped surrogate (to be maximised), and both costs' plain and pessimistic ones, by hand."""
    reward, plain, worst = 0.0, [0.0, 0.0], [0.0, 0.0]
    for i in range(len(batch.log_prob)):
        ratio = (batch.log_prob[i] - batch.old_log_prob[i]).exp().item()
        limited = min(max(ratio, 1 - CLIP), 1 + CLIP)
        a = batch.advantages[i].tolist()
        reward += min(ratio * a[0], limited * a[0])
        for k in range(2):
            plain[k] += ratio * a[1 + k]
            worst[k] += max(ratio * a[1 + k], limited * a[1 + k])
    n = len(batch.log_prob)
    return reward / n, [x / n for x in plain], [x / n for x in worst]


def total(objective, batch):
    return sum(term.item() for term in objective(batch).values())


@pytest.mark.parametrize("surrogate", ["unclipped", "pessimistic"])
@pytest.mark.parametrize("inside", [True, False])
def test_the_lagrangian_by_hand(surrogate, inside):
    batch = make_batch()
    objective, _ = make("lagrangian", cost_surrogate=surrogate, mirror_in_divisor=inside)
    reward, plain, worst = parts(batch)
    costs = plain if surrogate == "unclipped" else worst
    divisor = 1 + 2.0 + 0.5 + (3.0 if inside else 0.0)
    expected = (-reward + 2.0 * costs[0] + 0.5 * costs[1] + 3.0 * 0.2) / divisor
    assert total(objective, batch) == pytest.approx(expected, rel=1e-5)


def test_a_multiplier_as_a_price():
    """In mean rewards (here 3) per budget: deviations 2, 0.5 and 4 of reward and costs are taken back."""
    batch = make_batch()
    objective, state = make("lagrangian", cost_scale="price", multipliers=(2.0, 0.5, 0.0))
    state.reward_size = 3.0
    reward, plain, _ = parts(batch)
    expected = (-reward + 2.0 * plain[0] * 3 * 0.5 / 2.0 + 0.5 * plain[1] * 3 * 4.0 / 2.0) / 3.5
    assert total(objective, batch) == pytest.approx(expected, rel=1e-5)


def test_without_multipliers_the_lagrangian_is_ppo():
    batch = make_batch()
    objective, _ = make("lagrangian", multipliers=(0.0, 0.0, 0.0))
    assert total(objective, batch) == pytest.approx(-parts(batch)[0], rel=1e-5)


def test_a_multiplier_of_each_sample_is_that_of_all_when_they_are_equal():
    batch = make_batch()
    common, _ = make("lagrangian")
    single, state = make("lagrangian")
    state.sample_multipliers = torch.tensor([2.0, 0.5]).expand(3, 4, 2)
    assert total(single, batch) == pytest.approx(total(common, batch), rel=1e-5)


def test_each_sample_pays_its_own_price():
    """Two samples, prices 0 and 3: the first follows the reward alone, the second is divided by 4."""
    batch = replace(make_batch(samples=12), index=torch.arange(12))
    objective, state = make("lagrangian", multipliers=(0.0, 0.0, 0.0))
    prices = torch.zeros(3, 4, 2)
    prices[1:, :, 0] = 3.0
    state.sample_multipliers = prices
    expected = 0.0
    for i in range(12):
        ratio = (batch.log_prob[i] - batch.old_log_prob[i]).exp().item()
        a = batch.advantages[i].tolist()
        reward = min(ratio * a[0], min(max(ratio, 0.8), 1.2) * a[0])
        price = float(prices.flatten(0, 1)[i, 0])
        expected += (-reward + price * ratio * a[1]) / (1 + price) / 12
    assert total(objective, batch) == pytest.approx(expected, rel=1e-5)


def test_p3o_by_hand():
    """Brackets in units of the budget: 0.5 surrogate + 0.5 (std 0.5), 4 surrogate - 0.5 (std 4); the mirror error
    is 0.2 of 0.16."""
    batch = make_batch()
    objective, _ = make("p3o", weights=(2.0, 3.0, 5.0))
    reward, _, worst = parts(batch)
    expected = -reward + 2.0 * max(0.0, 0.5 * worst[0] + 0.5) + 3.0 * max(0.0, 4.0 * worst[1] - 0.5) + 5.0 * 0.25
    assert total(objective, batch) == pytest.approx(expected, rel=1e-4)


def test_p3o_pushes_a_mirror_error_to_its_budget_and_no_further():
    """Whatever the last estimate was: the slope is weight / budget above the budget, and 0 below."""
    for error, slope in ((0.2, 5.0 / 0.16), (1e-3, 0.0)):
        batch = replace(make_batch(), mirror=torch.tensor(error, requires_grad=True))
        objective, _ = make("p3o", weights=(0.0, 0.0, 5.0))
        objective(batch)["mirror_price"].backward()
        assert batch.mirror.grad.item() == pytest.approx(slope)


@pytest.mark.parametrize("algorithm", ["p3o", "n_p3o", "ipo_release", "crpo"])
def test_what_is_not_known_yet_does_not_act(algorithm):
    batch = make_batch()
    objective, _ = make(algorithm, violations=(float("nan"),) * 3)
    assert total(objective, batch) == pytest.approx(-parts(batch)[0], rel=1e-5)


def test_n_p3o_is_p3o_in_units_of_the_deviation():
    batch = make_batch()
    objective, _ = make("n_p3o", weights=(2.0, 0.0, 0.0))
    reward, _, worst = parts(batch)
    assert total(objective, batch) == pytest.approx(-reward + 2.0 * max(0.0, worst[0] + 0.5 / 0.5), rel=1e-4)


def test_ipo_by_hand():
    """Over budget: the largest price. Half a budget below it: weight / 0.5."""
    batch = make_batch()
    objective, _ = make("ipo", weights=(0.01, 0.01, 0.01), barrier_maximum=2.0)
    reward, plain, _ = parts(batch)
    prices = (2.0, 0.02, 2.0)
    expected = (-reward + prices[0] * plain[0] + prices[1] * plain[1] + prices[2] * 0.2 / 0.16) / (1 + sum(prices))
    assert total(objective, batch) == pytest.approx(expected, rel=1e-5)


def test_ipo_as_released_fades_where_it_is_needed_most():
    objective, state = make("ipo_release", weights=(10.0, 10.0, 1.0))
    torch.testing.assert_close(objective.prices(), torch.tensor([20.0, 0.0, 10.0]))
    state.violations[0] = 5.0
    assert objective.prices()[0].item() == pytest.approx(2.0)


def test_crpo_follows_the_reward_within_the_tolerance():
    batch = make_batch()
    objective, _ = make("crpo", violations=(0.05, -0.5, -0.1), tolerance=0.1)
    assert total(objective, batch) == pytest.approx(-parts(batch)[0], rel=1e-5)


def test_crpo_follows_one_violated_cost_alone():
    batch = make_batch()
    objective, _ = make("crpo", violations=(-0.5, 0.5, -0.1))
    assert total(objective, batch) == pytest.approx(parts(batch)[1][1], rel=1e-5)


def test_crpo_draws_among_violated_costs():
    batch = make_batch()
    objective, _ = make("crpo", violations=(0.5, 0.5, -0.1))
    seen = {round(total(objective, batch), 5) for _ in range(40)}
    assert seen == {round(x, 5) for x in parts(batch)[1]}


@pytest.mark.parametrize("algorithm", ["lagrangian", "p3o", "n_p3o", "ipo", "ipo_release", "crpo"])
def test_losses_have_gradients(algorithm):
    batch = make_batch()
    objective, _ = make(algorithm)
    sum(objective(batch).values()).backward()
    assert batch.log_prob.grad.isfinite().all()
    assert batch.log_prob.grad.abs().sum() > 0
