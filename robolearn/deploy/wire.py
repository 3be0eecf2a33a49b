"""How readings, commands and the policy's inputs and outputs travel between processes: packets of float64.

A packet is one array, so that what belongs together cannot be torn apart on the way. Its fingerprint says which robot,
which joints in which order and which policy it was made for; whoever reads it compares that before anything else.
"""

from __future__ import annotations

import math
import zlib
from array import array
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robolearn.deploy.contract import PolicyContract
from robolearn.deploy.controller import ControlOutput
from robolearn.deploy.inputs import Inputs, PolicyResult
from robolearn.deploy.modes import Mode
from robolearn.deploy.power import Power
from robolearn.deploy.robot import RobotFile
from robolearn.deploy.types import Array, JointCommand, RobotState

_COMMAND = ("position", "velocity", "kp", "kd", "torque")


class WireError(ValueError):
    """A packet that is not what its reader expects."""


class Packet:
    """A layout: named fields, one after the other, with fixed widths.

    Attributes:
        kind: name of the layout.
        size: number of values.
        fingerprint: 32 bits that two processes compare: kind, fields and what ``identity`` names.
    """

    def __init__(self, kind: str, fields: Mapping[str, int], identity: Sequence[str]) -> None:
        self.kind = kind
        self._slices: dict[str, slice] = {}
        start = 0
        for name, width in fields.items():
            self._slices[name] = slice(start, start + width)
            start += width
        self.size = start
        text = "\n".join((kind, *(f"{name} {width}" for name, width in fields.items()), *identity))
        self.fingerprint = zlib.crc32(text.encode())

    def pack(self, **values: ArrayLike) -> array[float]:
        """Put the fields together; each must be given, with its width."""
        data = np.empty(self.size)
        for name, where in self._slices.items():
            data[where] = values[name]
        return array("d", data.tobytes())

    def unpack(self, data: Sequence[float], fingerprint: int) -> dict[str, Array]:
        """Take a packet apart; the parts are views of one new array.

        Raises:
            WireError: another robot, other joints, another policy, or a wrong size.
        """
        if fingerprint != self.fingerprint:
            raise WireError(
                f"{self.kind}: fingerprint {fingerprint:08x} instead of {self.fingerprint:08x}: "
                "the sender runs another robot file, other joints or another policy"
            )
        if len(data) != self.size:
            raise WireError(f"{self.kind}: {len(data)} values instead of {self.size}")
        values = np.array(data, np.float64)
        return {name: values[where] for name, where in self._slices.items()}


class Cycle(NamedTuple):
    """A control cycle of the drives, as it arrived.

    Attributes:
        time: s, on the sender's clock.
        fault: whether the driver is in fault: it damps, whatever is commanded.
        state: the reading; None when none came in this cycle.
    """

    time: float
    fault: bool
    state: RobotState | None


class StatePacket:
    """A control cycle of the drives: its time, whether their driver is in fault, and its reading if there is one.

    ``age`` is how old the reading was when it was sent: the receiver stamps it by the time of arrival on its own clock,
    and two machines' clocks need not agree.
    """

    def __init__(self, robot: RobotFile) -> None:
        """Describe the readings of a robot."""
        count = len(robot.joints)
        fields = {
            "cycle": 1, "fault": 1, "age": 1, "sequence": 1, "battery": 1, "position": count, "velocity": count,
            "torque": count, "orientation": 4, "angular_velocity": 3, "acceleration": 3, "temperature": count,
        }  # fmt: skip
        self.packet = Packet("robot_state", fields, (robot.name, *robot.joints))

    def pack(self, cycle: float, fault: bool, state: RobotState | None) -> array[float]:
        """Return the packet of the cycle at time ``cycle`` (s, the sender's clock); without a reading it is short."""
        if state is None:
            return array("d", [cycle, fault])
        return self.packet.pack(
            cycle=cycle,
            fault=fault,
            age=cycle - state.stamp,
            sequence=state.sequence,
            battery=state.battery,
            position=state.position,
            velocity=state.velocity,
            torque=state.torque,
            orientation=state.orientation,
            angular_velocity=state.angular_velocity,
            acceleration=state.acceleration,
            temperature=state.temperature if len(state.temperature) else np.nan,
        )

    def unpack(self, data: Sequence[float], fingerprint: int, now: float) -> Cycle:
        """Return the cycle, its reading stamped on the receiver's clock.

        Args:
            data: the packet.
            fingerprint: that came with it.
            now: s, when it arrived, on the receiver's clock; NaN: the sender's clock is the receiver's.

        Raises:
            WireError: it is not such a packet.
        """
        if len(data) == 2 and fingerprint == self.packet.fingerprint:
            return Cycle(float(data[0]), bool(data[1]), None)
        part = self.packet.unpack(data, fingerprint)
        temperature, sequence, cycle = part["temperature"], float(part["sequence"][0]), float(part["cycle"][0])
        if not sequence.is_integer():
            raise WireError(f"robot_state: sequence {sequence} is no whole number")
        state = RobotState(
            position=part["position"],
            velocity=part["velocity"],
            torque=part["torque"],
            orientation=part["orientation"],
            angular_velocity=part["angular_velocity"],
            sequence=int(sequence),
            stamp=(cycle if math.isnan(now) else now) - float(part["age"][0]),
            acceleration=part["acceleration"],
            temperature=temperature[:0] if np.isnan(temperature).all() else temperature,
            battery=float(part["battery"][0]),
        )
        return Cycle(cycle, bool(part["fault"][0]), state)


class PowerPacket:
    """Mechanical power of the drives over the control cycle that ends at ``cycle``, s: W, and the energy so far, J.

    Topic ``power``. It is for everyone: the controller does not read it.
    """

    def __init__(self, robot: RobotFile) -> None:
        """Describe the power of a robot."""
        self.packet = Packet("power", dict.fromkeys(("cycle", "power", "energy"), 1), (robot.name, *robot.joints))

    def pack(self, cycle: float, found: Power) -> array[float]:
        """Return the packet of the cycle at time ``cycle``, s on the sender's clock."""
        return self.packet.pack(cycle=cycle, power=found.power, energy=found.energy)


class CommandPacket:
    """A joint command, and the time of the control cycle that it answers."""

    def __init__(self, robot: RobotFile) -> None:
        """Describe the commands for a robot."""
        fields = {"cycle": 1, **dict.fromkeys(_COMMAND, len(robot.joints))}
        self.packet = Packet("joint_commands", fields, (robot.name, *robot.joints))

    def pack(self, cycle: float, command: JointCommand) -> array[float]:
        """Return the packet; ``cycle`` is the time of the ``robot_state`` that it answers, s."""
        return self.packet.pack(cycle=cycle, **{name: getattr(command, name) for name in _COMMAND})

    def unpack(self, data: Sequence[float], fingerprint: int) -> tuple[float, JointCommand]:
        """Return the time of the cycle that is answered, and the command.

        Raises:
            WireError: it is not such a packet.
        """
        part = self.packet.unpack(data, fingerprint)
        return float(part["cycle"][0]), JointCommand(*(part[name] for name in _COMMAND))


class PolicyPackets:
    """What a policy is asked, and what it answers: J joints, C velocity commands, D observations, S settings.

    The operator's settings are a matter of the policy's process: they come with the answer that they had a part in. A
    policy without any has no such field, as before there were settings.
    """

    def __init__(self, robot: RobotFile, contract: PolicyContract, sha256: str) -> None:
        """Describe the packets for the policy with this contract, in the file with this hash."""
        count, identity = len(robot.joints), (robot.name, *robot.joints, sha256)
        asked = {
            "number": 1, "first": 1, "position": count, "velocity": count, "orientation": 4, "angular_velocity": 3,
            "command": len(contract.command),
        }  # fmt: skip
        answered = {
            "number": 1,
            "evaluation": 1,
            "inference_time": 1,
            "joint_target": count,
            "action": count,
            "observation": contract.observation.width,
        }
        self._settings = len(contract.settings)
        if self._settings:
            answered["settings"] = self._settings
        self.input = Packet("policy_input", asked, identity)
        self.output = Packet("policy_output", answered, identity)

    def ask(self, number: int, first: bool, state: RobotState, command: ArrayLike) -> array[float]:
        """Return request ``number``; the policy forgets its past before the ``first`` one."""
        return self.input.pack(
            number=number,
            first=first,
            position=state.position,
            velocity=state.velocity,
            orientation=state.orientation,
            angular_velocity=state.angular_velocity,
            command=command,
        )

    def asked(self, data: Sequence[float], fingerprint: int) -> tuple[int, bool, RobotState, NDArray[np.float64]]:
        """Return number, whether it is the first, the signals, and the command (C,) of a request.

        Raises:
            WireError: it is not such a packet.
        """
        part = self.input.unpack(data, fingerprint)
        number = float(part["number"][0])
        if not number.is_integer():
            raise WireError(f"policy_input: number {number} is no whole number")
        state = RobotState(
            position=part["position"],
            velocity=part["velocity"],
            torque=np.zeros(len(part["position"])),
            orientation=part["orientation"],
            angular_velocity=part["angular_velocity"],
            sequence=int(number),
            stamp=0.0,
        )
        return int(number), bool(part["first"][0]), state, part["command"]

    def answer(self, number: int, result: PolicyResult) -> array[float]:
        """Return the answer to request ``number``."""
        settings = {"settings": result.settings} if self._settings else {}
        return self.output.pack(
            **settings,
            number=number,
            evaluation=result.evaluation,
            inference_time=result.inference_time,
            joint_target=result.joint_target,
            action=result.action,
            observation=result.observation,
        )

    def answered(self, data: Sequence[float], fingerprint: int, now: float) -> tuple[int, PolicyResult]:
        """Return the number of the request and the result, stamped ``now`` (s).

        Raises:
            WireError: it is not such a packet.
        """
        part = self.output.unpack(data, fingerprint)
        number, evaluation = float(part["number"][0]), float(part["evaluation"][0])
        for name, value in (("number", number), ("evaluation", evaluation)):
            if not value.is_integer():
                raise WireError(f"policy_output: {name} {value} is no whole number")
        return int(number), PolicyResult(
            joint_target=part["joint_target"],
            action=part["action"],
            observation=part["observation"],
            inference_time=float(part["inference_time"][0]),
            stamp=now,
            settings=part.get("settings", np.zeros(0)),
            evaluation=int(evaluation),
        )


class TickPacket:
    """What a tick of the controller looked at besides reading and policy, and what it did: a run can be decided again.

    Fields: ``now`` (s, the controller's clock), ``wall`` (s, the computer's monotonic clock), ``cycle`` (s, of the
    ``robot_state`` that was read; NaN without one), ``answer`` (number of the policy's answer that was used; -1
    without one), ``mode`` (index in ``Mode``) after the tick, ``armed``, ``fault``, ``estop``, the ages (s), the
    velocity command as it came and as the policy shall follow it.
    """

    def __init__(self, robot: RobotFile, commands: int) -> None:
        """Describe the ticks for a robot whose policy follows ``commands`` velocity commands."""
        names = ("now", "wall", "cycle", "answer", "mode", "armed", "fault", "estop", "command_age", "policy_age",
                 "hardware_age")  # fmt: skip
        fields = {**dict.fromkeys(names, 1), "command": commands, "followed": commands}
        self.packet = Packet("tick", fields, (robot.name, *robot.joints))

    def pack(
        self, now: float, wall: float, cycle: float, answer: int, inputs: Inputs, output: ControlOutput
    ) -> array[float]:
        """Return the packet of a tick."""
        return self.packet.pack(
            now=now,
            wall=wall,
            cycle=cycle,
            answer=answer,
            mode=list(Mode).index(output.mode),
            armed=output.armed,
            fault=bool(inputs.fault),
            estop=inputs.estop,
            command_age=inputs.command_age,
            policy_age=inputs.policy_age,
            hardware_age=inputs.hardware_age,
            command=inputs.command,
            followed=output.velocity_command,
        )
