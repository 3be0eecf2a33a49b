import csv
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.utils import parameters_to_vector

from robolearn.cli import budget_search
from robolearn.cli.main import main
from robolearn.evaluate import rollout
from robolearn.evaluate.statistics import wilson
from robolearn.logging.csv_log import read_csv
from robolearn.rl import PPO, load_policy
from robolearn.run_folder import find_run

TINY = [
    "env.num_envs=4",
    "runner.steps_per_env=2",
    "network.actor_hidden=[8]",
    "network.critic_hidden=[8]",
    "task.episode_s=1.2",
]


def words(tmp_path, *more):
    given = ["budget-search", "eco/a1_power", *TINY, "--constraint", "power", "--first", "2", "--iterations", "1"]
    return [*given, "--survival", "0", "--num-envs", "2", "--threads", "1", "--out", str(tmp_path), *more]


@pytest.fixture
def good(monkeypatch):
    """A robot that has learned nothing follows no command: here it counts as one that does."""
    monkeypatch.setattr(budget_search._Stages, "_measure", lambda _: (0.9, wilson(8, 8)))


def read(tmp_path):
    with (tmp_path / "budget_search.csv").open() as file:
        return list(csv.DictReader(file))


def test_stages_follow_each_other_down_to_the_last_step(good, tmp_path, capsys):
    """Nothing counts as lost, and every budget as kept."""
    assert main(words(tmp_path, "--step", "30", "--excess", "99")) == 0
    rows = read(tmp_path)
    budgets, free = [float(row["budget"]) for row in rows[1:]], float(rows[0]["cost"])
    assert rows[0]["budget"] == "" and len(budgets) >= 2
    assert budgets == [30.0 * n for n in range(len(budgets), 0, -1)] and 0 < free - budgets[0] <= 30.0
    assert not any(row["objection"] for row in rows)
    for number, row in enumerate(rows):
        found = find_run(row["run"])
        assert found.config.runner.iterations == 2 + number
        assert found.checkpoint.stem == f"checkpoint_{2 + number:06d}"
        asked = budgets[number - 1] if number else budget_search.NO_BUDGET
        assert found.config.eco.constraints["power"].budget == asked
        done = list(read_csv(found.folder / "metrics.csv")["iteration"])
        assert done == ([1, 2] if number == 0 else [2 + number]), "each goes on where the one before it ended"
    assert "smallest good budget: 30 W" in capsys.readouterr().out
    assert main(words(tmp_path, "--step", "30")) == 2, "an earlier search is not written over"
    assert "holds an earlier search" in capsys.readouterr().err


def test_a_budget_that_one_iteration_cannot_bring_is_not_good(good, tmp_path, capsys):
    assert main(words(tmp_path, "--step", "50")) == 0
    assert "no good budget: the largest that was tried is too small" in capsys.readouterr().out
    last = read(tmp_path)[-1]
    assert "not kept" in last["objection"] and float(last["cost"]) > 1.05 * float(last["budget"])


def test_a_stage_that_is_told_to_stop_ends_the_search(good, tmp_path, capsys, monkeypatch):
    update = PPO.update

    def told(self, storage, done):
        signal.raise_signal(signal.SIGTERM)
        return update(self, storage, done)

    monkeypatch.setattr(PPO, "update", told)
    assert main(words(tmp_path, "--step", "1")) == 130
    assert "stopped in the stage" in capsys.readouterr().err
    assert len((tmp_path / "budget_search.csv").read_text().splitlines()) == 1


def test_the_last_policy_is_measured_on_robots_that_nobody_pushes(tmp_path, monkeypatch):
    """One of four falls: 0.75, of which 99 % may still be true (Wilson: 0.30 to 0.95) or not."""
    seen = []

    def walk(env, policy):
        seen.append((env.num_envs, env.task.disturbances.push, parameters_to_vector(policy.parameters())))
        return SimpleNamespace(survived=np.array([True, True, False, True]))

    monkeypatch.setattr(rollout, "rollout", walk)
    monkeypatch.setattr(rollout, "tracking_share", lambda trace: 0.8)
    assert main(words(tmp_path, "--step", "1e6", "--survival", "0.9")) == 1
    (row,) = read(tmp_path)
    assert (float(row["tracking"]), float(row["survival"])) == (0.8, 0.75)
    found = find_run(row["run"])
    ((count, push, weights),) = seen
    assert count == 2 and push is None and found.config.task.disturbances.push is not None
    assert torch.equal(weights, parameters_to_vector(load_policy(found.checkpoint).parameters()))
    assert main(words(tmp_path / "strict", "--step", "30", "--survival", "0.96")) == 1
    assert read(tmp_path / "strict") == []


def test_a_step_without_a_budget_below_what_is_spent_is_an_error(good, tmp_path, capsys):
    assert main(words(tmp_path, "--step", "1e6")) == 1
    assert "with a step of 1e+06 there is no budget to try" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a1_velocity_flat", "--step", "1"], "has no constraints"),
        (["eco/a1_power", "--step", "1", "--constraint", "powr"], "power"),
        (["eco/a1_power", "--step", "0"], "step above 0"),
        (["eco/a1_power", "--step", "1", "--first", "0"], "at least 1"),
        (["eco/a1_power", "--step", "1", "--constraint", "mirror"], "not what a robot spends"),
        (["eco/a1_power", "--step", "1", "eco.algorithm=p3o"], "only lagrangian"),
        (["eco/a1_power", "--step", "1", "ppo.schedule=linear"], "adaptive or fixed"),
        (["eco/bruce_lite_budgets", "--step", "1"], "for many budgets already"),
    ],
)
def test_wrong_words_are_refused(words, message, capsys, tmp_path):
    assert main(["budget-search", *words, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
