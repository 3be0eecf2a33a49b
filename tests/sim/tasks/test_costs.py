"""Every cost on the state of conftest.py."""

import pytest

from sim.tasks import cost

CASES = {
    "mechanical_power": [55.0, 7.0],
    "mechanical_power_control_rate": [3 * 2 + 4 * 0.5, 2 * 3.0],  # tau dq at the end, whatever the mean was
    "torque_square": [21.0, 3.0],  # the mean over the physics steps, whatever it is at the end
    "velocity_error": [0.5, 0.5],
    "joint_limit_violation": [0.2, 0.4],
    "peak_foot_force": [80.0, 5.0],
}


@pytest.mark.parametrize(("name", "expected"), CASES.items())
def test_cost(state, name, expected):
    assert cost.bind(name, {})(state).tolist() == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_within_the_limits_nothing_is_violated(state):
    state.joint_position[:] = 0.5
    assert cost.bind("joint_limit_violation", {})(state).tolist() == [0.0, 0.0]


def test_every_cost_is_worked_out_here():
    assert set(CASES) == {name for name in cost if cost.get(name).__module__.startswith("sim.")}
