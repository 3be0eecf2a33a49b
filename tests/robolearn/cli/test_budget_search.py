import csv
import re
import signal

import pytest

from robolearn.cli import budget_search
from robolearn.cli.main import main
from robolearn.rl import PPO
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
    monkeypatch.setattr(budget_search._Stages, "_measure", lambda _: (0.9, 1.0))


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
        if number:
            assert found.config.eco.constraints["power"].budget == budgets[number - 1]
        assert (found.folder / "metrics.csv").is_file()
    assert "smallest good budget: 30 W" in capsys.readouterr().out
    assert main(words(tmp_path, "--step", "30")) == 2, "an earlier search is not written over"
    assert "holds an earlier search" in capsys.readouterr().err


def test_a_budget_that_one_iteration_cannot_bring_is_not_good(good, tmp_path):
    assert main(words(tmp_path, "--step", "50")) == 0
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


def test_a_stage_is_measured(tmp_path, capsys):
    """Without the fixture: refused or not, an untrained robot has a figure."""
    main(words(tmp_path, "--step", "30"))
    output = capsys.readouterr()
    assert re.search(r"tracking (is )?-?\d+\.\d{3}", output.out + output.err)


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
