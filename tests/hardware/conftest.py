import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # link_fakes.py
sys.path.insert(0, str(Path(__file__).parents[1] / "ros"))  # domain.py

from link_fakes import HandClock, RecordingLink


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def link():
    return RecordingLink()
