"""Check a policy file: seal, contract, graph, and its golden pairs through ONNX Runtime. Says pass, or why not.

robolearn verify policies/a1_velocity_flat/policy.onnx
"""

from __future__ import annotations

import argparse

from robolearn.cli.errors import EXIT_FAILURE, CommandError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", metavar="FILE", nargs="+", help="policy files (.onnx)")


def run(args: argparse.Namespace) -> int:
    """Verify policies; the worst decides the exit code."""
    from robolearn.deploy.onnx_file import PolicyFileError
    from robolearn.deploy.policy import TOLERANCE, OnnxPolicy

    failed = []
    for file in args.file:
        try:
            policy = OnnxPolicy(file)
        except PolicyFileError as error:
            failed.append(str(error))
            print(f"FAIL  {error}")
            continue
        count = len(policy.contract.golden)
        print(f"pass  {file}: seal, contract and graph fit; {count} golden pairs agree within {TOLERANCE:g}")
    if failed:
        raise CommandError(f"{len(failed)} of {len(args.file)} files must not be used", EXIT_FAILURE)
    return 0
