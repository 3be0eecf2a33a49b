"""Made-up results that look like a benchmark: three policies, five simulators, several perturbations, five seeds."""

from dataclasses import dataclass

import numpy as np

from robolearn.evaluate.sim2sim.measures import MEASURES, SCORE, overall
from robolearn.evaluate.sim2sim.results import JOINT, NOMINAL, Case, CaseResult, Experiment
from robolearn.packages import missing

SEEDS, EPISODES = 5, 6
POLICIES = {"a1_flat": 1.0, "a1_flat_again": 0.98, "a1_not_randomised": 0.5}
SIMULATORS = {"mujoco": 0.0, "mujoco-soft": 0.1, "mujoco-motor": 0.16, "pybullet": 0.28, "drake": 0.22}
SWEEPS = ("mujoco", "pybullet", "drake")
ABSENT = {"warp": missing("mujoco_warp")}
CRASHED = ("drake", "push", 30.0, 3)
NO_STEPS = "pybullet"


def episodes(seed: int, count: int) -> tuple[Experiment, ...]:
    """The first episodes of a seed."""
    return tuple((seed, episode) for episode in range(count))


@dataclass(frozen=True)
class Axis:
    label: str
    unit: str
    nominal: float
    values: tuple[float, ...]
    scale: float


AXES = {
    "friction": Axis("ground friction", "", 1.0, (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.5), 0.75),
    "payload": Axis("payload", "kg", 0.0, (1.0, 2.0, 4.0, 6.0, 8.0, 12.0), 7.0),
    "center_of_mass": Axis("shift of the centre of mass", "m", 0.0, (-0.15, -0.09, -0.03, 0.03, 0.09, 0.15), 0.11),
    "gains": Axis("gains of the drives", "×", 1.0, (0.3, 0.5, 0.7, 0.85, 1.2, 1.7, 2.5), 0.6),
    "observation_latency": Axis("observation latency", "ms", 0.0, (5.0, 10.0, 20.0, 30.0, 40.0, 60.0), 33.0),
    "push": Axis("push", "N·s", 0.0, (5.0, 10.0, 15.0, 20.0, 30.0, 40.0), 24.0),
    "steps": Axis("height of steps", "cm", 0.0, (2.0, 4.0, 6.0, 8.0, 12.0), 7.0),
}


def case_result(case: Case, strength: float, gap: float, severity: float) -> CaseResult:
    """A case: an experiment falls when what it demands is more than what the policy has to give."""
    seed, _ = case.experiments[0]
    experiment = np.random.default_rng((seed, 77))
    own = np.random.default_rng((seed, int(100 * gap), int(1000 * severity), int(100 * strength)))
    n = len(case.experiments)
    hardness = experiment.normal(0.0, 1.0, n)
    demand = severity + 0.35 * gap + 0.12 * hardness + own.normal(0.0, 0.05, n)
    fell = demand > 0.95 * strength
    size = np.clip(severity + gap, 0.0, 3.0)
    noise = own.normal(0.0, 1.0, (len(MEASURES), n)) * 0.12
    values = {}
    for row, (name, measure) in enumerate(MEASURES.items()):
        score = np.clip(0.92 - 0.3 * size - 0.1 * (1 - strength) + 0.03 * hardness + 0.5 * noise[row], 0.02, 1.0)
        values[name] = measure.zero + score * (measure.one - measure.zero)
    values["survival"] = np.where(fell, own.uniform(0.1, 0.9, n), 1.0)
    values["fell"] = fell.astype(float)
    if n > 2:
        values["cost_of_transport"][2] = np.nan
    values[SCORE] = overall(values)
    return CaseResult(case, values, wall_s=1.5)


def results(policies=tuple(POLICIES), axes=tuple(AXES)) -> list[CaseResult]:
    """All results, one crashed case and one that its simulator cannot do among them."""
    found = []
    for policy in policies:
        strength = POLICIES[policy]
        for simulator, gap in SIMULATORS.items():
            conditions = [(NOMINAL, 0.0, 0.0), (JOINT, 0.0, 0.55)]
            if simulator in SWEEPS:
                conditions += [
                    (name, value, abs(value - axis.nominal) / axis.scale * (0.5 if value > axis.nominal == 1 else 1.0))
                    for name, axis in AXES.items()
                    if name in axes
                    for value in axis.values
                ]
            for name, value, severity in conditions:
                for seed in range(SEEDS):
                    case = Case(policy, simulator, name, value, episodes(seed, EPISODES))
                    if (simulator, name, value, seed) == CRASHED and policy == "a1_flat":
                        found.append(CaseResult(case, error="process ended with signal 11 (SIGSEGV)"))
                    elif simulator == NO_STEPS and name == "steps":
                        reason = "Unsupported: perturbation 'steps': simulator 'pybullet' has no height fields"
                        found.append(CaseResult(case, error=reason, details={"failure": "unsupported"}))
                    else:
                        found.append(case_result(case, strength, gap, severity))
    return found
