"""Run the speed benchmarks: each is one script in benchmarks/ and prints what it measured.

robolearn bench --list
robolearn bench stepping
robolearn bench
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
from pathlib import Path

from robolearn.cli.errors import CommandError
from robolearn.config import unknown

FOLDER = Path(__file__).parents[2] / "benchmarks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="benchmark to run; all when left out")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="arguments for that benchmark")
    parser.add_argument("--list", action="store_true", help="show what there is")


def scripts(folder: Path = FOLDER) -> dict[str, str]:
    """Return name and one-line description of every benchmark: a script with a ``__main__`` part."""
    found = {}
    for path in sorted(folder.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "__main__" in text and path.stem != "common":  # that one only makes tables of what the others wrote
            found[path.stem] = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    return found


def run(args: argparse.Namespace) -> int:
    """Run one or all benchmarks, one after the other; return 1 when one failed."""
    found = scripts()
    if not found:
        raise CommandError(f"no benchmarks here: they come with the source tree, in {FOLDER.name}/")
    if args.list:
        width = max(map(len, found))
        print("\n".join(f"{name:<{width}}  {text}" for name, text in found.items()))
        return 0
    if args.name and args.name not in found:
        raise unknown("benchmark", args.name, found)
    failed = []
    for name in [args.name] if args.name else found:
        print(f"== {name}: {found[name]}", flush=True)
        if subprocess.run([sys.executable, str(FOLDER / f"{name}.py"), *args.rest], check=False).returncode != 0:
            failed.append(name)
    if failed:
        raise CommandError(f"failed: {', '.join(failed)}")
    return 0
