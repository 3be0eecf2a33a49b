"""Every termination on the state of conftest.py."""

import pytest
import torch

from sim.tasks import termination

CASES = [
    ("forbidden_contact", {}, [True, False]),
    # the first leans by acos(0.8) = 0.6435
    ("tilt", {"limit": 0.64}, [True, False]),
    ("tilt", {"limit": 0.65}, [False, False]),
    ("tilt", {}, [False, False]),
    ("too_low", {"height": 0.3}, [False, True]),
    ("too_low", {"height": 0.5}, [True, True]),
]


@pytest.mark.parametrize(("name", "params", "expected"), CASES)
def test_termination(state, name, params, expected):
    value = termination.bind(name, params)(state)
    assert value.dtype == torch.bool
    assert value.tolist() == expected


def test_lying_upside_down_is_a_tilt(state):
    state.projected_gravity[:] = torch.tensor([0.0, 0.0, 1.0])
    assert termination.bind("tilt", {"limit": 3.0})(state).tolist() == [True, True]


def test_every_termination_is_worked_out_here():
    assert {name for name, _, _ in CASES} == {
        name for name in termination if termination.get(name).__module__.startswith("sim.")
    }
