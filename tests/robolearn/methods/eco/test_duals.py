import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robolearn.methods.eco.config import DualConfig
from robolearn.methods.eco.duals import AdamDual, NormalizedDual, PIDDual, make_dual

KINDS = ("adam", "normalized", "pid")
ratios = st.lists(st.floats(-1e3, 1e3) | st.just(float("nan")), min_size=1, max_size=60)


def feed(dual, *values):
    for value in values:
        dual.update(torch.tensor([value]))
    return dual.value.item()


def test_normalized_gradient_by_hand():
    dual = NormalizedDual(DualConfig("normalized", lr=0.1, largest=2.0))
    assert feed(dual, 1.5) == pytest.approx(0.05)
    assert feed(dual, 3.0) == pytest.approx(0.25)
    assert feed(dual, 0.0) == pytest.approx(0.15)
    assert feed(dual, -9.0) == 0.0


def test_adam_by_hand():
    """Two steps on the gradient 1 - J / b, as Kingma and Ba's algorithm 1 has them, then one that is clipped at 0."""
    dual = AdamDual(DualConfig("adam", lr=0.02, largest=2.0))
    first, second = 0.1 * -0.5, 0.001 * 0.25
    value = 0.02 * (0.05 / 0.1) / (second / 0.001) ** 0.5
    assert feed(dual, 1.5) == pytest.approx(value)
    first, second = 0.9 * first + 0.1 * -2.0, 0.999 * second + 0.001 * 4.0
    value -= 0.02 * (first / (1 - 0.9**2)) / (second / (1 - 0.999**2)) ** 0.5
    assert feed(dual, 3.0) == pytest.approx(value)
    assert feed(dual, *[-1000.0] * 5) == 0.0


def test_adam_steps_by_its_rate_whatever_the_violation():
    small, large = (AdamDual(DualConfig("adam", lr=0.001, largest=100.0)) for _ in range(2))
    assert feed(small, 1.01) == pytest.approx(0.001, rel=1e-4)
    assert feed(large, 100.0) == pytest.approx(0.001, rel=1e-4)


def test_pid_by_hand():
    """Two updates with e = 0.5 and 1.5 (the limit is 2), a difference over one update, averages that keep a half."""
    dual = PIDDual(DualConfig("pid", kp=2.0, ki=0.1, kd=4.0, delay=1, smoothing=0.5, largest=2.0))
    assert feed(dual, 1.5) == pytest.approx(2.0 * 0.5 + 0.1 * 0.5)
    error, level = 0.5 * 0.5 + 0.5 * 1.5, 0.5 * 1.5 + 0.5 * 2.5
    assert feed(dual, 2.5) == pytest.approx(2.0 * error + 0.1 * (0.5 + 1.5) + 4.0 * (level - 1.5))


def test_adam_s_clip_leaves_its_moments_and_so_it_comes_late():
    """After n = 50 slack updates its mean at the k-th violated one is 1 - 0.9^k (2 - 0.9^n): above 0 from k = 7 on."""
    adam, normalized = make_dual(DualConfig("adam")), make_dual(DualConfig("normalized"))
    assert feed(adam, *[0.0] * 50, *[2.0] * 6) == 0.0
    assert feed(adam, 2.0) > 0.0
    assert feed(normalized, *[0.0] * 50, 2.0) > 0.0, "without a memory it begins at once"


def test_adam_is_sluggish_after_a_violation_without_a_limit():
    """One of 100 at the start makes the 100th step a twentieth of ``lr`` long; limited to 0.5, it is ``lr`` long."""
    for largest, length in ((1e9, 0.051), (0.5, 1.0)):
        dual = AdamDual(DualConfig("adam", lr=0.001, largest=largest))
        before = feed(dual, 101.0, *[1.5] * 98)
        assert (feed(dual, 1.5) - before) / 0.001 == pytest.approx(length, rel=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_how_far_beyond_the_budget_does_not_matter(kind):
    far, farther = make_dual(DualConfig(kind)), make_dual(DualConfig(kind))
    assert feed(far, 2.0, 3.0) == feed(farther, 40.0, 1e6) > 0.0


def test_pid_does_not_wind_up():
    """After a hundred updates at the maximum it lets go as soon as after the few that brought it there."""
    config = DualConfig("pid", kp=1.0, ki=0.5, kd=0.0, maximum=2.0, smoothing=0.0)
    short, long = PIDDual(config), PIDDual(config)
    assert feed(short, *[2.0] * 4) == 2.0
    assert feed(long, *[2.0] * 100) == 2.0
    # With e = 1 the proportional part is 1: the integral stops at 1, with 2 for both. Then e = -0.5.
    assert feed(long, 0.5) == feed(short, 0.5) == pytest.approx(-0.5 + 1.0 - 0.25)


def test_pid_gathers_nothing_while_a_large_violation_shrinks():
    config = DualConfig("pid", kp=0.0, ki=0.1, kd=0.0, delay=1, smoothing=0.0, largest=0.5)
    dual = PIDDual(config)
    assert feed(dual, 9.0) == pytest.approx(0.05), "nothing is known yet of where it goes"
    assert feed(dual, 8.0, 6.0, 3.0, 1.6) == pytest.approx(0.05)
    assert feed(dual, 1.4) == pytest.approx(0.05 + 0.04), "near the budget it does"
    assert feed(dual, 3.0, 3.0, 3.1) == pytest.approx(0.09 + 3 * 0.05), "and where nothing gets better"


def test_pid_pays_for_a_rising_cost_and_not_for_a_falling_one():
    dual = PIDDual(DualConfig("pid", kp=0.0, ki=0.1, kd=1.0, delay=1, smoothing=0.0))
    assert feed(dual, 1.2, 1.6) == pytest.approx(0.1 * (0.2 + 0.6) + 0.4)
    assert feed(dual, 1.5) == pytest.approx(0.1 * (0.2 + 0.6 + 0.5))


def test_pid_forgets_a_slack_constraint():
    dual = PIDDual(DualConfig("pid", kp=1.0, ki=0.1, smoothing=0.0, kd=0.0))
    feed(dual, *[0.2] * 1000)
    assert feed(dual, 1.2) == pytest.approx(0.2 + 0.1 * 0.2)


@pytest.mark.parametrize("kind", KINDS)
@given(values=ratios)
def test_multipliers_stay_in_bounds(kind, values):
    dual = make_dual(DualConfig(kind, lr=0.5, maximum=3.0, initial=1.0))
    for value in values:
        dual.update(torch.tensor([value]))
        assert 0.0 <= dual.value.item() <= 3.0


@pytest.mark.parametrize("kind", KINDS)
@given(values=st.lists(st.floats(0.0, 0.999), min_size=1, max_size=60))
def test_a_slack_constraint_is_exactly_free(kind, values):
    dual = make_dual(DualConfig(kind, kd=0.0))
    assert feed(dual, *values) == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_knots_are_independent_and_pass_over_missing_estimates(kind):
    config = DualConfig(kind, lr=0.1, delay=2)
    together, first, second = make_dual(config, 2), make_dual(config), make_dual(config)
    nan = float("nan")
    for a, b in ((1.5, 0.5), (nan, 1.5), (2.0, 1.7), (1.2, nan), (0.9, 1.4)):
        together.update(torch.tensor([a, b]))
        for dual, value in ((first, a), (second, b)):
            if value == value:
                dual.update(torch.tensor([value]))
    torch.testing.assert_close(together.value, torch.cat((first.value, second.value)))


@pytest.mark.parametrize("kind", KINDS)
def test_resume_is_exact(kind):
    config = DualConfig(kind, lr=0.1, delay=3)
    values = [1.5, 2.0, 0.7, 1.1, 0.4, 1.9, 1.3]
    through, resumed = make_dual(config), make_dual(config)
    feed(through, *values)
    before = make_dual(config)
    feed(before, *values[:4])
    resumed.load_state_dict(before.state_dict())
    assert feed(resumed, *values[4:]) == through.value.item()


def test_the_state_of_another_controller_is_refused():
    with pytest.raises(ValueError, match="this PIDDual needs"):
        make_dual(DualConfig("pid")).load_state_dict(make_dual(DualConfig("adam")).state_dict())
    with pytest.raises(
        ValueError, match=r"past was saved with shape \(11, 1\), this run needs \(6, 1\): another delay"
    ):
        make_dual(DualConfig("pid", delay=5)).load_state_dict(make_dual(DualConfig("pid", delay=10)).state_dict())


@pytest.mark.parametrize(
    ("entries", "name"),
    [({"kind": "sgd"}, "kind"), ({"lr": 0.0}, "lr"), ({"kp": -1.0}, "kp"), ({"smoothing": 1.0}, "smoothing"),
     ({"initial": 11.0}, "initial"), ({"delay": 0}, "delay"), ({"warm_up": 2.0}, "warm_up")],
)  # fmt: skip
def test_settings_are_checked(entries, name):
    with pytest.raises(ValueError, match=name):
        DualConfig(**entries)
