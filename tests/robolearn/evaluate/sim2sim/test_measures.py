"""Measures: each worked out by hand on small traces; what a fall does to values and scores."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robolearn.evaluate.sim2sim.measures import GRAVITY, MEASURES, SCORE, Trace, measure, overall, scores

T, J, F = 6, 2, 4


def yaw(angle):
    """Quaternions (..., 4) of headings."""
    zero = np.zeros_like(angle)
    return np.stack((np.cos(angle / 2), zero, zero, np.sin(angle / 2)), -1)


def make_trace(n=1, steps=T, **changes):
    """A robot of 10 kg that stands still on four feet, every joint in the middle of its range."""
    fields = {
        "dt": 0.5,
        "steps": steps,
        "alive": np.ones((T, n), bool),
        "fell": np.zeros(n, bool),
        "diverged": np.zeros(n, bool),
        "command": np.zeros((T, n, 3)),
        "position": np.zeros((T, n, 3)),
        "orientation": yaw(np.zeros((T, n))),
        "velocity": np.zeros((T, n, 3)),
        "angular_velocity": np.zeros((T, n, 3)),
        "joint_position": np.zeros((T, n, J)),
        "joint_velocity": np.zeros((T, n, J)),
        "target": np.zeros((T, n, J)),
        "torque": np.zeros((T, n, J)),
        "power": np.zeros((T, n)),
        "foot_velocity": np.zeros((T, n, F, 3)),
        "foot_force": np.full((T, n, F), 10 * GRAVITY / 4),
        "mass": np.full(n, 10.0),
        "effort_limit": np.tile((20.0, 40.0), (n, 1)),
        "position_limit": np.array(((-1.0, 1.0), (-2.0, 2.0))),
    } | changes  # fmt: skip
    single = (name for name, value in fields.items() if isinstance(value, np.ndarray) and value.dtype == float)
    kept = ("mass", "effort_limit", "position_limit")
    return Trace(**fields | {name: fields[name].astype(np.float32) for name in single if name not in kept})


def value(name, **changes):
    return measure(make_trace(**changes))[name]


def column(*values):
    """(T, 1) from T numbers."""
    return np.array(values, float)[:, None]


def test_a_robot_that_does_exactly_what_is_asked_has_no_errors():
    found = measure(make_trace())
    expected = dict.fromkeys(MEASURES, 0.0) | {
        "survival": 1.0, "velocity_tracking": 1.0, "torque_margin": 1.0, "joint_limit_margin": 1.0,
        "peak_foot_force": 0.25, "cost_of_transport": np.nan,
    }  # fmt: skip
    for name, wanted in expected.items():
        assert found[name] == pytest.approx([wanted], nan_ok=True), name
    assert found[SCORE] == pytest.approx([1.0])


def test_velocity_errors_are_root_mean_squares_over_both_axes():
    command = np.zeros((T, 1, 3))
    command[:] = (1.0, 0.5, 0.3)
    velocity = np.zeros((T, 1, 3))
    velocity[::2] = (0.7, 0.1, 9.0)  # errors of 0.5 m/s, and of sqrt(1.25) in the other half
    angular = np.zeros((T, 1, 3))
    angular[..., 2] = column(0.3, 0.3, 0.3, 0.9, 0.3, 0.3)
    changes = {"command": command, "velocity": velocity, "angular_velocity": angular}
    assert value("velocity_error", **changes) == pytest.approx(np.sqrt((0.25 + 1.25) / 2))
    assert value("velocity_tracking", **changes) == pytest.approx((np.exp(-1.0) + np.exp(-5.0)) / 2)
    assert value("yaw_rate_error", **changes) == pytest.approx(np.sqrt(0.36 / T))


def test_position_drift_is_lasting_lag_and_not_sway():
    command, position = np.zeros((T, 1, 3)), np.zeros((T, 1, 3))
    command[..., 0] = 1.0
    position[..., 0] = column(0.0, 0.4, 0.8, 1.2, 1.6, 2.0)  # 0.8 m/s
    assert value("position_drift", command=command, position=position) == pytest.approx(0.2)
    position[..., 0] = column(7.0, 7.9, 8.0, 8.9, 9.0, 9.5)  # sways, and arrives
    assert value("position_drift", command=command, position=position) == pytest.approx(0.0, abs=1e-6)


def test_position_drift_goes_along_the_robots_own_heading():
    command, position = np.zeros((T, 1, 3)), np.zeros((T, 1, 3))
    command[..., :2] = (1.0, 0.5)
    position[..., 0], position[..., 1] = column(*-0.25 * np.arange(T)), column(*0.5 * np.arange(T))
    facing_left = yaw(np.full((T, 1), np.pi / 2))
    assert value("position_drift", command=command, position=position, orientation=facing_left) == pytest.approx(
        0.0, abs=1e-6
    )
    turning = yaw(column(0, 0.5, 1.0, 2.9, 3.4, 3.9))  # the heading passes pi: on the way from 2.9 to 3.4 it is 3.15
    middle = np.array((0.25, 0.75, 1.95, 3.15, 3.65))
    path = np.concatenate(([0], np.cumsum(np.exp(1j * middle) * (1.0 + 0.5j) * 0.5)))
    position[:, 0, 0], position[:, 0, 1] = path.real, path.imag
    assert value("position_drift", command=command, position=position, orientation=turning) == pytest.approx(
        0.0, abs=1e-6
    )


def test_cost_of_transport_is_power_over_weight_and_speed_of_robots_asked_to_move():
    command, velocity = np.zeros((T, 1, 3)), np.zeros((T, 1, 3))
    velocity[..., :2] = (0.3, 0.4)
    power = np.full((T, 1), 30.0)
    assert np.isnan(value("cost_of_transport", velocity=velocity, power=power))
    command[..., 1] = -0.2
    away = value("cost_of_transport", command=command, velocity=velocity, power=power)
    assert np.isnan(away), "it moved the other way"
    command[..., 1] = 0.05
    found = value("cost_of_transport", command=command, velocity=velocity, power=power)
    assert found == pytest.approx(30 / (10 * 9.81 * 0.4))
    assert value("power", power=power) == pytest.approx(30.0)


def test_torque_margin_is_of_the_most_loaded_drive_against_its_own_limit():
    torque = np.zeros((T, 1, J))
    torque[..., 0], torque[..., 1] = -10.0, 4.0
    assert value("torque_margin", torque=torque) == pytest.approx(0.5)
    torque[..., 1] = 36.0
    assert value("torque_margin", torque=torque) == pytest.approx(0.1)
    torque[..., 1], torque[:, 0, 0] = 0.0, 20 * np.arange(T) / (T - 1)
    assert value("torque_margin", torque=torque) == pytest.approx(1 - 0.95)


def test_joint_limit_margin_is_that_of_the_joint_nearest_to_a_limit():
    position = np.zeros((T, 1, J))
    position[..., 0], position[..., 1] = 0.5, -1.5
    assert value("joint_limit_margin", joint_position=position) == pytest.approx(0.25)
    position[..., 1] = 2.2
    assert value("joint_limit_margin", joint_position=position) == pytest.approx(-0.1)


def test_smoothness_is_in_differences_over_time():
    target, torque = np.zeros((T, 1, J)), np.zeros((T, 1, J))
    target[:, 0, 0] = 3.0 * np.arange(T) ** 2  # second differences of 6 in one of two joints
    assert value("action_smoothness", target=target) == pytest.approx(3 / 0.25)
    torque[:, 0, 1] = 8.0 * np.arange(T)
    assert value("torque_smoothness", torque=torque) == pytest.approx((8 / 40) / 2 / 0.5)


def test_tilt_does_not_depend_on_the_heading():
    lean, heading = 0.3, 1.1
    pitch = np.array((np.cos(lean / 2), 0, np.sin(lean / 2), 0))
    turn = yaw(np.array(heading))
    product = np.array((turn[0] * pitch[0], -turn[3] * pitch[2], turn[0] * pitch[2], turn[3] * pitch[0]))
    orientation = np.tile(product, (T, 1, 1))
    orientation[3:] = (1, 0, 0, 0)
    assert value("tilt", orientation=orientation) == pytest.approx(0.3 / np.sqrt(2), rel=1e-5)
    angular = np.zeros((T, 1, 3))
    angular[:] = (0.3, -0.4, 8.0)
    assert value("tilt_rate", angular_velocity=angular) == pytest.approx(0.5)


def test_only_loaded_feet_slip():
    velocity, force = np.zeros((T, 1, F, 3)), np.zeros((T, 1, F))
    velocity[..., 0, :] = (0.3, 0.4, 2.0)
    velocity[..., 1, :] = (5.0, 0.0, 0.0)
    force[..., 0], force[..., 1], force[..., 2] = 0.06 * 98.1, 0.04 * 98.1, 98.1
    assert value("foot_slip", foot_velocity=velocity, foot_force=force) == pytest.approx(0.25)
    assert np.isnan(value("foot_slip", foot_velocity=velocity, foot_force=0 * force))


def test_peak_foot_force_is_in_body_weights():
    force = np.zeros((T, 1, F))
    force[..., 2] = 98.1
    force[0, 0, 3] = 3 * 98.1
    wanted = np.percentile([3, 1, 1, 1, 1, 1], 99)
    assert value("peak_foot_force", foot_force=force) == pytest.approx(wanted)


def spoil(trace, first):
    """The same trace with numbers that mean nothing from a row on: those of another episode, or none."""
    changes = {}
    for field in dataclasses.fields(trace):
        rows = getattr(trace, field.name)
        if isinstance(rows, np.ndarray) and rows.dtype == np.float32:
            rows = rows.copy()
            rows[first:] = np.nan if field.name in ("target", "power") else 1e4
            changes[field.name] = rows
    return dataclasses.replace(trace, **changes)


@pytest.mark.parametrize("flag", ["fell", "diverged"])
def test_nothing_after_the_end_counts(flag):
    rng = np.random.default_rng(0)
    changes = {
        name: rng.normal(size=shape)
        for name, shape in {
            "command": (T, 1, 3), "position": (T, 1, 3), "velocity": (T, 1, 3), "angular_velocity": (T, 1, 3),
            "joint_position": (T, 1, J), "target": (T, 1, J), "torque": (T, 1, J), "foot_velocity": (T, 1, F, 3),
        }.items()
    }  # fmt: skip
    changes |= {"power": rng.uniform(1, 9, (T, 1)), "foot_force": rng.uniform(0, 90, (T, 1, F))}
    end = 4
    ended = make_trace(alive=np.arange(T)[:, None] < end, **changes | {flag: np.array([True])})
    whole = {name: rows[:end] for name, rows in vars(make_trace(**changes)).items() if np.ndim(rows) and len(rows) == T}
    short = dataclasses.replace(make_trace(), **whole, steps=end)
    found, wanted = measure(spoil(ended, end)), measure(short)
    for name in set(MEASURES) - {"survival", "fell"}:
        assert found[name] == pytest.approx(wanted[name], nan_ok=True), name
    assert found["survival"] == pytest.approx([4 / 6]) and found["fell"] == [1.0]


def test_a_run_that_ended_early_survived_a_share_of_its_whole_length():
    assert value("survival", steps=24) == pytest.approx(6 / 24)


def test_a_fall_in_the_first_step_leaves_no_values_and_no_score():
    found = measure(make_trace(alive=np.zeros((T, 1), bool), fell=np.array([True])))
    assert all(np.isnan(found[name]) for name in set(MEASURES) - {"survival", "fell"})
    assert found["survival"] == 0 and found[SCORE] == 0


def test_a_fallen_episode_has_only_the_score_of_its_survival():
    alive = np.ones((T, 2), bool)
    alive[3:, 1] = False
    found = measure(make_trace(n=2, alive=alive, fell=np.array([False, True])))
    parts = scores(found)
    assert all(parts[name][1] == 0 for name in set(MEASURES) - {"survival"})
    assert parts["survival"] == pytest.approx([1.0, 0.5])
    weights = {name: m.weight for name, m in MEASURES.items()}
    # cost of transport: the first has none, so it has no weight there; the fallen one gets 0
    assert found[SCORE] == pytest.approx([1.0, 0.5 * weights["survival"] / sum(weights.values())])


def test_the_overall_score_is_the_weighted_mean_of_the_scores():
    values = {name: np.array([m.one]) for name, m in MEASURES.items()}
    assert overall(values) == pytest.approx([1.0])
    values["tilt"] = np.array([MEASURES["tilt"].zero])
    total = sum(m.weight for m in MEASURES.values())
    assert overall(values) == pytest.approx([1 - MEASURES["tilt"].weight / total])
    assert MEASURES["survival"].weight == max(m.weight for m in MEASURES.values())


@given(st.sampled_from(list(MEASURES)), st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_scores_lie_between_0_and_1_and_rise_towards_what_is_better(name, a, b):
    m = MEASURES[name]
    low, high = sorted((a, b)) if m.better == "higher" else sorted((a, b), reverse=True)
    worse, better = m.score(np.array([low, high]))
    assert 0 <= worse <= better <= 1
    assert m.score(np.array([m.zero, (m.zero + m.one) / 2, m.one])) == pytest.approx([0, 0.5, 1])
    assert np.isnan(m.score(np.array([np.nan])))


def test_every_measure_says_its_formula_and_unit():
    assert all(m.formula and m.label and m.better in ("higher", "lower") for m in MEASURES.values())
    assert MEASURES["velocity_error"].formula.startswith("``sqrt(mean |v_cmd,xy - v_xy|^2)``")
    assert {name for name, m in MEASURES.items() if m.better == "higher"} == {
        "survival", "velocity_tracking", "torque_margin", "joint_limit_margin"
    }  # fmt: skip
