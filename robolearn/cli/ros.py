"""What the commands that talk to running nodes share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from robolearn.config import merge, parse_override

if TYPE_CHECKING:
    from robolearn.deploy.bringup import Value


def add_place_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--namespace`` and ``--domain``: which robot is meant."""
    parser.add_argument("--namespace", default="", metavar="NS", help="namespace of the robot's nodes (default: none)")
    parser.add_argument("--domain", type=int, metavar="N", help="ROS domain (default: ROS_DOMAIN_ID, or 0)")


def add_parameter_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the ROS 2 parameters of single nodes."""
    parser.add_argument(
        "parameters", nargs="*", metavar="NODE.PARAMETER=VALUE", help="such as sim_node.real_time_factor=2.0"
    )


def parse_parameters(words: Sequence[str]) -> dict[str, dict[str, Value]]:
    """Return ROS 2 parameters by node and name.

    Raises:
        ConfigError: a word is not NODE.PARAMETER=VALUE.
    """
    found: dict[str, dict[str, Value]] = {}
    for word in words:
        found = merge(found, parse_override(word))
    return found


def join_ros(domain: int | None) -> int:
    """Make this process ready for rclpy and return the domain. Call it before rclpy is imported.

    Raises:
        ConfigError: rclpy is not installed, or the domain is no valid number.
    """
    from robolearn.deploy.bringup import domain_id
    from robolearn.deploy.processes import environment
    from robolearn.packages import need

    need("rclpy")
    os.environ.update(environment(domain))
    return domain_id(domain)
