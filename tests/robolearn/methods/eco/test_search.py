import pytest

from robolearn.methods.eco.search import Outcome, SearchRule, search


def robot(knee, free=83.0, survival=lambda budget: 1.0):
    """Tracks well down to a budget ``knee``, then worse and worse."""
    asked = []

    def train(budget):
        asked.append(budget)
        spent = free if budget is None else min(budget, free)
        return Outcome(budget, spent, 0.9 * min(1.0, spent / knee), survival(budget))

    return train, asked


def test_it_stops_behind_the_knee():
    """Tracking falls by 5 % at 0.95 * 52 = 49.4: 50 is good, 40 is not."""
    train, asked = robot(knee=52.0)
    found = list(search(train, SearchRule(step=10.0)))
    assert asked == [None, 80.0, 70.0, 60.0, 50.0, 40.0]
    assert [good for _, good in found] == [True] * 5 + [False]


def test_a_free_cost_on_the_grid_is_not_asked_again():
    train, asked = robot(knee=75.0, free=80.0)
    list(search(train, SearchRule(step=10.0)))
    assert asked == [None, 70.0]


def test_falling_ends_it_however_good_the_tracking_is():
    train, asked = robot(knee=1.0, survival=lambda budget: 0.98 if budget == 60.0 else 1.0)
    list(search(train, SearchRule(step=10.0)))
    assert asked[-1] == 60.0


def test_it_ends_at_zero():
    train, asked = robot(knee=1e-9, free=25.0)
    assert all(good for _, good in search(train, SearchRule(step=10.0)))
    assert asked == [None, 20.0, 10.0]


def test_a_policy_that_falls_by_itself_is_refused():
    train, _ = robot(knee=50.0, survival=lambda budget: 0.5)
    with pytest.raises(ValueError, match="train longer"):
        next(search(train, SearchRule(step=10.0)))


@pytest.mark.parametrize(
    "entries", [{"step": 0.0}, {"step": 1.0, "tracking_loss": 1.0}, {"step": 1.0, "survival": 2.0}]
)
def test_the_rule_is_checked(entries):
    with pytest.raises(ValueError, match="step"):
        SearchRule(**entries)
