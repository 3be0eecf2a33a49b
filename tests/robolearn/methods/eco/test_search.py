import pytest

from robolearn.evaluate.statistics import wilson
from robolearn.methods.eco.search import Outcome, SearchError, SearchRule, search


def robot(knee, free=83.0, survival=lambda budget: 1.0):
    """Tracks well down to a budget ``knee``, then worse and worse."""
    asked = []

    def train(budget):
        asked.append(budget)
        spent = free if budget is None else min(budget, free)
        return Outcome(budget, spent, 0.9 * min(1.0, spent / knee), survival(budget), survival(budget))

    return train, asked


def test_it_stops_behind_the_knee():
    """Tracking falls by 5 % at 0.95 * 52 = 49.4: 50 is good, 40 is not."""
    train, asked = robot(knee=52.0)
    found = list(search(train, SearchRule(step=10.0)))
    assert asked == [None, 80.0, 70.0, 60.0, 50.0, 40.0]
    assert [objection for _, objection in found] == [""] * 5 + ["tracking fell from 0.900 to 0.692"]


def test_a_free_cost_on_the_grid_is_not_asked_again():
    train, asked = robot(knee=75.0, free=80.0)
    list(search(train, SearchRule(step=10.0)))
    assert asked == [None, 70.0]


def test_falling_ends_it_however_good_the_tracking_is():
    train, asked = robot(knee=1.0, survival=lambda budget: 0.98 if budget == 60.0 else 1.0)
    found = list(search(train, SearchRule(step=10.0)))
    assert asked[-1] == 60.0 and found[-1][1] == "only 98.0% survive"


def test_one_fall_among_few_robots_says_nothing():
    """63 of 64 are 98.4 %, but 99 % are within their interval."""
    one = wilson(63, 64)

    def train(budget):
        return Outcome(budget, 25.0 if budget is None else budget, 0.9, one.value, one.high)

    assert not any(objection for _, objection in search(train, SearchRule(step=10.0)))


def test_a_step_larger_than_all_that_is_spent_is_refused():
    train, asked = robot(knee=1.0, free=2.5)
    stages = search(train, SearchRule(step=10.0))
    assert next(stages)[0].cost == 2.5
    with pytest.raises(SearchError, match=r"2\.5 are spent: with a step of 10 there is no budget"):
        next(stages)
    assert asked == [None]


def test_a_budget_that_is_not_kept_is_not_good():
    """The policy cannot do with less than 56: with 5 % of excess 60 is kept, 50 is not."""

    def train(budget):
        return Outcome(budget, 83.0 if budget is None else max(budget, 56.0), 0.9, 1.0, 1.0)

    found = list(search(train, SearchRule(step=10.0)))
    assert [outcome.budget for outcome, _ in found] == [None, 80.0, 70.0, 60.0, 50.0]
    assert [bool(objection) for _, objection in found] == [False] * 4 + [True]
    assert "not kept, 56 were spent" in found[-1][1]


def test_a_figure_that_is_not_known_is_no_good():
    rule, free = SearchRule(step=10.0), Outcome(None, 80.0, 0.9, 1.0, 1.0)
    assert rule.objection(Outcome(70.0, 69.0, float("nan"), 1.0, 1.0), free)
    assert rule.objection(Outcome(70.0, float("nan"), 0.9, 1.0, 1.0), free)


def test_it_ends_at_zero():
    train, asked = robot(knee=1e-9, free=25.0)
    assert not any(objection for _, objection in search(train, SearchRule(step=10.0)))
    assert asked == [None, 20.0, 10.0]


def test_a_policy_that_falls_by_itself_is_refused():
    train, _ = robot(knee=50.0, survival=lambda budget: 0.5)
    with pytest.raises(SearchError, match="train longer"):
        next(search(train, SearchRule(step=10.0)))


def test_a_cost_that_is_not_known_is_refused():
    with pytest.raises(SearchError, match="cost is not known"):
        next(search(lambda budget: Outcome(budget, float("nan"), 0.9, 1.0, 1.0), SearchRule(step=10.0)))


@pytest.mark.parametrize("tracking", [float("nan"), -0.1])
def test_a_policy_that_follows_no_command_is_refused(tracking):
    with pytest.raises(SearchError, match="train longer"):
        next(search(lambda budget: Outcome(budget, 80.0, tracking, 1.0, 1.0), SearchRule(step=10.0)))


@pytest.mark.parametrize(
    "entries", [{"step": 0.0}, {"step": 1.0, "tracking_loss": 1.0}, {"step": 1.0, "survival": 2.0}]
)
def test_the_rule_is_checked(entries):
    with pytest.raises(ValueError, match="step"):
        SearchRule(**entries)
