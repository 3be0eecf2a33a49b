"""Robot files: strict, complete, and the same as the training descriptions where both say something."""

import copy
from dataclasses import fields

import numpy as np
import pytest
import yaml

from robolearn.config import ConfigError
from robolearn.deploy.robot import FOLDER, list_robot_files, load_robot_file, robot_from_mapping
from robolearn.deploy.safety import Safety
from sim.robots import list_robots, load_robot

from .kit import robot_data


def changed(path, value):
    data = copy.deepcopy(robot_data())
    place = data
    *parents, last = path.split("/")
    for key in parents:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return data


def leaves(data, prefix=""):
    for key, value in data.items():
        if isinstance(value, dict) and "." not in "".join(value):
            yield from leaves(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}"


@pytest.mark.parametrize("name", list_robot_files())
def test_shipped_files_load_and_every_check_is_on(name):
    robot = load_robot_file(name)
    assert robot.name == name
    assert all(getattr(robot.safety, field.name).mode == "trip" for field in fields(Safety))
    assert load_robot_file(FOLDER / f"{name}.yaml").joints == robot.joints


def test_every_robot_that_can_be_trained_can_be_deployed():
    assert set(list_robot_files()) == set(list_robots())


@pytest.mark.parametrize("name", list_robot_files())
def test_training_and_deployment_agree(name):
    here, there = load_robot_file(name), load_robot(name)
    assert here.joints == there.joints
    for mine, theirs in (
        (here.hard_low, [low for low, _ in there.position_limit]),
        (here.hard_high, [high for _, high in there.position_limit]),
        (here.default_pose, there.default_pose),
        (here.velocity_limit, there.velocity_limit),
        (here.effort_limit, there.effort_limit),
    ):
        np.testing.assert_allclose(mine, theirs, atol=1e-9)
    assert (here.kp_limit >= there.kp).all()
    assert (here.kd_limit >= there.kd).all()


@pytest.mark.parametrize("entry", list(leaves(robot_data())))
def test_nothing_has_a_default(entry):
    with pytest.raises(ConfigError, match=entry.rsplit("/", 1)[-1] + "|required entry is missing"):
        robot_from_mapping(changed(entry, None))


@pytest.mark.parametrize(
    "entry",
    [key for key, value in robot_data().items() if key.endswith(("limit", "range", "pose", "kp", "kd"))],
)
def test_a_joint_without_a_limit_is_refused_by_name(entry):
    data = robot_data()
    value = data[entry]
    if isinstance(value, dict):
        value = next(iter(value.values()))
    with pytest.raises(ConfigError, match=f"{entry}: no value for joint 'right'"):
        robot_from_mapping(data | {entry: {"left": value}})


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("joints", [], "joints: at least one"),
        ("joints", ["left", "left"], "'left' is given twice"),
        ("velocity_limit", {"lefd": 3.0, ".*": 3.0}, "unknown joint 'lefd'. Did you mean 'left'"),
        ("velocity_limit", {".*": 3.0, "l.*": 4.0}, "'left' has a value from"),
        ("velocity_limit", {"(": 3.0}, "neither a joint nor a valid pattern"),
        ("velocity_limit", 0.0, "velocity_limit: must be positive"),
        ("effort_limit", -1.0, "effort_limit: must be positive"),
        ("effort_limit", float("nan"), "finite"),
        ("effort_limit", float("inf"), "finite"),
        ("rate_limit", "fast", "rate_limit: expected a number"),
        ("rate_limit", {"left": "fast"}, "rate_limit.left: expected a number"),
        ("soft_range", {".*": [0.5, -0.5]}, "not below the upper"),
        ("soft_range", {".*": [-1.3, 1.0]}, "soft_range: joint 'left' is outside its hard_range"),
        ("default_pose", {"left": 1.1, "right": 0.0}, "default_pose: joint 'left' is outside its soft_range"),
        ("stand_kp", 90.0, "stand_kp: 90 is above kp_limit"),
        ("stand_kd", 5.0, "stand_kd: 5 is above kd_limit"),
        ("damping_kd", 5.0, "damping_kd: 5 is above kd_limit"),
        ("control_hz", 0.0, "control_hz: must be positive"),
        ("control_hz", 120.0, "whole number of control ticks"),
        ("policy_dt", 0.005, "whole number of control ticks"),
        ("stand/duration", 1.9, "stand: duration must be at least 2 s"),
        ("stand/gain_time", 3.0, "gain_time"),
        ("stand/max_velocity", 15.0, "stand.max_velocity: 15 is above rate_limit"),
        ("stand/max_velocity", 0.0, "max_velocity must be positive"),
        ("command_timeout", 0.01, "command_timeout: 0.01 s is not longer than one control tick"),
        ("command_timeout", 0.04, "above command_timeout"),
        ("safety/tilt", {"mode": "of", "limit": 1.0, "debounce": 0.0}, "'of' is not one of the choices"),
        ("safety/tilt/mode", True, "True is not one of the choices"),
        ("safety", 3, "safety: expected a mapping"),
        ("safety/tilt/limit", 0.0, "safety.tilt: limit must be positive"),
        ("safety/tilt/limit", 2.0, "fall.limit must be above tilt.limit"),
        ("safety/tilt/debounce", -0.1, "debounce must be zero or positive"),
        ("safety/tilt/reaction", "stand", "unknown key 'reaction'"),
        ("safety/tlit", {"mode": "off"}, "unknown key 'tlit'. Did you mean 'tilt'"),
        ("safety/first_action/reaction", "estop", "'estop' is not one of the choices"),
        ("safety/state_stale/trip", 1.0, "trip must be above warn"),
        ("safety/imu_not_unit/warn", 9.0, "trip must be above warn"),
        ("safety/battery/trip", 0.3, "0 < trip < warn < 1"),
        ("safety/temperature/trip", 60.0, "trip must be above warn"),
        ("safety/soft_range/count", 10, "count must be at least 1 and below window"),
        ("safety/policy_deadline/consecutive", 0, "consecutive must be positive"),
        ("safety/estop", {"mode": "off"}, "unknown key 'estop'"),
        ("sefety", {}, "unknown key 'sefety'. Did you mean 'safety'"),
    ],
)
def test_wrong_entries_are_refused_by_name(path, value, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(").replace(".", r"\.")):
        robot_from_mapping(changed(path, value))


def test_off_may_be_written_without_quotes(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(changed("safety/tilt/mode", "off")).replace("'off'", "off"))
    assert "mode: off" in path.read_text()
    assert load_robot_file(path).safety.tilt.mode == "off"


def test_an_exact_name_beats_a_pattern():
    robot = robot_from_mapping(changed("velocity_limit", {".*": 20.0, "left": 15.0}))
    assert robot.velocity_limit.tolist() == [15.0, 20.0]


def test_unknown_robots_and_files(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown robot 'go3'. Did you mean 'go"):
        load_robot_file("go3")
    with pytest.raises(ConfigError, match="A path must end in"):
        load_robot_file("robots/a1")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_robot_file(tmp_path / "none.yaml")
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(changed("effort_limit", None)))
    with pytest.raises(ConfigError, match=r"mine.yaml: effort_limit: required entry is missing"):
        load_robot_file(path)
    path.write_text(yaml.safe_dump(robot_data()))
    assert load_robot_file(path).joints == ("left", "right")


def test_limits_cannot_be_changed_by_accident():
    robot = robot_from_mapping(robot_data())
    with pytest.raises(ValueError, match="read-only"):
        robot.soft_low[0] = -9.0
    with pytest.raises(AttributeError):
        robot.effort_limit = robot.velocity_limit
