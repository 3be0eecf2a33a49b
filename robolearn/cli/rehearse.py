"""Rehearse a policy on the simulated robot, with the same ROS 2 nodes as on the real one: stand up, walk, meet a fault,
and a report of it.

robolearn rehearse policies/a1_velocity_flat/policy.onnx
robolearn rehearse policy.onnx --fault '{"kind": "motor_off", "joint": "FL_calf_joint"}' --out runs/rehearsal
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robolearn.cli.common import add_set_argument
from robolearn.cli.errors import EXIT_FAILURE, CommandError
from robolearn.cli.ros import add_place_arguments, join_ros
from robolearn.config import ConfigError, parse_settings

if TYPE_CHECKING:
    from robolearn_ros.operator import Operator

FAULT = '{"kind": "frozen_state"}'
START = 60.0
"""s in which all nodes must be up, and each step be done."""
LEAD = 0.2
"""s on the robot's clock from injecting a fault until it begins."""
AFTER = 1.0
"""s that are recorded after the reaction."""
WALK = ((0.0, 0.0, 0.0), (0.6, 0.0, 0.0), (0.6, 0.0, 0.8), (0.0, 0.3, 0.0), (0.5, 0.0, 0.0))
"""Velocity commands, one after the other, for equal times: m/s, m/s, rad/s; the fault comes during the last."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("policy", metavar="FILE", help="policy file (.onnx)")
    parser.add_argument("--out", default="runs/rehearsal", metavar="DIR", help="folder for recording and report")
    parser.add_argument("--seconds", type=float, default=10.0, help="of walking, on the robot's clock (default: 10)")
    add_set_argument(parser)
    parser.add_argument("--fault", default=FAULT, help=f"JSON object, see docs/hardware.md (default: {FAULT})")
    add_place_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the rehearsal; return 1 where the robot was stopped before the fault, or nobody reacted to that."""
    from robolearn.deploy import bringup, processes
    from robolearn.deploy.contract import read_contract
    from robolearn.deploy.onnx_file import PolicyFileError

    if not args.seconds > 0:
        raise ConfigError(f"--seconds {args.seconds:g}: must be positive")
    try:
        fault = dict(json.loads(args.fault))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"--fault {args.fault}: not a JSON object ({error})") from error
    settings = parse_settings(args.set)
    try:
        contract, _ = read_contract(args.policy)
    except PolicyFileError as error:
        raise CommandError(str(error), EXIT_FAILURE) from error
    domain = join_ros(args.domain)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    hoisted = _hoisted(contract.robot.name)
    wanted = bringup.BringUp(
        robot=contract.robot.name,
        policy=args.policy,
        namespace=args.namespace,
        record=str(out),
        latch_file=str(out / "estop.latch"),
        settings=settings,
        domain=domain,
        parameters={"sim_node": {"hoisted": hoisted}},
    )
    story: list[str] = []
    lines: list[str] = []
    with processes.nodes(bringup.plan(wanted), domain, lines.append) as running:
        from robolearn_ros.operator import Operator, OperatorError

        with Operator(args.namespace, domain) as operator:
            try:
                reaction = _rehearse(operator, args.seconds, fault, story, hoisted)
            except OperatorError as error:
                ended = running.failed()
                raise CommandError("\n".join([str(ended or error), *lines[-10:]]), EXIT_FAILURE) from error
    print("All nodes are stopped; reading the recording ...", flush=True)
    print(f"Report: {_report(out, story)}")
    return 0 if reaction else EXIT_FAILURE


def _hoisted(robot: str) -> bool:
    """Tell whether the robot must be hoisted to get up."""
    from hardware.hoist import needs_hoist
    from sim.robots import load_robot

    return needs_hoist(len(load_robot(robot).feet))


def _rehearse(
    operator: Operator, seconds: float, fault: dict[str, Any], story: list[str], hoisted: bool = False
) -> bool:
    """Play the operator; tell the story as it goes. Return whether the fault was answered by braking."""

    def tell(text: str) -> None:
        story.append(text)
        print(f"  {text}", flush=True)

    def ask(request: str, state: str) -> None:
        operator.reach(request, state, START)
        tell(f"{operator.robot_time:7.3f} s  {request}: now {state}")

    def sleep(robot_seconds: float) -> None:
        end = operator.robot_time + robot_seconds
        operator.wait_for(lambda: operator.robot_time >= end or operator.state != "policy", START + robot_seconds)

    operator.wait_for_state("idle", START)
    operator.wait_for(lambda: operator.robot_time >= 0.0, START, "a reading of the robot")
    ask("arm", "idle")
    ask("stand", "ready")
    if hoisted:
        operator.lower(START)
        tell(f"{operator.robot_time:7.3f} s  put down: it stands without the hoist")
    ask("start_policy", "policy")
    for forward, left, turn in WALK:
        tell(f"{operator.robot_time:7.3f} s  command {forward:g} m/s forward, {left:g} m/s left, {turn:g} rad/s")
        operator.drive(forward, left, turn)
        sleep(seconds / len(WALK))
        if operator.state != "policy":
            tell(f"the robot stopped by itself: {_reason(operator)}")
            return False
    begin = round(operator.robot_time + LEAD, 3)
    operator.inject_fault({"start": begin, **fault})
    tell(f"{begin:7.3f} s  fault: {fault}")
    operator.wait_for(lambda: operator.state != "policy" or operator.robot_time > begin + 10.0, START, "a reaction")
    operator.let_go()
    if operator.state == "policy":
        tell("nobody reacted within 10 s: this fault does not show, or not on this robot")
        return False
    operator.wait_for(lambda: any("from" in event and event["time"] >= begin for event in operator.events), START)
    change = next(event for event in operator.events if "from" in event and event["time"] >= begin)
    late = change["time"] - begin
    tell(f"{change['time']:7.3f} s  {change['mode']}, {1e3 * late:.0f} ms after the fault began: {change['message']}")
    end = change["time"] + AFTER
    operator.wait_for(lambda: operator.robot_time >= end, START)
    return True


def _reason(operator: Operator) -> str:
    """Return why the policy lost control; the state may be heard before the event that tells it."""
    operator.wait_for(lambda: any(event.get("from") == "policy" for event in operator.events), START, "why it stopped")
    message: str = next(event["message"] for event in reversed(operator.events) if event.get("from") == "policy")
    return message


def _report(out: Path, story: Sequence[str]) -> Path:
    """Write what happened as a page beside its pictures."""
    from robolearn.evaluate.page import card, document, preformatted
    from robolearn.replay import report
    from robolearn.replay.plots import draw
    from robolearn.replay.recording import load
    from robolearn.replay.rerun import rerun
    from robolearn.replay.summary import summarize

    recording = load(out)
    pictures = draw(recording, out / "plots")
    text = "\n\n".join([report.overview(recording, summarize(recording)), report.policy(rerun(recording))])
    (out / "rehearsal.txt").write_text("\n".join([*story, "", text, ""]), encoding="utf-8")
    images = "\n".join(card(f'<img src="plots/{file.name}" alt="{file.stem}">', file.stem) for file in pictures)
    page = out / "rehearsal.html"
    title = f"Rehearsal of {recording.about.robot}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<h2>What was done</h2>{preformatted(chr(10).join(story))}",
        f"<h2>What was recorded</h2>{images}{preformatted(text)}",
    ]
    page.write_text(document(title, parts), encoding="utf-8")
    return page
