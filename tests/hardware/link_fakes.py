"""A clock that tests turn by hand, a link that remembers, a robot file of three joints."""

from dataclasses import replace

import numpy as np

from hardware.base import JointCommand, Motor, RobotState
from robolearn.deploy.robot import load_robot_file

JOINTS = ("hip", "knee", "ankle")


class HandClock:
    def __init__(self):
        self.time = 10.0

    def now(self):
        return self.time

    def wait(self, seconds):
        self.time += seconds


class RecordingLink:
    """Remembers what it is sent; the ``before_...`` may misbehave; readings are put into ``mailbox``."""

    def __init__(self, motors=JOINTS):
        self.motors = tuple(motor if isinstance(motor, Motor) else Motor(motor) for motor in motors)
        self.sent, self.calls, self.mailbox = [], [], []
        self.before_send = self.before_read = self.before_open = lambda: None

    def open(self):
        self.calls.append("open")
        self.before_open()

    def close(self):
        self.calls.append("close")

    def read(self):
        self.before_read()
        return self.mailbox.pop() if self.mailbox else None

    def send(self, command):
        self.before_send()
        self.sent.append(command)


def robot_file(joints=JOINTS):
    """Limits that differ from joint to joint, so that a mix-up shows."""
    count = len(joints)
    row = np.arange(1.0, count + 1)
    return replace(
        load_robot_file("a1"),
        name="small",
        joints=tuple(joints),
        soft_low=-row,
        soft_high=row,
        hard_low=-row - 0.1,
        hard_high=row + 0.1,
        velocity_limit=10 * row,
        effort_limit=20 * row,
        rate_limit=5 * row,
        default_pose=0.1 * row,
        stand_kp=30 * row,
        stand_kd=0.3 * row,
        damping_kd=0.5 * row,
        kp_limit=40 * row,
        kd_limit=0.6 * row,
        control_hz=200.0,
        command_timeout=0.1,
    )


def reading(sequence=1, stamp=10.0, count=3, **changes):
    """Every number different from every other."""
    base = RobotState(
        position=0.1 * np.arange(1.0, count + 1) + 0.001 * sequence,
        velocity=-0.2 * np.arange(1.0, count + 1) - 0.002 * sequence,
        torque=3.0 * np.arange(1.0, count + 1) + 0.01 * sequence,
        orientation=np.array([0.8, 0.6 * np.cos(sequence), 0.6 * np.sin(sequence), 0.0]),
        angular_velocity=np.array([0.01, 0.02, 0.03]) + 0.001 * sequence,
        sequence=sequence,
        stamp=stamp,
        acceleration=np.array([0.5, 0.6, 9.7]) + 0.001 * sequence,
        temperature=30.0 + np.arange(count) + 0.01 * sequence,
        battery=0.9 - 0.0001 * sequence,
    )
    return replace(base, **changes)


def stiff(count=3, kp=5.0, **changes):
    row = np.arange(1.0, count + 1)
    return replace(JointCommand(0.1 * row, 0.2 * row, np.full(count, kp), np.full(count, 0.1), 0.3 * row), **changes)


def same(a, b):
    """Whether two packets are equal, field by field; NaN equals NaN."""
    return all(np.array_equal(getattr(a, name), getattr(b, name), equal_nan=True) for name in type(a).__slots__)
