"""How readings, commands and the policy's inputs and outputs travel between processes: packets of float64.

A packet is one array, so that what belongs together cannot be torn apart on the way. Its fingerprint says which robot,
which joints in which order and which policy it was made for; whoever reads it compares that before anything else.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robolearn.deploy.inputs import PolicyResult
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


class StatePacket:
    """A control cycle of the drives: its time, and the reading of that cycle where there is one.

    ``age`` is how old the reading was when it was sent: the receiver stamps it by the time of arrival on its own clock,
    and two machines' clocks need not agree.
    """

    def __init__(self, robot: str, joints: Sequence[str]) -> None:
        """Describe the readings of a robot with these joints, in the order of its robot file."""
        count = len(joints)
        fields = {
            "cycle": 1, "age": 1, "sequence": 1, "battery": 1, "position": count, "velocity": count, "torque": count,
            "orientation": 4, "angular_velocity": 3, "acceleration": 3, "temperature": count,
        }  # fmt: skip
        self.packet = Packet("robot_state", fields, (robot, *joints))
        self._count = count

    def pack(self, cycle: float, state: RobotState | None) -> array[float]:
        """Return the packet of the cycle at time ``cycle`` (s, the sender's clock); without a reading it is short."""
        if state is None:
            return array("d", [cycle])
        known = len(state.temperature) > 0
        return self.packet.pack(
            cycle=cycle,
            age=cycle - state.stamp,
            sequence=state.sequence,
            battery=state.battery,
            position=state.position,
            velocity=state.velocity,
            torque=state.torque,
            orientation=state.orientation,
            angular_velocity=state.angular_velocity,
            acceleration=state.acceleration,
            temperature=state.temperature if known else np.nan,
        )

    def unpack(self, data: Sequence[float], fingerprint: int, now: float) -> tuple[float, RobotState | None]:
        """Return the cycle's time (s, the sender's clock) and its reading, stamped on the receiver's clock.

        Args:
            data: the packet.
            fingerprint: that came with it.
            now: s, when it arrived, on the receiver's clock.

        Raises:
            WireError: it is not such a packet.
        """
        if len(data) == 1 and fingerprint == self.packet.fingerprint:
            return float(data[0]), None
        part = self.packet.unpack(data, fingerprint)
        temperature, sequence = part["temperature"], float(part["sequence"][0])
        if not sequence.is_integer():
            raise WireError(f"robot_state: sequence {sequence} is no whole number")
        return float(part["cycle"][0]), RobotState(
            position=part["position"],
            velocity=part["velocity"],
            torque=part["torque"],
            orientation=part["orientation"],
            angular_velocity=part["angular_velocity"],
            sequence=int(sequence),
            stamp=now - float(part["age"][0]),
            acceleration=part["acceleration"],
            temperature=temperature[:0] if np.isnan(temperature).all() else temperature,
            battery=float(part["battery"][0]),
        )


class CommandPacket:
    """A joint command, and the time of the control cycle that it answers."""

    def __init__(self, robot: str, joints: Sequence[str]) -> None:
        """Describe the commands for a robot with these joints, in the order of its robot file."""
        fields = {"cycle": 1, **dict.fromkeys(_COMMAND, len(joints))}
        self.packet = Packet("joint_commands", fields, (robot, *joints))

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
    """What a policy is asked, and what it answers: J joints, C velocity commands, D observations."""

    def __init__(self, robot: str, joints: Sequence[str], commands: int, observations: int, policy: str) -> None:
        """Describe the packets for a policy; ``policy`` identifies its file."""
        count, identity = len(joints), (robot, *joints, policy)
        asked = {
            "number": 1, "first": 1, "position": count, "velocity": count, "orientation": 4, "angular_velocity": 3,
            "command": commands,
        }  # fmt: skip
        answered = {
            "number": 1,
            "inference_time": 1,
            "joint_target": count,
            "action": count,
            "observation": observations,
        }
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
        state = RobotState(
            position=part["position"],
            velocity=part["velocity"],
            torque=np.zeros(len(part["position"])),
            orientation=part["orientation"],
            angular_velocity=part["angular_velocity"],
            sequence=int(part["number"][0]),
            stamp=0.0,
        )
        return int(part["number"][0]), bool(part["first"][0]), state, part["command"]

    def answer(self, number: int, result: PolicyResult) -> array[float]:
        """Return the answer to request ``number``."""
        return self.output.pack(
            number=number,
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
        number = float(part["number"][0])
        if not number.is_integer():
            raise WireError(f"policy_output: number {number} is no whole number")
        return int(number), PolicyResult(
            joint_target=part["joint_target"],
            action=part["action"],
            observation=part["observation"],
            inference_time=float(part["inference_time"][0]),
            stamp=now,
        )
