"""What the commands that talk to running nodes share."""

from __future__ import annotations

import argparse
import os


def add_place_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--namespace`` and ``--domain``: which robot is meant."""
    parser.add_argument("--namespace", default="", metavar="NS", help="namespace of the robot's nodes (default: none)")
    parser.add_argument("--domain", type=int, metavar="N", help="ROS domain (default: ROS_DOMAIN_ID, or 0)")


def join_ros(domain: int | None) -> int:
    """Make this process ready for rclpy and return the domain. Call it before rclpy is imported.

    Raises:
        ConfigError: rclpy is not installed, or the domain is no valid number.
    """
    from robolearn.deploy.bringup import domain_id
    from robolearn.deploy.processes import environment, need

    need("rclpy")
    os.environ.update(environment(domain))
    return domain_id(domain)
