"""The benchmark of constrained learning end to end, tiny; and its figures from a table made by hand."""

import csv
import json
import signal

import eco_small
import eco_small_report
import pytest
import torch

from robolearn.rl import PPO, ActorCritic, NetworkConfig
from sim.interface import StepResult

ROWS = [
    # label, share, weight, seed, budget, cost, return
    ("shaped", 0.0, 0.0, 1, 1.0, 100.0, 50.0),
    ("shaped", 0.0, 0.0, 2, 1.0, 120.0, 54.0),
    ("shaped", 0.0, 0.5, 1, 1.0, 70.0, 40.0),
    ("shaped", 0.0, 0.5, 2, 1.0, 74.0, 40.0),
    ("eco", 0.7, 0.0, 1, 77.0, 75.0, 39.0),
    ("eco", 0.7, 0.0, 2, 77.0, 76.0, 38.0),
    ("crpo", 0.7, 0.0, 1, 77.0, 60.0, 45.0),
    ("crpo", 0.7, 0.0, 2, 77.0, 64.0, 47.0),
]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "runs.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, eco_small.COLUMNS, restval=1.0)
        writer.writeheader()
        names = ("label", "share", "weight", "seed", "budget", "cost", "return")
        # Episodes of half the length: their sums are half as large. While learning, all spent a little less.
        more = [{"cost_episode": row[5] / 2, "cost_train": 0.9 * row[5]} for row in ROWS]
        writer.writerows(dict(zip(names, row, strict=True)) | also for row, also in zip(ROWS, more, strict=True))
    return path


def test_falls_do_not_make_a_policy_cheap(monkeypatch):
    """Watts are per step survived: episodes of 2 and 6 steps at 10 and 30 W make (2 * 10 + 6 * 30) / 8 W."""

    class Falling:
        def __init__(self, config, seed):
            assert config.num_envs == 2

        def reset(self):
            self.age = 0
            return self._observe(2)

        def _observe(self, count):
            return {name: torch.zeros(count, 1) for name in ("policy", "critic")}

        def step(self, actions):
            self.age += 1
            fallen = torch.tensor([self.age % 2 == 0, self.age % 6 == 0])
            ids, costs = fallen.nonzero().squeeze(1), torch.tensor([[10.0], [30.0]])
            valid = torch.ones(2, dtype=torch.bool)
            return StepResult(
                self._observe(2), torch.ones(2), costs, fallen, ~valid, ids, self._observe(len(ids)), valid
            )

        def close(self):
            pass

    monkeypatch.setattr(eco_small, "PlanarEnv", Falling)
    policy = ActorCritic({"policy": 1, "critic": 1}, 1, 0, NetworkConfig(actor_hidden=(4,), critic_hidden=(4,)))
    task = {"robot": "hopper", "cost_name": "mechanical_power", "seed": 1}
    assert eco_small.measure(task, policy, sample=False, episodes=2) == pytest.approx((25.0, 4.0, 4.0))


def test_a_full_budget_is_what_the_free_runs_spend_and_stays_so(table, tmp_path):
    assert eco_small.full_power(table, tmp_path) == 110.0
    with table.open("a", newline="") as file:
        names = ("label", "share", "weight", "seed", "budget", "cost")
        row = dict(zip(names, ("shaped", 0.0, 0.0, 3, 1.0, 500.0), strict=True))
        csv.DictWriter(file, eco_small.COLUMNS, restval=1.0).writerow(row)
    assert eco_small.full_power(table, tmp_path) == 110.0, "budgets of earlier runs are not changed by a further seed"


def test_a_folder_holds_runs_of_one_task(tmp_path):
    common = {"robot": "hopper", "iterations": 244}
    eco_small.settle(common, tmp_path)
    assert eco_small.read(tmp_path / "runs.csv") == []
    eco_small.settle(common, tmp_path)
    with pytest.raises(SystemExit, match="robot hopper instead of walker2d"):
        eco_small.settle(common | {"robot": "walker2d"}, tmp_path)


def test_a_report_alone_is_of_the_task_whose_runs_are_there(table, tmp_path, capsys):
    with pytest.raises(SystemExit, match="no run is there yet"):
        eco_small.main(["--report", "--out", str(tmp_path / "empty")])
    eco_small.settle({"robot": "walker2d", "cost_name": "speed_excess"}, tmp_path)
    assert eco_small.main(["--report", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "report.html").read_text()
    assert "Constrained learning on walker2d" in text and "speed_excess, share of steps" in text


def test_a_share_that_the_table_rounds_is_known_again():
    assert eco_small.key({"label": "eco", "share": "0.333333", "weight": "0", "seed": "1"}) == eco_small.key(
        {"label": "eco", "share": 1 / 3, "weight": 0.0, "seed": 1}
    )


def test_summary_by_hand(table):
    lines = {
        (line["label"], line["weight"]): line for line in eco_small_report.summarise(eco_small_report.read_runs(table))
    }
    eco = lines["eco", 0.0]
    assert eco["level"].value == pytest.approx(75.5 / 77.0)
    assert eco["cost_std"] == pytest.approx(0.5**0.5 / 75.5)
    assert eco["level"].high == pytest.approx((75.5 + 12.706 * 0.5) / 77.0, rel=1e-4)
    assert eco["learned"].value == pytest.approx(0.9 * 75.5 / 77.0)
    assert eco["learned_std"] == pytest.approx(0.5**0.5 / 75.5)
    assert eco["episode"] == pytest.approx(75.5 / 77.0 / 2)
    assert eco["return"].value == 38.5
    assert lines["shaped", 0.5]["cost"] == 72.0


def test_domination_is_told(table):
    """The price 0.5 costs less and returns more than eco; crpo costs less than any price."""
    lines = eco_small_report.summarise(eco_small_report.read_runs(table))
    assert eco_small_report.dominated(lines, "eco") == ["price 0.5 dominates eco at budget 0.7"]
    assert eco_small_report.dominated(lines, "crpo") == []


def test_runs_that_are_there_are_not_repeated(table, monkeypatch):
    monkeypatch.setattr(eco_small.subprocess, "Popen", lambda *_, **__: pytest.fail("nothing is missing"))
    tasks = [{"label": row[0], "share": row[1], "weight": row[2], "seed": row[3]} for row in ROWS]
    assert eco_small.work(tasks, {}, table, 1) == 0


def test_a_run_that_fails_is_counted_and_a_run_that_is_told_to_stop_leaves_no_line(tmp_path, monkeypatch):
    task = {"label": "eco", "share": 0.5, "weight": 0.0, "seed": 1}
    assert eco_small.work([task], {"robot": "none"}, tmp_path / "runs.csv", 1) == 1
    update = PPO.update

    def told(self, storage, done):
        signal.raise_signal(signal.SIGTERM)
        return update(self, storage, done)

    monkeypatch.setattr(PPO, "update", told)
    common = {"robot": "hopper", "cost_name": "mechanical_power", "iterations": 2, "num_envs": 8, "budget": 500.0}
    eco_small.settle(common, tmp_path)
    assert eco_small.main(["--one", json.dumps({**common, **task, "out": str(tmp_path)})]) == 130
    assert eco_small.read(tmp_path / "runs.csv") == []


@pytest.mark.parametrize("label", ["shaped", "eco", "eco_release", "crpo"])
def test_one_run(label, tmp_path):
    task = {
        "robot": "hopper", "cost_name": "mechanical_power", "iterations": 2, "num_envs": 8, "out": str(tmp_path),
        "label": label, "share": 0.7, "weight": 0.0, "budget": 500.0, "seed": 1,
    }  # fmt: skip
    eco_small.settle({"robot": "hopper"}, tmp_path)
    assert eco_small.run_one(task) == 0
    (row,) = eco_small.read(tmp_path / "runs.csv")
    assert float(row["cost"]) > 0
    assert float(row["cost_episode"]) == pytest.approx(float(row["cost"]) * float(row["length"]) / 1000, rel=1e-4)
    assert float(row["steps"]) == 3 * 8 * eco_small.STEPS  # one roll-out more, for the normalisers
    page = eco_small_report.write_report(
        tmp_path / "runs.csv", tmp_path, "hopper", "mechanical_power", "W", "robolearn bench eco_small"
    )
    assert "<svg" in page.read_text() and "nan" not in page.read_text().split("<svg")[0]


def test_the_speed_task_is_set_beside_published_figures_with_their_limit(tmp_path, table):
    def page():
        path = eco_small_report.write_report(table, tmp_path, "hopper", "speed_excess", "share of steps", "command")
        return path.read_text()

    assert "PPOLag" not in page(), "another limit"
    with table.open("a", newline="") as file:
        names = ("label", "share", "budget", "cost", "cost_episode", "seed")
        row = dict(zip(names, ("eco", 1.0, 0.025, 0.024, 0.012, 1), strict=True))
        csv.DictWriter(file, eco_small.COLUMNS, restval=1.0).writerow(row)
    assert "PPOLag" in page() and "0.56" in page()  # 13.96 of 25
