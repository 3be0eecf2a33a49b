"""Steer a running robot from this terminal: keyboard, and gamepad where /joy is published. Ctrl-C ends it, and the
robot slows down to a halt; it goes on balancing.

robolearn teleop
robolearn teleop --namespace a1 --domain 5
"""

from __future__ import annotations

import argparse
import os
import sys

from robolearn.cli.ros import add_place_arguments, join_ros


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_place_arguments(parser)
    parser.add_argument(
        "--params", action="append", default=[], metavar="FILE", help="ROS 2 parameter file; may be repeated"
    )


def run(args: argparse.Namespace) -> int:
    """Become the node: keys and Ctrl-C of this terminal are its own."""
    from robolearn.deploy import bringup, processes

    namespace = bringup.full_namespace(args.namespace)
    files = bringup.parameter_files(args.params)
    join_ros(args.domain)
    sys.stdout.flush()
    os.execve(sys.executable, processes.module_words("teleop_node", namespace, files), dict(os.environ))
