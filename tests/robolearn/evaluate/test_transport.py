"""The cost of transport by hand: a body that sways spends no less per metre for that."""

import numpy as np
import pytest

from robolearn.evaluate.transport import GRAVITY, MOVING, cost_of_transport, speed_along


def test_the_speed_along_the_command_by_hand():
    command = np.array([[1.0, 0.0, 3.0], [0.0, -2.0, 0.0], [0.3, 0.4, 0.0], [0.0, 0.0, 1.0]])
    velocity = np.array([[0.6, 0.3, 9.0], [0.5, 0.1, 0.0], [0.3, 0.4, 0.0], [0.7, 0.0, 0.0]])
    assert speed_along(velocity, command) == pytest.approx([0.6, -0.1, 0.5, 0.0])


def test_swaying_does_not_count_as_getting_on():
    sway = np.stack((np.full(100, 0.1), 0.3 * np.sin(np.linspace(0.0, 20.0, 100))), -1)
    assert speed_along(sway, np.tile((0.1, 0.0), (100, 1))).mean() == pytest.approx(0.1)


def test_power_over_weight_and_speed():
    power, mass, speed = np.array([30.0]), np.array([10.0]), np.array([0.5])
    assert cost_of_transport(power, mass, speed, np.array([MOVING])) == pytest.approx(6.0 / GRAVITY)


@pytest.mark.parametrize(("speed", "asked"), [(0.5, 0.9 * MOVING), (0.0, 1.0), (-0.2, 1.0)])
def test_there_is_none_for_a_robot_that_was_not_asked_to_move_or_did_not_get_on(speed, asked):
    assert np.isnan(cost_of_transport(np.array([30.0]), np.array([10.0]), np.array([speed]), np.array([asked])))[0]
