"""What the benchmark runs: which simulators, perturbations, seeds and episodes make ``quick`` and ``full``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from robolearn.config import ConfigError, unknown
from robolearn.deploy.contract import read_contract
from robolearn.deploy.onnx_file import read_file
from robolearn.evaluate.sim2sim.episodes import run_case
from robolearn.evaluate.sim2sim.estimates import is_unsupported
from robolearn.evaluate.sim2sim.perturbations import PERTURBATIONS, Size, size_of
from robolearn.evaluate.sim2sim.results import JOINT, NOMINAL, Case, CaseResult, Experiment, ResultFile
from robolearn.evaluate.sim2sim.simulators import REFERENCE, SIMULATORS, find, missing
from robolearn.evaluate.sim2sim.spread import Spread
from sim.robots import load_robot

RESULTS = "results.jsonl"
"""File of the results in the folder of a benchmark."""
MANIFEST = "benchmark.json"
"""File that says what the results in the folder are of."""


@dataclass(frozen=True)
class Suite:
    """How much is run.

    Attributes:
        name: ``quick`` or ``full``.
        simulators: the first is the one that the others are compared with.
        dense: simulators in which perturbations are applied one at a time, with every value.
        sparse: those in which they are, with the few quick values and ``sparse_episodes``.
        seeds: number of seeds, from 0.
        episodes: episodes of each seed.
        sparse_episodes: episodes of each seed for the curves of ``sparse`` simulators, the first ones.
        share: experiments of one case in an engine other than MuJoCo: it is slow, and may crash and take its case with
            it. In MuJoCo, where twenty robots take little longer than one, a case holds all experiments.
        explained: with a film, and a diagnosis of each foreign engine.
    """

    name: str
    simulators: tuple[str, ...]
    dense: tuple[str, ...]
    sparse: tuple[str, ...]
    seeds: int
    episodes: int
    sparse_episodes: int
    share: int
    explained: bool = False


SUITES: Mapping[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(
            "quick",
            simulators=(REFERENCE, "mujoco-elliptic", "mujoco-soft", "mujoco-motor", "pybullet", "drake"),
            dense=(),
            sparse=(REFERENCE,),
            seeds=3,
            episodes=2,
            sparse_episodes=2,
            share=3,
        ),
        Suite(
            "full",
            simulators=tuple(SIMULATORS),
            dense=(REFERENCE,),
            sparse=("pybullet", "drake"),
            seeds=5,
            episodes=4,
            sparse_episodes=1,
            share=5,
            explained=True,
        ),
    )
}


def find_suite(name: str) -> Suite:
    """Return a suite by name.

    Raises:
        ConfigError: there is none; the message gives the nearest name.
    """
    if name not in SUITES:
        raise unknown("suite", name, SUITES)
    return SUITES[name]


def name_policies(paths: Sequence[Path]) -> dict[str, Path]:
    """Return a short, distinct name for each policy file: that of its folder where files are all called the same.

    Raises:
        ConfigError: a file is given twice.
    """
    resolved = [path.resolve() for path in paths]
    if len(set(resolved)) != len(resolved):
        raise ConfigError("a policy file is given twice")
    for depth in range(1, max(len(path.parts) for path in resolved) + 1):
        names = [_short(path, depth) for path in resolved]
        if len(set(names)) == len(names):
            break
    return dict(zip(names, paths, strict=True))


def _short(path: Path, depth: int) -> str:
    parts = path.with_suffix("").parts
    named = parts[:-1] if parts[-1] == "policy" and len(parts) > 1 else parts
    return "/".join(named[-depth:])


def cases_of(
    suite: Suite, policies: Sequence[str], simulators: Sequence[str], sizes: Mapping[str, Size] | None = None
) -> list[Case]:
    """Return every case of a suite, in the order of reports.

    Args:
        suite: the suite.
        policies: names of the policies.
        simulators: those that can run here.
        sizes: of the robot of each policy; that of the A1 where it is not given.
    """
    sizes = sizes or {}
    everything = _experiments(suite, suite.episodes)
    few = _experiments(suite, suite.sparse_episodes)
    found = []
    for simulator in simulators:
        conditions = [(NOMINAL, 0.0, everything), (JOINT, 0.0, everything)]
        for name, perturbation in PERTURBATIONS.items():
            if simulator in suite.dense:
                conditions += [(name, value, everything) for value in perturbation.full]
            elif simulator in suite.sparse:
                conditions += [(name, value, few) for value in perturbation.quick]
        share = len(everything) if _fast(simulator) else suite.share
        found += [
            Case(
                policy,
                simulator,
                name,
                _sized(name, value, sizes.get(policy)),
                tuple(experiments[first : first + share]),
            )
            for name, value, experiments in conditions
            for policy in policies
            for first in range(0, len(experiments), share)
        ]
    return found


def _sized(name: str, value: float, size: Size | None) -> float:
    return PERTURBATIONS[name].scaled(value, size) if size and name in PERTURBATIONS else value


def _sizes(policies: Mapping[str, Path]) -> dict[str, Size]:
    return {name: size_of(load_robot(read_contract(path)[0].robot.name)) for name, path in policies.items()}


def _experiments(suite: Suite, episodes: int) -> list[Experiment]:
    return [(seed, episode) for seed in range(suite.seeds) for episode in range(episodes)]


def _fast(simulator: str) -> bool:
    return find(simulator).engine == "mujoco"


def _turn(case: Case) -> tuple[bool, bool]:
    """Sort by it: first what every figure needs; of that, slow engines, so that no process is left with one."""
    return case.perturbation not in (NOMINAL, JOINT), _fast(case.simulator)


def count(suite: Suite, policies: Mapping[str, Path], simulators: Sequence[str]) -> int:
    """Return the number of cases that ``run`` runs."""
    return len(cases_of(suite, list(policies), _able(simulators)))  # a robot's size changes values, not their number


def _able(simulators: Sequence[str]) -> list[str]:
    return [name for name in simulators if not missing(find(name))]


def absent(simulators: Sequence[str]) -> dict[str, str]:
    """Return the simulators that cannot run here, with the reason."""
    return {name: reason for name in simulators if (reason := missing(find(name)))}


def run(
    suite: Suite,
    policies: Mapping[str, Path],
    simulators: Sequence[str],
    folder: Path,
    spread: Spread,
    report: Callable[[int, CaseResult], None],
) -> list[CaseResult]:
    """Run what is not yet in ``folder``, and return the results of all cases.

    Args:
        suite: the suite.
        policies: name to file.
        simulators: in which; those that are missing here are left to the caller to show.
        folder: where results are kept. Running again goes on where an interrupted run ended.
        spread: runs the cases, in processes of this machine or on several machines.
        report: called with the number of cases that are done, and each result.

    Raises:
        ConfigError: the folder holds results of something else.
        PolicyFileError: a policy file cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, suite, policies)
    file = ResultFile(folder / RESULTS)
    cases = cases_of(suite, list(policies), _able(simulators), _sizes(policies))
    wanted = set(cases)
    done = {result.case: result for result in file if result.case in wanted and not _worth_another_try(result)}
    left = sorted((case for case in cases if case not in done), key=_turn)
    # Policies travel as bytes: another machine does not have the file, and here it may change meanwhile.
    work = partial(_work, {name: read_file(path) for name, path in policies.items()})
    with closing(spread(left, work)) as results:
        for result in results:
            file.append([result])
            done[result.case] = result
            report(len(done), result)
    return [done[case] for case in cases]


def _worth_another_try(result: CaseResult) -> bool:
    """A simulator that failed may have been killed from outside; one that cannot do something will not learn it."""
    return bool(result.error) and not is_unsupported(result)


def _work(policies: Mapping[str, bytes], case: Case) -> CaseResult:
    return run_case(case, policies[case.policy])


def _claim(folder: Path, suite: Suite, policies: Mapping[str, Path]) -> None:
    """Write down what the folder holds, or refuse to mix it with something else."""
    ours = {"suite": asdict(suite), "policies": {name: read_contract(path)[1] for name, path in policies.items()}}
    path = folder / MANIFEST
    text = json.dumps(ours, indent=2)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise ConfigError(
            f"{folder} holds results of another suite or of other policy files: give another folder with --out, or "
            "delete it"
        )
    path.write_text(text, encoding="utf-8")
