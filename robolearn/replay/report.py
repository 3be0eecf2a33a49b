"""A recording in words."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from robolearn.replay.decisions import Decisions
from robolearn.replay.recording import Recording
from robolearn.replay.rerun import Difference, Rerun
from robolearn.replay.summary import Spread, Summary


def overview(recording: Recording, summary: Summary) -> str:
    """Return what happened."""
    return "\n".join(
        [
            *_head(recording, summary),
            *_section("modes", _modes(summary)),
            *_section("requests of the operator", _requests(summary)),
            *_section("settings of the policy", _settings(recording)),
            *_section("safety", _checks(summary)),
            *_section("loop", _loop(recording, summary)),
            *_section("commands", _commands(summary)),
            *_section("mechanical energy of the drives", _energy(summary)),
            *_section("not recorded", _missing(recording, summary)),
        ]
    )


def policy(found: Rerun) -> str:
    """Return how a policy differs from what was recorded."""
    behind = f", {found.skipped} left out (no answer, or behind a hole in the recording)" if found.skipped else ""
    lines = [f"policy {found.policy}, run again over {found.outputs} requests{behind}"]
    if found.left_out:
        lines.append(f"  only one of the two policies has: {', '.join(found.left_out)}")
    first, most = found.first, found.most
    if first is None:
        lines.append(f"  identical to {found.tolerance:g}")
        return "\n".join(lines)
    lines.append(f"  DIFFERENT: first {_name(first)}, since {first.since:.3f} s (above {found.tolerance:g})")
    if most is not None:
        lines.append(f"  most: {_name(most)}, by {most.largest:.4g} at {most.where}")
    rows: list[tuple[str, ...]] = [("", "largest", "rms", "since, s", "at")]
    rows += [_row(each) for each in found.differences if each.group == "observation"]
    for group in ("action", "joint_target"):
        its = [each for each in found.differences if each.group == group]
        rows += [_row(each) for each in sorted(its, key=lambda each: -each.largest)[:3]]
    lines += _table(rows)
    return "\n".join(lines)


def decisions(found: Decisions) -> str:
    """Return whether a fresh controller decides the same."""
    lines = [f"controller, run again over {found.ticks} ticks and {found.requests} requests"]
    if found.end is not None:
        lines[0] += f", up to {found.end:.3f} s: there the recording has a hole, or the controller was started anew"
    elif found.left:
        lines[0] += f"; {found.left} ticks are left out: before it was at rest"
    if (wrong := found.disagreement) is None:
        lines.append(f"  same modes and commands (largest difference {found.largest:.2g})")
    else:
        lines.append(
            f"  DIFFERENT in its {wrong.what} since {wrong.time:.3f} s: recorded {wrong.recorded}, "
            f"decided {wrong.decided}; commands differ by {found.largest:.4g}"
        )
    return "\n".join(lines)


def _head(recording: Recording, summary: Summary) -> Iterator[str]:
    about = recording.about
    yield f"{recording.path}: robot {about.robot} in {about.namespace}, {about.started}, {summary.duration:.1f} s"
    if about.policy is not None:
        yield f"policy {about.policy.path} (sha256 {about.policy.sha256[:12]})"
    if not recording.complete:
        yield "the recorder did not end in an orderly way: the last second may be missing"


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", title, *lines] if lines else []


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows in columns: the first to the left, numbers to the right, the last as it is."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    last = len(widths) - 1
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if i == 0 else cell if i == last else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _modes(summary: Summary) -> list[str]:
    rows = [(each.mode.value, f"{each.time:.2f} s", f"for {each.duration:.2f} s", each.why) for each in summary.modes]
    return _table(rows) if rows else []


def _requests(summary: Summary) -> list[str]:
    """Return one line for each request, or for several in a row that got the same answer."""
    rows = []
    for (request, accepted, message), group in itertools.groupby(
        summary.requests, key=lambda each: (each.request, each.accepted, each.message)
    ):
        same = list(group)
        times = f" ({len(same)} times, until {same[-1].time:.2f} s)" if len(same) > 1 else ""
        rows.append((request, f"{same[0].time:.2f} s", "" if accepted else "REFUSED", message + times))
    return _table(rows) if rows else []


def _settings(recording: Recording) -> list[str]:
    """Return one line for each value that a setting had, with the time of the first output that it was given to."""
    answered, contract = recording.answered, recording.contract
    if contract is None or not contract.settings or not len(answered):
        return []
    rows = []
    for name, values in zip(contract.settings, answered["settings"].T, strict=True):
        for place in np.flatnonzero(np.diff(values, prepend=np.nan)):
            unit = contract.settings[name].unit
            value = f"{values[place]:g}" if unit == "1" else f"{values[place]:g} {unit}"
            rows.append((name, f"{answered.time[place]:.2f} s", value))
    return _table(rows)


def _checks(summary: Summary) -> list[str]:
    if not summary.checks:
        return ["  no check found anything"]
    rows = [("check", "reaction", "events", "first, s", "last, s", "")]
    rows += [
        (each.reason, each.reaction, str(each.count), f"{each.first:.2f}", f"{each.last:.2f}", each.message)
        for each in summary.checks
    ]
    return _table(rows)


def _loop(recording: Recording, summary: Summary) -> list[str]:
    rows: list[tuple[str, ...]] = [("ms", "mean", "p50", "p99", "max", "")]
    rows += [
        _spread("control period", summary.period, f"{summary.late} late, {summary.blind} without a reading"),
        _spread("the same, wall time", summary.wall, "a simulation need not keep up with it"),
        _spread("reading to command", summary.answer, "as the recorder heard them"),
        _inference(summary),
    ]
    rows = [row for row in rows if row]
    return _table(rows) if len(rows) > 1 else []


def _inference(summary: Summary) -> tuple[str, ...]:
    """Return the row of the inference: in simulated time it takes none, and is not measured."""
    note = f"{summary.unanswered} requests without an answer"
    if summary.inference is not None and summary.inference.max == 0.0:
        return ("inference", *"----", f"not measured in simulated time; {note}")
    return _spread("inference", summary.inference, note)


def _spread(name: str, spread: Spread | None, note: str) -> tuple[str, ...]:
    if spread is None:
        return ()
    return (name, *(f"{value:.2f}" for value in (spread.mean, spread.p50, spread.p99, spread.max)), note)


def _commands(summary: Summary) -> list[str]:
    lines = []
    if (limits := summary.limiting) is not None and limits.ticks:
        lines.append(f"  limited in {limits.share:.2%} of {limits.ticks} ticks with stiffness")
        if limits.joints:
            worst = ", ".join(f"{joint} {share:.2%}" for joint, share in list(limits.joints.items())[:3])
            lines.append(f"  most often: {worst}")
        if limits.joint:
            lines.append(f"  largest change of a position: {limits.largest:.3g} rad, {limits.joint}")
    if summary.tracking:
        lines.append("  distance from the commanded position, rad:")
        rows = [("joint", "rms", "max", "")]
        rows += [(each.joint, f"{each.rms:.4f}", f"{each.max:.4f}", "") for each in summary.tracking]
        lines += [f"  {line}" for line in _table(rows)]
    return lines


def _energy(summary: Summary) -> list[str]:
    if not summary.energy:
        return []
    known = any(math.isfinite(each.per_metre) for each in summary.energy)
    head = ("", "s", "J", "mean, W", "largest, W", "J per commanded metre" if known else "")
    rows: list[tuple[str, ...]] = [head]
    for each in summary.energy:
        per_metre = f"{each.per_metre:.1f}" if math.isfinite(each.per_metre) and each.mode is not None else ""
        numbers = (f"{each.seconds:.2f}", f"{each.energy:.1f}", f"{each.mean:.1f}", f"{each.peak:.1f}")
        rows.append(("in total" if each.mode is None else each.mode.value, *numbers, per_metre))
    return _table(rows)


def _missing(recording: Recording, summary: Summary) -> list[str]:
    lines = []
    if recording.lost:
        lines.append(f"  {recording.lost} messages that the recorder lost: a busy computer, or a slow disk")
    lines += [f"  {topic}: {count} that must have been sent" for topic, count in summary.missing.items()]
    hint = "" if recording.contract is not None else " (the recorder was not told of a policy: give --policy FILE)"
    lines += [
        f"  {topic}: {count} that fit neither robot nor policy{hint}" for topic, count in recording.unreadable.items()
    ]
    return lines


def _name(difference: Difference) -> str:
    kind = "observation term" if difference.group == "observation" else difference.group.replace("_", " ") + " of"
    return f"{kind} {difference.name}"


def _row(each: Difference) -> tuple[str, ...]:
    since = "-" if each.since is None else f"{each.since:.3f}"
    return (f"{each.group} {each.name}", f"{each.largest:.3g}", f"{each.rms:.3g}", since, each.where)
