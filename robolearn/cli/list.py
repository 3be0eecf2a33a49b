"""Show what there is to train: tasks, robots, experiments; with --terms, the words of the task files.

robolearn list
robolearn list --terms
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--terms", action="store_true", help="reward, cost, termination, ... terms for task files")


def run(args: argparse.Namespace) -> int:
    """Print the lists."""
    if args.terms:
        _terms()
    else:
        _things()
    return 0


def _table(title: str, rows: Iterable[tuple[str, str]]) -> None:
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    print(f"{title}:")
    for name, text in rows:
        print(f"  {name:<{width}}  {text}".rstrip())
    print()


def _first_comment(text: str) -> str:
    line = text.lstrip().splitlines()[0]
    return line.lstrip("# ") if line.startswith("#") else ""


def _things() -> None:
    from robolearn import experiment
    from sim.robots import list_robots, load_robot
    from sim.tasks import config as task_config
    from sim.tasks import list_tasks

    folder = experiment.FOLDER
    _table(
        "experiments",
        (
            (name, _first_comment((folder / f"{name}.yaml").read_text("utf-8")))
            for name in experiment.list_experiments()
        ),
    )
    _table(
        "tasks",
        ((name, _first_comment((task_config.FOLDER / f"{name}.yaml").read_text("utf-8"))) for name in list_tasks()),
    )
    _table("robots", ((name, load_robot(name).describe().partition(": ")[2]) for name in list_robots()))
    print("robolearn train EXPERIMENT, or any pair: robolearn train TASK --robot ROBOT")
    print("robolearn list --terms shows the words of the task files")


def _terms() -> None:
    from sim.observation import TERMS
    from sim.randomization import randomization
    from sim.tasks import cost, reward, termination

    for registry in (reward, cost, termination, randomization):
        _table(f"{registry.kind} terms", ((name, registry.summary(name)) for name in registry))
    _table("observation terms", ((name, f"{term.unit}, from {term.signal}") for name, term in TERMS.items()))
