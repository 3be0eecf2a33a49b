import csv

import pytest

from robolearn.cli.main import main
from robolearn.run_folder import find_run

TINY = [
    "env.num_envs=4",
    "runner.steps_per_env=2",
    "network.actor_hidden=[8]",
    "network.critic_hidden=[8]",
    "task.episode_s=1.2",
]


def test_stages_follow_each_other(tmp_path, capsys):
    """Nothing counts as lost: from the free policy's spending down to the last step, each stage from the last."""
    words = ["budget-search", "eco/a1_power", *TINY, "--constraint", "power", "--step", "20", "--first", "2"]
    words += ["--iterations", "1", "--survival", "0", "--tracking-loss", "0.999", "--num-envs", "2", "--threads", "1"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    with (tmp_path / "budget_search.csv").open() as file:
        rows = list(csv.DictReader(file))
    budgets = [float(row["budget"]) for row in rows[1:]]
    assert rows[0]["budget"] == ""
    assert budgets == sorted(budgets, reverse=True)
    for number, row in enumerate(rows):
        found = find_run(row["run"])
        assert found.config.runner.iterations == 2 + number
        assert found.checkpoint.stem == f"checkpoint_{2 + number:06d}"
        if number:
            assert found.config.eco.constraints["power"].budget == budgets[number - 1]
    assert "smallest good budget" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a1_velocity_flat", "--step", "1"], "has no constraints"),
        (["eco/a1_power", "--step", "1", "--constraint", "powr"], "power"),
        (["eco/a1_power", "--step", "0"], "step above 0"),
    ],
)
def test_wrong_words_are_refused(words, message, capsys, tmp_path):
    assert main(["budget-search", *words, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
