"""Ask the safety monitor of a running robot for something, and print its answer. The exit code is 0 when it accepts.

robolearn request arm
robolearn request estop --namespace a1 --domain 5
"""

from __future__ import annotations

import argparse

from robolearn.cli.errors import EXIT_FAILURE, CommandError
from robolearn.cli.ros import add_place_arguments, join_ros
from robolearn.deploy.modes import Request


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", choices=[str(request) for request in Request], help="what to ask for")
    add_place_arguments(parser)
    parser.add_argument("--timeout", type=float, default=10.0, metavar="S", help="s to wait for the answer")


def run(args: argparse.Namespace) -> int:
    """Ask once."""
    domain = join_ros(args.domain)
    from robolearn_ros.operator import Operator, OperatorError

    try:
        with Operator(args.namespace, domain) as operator:
            answer = operator.request(args.name, args.timeout)
    except OperatorError as error:
        raise CommandError(str(error), EXIT_FAILURE) from error
    print(f"{'accepted' if answer.accepted else 'refused'}: {answer.reason}")
    return 0 if answer.accepted else EXIT_FAILURE
