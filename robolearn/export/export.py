"""Export: build the graph, record roll-outs, compare torch with ONNX Runtime, write one sealed file."""

from __future__ import annotations

import dataclasses
import logging
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn

from robolearn.config import ConfigError, config_hash
from robolearn.deploy import contract as contracts
from robolearn.deploy.contract import (
    SETTING,
    SIGNALS,
    Action,
    CommandEntry,
    Golden,
    Memory,
    Observation,
    ObservationTerm,
    PolicyContract,
    RobotPart,
    Setting,
    Signal,
    Statistics,
)
from robolearn.deploy.onnx_file import join, split, write_file
from robolearn.deploy.policy import TOLERANCE, OnnxPolicy
from robolearn.experiment import ExperimentConfig, make_env
from robolearn.export.graph import KEPT_SIGNALS, PolicyGraph
from robolearn.export.legacy import csv_metadata
from robolearn.export.record import ParityError, Sample, samples, statistics
from robolearn.rl.checkpoint import load_policy
from robolearn.run_folder import Run, git_state
from robolearn.version import __version__
from sim.environment import TaskEnv
from sim.observation import TERMS, SensorConfig

OPSET = 20
PARITY_ROBOTS, PARITY_STEPS = 4, 250
SEEN_ROBOTS, SEEN_STEPS = 64, 500
GOLDEN_AT = (0, 1, 7, 100, 501, 998)
"""Samples of the recording that become golden pairs: among them a first step, where every memory is at its start."""


@dataclass(frozen=True)
class Exportable:
    """A deterministic policy to export, wherever it was trained.

    Attributes:
        config: the experiment: robot, task, environment.
        group: the observation group that it reads.
        actor: (1, D) observation and (1, H) memory to (1, J) action in the task's units, and new memory.
        memory_size: H.
        clip: limit of the actor's output.
        origin: a line on where it comes from.
    """

    config: ExperimentConfig
    group: str
    actor: nn.Module
    memory_size: int
    clip: float
    origin: str


@dataclass(frozen=True)
class ExportReport:
    """What an export found.

    Attributes:
        path: the file.
        samples: evaluations that were compared.
        differences: largest difference between torch and ONNX Runtime of each output.
        file_bytes: size of the file.
    """

    path: Path
    samples: int
    differences: dict[str, float]
    file_bytes: int

    def text(self) -> str:
        """One paragraph for people."""
        worst = max(self.differences.values())
        return (
            f"{self.path}: {self.file_bytes / 1e3:.0f} kB. Torch and ONNX Runtime agree within {worst:.1e} on "
            f"{self.samples} steps (limit {TOLERANCE:g})."
        )


def from_run(run: Run) -> Exportable:
    """Return the policy of a run, checkpoint or released policy, ready to export."""
    policy = load_policy(run.checkpoint)
    return Exportable(
        run.config,
        policy.config.actor_group,
        policy,
        policy.actor.memory_size,
        run.config.task.actions.clip,
        f"run {run.folder.name}, {run.checkpoint.name}",
    )


def export(source: Exportable, path: str | Path, seed: int = 1) -> ExportReport:
    """Export a policy.

    Args:
        source: the policy.
        path: the file to write; it appears only when everything fits.
        seed: of the roll-outs.

    Raises:
        ConfigError: the policy reads something that a robot cannot measure.
        ParityError: torch and ONNX Runtime differ by more than 1e-5 somewhere, or graph and environment do.
    """
    path = Path(path)
    clean = make_env(_perfect_sensors(source), num_envs=PARITY_ROBOTS, seed=seed)
    try:
        graph = _graph(source, clean)
        recorded = list(samples(clean, source.group, graph, PARITY_STEPS, TOLERANCE))
        model = _to_onnx(graph, recorded[0])
        differences = _compare(model, recorded)
        seen_env = make_env(source.config, num_envs=SEEN_ROBOTS, seed=seed)
        try:
            seen = statistics(seen_env, source.group, graph, source.memory_size, SEEN_STEPS)
        finally:
            seen_env.close()
        contract = _contract(source, clean, graph, seen, recorded)
    finally:
        clean.close()
    metadata = {contracts.KEY: contracts.to_json(contract), **csv_metadata(contract)}
    data = join(model, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    trial = path.with_name(f".{path.name}.trial")
    try:  # the file that is kept is one that the robot's loader has accepted
        write_file(trial, data)
        OnnxPolicy(trial)
        trial.replace(path)
    finally:
        trial.unlink(missing_ok=True)
    return ExportReport(path, len(recorded), differences, len(data))


def _perfect_sensors(source: Exportable) -> ExperimentConfig:
    """The experiment with readings that are true and fresh, so that graph and environment read the same."""
    config = source.config
    groups = config.task.observations
    plain = {name: dataclasses.replace(group, measured=False) for name, group in groups.groups.items()}
    policy, critic = plain.pop("policy"), plain.pop("critic")
    sensors = dataclasses.replace(config.task.sensors, delay=SensorConfig().delay)
    observations = dataclasses.replace(groups, policy=policy, critic=critic, extra=plain)
    return dataclasses.replace(
        config, task=dataclasses.replace(config.task, observations=observations, sensors=sensors)
    )


def _graph(source: Exportable, env: TaskEnv) -> PolicyGraph:
    group, robot, settings = env.pipeline.group(source.group), env.robot, env.task.settings
    for term in group.slices:
        signal = TERMS[term].signal
        if signal not in (*SIGNALS, *settings, *KEPT_SIGNALS):
            raise ConfigError(
                f"task.observations.{source.group}.terms.{term}: reads {signal!r}, which exists in simulation only; "
                f"a policy for a robot can read {', '.join((*SIGNALS, *settings, *KEPT_SIGNALS))}"
            )
    widths = {name: value.shape[1] for name, value in env.sensing.signals().items()}
    scale = torch.tensor(robot.action_scale) * env.task.actions.scale
    pose = torch.tensor(robot.default_pose)
    limits = env.task.actions.target_range(robot)
    graph = PolicyGraph(
        group,
        source.actor,
        source.memory_size,
        pose,
        scale,
        source.clip,
        widths,
        env.state.gait_step,
        None if limits is None else torch.tensor(limits),
    )
    return graph.eval().requires_grad_(False)


def _to_onnx(graph: PolicyGraph, sample: Sample) -> bytes:
    """Return the ONNX model without metadata."""
    noisy = logging.getLogger("torch.onnx")
    level = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                graph, tuple(sample.inputs.values()), input_names=graph.inputs, output_names=graph.outputs,
                opset_version=OPSET, dynamo=True, verbose=False,
            )  # fmt: skip
    finally:
        noisy.setLevel(level)
    assert program is not None
    model = program.model_proto
    # Where in the source each part comes from, with paths of this computer: of no use on a robot.
    graph_parts = (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output)
    for part in (*graph_parts, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    return split(model.SerializeToString())[0]


def _compare(model: bytes, recorded: Iterable[Sample]) -> dict[str, float]:
    """Return the largest difference of each output.

    Raises:
        ParityError: one is above the limit.
    """
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    worst: dict[str, float] = {}
    for sample in recorded:
        found = session.run(names, {name: value.numpy() for name, value in sample.inputs.items()})
        for name, value in zip(names, found, strict=True):
            error = float(np.max(np.abs(value - sample.outputs[name].numpy()), initial=0.0))
            worst[name] = max(worst.get(name, 0.0), error) if error == error else float("inf")
    for name, error in worst.items():
        if error > TOLERANCE:
            raise ParityError(f"output {name!r}: torch and ONNX Runtime differ by {error:.2g} (limit {TOLERANCE:g})")
    return worst


def _contract(
    source: Exportable, env: TaskEnv, graph: PolicyGraph, seen: Statistics, recorded: list[Sample]
) -> PolicyContract:
    robot, task, group = env.robot, env.task, graph.group
    configs = source.config.task.observations.groups[source.group].terms
    starts = [0, *np.cumsum([columns.stop - columns.start for columns in group.slices.values()]).tolist()]
    terms = []
    for (name, _), (first, last) in zip(group.slices.items(), pairwise(starts), strict=True):
        term = TERMS[name]
        scale, offset = group.scale[first:last].tolist(), group.offset[first:last].tolist()
        clip = configs[name].clip
        terms.append(ObservationTerm(name, term.signal, last - first, term.unit, tuple(scale), tuple(offset), clip))
    commands = task.commands
    spans = (commands.vx, commands.vy, commands.yaw_rate)
    ranges = zip(env.commands.names, ("m/s", "m/s", "rad/s"), spans, strict=True)
    golden = tuple(_golden(recorded[i]) for i in GOLDEN_AT if i < len(recorded))
    settings = {
        name: Setting(*each.range, each.default, each.unit, each.meaning)
        for name, each in task.settings.items()
        if name in graph.signals  # one that only the critic or a cost reads is nothing that a robot has
    }
    git = git_state()
    return PolicyContract(
        format="robolearn.policy",
        version=1,
        robot=RobotPart(
            robot.name,
            robot.joints,
            robot.default_pose,
            robot.kp,
            robot.kd,
            robot.effort_limit,
            robot.velocity_limit,
            robot.position_limit,
        ),
        task=task.name,
        control_dt=task.step_dt,
        action=Action(tuple(graph.scale.tolist()), source.clip, task.actions.target_range(robot)),
        signals={name: Signal(width, *SIGNALS.get(name, SETTING)) for name, width in graph.signals.items()},
        memory={name: Memory(shape, (0.0,) * int(np.prod(shape))) for name, shape in graph.memory.items()},
        observation=Observation(tuple(terms), group.config.history, seen),
        command=tuple(CommandEntry(name, unit, *span) for name, unit, span in ranges),
        golden=golden,
        provenance={
            "origin": source.origin,
            "exported": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "robolearn": __version__,
            "torch": torch.__version__,
            "config_hash": config_hash(source.config),
            "git_commit": str(git["git_commit"]),
        },
        settings=settings,
    )


def _golden(sample: Sample) -> Golden:
    def flat(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[float, ...]]:
        return {name: tuple(value.flatten().tolist()) for name, value in tensors.items()}

    return Golden(flat(sample.inputs), flat(sample.outputs))


__all__ = ["ExportReport", "Exportable", "ParityError", "export", "from_run"]
