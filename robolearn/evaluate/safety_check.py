"""The safety check: every fault at random moments must stop the robot in time, and a long walk must not stop at all.

What counts, and how it is measured, is in docs/safety_check.md.
"""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robolearn.deploy.checks import Reaction as Level
from robolearn.deploy.checks import Reason
from robolearn.deploy.inputs import Inputs
from robolearn.deploy.modes import Mode, Request
from robolearn.deploy.policy import OnnxPolicy
from robolearn.deploy.robot import RobotFile
from robolearn.deploy.types import JointCommand
from robolearn.evaluate.deployed import DeployedRobot, calm
from robolearn.evaluate.safety_check_cases import Case, Change
from robolearn.evaluate.safety_check_record import Record, Sample
from robolearn.evaluate.safety_check_truth import NEVER, first_times

ALLOWED = 2
"""Control periods from the moment a condition can be observed to the reaction."""
ROUNDING = 1e-6  # s
AFTER = 10
"""Control periods for which a reaction must last to count."""
IDLE_S, READY_S = 0.2, 0.6
WALK_S = 5.0
COMMAND_S = (1.0, 3.0)
"""s between two velocity commands."""
STANDING = 0.1
"""Share of the commands that ask to stand still."""


@dataclass(frozen=True)
class Outcome:
    """What became of one case.

    Attributes:
        case: its name.
        timeline: number of the run that it branched from.
        moment: s after power-on at which it began.
        mode: in which it began.
        observable: s after the beginning; NaN when it never was.
        periods: from observable to the reaction, in control periods; NaN when there was none.
        reason: recorded for the reaction; empty when there was none.
        problem: why it does not meet the requirement; empty when it does.
    """

    case: str
    timeline: int
    moment: float
    mode: str
    observable: float
    periods: float
    reason: str
    problem: str


class Operator:
    """Has the robot stand up and walk, and asks for random velocities. Everything follows from the seed."""

    def __init__(self, seed: Sequence[int]) -> None:
        self._rng = np.random.default_rng(seed)
        self._ready: float | None = None
        self._command = np.zeros(3)
        self._next = 0.0

    def act(self, world: DeployedRobot, bounds: np.ndarray) -> Inputs:
        """Ask for what is next and return the inputs of this tick; ``bounds`` (C, 2) are those of the policy."""
        controller, now = world.loop.controller, world.now
        if controller.mode is Mode.IDLE and now >= IDLE_S and self._ready is None:
            controller.request(Request.ARM, now)
            controller.request(Request.STAND, now)
        elif controller.mode is Mode.READY:
            self._ready = now if self._ready is None else self._ready
            if now - self._ready >= READY_S:
                controller.request(Request.START_POLICY, now)
                self._next = now
        elif controller.mode is Mode.POLICY and now >= self._next:
            standing = self._rng.random() < STANDING
            drawn = self._rng.uniform(bounds[:, 0], bounds[:, 1])
            self._command = np.zeros(len(bounds)) if standing else drawn
            self._next = now + self._rng.uniform(*COMMAND_S)
        return calm(self._command)


class Run:
    """A robot, its operator, and everything that was seen since it was switched on.

    Attributes:
        world: the robot.
        samples: one for each tick.
    """

    def __init__(self, world: DeployedRobot, operator: Operator) -> None:
        self.world, self._operator = world, operator
        self.samples: list[Sample] = []
        self._bounds = world.policy.setup.command_range

    def branch(self) -> Run:
        """Return an independent run with the same past and, until something goes wrong, the same future."""
        run = Run(self.world.copy(), copy.deepcopy(self._operator))
        run.samples = list(self.samples)
        return run

    def step(self, change: Change | None = None, age: float = 0.0) -> Sample:
        """Go one tick further; ``change`` began ``age`` s ago."""
        inputs = self._operator.act(self.world, self._bounds)
        if change is not None:
            inputs = change(inputs, age)
        mode = self.world.mode
        tick = self.world.tick(inputs)
        self.samples.append(Sample(self.world.now, mode, inputs, tick))
        return self.samples[-1]


def run_timeline(
    policy: OnnxPolicy, robot: RobotFile, cases: Sequence[Case], timeline: int, seed: int
) -> list[Outcome]:
    """Have one robot stand up and walk, and let each case begin in a copy of it, at a random moment of its own.

    Args:
        policy: what walks.
        robot: the robot file.
        cases: what goes wrong.
        timeline: number of this run; it decides in which mode a case begins.
        seed: of everything.
    """
    plan = []
    for case in cases:
        rng = np.random.default_rng([seed, timeline, zlib.crc32(case.name.encode())])
        mode = (*case.modes, case.modes[-1])[timeline % (len(case.modes) + 1)]  # twice as often where it is walking
        plan.append((rng.uniform(*_window(mode, robot)), case, rng))
    run = Run(DeployedRobot(policy, robot, seed=timeline), Operator([seed, timeline]))
    outcomes = []
    for moment, case, rng in sorted(plan, key=lambda entry: entry[0]):
        while run.world.now < moment:
            run.step()
        outcomes.append(run_case(run.branch(), case, rng, timeline))
    return outcomes


def _window(mode: Mode, robot: RobotFile) -> tuple[float, float]:
    """Return from when to when, in s, a robot that nothing happens to is in a mode."""
    ready = IDLE_S + robot.stand.duration
    return {
        Mode.IDLE: (0.0, 0.9 * IDLE_S),
        Mode.STAND: (IDLE_S + 0.05, ready - 0.05),
        Mode.READY: (ready + 0.05, ready + READY_S - 0.05),
        Mode.POLICY: (ready + READY_S + 0.05, ready + READY_S + WALK_S),
    }[mode]


def run_case(run: Run, case: Case, rng: np.random.Generator, timeline: int = 0) -> Outcome:
    """Let a case begin now in ``run`` and say what became of it."""
    world, began, start = run.world, len(run.samples), run.world.now
    mode = world.mode
    change = case.begin(world, rng)
    if case.reaction == "dead-man":
        seen, reacted, reason, problem = _dead_man(run)
    elif case.reaction == "start refused":
        seen, reacted, reason, problem = _refused(run, case)
    else:
        while world.now - start < case.horizon and _reaction(run.samples[-1], case) is None:
            run.step(change, world.now + world.robot.control_dt - start)
        seen, reacted, reason, problem = _judge(run, case, began)
        if not problem and case.reaction != "none":
            problem = _aftermath(run, case, change, start)
    dt = world.robot.control_dt
    observable = math.nan if math.isnan(seen) else (seen - began + 1) * dt
    return Outcome(case.name, timeline, start, mode.value, observable, reacted - seen, reason, problem)


Finding = tuple[float, float, str, str]
"""Ticks of the condition and of the reaction, NaN where there were none; the reason; what is wrong."""


def _damped(command: JointCommand) -> bool:
    return not command.kp.any() and bool((command.kd > 0).all())


def _reaction(sample: Sample, case: Case) -> str | None:
    """Return the recorded reason if the robot reacts in this tick, else None; empty when no reason was recorded."""
    output = sample.tick.output
    if case.reaction == "ramp down":
        given = np.abs(sample.inputs.command)
        fades = (np.abs(output.velocity_command) < given - 1e-9).any() and sample.mode is output.mode is Mode.POLICY
        level = Level.RAMP_DOWN if fades else None
    else:
        stopped = output.mode in (Mode.DAMPING, Mode.ESTOP)
        level = Level.DAMPING if stopped else None
    if level is None:
        return None
    strong = [event.reason for event in output.events if event.reaction >= level]
    return str(max(strong, key=lambda reason: reason is Reason.ESTOP)) if strong else ""


def _judge(run: Run, case: Case, began: int) -> Finding:
    """Compare the reaction at the end of a run with the moment at which it could be seen."""
    last = len(run.samples) - 1
    reason = _reaction(run.samples[last], case)
    if case.reaction == "none":
        return math.nan, math.nan, reason or "", "" if reason is None else f"stopped by {reason}"
    times = _times(run, case, began, ROUNDING)
    if reason is not None and min(times.values()) == NEVER:  # at the limit itself, rounding may go either way
        times = _times(run, case, began, -ROUNDING)
    seen = min(times.values())
    if reason is None:
        if seen == NEVER:
            return math.nan, math.nan, "", f"no expected condition within {case.horizon:g} s"
        return seen, math.nan, "", f"not detected, though {min(times, key=lambda r: times[r])} held"
    if reason not in case.expected:
        return math.nan, math.nan, reason, f"the reason {reason!r} is none that is expected"
    if seen == NEVER:
        return math.nan, math.nan, reason, f"{reason} before any expected condition held"
    return seen, last, reason, f"late: {last - seen} control periods" if last - seen > ALLOWED else ""


def _times(run: Run, case: Case, began: int, slack: float) -> dict[Reason, int]:
    record = Record(run.samples, run.world.robot, run.world.policy.setup, slack)
    return first_times(record, began, case.expected)


def _aftermath(run: Run, case: Case, change: Change | None, start: float) -> str:
    """Say what is wrong with what went to the drives with the reaction and after it; empty when nothing is."""
    world, first = run.world, len(run.samples) - 1
    ramp = case.reaction == "ramp down"
    for _ in range(AFTER + (round(world.robot.command_ramp_time * world.robot.control_hz) if ramp else 0)):
        run.step(change, world.now + world.robot.control_dt - start)
    if ramp:
        output = run.samples[-1].tick.output
        walks_on = output.mode is Mode.POLICY and not output.velocity_command.any()
        return "" if walks_on else "the velocity command did not go to zero, or the robot stopped balancing"
    after = run.samples[first:]
    if not all(_damped(sample.tick.sent) for sample in after):
        return "the drives were not told to damp"
    if case.reaction == "estop" and not all(sample.tick.output.mode is Mode.ESTOP for sample in after):
        return "not an emergency stop"
    return ""


def _refused(run: Run, case: Case) -> Finding:
    """The robot must not be started: ask for it in every tick."""
    world, began = run.world, len(run.samples)
    request = Request.ARM if world.mode is Mode.IDLE else Request.START_POLICY
    warned = False
    for _ in range(ALLOWED + 1):
        sample = run.step()
        warned |= any(event.reason in case.expected for event in sample.tick.output.events)
        answer = world.loop.controller.request(request, world.now)
        if answer.accepted:
            return math.nan, math.nan, "", f"{request} was accepted"
        if any(reason in answer.reason for reason in case.expected):
            low = [s.tick.state is not None and s.tick.state.battery < world.robot.safety.battery.warn
                   for s in run.samples[began:]]  # fmt: skip
            problem = "" if warned else "no event"
            return began + low.index(True), len(run.samples) - 1, str(case.expected[0]), problem
    return math.nan, math.nan, "", "refused for another reason"


def _dead_man(run: Run) -> Finding:
    """The control loop is silent: the driver's own cycle must brake, and a loop that comes back must change nothing."""
    world, last, dt = run.world, run.world.now, run.world.robot.control_dt
    began, seen = len(run.samples), math.nan
    for i in range(round(2.0 * world.robot.command_timeout / dt)):
        world.link.advance(dt)
        sent = world.driver.cycle()
        if math.isnan(seen) and world.now - last >= world.robot.command_timeout - 1e-9:
            seen = began + i
        if sent is not None and _damped(sent):
            fault = world.driver.fault or ""
            back = [run.step() for _ in range(AFTER)]
            damped = all(_damped(sample.tick.sent) for sample in back)
            problem = "" if damped and not math.isnan(seen) else "too early, or moved again"
            return seen, began + i, "dead-man" if "no command" in fault else "", problem
    return seen, math.nan, "", "not detected"
