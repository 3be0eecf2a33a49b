"""Rehearse a policy on the simulated robot, with the same ROS 2 nodes as on the real one: stand up, walk, meet a fault,
and a report of it.

robolearn rehearse policies/a1_velocity_flat/policy.onnx
robolearn rehearse policy.onnx --fault '{"kind": "motor_off", "joint": "FL_calf_joint"}' --out runs/rehearsal
robolearn rehearse policy.onnx --robot my_robot.yaml sim_node.description=my_description.yaml
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robolearn.cli.common import add_set_argument
from robolearn.cli.errors import EXIT_FAILURE, CommandError
from robolearn.cli.ros import add_parameter_arguments, add_place_arguments, join_ros, parse_parameters
from robolearn.config import ConfigError, merge, parse_settings

if TYPE_CHECKING:
    from robolearn.deploy.contract import CommandEntry
    from robolearn_ros.operator import Operator

FAULT = '{"kind": "frozen_state"}'
START = 120.0
"""s of the computer's time in which all nodes must be up, and each request be granted."""
STUCK = 30.0
"""s of the computer's time in which the robot's time must go on: a busy computer is slow, not broken."""
PATIENCE = 20.0
"""s of the computer's time that the simulation waits for a command."""
LEAD = 0.2
"""s on the robot's clock from injecting a fault until it begins."""
NOTICED = 10.0
"""s on the robot's clock in which somebody must react to the fault."""
AFTER = 1.0
"""s that are recorded after the reaction."""
WALK: tuple[Mapping[str, float], ...] = ({}, {"vx": 0.6}, {"vx": 0.6, "yaw_rate": 0.4}, {"vy": 0.3}, {"vx": 0.5})
"""Shares of the largest commands that the policy knows, one after the other, for equal times; the fault comes during
the last."""


class Story:
    """What was done: told as it happens, and kept with the time on the robot's clock, s."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self.lines: list[tuple[float, str]] = []

    def tell(self, text: str) -> None:
        """Print and keep one line."""
        self.lines.append((self._operator.robot_time, text))
        print(f"  {text}", flush=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("policy", metavar="FILE", help="policy file (.onnx)")
    parser.add_argument("--robot", metavar="FILE", help="robot file (.yaml) or name (default: of the policy's robot)")
    parser.add_argument("--out", default="runs/rehearsal", metavar="DIR", help="folder for recording and report")
    parser.add_argument("--seconds", type=float, default=10.0, help="of walking, on the robot's clock (default: 10)")
    add_set_argument(parser)
    parser.add_argument("--fault", default=FAULT, help=f"JSON object, see docs/hardware.md (default: {FAULT})")
    add_place_arguments(parser)
    add_parameter_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the rehearsal; return 1 where the robot was stopped before the fault, or nobody reacted to that."""
    from hardware.faults import parse_fault
    from robolearn.deploy import bringup, processes
    from robolearn.deploy.contract import read_contract
    from robolearn.deploy.onnx_file import PolicyFileError
    from robolearn.deploy.robot import load_robot_file

    if not args.seconds > 0:
        raise ConfigError(f"--seconds {args.seconds:g}: must be positive")
    try:
        contract, _ = read_contract(args.policy)
    except PolicyFileError as error:
        raise CommandError(str(error), EXIT_FAILURE) from error
    robot = args.robot or contract.robot.name
    robot_file = load_robot_file(robot)
    fault = parse_fault(args.fault, robot_file.joints)
    given = parse_parameters(args.parameters)
    domain = join_ros(args.domain)
    hoisted = _hoisted(str(given.get("sim_node", {}).get("description") or robot_file.name))
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    wanted = bringup.BringUp(
        robot=robot,
        policy=args.policy,
        namespace=args.namespace,
        record=str(out),
        latch_file=str(out / "estop.latch"),
        settings=parse_settings(args.set),
        domain=domain,
        parameters=merge({"sim_node": {"hoisted": hoisted, "patience": PATIENCE}}, given),
    )
    lines: list[str] = []
    reaction, gave_up = False, ""
    with processes.nodes(bringup.plan(wanted), domain, lines.append) as running:
        from robolearn_ros.operator import Operator, OperatorError

        with Operator(args.namespace, domain) as operator:
            story = Story(operator)
            try:
                reaction = _rehearse(story, operator, args.seconds, contract.command, fault, hoisted)
            except OperatorError as error:
                gave_up = str(running.failed() or error)
                story.tell(f"given up: {gave_up}")
    print("All nodes are stopped; reading the recording ...", flush=True)
    _finish(out, story, gave_up, lines)
    return 0 if reaction else EXIT_FAILURE


def _finish(out: Path, story: Story, gave_up: str, lines: Sequence[str]) -> None:
    """Write the report, also of a rehearsal that was given up: what was recorded until then tells why."""
    from robolearn.replay.mcap import BagError

    try:
        print(f"Report: {_report(out, story)}")
    except BagError as error:
        gave_up = gave_up or str(error)
    said = out / "nodes.txt"
    said.write_text("\n".join([*lines, ""]), encoding="utf-8")
    if gave_up:
        raise CommandError(f"{gave_up.rstrip('.')}; what the nodes said is in {said}", EXIT_FAILURE)


def _hoisted(description: str) -> bool:
    """Tell whether the robot must be hoisted to get up."""
    from hardware.hoist import needs_hoist
    from sim.robots import load_robot

    return needs_hoist(len(load_robot(description).feet))


def _commands(entries: Sequence[CommandEntry]) -> list[tuple[float, float, float]]:
    """Return what is commanded, m/s, m/s, rad/s, one after the other; what the policy does not know is left out."""
    found = []
    for shares in WALK:
        wanted = {each.name: max(shares.get(each.name, 0.0) * each.high, each.low) for each in entries}
        found.append((wanted.get("vx", 0.0), wanted.get("vy", 0.0), wanted.get("yaw_rate", 0.0)))
    return [command for command, _ in itertools.groupby(found)]


def _rehearse(
    story: Story,
    operator: Operator,
    seconds: float,
    entries: Sequence[CommandEntry],
    fault: Mapping[str, Any],
    hoisted: bool,
) -> bool:
    """Play the operator; tell the story as it goes. Return whether the fault was answered by braking."""

    def ask(request: str, state: str) -> None:
        operator.reach(request, timeout=START)
        _wait(operator, lambda: operator.state == state, f"state {state!r}")
        story.tell(f"{request}: now {state}")

    operator.wait_for_state("idle", START)
    operator.wait_for(lambda: _is_recorded(operator), START, "the recorder, to hear the controller,")
    operator.wait_for(lambda: operator.robot_time >= 0.0, START, "a reading of the robot")
    ask("arm", "idle")
    ask("stand", "ready")
    if hoisted:
        operator.lower(START)
        story.tell("put down: it stands without the hoist")
    ask("start_policy", "policy")
    commands = _commands(entries)
    for forward, left, turn in commands:
        story.tell(f"command {forward:.3g} m/s forward, {left:.3g} m/s left, {turn:.3g} rad/s")
        operator.drive(forward, left, turn)
        _wait_until(operator, operator.robot_time + seconds / len(commands))
        if operator.state != "policy":
            story.tell(f"the robot stopped by itself: {_reason(operator)}")
            return False
    begin = round(operator.robot_time + LEAD, 3)
    operator.inject_fault({"start": begin, **fault})
    story.tell(f"in {LEAD:g} s begins the fault {dict(fault)}")
    _wait_until(operator, begin + NOTICED)
    operator.let_go()
    if operator.state == "policy":
        story.tell(f"nobody reacted within {NOTICED:g} s: this fault does not show, or not on this robot")
        return False
    operator.wait_for(lambda: any("from" in event and event["time"] >= begin for event in operator.events), START)
    change = next(event for event in operator.events if "from" in event and event["time"] >= begin)
    story.tell(f"{change['mode']}, {1e3 * (change['time'] - begin):.0f} ms after the fault began: {change['message']}")
    end = change["time"] + AFTER
    _wait(operator, lambda: operator.robot_time >= end, "the end of the recording")
    return True


def _is_recorded(operator: Operator) -> bool:
    return "safety_monitor/tick" in operator.diagnostics.get("recorder_node: recording", {}).get("topics heard", "")


def _wait(operator: Operator, condition: Callable[[], bool], what: str) -> None:
    """Wait for as long as the robot's time goes on.

    Raises:
        OperatorError: it stood still for ``STUCK`` s.
    """
    from robolearn_ros.operator import OperatorError

    while True:
        before = operator.robot_time
        try:
            return operator.wait_for(condition, STUCK, what)
        except OperatorError:
            if not operator.robot_time > before:
                raise


def _wait_until(operator: Operator, end: float) -> None:
    """Wait until ``end``, s on the robot's clock, but not longer than the policy is in control."""
    _wait(operator, lambda: operator.robot_time >= end or operator.state != "policy", f"the robot's time {end:.2f} s")


def _reason(operator: Operator) -> str:
    """Return why the policy lost control; the state may be heard before the event that tells it."""
    operator.wait_for(lambda: any(event.get("from") == "policy" for event in operator.events), START, "why it stopped")
    message: str = next(event["message"] for event in reversed(operator.events) if event.get("from") == "policy")
    return message


def _report(out: Path, story: Story) -> Path:
    """Write what happened as a page beside its pictures; its times are those of ``robolearn log``."""
    from robolearn.evaluate.page import card, document, preformatted
    from robolearn.replay import report
    from robolearn.replay.mcap import BagError
    from robolearn.replay.plots import draw
    from robolearn.replay.recording import load
    from robolearn.replay.rerun import rerun
    from robolearn.replay.summary import summarize

    recording = load(out)
    told = "\n".join(f"{time - recording.start:7.2f} s  {text}" for time, text in story.lines)
    pictures = draw(recording, out / "plots")
    try:
        again = report.policy(rerun(recording))
    except BagError as error:  # it never ran
        again = str(error)
    text = f"{report.overview(recording, summarize(recording))}\n\n{again}"
    (out / "rehearsal.txt").write_text(f"{told}\n\n{text}\n", encoding="utf-8")
    images = "\n".join(card(f'<img src="plots/{file.name}" alt="{file.stem}">', file.stem) for file in pictures)
    page = out / "rehearsal.html"
    title = f"Rehearsal of {recording.about.robot}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<h2>What was done</h2>{preformatted(told)}",
        f"<h2>What was recorded</h2>{images}{preformatted(text)}",
    ]
    page.write_text(document(title, parts), encoding="utf-8")
    return page
