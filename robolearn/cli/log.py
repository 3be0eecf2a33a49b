"""Tell what happened in a recording of a robot, and run its policy (and controller) again over it.

robolearn log recordings
robolearn log recordings/RECORDING --plots plots --decide
robolearn log recordings/RECORDING --policy other.onnx
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from robolearn.cli.errors import EXIT_FAILURE, CommandError
from robolearn.config import ConfigError

if TYPE_CHECKING:
    from robolearn.replay.decisions import Decisions
    from robolearn.replay.recording import Recording
    from robolearn.replay.rerun import Rerun


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("bag", metavar="BAG", help="a recording, or a folder of recordings: its newest")
    parser.add_argument("--policy", metavar="FILE", help="policy to run again (.onnx); default: the one that ran")
    parser.add_argument("--plots", metavar="FOLDER", help="also draw joints, base, commands and timing as PNG")
    parser.add_argument(
        "--span", nargs=2, type=float, metavar=("FROM", "TO"), help="s, the part of the recording that --plots draws"
    )
    parser.add_argument(
        "--decide", action="store_true", help="also let a fresh controller decide the run again, tick by tick"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """Print what happened; return 1 where policy or controller do something else than was recorded."""
    from robolearn.deploy.onnx_file import PolicyFileError
    from robolearn.replay.mcap import BagError

    if args.span is not None and (not args.plots or not args.span[0] < args.span[1]):
        raise ConfigError("--span FROM TO: needs --plots, and FROM before TO")
    from robolearn.replay.recording import load

    try:
        recording = load(args.bag, args.policy)
        return _tell(recording, args)
    except (BagError, PolicyFileError) as error:
        raise CommandError(str(error), EXIT_FAILURE) from error


def _tell(recording: Recording, args: argparse.Namespace) -> int:
    from robolearn.replay import report
    from robolearn.replay.summary import summarize

    summary = summarize(recording)
    again = _policy(recording, args.policy)
    decided = _controller(recording) if args.decide else None
    pictures: list[str] = []
    if args.plots:
        from robolearn.replay.plots import draw

        pictures = [str(path) for path in draw(recording, args.plots, args.span)]
        if not pictures:
            raise CommandError(f"{recording.path}: nothing to draw there; it is {summary.duration:.1f} s long")
    if args.json:
        print(json.dumps(_as_json(recording, summary, again, decided, pictures), indent=1))
    else:
        parts = [report.overview(recording, summary)]
        parts.append(report.policy(again) if not isinstance(again, str) else again)
        if decided is not None:
            parts.append(report.decisions(decided) if not isinstance(decided, str) else decided)
        parts += ["\n".join(pictures)] if pictures else []
        print("\n\n".join(part for part in parts if part))
    same = isinstance(again, str) or again.identical
    same &= decided is None or isinstance(decided, str) or decided.disagreement is None
    return 0 if same else EXIT_FAILURE


def _policy(recording: Recording, file: str | None) -> Rerun | str:
    """Run the policy again; in words why not, where the policy never ran and none was asked for."""
    from robolearn.replay.mcap import BagError
    from robolearn.replay.rerun import rerun

    if file is None and not recording.counts.get("policy_input"):
        return "policy: it never ran"
    try:
        return rerun(recording, file)
    except BagError as error:
        if file is not None:
            raise
        return f"policy: {error}"


def _controller(recording: Recording) -> Decisions | str:
    from robolearn.replay.decisions import decide_again
    from robolearn.replay.mcap import BagError

    try:
        return decide_again(recording)
    except BagError as error:
        return f"controller: {error}"


def _as_json(recording: Recording, summary: Any, again: Any, decided: Any, pictures: list[str]) -> dict[str, Any]:
    from robolearn.config import to_dict
    from robolearn.replay.recording import finite

    def plain(value: Any) -> Any:
        """Numbers that JSON does not have become null."""
        if isinstance(value, float):
            return finite(value)
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list) else value

    return plain(
        {
            "recording": str(recording.path),
            "about": to_dict(recording.about),
            "complete": recording.complete,
            "messages": to_dict(recording.counts),
            "unreadable": to_dict(recording.unreadable),
            "lost": recording.lost,
            "summary": to_dict(summary),
            "policy": again if isinstance(again, str) else {"identical": again.identical, **to_dict(again)},
            "controller": decided if isinstance(decided, str) else to_dict(decided),
            "plots": pictures,
        }
    )
