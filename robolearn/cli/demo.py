"""The tour behind ``make demo``: train a quadruped for a few minutes, film, measure, export, deploy it, and try it in
other simulators.

Every stage is a `robolearn` command and is printed before it runs, so that each can be repeated by hand.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from robolearn.cli.main import main as robolearn
from robolearn.logging.progress import clock

EXPERIMENT = "a1_velocity_nominal"


def stages(out: str, minutes: float, experiment: str = EXPERIMENT) -> list[tuple[str, list[str]]]:
    """Return title and command line of every stage; ``RUN`` stands for the run folder that training makes."""
    return [
        (
            f"Train: about {minutes:g} minutes",
            ["train", experiment, "--minutes", f"{minutes:g}", "--out", out, "--iterations", "100000"],
        ),
        (
            "Film the walking robot",
            ["play", "RUN", "--out", "RUN/walk.mp4", "--sheet", "RUN/walk.png"],
        ),
        ("Measure it", ["eval", "RUN", "--quick", "--json", "RUN/eval.json"]),
        ("Export it to one file, compared with torch", ["export", "RUN"]),
        ("Check that file as a robot's computer would", ["verify", "RUN/policy.onnx"]),
        (
            "Deploy it: real ROS 2 nodes, a simulated robot, and a fault that the safety monitor must see",
            ["rehearse", "RUN/policy.onnx", "--out", "RUN/rehearsal"],
        ),
        (
            "Does it transfer? The same file in other simulators, disturbed, with a verdict on the policy",
            ["sim2sim", "RUN/policy.onnx", "--out", "RUN/sim2sim"],
        ),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stages, also after one of them failed where that makes sense; return the worst exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/demo", help="folder of the demo's runs")
    parser.add_argument("--minutes", type=float, default=4.0, help="minutes of training")
    args = parser.parse_args(arguments)
    begin, worst, run = time.monotonic(), 0, None
    plan = stages(args.out, args.minutes)
    for number, (title, words) in enumerate(plan, 1):
        words = [word.replace("RUN", str(run)) if run else word for word in words]
        print(f"\n[{number}/{len(plan)}] {title}\n$ robolearn {shlex.join(words)}", flush=True)
        sys.argv = ["robolearn", *words]  # what the run folder notes as its command
        code = robolearn(words)
        if code and run and words[0] == "sim2sim" and (run / "sim2sim/report.html").exists():
            print("The demo did its work: that is the verdict on a policy that trained for minutes, undisturbed.")
            code = 0
        worst = max(worst, code)
        if number == 1:
            if code:
                return code
            run = max(Path(args.out).glob("*/config.yaml"), key=lambda path: path.parent.name).parent
    print(f"\nDone in {clock(time.monotonic() - begin)}. Everything is in {run}/")
    for name, text in (
        ("walk.mp4", "the walking robot"),
        ("walk.png", "frames of it"),
        ("curves.png", "learning curves"),
        ("eval.json", "how well it walks"),
        ("policy.onnx", "the policy for a robot; look into it with: robolearn inspect"),
        ("rehearsal/rehearsal.html", "how it went on the simulated robot: story, plots, recording"),
        ("sim2sim/report.html", "how it does in other simulators, and what breaks it"),
        ("checkpoints", "the policy; go on with: robolearn train --resume"),
        ("config.yaml", "every setting"),
    ):
        if run is not None and (run / name).exists():
            print(f"  {run / name}  {text}")
    return worst


if __name__ == "__main__":
    raise SystemExit(main())
