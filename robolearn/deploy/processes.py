"""Starts the nodes of a bring-up as processes, shows what they say, watches them, and stops them in a safe order.

It needs no ROS installation: a node is ``python -m robolearn_ros.NODE``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

import yaml

from robolearn.deploy.bringup import PACKAGE, NodeSpec, domain_id
from robolearn.deploy.stop_signal import StopSignal
from robolearn.packages import need

STOP_LIMIT = 5.0
"""s that a process has to end after SIGTERM; a node needs 0.2 s. Then it is killed."""
REFUSED = 3
"""Exit code of a node that did not start: a person has to change something first."""
_POLL = 0.1
_REASON = re.compile(r"(error: |\[(ERROR|FATAL)\] \[[\d.]+\] \[[\w.]+\]: )(?P<reason>.+)")
"""A line that says why a node ends, on its own or by ROS 2's logger."""
_LAST_LINES = 5
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Command:
    """A process to start.

    Attributes:
        name: prefix of its lines.
        words: program and arguments.
        essential: all others must not run without it.
    """

    name: str
    words: Sequence[str]
    essential: bool = True


@dataclass(frozen=True)
class Ended:
    """A process that ended though nobody asked it to."""

    name: str
    code: int
    last_lines: tuple[str, ...]

    def __str__(self) -> str:
        if self.code < 0:
            how = f"was killed by {signal.Signals(-self.code).name}"
        else:
            how = "did not start" if self.code == REFUSED else f"ended with exit code {self.code}"
        reasons = [match["reason"] for line in self.last_lines if (match := _REASON.match(line))]
        if reasons and self.code >= 0:
            return f"{self.name} {how}: {reasons[-1].rstrip('.')}"
        last = f"; its last line: {self.last_lines[-1].strip()}" if self.last_lines else " without a word"
        return f"{self.name} {how}{last}"


class _Running:
    """A process, and the thread that reads what it writes."""

    def __init__(self, command: Command, process: subprocess.Popen[str], say: Callable[[str], None]) -> None:
        self.command, self.process, self._say = command, process, say
        self.reported = False
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._reader = threading.Thread(target=self._read, name=f"output of {command.name}", daemon=True)
        self._reader.start()

    def ended(self) -> Ended:
        """Return what became of a process that ended."""
        self._reader.join(1.0)  # its last lines may still be on the way
        return Ended(self.command.name, self.process.returncode, tuple(self._last_lines))

    def stop(self, limit: float) -> None:
        """End it within ``limit`` s."""
        if self.process.poll() is None:
            # Not SIGINT: a Python that has not got as far as its own handlers ends by it with a traceback.
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(limit)
            except subprocess.TimeoutExpired:
                self._say(f"did not end within {limit:g} s and is killed")
                self.process.kill()
                self.process.wait()
        self._reader.join(1.0)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                self._last_lines.append(line.rstrip())
                self._say(line.rstrip())


class Processes:
    """Processes that run together. ``with`` starts them in order, and stops them in the reverse order.

    Each is in a process group of its own, so that Ctrl-C in the terminal reaches only us, and we decide who ends when.
    When we die without having stopped them, the kernel asks them to end (Linux); for this, the thread that starts them
    must live as long as they shall.

    Args:
        commands: what to start.
        environment: of all of them.
        show: is given every line that they write, with the name in front; called from several threads, one at a time.
    """

    def __init__(
        self, commands: Sequence[Command], environment: Mapping[str, str], show: Callable[[str], object] = print
    ) -> None:
        self._commands, self._environment, self._show = commands, dict(environment), show
        self._running: list[_Running] = []
        self._showing = threading.Lock()
        self._width = max((len(command.name) for command in commands), default=0)

    def start(self) -> None:
        """Start all.

        Raises:
            OSError: one of them cannot be started; those before it are stopped again.
        """
        try:
            for command in self._commands:
                self._running.append(self._start(command))
        except BaseException:
            self.stop()
            raise

    def watch(self, stop: StopSignal) -> Ended | None:
        """Wait until an essential process ends, and return what became of it; None once a signal to stop came."""
        while not stop.received:
            time.sleep(_POLL)
            if (ended := self.failed()) is not None:
                return ended
        return None

    def failed(self) -> Ended | None:
        """Return a process that ended, if it is essential or did not start at all; of another, say so."""
        for running in self._running:
            if running.process.poll() is None or running.reported:
                continue
            if running.command.essential or running.process.returncode == REFUSED:
                return running.ended()
            running.reported = True
            self._say(running.command.name, f"{running.ended()}; the robot goes on without it")
        return None

    def pid(self, name: str) -> int:
        """Return the process id of a process by name."""
        return next(running.process.pid for running in self._running if running.command.name == name)

    def stop(self, limit: float = STOP_LIMIT) -> None:
        """End all, the last started first, each within ``limit`` s; what does not end is killed."""
        for running in reversed(self._running):
            running.stop(limit)
        self._running = []

    def __enter__(self) -> Processes:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self, command: Command) -> _Running:
        process = subprocess.Popen(
            command.words,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
            preexec_fn=end_with_parent if _LIBC else None,
        )
        return _Running(command, process, partial(self._say, command.name))

    def _say(self, name: str, line: str) -> None:
        # Perhaps nobody reads any more (deploy | head): nothing is shown then, but the pipes are still emptied, as
        # a full one would hold up its node.
        with self._showing, contextlib.suppress(OSError):
            self._show(f"{name:<{self._width}} | {line}")


@contextmanager
def nodes(
    specs: Sequence[NodeSpec], domain: int | None = None, show: Callable[[str], object] = print
) -> Iterator[Processes]:
    """Run the nodes of a bring-up: started on entry, stopped on exit.

    Args:
        specs: what ``bringup.plan`` returned.
        domain: ROS domain; None: that of the environment.
        show: is given every line that they write.

    Raises:
        ConfigError: something that they need is not installed.
    """
    need("rclpy")
    if any(spec.executable == "sim_node" for spec in specs):
        need("mujoco")
    with tempfile.TemporaryDirectory(prefix="robolearn-") as folder:
        commands = [Command(spec.name, node_words(spec, Path(folder)), spec.essential) for spec in specs]
        with Processes(commands, environment(domain), show) as processes:
            yield processes


def node_words(spec: NodeSpec, folder: Path) -> list[str]:
    """Return the command line of a node; its parameters are written to a file in ``folder``."""
    # Named in full, and last: so it is stronger than whatever stands in the files before it.
    own = folder / f"{spec.name}.yaml"
    full_name = f"{spec.namespace}/{spec.name}"
    own.write_text(yaml.safe_dump({full_name: {"ros__parameters": dict(spec.parameters)}}), encoding="utf-8")
    words = ["-r", f"__node:={spec.name}"]
    for old, new in spec.remappings:
        words += ["-r", f"{old}:={new}"]
    return [*module_words(spec.executable, spec.namespace, (*spec.parameter_files, str(own))), *words]


def module_words(executable: str, namespace: str, parameter_files: Sequence[str]) -> list[str]:
    """Return the command line that runs a node's module in ``namespace`` (empty, or with a leading slash)."""
    words = [sys.executable, "-m", f"{PACKAGE}.{executable}", "--ros-args"]
    if namespace:
        words += ["-r", f"__ns:={namespace}"]
    for file in parameter_files:
        words += ["--params-file", file]
    return words


def environment(domain: int | None = None) -> dict[str, str]:
    """Return the environment of a ROS 2 process: all of ours, and what ROS 2 needs where nothing is set.

    By default nobody outside this computer hears the nodes; ``ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET`` changes that.

    Raises:
        ConfigError: the domain is no valid number.
    """
    found = dict(os.environ)
    found["ROS_DOMAIN_ID"] = str(domain_id(domain))
    found["PYTHONUNBUFFERED"] = "1"
    found.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    found.setdefault("AMENT_PREFIX_PATH", sys.prefix)  # where the wheels are; a ROS installation sets it itself
    return found


def end_with_parent() -> None:
    """In the child, before its program begins: ask the kernel for SIGTERM when the parent dies. Linux only."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
