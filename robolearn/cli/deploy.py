"""Start everything that one robot needs, simulated or real, and stop it safely on Ctrl-C. Nothing moves by itself:
an operator asks for each step, with `robolearn request` from another terminal.

robolearn deploy --sim --policy policies/a1_velocity_flat/policy.onnx
robolearn deploy --sim --policy policy.onnx --set budget=0.7
robolearn deploy --sim --policy policy.onnx sim_node.hoisted=true
robolearn deploy --real --robot my_robot.yaml --link ros2_control --policy policy.onnx --record runs/first_test
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from robolearn.cli.common import add_set_argument
from robolearn.cli.errors import EXIT_FAILURE, CommandError
from robolearn.cli.ros import add_parameter_arguments, add_place_arguments, parse_parameters
from robolearn.config import ConfigError, parse_settings

if TYPE_CHECKING:
    from robolearn.deploy.bringup import BringUp, NodeSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    backend = parser.add_mutually_exclusive_group(required=True)
    backend.add_argument("--sim", action="store_true", help="the simulated robot")
    backend.add_argument("--real", action="store_true", help="the real robot; read docs/deployment.md first")
    parser.add_argument("--robot", default="a1", help="name of a robot, or a robot file (.yaml)")
    parser.add_argument("--policy", default="", metavar="FILE", help="policy file (.onnx); without it: stand only")
    add_set_argument(parser)
    parser.add_argument(
        "--link", default="loopback", help="to the real robot: loopback, ros2_control, or MODULE:FUNCTION"
    )
    parser.add_argument("--record", default="", metavar="DIR", help="record everything into this folder")
    parser.add_argument("--teleop", action="store_true", help="also listen to a gamepad; for the keyboard: teleop")
    parser.add_argument(
        "--params", action="append", default=[], metavar="FILE", help="ROS 2 parameter file; may be repeated"
    )
    parser.add_argument("--latch", default="", metavar="FILE", help="remembers an emergency stop over a restart")
    parser.add_argument("--use-sim-time", choices=("true", "false"), help="nodes follow /clock (default: with --sim)")
    add_place_arguments(parser)
    add_parameter_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the nodes until Ctrl-C (0) or until one of them fails (1)."""
    from robolearn.deploy import bringup, processes
    from robolearn.deploy.stop_signal import StopSignal

    wanted = _wanted(args)
    specs = bringup.plan(wanted)
    with StopSignal() as stop:
        _announce(wanted, specs)
        with processes.nodes(specs, wanted.domain, lambda line: print(line, flush=True)) as running:
            failed = running.watch(stop)
            print(f"Stopping{' because ' + failed.name + ' ended' if failed else ''} ...", flush=True)
    if failed is not None:
        end = "" if str(failed).endswith(("?", ".")) else "."
        raise CommandError(f"{failed}{end} All other nodes were stopped", EXIT_FAILURE)
    print("All nodes are stopped.")
    return 0


def _wanted(args: argparse.Namespace) -> BringUp:
    from robolearn.deploy.bringup import LOOPBACK, BringUp

    if args.sim and args.link != LOOPBACK:
        raise ConfigError(f"--link {args.link}: only with --real; the simulated robot needs no link")
    return BringUp(
        robot=args.robot,
        policy=args.policy,
        simulated=args.sim,
        namespace=args.namespace,
        use_sim_time=None if args.use_sim_time is None else args.use_sim_time == "true",
        record=args.record,
        teleop=args.teleop,
        link=args.link,
        latch_file=args.latch,
        parameter_files=tuple(args.params),
        parameters=parse_parameters(args.parameters),
        settings=parse_settings(args.set),
        domain=args.domain,
    )


def _announce(wanted: BringUp, specs: Sequence[NodeSpec]) -> None:
    """Print what is started, and what to do next."""
    from robolearn.deploy.bringup import LOOPBACK

    kind = "REAL ROBOT"
    if wanted.simulated:
        kind = "simulated robot"
    elif wanted.link == LOOPBACK:
        kind = "no robot (link loopback: it answers every command, nothing moves): for"
    print(f"{kind} {wanted.robot}, {wanted.policy or 'no policy: it can only stand'}")
    for spec in specs:
        values = " ".join(f"{name}={value}" for name, value in spec.parameters.items())
        print(f"  {spec.namespace}/{spec.name}  {values}")
    place = ["--namespace", wanted.namespace] if wanted.namespace else []
    place += ["--domain", str(wanted.domain)] if wanted.domain is not None else []
    where = f" {shlex.join(place)}" if place else ""
    if not wanted.simulated and wanted.link != LOOPBACK:
        print("The emergency stop here is not safety-rated. Hoist the robot, and keep its own stop within reach.")
    print("It moves only when asked to. From another terminal, one after the other:")
    for name in ("arm", "stand", *(["start_policy"] if wanted.policy else []), "stop"):
        print(f"  robolearn request {name}{where}")
    if wanted.policy:
        print(f"  robolearn teleop{where}   steer with the keyboard")
    print("Ctrl-C here: the robot brakes its joints and sinks to the ground, then everything ends.", flush=True)
