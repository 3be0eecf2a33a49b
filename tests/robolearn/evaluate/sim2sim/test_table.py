"""Verdict, terminal table and files of the transfer benchmark."""

import csv
import dataclasses
import json
import math

import pytest
import synthetic

from robolearn.evaluate.sim2sim.results import JOINT, NOMINAL, Case
from robolearn.evaluate.sim2sim.summary import summarise
from robolearn.evaluate.sim2sim.table import COLUMNS, WIDTH, table, text, write_episodes, write_estimates, write_json
from robolearn.evaluate.sim2sim.verdict import Thresholds, headline, judge, verdict
from robolearn.evaluate.statistics import Interval

EASY = Thresholds(survival=0.5, joint_survival=0.5, retained=0.5, failed_cases=1)


@pytest.fixture(scope="module")
def results():
    return synthetic.results()


@pytest.fixture(scope="module")
def summary(results):
    return summarise(results, "mujoco", synthetic.AXES, absent=synthetic.ABSENT)


def of(criteria, policy):
    return [criterion for criterion in criteria if criterion.policy == policy]


class TestVerdict:
    def test_a_good_policy_passes_and_a_bad_one_is_told_why(self, summary):
        missed = verdict(summary.estimates, EASY, "mujoco")
        assert of(missed, "a1_flat") == []
        assert {(c.simulator, c.name) for c in missed} == {(s, "joint_survival") for s in synthetic.SIMULATORS}

    def test_a_crash_is_not_ready_by_default(self, summary):
        (only,) = of(verdict(summary.estimates, Thresholds(), "mujoco"), "a1_flat")
        assert (only.simulator, only.name) == ("drake", "failed_cases")
        assert only.text == "1 failed case, allowed 0"

    def test_met_by_the_estimate_only_is_said(self, summary):
        """Thirty episodes without a fall do not show a survival of 0.95."""
        criteria = of(summary.criteria, "a1_flat_again")
        assert headline(criteria) == "Ready, but not surely: 5 of 19 criteria are met by the estimate only"
        unsure = [c for c in criteria if not c.sure]
        assert {c.name for c in unsure} == {"survival"}
        assert unsure[0].text == "survival undisturbed 1.00 (0.89 to 1.00), asked for 0.95"

    def test_three_headlines(self, summary):
        easy = judge(summary.estimates, EASY, "mujoco")
        assert headline(of(easy, "a1_flat")).startswith("Ready: all 19")
        assert headline(of(easy, "a1_not_randomised")) == "Not ready: 5 of 19 criteria are not met"
        assert headline([]).startswith("Not ready")

    def test_a_threshold_counts_when_it_is_just_reached(self, summary):
        one = dataclasses.replace(summary.estimate("a1_flat", "drake"), retained=Interval(0.8, 0.8, 0.9, 30))
        (criterion,) = [c for c in judge([one], Thresholds(), "mujoco") if c.name == "retained"]
        assert (criterion.met, criterion.sure) == (True, True)
        below = dataclasses.replace(one, retained=Interval(0.7999, 0.7, 0.9, 30))
        (criterion,) = [c for c in judge([below], Thresholds(), "mujoco") if c.name == "retained"]
        assert not criterion.met

    def test_missing_figures_and_simulators_are_not_met(self, summary):
        empty = dataclasses.replace(summary.estimate("a1_flat", "drake"), survival={}, retained=None, note="crashed")
        missed = verdict([empty], EASY, "mujoco")
        assert [c.name for c in missed] == ["survival", "joint_survival", "retained"]
        assert missed[2].text == "retained fraction: crashed"
        named = verdict(summary.estimates, dataclasses.replace(EASY, simulators=("warp",)), "mujoco")
        assert {(c.simulator, c.text) for c in named} == {("warp", "was not run")}

    def test_one_episode_is_never_sure(self, summary):
        one = dataclasses.replace(summary.estimate("a1_flat", "drake"), retained=Interval(0.9, math.nan, math.nan, 1))
        (criterion,) = [c for c in judge([one], Thresholds(), "mujoco") if c.name == "retained"]
        assert (criterion.met, criterion.sure) == (True, False)
        assert "no interval" in criterion.text


class TestTable:
    def test_everything_is_there_and_fits(self, summary):
        shown = table(summary, synthetic.AXES)
        assert max(map(len, shown.splitlines())) <= WIDTH
        for name in (*synthetic.POLICIES, *synthetic.SIMULATORS):
            assert name in shown
        assert "not run: warp: the package 'mujoco_warp' is not installed" in shown
        assert "failed: a1_flat in drake: push 30, seed 3: process ended with signal 11 (SIGSEGV)" in shown
        assert "0, 25 unsupported" in shown
        assert "a1_flat and a1_flat_again cannot be told apart" in shown
        assert "N·s [" in shown

    def test_columns_are_aligned(self, summary):
        lines = table(summary, synthetic.AXES).splitlines()
        rows = [line for line in lines if line.startswith(("  simulator ", "  mujoco", "  drake "))][:5]
        assert len({row.index("[") for row in rows[1:]}) == 1
        assert rows[0].index("score") == rows[1].index("0.")

    def test_unknown_figures(self):
        assert text(None) == "-"
        assert text(Interval(0.5, math.nan, math.nan, 1)) == "0.50 [?]"
        assert text(Interval(0.5, 0.25, 0.75, 9)) == "0.50 [0.25, 0.75]"

    def test_one_policy_needs_no_ranking(self):
        results = [synthetic.case_result(Case("p", "mujoco", NOMINAL, 0.0, ((0, 0),)), 1.0, 0.0, 0.0)]
        shown = table(summarise(results, "mujoco", {}), {})
        assert "ranking" not in shown
        assert "[?]" in shown

    def test_policies_are_ranked_in_engines_of_other_make_where_there_are_some(self, results, summary):
        assert set(summary.ranking.simulators) == set(summary.simulators) - {"mujoco"}
        among = summarise(results, "mujoco", synthetic.AXES, foreign=("drake", "pybullet"))
        assert among.ranking.simulators == tuple(s for s in summary.simulators if s in ("drake", "pybullet"))
        assert among.ranking.simulators != summary.ranking.simulators

    def test_nothing_is_refused(self):
        with pytest.raises(ValueError, match="no results"):
            summarise([], "mujoco", {})


class TestFiles:
    def test_json_holds_the_figures(self, summary, tmp_path):
        write_json(summary, tmp_path / "estimates.json")
        data = json.loads((tmp_path / "estimates.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
        assert len(data["estimates"]) == 15
        assert data["estimates"][1]["retained"]["value"] == summary.estimates[1].retained.value
        assert data["ranking"]["ranks"] == summary.ranking.ranks
        assert data["absent"] == synthetic.ABSENT

    def test_estimates_are_one_per_row(self, summary, tmp_path):
        write_estimates(summary, synthetic.AXES, tmp_path / "estimates.csv")
        with (tmp_path / "estimates.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert tuple(rows[0]) == COLUMNS
        found = {(r["policy"], r["simulator"], r["perturbation"], float(r["value"]), r["figure"]): r for r in rows}
        assert len(found) == len(rows)
        estimate = summary.estimate("a1_flat", "drake")
        row = found["a1_flat", "drake", JOINT, 0.0, "survived"]
        assert float(row["low"]) == estimate.survival[JOINT].low
        assert found["a1_flat", "drake", NOMINAL, 0.0, "power"]["unit"] == "W"
        push = found["a1_flat", "drake", "push", 40.0, "value at survival 0.5"]
        assert float(push["low"]) < float(push["estimate"]) < float(push["high"])
        assert push["unit"] == "N·s"
        assert found["a1_flat", "drake", "friction", 1.5, "value at survival 0.5"]["estimate"] == ""

    def test_every_episode_is_there(self, results, tmp_path):
        write_episodes(results, tmp_path / "episodes.csv")
        with (tmp_path / "episodes.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        failed = [row for row in rows if row["error"]]
        finished = [row for row in rows if not row["error"]]
        assert len(failed) == sum(len(r.case.experiments) for r in results if r.error)
        assert len(finished) == sum(len(r.case.experiments) for r in results if not r.error)
        assert all(row["score"] == "" for row in failed)
        assert len({tuple(row.values())[:6] for row in rows}) == len(rows)
        first = results[0]
        assert [float(row["score"]) for row in finished[:6]] == first.measures["score"].tolist()
        assert finished[2]["cost_of_transport"] == ""
