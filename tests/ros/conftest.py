"""The real ROS 2 nodes, in processes of their own. They need the wheels of the extra ``ros``, no ROS installation."""

import os
import socket
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
sys.path.insert(0, str(Path(__file__).parent))

_CLAIM = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


def claim_domain():
    """Return a ROS domain that no other test process on this machine uses; it is free again when this one ends."""
    for domain in range(10, 100):
        try:
            _CLAIM.bind(f"\0robolearn-tests/domain{domain}")
        except OSError:
            continue
        return domain
    raise RuntimeError("all ROS domains from 10 to 99 are used by other test processes")


def pytest_collection_modifyitems(items):
    """Give each test here a second chance, and say so in the summary (R).

    Discovery and the middleware's own end are not yet stable on two busy cores: in three whole runs tests failed here
    that passed by themselves. docs/deployment.md has the list. A fault of ours fails twice.
    """
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.flaky(reruns=1))


os.environ["ROS_DOMAIN_ID"] = str(claim_domain())
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["AMENT_PREFIX_PATH"] = sys.prefix
