"""Limits, dead-man, faults, and damping on every way out."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from link_fakes import HandClock, RecordingLink, reading, robot_file, same, stiff

from hardware.base import EXIT_CYCLES, DriverError, JointCommand, Lifecycle, RobotDriver

ROBOT = robot_file()
DAMPING = JointCommand.damping(ROBOT.damping_kd)
DT = ROBOT.control_dt


@pytest.fixture
def driver(link, clock):
    driver = RobotDriver(link, ROBOT, clock)
    driver.connect()
    driver.configure()
    driver.activate()
    return driver


# Limits


def test_a_command_within_limits_passes_unchanged(driver, link):
    assert same(driver.write_command(stiff()), stiff())
    assert same(link.sent[-1], stiff())


@pytest.mark.parametrize("sign", [1, -1])
def test_each_field_is_limited_joint_by_joint(driver, link, sign):
    huge = np.full(3, 1e9)
    sent = driver.write_command(JointCommand(sign * huge, sign * huge, huge, huge, sign * huge))
    np.testing.assert_array_equal(sent.position, ROBOT.soft_high if sign > 0 else ROBOT.soft_low)
    np.testing.assert_array_equal(sent.velocity, sign * ROBOT.velocity_limit)
    np.testing.assert_array_equal(sent.torque, sign * ROBOT.effort_limit)
    np.testing.assert_array_equal(sent.kp, ROBOT.kp_limit)
    np.testing.assert_array_equal(sent.kd, ROBOT.kd_limit)
    assert same(sent, link.sent[-1])


NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=64)
COMMANDS = st.builds(JointCommand, *(st.lists(NUMBERS, min_size=2, max_size=4).map(np.array) for _ in range(5)))


@given(st.lists(st.tuples(COMMANDS | st.just(stiff()), st.floats(0, 0.2)), max_size=8))
def test_nothing_broken_ever_leaves_the_driver(steps):
    link, clock = RecordingLink(), HandClock()
    with RobotDriver(link, ROBOT, clock) as driver:
        driver.activate()
        for command, pause in steps:
            returned = driver.write_command(command)
            assert same(returned, link.sent[-1])
            clock.wait(pause)
            driver.cycle()
    assert same(link.sent[-1], DAMPING)
    for sent in link.sent:
        assert all(np.isfinite(getattr(sent, name)).all() for name in JointCommand.__slots__)
        assert (ROBOT.soft_low <= sent.position).all()
        assert (sent.position <= ROBOT.soft_high).all()
        assert (np.abs(sent.velocity) <= ROBOT.velocity_limit).all()
        assert (np.abs(sent.torque) <= ROBOT.effort_limit).all()
        assert ((sent.kp >= 0) & (sent.kp <= ROBOT.kp_limit)).all()
        assert ((sent.kd >= 0) & (sent.kd <= ROBOT.kd_limit)).all()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"position": np.array([0.0, np.nan, 0.0])}, "position of joint 'knee' is not finite"),
        ({"torque": np.array([0.0, 0.0, np.inf])}, "torque of joint 'ankle' is not finite"),
        ({"kp": np.array([-1.0, 0.0, 0.0])}, "kp of joint 'hip' is negative"),
        ({"kd": np.array([0.0, -0.1, 0.0])}, "kd of joint 'knee' is negative"),
        ({"velocity": np.zeros(2)}, r"velocity has shape \(2,\), expected \(3,\)"),
    ],
)
def test_a_broken_command_is_a_fault(driver, link, changes, reason):
    driver.write_command(stiff())
    assert same(driver.write_command(stiff(**changes)), DAMPING)
    assert same(link.sent[-1], DAMPING)
    assert driver.state is Lifecycle.FAULT
    assert re.search(reason, driver.fault)


def test_the_caller_may_reuse_its_arrays(driver, link):
    command = stiff()
    driver.write_command(command)
    command.position[:] = np.nan
    assert np.isfinite(driver.cycle().position).all()


# The dead-man


def test_damping_until_the_first_command(driver, link, clock):
    for _ in range(100):
        assert driver.cycle() is driver.damping
        clock.wait(DT)
    assert driver.state is Lifecycle.ACTIVE
    assert len(link.sent) == 100


def test_every_cycle_repeats_the_last_command(driver, link, clock):
    driver.write_command(stiff())
    for _ in range(19):  # one short of command_timeout
        clock.wait(DT)
        assert same(driver.cycle(), stiff())
    assert driver.state is Lifecycle.ACTIVE


def test_the_dead_man(driver, link, clock):
    start = clock.now()
    driver.write_command(stiff())
    while same(driver.cycle(), stiff()):
        assert clock.now() - start <= ROBOT.command_timeout
        clock.wait(DT)
    assert clock.now() - start <= ROBOT.command_timeout + 2 * DT
    assert driver.state is Lifecycle.FAULT
    assert "command_timeout is 0.1 s" in driver.fault
    sent = len(link.sent)
    for _ in range(30):
        assert driver.cycle() is driver.damping
        clock.wait(DT)
    assert len(link.sent) == sent + 30, "repeated every cycle"


def test_a_late_command_does_not_wake_the_robot(driver, link, clock):
    driver.write_command(stiff())
    clock.wait(ROBOT.command_timeout + DT)
    assert same(driver.write_command(stiff()), DAMPING)
    assert same(driver.write_command(stiff()), DAMPING)
    driver.clear_fault()
    driver.activate()
    assert driver.cycle() is driver.damping, "the old command is forgotten"
    assert same(driver.write_command(stiff()), stiff())


def test_fresh_commands_keep_it_alive(driver, clock):
    for _ in range(50):
        assert same(driver.write_command(stiff()), stiff())
        clock.wait(0.9 * ROBOT.command_timeout)


def test_a_clock_that_goes_backwards_is_a_fault(driver, clock):
    driver.write_command(stiff())
    clock.time -= 1.0
    assert driver.cycle() is driver.damping
    assert driver.state is Lifecycle.FAULT


# Faults


def test_a_fault_is_sticky_and_keeps_its_first_reason(driver, link, clock):
    driver.write_command(stiff())
    driver.fail("the first")
    assert same(link.sent[-1], DAMPING), "at once, not at the next cycle"
    driver.fail("the second")
    for _ in range(10):
        assert same(driver.write_command(stiff()), DAMPING)
        clock.wait(DT)
    assert (driver.state, driver.fault) == (Lifecycle.FAULT, "the first")
    sent = len(link.sent)
    driver.clear_fault()
    assert driver.fault is None
    assert len(link.sent) == sent + EXIT_CYCLES
    assert all(same(command, DAMPING) for command in link.sent[-EXIT_CYCLES:])
    assert driver.cycle() is None


def raiser(error):
    def fail():
        raise error

    return fail


def test_a_link_that_cannot_send_is_a_fault_and_damping_is_tried_on(driver, link, clock):
    driver.write_command(stiff())
    link.before_send = raiser(OSError("cable"))
    assert same(driver.write_command(stiff()), DAMPING)
    assert driver.state is Lifecycle.FAULT
    assert "cable" in driver.fault
    assert driver.cycle() is driver.damping
    link.before_send = lambda: None
    driver.cycle()
    assert same(link.sent[-1], DAMPING)


@pytest.mark.parametrize("broken", ["exception", "size"])
def test_a_link_that_cannot_read_is_a_fault(driver, link, broken):
    link.mailbox.append(reading())
    good = driver.read_state()
    if broken == "exception":
        link.before_read = raiser(OSError("cable"))
    else:
        link.mailbox.append(reading(torque=np.zeros(2)))
    assert driver.read_state() is good, "the last good one, which its stamp shows to be old"
    assert driver.state is Lifecycle.FAULT
    assert driver.cycle() is driver.damping


def test_without_news_the_last_reading_stays(driver, link):
    assert driver.read_state() is None
    link.mailbox.append(reading(sequence=7, stamp=10.5))
    first = driver.read_state()
    assert (first.sequence, first.stamp) == (7, 10.5)
    assert driver.read_state() is first


# Ways out


def late_tick(driver, refused):
    """A control thread that was not stopped: it writes a stiff command just before each damping command."""

    def write():
        link = driver._link
        link.before_send, before = (lambda: None), link.before_send
        try:
            driver.write_command(stiff())
        except DriverError:
            refused.append(True)
        link.before_send = before

    return write


def leave(driver, link, clock, way):
    if way in ("exception", "interrupt", "exit"):
        raise {"exception": ValueError("x"), "interrupt": KeyboardInterrupt(), "exit": SystemExit(1)}[way]
    if way == "fault":
        driver.fail("a test")
    elif way == "dead-man":
        clock.wait(1.0)
        driver.cycle()
    elif way == "disconnect":
        driver.disconnect()
    elif way == "deactivate":
        driver.deactivate()


WAYS = ["normal", "exception", "interrupt", "exit", "fault", "dead-man", "disconnect", "deactivate"]


@pytest.mark.parametrize("way", WAYS)
def test_damping_on_every_way_out(link, clock, way):
    driver = RobotDriver(link, ROBOT, clock)
    ended = None
    try:
        with driver:
            driver.activate()
            driver.write_command(stiff())
            start = len(link.sent)
            leave(driver, link, clock, way)
    except (ValueError, KeyboardInterrupt, SystemExit) as error:
        ended = error
    assert (ended is not None) == (way in ("exception", "interrupt", "exit")), "what happened is not hidden"
    assert len(link.sent) >= start + EXIT_CYCLES
    assert all(same(command, DAMPING) for command in link.sent[start:])
    assert link.calls == ["open", "close"]
    assert driver.state is Lifecycle.DISCONNECTED
    assert driver.cycle() is None


@pytest.mark.parametrize("way", ["disconnect", "deactivate"])
def test_a_late_tick_cannot_stiffen_the_joints_again(driver, link, way):
    driver.write_command(stiff())
    start, refused = len(link.sent), []
    link.before_send = late_tick(driver, refused)
    getattr(driver, way)()
    assert len(refused) == EXIT_CYCLES
    assert all(same(command, DAMPING) for command in link.sent[start:])


def test_the_exit_cycles_are_a_control_period_apart(driver, link, clock):
    times = []
    link.before_send = lambda: times.append(clock.now())
    driver.disconnect()
    np.testing.assert_allclose(np.diff(times), DT)
    assert len(times) == EXIT_CYCLES


@pytest.mark.parametrize("error", [OSError("cable"), KeyboardInterrupt(), SystemExit()])
def test_what_happens_while_damping_does_not_stop_the_damping(driver, link, error):
    count = 0

    def once():
        nonlocal count
        count += 1
        if count == 3:
            raise error

    link.before_send = once
    if isinstance(error, Exception):
        driver.disconnect()  # one packet was lost, the later ones arrived
    else:
        with pytest.raises(type(error)):
            driver.disconnect()
    assert len(link.sent) == EXIT_CYCLES - 1
    assert link.calls == ["open", "close"]


@pytest.mark.parametrize("operation", ["disconnect", "deactivate", "clear_fault"])
def test_a_robot_that_does_not_take_the_damping_command_is_reported(driver, link, operation):
    driver.write_command(stiff())
    if operation == "clear_fault":
        driver.fail("a test")
    link.before_send = raiser(OSError("cable"))
    with pytest.raises(DriverError, match="use its own stop"):
        getattr(driver, operation)()
    if operation == "disconnect":
        assert link.calls == ["open", "close"]
    else:
        assert driver.state is Lifecycle.FAULT
        link.before_send = lambda: None
        assert driver.cycle() is driver.damping, "it goes on trying"


def test_a_wait_that_is_interrupted_does_not_stop_the_damping(driver, link, clock):
    clock.wait = lambda seconds: raiser(KeyboardInterrupt())()
    with pytest.raises(KeyboardInterrupt):
        driver.disconnect()
    assert len(link.sent) == EXIT_CYCLES
    assert link.calls == ["open", "close"]


def test_the_damping_command_cannot_be_changed_by_the_robot_file_later(link, clock):
    robot = replace(ROBOT, damping_kd=np.array([1.0, 2.0, 3.0]))
    driver = RobotDriver(link, robot, clock)
    robot.damping_kd[:] = 0
    np.testing.assert_array_equal(driver.damping.kd, [1.0, 2.0, 3.0])
