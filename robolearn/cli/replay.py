"""Run a divergence dump again in plain MuJoCo and say where its simulations break.

Training writes ``divergence_1.npz``, ... beside the checkpoints when the state of an environment stops being finite.

robolearn replay runs/RUN/checkpoints/divergence_1.npz
"""

from __future__ import annotations

import argparse

from robolearn.cli.errors import CommandError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("dump", metavar="FILE", help="the divergence_N.npz file")


def run(args: argparse.Namespace) -> int:
    """Print one line for each recorded environment; return 0."""
    from sim.engines.dump import DumpError, load_dump, replay_dump

    try:
        dump = load_dump(args.dump)
        print(f"{args.dump}: {len(dump.ids)} environments, {len(dump.states['qpos'])} records. {dump.reason}")
        for replay in replay_dump(args.dump):
            print(f"  {replay}")
    except DumpError as error:
        raise CommandError(str(error)) from error
    return 0
