"""What makes a report understood: a film side by side, and where each foreign engine parts from the reference."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from robolearn.evaluate.page import preformatted
from robolearn.evaluate.sim2sim.diagnosis import diagnose
from robolearn.evaluate.sim2sim.film import film_side_by_side
from robolearn.evaluate.sim2sim.report import Extras
from robolearn.evaluate.sim2sim.simulators import REFERENCE, find
from robolearn.evaluate.sim2sim.world import make_world

ROBOTS = 4
"""Robots of a diagnosis."""


def explain(
    policies: Mapping[str, Path], simulators: Sequence[str], folder: Path, say: Callable[[str], object]
) -> Extras:
    """Film each policy in the reference and the foreign engines among ``simulators``, and diagnose these.

    What fails is said in its place; a simulator that crashes does not take the report along.

    Args:
        policies: name to file.
        simulators: those that can run here.
        folder: where films go.
        say: told what is done, as it takes a while.
    """
    foreign = [name for name in simulators if find(name).foreign]
    videos, sections = [], []
    for policy, path in policies.items():
        film = folder / f"{policy.replace('/', '_')}.mp4"
        say(f"{policy}: filming {', '.join([REFERENCE, *foreign])} ...")
        if problem := _apart(_film, film, path, [REFERENCE, *foreign]):
            sections.append((f"Film of {policy}", preformatted(problem)))
        else:
            videos.append((f"{policy} on the same commands", film))
        for simulator in foreign:
            say(f"{policy}: comparing {simulator} with {REFERENCE}, boundary by boundary ...")
            text = _apart(_diagnosis, path, simulator)
            sections.append((f"{policy}: {simulator} against {REFERENCE}", preformatted(text)))
    labels = {name: find(name).label for name in simulators}
    return Extras(labels=labels, videos=videos, sections=sections)


def _apart(function: Callable[..., str], *arguments: object) -> str:
    """Return the text of a function that runs in a process of its own, or what became of it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool:
            return "not done: the process of the simulator ended"
        except Exception as error:
            return f"not done: {type(error).__name__}: {error}"


def _film(film: Path, policy: Path, simulators: Sequence[str]) -> str:
    from robolearn.evaluate.rendering import choose_backend

    choose_backend()  # before MuJoCo is asked to draw
    film_side_by_side(film, policy, simulators)
    return ""


def _diagnosis(policy: Path, simulator: str) -> str:
    reference, candidate = (make_world(policy, name, ROBOTS) for name in (REFERENCE, simulator))
    return diagnose(policy, reference, candidate).text()
