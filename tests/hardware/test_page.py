"""What docs/hardware.md says is true: its link works, its diagram is the table of the code."""

import re
import subprocess
import sys
import types
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from link_fakes import robot_file, same

from hardware.base import TRANSITIONS, Clock, JointCommand, Motor, RobotDriver, RobotState

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "hardware.md").read_text(encoding="utf-8")


def block(kind, containing):
    (found,) = [body for body in re.findall(rf"```{kind}\n(.*?)```", PAGE, re.S) if containing in body]
    return found


class LowLevel:
    """The imaginary vendor's SDK."""

    def __init__(self, address, watchdog_ms):
        self.sent, self.open = [], True
        LowLevel.last = self

    def on_state(self, callback):
        self.callback = callback

    def send(self, *arrays):
        self.sent.append(JointCommand(*arrays))

    def shutdown(self):
        self.open = False


def raw_state(tick):
    motors = [types.SimpleNamespace(q=0.021 + tick, dq=1.0, tau=2.0) for _ in range(3)]
    quat = types.SimpleNamespace(w=1.0, x=0.0, y=0.0, z=0.0)
    return types.SimpleNamespace(motors=motors, quat=quat, gyro_dps=np.array([180.0, 0, 0]), tick=tick, soc=80)


@pytest.fixture
def acme(clock):
    names = {"np": np, "deque": deque, "Any": Any}
    names |= {"Clock": Clock, "Motor": Motor, "JointCommand": JointCommand, "RobotState": RobotState}
    exec(compile(block("python", "class AcmeLink"), "docs/hardware.md", "exec", dont_inherit=True), names)
    return names["AcmeLink"]("10.0.0.1", clock)


def test_the_link_of_the_page_drives_a_robot(acme, clock, monkeypatch):
    monkeypatch.setitem(sys.modules, "acme_sdk", types.SimpleNamespace(LowLevel=LowLevel))
    robot = robot_file(("FR_calf_joint", "FR_hip_joint", "FR_thigh_joint"))
    with RobotDriver(acme, robot, clock) as driver:
        sdk = LowLevel.last
        assert driver.read_state() is None
        sdk.callback(raw_state(1))
        sdk.callback(raw_state(2))
        state = driver.read_state()
        assert (state.sequence, state.stamp, state.battery) == (2, clock.now(), 0.8)
        np.testing.assert_allclose(state.position, [2.021 - 1.571, -2.0, -2.034])
        np.testing.assert_allclose(state.velocity, [1, -1, -1])
        np.testing.assert_allclose(state.angular_velocity, [np.pi, 0, 0])
        assert driver.read_state() is state
        driver.activate()
        driver.cycle()
        np.testing.assert_array_equal(sdk.sent[-1].kd, robot.damping_kd[[1, 2, 0]])
    assert len(sdk.sent) > 10
    assert not sdk.open
    assert same(sdk.sent[-1], sdk.sent[0])


def test_without_the_sdk_the_error_is_plain_and_the_link_is_closed(acme, clock):
    with pytest.raises(ModuleNotFoundError, match="acme_sdk"), RobotDriver(acme, robot_file(), clock):
        pass


def test_the_diagram_shows_the_transitions_of_the_code():
    drawn = set(re.findall(r"^ +(\w+) --> (\w+): (\w+)", block("mermaid", "stateDiagram"), re.M))
    coded = {
        (before.value, after.value, operation)
        for operation, row in TRANSITIONS.items()
        for before, after in row.items()
        if before is not after
    }
    assert drawn == coded


def test_files_that_the_page_names_exist():
    for name in re.findall(r"`(hardware/\w+\.py)`", PAGE):
        assert (ROOT / name).is_file(), name


def test_only_the_simulated_robot_needs_a_simulator():
    code = (
        "import sys, hardware.base, hardware.drive_thread, hardware.faults, hardware.loopback\n"
        "print(sorted({'mujoco', 'torch', 'rclpy', 'sim'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"
