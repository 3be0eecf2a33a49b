"""Drives and policy in other processes, behind the interfaces that the control loop has for those in its own."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rclpy.duration import Duration
from rclpy.publisher import Publisher
from std_msgs.msg import Float64MultiArray

from robolearn.deploy.inputs import AnyFloat, PolicyResult, PolicySetup
from robolearn.deploy.types import JointCommand, RobotState
from robolearn.deploy.wire import CommandPacket, Cycle, PolicyPackets, WireError
from robolearn_ros.inbox import Inbox
from robolearn_ros.messages import multi_array

_BEHIND = 1
"""Requests that an answer may be behind: it is stamped when it comes, so the monitor could not see how old it is."""


@dataclass
class LastHeard:
    """When somebody was last heard of.

    The age counts in the clock that ran less, the controller's or the computer's: a simulation that runs fast does not
    make the others look dead, nor does one that is held up by a busy computer.
    """

    control: float = field(default=float("-inf"))
    wall: float = field(default=float("-inf"))

    def hear(self, now: float) -> None:
        """Note a sign of life at ``now``, s on the controller's clock."""
        self.control, self.wall = now, time.monotonic()

    def age(self, now: float) -> float:
        """Return how long ago it was, s; infinite when there never was one."""
        return max(0.0, min(now - self.control, time.monotonic() - self.wall))


DELIVERY_LIMIT = 0.5
"""s to wait for drives to confirm the last command; they brake by themselves soon after."""


class RemoteDrive:
    """The drive node, as the control loop sees it. Set ``cycle`` before each tick.

    Attributes:
        cycle: what arrived for this tick; None when nothing did.
    """

    def __init__(self, packet: CommandPacket, commands: Publisher) -> None:
        self._packet, self._commands = packet, commands
        self._answers = 0.0
        self._sent: Float64MultiArray | None = None
        self.cycle: Cycle | None = None

    def read_state(self) -> RobotState | None:
        """Return the reading of this tick."""
        return None if self.cycle is None else self.cycle.state

    def write_command(self, command: JointCommand) -> JointCommand:
        """Send a command, as the answer to the newest cycle."""
        if self.cycle is not None:
            self._answers = self.cycle.time
        self._sent = multi_array(self._packet.packet, self._packet.pack(self._answers, command))
        self._commands.publish(self._sent)
        return command

    def repeat(self) -> None:
        """Send the last command again, if there was one."""
        if self._sent is not None:
            self._commands.publish(self._sent)

    def deliver(self) -> bool:
        """Wait until every drive has the last command: a process that ends at once takes what is on its way with it."""
        return bool(self._commands.wait_for_all_acked(Duration(seconds=DELIVERY_LIMIT)))


class RemotePolicy:
    """The policy node, as the control loop sees it.

    Args:
        setup: what the contract says of the policy.
        packets: to ask and to be answered.
        requests: where to ask.
        answers: where the answers come.
        patience: s of wall time to wait for an answer in the tick that asks. When one does not come, there is no
            waiting again until the policy has answered.

    Attributes:
        heard: when the policy answered last.
        refused: why the last packet that was no answer was refused; empty when none was.
        used: number of the answer of this tick; -1 without one.
        late_answers: how many came after the tick that asked.
    """

    def __init__(
        self,
        setup: PolicySetup,
        packets: PolicyPackets,
        requests: Publisher,
        answers: Inbox[Float64MultiArray],
        patience: float,
    ) -> None:
        self.setup = setup
        self._packets, self._requests, self._answers, self._patience = packets, requests, answers, patience
        self._first = True  # until the policy has answered: a request may be lost, and with it the word to forget
        self._number = 0
        self._begin = 1
        self._silent = False
        self.heard = LastHeard()
        self.refused = ""
        self.used = -1
        self.late_answers = 0

    def reset(self) -> None:
        """Let the next request be a first one: answers to earlier ones are not used."""
        self._first, self._begin = True, self._number + 1

    def evaluate(self, state: RobotState, command: AnyFloat, now: float) -> PolicyResult | None:
        """Ask, and wait a moment for the answer."""
        self._number += 1
        packet = self._packets.ask(self._number, self._first, state, command)
        self._requests.publish(multi_array(self._packets.input, packet))
        end = time.monotonic() + (0.0 if self._silent else self._patience)
        while True:
            found = self._take(end - time.monotonic(), now)
            if found is None or self.used == self._number:
                self._silent = found is None
                return found

    def late(self, now: float) -> PolicyResult | None:
        """Return an answer that was not waited for."""
        found = self._take(0.0, now)
        if found is not None:
            self.late_answers += 1
            self._silent = False
        return found

    def _take(self, timeout: float, now: float) -> PolicyResult | None:
        self.used = -1
        message = self._answers.take(max(timeout, 0.0))
        if message is None:
            return None
        try:
            number, result = self._packets.answered(message.data, message.layout.data_offset, now)
        except WireError as error:
            self.refused = str(error)
            return None
        self.heard.hear(now)
        if not max(self._begin, self._number - _BEHIND) <= number <= self._number:
            return None
        self.used, self._first = number, False
        return result
