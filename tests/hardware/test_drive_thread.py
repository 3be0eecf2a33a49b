"""The thread that drives while the control loop hangs. Its clock is turned by its own waiting; nothing is timed."""

import itertools
import threading
import time

import pytest
from link_fakes import HandClock, RecordingLink, robot_file, same, stiff

from hardware.base import EXIT_CYCLES, JointCommand, Lifecycle, RobotDriver, SystemClock
from hardware.drive_thread import DriveThread

ROBOT = robot_file()
DAMPING = JointCommand.damping(ROBOT.damping_kd)


class YieldingClock(HandClock):
    def wait(self, seconds):
        time.sleep(1e-4)  # let others run
        super().wait(seconds)


def test_a_control_loop_that_hangs_is_damped():
    link, clock, damped = RecordingLink(), YieldingClock(), threading.Event()
    with RobotDriver(link, ROBOT, clock) as driver:
        driver.activate()
        driver.write_command(stiff())
        link.before_send = lambda: driver.state is Lifecycle.FAULT and damped.set()
        with DriveThread(driver, clock):
            assert damped.wait(30), "this thread hangs here; the other one must brake"
        assert "command_timeout" in driver.fault
    assert all(same(command, DAMPING) for command in link.sent[-EXIT_CYCLES:])


def test_the_thread_has_ended_when_its_block_ends():
    link, clock = RecordingLink(), YieldingClock()
    before = threading.active_count()
    with pytest.raises(ValueError, match="x"), RobotDriver(link, ROBOT, clock) as driver:
        driver.activate()
        with DriveThread(driver, clock):
            assert threading.active_count() == before + 1
            raise ValueError("x")
    assert threading.active_count() == before
    assert same(link.sent[-1], DAMPING)


def test_a_late_computer_is_counted_and_not_caught_up_with():
    link, clock, enough = RecordingLink(), YieldingClock(), threading.Event()
    driver = RobotDriver(link, ROBOT, clock)
    driver.connect()
    driver.configure()
    driver.activate()
    times = []

    def slow():
        times.append(clock.now())
        if len(times) == 3:
            clock.time += 4.5 * ROBOT.control_dt
        if len(times) >= 6:
            enough.set()

    link.before_send = slow
    with DriveThread(driver, clock) as thread:
        assert enough.wait(30)
    assert thread.overruns == 3
    gaps = [round((b - a) / ROBOT.control_dt, 6) for a, b in itertools.pairwise(times[:6])]
    assert gaps == [1, 1, 4.5, 0.5, 1]


def test_the_system_clock_goes_on():
    clock = SystemClock()
    start = clock.now()
    clock.wait(1e-3)
    assert clock.now() > start
