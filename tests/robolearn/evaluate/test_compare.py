"""Runs side by side: what counts as a budget, who dominates whom, what belongs to a checkpoint, table and page."""

import csv
import dataclasses
import math

import numpy as np
import pytest

from robolearn.config import ConfigError
from robolearn.evaluate import compare as module
from robolearn.evaluate.compare import (
    Compared,
    Gait,
    budget_of,
    by_label,
    compare,
    dominates,
    history,
    tail_mean,
    task_differences,
    violation_area,
    write_table,
)
from robolearn.evaluate.compare_report import _verdict, write_report
from robolearn.evaluate.statistics import Interval, wilson
from robolearn.experiment import compose, make_env, make_runner
from robolearn.rl.checkpoint import write_checkpoint
from robolearn.run_folder import Run


def certain(value):
    return Interval(value, value, value, 1)


def make(tmp_path, label="eco", cost=2.0, reward=8.0, stood=8, experiment="eco/bruce_lite", **changes):
    gait = Gait(0.02, ("left", "right"), np.eye(2, dtype=bool).repeat(5, 0), ("knee",), np.zeros((10, 1)), np.ones(10))
    table = {
        "train/total_steps": np.array([1e6, 2e6]),
        "cost/mechanical_power": np.array([3.0, 2.0]),
        "eco/energy/multiplier": np.array([0.0, 0.25]),
    }
    fields = {
        "label": label, "run": Run(tmp_path / label, tmp_path / "c.pt", compose(experiment)), "cost": certain(cost),
        "reward": certain(reward), "speed_error": certain(0.01), "survival": wilson(stood, 8), "settings": {},
        "learned_cost": 2.4,
        "budget": 2.5, "violation": 0.1, "steps": 2e6, "table": table, "gait": gait,
    }  # fmt: skip
    return Compared(**fields | changes)


def test_a_budget_is_in_the_cost_s_unit_and_a_price_is_none():
    config = compose("eco/bruce_lite")
    assert budget_of(config, "mechanical_power", 24.0) == ("energy", 2.5), "60 J in 24 s"
    assert math.isnan(budget_of(config, "torque_square", 24.0)[1])
    shaped = compose("eco/bruce_lite", None, ["eco.algorithm=shaped"])
    name, budget = budget_of(shaped, "mechanical_power", 24.0)
    assert name == "energy" and math.isnan(budget)
    assert math.isnan(budget_of(compose("eco/bruce_lite_free"), "mechanical_power", 24.0)[1])


def test_the_violation_by_hand_whatever_the_constraint_bounds():
    """3, 2 and 5 W against 2.5 W: 20 % and 100 % too much in two of three iterations."""
    table = {"cost/mechanical_power": np.array([3.0, 2.0, 5.0]), "eco/energy/share": np.array([0.1, np.nan, 1.4])}
    assert violation_area(table, "mechanical_power", "", 2.5) == pytest.approx((0.2 + 0.0 + 1.0) / 3)
    assert violation_area(table, "mechanical_power", "energy", 2.5) == pytest.approx(0.4 / 2)
    assert math.isnan(violation_area(table, "mechanical_power", "", math.nan))
    assert math.isnan(violation_area({}, "mechanical_power", "", 2.5))


def test_who_dominates_is_no_worse_in_anything(tmp_path):
    good = make(tmp_path)
    assert dominates(good, make(tmp_path, cost=2.1)) and not dominates(good, good)
    assert not dominates(good, make(tmp_path, cost=1.9))
    assert not dominates(good, make(tmp_path, reward=8.1))
    assert not dominates(make(tmp_path, stood=7), good)


def test_no_verdict_between_tasks_that_pay_differently(tmp_path):
    """The A1's task pays for saving power, its task with a budget does not; what BRUCE sees does not matter."""
    assert "rewards" in task_differences(compose("a1_velocity_flat"), compose("eco/a1_power"))
    assert task_differences(compose("eco/bruce_lite"), compose("eco/bruce_lite_budgets")) == []
    cheap = make(tmp_path, "cheap", run=Run(tmp_path, tmp_path / "c.pt", compose("eco/a1_power")))
    dear = make(tmp_path, "dear", cost=3.0, run=Run(tmp_path, tmp_path / "c.pt", compose("a1_velocity_flat")))
    text = _verdict([cheap, dear])
    assert "none does" in text and "cheap and dear walk on tasks that differ in" in text


def test_a_difference_within_the_intervals_is_called_that(tmp_path):
    wide = dataclasses.replace(make(tmp_path), cost=Interval(2.0, 1.0, 3.0, 9), reward=Interval(8.0, 7.0, 9.0, 9))
    text = _verdict([wide, make(tmp_path, "shaped", cost=2.1)])
    assert "dominates shaped (seed 1), within the intervals" in text


def test_a_checkpoint_has_the_training_up_to_it(tmp_path):
    rows = ["iteration,train/total_steps,cost/mechanical_power", "1,100,9", "2,200,5", "3,300,", "4,400,1"]
    (tmp_path / "metrics.csv").write_text("\n".join(rows) + "\n")
    write_checkpoint(tmp_path / "checkpoints" / "checkpoint_000003.pt", {"counters": {"iteration": 3}})
    run = Run(tmp_path, tmp_path / "checkpoints" / "checkpoint_000003.pt", compose("eco/bruce_lite"))
    table = history(run)
    assert table["train/total_steps"].tolist() == [100.0, 200.0, 300.0]
    assert tail_mean(table["cost/mechanical_power"]) == 7.0, "an empty cell is passed over"
    assert math.isnan(tail_mean(np.zeros(0)))


def test_seeds_of_one_label_belong_together(tmp_path):
    a, b, c = make(tmp_path), make(tmp_path, "shaped"), make(tmp_path)
    assert by_label([a, b, c]) == {"eco": [a, c], "shaped": [b]}


def test_the_page_shows_every_label_the_verdict_and_no_outside_file(tmp_path):
    found = [make(tmp_path), make(tmp_path, "<shaped>", cost=3.0, budget=math.nan, violation=math.nan)]
    page = tmp_path / "report.html"
    write_report(page, found, "mechanical_power", "robolearn compare a b", "64 episodes.")
    text = page.read_text()
    assert text.count("<svg") == 4 and "src=" not in text and "href=" not in text.replace("xlink:href", "")
    assert "&lt;shaped&gt;" in text and "<shaped>" not in text
    seed = found[0].run.config.seed
    assert f"eco (seed {seed}) dominates &lt;shaped&gt; (seed {seed})" in text
    assert "mechanical_power</b>: Mechanical power sum |tau dq|, W" in text
    assert "its size compares within one label only" in text, "multipliers of other units are no comparison"
    write_table(found, tmp_path / "runs.csv")
    with (tmp_path / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["cost"]) for row in rows] == [2.0, 3.0] and rows[0]["budget"] == "2.5"


def test_runs_that_cannot_be_compared_are_refused_with_the_reason(tmp_path):
    bruce = make(tmp_path).run
    a1 = dataclasses.replace(bruce, config=compose("a1_velocity_flat"))
    with pytest.raises(ConfigError, match="one robot can be compared, these are of a1, bruce"):
        compare([("x", bruce), ("y", a1)], "mechanical_power")
    shaped = dataclasses.replace(bruce, config=compose("eco/bruce_lite", None, ["eco.algorithm=shaped"]))
    with pytest.raises(ConfigError, match="have the label x, as seeds of one experiment, but differ in eco"):
        compare([("x", bruce), ("x", shaped)], "mechanical_power")
    with pytest.raises(ConfigError, match="mechanical_power"):
        compare([("x", bruce)], "mechanical_pwer")
    many = dataclasses.replace(bruce, config=compose("eco/bruce_lite_budgets"))
    with pytest.raises(ConfigError, match=r"unknown setting 'budgt'.*budget"):
        compare([("x", bruce), ("y", many)], "mechanical_power", settings={"budgt": 0.5})


@pytest.mark.parametrize(("settings", "share", "learned"), [({}, 1.0, 4.5), ({"budget": 0.5}, 0.5, 2.0)])
def test_a_policy_for_many_budgets_is_measured_at_one(settings, share, learned, tmp_path, monkeypatch):
    """120 J in 24 s are 5 W: 0.9 of them at the full budget; 0.8 of their half at the half."""
    small = ["env.num_envs=2", "env.threads=1", "network.actor_hidden=[8]", "network.critic_hidden=[8]"]
    config = compose("eco/bruce_lite_budgets", None, small)
    env = make_env(config)
    make_runner(config, env).save(tmp_path / "checkpoints" / "checkpoint_000001.pt")
    env.close()
    table = "iteration,train/total_steps,cost/mechanical_power,eco/energy/share_0.5,eco/energy/share_1"
    (tmp_path / "metrics.csv").write_text(f"{table}\n0,100,3.5,0.8,0.9\n")
    seen = []

    def watched(env, policy):
        trace = module_rollout(env, policy, 100)
        seen.append(env.settings.values["budget"].unique().tolist())
        return trace

    module_rollout = module.rollout
    monkeypatch.setattr(module, "rollout", watched)
    run = Run(tmp_path, tmp_path / "checkpoints" / "checkpoint_000001.pt", config)
    (found,) = compare([("x", run)], "mechanical_power", (0, 1), 4, settings)
    assert seen == [[share], [share]] and found.settings == {"budget": share}
    assert found.budget == pytest.approx(5.0 * share) and found.learned_cost == pytest.approx(learned)
