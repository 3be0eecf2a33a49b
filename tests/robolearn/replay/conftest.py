"""One run of the tiny policy, from power-on to an emergency stop; and its recording."""

import copy

import pytest

from .stage import Stage


@pytest.fixture(scope="session")
def played(policy_file):
    """A stage after the run; ``copy.copy`` it and change its messages to make other recordings."""
    stage = Stage(policy_file).play()
    stage.run(0.05, estop=True)
    return stage


@pytest.fixture
def stage(played):
    mine = copy.copy(played)
    mine.messages = list(played.messages)
    return mine


@pytest.fixture(scope="session")
def bag(played, tmp_path_factory):
    return played.write(tmp_path_factory.mktemp("recordings"))
