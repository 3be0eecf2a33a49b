"""Estimates against hand-computed cases, brute force and their coverage on synthetic data."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robolearn.evaluate.sim2sim.curves import Crossing, Point, crossing, curve, curves
from robolearn.evaluate.sim2sim.estimates import HEADLINE, Runs, estimate, paired, retained_fraction
from robolearn.evaluate.sim2sim.measures import MEASURES, SCORE
from robolearn.evaluate.sim2sim.ranking import holm, rank, sign_flip, superiority
from robolearn.evaluate.sim2sim.results import JOINT, NOMINAL, Case, CaseResult
from robolearn.evaluate.statistics import Interval, bootstrap, interquartile_mean, wilson

NAN = float("nan")


def result(scores, simulator="mujoco", policy="p", perturbation=NOMINAL, value=0.0, seed=0, survival=None, **kwargs):
    scores = np.array(scores, float)
    case = Case(policy, simulator, perturbation, value, tuple((seed, episode) for episode in range(len(scores))))
    if kwargs.get("error"):
        return CaseResult(case, **kwargs)
    measures = {name: np.full(len(scores), 0.5) for name in MEASURES}
    measures["survival"] = np.ones(len(scores)) if survival is None else np.array(survival, float)
    measures["fell"] = (measures["survival"] < 1).astype(float)
    return CaseResult(case, {**measures, SCORE: scores}, **kwargs)


class TestInterquartileMean:
    @pytest.mark.parametrize(
        ("samples", "expected"),
        [
            ([1.0, 2.0, 3.0, 100.0], 2.5),
            ([5.0], 5.0),
            ([0.0, 6.0, 9.0], 5.0),  # a quarter of three is no whole sample
            ([7.0, 1.0, 2.0, 3.0, 4.0], 3.0),  # one of five is cut at each end
            ([9.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0], 4.0),
        ],
    )
    def test_by_hand(self, samples, expected):
        assert interquartile_mean(samples) == pytest.approx(expected)

    @given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40))
    def test_is_rliables_trimmed_mean(self, samples):
        """scipy.stats.trim_mean(x, 0.25): int(n / 4) samples go at each end."""
        cut = int(0.25 * len(samples))
        kept = sorted(samples)[cut : len(samples) - cut]
        assert interquartile_mean(samples) == pytest.approx(sum(kept) / len(kept), abs=1e-9)

    def test_last_axis(self):
        table = np.random.default_rng(0).normal(size=(3, 2, 11))
        expected = [[interquartile_mean(row) for row in rows] for rows in table]
        assert interquartile_mean(table) == pytest.approx(np.array(expected))


class TestBootstrap:
    def test_agrees_with_all_resamples(self):
        """Two of three rows give nine equally likely means."""
        means = [(a + b) / 2 for a in (0.0, 1.0, 5.0) for b in (0.0, 1.0, 5.0)]
        interval = bootstrap([0.0, 1.0, 5.0], lambda x: x.mean(1), confidence=0.7, resamples=40_000)
        assert interval.value == 2.0
        assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(means, [0.15, 0.85])))

    def test_variance_of_a_resampled_mean_is_unbiased(self):
        rows = np.random.default_rng(1).normal(size=4)
        seen = []

        def keep(x):
            seen.append(x.mean(1))
            return seen[-1]

        bootstrap(rows, keep, resamples=200_000)
        assert seen[-1].var() == pytest.approx(rows.var(ddof=1) / 4, rel=0.02)

    def test_a_row_is_drawn_as_a_whole(self):
        rows = np.array([[0.0, 1.0], [1.0, 0.0], [0.3, 0.7]])
        interval = bootstrap(rows, lambda x: x.mean((1, 2)))
        assert (interval.low, interval.high) == pytest.approx((0.5, 0.5))

    def test_one_row_has_no_limits_and_equal_rows_no_width(self):
        alone = bootstrap([0.4], lambda x: x.mean(1))
        assert (alone.value, alone.count) == (0.4, 1)
        assert math.isnan(alone.low)
        assert math.isnan(alone.high)
        assert bootstrap([0.5] * 4, lambda x: x.mean(1)) == Interval(0.5, 0.5, 0.5, 4)

    def test_repeats_for_a_seed_only(self):
        rows = np.random.default_rng(0).normal(size=9)
        first, again, other = (bootstrap(rows, lambda x: x.mean(1), seed=seed) for seed in (3, 3, 4))
        assert first == again != other

    @pytest.mark.parametrize("rows", [[], [1.0, NAN]])
    def test_refuses_what_has_no_value(self, rows):
        with pytest.raises(ValueError, match="no NaN"):
            bootstrap(rows, lambda x: x.mean(1))

    @pytest.mark.parametrize(("n", "least"), [(5, 0.80), (12, 0.88), (30, 0.90)])
    def test_covers_the_truth_about_as_often_as_it_says(self, n, least):
        """Experiments are shared by six conditions: an effect of the experiment moves all six."""
        rng = np.random.default_rng(2)
        effect, noise = rng.normal(0.0, 0.1, (400, n, 1)), rng.normal(0.0, 0.1, (400, n, 6))
        hits = 0
        for trial, table in enumerate(0.6 + effect + noise):
            found = bootstrap(table, lambda x: x.mean((1, 2)), resamples=400, seed=trial)
            hits += found.low <= 0.6 <= found.high
        assert least <= hits / 400 <= 0.975

    def test_drawing_conditions_apart_would_be_far_too_sure(self):
        """What rliable does, each task on its own, is right only for runs that share nothing between tasks."""
        rng = np.random.default_rng(3)
        hits = 0
        for _ in range(300):
            table = 0.6 + rng.normal(0.0, 0.1, (12, 1)) + rng.normal(0.0, 0.03, (12, 6))
            chosen = rng.integers(12, size=(400, 12, 6))
            means = np.take_along_axis(table[None], chosen, 1).mean((1, 2))
            low, high = np.quantile(means, [0.025, 0.975])
            hits += low <= 0.6 <= high
        assert hits / 300 < 0.7


class TestRuns:
    def test_a_later_result_of_a_case_counts(self):
        runs = Runs([result([0.0], error="lost"), result([0.7])])
        assert runs.values("p", "mujoco", HEADLINE[0], SCORE) == {(0, 0): 0.7}
        assert len(runs.results) == 1

    def test_suites_do_not_mix(self):
        with pytest.raises(ValueError, match="results of two suites do not mix"):
            Runs([result([0.7]), result([0.7, 0.8])])

    def test_episodes_without_numbers_have_the_worst_score(self):
        runs = Runs([result([0.8, NAN], survival=[1.0, NAN])])
        assert runs.values("p", "mujoco", HEADLINE[0], SCORE) == {(0, 0): 0.8, (0, 1): 0.0}
        assert runs.survived("p", "mujoco", HEADLINE[0]) == wilson(1, 2)

    def test_a_fall_in_the_last_step_is_one(self):
        runs = Runs([result([0.8, 0.8], survival=[1.0, 499 / 500])])
        assert runs.survived("p", "mujoco", HEADLINE[0]) == wilson(1, 2)

    def test_an_unknown_measure_is_named(self):
        with pytest.raises(ValueError, match="no measure 'speed'"):
            Runs([result([0.8])]).values("p", "mujoco", HEADLINE[0], "speed")

    def test_a_table_has_the_experiments_that_all_columns_have(self):
        runs = Runs(
            [
                result([0.1, 0.2], seed=1),
                result([0.3, 0.4], seed=0),
                result([0.5, 0.6], seed=1, perturbation=JOINT),
                result([0.0, 0.0], seed=0, perturbation=JOINT, error="crash"),
            ]
        )
        experiments, table = runs.table([("p", "mujoco", condition) for condition in HEADLINE])
        assert experiments == [(1, 0), (1, 1)]
        assert table.tolist() == [[0.1, 0.5], [0.2, 0.6]]


def two_simulators(here, there):
    return Runs([result(there), result(here, simulator="drake")])


class TestRetained:
    def test_by_hand(self):
        runs = two_simulators([0.2, 0.4, 0.3], [0.5, 0.5, 0.8])
        found = estimate(runs, "p", "drake", "mujoco")
        assert found.retained.value == pytest.approx(0.3 / 0.6)
        assert found.difference.value == pytest.approx(-0.3)
        assert found.retained.count == 3
        assert found.score.value == pytest.approx(0.3)

    def test_a_constant_share_has_no_width_though_scores_spread(self):
        """The pair is drawn, not the simulators on their own."""
        there = np.random.default_rng(0).uniform(0.3, 0.9, 12)
        found = retained_fraction(np.stack((0.8 * there, there), 1))
        assert (found.low, found.value, found.high) == pytest.approx((0.8, 0.8, 0.8))

    def test_only_pairs_count(self):
        runs = Runs([result([0.5], seed=0), result([0.9], seed=1), result([0.4], seed=0, simulator="drake")])
        assert paired(runs, ("p", "drake"), ("p", "mujoco"), HEADLINE[:1]).tolist() == [[0.4, 0.5]]

    def test_a_reference_that_does_nothing_is_refused(self):
        with pytest.raises(ValueError, match=r"scores 0\.01 .* nothing to retain"):
            retained_fraction(np.array([[0.5, 0.01]] * 4))
        found = estimate(two_simulators([0.5, 0.5], [0.0, 0.0]), "p", "drake", "mujoco")
        assert found.retained is None
        assert "nothing to retain" in found.note

    def test_no_common_experiment_is_refused(self):
        with pytest.raises(ValueError, match="no experiment was finished both"):
            retained_fraction(np.empty((0, 2)))

    def test_coverage(self):
        rng = np.random.default_rng(4)
        hits = 0
        for _ in range(200):
            shared = rng.normal(0.0, 0.1, 15)
            pairs = np.stack((0.45 + shared + rng.normal(0, 0.05, 15), 0.6 + shared + rng.normal(0, 0.05, 15)), 1)
            found = retained_fraction(pairs)
            hits += found.low <= 0.75 <= found.high
        assert 0.88 <= hits / 200 <= 0.98


class TestEstimate:
    def test_a_crashed_simulator_has_no_figures_and_is_named(self):
        runs = Runs(
            [
                result([0.8, 0.9]),
                result([0.6, 0.6], perturbation=JOINT),
                result([0.8, 0.9], simulator="drake"),
                result([0.0, 0.0], simulator="drake", perturbation=JOINT, error="signal 11"),
            ]
        )
        found = estimate(runs, "p", "drake", "mujoco")
        assert (found.score, found.mean, found.retained) == (None, None, None)
        assert found.failed == ("joint 0, seed 0: signal 11",)
        assert found.survival == {NOMINAL: wilson(2, 2)}
        assert found.episodes == 2

    def test_what_a_simulator_cannot_do_is_no_crash(self):
        case = result(
            [0.0], perturbation="steps", value=4.0, error="no height fields", details={"failure": "unsupported"}
        )
        found = estimate(Runs([result([0.8]), case]), "p", "mujoco", "mujoco")
        assert found.failed == ()
        assert found.unsupported == ("steps 4, seed 0: no height fields",)

    def test_the_typical_score_hides_a_rare_fall_and_the_mean_does_not(self):
        found = estimate(Runs([result([0.8] * 7 + [0.0])]), "p", "mujoco", "mujoco")
        assert found.score.value == pytest.approx(0.8)
        assert found.mean.value == pytest.approx(0.7)

    def test_measures_are_means_of_what_is_known(self):
        case = result([0.8, 0.8])
        case.measures["power"][:] = [100.0, NAN]
        case.measures["cost_of_transport"][:] = NAN
        found = estimate(Runs([case]), "p", "mujoco", "mujoco")
        assert found.raw["power"].value == 100.0
        assert found.scored["power"].value == pytest.approx((100 - 400) / (50 - 400))
        assert "cost_of_transport" not in found.raw


def points(*survival):
    return [Point(x, Interval(p, max(0, p - 0.1), min(1, p + 0.1), 10), Interval(p, p, p, 10)) for x, p in survival]


class TestCurves:
    def test_crossings_lie_on_straight_lines(self):
        found = crossing(points((0, 1.0), (10, 0.8), (20, 0.3)), 0.5)
        assert found.value == pytest.approx(16.0)
        assert found.earliest == pytest.approx(14.0)  # 0.7 to 0.2 between 10 and 20
        assert found.latest == pytest.approx(18.0)
        assert found.text("N·s") == "16 N·s [14, 18]"

    def test_the_first_crossing_counts(self):
        assert crossing(points((0, 1.0), (1, 0.0), (2, 1.0)), 0.5).value == pytest.approx(0.5)

    def test_not_reached_is_said(self):
        found = crossing(points((0, 1.0), (40, 0.95)), 0.5)
        assert found == Crossing(0.5, None, None, None, 40)
        assert found.text("N·s") == "not reached within 40 N·s"
        assert "perhaps from" in crossing(points((0, 1.0), (40, 0.55)), 0.5).text()
        assert "perhaps not within 40 kg" in crossing(points((0, 1.0), (40, 0.45)), 0.5).text("kg")

    def test_failing_from_the_start(self):
        assert crossing(points((0, 0.2), (5, 0.1)), 0.5).value == 0

    @given(st.lists(st.floats(0.2, 0.8), min_size=2, max_size=8), st.floats(0.25, 0.75))
    def test_limits_enclose_the_crossing(self, heights, threshold):
        found = crossing(points(*enumerate(heights)), threshold)
        ends = [math.inf if end is None else end for end in (found.earliest, found.value, found.latest)]
        assert ends == sorted(ends)

    def test_both_directions_from_the_nominal_value(self):
        cases = [result([0.9] * 10)]
        for value, alive in ((0.2, 0), (0.6, 10), (1.4, 10), (1.8, 5)):
            survival = [1.0] * alive + [0.5] * (10 - alive)
            cases.append(result([0.5] * 10, perturbation="gains", value=value, survival=survival))
        found = curve(Runs(cases), "p", "mujoco", "gains", 1.0, (0.75,))
        assert [point.value for point in found.points] == [0.2, 0.6, 1.0, 1.4, 1.8]
        assert found.down[0].value == pytest.approx(0.5)
        assert found.up[0].value == pytest.approx(1.6)

    def test_one_direction_and_lost_cases(self):
        cases = [
            result([0.9] * 4),
            result([0.9] * 4, perturbation="push", value=5.0, error="signal 11"),
            result([0.9] * 4, perturbation="push", value=9.0),
        ]
        found = curve(Runs(cases), "p", "mujoco", "push", 0.0)
        assert found.down == ()
        assert [point.value for point in found.points] == [0.0, 9.0]
        assert found.lost == {5.0: "signal 11"}

    def test_what_is_no_curve_is_refused(self):
        with pytest.raises(ValueError, match="no values"):
            curve(Runs([result([0.9])]), "p", "mujoco", JOINT, 0.0)

    def test_only_what_was_run(self):
        assert curves(Runs([result([0.9])]), {}) == []


class TestRanking:
    def test_holm_by_hand(self):
        assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
        assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
        assert holm([]) == []

    def test_sign_flip_by_hand(self):
        """Of the eight signs of 1, 2, 3 only the two with all signs alike reach 6."""
        assert sign_flip(np.array([1.0, 2.0, 3.0])) == pytest.approx(2 / 8)
        assert sign_flip(np.array([1.0, 2.0, -3.0])) == 1.0
        assert sign_flip(np.zeros(5)) == 1.0

    def test_drawn_signs_agree_with_all_of_them(self):
        differences = np.random.default_rng(5).normal(0.4, 1.0, 13)
        signs = 1 - 2 * ((np.arange(2**13)[:, None] >> np.arange(13)) & 1)
        exact = (np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12).mean()
        assert sign_flip(differences) == pytest.approx(exact, abs=0.015)

    def test_sign_flip_keeps_its_level(self):
        rng = np.random.default_rng(6)
        p = np.array([sign_flip(rng.normal(size=8)) for _ in range(400)])
        assert (p < 0.05).mean() < 0.08
        assert (p < 0.5).mean() == pytest.approx(0.5, abs=0.08)

    def test_superiority(self):
        assert superiority(np.array([0.1, 0.2, 0.3])) == 1.0
        assert superiority(np.zeros(3)) == 0.5
        assert superiority(np.array([-1.0, 1.0] * 20)) == pytest.approx(0.5, abs=0.05)

    def test_what_cannot_be_told_apart_shares_a_rank(self):
        rng = np.random.default_rng(7)
        base = rng.uniform(0.5, 0.9, 12)
        scores = {"good": base, "also": base + 1e-3 * rng.choice((-1, 1), 12), "bad": base - 0.3}
        runs = Runs([result(values, policy=name, simulator="drake") for name, values in scores.items()])
        found = rank(runs, ["drake"])
        assert found.ranks == {"good": 1, "also": 1, "bad": 3}
        by_pair = {frozenset((c.first, c.second)): c for c in found.comparisons}
        assert "cannot be told apart" in by_pair[frozenset(("good", "also"))].text()
        clear = by_pair[frozenset(("good", "bad"))]
        assert clear.p == pytest.approx(3 * 2 / 2**12)
        assert clear.text() == "good is better than bad by 0.300 [0.300, 0.300], p = 0.0015, " + (
            "intervals do not overlap" if clear.apart else "intervals overlap"
        )

    def test_a_simulator_that_a_policy_did_not_finish_is_left_out_aloud(self):
        runs = Runs(
            [
                *(result([0.5, 0.6], policy=policy, simulator="drake") for policy in "ab"),
                result([0.5, 0.6], policy="a", simulator="pybullet"),
                result([0.5, 0.6], policy="b", simulator="pybullet", error="crash"),
            ]
        )
        found = rank(runs, ["drake", "pybullet"])
        assert found.simulators == ("drake",)
        assert "pybullet" in found.note
        assert rank(runs, ["pybullet"]).ranks == {}
