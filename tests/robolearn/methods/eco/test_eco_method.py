"""The whole loop on problems with a known solution, and its state."""

import itertools

import pytest
import torch
from bandit import Bandit

from robolearn.config import ConfigError
from robolearn.methods.eco import ConditioningConfig, ConstraintConfig, DualConfig, EcoConfig, EcoMethod
from robolearn.rl import PPO, ActorCritic, NetworkConfig, OnPolicyRunner, PPOConfig, RunnerConfig, seed_everything

SIGMA = 0.3
BUDGET = 1 + SIGMA**2
"""Of a^2 with a ~ N(mu, SIGMA): met by mu = 1, where -(a - 2)^2 and a^2 both have the slope 2: lambda* = 1."""
NETWORK = NetworkConfig(
    actor_hidden=(16,), critic_hidden=(16,), init_std=SIGMA, min_std=SIGMA, max_std=SIGMA, normalize=False
)
DUALS = {
    "adam": DualConfig("adam", lr=0.02),
    "normalized": DualConfig("normalized", lr=0.05),
    "pid": DualConfig("pid"),
}


def energy(**entries):
    return ConstraintConfig("square", **{"budget": BUDGET, "kind": "rate", "window": 1, **entries})


def build(constraints, env=None, seed=1, network=NETWORK, steps=4, group=None, clip_rewards=False, **entries):
    env = env or Bandit(num_envs=128)
    seed_everything(seed)
    method = EcoMethod(EcoConfig(constraints, **entries), env, group=group, clip_rewards=clip_rewards)
    policy = ActorCritic(env.obs_dims, env.num_actions, len(method.cost_names), network)
    symmetry = "loss" if "mirror" in method.names else "none"
    config = PPOConfig(
        learning_rate=3e-3,
        schedule="fixed",
        entropy_coef=0.0,
        epochs=2,
        minibatches=2,
        symmetry=symmetry,
        mirror_coef=0.0,
    )
    ppo = PPO(policy, config, env.symmetries, seed=seed, group=group, objective=method.objective)
    return OnPolicyRunner(env, policy, ppo, RunnerConfig(steps_per_env=steps), method=method)


def learn(runner, iterations):
    rows = []
    runner.learn(iterations, rows.append)
    return rows


def last_mean(rows, name, count=50):
    return sum(row[name] for row in itertools.islice(reversed(rows), count)) / count


@pytest.mark.parametrize(
    ("kind", "iterations", "window"), [("adam", 650, 300), ("normalized", 260, 50), ("pid", 260, 50)]
)
def test_each_dual_finds_budget_and_multiplier(kind, iterations, window):
    """Within 5 % of the budget and 0.1 of lambda* = 1; the constraint that is slack costs nothing, exactly.

    Adam's steps are as long near the budget as far from it: it swings around both, so the mean is over several swings.
    """
    constraints = {
        "energy": energy(dual=DUALS[kind]),
        "far": ConstraintConfig("far", 1e4, kind="rate", dual=DUALS[kind]),
    }
    rows = learn(build(constraints, cost_scale="price"), iterations)
    assert last_mean(rows, "eco/energy/share", window) == pytest.approx(1.0, abs=0.05)
    # A price in mean rewards per budget: at the optimum a step is worth -(1 + SIGMA^2), a budget is BUDGET.
    price = last_mean(rows, "eco/energy/multiplier", window) * (1 + SIGMA**2) / BUDGET
    assert price == pytest.approx(1.0, abs=0.1)
    assert all(row["eco/far/multiplier"] == 0.0 for row in rows)


def test_an_episode_sum_finds_the_same():
    rows = learn(build({"energy": energy(kind="episode_sum")}, cost_scale="price"), 200)
    assert last_mean(rows, "eco/energy/share") == pytest.approx(1.0, abs=0.05)


def test_without_a_cost_critic():
    network = NetworkConfig(**{**vars(NETWORK), "cost_critic": False})
    runner = build({"energy": energy()}, network=network, cost_scale="price")
    assert runner.policy.cost_critic is None
    assert last_mean(learn(runner, 200), "eco/energy/share") == pytest.approx(1.0, abs=0.05)


def test_a_budget_above_the_unconstrained_cost_changes_nothing():
    """The same bits as a run that only watches the cost, at a price of 0 in the reward."""
    slack = build({"energy": ConstraintConfig("square", 1e6, kind="rate")})
    rows = learn(slack, 10)
    env = Bandit(num_envs=128)
    seed_everything(1)
    method = EcoMethod(
        EcoConfig({"energy": ConstraintConfig("square", 1e6, kind="rate", weight=0.0)}, algorithm="shaped"), env
    )
    policy = ActorCritic(env.obs_dims, 1, 1, NETWORK)
    ppo = PPO(policy, slack.ppo.config, env.symmetries, seed=1, objective=method.objective)
    plain = OnPolicyRunner(env, policy, ppo, slack.config, method=method)
    for a, b in zip(rows, learn(plain, 10), strict=True):
        assert a["train/mean_reward"] == b["train/mean_reward"]


@pytest.mark.parametrize("algorithm", ["lagrangian", "p3o", "n_p3o", "ipo", "crpo", "cat"])
def test_nothing_acts_before_episodes_have_been_long(algorithm):
    """Episodes last half of the longest: with less asked for, a violated budget acts from the second iteration on."""

    def rewards(warm_up, **entries):
        env = Bandit(num_envs=128)
        env.max_episode_length = 2
        runner = build(
            {"energy": energy(budget=0.5, weight=20.0, dual=DualConfig("pid", warm_up=warm_up))}, env=env, **entries
        )
        return [row["train/mean_reward"] for row in learn(runner, 25)]

    entries = {"algorithm": algorithm, "termination": (0.5, 0.5)}
    free, waits, acts = rewards(0.9), rewards(0.9, **entries), rewards(0.4, **entries)
    assert waits == free
    assert acts[0] == free[0] and acts[-1] < free[-1]


@pytest.mark.parametrize(
    ("algorithm", "entries", "low", "high"),
    [
        ("p3o", {"weight": 20.0}, 0.9, 1.1),
        ("n_p3o", {"weight": 5.0}, 0.9, 1.1),
        ("crpo", {}, 0.85, 1.15),
        ("shaped", {"weight": 1.0}, 0.9, 1.1),  # the price is known here: lambda*
    ],
)
def test_baselines_hold_the_budget(algorithm, entries, low, high):
    rows = learn(build({"energy": energy(**entries)}, algorithm=algorithm), 200)
    assert low < last_mean(rows, "eco/energy/share") < high


def test_soft_terminations_shorten_the_future_and_take_reward():
    """Hand-computed: in units of the budget costs are 0.5, 2.5, 1.5; the largest violation is 1.5, then 1.425."""
    runner = build({"energy": ConstraintConfig("square", 2.0, kind="rate")}, algorithm="cat", termination=(0.1, 0.1))
    storage = runner.storage

    def fill(*costs):
        storage.rewards[..., 0] = 4.0
        storage.rewards[..., 1] = torch.tensor([*costs, 0.5]).unsqueeze(1)
        runner.method.on_rollout(storage)
        return storage.survival[:3, 0].tolist()

    assert fill(0.5, 2.5, 1.5) == pytest.approx([1.0, 0.9, 1.0 - 0.1 * 0.5 / 1.5])
    assert storage.rewards[1, 0, 0].item() == pytest.approx(3.6)
    assert fill(0.5, 0.5, 1.5)[2] == pytest.approx(1.0 - 0.1 * 0.5 / (0.95 * 1.5 + 0.05 * 0.5))


class Slow(Bandit):
    """Episodes of 50 steps of 0.02 s."""

    def __init__(self, num_envs=128):
        super().__init__(num_envs)
        self.step_dt, self.max_episode_length = 0.02, 50


def test_what_is_learned_from_a_rate_is_the_difference_to_its_mean():
    """Else a fall, which ends all costs, would pay."""
    runner = build({"energy": ConstraintConfig("square", 2.0, "W", "rate")}, env=Slow())
    costs = torch.rand(runner.storage.rewards.shape[:2])
    runner.storage.valid.fill_(True)
    runner.storage.rewards[..., 1] = costs / 2.0
    runner.method.on_rollout(runner.storage)
    torch.testing.assert_close(runner.storage.rewards[..., 1], (costs - costs.mean()) / 2.0)
    joules = build({"energy": ConstraintConfig("square", 2.0, "J", "rate")}, env=Slow())
    assert joules.method.cost_scale == pytest.approx((0.5,)), "2 J in a full episode of 1 s are 2 W"


def test_falls_make_the_sum_of_an_episode_cheap_and_no_rate():
    """Every step is just on budget, and episodes end after 5 of their 50 steps: a tenth of the sum, all of the rate."""
    constraints = {
        "sum": ConstraintConfig("square", 2.0, "W", "episode_sum", window=1),
        "rate": ConstraintConfig("far", 2.0, "W", "rate"),
    }
    runner = build(constraints, env=Slow(), steps=10)
    storage = runner.storage
    storage.valid.fill_(True)
    storage.terminated[4::5] = True
    storage.rewards[..., 1:] = 1.0
    runner.method.on_rollout(storage)
    found = runner.method.on_update({})
    assert found["eco/sum/share"] == pytest.approx(0.1) and found["eco/rate/share"] == pytest.approx(1.0)
    assert found["eco/episode_length_s"] == pytest.approx(5 * 0.02), "what is to be read beside a sum"
    assert (storage.rewards[..., 2] == 0.0).all() and (storage.rewards[..., 1] == 1.0).all()


def test_a_warm_up_that_is_over_stays_over():
    """Episodes of 29 of 50 steps end it; falls right after that do not hold the multiplier where it was."""
    dual = DualConfig("normalized", lr=0.1, warm_up=0.5)
    runner = build({"energy": energy(budget=0.5, dual=dual)}, env=Slow(), steps=30)
    storage = runner.storage
    storage.valid.fill_(True)
    prices, lengths = [], []
    for ends in (slice(0, None, 29), slice(None)):
        storage.terminated.fill_(False)
        storage.terminated[ends] = True
        storage.rewards[..., 1] = 2.0
        runner.method.on_rollout(storage)
        found = runner.method.on_update({})
        prices.append(found["eco/energy/multiplier"])
        lengths.append(round(found["eco/episode_length_s"] / 0.02))
    assert lengths == [29, 1]
    assert prices == pytest.approx([0.1, 0.2])


def test_the_average_the_aim_and_the_period_act_on_the_multiplier():
    """Averages of 1.6 and 0.8 with halves are 1.6 and 1.2; 1.2 / 0.8 is a violation of 0.5; every second counts."""
    dual = DualConfig("normalized", lr=0.1, period=2)
    runner = build({"energy": energy(smoothing=0.5, aim=0.8, dual=dual)})
    storage, prices, shares = runner.storage, [], []
    storage.valid.fill_(True)
    for cost in (1.6, 0.8, 1.2):
        storage.rewards[..., 1] = cost
        runner.method.on_rollout(storage)
        found = runner.method.on_update({})
        prices.append(found["eco/energy/multiplier"])
        shares.append(found["eco/energy/share"])
    assert shares == pytest.approx([1.6, 1.2, 1.2])
    assert prices == pytest.approx([0.0, 0.05, 0.05])


def test_all_algorithms_aim_at_the_same_share_of_the_budget():
    """0.8 where 0.8 is aimed at is no violation, 1.2 is half too much."""
    runner = build({"energy": energy(aim=0.8)}, algorithm="p3o")
    for cost, violation in ((0.8, 0.0), (1.2, 0.5)):
        runner.storage.valid.fill_(True)
        runner.storage.rewards[..., 1] = cost
        runner.method.on_rollout(runner.storage)
        assert runner.method.state.violations.item() == pytest.approx(violation, abs=1e-6)


def test_what_is_usual_is_the_average_over_roll_outs():
    """1.6, then 0.8: their average with halves is 1.2, and what is learned from is the difference to it."""
    runner = build({"energy": energy(smoothing=0.5)})
    for cost, difference in ((1.6, 0.0), (0.8, -0.4)):
        runner.storage.valid.fill_(True)
        runner.storage.rewards[..., 1] = cost
        runner.method.on_rollout(runner.storage)
        assert runner.storage.rewards[..., 1].unique().item() == pytest.approx(difference, abs=1e-6)


def test_the_mirror_error_is_averaged_over_updates():
    constraint = ConstraintConfig("mirror", 0.2, kind="batch_average", smoothing=0.5, aim=0.5, dual=DualConfig("pid"))
    method = build({"mirror": constraint}, env=Unequal(8, dim=2), algorithm="p3o").method
    assert method.state.mirror_budget == pytest.approx(0.1)
    shares = [method.on_update({"loss/mirror": error})["eco/mirror/share"] for error in (0.4, 0.1)]
    assert shares == pytest.approx([2.0, 1.25])
    assert method.state.violations.item() == pytest.approx(1.5)


def test_the_multiplier_moves_where_nobody_listens():
    """In the release it moves where the log is written, and only then."""
    heard, unheard = (build({"energy": energy(budget=0.05)}) for _ in range(2))
    learn(heard, 3)
    unheard.learn(3)
    price = unheard.method.state.multipliers
    assert price.item() > 0.0 and torch.equal(price, heard.method.state.multipliers)


@pytest.mark.parametrize(("clip", "expected"), [(False, -0.03), (True, 0.0)])
def test_a_price_is_per_second_and_comes_before_the_clip_of_the_task(clip, expected):
    """0.01 of reward, 4 W at 0.5 per joule over 0.02 s: 0.01 - 0.04."""
    entries = {"energy": ConstraintConfig("square", 1.0, "W", "rate", weight=0.5)}
    method = EcoMethod(EcoConfig(entries, algorithm="shaped"), Slow(), clip_rewards=clip)
    storage = build(entries, env=Slow(), algorithm="shaped").storage
    storage.rewards[..., 0], storage.rewards[..., 1] = 0.01, 4.0
    method.on_rollout(storage)
    assert storage.rewards[..., 0].unique().item() == pytest.approx(expected, abs=1e-7)


def test_rewards_that_a_price_takes_below_the_clip_are_counted():
    """The task counts what it clips itself; a price of 0.5 per joule makes 0.01 - 0.04 of three valid steps in four."""
    entries = {"energy": ConstraintConfig("square", 1.0, "W", "rate", weight=0.5)}
    method = EcoMethod(EcoConfig(entries, algorithm="shaped"), Slow(), clip_rewards=True)
    storage = build(entries, env=Slow(), steps=5, algorithm="shaped").storage
    storage.rewards[..., 0], storage.rewards[..., 1] = 0.01, 4.0
    storage.rewards[0, :, 1] = 0.5
    storage.valid[:4] = True
    method.on_rollout(storage)
    assert method.on_update({})["eco/clipped_share"] == pytest.approx(0.75)
    unclipped = EcoMethod(EcoConfig(entries, algorithm="shaped"), Slow())
    unclipped.on_rollout(storage)
    assert "eco/clipped_share" not in unclipped.on_update({})


def test_a_share_of_the_budget_counts_by_how_often_it_was_drawn():
    """What is not conditioned has one budget: its mean is that of all samples, not of the knots."""
    constraints = {"energy": energy(), "far": ConstraintConfig("far", 1.0, kind="rate")}
    conditioning = ConditioningConfig("energy", [0.5, 0.75, 1.0])
    runner = build(constraints, env=Shared(256), conditioning=conditioning)
    rows = learn(runner, 1)
    storage = runner.storage
    storage.obs["budget"].copy_(0.5 + 0.5 * torch.rand(storage.obs["budget"].shape))
    storage.rewards[..., 2] = storage.obs["budget"][..., 0]
    runner.method.on_rollout(storage)
    found = runner.method.on_update({})
    assert found["eco/far/share"] == pytest.approx(storage.obs["budget"].mean().item(), rel=1e-5)
    assert "eco/energy/value" not in rows[0] and "eco/energy/share" in rows[0]


class Unequal(Bandit):
    """Two actions whose best values differ, and mirroring swaps them."""

    def step(self, actions):
        result = super().step(actions)
        result.reward = -(actions - torch.tensor([1.0, 2.0])).square().sum(1)
        return result


def test_the_mirror_error_is_bounded():
    """A slack bound leaves the two actions apart."""

    def gap(budget):
        constraint = ConstraintConfig("mirror", budget, kind="batch_average", dual=DualConfig("pid", ki=0.2))
        runner = build({"mirror": constraint}, env=Unequal(128, dim=2))
        rows = learn(runner, 250)
        return last_mean(rows, "eco/mirror/value"), last_mean(rows, "eco/mirror/multiplier")

    free, price = gap(10.0)
    assert free == pytest.approx(1.0, rel=0.15)  # (1 - 2)^2 for each action
    assert price == 0.0
    bound, price = gap(0.25)
    assert bound == pytest.approx(0.25, rel=0.15)
    assert price > 0.0


class Shared(Bandit):
    """Each episode has a share of the budget between 0.5 and 1, and sees it."""

    def __init__(self, num_envs):
        super().__init__(num_envs)
        self.obs_dims = {"policy": 2, "critic": 2, "budget": 1}
        self.generator = torch.Generator().manual_seed(0)

    def _observe(self, count):
        share = 0.5 + 0.5 * torch.rand(count, 1, generator=self.generator)
        both = torch.cat((torch.ones(count, 1), share), 1)
        return {"policy": both, "critic": both, "budget": share}


def test_one_policy_for_many_budgets():
    """With budget s * B the best mean is sqrt(s B - sigma^2); energy is dearer where the budget is small."""
    constraints = {"energy": energy(dual=DualConfig("pid", smoothing=0.5))}
    conditioning = ConditioningConfig("energy", [0.5, 0.75, 1.0])
    network = NetworkConfig(**{**vars(NETWORK), "actor_hidden": (32,)})
    runner = build(constraints, env=Shared(512), network=network, cost_scale="price", conditioning=conditioning)
    rows = learn(runner, 300)
    for share in (0.5, 0.75, 1.0):
        assert last_mean(rows, f"eco/energy/share_{share:g}") == pytest.approx(1.0, abs=0.08)
        mean = runner.policy(torch.tensor([[1.0, share]]), torch.zeros(1, 0))[0].item()
        assert mean == pytest.approx((share * BUDGET - SIGMA**2) ** 0.5, abs=0.08)
    prices = [last_mean(rows, f"eco/energy/multiplier_{share:g}") / share for share in (0.5, 0.75, 1.0)]
    assert prices == sorted(prices, reverse=True)


def test_resume_is_exact(tmp_path):
    constraints = {
        "energy": energy(kind="episode_sum", dual=DualConfig("adam", lr=0.05)),
        "far": ConstraintConfig("far", 80.0, kind="rate", smoothing=0.5),
    }
    through = build(constraints)
    rows = learn(through, 8)
    first = build(constraints)
    learn(first, 4)
    first.save(tmp_path / "checkpoint.pt")
    second = build(constraints, seed=2)
    second.load(tmp_path / "checkpoint.pt")
    torch.testing.assert_close(second.method.state.multipliers, first.method.state.multipliers)
    again = learn(second, 8)
    for name in ("eco/energy/share", "eco/energy/multiplier", "eco/far/multiplier", "loss/surrogate"):
        assert [row[name] for row in again] == [row[name] for row in rows[4:]]


class Longer(Bandit):
    """Episodes of three steps, of which some run on from one roll-out of four steps into the next."""

    def __init__(self):
        super().__init__(num_envs=48, dim=2)
        self.max_episode_length = 3
        self.age = torch.arange(self.num_envs) % 3

    def step(self, actions):
        result = super().step(actions)
        self.age = (self.age + 1) % 3
        result.terminated = self.age == 0
        result.final_ids = result.terminated.nonzero().squeeze(1)
        result.final_obs = self._observe(len(result.final_ids))
        return result

    def state_dict(self):
        return {"age": self.age.clone()}

    def load_state_dict(self, state):
        self.age = state["age"].clone()


@pytest.mark.parametrize(
    ("algorithm", "entries"),
    [
        ("lagrangian", {"cost_scale": "price"}),
        ("crpo", {}),
        ("p3o", {}),
        ("cat", {"termination": (0.0, 0.9), "termination_ramp": 10}),
    ],
)
def test_each_algorithm_goes_on_as_if_it_had_not_stopped(algorithm, entries, tmp_path):
    """Running episodes, windows, averages, the unit of prices, the warm-up that is over, draws and ramps are kept."""

    def make(seed=1):
        constraints = {
            "energy": ConstraintConfig("square", 0.1, "W", "episode_sum", 100, dual=DualConfig("adam", warm_up=1.0)),
            "far": ConstraintConfig("far", 90.0, "W", "rate", smoothing=0.9, dual=DualConfig("pid", period=3)),
        }
        if algorithm != "cat":
            constraints["mirror"] = ConstraintConfig("mirror", 1e-8, kind="batch_average", smoothing=0.9)
        return build(constraints, env=Longer(), seed=seed, algorithm=algorithm, **entries)

    rows = learn(make(), 8)
    first = make()
    learn(first, 4)
    first.save(tmp_path / "checkpoint.pt")
    second = make(seed=2)
    second.load(tmp_path / "checkpoint.pt")
    for expected, row in zip(rows[4:], learn(second, 8), strict=True):
        names = [name for name in expected if not name.startswith("time/")]
        assert {name: row[name] for name in names} == {name: expected[name] for name in names}


def test_another_budget_keeps_multipliers_and_forgets_the_rest(tmp_path):
    def with_budget(budget, seed=1):
        return build({"energy": energy(kind="episode_sum", budget=budget, dual=DualConfig("pid"))}, seed=seed)

    first = with_budget(0.5)
    learn(first, 12)
    price = first.method.state.multipliers.clone()
    assert price.item() > 0.05
    first.save(tmp_path / "checkpoint.pt")
    other = with_budget(50.0, seed=2)
    other.load(tmp_path / "checkpoint.pt")
    torch.testing.assert_close(other.method.state.multipliers, price)
    rows = learn(other, 14)
    assert rows[0]["eco/energy/share"] < 0.2, "nothing of the old estimate, which was above 1"


def test_the_state_of_other_constraints_is_refused(tmp_path):
    first = build({"energy": energy()})
    other = build({"heat": energy()})
    with pytest.raises(ValueError, match="constraints energy, this run has heat"):
        other.method.load_state_dict(first.method.state_dict())
    with pytest.raises(ValueError, match="constraint energy: dual: the state holds"):
        build({"energy": energy(dual=DUALS["adam"])}).method.load_state_dict(first.method.state_dict())


def test_the_state_at_other_knots_is_refused():
    """As many as before: the multiplier of 0.75 would become that of 0.9."""

    def method(*knots):
        return build({"energy": energy()}, env=Shared(4), conditioning=ConditioningConfig("energy", list(knots))).method

    state = method(0.5, 0.75, 1.0).state_dict()
    method(0.5, 0.75, 1.0).load_state_dict(state)
    with pytest.raises(ValueError, match=r"knots \[0.5, 0.75, 1.0\], this run has \[0.5, 0.9, 1.0\]"):
        method(0.5, 0.9, 1.0).load_state_dict(state)


def test_watts_and_joules():
    """60 J in an episode of 24 s are 2.5 W, whichever of the two is bounded."""
    for kind, unit, budget in itertools.product(("episode_sum", "rate"), ("J", "W"), (60.0,)):
        value = budget if unit == "J" else budget / 24.0
        assert ConstraintConfig("power", value, unit, kind).rate(24.0) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("constraints", "entries", "message"),
    [
        ({"energy": ConstraintConfig("sqare", 1.0)}, {}, "square"),
        (
            {
                "a": ConstraintConfig("mirror", 1.0, kind="batch_average"),
                "b": ConstraintConfig("mirror", 2.0, kind="batch_average"),
            },
            {},
            "both bound the mirror",
        ),
        (
            {"a": ConstraintConfig("square", 1.0, window=3), "b": ConstraintConfig("far", 1.0, window=7)},
            {},
            "windows of episode sums must be equal",
        ),
        ({"energy": energy()}, {"conditioning": ConditioningConfig("energy")}, "no observation group 'budget'"),
    ],
)
def test_what_does_not_fit_is_refused(constraints, entries, message):
    with pytest.raises(ConfigError, match=message):
        EcoMethod(EcoConfig(constraints, **entries), Bandit())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EcoConfig({}), "at least one"),
        (lambda: ConstraintConfig("power", 0.0), "budget"),
        (lambda: ConstraintConfig("mirror", 1.0), "batch_average"),
        (lambda: ConstraintConfig("power", 60.0, "kJ"), "unit: 'kJ' is not converted"),
        (lambda: ConstraintConfig("power", 60.0, "j"), "unit: 'j' is not converted"),
        (lambda: ConstraintConfig("power", 60.0, "J", smoothing=0.5), "smoothing: an episode sum"),
        (lambda: EcoConfig({"e": energy()}, algorithm="p3o", conditioning=ConditioningConfig("e")), "lagrangian"),
        (lambda: EcoConfig({"e": energy()}, conditioning=ConditioningConfig("f")), "none of"),
        (lambda: ConditioningConfig("e", [1.0, 0.5]), "ascending"),
    ],
)
def test_settings_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()
