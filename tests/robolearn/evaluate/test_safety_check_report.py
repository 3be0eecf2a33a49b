"""Table, summary and files of the safety check."""

import json
import math

import pytest

from robolearn.evaluate.safety_check import Outcome
from robolearn.evaluate.safety_check_report import rows, summary, table, write
from robolearn.evaluate.safety_check_suite import Result, Suite
from robolearn.evaluate.safety_check_walk import Trip, Walk


def outcome(case, observable, periods, reason, problem=""):
    return Outcome(case, 0, 3.0, "ready", observable, periods, reason, problem)


@pytest.fixture
def result():
    outcomes = [
        outcome("no_state", 0.08, 0.0, "state_stale"),
        outcome("no_state", 0.09, 1.0, "state_stale"),
        outcome("motor_off", 0.2, 2.0, "drive_response"),
        outcome("motor_off", math.nan, math.nan, "", "no expected condition within 30 s"),
        outcome("noise_default", math.nan, math.nan, ""),
    ]
    fall = Trip(20.0, 0.6, "fall", "lies on its side", True)
    false = Trip(30.0, math.inf, "tilt", "angle: 1.2", False)
    walks = [
        Walk(0, 90.0, 12, [fall], {"tracking": 2}, {"tilt": 0.4, "velocity": 0.7}),
        Walk(1, 30.0, 3, [false], {}, {"tilt": 1.1, "velocity": 0.6}),
    ]
    return Result(Suite("policy.onnx"), outcomes, walks)


def test_rows_say_what_happened(result):
    first, second, third = rows(result.outcomes)
    assert (first.case, first.cases, first.met, first.reasons) == ("no_state", 2, 2, {"state_stale": 2})
    assert first.observable == pytest.approx((0.085, 0.09))
    assert first.periods == (0.5, 1.0)
    assert (second.met, second.periods) == (1, (2.0, 2.0))
    assert math.isnan(third.periods[0])
    lines = table(rows(result.outcomes)).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines) == 5


def test_the_summary_hides_nothing(result):
    text = summary(result)
    assert "4 of 5 cases met the requirement; slowest reaction 2 control periods" in text
    assert "2.0 min, 15 pushes: 1 false stops, 1 true falls" in text
    assert "tilt 1.10, velocity 0.70" in text
    assert "tracking 2" in text
    assert text.count("Not met") == len(result.failures) == 2


def test_files_are_complete_and_valid(result, tmp_path):
    write(result, tmp_path / "new")
    data = json.loads((tmp_path / "new" / "safety_check.json").read_text(), parse_constant=pytest.fail)
    assert data["met"] is False
    assert data["suite"]["seed"] == 0
    assert [entry["case"] for entry in data["rows"]] == ["no_state", "motor_off", "noise_default"]
    assert data["walks"][1]["trips"][0]["since_push"] is None
    assert "| motor_off" in (tmp_path / "new" / "safety_check.md").read_text()
    assert (tmp_path / "new" / "safety_check.png").stat().st_size > 10_000
