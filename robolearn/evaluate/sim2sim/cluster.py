"""Many cases over many machines: what ``spread`` does with processes, done by Ray, with one task and CPU for each case.

Every machine needs this package with the same simulators. Policies travel with the cases, results come back and are
written by whoever asked.
"""

from __future__ import annotations

import logging
import os
import platform
import secrets
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from robolearn.config import ConfigError
from robolearn.evaluate.sim2sim.results import Case, CaseResult
from robolearn.evaluate.sim2sim.simulators import versions
from robolearn.evaluate.sim2sim.spread import Results, Work, attempt
from robolearn.packages import need

LOCAL = "local"
"""Address of a Ray instance that lives as long as the command, on this machine."""


def spread(cases: Sequence[Case], work: Work, address: str, processes: int) -> Results:
    """Give the result of every case, in the order in which they end; ``details`` say on which ``host``.

    Args:
        cases: what is to be done, in this order.
        work: does it; it and all that it holds is sent to each machine once.
        address: of the cluster, as ``ray.init`` takes it, or ``LOCAL``.
        processes: at most so many at a time on a local instance; a cluster runs as many as it has CPUs.

    Raises:
        ConfigError: Ray is not installed or not to be reached, or a machine cannot take part.
    """
    if not cases:
        return
    with _connected(address, processes) as ray:
        task = ray.remote(num_cpus=1, max_retries=0)(_do)
        sent = ray.put(work)
        running = {task.remote(sent, case, versions()): case for case in cases}
        while running:
            (reference,), _ = ray.wait(list(running))
            yield _take(ray, reference, running.pop(reference))


def _do(work: Work, case: Case, wanted: Mapping[str, str]) -> CaseResult:
    """Run a case in a process of Ray. Only what makes a whole machine useless is raised."""
    import torch

    host = platform.node()
    if (found := versions()) != wanted:
        differ = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
        pairs = (f"{name} {found.get(name, 'not installed')} instead of {wanted.get(name, 'none')}" for name in differ)
        raise ConfigError(f"{host} has {', '.join(pairs)}")
    torch.set_num_threads(1)
    result = attempt(work, case)
    return replace(result, details={**result.details, "host": host})


def _take(ray: Any, reference: Any, case: Case) -> CaseResult:
    known = ray.exceptions
    try:
        return ray.get(reference)
    except (known.WorkerCrashedError, known.OutOfMemoryError, known.NodeDiedError, known.ObjectLostError) as error:
        return CaseResult(case, error=f"the simulator's process ended: {type(error).__name__}: {_line(error)}")
    except known.RayError as error:
        raise ConfigError(f"a machine cannot run cases: {_line(getattr(error, 'cause', None) or error)}") from error


def _line(error: object) -> str:
    """The first sentence: Ray's messages go on for a page."""
    return str(error).strip().partition("\n")[0].partition(". ")[0]


@contextmanager
def _connected(address: str, processes: int) -> Iterator[Any]:
    """Return the module ``ray``, connected to a cluster, or to an instance that ends with the context.

    With the connection ends whatever still runs.
    """
    need("ray")
    if address not in (LOCAL, "auto"):
        _knock(address)
    with tempfile.TemporaryDirectory(prefix="robolearn-ray-") as folder:
        options: dict[str, Any] = {}
        if address == LOCAL:
            # Ray reads these when it is imported: nothing is reported to its makers, every port is bound to the
            # loopback address, and only who knows the token may use it.
            os.environ |= {
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
                "RAY_AUTH_MODE": "token",
            }
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            options = {"num_cpus": processes, "include_dashboard": False, "_temp_dir": folder}
        import ray

        others = _children()
        try:
            try:
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)
            except Exception as error:  # where it does not start in time it raises just that
                raise ConfigError(f"--ray {address}: {_line(error)}") from error
            yield ray
        finally:
            ours = _children() - others
            ray.shutdown()
            _end(ours)  # on a busy machine some outlive it, and write to the folder


def _children() -> set[Any]:
    import psutil  # comes with Ray

    return set(psutil.Process().children(recursive=True))


def _end(processes: Iterable[Any]) -> None:
    import psutil

    _, alive = psutil.wait_procs(processes, timeout=10)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=10)


def _knock(address: str) -> None:
    """Fail at once where nobody answers: Ray tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        raise ConfigError(f"--ray {address}: not an address of a cluster; give HOST:PORT, ray://HOST:PORT or auto")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise ConfigError(f"--ray {address}: nobody answers ({error}); is the cluster up?") from error
