"""Every executable that this package installs can be loaded and called; run by `colcon test`."""

from importlib.metadata import entry_points

import pytest

SCRIPTS = [script for script in entry_points(group="console_scripts") if script.value.startswith("robolearn_ros.")]


def test_there_are_executables():
    assert len(SCRIPTS) == 6


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_executables_load(script):
    assert callable(script.load())
