"""Lets the real nodes of a simulated robot walk one episode on a command script, and records all that passes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robolearn.deploy import bringup, processes
from robolearn.deploy.contract import read_contract
from robolearn.deploy.types import Array

if TYPE_CHECKING:
    from robolearn_ros.operator import Operator

LIMIT = 60.0
"""s of wall time in which nodes must be up, and each step be done."""
SLOW = 10.0
"""Wall seconds that a simulated one may take."""
HEARD = frozenset(("robot_state", "joint_commands", "safety_monitor/tick", "policy_node/heartbeat"))
"""What the recorder must hear before the robot may move: a recording with a hole proves nothing."""
MARGIN = 3
"""Steps of the policy beyond the script: the last one needs the reading after it."""


class NodesError(RuntimeError):
    """The nodes did not get as far as walking; says why, and what they wrote last."""


@dataclass(frozen=True)
class Way:
    """How the nodes are run.

    Attributes:
        policy: the policy file.
        domain: ROS domain; None: that of the environment.
        timestep: s of physics.
        speed: largest speed of simulated time; 0: as fast as it goes.
        fault: injected between drives and driver before the robot walks; None: none.
    """

    policy: Path
    domain: int | None
    timestep: float
    speed: float = 1.0
    fault: Mapping[str, Any] | None = None


def walk(way: Way, script: Array, namespace: str, folder: Path) -> None:
    """Start the nodes, stand up, follow a script (T, 3) from the policy's first step on, and stop the nodes.

    A robot that is stopped by its safety monitor ends the episode; the recording says so.

    Args:
        way: how.
        script: commands, a row for each step of the policy.
        namespace: of these nodes alone, so that nobody else is heard.
        folder: gets the recording.

    Raises:
        ConfigError: the policy has no robot file, or ROS 2 is not installed.
        NodesError: they did not get as far as walking.
    """
    contract, _ = read_contract(way.policy)
    lines: list[str] = []
    with tempfile.TemporaryDirectory(prefix="robolearn-") as scratch:
        wanted = bringup.BringUp(
            robot=contract.robot.name,
            policy=str(way.policy),
            namespace=namespace,
            record=str(folder),
            latch_file=str(Path(scratch) / "estop.latch"),
            parameters={"sim_node": {"timestep": way.timestep, "real_time_factor": way.speed}},
            domain=way.domain,
        )
        with processes.nodes(bringup.plan(wanted), way.domain, lines.append) as running:
            from robolearn_ros.operator import Operator, OperatorError

            with Operator(namespace, way.domain) as operator:
                try:
                    _start(operator, way.fault)
                    _follow(operator, script, contract.control_dt)
                except OperatorError as error:
                    ended = running.failed()
                    raise NodesError("\n".join([str(ended or error), *lines[-10:]])) from error


def _start(operator: Operator, fault: Mapping[str, Any] | None) -> None:
    """From nodes that come up to a policy that is given control, with no velocity."""
    operator.wait_for_state("idle", LIMIT)
    operator.wait_for(lambda: _heard(operator) >= HEARD, LIMIT, "the recorder's word that it hears everybody")
    operator.drive(0.0)
    operator.reach("arm", "idle", LIMIT)
    operator.reach("stand", "ready", LIMIT)
    if fault is not None:
        operator.inject_fault(fault, LIMIT)
    operator.reach("start_policy", timeout=LIMIT)


def _follow(operator: Operator, script: Array, dt: float) -> None:
    """Ask for each row of a script when its time has come on the robot's clock."""
    limit = LIMIT + SLOW * dt * len(script)
    operator.wait_for(lambda: bool(_entered(operator)), LIMIT, "the event of the policy's start")
    begin = _entered(operator)[-1]

    def ended() -> bool:  # by its event: the state comes on another topic, and may still be that of before the start
        return any(event.get("from") == "policy" and event["time"] >= begin for event in operator.events)

    def until(step: int) -> bool:
        end = begin + step * dt
        operator.wait_for(lambda: operator.robot_time >= end or ended(), limit, f"step {step}")
        return not ended()

    for step, row in enumerate(script):
        if step and (row == script[step - 1]).all():
            continue
        if not until(step):
            return
        operator.drive(*row)
    until(len(script) + MARGIN)


def _heard(operator: Operator) -> frozenset[str]:
    said = operator.diagnostics.get("recorder_node: recording", {}).get("topics heard", "")
    return frozenset(said.split(", "))


def _entered(operator: Operator) -> list[float]:
    """Return when the policy took over, s on the robot's clock; empty while that was not heard."""
    return [event["time"] for event in operator.events if event.get("mode") == "policy" and "from" in event]
