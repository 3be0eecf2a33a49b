"""The flat metadata keys that existing C++ controllers read: one text of comma-separated values per key."""

from __future__ import annotations

from collections.abc import Iterable

from robolearn.deploy.contract import PolicyContract


def _csv(values: Iterable[object]) -> str:
    return ",".join(repr(value) if isinstance(value, float) else str(value) for value in values)


def csv_metadata(contract: PolicyContract) -> dict[str, str]:
    """Return the keys of mjlab's exporter, at full precision."""
    robot, observation = contract.robot, contract.observation
    return {
        "run_path": contract.provenance["origin"],
        "joint_names": _csv(robot.joints),
        "joint_stiffness": _csv(robot.kp),
        "joint_damping": _csv(robot.kd),
        "default_joint_pos": _csv(robot.default_pose),
        "command_names": _csv(entry.name for entry in contract.command),
        "observation_names": _csv(term.name for term in observation.terms),
        "action_scale": _csv(contract.action.scale),
    }
