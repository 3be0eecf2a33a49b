"""Export a trained policy to one ONNX file that carries its contract, after comparing it with torch.

robolearn export                                  the newest run, to policy.onnx in its folder
robolearn export runs/2026-... --out a1.onnx
robolearn export sac.zip --sb3 sac --robot a1 --task velocity_flat      a policy of Stable-Baselines3 (files you trust)
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from robolearn.cli.common import add_run_argument, add_threads_argument, clear_faults, place
from robolearn.cli.errors import EXIT_FAILURE, CommandError

if TYPE_CHECKING:
    from robolearn.export.export import Exportable


POLICY_FILE = "policy.onnx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run_argument(parser)
    parser.add_argument(
        "--out", metavar="FILE", help="file to write, or folder (default: policy.onnx beside the checkpoint)"
    )
    parser.add_argument("--sb3", choices=("ppo", "sac"), help="RUN is a model saved by this algorithm of SB3")
    parser.add_argument("--robot", default="a1", help="(--sb3) the robot it was trained on (default: a1)")
    parser.add_argument("--task", default="velocity_flat", help="(--sb3) its task (default: velocity_flat)")
    parser.add_argument("--action-range", type=float, default=4.0, help="(--sb3) of the adapter (default: 4)")
    parser.add_argument("--seed", type=int, default=1, help="of the roll-outs that are compared (default: 1)")
    add_threads_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Export a policy."""
    from robolearn.deploy.onnx_file import PolicyFileError
    from robolearn.export.export import ParityError, export

    with clear_faults():
        source, path = _find_sb3(args) if args.sb3 else _find_run(args)
        path = Path(args.out) if args.out else path
        path = path / POLICY_FILE if path.is_dir() else path
        print(f"{source.origin}: recording roll-outs ...", flush=True)
        try:
            print(export(source, path, args.seed).text())
        except (ParityError, PolicyFileError) as error:
            raise CommandError(f"nothing was written: {error}", EXIT_FAILURE) from error
    print(f"Look into it with: robolearn inspect {path}")
    return 0


def _find_run(args: argparse.Namespace) -> tuple[Exportable, Path]:
    from robolearn.export.export import from_run
    from robolearn.run_folder import find_run

    found = find_run(args.run)
    found = dataclasses.replace(found, config=place(found.config, "cpu", args.threads))
    return from_run(found), found.folder / POLICY_FILE


def _find_sb3(args: argparse.Namespace) -> tuple[Exportable, Path]:
    import stable_baselines3

    from robolearn.experiment import compose
    from robolearn.export.sb3 import from_sb3

    path = Path(args.run or "")
    if not path.is_file():
        raise CommandError(f"{path}: no such file; --sb3 needs the .zip that model.save() wrote", EXIT_FAILURE)
    config = compose(args.task, robot=args.robot)
    config = place(config, "cpu", args.threads)
    try:
        model = getattr(stable_baselines3, args.sb3.upper()).load(path, device="cpu")
    except Exception as error:  # whatever a damaged archive raises
        raise CommandError(f"{path}: no model of {args.sb3.upper()} ({error})", EXIT_FAILURE) from error
    return from_sb3(model, config, args.action_range), path.with_suffix(".onnx")
