"""Run a few episodes of the transfer benchmark through the deployed ROS 2 nodes, and check that the results agree.

robolearn sim2sim-deployed policies/a1_velocity_flat/policy.onnx
robolearn sim2sim-deployed policy.onnx --episodes 5 --out results/deployed
robolearn sim2sim-deployed policy.onnx --fault '{"kind": "command_delayed", "seconds": 0.01}'
"""

from __future__ import annotations

import argparse
from pathlib import Path

from robolearn.cli.errors import EXIT_FAILURE, CommandError
from robolearn.cli.ros import join_ros
from robolearn.config import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("policy", type=Path, metavar="POLICY", help="policy file (.onnx)")
    parser.add_argument("--episodes", type=int, default=3, metavar="N", help="through the nodes (default: 3)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of an episode (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of command scripts and starts (default: 0)")
    parser.add_argument(
        "--speed", type=float, default=1.0, help="largest speed of simulated time; 0: as fast as it goes (default: 1)"
    )
    parser.add_argument(
        "--fault", metavar="JSON", help="fault in the nodes' robot, see docs/hardware.md: it must show as a difference"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("sim2sim/deployed"), metavar="FOLDER", help="where table and recordings go"
    )
    parser.add_argument("--domain", type=int, metavar="N", help="ROS domain (default: ROS_DOMAIN_ID, or 0)")


def run(args: argparse.Namespace) -> int:
    """Compare; fails when nodes, stack in one process and benchmark do not agree."""
    if args.episodes < 1:
        raise ConfigError(f"--episodes {args.episodes}: must be at least 1")
    if not args.seconds >= 1.0 or not 0.0 <= args.speed <= 100.0:
        raise ConfigError(f"--seconds {args.seconds:g} --speed {args.speed:g}: must be at least 1, and from 0 to 100")
    from hardware.faults import parse_fault
    from robolearn.deploy.contract import read_contract
    from robolearn.deploy.onnx_file import PolicyFileError

    try:
        joints = read_contract(args.policy)[0].robot.joints
    except PolicyFileError as error:
        raise CommandError(str(error), EXIT_FAILURE) from error
    fault = None if args.fault is None else parse_fault(args.fault, joints)
    domain = join_ros(args.domain)

    from robolearn.evaluate.sim2sim.deployed.check import check, timestep
    from robolearn.evaluate.sim2sim.deployed.nodes import NodesError, Way
    from robolearn.replay.mcap import BagError

    way = Way(args.policy, domain, timestep(), args.speed, fault)
    try:
        found = check(way, args.episodes, args.seconds, args.seed, args.out)
    except (BagError, NodesError, PolicyFileError) as error:
        raise CommandError(str(error), EXIT_FAILURE) from error
    (args.out / "agreement.json").write_text(found.to_json(), encoding="utf-8")
    print(f"\n{found.table()}\n\nwritten to {args.out}/")
    if not found.agrees:
        raise CommandError("the deployed nodes and the benchmark do not agree", EXIT_FAILURE)
    return 0
