"""The real ROS 2 nodes, in processes of their own. They need the wheels of the extra ``ros``, no ROS installation."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
sys.path.insert(0, str(Path(__file__).parent))

import domain


@pytest.fixture(scope="module", autouse=True)
def own_domain():
    """``Stack`` takes a new one again for each test that starts its own."""
    domain.enter_new_domain()
