"""Say how well exported policies transfer to other simulators, how sure that is, and where they break.

Every simulator runs the same task, the same file through the same runtime that goes on the robot, and the same command
scripts. An interrupted run goes on where it ended. docs/sim2sim.md says what every figure means.

robolearn sim2sim policies/a1_velocity_flat/policy.onnx
robolearn sim2sim a/policy.onnx b/policy.onnx --suite full --processes 8 --out results/transfer
robolearn sim2sim policy.onnx --sims mujoco pybullet drake
robolearn sim2sim policy.onnx --suite full --ray head:6379
robolearn sim2sim policy.onnx --set budget=0.7
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from robolearn.cli.common import add_set_argument
from robolearn.cli.errors import EXIT_FAILURE, CommandError
from robolearn.config import ConfigError, parse_settings

if TYPE_CHECKING:
    from robolearn.evaluate.sim2sim.results import CaseResult
    from robolearn.evaluate.sim2sim.spread import Spread
    from robolearn.evaluate.sim2sim.verdict import Thresholds

THRESHOLDS = "sim2sim.yaml"
"""File beside a policy with what it must reach."""
PROCESSES = 2
SET = "set"
"""Folder of the policy files with the settings of ``--set``, within that of the results."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("policies", nargs="*", type=Path, metavar="POLICY", help="policy files (.onnx)")
    parser.add_argument("--suite", default="quick", help="quick (minutes) or full (default: quick)")
    parser.add_argument(
        "--sims", nargs="+", metavar="SIM", help="only these simulators, the reference is always run; list shows them"
    )
    parser.add_argument("--processes", type=int, metavar="N", help=f"cases at a time, here (default: {PROCESSES})")
    parser.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="spread the cases with Ray over the cluster there (HOST:PORT, ray://HOST:PORT, auto), or on this machine",
    )
    add_set_argument(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where results go (default: sim2sim/SUITE)")
    parser.add_argument(
        "--thresholds",
        type=Path,
        metavar="FILE",
        help=f"YAML file of what must be reached (default: {THRESHOLDS} beside the first policy, if it is there)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the benchmark; fails when a policy does not reach its thresholds."""
    from robolearn.deploy.contract import read_contract
    from robolearn.deploy.onnx_file import PolicyFileError
    from robolearn.evaluate.sim2sim import suite as suites
    from robolearn.evaluate.sim2sim.explain import explain
    from robolearn.evaluate.sim2sim.perturbations import PERTURBATIONS
    from robolearn.evaluate.sim2sim.report import Extras, provenance, write_report
    from robolearn.evaluate.sim2sim.simulators import REFERENCE, SIMULATORS, find
    from robolearn.evaluate.sim2sim.summary import summarise
    from robolearn.evaluate.sim2sim.table import table, write_episodes, write_estimates, write_json
    from robolearn.evaluate.sim2sim.verdict import verdict
    from robolearn.logging.progress import RunProgress, Shown

    if args.sims == ["list"]:
        print("\n".join(f"{name:<18} {one.label}" for name, one in SIMULATORS.items()))
        return 0
    spread = _spread(args.processes, args.ray)
    if not args.policies:
        raise CommandError("give at least one policy file, such as policies/a1_velocity_flat/policy.onnx")
    suite = suites.find_suite(args.suite)
    chosen = [find(name).name for name in args.sims or suite.simulators]
    simulators = list(dict.fromkeys([REFERENCE, *chosen]))
    thresholds = _thresholds(args.thresholds, args.policies[0])
    policies = suites.name_policies(args.policies)
    folder = args.out or Path("sim2sim") / suite.name
    if settings := parse_settings(args.set):
        policies = {name: _with_settings(path, settings, folder / SET / name) for name, path in policies.items()}
    absent = suites.absent(simulators)
    for name, reason in absent.items():
        print(f"not run: {name}: {reason}")
    total = suites.count(suite, policies, simulators)
    shown = (Shown("survived", "survived", ".0%"), Shown("failed", "failed", ".0f"))
    try:
        with RunProgress("transfer", total, shown) as progress:
            seen = _Seen()

            def report(done: int, result: CaseResult) -> None:
                progress.update(done, seen.add(result))

            results = suites.run(suite, policies, simulators, folder, spread, report)
    except PolicyFileError as error:
        raise CommandError(str(error), EXIT_FAILURE) from error
    foreign = [name for name in simulators if find(name).foreign]
    summary = summarise(results, REFERENCE, PERTURBATIONS, thresholds, absent, foreign)
    write_json(summary, folder / "estimates.json")
    write_estimates(summary, PERTURBATIONS, folder / "estimates.csv")
    write_episodes(results, folder / "episodes.csv")
    hashes = {name: read_contract(path)[1] for name, path in policies.items()}
    origin = provenance(["robolearn", *sys.argv[1:]], hashes)
    if suite.explained:
        extras = explain(policies, [name for name in simulators if name not in absent], folder, print)
    else:
        extras = Extras(labels={name: find(name).label for name in simulators})
    write_report(folder / "report.html", summary, PERTURBATIONS, origin, extras)
    print(f"\n{table(summary, PERTURBATIONS)}\nReport: {folder / 'report.html'}")
    if missed := verdict(summary.estimates, thresholds, REFERENCE):
        raise CommandError(f"{len(missed)} thresholds are not met", EXIT_FAILURE)
    return 0


def _spread(processes: int | None, ray: str | None) -> Spread:
    """Return what runs the cases."""
    from robolearn.evaluate.sim2sim import cluster
    from robolearn.evaluate.sim2sim.spread import spread

    if processes is not None and processes < 1:
        raise CommandError(f"--processes {processes}: must be at least 1")
    if ray is None:
        return partial(spread, processes=processes or PROCESSES)
    if ray.endswith(".onnx"):
        raise CommandError(f"--ray {ray}: that is a policy file; give the policies first, then --ray")
    if ray != cluster.LOCAL and processes is not None:
        raise CommandError("--processes: a cluster runs as many cases at a time as it has CPUs; leave it out")
    return partial(cluster.spread, address=ray, processes=processes or PROCESSES)


def _with_settings(path: Path, settings: Mapping[str, float], folder: Path) -> Path:
    """Return a copy of a policy file in ``folder``, with these settings as its defaults: a policy of its own."""
    from robolearn.deploy.contract import with_defaults
    from robolearn.deploy.onnx_file import PolicyFileError, read_file, write_file

    try:
        data = with_defaults(read_file(path), settings)
    except PolicyFileError as error:
        raise CommandError(str(error) if str(path) in str(error) else f"{path}: {error}", EXIT_FAILURE) from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "policy.onnx", data)
    return folder / "policy.onnx"


class _Seen:
    """What the progress line shows."""

    def __init__(self) -> None:
        from robolearn.evaluate.sim2sim.estimates import is_unsupported

        self._is_unsupported = is_unsupported
        self._episodes = self._survived = self._failed = 0.0

    def add(self, result: CaseResult) -> dict[str, float]:
        self._failed += bool(result.error) and not self._is_unsupported(result)
        if "fell" in result.measures:
            self._episodes += len(result.measures["fell"])
            self._survived += float((1 - result.measures["fell"]).sum())
        share = self._survived / self._episodes if self._episodes else 0.0
        return {"survived": share, "failed": self._failed}


def _thresholds(given: Path | None, policy: Path) -> Thresholds:
    from robolearn.config import load_yaml, parse
    from robolearn.evaluate.sim2sim.verdict import Thresholds

    path = given or policy.with_name(THRESHOLDS)
    if given is None and not path.exists():
        return Thresholds()
    return parse(Thresholds, load_yaml(path), str(path))
