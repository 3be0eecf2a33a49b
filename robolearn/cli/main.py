"""Entry point of the ``robolearn`` command: finds the sub-command, runs it, and turns faults into one clear line."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from robolearn.cli.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_USAGE, CommandError
from robolearn.config import ConfigError, nearest
from robolearn.evaluate.rendering import choose_backend
from robolearn.packages import MissingPackageError, missing
from robolearn.version import __version__

COMMANDS = {
    "list": "tasks, robots, experiments, and the reward, cost and observation terms",
    "train": "train a policy for a task on a robot",
    "budget-search": "find the smallest budget of a constraint that costs neither tracking nor survival",
    "play": "watch a trained policy: viewer window, browser, or video",
    "eval": "measure a trained policy; with --report, write its complete report",
    "compare": "set trained runs side by side: cost against reward, learning curves, gaits",
    "export": "write a trained policy as one ONNX file with its contract inside",
    "inspect": "show what a policy file says about itself",
    "verify": "check a policy file: seal, contract, graph, golden pairs",
    "deploy": "start the ROS 2 nodes of a robot, simulated or real, and stop them safely",
    "request": "ask a running robot to arm, stand, start_policy, stop, estop or reset",
    "set": "set what the policy of a running robot lets its operator set, such as an energy budget",
    "teleop": "steer a running robot with keyboard or gamepad",
    "log": "tell what happened in a recording of a robot, and run its policy again",
    "safety-check": "inject every fault and walk for an hour: is the robot stopped in time, and only then",
    "sim2sim": "run policy files in other simulators and under perturbations: what is left, and where they break",
    "sim2sim-deployed": "run episodes of it through the ROS 2 nodes: whether they do what the benchmark measures",
    "rehearse": "run a policy on the simulated robot with the real ROS 2 nodes, through a fault, and report",
    "replay": "run a divergence dump again and say where it breaks",
    "bench": "run the speed benchmarks",
    "config": "show the resolved configuration of an experiment, or explain its fields",
}


class Command(Protocol):
    """What a module of this package offers. Its heavy imports live inside ``run``."""

    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without repeating the whole usage."""

    def error(self, message: str) -> None:  # type: ignore[override]
        print(f"{self.prog}: error: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(EXIT_USAGE)


def load_command(name: str) -> Command:
    """Import the module of one sub-command."""
    return cast(Command, importlib.import_module(f"robolearn.cli.{name.replace('-', '_')}"))


def command_parser(name: str) -> argparse.ArgumentParser:
    """Return the argument parser of one sub-command."""
    command = load_command(name)
    parser = _Parser(
        prog=f"robolearn {name}",
        description=command.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    return parser


def parse(name: str, words: Sequence[str]) -> argparse.Namespace:
    """Parse the words after a sub-command; options and ``KEY=VALUE`` may come in any order.

    Raises:
        SystemExit: wrong words (code 2, after one line on stderr), or ``--help`` (code 0).
    """
    parser = command_parser(name)
    if any(action.nargs == argparse.REMAINDER for action in parser._actions):
        return parser.parse_args(words)
    return parser.parse_intermixed_args(words)


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    return f"usage: robolearn COMMAND ...\n\ncommands:\n{lines}\n\nrobolearn COMMAND --help explains one of them."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong input, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"robolearn {__version__}")
        return 0
    name = words[0]
    if name not in COMMANDS:
        return _fail(f"unknown command {name!r}.{nearest(name, COMMANDS)}", EXIT_USAGE)
    args = parse(name, words[1:])
    # Threads of torch that wait for each other soon sleep instead of spinning: beside another busy process an update
    # was measured 7 times slower with the default. It must be set before torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        choose_backend()
        return load_command(name).run(args)
    except MissingPackageError as error:
        return _fail(str(error), EXIT_FAILURE)
    except ConfigError as error:
        return _fail(str(error), EXIT_USAGE)
    except CommandError as error:
        return _fail(str(error), error.code)
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe (head, less) closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        if error.errno == errno.ENOSPC:
            place = f" while writing {error.filename}" if error.filename else ""
            return _fail(f"the disk is full{place}; free some space or choose another folder with --out", EXIT_FAILURE)
        if error.filename and error.errno in (errno.EACCES, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
            return _fail(f"{error.filename}: {error.strerror}", EXIT_FAILURE)
        raise
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package in ("robolearn", "sim"):
            raise
        return _fail(missing(package), EXIT_FAILURE)


def _fail(message: str, code: int) -> int:
    if code == EXIT_USAGE and os.environ.get("RANK", "0") != "0":
        return code  # all processes of a torchrun see the same wrong input: one of them says so
    print(f"robolearn: error: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
