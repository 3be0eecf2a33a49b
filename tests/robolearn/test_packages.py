"""What is said of a package that is not installed."""

import importlib.metadata
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from robolearn import packages
from robolearn.config import ConfigError
from robolearn.packages import EXTRAS, MissingPackageError, missing, need

ROOT = Path(packages.__file__).parents[1]
EXTRA_PARTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
PROVIDED_BY = importlib.metadata.packages_distributions()


def brought_by(extra):
    """The distributions that an extra asks for, those of the extras inside it too."""
    found = set()
    for part in EXTRA_PARTS[extra]:
        name, inner = re.match(r"([\w.-]+)(?:\[([\w,.-]+)\])?", part).groups()
        found |= set().union(*map(brought_by, inner.split(","))) if name == "robolearn" else {name.lower()}
    return found


@pytest.mark.parametrize("package", [*EXTRAS, "torch", "rich", "std_srvs", "sensor_msgs"])
def test_the_extra_that_is_named_brings_the_package(package):
    extra = re.search(r"pip install '\.\[(\w+)\]'", missing(package))[1]
    if package not in PROVIDED_BY:
        pytest.skip(f"{package} is not installed here")
    assert {name.lower() for name in PROVIDED_BY[package]} & brought_by(extra)


def test_only_ros_itself_may_come_from_the_system():
    assert "source your ROS 2" in missing("rclpy") and "source your ROS 2" in missing("std_msgs")
    assert "source your ROS 2" not in missing("rosbags") + missing("mujoco") + missing("torch")


def test_what_is_there_is_not_missed():
    need("yaml")
    with pytest.raises(MissingPackageError, match=r"'no_such_thing' is not installed; in a clone of robolearn: pip"):
        need("no_such_thing")
    assert issubclass(MissingPackageError, ConfigError)


@pytest.mark.parametrize("folder", ["robolearn", "sim", "hardware", "ros2_ws/src", "benchmarks", "docs", "launch"])
def test_nothing_tells_people_to_install_the_other_robolearn(folder):
    """The index has another package of this name: it is installed from a clone."""
    for path in (ROOT / folder).rglob("*"):
        if path.suffix in (".py", ".md") and path.name != "packages.py":
            for line in path.read_text(encoding="utf-8").splitlines():
                if match := re.search(r"pip install +(.*)", line):
                    words = shlex.split(re.sub(r"[`\"].*", "", match[1].replace("'", "")))
                    assert not any(word.startswith("robolearn") for word in words), f"{path}: {line}"
