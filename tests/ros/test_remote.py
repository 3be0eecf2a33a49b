"""Drives and policy in other processes, with the messages in the test's hands."""

import math

import numpy as np
import pytest
from stack import RELEASED

from robolearn.deploy.contract import read_contract
from robolearn.deploy.inputs import PolicyResult, PolicySetup
from robolearn.deploy.robot import load_robot_file
from robolearn.deploy.types import JointCommand, RobotState
from robolearn.deploy.wire import CommandPacket, Cycle, PolicyPackets
from robolearn_ros import remote
from robolearn_ros.messages import multi_array
from robolearn_ros.remote import LastHeard, RemoteDrive, RemotePolicy

ROBOT = load_robot_file("a1")
CONTRACT, SHA = read_contract(RELEASED)
PACKETS = PolicyPackets(ROBOT, CONTRACT, SHA)
STATE = RobotState(*(np.zeros(12) for _ in range(3)), np.array([1.0, 0, 0, 0]), np.zeros(3), 1, 0.0)


class Sent(list):
    def publish(self, message):
        self.append(message)


class Answers(list):
    """What `take` shall give, call after call; notes how long each was willing to wait."""

    def __init__(self, *given):
        super().__init__(given)
        self.waited = []

    def take(self, timeout):
        self.waited.append(timeout)
        return self.pop(0) if self else None


def answer(number, packets=PACKETS, value=0.5):
    width = CONTRACT.observation.width
    result = PolicyResult(np.full(12, value), np.zeros(12), np.zeros(width), 0.001, 0.0)
    return multi_array(packets.output, packets.answer(number, result))


def policy(*answers, patience=60.0):
    found = Answers(*answers)
    return RemotePolicy(PolicySetup.from_contract(CONTRACT, ROBOT), PACKETS, Sent(), found, patience), found


def test_an_answer_in_time_is_stamped_here():
    asked, _ = policy(answer(1))
    result = asked.evaluate(STATE, np.zeros(3), 7.0)
    assert (result.stamp, asked.used, asked.late_answers) == (7.0, 1, 0)
    assert asked.heard.control == 7.0


def test_a_late_answer_is_used_in_the_next_tick_and_counted():
    asked, answers = policy(None, answer(1))
    assert asked.evaluate(STATE, np.zeros(3), 1.0) is None
    assert asked.late(1.005).stamp == 1.005
    assert (asked.late_answers, asked.used) == (1, 1)
    assert answers.waited[1] == 0.0


def test_a_silent_policy_is_not_waited_for_again_until_it_answers():
    asked, answers = policy(None, None, answer(2), answer(3))
    asked.evaluate(STATE, np.zeros(3), 1.0)
    asked.evaluate(STATE, np.zeros(3), 1.02)
    assert answers.waited[0] > 0.0 and answers.waited[1] == 0.0
    assert asked.late(1.03) is not None
    asked.evaluate(STATE, np.zeros(3), 1.04)
    assert answers.waited[-1] > 0.0


def test_answers_from_before_a_reset_or_to_nothing_are_not_used():
    asked, answers = policy(answer(1))
    asked.evaluate(STATE, np.zeros(3), 1.0)
    asked.reset()
    answers += [answer(1)]
    assert asked.evaluate(STATE, np.zeros(3), 2.0) is None
    answers += [answer(99)]
    assert asked.late(2.0) is None
    assert asked.used == -1


@pytest.mark.parametrize("sha", ["another file"])
def test_the_answer_of_another_policy_is_refused(sha):
    asked, _ = policy(answer(1, PolicyPackets(ROBOT, CONTRACT, sha)))
    assert asked.evaluate(STATE, np.zeros(3), 1.0) is None
    assert "another policy" in asked.refused


def test_an_answer_to_an_old_request_is_not_used():
    """It is stamped when it comes: the monitor could not see that it belongs to readings of long ago."""
    asked, answers = policy()
    for i in range(3):
        asked.evaluate(STATE, np.zeros(3), 0.02 * i)
    answers += [answer(1)]
    assert asked.late(0.06) is None
    answers += [answer(2)]
    assert asked.late(0.06).stamp == 0.06


def test_the_policy_is_told_to_forget_its_past_until_it_has_answered():
    """A request that was lost, or overtaken by the next one, must not leave it with the memory of an earlier walk."""
    asked, answers = policy()
    for _ in range(2):
        asked.evaluate(STATE, np.zeros(3), 1.0)
    answers += [answer(2)]
    asked.late(1.0)
    asked.evaluate(STATE, np.zeros(3), 1.0)
    asked.reset()
    asked.evaluate(STATE, np.zeros(3), 1.0)
    first = [PACKETS.asked(m.data, m.layout.data_offset)[1] for m in asked._requests]
    assert first == [True, True, False, True]


def test_a_command_answers_the_newest_cycle_and_can_be_repeated():
    packet, sent = CommandPacket(ROBOT), Sent()
    drive = RemoteDrive(packet, sent)
    drive.repeat()
    assert sent == [] and drive.read_state() is None
    drive.cycle = Cycle(3.5, False, STATE)
    command = JointCommand.damping(ROBOT.damping_kd)
    assert drive.write_command(command) is command
    drive.cycle = None
    drive.write_command(command)
    drive.repeat()
    assert [packet.unpack(m.data, m.layout.data_offset)[0] for m in sent] == [3.5] * 3


def test_ages_count_in_the_clock_that_ran_less(monkeypatch):
    wall = [100.0]
    monkeypatch.setattr(remote.time, "monotonic", lambda: wall[0])
    heard = LastHeard()
    assert heard.age(0.0) == math.inf
    heard.hear(1.0)
    wall[0] = 100.5
    assert heard.age(1.1) == pytest.approx(0.1)  # a simulation that is held up
    assert heard.age(9.0) == pytest.approx(0.5)  # one that runs fast
    assert heard.age(0.5) == 0.0
