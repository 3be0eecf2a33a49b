"""Set what the policy of a running robot lets its operator set, such as its energy budget; from its next output on.

robolearn set budget=0.7
robolearn set budget=0.7 --namespace a1 --domain 5
"""

from __future__ import annotations

import argparse

from robolearn.cli.errors import EXIT_FAILURE, CommandError
from robolearn.cli.ros import add_place_arguments, join_ros
from robolearn.config import parse_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("settings", nargs="+", metavar="NAME=VALUE", help="robolearn inspect shows those of a policy")
    add_place_arguments(parser)
    parser.add_argument("--timeout", type=float, default=10.0, metavar="S", help="s to wait for the answer")


def run(args: argparse.Namespace) -> int:
    """Set one after the other."""
    settings = parse_settings(args.settings, "set")
    domain = join_ros(args.domain)
    from robolearn_ros.operator import Operator, OperatorError

    try:
        with Operator(args.namespace, domain) as operator:
            for name, value in settings.items():
                operator.set_policy(name, value, args.timeout)
                print(f"{name} is {value:g}", flush=True)
    except OperatorError as error:
        raise CommandError(str(error), EXIT_FAILURE) from error
    return 0
