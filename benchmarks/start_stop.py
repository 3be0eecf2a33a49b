"""Start and stop the whole ROS 2 stack again and again (20 times), and see whether anything is ever left or fails.

Each turn starts ``robolearn deploy --sim`` in a new process, waits until the safety monitor says "idle", lets the robot
stand up in every other turn, ends it as Ctrl-C does, and looks at the exit code and at what the nodes wrote.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import Report, finish, parse, parser

from robolearn.packages import missing

LIMIT = 120.0
POLICY = Path(__file__).parents[1] / "policies" / "a1_velocity_flat" / "policy.onnx"
TROUBLE = ("Traceback", "terminate called", "is killed", "Aborted")


def turn(folder: Path, stand: bool) -> dict[str, Any]:
    """Start, perhaps stand, stop; return what it took, and what went wrong (empty when nothing did)."""
    from robolearn_ros.operator import Operator, OperatorError

    words = ["deploy", "--sim", "--policy", str(POLICY), "--latch", str(folder / "latch")]
    problem, idle = "", float("nan")
    begin = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "robolearn.cli.main", *words, "sim_node.real_time_factor=0.0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        with Operator() as operator:
            operator.wait_for_state("idle", LIMIT)
            idle = time.monotonic() - begin
            if stand:
                end = time.monotonic() + LIMIT
                while not operator.request("arm").accepted and time.monotonic() < end:
                    pass
                operator.request("stand")
                operator.wait_for_state("ready", LIMIT)
    except OperatorError as error:
        problem = str(error)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=LIMIT)
    stopped = time.monotonic() - begin
    if process.returncode != 0:
        problem = problem or f"exit code {process.returncode}"
    problem = problem or next((word for word in TROUBLE if word in output), "")
    if problem:
        print(output, file=sys.stderr)
    return {"idle": idle, "stop": stopped, "problem": problem}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return 1 when a turn failed."""
    options = parse(parser(__doc__), arguments)
    try:
        import rclpy  # noqa: F401
    except ModuleNotFoundError:
        print(f"start_stop: {missing('rclpy')}")
        return 0
    rounds = options.rounds or (2 if options.quick else 20)
    os.environ.setdefault("ROS_DOMAIN_ID", "99")
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
    with tempfile.TemporaryDirectory() as folder:
        turns = [turn(Path(folder), stand=number % 2 == 1) for number in range(rounds)]
    report = Report("start_stop", {"turns": rounds, "nodes": 3, "threads": options.threads}, "s")
    for name, what in (("idle", "from the command to 'idle'"), ("stop", "from Ctrl-C to the end")):
        values = [one[name] for one in turns]
        report.rows.append({
            "what": what,
            "median, s": f"{statistics.median(values):.2f}",
            "longest, s": f"{max(values):.2f}",
            "failed turns": sum(bool(one["problem"]) for one in turns),
        })  # fmt: skip
    report.notes += [f"turn {number}: {one['problem']}" for number, one in enumerate(turns, 1) if one["problem"]]
    finish(report, options)
    return int(any(one["problem"] for one in turns))


if __name__ == "__main__":
    sys.exit(main())
