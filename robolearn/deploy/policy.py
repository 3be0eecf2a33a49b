"""The policy as it runs on a robot: ONNX Runtime behind a contract that was checked before the first step."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from robolearn.deploy import contract as contracts
from robolearn.deploy.contract import NEXT, OUTPUTS, PolicyContract
from robolearn.deploy.onnx_file import PolicyFileError, read_file, unseal

Array = NDArray[np.float32]
TOLERANCE = 1e-5
"""Largest difference from torch that is accepted, in the outputs' units."""


@dataclass(frozen=True, slots=True)
class PolicyOutput:
    """What one evaluation gave.

    Attributes:
        joint_target: (J,) rad.
        action: (J,) the network's output after clipping.
        observation: (D,) what the network read.
        finite: whether all of it, and the memory, is finite. Where not, the memory was left as it was before.
    """

    joint_target: Array
    action: Array
    observation: Array
    finite: bool


class OnnxPolicy:
    """A policy file, loaded, checked and ready to run.

    Attributes:
        contract: what the file says about itself.
        settings: what the operator has set, by name; the defaults of the contract until ``set`` is called.
    """

    def __init__(self, file: str | Path | bytes, threads: int = 1) -> None:
        """Load and check a policy.

        Args:
            file: the ``.onnx`` file, or its content.
            threads: threads of ONNX Runtime; one is fastest for small networks and leaves the other cores alone.

        Raises:
            PolicyFileError: the file is missing, damaged, edited, of another version, or its graph does not fit its
                contract or gives other results than at export. No check is left out.
        """
        name = "policy" if isinstance(file, bytes) else str(Path(file))
        try:
            model, metadata = unseal(file if isinstance(file, bytes) else read_file(file))
            self.contract: PolicyContract = contracts.from_metadata(metadata)
            self._session = _session(model, threads)
            self._check_graph()
        except PolicyFileError as error:
            raise PolicyFileError(str(error) if name in str(error) else f"{name}: {error}") from error
        c = self.contract
        self._shapes = {name: (1, signal.width) for name, signal in c.signals.items()}
        self._inputs: dict[str, Array] = {name: np.zeros(shape, np.float32) for name, shape in self._shapes.items()}
        self._initial = {name: _float32(item.initial).reshape(item.shape) for name, item in c.memory.items()}
        self._memory = {name: value.copy() for name, value in self._initial.items()}
        self.settings = c.complete({})
        self._names = [output.name for output in self._session.get_outputs()]
        if failures := self.check_golden():
            raise PolicyFileError(f"{name}: {failures[0]}; this ONNX Runtime must not run the policy")

    def _check_graph(self) -> None:
        """Compare names and sizes of the graph's inputs and outputs with the contract."""
        c, session = self.contract, self._session
        for kind, nodes, sizes in (
            ("input", session.get_inputs(), c.input_sizes), ("output", session.get_outputs(), c.output_sizes)
        ):  # fmt: skip
            found = {node.name: node.shape for node in nodes}
            for name in sorted(set(found) ^ set(sizes)):
                where = "graph, not in the contract" if name in found else "contract, not in the graph"
                raise PolicyFileError(f"{kind} {name!r} is in the {where}")
            for name, shape in found.items():
                if any(not isinstance(size, int) for size in shape) or int(np.prod(shape)) != sizes[name]:
                    raise PolicyFileError(f"{kind} {name!r} has shape {shape}, the contract says {sizes[name]} values")

    def reset(self) -> None:
        """Set the memory to its initial values: as at the start of an episode."""
        for name, value in self._initial.items():
            self._memory[name] = value.copy()

    def set(self, values: Mapping[str, float]) -> None:
        """Change settings; those that are not named stay as they are. May be called from another thread.

        Raises:
            ConfigError: a setting that the policy does not have, or a value outside of its range; nothing is changed.
        """
        self.settings = self.contract.complete({**self.settings, **values})

    def another(self) -> OnnxPolicy:
        """Return the policy of another robot, with the same settings: its memory is its own and as at the start."""
        other = copy.copy(self)
        other._inputs = {name: value.copy() for name, value in self._inputs.items()}
        other._memory = {}
        other.reset()
        return other

    def step(self, signals: Mapping[str, Any]) -> PolicyOutput:
        """Evaluate the policy once and move its memory on.

        Args:
            signals: raw signals by name, (width,) each, in the units and frames of the contract; settings may be
                left out, they are as they were set.

        Raises:
            ValueError: a signal is missing, unknown or of another size.
        """
        if self.settings:
            signals = {**self.settings, **signals}
        if signals.keys() != self._shapes.keys():
            missing, extra = self._shapes.keys() - signals.keys(), signals.keys() - self._shapes.keys()
            raise ValueError(f"signals: missing {sorted(missing)}, unknown {sorted(extra)}")
        for name, value in signals.items():
            if np.size(value) != self._shapes[name][1]:
                raise ValueError(f"signal {name!r} needs {self._shapes[name][1]} values, got {np.size(value)}")
            self._inputs[name][0] = value
        outputs = self._run({**self._inputs, **self._memory})
        finite = all(bool(np.isfinite(value).all()) for value in outputs.values())
        if finite:
            for name in self._memory:
                self._memory[name] = outputs[name + NEXT]
        target, action, observation = (outputs[name][0] for name in OUTPUTS)
        return PolicyOutput(target, action, observation, finite)

    def _run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(self._names, self._session.run(self._names, dict(inputs)), strict=True))

    def check_golden(self) -> list[str]:
        """Compute the golden pairs; return one line for each output that differs by more than ``TOLERANCE``."""
        failures = []
        for i, pair in enumerate(self.contract.golden):
            inputs = {}
            for name, values in pair.inputs.items():
                shape = self._shapes[name] if name in self._shapes else self._initial[name].shape
                inputs[name] = _float32(values).reshape(shape)
            for name, value in self._run(inputs).items():
                error = float(np.max(np.abs(value.ravel() - _float32(pair.outputs[name])), initial=0.0))
                if not error <= TOLERANCE:
                    failures.append(f"golden pair {i}: output {name!r} differs by {error:.2g} (limit {TOLERANCE:g})")
        return failures


def _session(data: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base
        raise PolicyFileError(f"ONNX Runtime cannot load the graph: {str(error).splitlines()[0]}") from error


def _float32(values: Sequence[float]) -> Array:
    return np.asarray(values, dtype=np.float32)
