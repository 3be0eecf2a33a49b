"""The transfer report: one HTML file that stands on its own, from the verdict to the command that repeats it."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from robolearn.evaluate.page import card, document, entries, film, machine_text, preformatted, table
from robolearn.evaluate.sim2sim.curves import Axis
from robolearn.evaluate.sim2sim.estimates import FLOOR, Estimate
from robolearn.evaluate.sim2sim.measures import MEASURES
from robolearn.evaluate.sim2sim.plots import draw_conditions, draw_curves, draw_failures, draw_overview, draw_scores
from robolearn.evaluate.sim2sim.results import JOINT, NOMINAL
from robolearn.evaluate.sim2sim.simulators import versions
from robolearn.evaluate.sim2sim.summary import Summary
from robolearn.evaluate.sim2sim.table import text
from robolearn.evaluate.sim2sim.verdict import Criterion, headline
from robolearn.evaluate.statistics import CONFIDENCE, RESAMPLES, Interval
from robolearn.run_folder import git_state, machine

MARKS = {"good": "✓", "fair": "~", "bad": "✗"}


@dataclass(frozen=True)
class Provenance:
    """What it takes to repeat the numbers.

    Attributes:
        command: the command line.
        policies: name of each policy to the hash of its file.
        time: when the report was written.
        machine: as ``run_folder.machine`` gives it.
        versions: package to version.
        commit: of the source tree, with ``, changed`` where it was; empty outside a repository.
    """

    command: str
    policies: Mapping[str, str]
    time: str
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    commit: str


@dataclass(frozen=True)
class Extras:
    """What a report may show besides the estimates.

    Attributes:
        labels: simulator to what people call it.
        videos: title and file (``.mp4``, ``.webm`` or ``.gif``) of each film; it is put into the report.
        sections: title and HTML of further sections, such as the diagnosis; see ``preformatted``.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    videos: Sequence[tuple[str, Path]] = ()
    sections: Sequence[tuple[str, str]] = ()


def provenance(command: Sequence[str], policies: Mapping[str, str]) -> Provenance:
    """Say by which command, where, when and with which versions this is run."""
    state = git_state()
    commit = f"{state['git_commit']}{', changed' if state['git_dirty'] else ''}" if state["git_commit"] else ""
    now = time.strftime("%Y-%m-%d %H:%M:%S %z")
    return Provenance(shlex.join(command), dict(policies), now, machine(), versions(), commit)


def write_report(
    path: Path, summary: Summary, axes: Mapping[str, Axis], origin: Provenance, extras: Extras | None = None
) -> None:
    """Write the report.

    Args:
        path: the HTML file.
        summary: all estimates.
        axes: label, unit and nominal value of each perturbation.
        origin: how to repeat it.
        extras: films and further sections.

    Raises:
        ValueError: a film of another kind.
        OSError: a film that cannot be read, or a folder that cannot be written to.
    """
    extras = extras or Extras()
    films = [film(name, path_) for name, path_ in extras.videos]
    title = f"Transfer of {', '.join(summary.policies)}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="muted">{_size(summary)}</p>',
        *(_verdict(summary, policy) for policy in summary.policies),
        "<h2>In every simulator</h2>",
        card(draw_overview(summary), _OVERVIEW),
    ]
    if len(summary.policies) > 1:
        parts += [card(draw_scores(summary), "Score of each policy in each simulator.", narrow=True)]
        parts += [_ranking(summary)]
    parts += films
    for policy in summary.policies:
        shown = " open" if policy == summary.policies[0] else ""
        body = _policy(summary, policy, axes, extras.labels)
        parts += [f'<details class="policy"{shown}><summary>{escape(policy)}</summary>{body}</details>']
    parts += [_failures(summary)]
    parts += [f'<h2>{escape(name)}</h2><div class="card">{body}</div>' for name, body in extras.sections]
    parts += [_method(), _origin(origin, summary)]
    path.write_text(document(title, parts), encoding="utf-8")


_OVERVIEW = (
    f"Estimates with {CONFIDENCE:.0%} intervals. Score: how well it walks, 0 to 1, typical experiment, undisturbed and "
    "disturbed together. Survived: share of episodes without a fall while friction, masses, motors, delays, noise and "
    "pushes are drawn together. Retained: mean score as a share of that in the reference, over the same experiments."
)
_FAILURES = (
    "Where half of the robots fall, with its interval, as far as was tested. Dotted line: nominal value. An open "
    "arrow: not reached within what was tested; a filled one: the interval goes on beyond it."
)
_CURVES = (
    f"Share of episodes without a fall, with {CONFIDENCE:.0%} intervals (Wilson). Dotted: 0.9 and 0.5; a bar marks "
    "where the line falls below 0.5. A cross at the bottom: the simulator crashed in cases there; they are not in the "
    "line."
)
_CONDITIONS = (
    "Mean share of episodes without a fall over the tested values of each perturbation. Compare within a column: "
    "columns differ in what was tested. A dash: not possible in this simulator, or nothing finished."
)
_MEASURES = (
    f"Without disturbance: mean, {CONFIDENCE:.0%} interval, and (shaded, stronger is better) the score, 0 to 1. The "
    "arrow says which way is better. An episode that fell scores 0 in all but survival; its raw value is that of the "
    "time before the fall."
)


def _size(summary: Summary) -> str:
    episodes = sum(estimate.episodes for estimate in summary.estimates)
    kinds = len({curve.perturbation for curve in summary.curves})
    return (
        f"{episodes:,} episodes, {_count(len(summary.simulators), 'simulator')}, "
        f"{_count(kinds, 'perturbation')}, {_count(len(summary.seeds), 'seed')}; "
        f"compared with {escape(summary.reference)}"
    )


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _state(criteria: Iterable[Criterion]) -> str:
    found = list(criteria)
    if not found or not all(criterion.met for criterion in found):
        return "bad"
    return "good" if all(criterion.sure for criterion in found) else "fair"


def _verdict(summary: Summary, policy: str) -> str:
    criteria = [criterion for criterion in summary.criteria if criterion.policy == policy]
    state = _state(criteria)
    why = [criterion for criterion in criteria if not criterion.met] or [c for c in criteria if not c.sure]
    lines = "".join(f"<li>{escape(c.simulator)}: {escape(c.text)}</li>" for c in why)
    details = f"<ul>{lines}</ul>" if len(why) <= 6 else f"<details><summary>Which</summary><ul>{lines}</ul></details>"
    return (
        f'<div class="card verdict {state}"><p><b>{escape(policy)}</b></p>'
        f"<p><strong>{MARKS[state]} {escape(headline(criteria))}</strong></p>{details if why else ''}</div>"
    )


def _ranking(summary: Summary) -> str:
    ranking = summary.ranking
    if ranking is None:
        return ""
    if not ranking.ranks:
        return f'<h2>Ranking</h2><div class="card"><p>No ranking: {escape(ranking.note)}</p></div>'
    rows = [[str(rank), escape(policy), text(ranking.scores[policy])] for policy, rank in ranking.ranks.items()]
    pairs = [
        [
            escape(c.first),
            escape(c.second),
            c.difference.text(),
            f"{c.superiority:.3f}",
            f"{c.p:.2g}",
            "can be told apart" if c.significant else "cannot be told apart",
            "do not overlap" if c.apart else "overlap",
        ]
        for c in ranking.comparisons
    ]
    head = ("first", "second", "first − second", "P(first better)", "p (Holm)", "", "intervals")
    note = f"<p>{escape(ranking.note)}</p>" if ranking.note else ""
    where = (
        f"Over {escape(', '.join(ranking.simulators))}; {ranking.experiments} experiments that all policies finished."
    )
    return (
        f'<h2>Ranking</h2><div class="card">{table(("rank", "policy", "mean score"), rows)}'
        f'<p class="muted">{where} Policies that cannot be told apart share a rank.</p>{note}'
        f"<h3>Every two policies on the same experiments</h3>{table(head, pairs)}</div>"
    )


def _policy(summary: Summary, policy: str, axes: Mapping[str, Axis], labels: Mapping[str, str]) -> str:
    parts = [f'<div class="card">{_estimates(summary, policy, labels)}</div>']
    if any(curve.policy == policy for curve in summary.curves):
        parts += [
            "<h3>What breaks it</h3>",
            card(draw_failures(summary, policy, axes), _FAILURES),
            card(draw_curves(summary, policy, axes), _CURVES),
            card(draw_conditions(summary, policy, axes), _CONDITIONS, narrow=True),
        ]
    parts += ["<h3>Measures</h3>", f'<div class="card">{_measures(summary, policy)}']
    parts += [f'<p class="muted">{escape(_MEASURES)}</p></div>']
    return "\n".join(parts)


def _estimates(summary: Summary, policy: str, labels: Mapping[str, str]) -> str:
    rows = []
    for estimate in (e for e in summary.estimates if e.policy == policy):
        marks = {c.name: c for c in summary.criteria if (c.policy, c.simulator) == (policy, estimate.simulator)}
        retained = "reference" if estimate.simulator == summary.reference else text(estimate.retained)
        note = f'<small class="text">{escape(estimate.note)}</small>' if estimate.note else ""
        rows.append(
            [
                _name(estimate.simulator, labels),
                text(estimate.score),
                _marked(text(estimate.survival.get(NOMINAL)), marks.get("survival")),
                _marked(text(estimate.survival.get(JOINT)), marks.get("joint_survival")),
                _marked(retained, marks.get("retained")) + note,
                _marked(_failed(estimate), marks.get("failed_cases")),
            ]
        )
    for simulator, reason in summary.absent.items():
        rows.append([_name(simulator, labels), f'<td class="text muted" colspan="5">not run: {escape(reason)}</td>'])
    head = ("simulator", "score", "survived", "survived, disturbed", "retained", "failed cases")
    key = (
        f"{MARKS['good']} reaches its threshold with the lower limit, {MARKS['fair']} with the estimate only, "
        f"{MARKS['bad']} does not. Without a mark: not judged."
    )
    return f'{table(head, rows)}<p class="muted">{key}</p>'


def _name(simulator: str, labels: Mapping[str, str]) -> str:
    label = f"<small>{escape(labels[simulator])}</small>" if simulator in labels else ""
    return f"<th>{escape(simulator)}{label}</th>"


def _marked(shown: str, criterion: Criterion | None) -> str:
    if criterion is None:
        return shown
    state = _state([criterion])
    return f'<span class="mark {state}" title="{escape(criterion.text)}">{MARKS[state]}</span> {shown}'


def _failed(estimate: Estimate) -> str:
    lacking = len(estimate.unsupported)
    return f"{len(estimate.failed)}" + (f"<small>{lacking} not supported</small>" if lacking else "")


def _measures(summary: Summary, policy: str) -> str:
    estimates = [e for e in summary.estimates if e.policy == policy]
    rows = []
    for name, measure in MEASURES.items():
        unit = f", {measure.unit}" if measure.unit else ""
        better = {"higher": "↑", "lower": "↓"}[measure.better]
        row = [f'<th title="{escape(measure.formula)}">{escape(measure.label)}{escape(unit)} {better}</th>']
        for estimate in estimates:
            raw, score = estimate.raw.get(name), estimate.scored.get(name)
            if raw is None or score is None:
                row.append("–")
                continue
            shown = f"{raw.value:.3g}<small>{_spread(raw)}</small>"
            if measure.weight:
                shade = f'class="scored" style="--s:{score.value:.2f}"'
                row.append(f"<td {shade}>{shown}<small>score {score.value:.2f}</small></td>")
            else:
                row.append(f"{shown}<small>not in the score</small>")
        rows.append(row)
    return table(["", *(escape(e.simulator) for e in estimates)], rows)


def _spread(interval: Interval) -> str:
    if math.isnan(interval.low):
        return "one episode"
    return "all alike" if interval.low == interval.high else f"{interval.low:.3g} to {interval.high:.3g}"


def _failures(summary: Summary) -> str:
    lines = [f"<li><b>{escape(name)}</b>: {escape(reason)}</li>" for name, reason in summary.absent.items()]
    for estimate in summary.estimates:
        place = f"{escape(estimate.policy)} in {escape(estimate.simulator)}"
        lines += [f"<li>{place}: {escape(reason)}</li>" for reason in estimate.failed]
        reasons = dict.fromkeys(reason.partition(": ")[2] for reason in estimate.unsupported)
        lines += [f"<li>{place}: {len(estimate.unsupported)} cases: {escape(reason)}</li>" for reason in reasons]
    body = f"<ul>{''.join(lines)}</ul>" if lines else "<p>Nothing: every simulator ran, and no case failed.</p>"
    return f'<h2>What failed or could not be run</h2><div class="card">{body}</div>'


def _method() -> str:
    body = (
        "An experiment is one seed and one episode of it: start, commands and draws. It is the same in every "
        "simulator, under every perturbation and for every policy, so experiments are drawn again as a whole: a "
        f"percentile bootstrap with {RESAMPLES} resamples. Shares have Wilson intervals. A robot that fell or whose "
        "simulation diverged counts as fallen, and a score that is not a number counts as 0. A case whose simulator "
        "crashed or cannot do what was asked is in no figure, and is named above. The retained fraction is the ratio "
        "of mean scores over common experiments; it is refused where the reference itself is not surely above "
        f"{FLOOR}. p-values: sign-flip test of paired differences, corrected after Holm. Intervals say how sure the "
        "figures of this policy file are; they say nothing about training another one."
    )
    return f'<h2>How to read it</h2><div class="card"><p>{escape(body)}</p></div>'


def _origin(origin: Provenance, summary: Summary) -> str:
    found = {
        "policy files": ", ".join(f"{name} {digest}" for name, digest in origin.policies.items()),
        "seeds": ", ".join(map(str, summary.seeds)),
        "machine": machine_text(origin.machine),
        "versions": ", ".join(f"{name} {version}" for name, version in origin.versions.items()),
        "commit": origin.commit or "not in a repository",
        "time": origin.time,
    }
    return f'<h2>Repeat it</h2><div class="card">{preformatted(origin.command)}{entries(found)}</div>'
