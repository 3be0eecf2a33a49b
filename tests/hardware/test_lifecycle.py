"""Every cell of the life-cycle table, written out once more by hand."""

import pytest
from link_fakes import JOINTS, HandClock, RecordingLink, reading, robot_file, stiff

from hardware.base import TRANSITIONS, DriverError, Lifecycle, RobotDriver

TABLE = """
operation      disconnected  unconfigured  inactive      active        fault
connect        unconfigured  -             -             -             -
configure      -             inactive      -             -             -
activate       -             -             active        -             -
deactivate     -             -             -             inactive      -
fail           -             -             fault         fault         fault
clear_fault    -             -             -             -             inactive
read_state     -             -             inactive      active        fault
write_command  -             -             -             active        fault
cycle          disconnected  unconfigured  inactive      active        fault
disconnect     disconnected  disconnected  disconnected  disconnected  disconnected
"""
ROWS = [line.split() for line in TABLE.strip().splitlines()]
CELLS = [(row[0], before, after) for row in ROWS[1:] for before, after in zip(ROWS[0][1:], row[1:], strict=True)]
ROUTES = {
    "disconnected": [],
    "unconfigured": ["connect"],
    "inactive": ["connect", "configure"],
    "active": ["connect", "configure", "activate"],
    "fault": ["connect", "configure", "activate", "fail"],
}
ARGUMENTS = {"fail": ("a test",), "write_command": (stiff(),)}


def driver_in(state, link=None):
    driver = RobotDriver(link or RecordingLink(), robot_file(), HandClock())
    for operation in ROUTES[state]:
        getattr(driver, operation)(*ARGUMENTS.get(operation, ()))
    assert driver.state is Lifecycle(state)
    return driver


def test_the_table_covers_every_operation_and_state():
    assert {row[0] for row in ROWS[1:]} == set(TRANSITIONS)
    assert {Lifecycle(name) for name in ROWS[0][1:]} == set(Lifecycle)


@pytest.mark.parametrize(("operation", "before", "after"), CELLS)
def test_every_cell(operation, before, after):
    driver = driver_in(before)
    call = getattr(driver, operation)
    if after == "-":
        with pytest.raises(DriverError, match=f"{operation} is refused: the driver is {before}"):
            call(*ARGUMENTS.get(operation, ()))
        assert driver.state is Lifecycle(before)
    else:
        call(*ARGUMENTS.get(operation, ()))
        assert driver.state is Lifecycle(after)


@pytest.mark.parametrize("state", ["disconnected", "unconfigured", "inactive"])
def test_nothing_is_sent_before_activation(state):
    link = RecordingLink()
    driver = driver_in(state, link)
    assert driver.cycle() is None
    with pytest.raises(DriverError):
        driver.write_command(stiff())
    if state == "inactive":
        link.mailbox.append(reading())
        driver.read_state()
    driver.disconnect()
    assert link.sent == []


def test_a_fault_of_a_driver_that_was_never_active_stays_passive():
    link = RecordingLink()
    driver = driver_in("inactive", link)
    driver.fail("the battery is empty")
    assert driver.cycle() is None
    with pytest.raises(DriverError, match="never active"):
        driver.write_command(stiff())
    driver.clear_fault()
    assert driver.state is Lifecycle.INACTIVE
    driver.fail("again")
    driver.disconnect()
    assert link.sent == []


def test_a_driver_can_be_used_again():
    link = RecordingLink()
    driver = RobotDriver(link, robot_file(), HandClock())
    for _ in range(3):
        with driver:
            assert driver.read_state() is None, "nothing of the last connection"
            link.mailbox.append(reading())
            assert driver.read_state() is not None
            driver.activate()
            assert driver.cycle() is driver.damping, "no command of the last connection"
            driver.write_command(stiff())
            driver.fail("a test")
    assert link.calls == ["open", "close"] * 3


def test_a_connection_that_fails_is_closed():
    def refuse():
        raise OSError("no route to the robot")

    link = RecordingLink()
    link.before_open = refuse
    driver = RobotDriver(link, robot_file(JOINTS), HandClock())
    with pytest.raises(OSError, match="no route"), driver:
        pass
    assert link.calls == ["open", "close"]
    assert driver.state is Lifecycle.DISCONNECTED
