"""The whole safety check, divided among processes: the matrix of faults and the nominal walks."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import lru_cache

from robolearn.deploy.policy import OnnxPolicy
from robolearn.deploy.processes import end_with_parent
from robolearn.deploy.robot import RobotFile, load_robot_file
from robolearn.evaluate.safety_check import Outcome, run_timeline
from robolearn.evaluate.safety_check_cases import CASES
from robolearn.evaluate.safety_check_walk import Walk, walk

WALK_MINUTES = 2.0
"""Of one nominal walk; many short ones share the work evenly."""


@dataclass(frozen=True)
class Suite:
    """What to check.

    Attributes:
        policy: path of the policy file.
        robot: name or path of the robot file.
        cases: names of what goes wrong.
        moments: how many random moments of each.
        minutes: of nominal walking.
        seed: of everything.
    """

    policy: str
    robot: str = "a1"
    cases: tuple[str, ...] = tuple(CASES)
    moments: int = 20
    minutes: float = 60.0
    seed: int = 0


@dataclass
class Result:
    """What came out.

    Attributes:
        suite: what was checked.
        outcomes: of the matrix, one for each case and moment.
        walks: the nominal ones.
    """

    suite: Suite
    outcomes: list[Outcome] = field(default_factory=list)
    walks: list[Walk] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        """One line for each case that does not meet the requirement, and for each false stop."""
        cases = [f"{o.case} at {o.moment:.2f} s ({o.mode}): {o.problem}" for o in self.outcomes if o.problem]
        stops = [(walk.seed, trip) for walk in self.walks for trip in walk.trips if not trip.fell]
        return cases + [f"false stop in walk {seed} at {trip.time:.2f} s: {trip.message}" for seed, trip in stops]


Part = tuple[str, int, float]
"""``faults`` and the number of a timeline, or ``walk`` and the number of a walk; seconds of the walk."""


def parts(suite: Suite) -> list[Part]:
    """Divide a suite into parts that are independent of each other."""
    timelines: list[Part] = [("faults", i, 0.0) for i in range(suite.moments)] if suite.cases else []
    walks: list[Part] = []
    left = suite.minutes
    while left > 1e-9:
        walks.append(("walk", len(walks), 60.0 * min(left, WALK_MINUTES)))
        left -= WALK_MINUTES
    return timelines + walks


@lru_cache(maxsize=1)
def _load(policy: str, robot: str) -> tuple[OnnxPolicy, RobotFile]:
    return OnnxPolicy(policy), load_robot_file(robot)


def run_part(suite: Suite, part: Part) -> list[Outcome] | Walk:
    """Run one part; nothing in it depends on another one."""
    kind, index, seconds = part
    policy, robot = _load(suite.policy, suite.robot)
    if kind == "walk":
        return walk(policy, robot, 1000 * suite.seed + index, seconds)
    return run_timeline(policy, robot, [CASES[name] for name in suite.cases], index, suite.seed)


def run(suite: Suite, jobs: int, report: Callable[[int, Result], None]) -> Result:
    """Run a suite.

    Args:
        suite: what to check.
        jobs: number of processes.
        report: called after each part with the number of parts done and the result so far.

    Raises:
        ConfigError: there is no such robot, or the policy does not fit it.
        PolicyFileError: the policy file cannot be used.
    """
    _load(suite.policy, suite.robot)  # what is wrong with them is said here and at once
    result = Result(suite)
    for done, found in enumerate(_results(suite, parts(suite), jobs), 1):
        if isinstance(found, Walk):
            result.walks.append(found)
        else:
            result.outcomes += found
        report(done, result)
    order = {name: i for i, name in enumerate(suite.cases)}
    result.outcomes.sort(key=lambda outcome: (order[outcome.case], outcome.timeline))
    result.walks.sort(key=lambda found: found.seed)
    return result


def _results(suite: Suite, todo: Sequence[Part], jobs: int) -> Iterator[list[Outcome] | Walk]:
    if jobs == 1:
        for part in todo:
            yield run_part(suite, part)
        return
    # Workers end with this process, however it ends: a part takes minutes, and what is done is in the report already.
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), end_with_parent) as pool:
        waiting = [pool.submit(run_part, suite, part) for part in todo]
        try:
            for future in as_completed(waiting):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
