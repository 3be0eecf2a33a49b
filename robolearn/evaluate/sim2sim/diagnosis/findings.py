"""What a diagnosis says: one finding per check, in order from the outside in."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["ok", "differs", "not tested"]
BOUNDARIES = ("contract", "actuation", "inertia", "contact", "sensitivity")
"""From the outside in: what differs at one makes everything after it differ too."""


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        boundary: which of ``BOUNDARIES`` it belongs to.
        check: name of the check.
        verdict: whether measured and expected agree within the tolerance.
        what: the difference in words, or that there is none, or why nothing was tested.
        measured: what the candidate gave; NaN when it was not tested.
        expected: what the reference gave.
        tolerance: largest difference that counts as agreement.
        unit: of the three numbers.
        evidence: how it was measured, and what else was seen.
    """

    boundary: str
    check: str
    verdict: Verdict
    what: str
    measured: float = math.nan
    expected: float = math.nan
    tolerance: float = math.nan
    unit: str = ""
    evidence: str = ""

    def __post_init__(self) -> None:
        if self.boundary not in BOUNDARIES:
            raise ValueError(f"boundary must be one of {', '.join(BOUNDARIES)}, got {self.boundary!r}")


def judge(
    boundary: str,
    check: str,
    measured: float,
    expected: float,
    tolerance: float,
    unit: str,
    what: str,
    evidence: str,
    same: str = "agrees",
) -> Finding:
    """Return the finding that a measured number leads to; a number that is not finite differs.

    Args:
        boundary, check, measured, expected, tolerance, unit, evidence: see ``Finding``.
        what: the difference in words, used when there is one.
        same: what is said when there is none.
    """
    agrees = abs(measured - expected) <= tolerance
    return Finding(
        boundary,
        check,
        "ok" if agrees else "differs",
        same if agrees else what,
        float(measured),
        float(expected),
        float(tolerance),
        unit,
        evidence,
    )


@dataclass(frozen=True)
class Diagnosis:
    """Which boundary between two simulators differs first.

    Attributes:
        policy: name of the policy file.
        reference, candidate: names of the simulators.
        findings: in the order in which they were tested, from the outside in.
    """

    policy: str
    reference: str
    candidate: str
    findings: tuple[Finding, ...]

    @property
    def first(self) -> Finding | None:
        """The first finding that differs; None when nothing does."""
        return next((finding for finding in self.findings if finding.verdict == "differs"), None)

    @property
    def boundary(self) -> str:
        """The boundary of the first difference; empty when nothing differs."""
        return "" if self.first is None else self.first.boundary

    @property
    def summary(self) -> str:
        """One sentence."""
        if self.first is None:
            return f"{self.candidate} agrees with {self.reference} at every boundary that was tested"
        return f"{self.candidate} differs from {self.reference} first at the {self.boundary}: {self.first.what}"

    def text(self) -> str:
        """Return a page for people."""
        lines = [self.summary, f"policy {self.policy}", ""]
        for finding in self.findings:
            lines.append(f"{finding.verdict:>10}  {finding.boundary}, {finding.check}: {finding.what}")
            if finding.verdict != "not tested":
                unit = f" {finding.unit}" if finding.unit else ""
                lines.append(
                    f"{'':12}measured {finding.measured:.4g}, expected {finding.expected:.4g} "
                    f"± {finding.tolerance:.2g}{unit}"
                )
            if finding.evidence:
                lines.append(f"{'':12}{finding.evidence}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; a number that is not finite is null."""
        findings = [
            {
                name: None if isinstance(value, float) and not math.isfinite(value) else value
                for name, value in asdict(finding).items()
            }
            for finding in self.findings
        ]
        return {
            "policy": self.policy,
            "reference": self.reference,
            "candidate": self.candidate,
            "boundary": self.boundary,
            "summary": self.summary,
            "findings": findings,
        }

    def to_json(self) -> str:
        """Return ``to_dict`` as a document."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)
