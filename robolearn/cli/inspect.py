"""Show what a policy file says about itself: robot, inputs, memory, observation, action, command, provenance.

robolearn inspect policies/a1_velocity_flat/policy.onnx
robolearn inspect policy.onnx --json              the whole document
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from robolearn.cli.errors import EXIT_FAILURE, CommandError

if TYPE_CHECKING:
    from robolearn.deploy.contract import PolicyContract


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", metavar="FILE", help="a policy file (.onnx)")
    parser.add_argument("--json", action="store_true", help="print the document as it is in the file")


def run(args: argparse.Namespace) -> int:
    """Print the contract."""
    from robolearn.deploy.contract import KEY, from_metadata
    from robolearn.deploy.onnx_file import PolicyFileError, read_file, unseal

    try:
        _, metadata = unseal(read_file(args.file))
        contract = from_metadata(metadata)
    except PolicyFileError as error:
        text = str(error)
        raise CommandError(text if args.file in text else f"{args.file}: {text}", EXIT_FAILURE) from error
    if args.json:
        print(json.dumps(json.loads(metadata[KEY]), indent=2))
    else:
        print("\n".join(describe(contract)))
    return 0


def describe(contract: PolicyContract) -> Iterator[str]:
    """Yield the lines that a person reads."""
    c, robot = contract, contract.robot
    yield f"Policy for robot {robot.name}, task {c.task}: one evaluation every {1e3 * c.control_dt:g} ms"
    yield ""
    yield f"{'joint':<20} {'pose':>8} {'kp':>7} {'kd':>7} {'scale':>7} {'effort':>8} {'speed':>8}   range"
    yield f"{'':<20} {'rad':>8} {'Nm/rad':>7} {'Nms/rad':>7} {'rad':>7} {'Nm':>8} {'rad/s':>8}   rad"
    for i, joint in enumerate(robot.joints):
        low, high = robot.position_limit[i]
        held = "" if c.action.target_range is None else "   {:.3f} to {:.3f}".format(*c.action.target_range[i])
        yield (
            f"{joint:<20} {robot.default_pose[i]:8.3f} {robot.kp[i]:7g} {robot.kd[i]:7g} {c.action.scale[i]:7g} "
            f"{robot.effort_limit[i]:8g} {robot.velocity_limit[i]:8g}   {low:.3f} to {high:.3f}{held}"
        )
    yield ""
    yield f"Joint target = pose + scale * output; the output is limited to +-{c.action.clip:g}."
    if c.action.target_range is not None:
        yield "Targets are held in the second range."
    yield ""
    yield "Inputs:"
    for name, signal in c.signals.items():
        yield f"  {name:<24} {signal.width:>3}  {signal.unit:<14} {signal.frame}"
    for name, memory in c.memory.items():
        yield f"  {name:<24} {len(memory.initial):>3}  {'memory':<14} shape {list(memory.shape)}, starts at 0"
    yield ""
    yield f"Observation: {c.observation.width} values, {c.observation.history} frame(s), of"
    for term in c.observation.terms:
        clip = "" if term.clip is None else f", limited to +-{term.clip:g}"
        scale = f"{term.scale[0]:g}" if len(set(term.scale)) == 1 else ", ".join(f"{x:g}" for x in term.scale)
        yield f"  {term.name:<24} {term.width:>3}  {term.unit:<14} times {scale}{clip}"
    yield f"  trained range and spread of each value from {c.observation.statistics.samples} samples"
    yield ""
    yield "Command:"
    for entry in c.command:
        yield f"  {entry.name:<24}      {entry.unit:<14} {entry.low:g} to {entry.high:g}"
    if c.settings:
        yield ""
        yield "Settings of the operator:"
    for name, setting in c.settings.items():
        span = f"{setting.low:g} to {setting.high:g}, default {setting.default:g}"
        yield f"  {name:<24}      {setting.unit:<14} {span}: {setting.meaning}"
    yield ""
    yield f"{len(c.golden)} golden pairs. Where it comes from:"
    for name, value in c.provenance.items():
        yield f"  {name:<24} {value}"
