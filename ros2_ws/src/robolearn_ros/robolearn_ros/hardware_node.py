"""A real robot as a node: the driver's cycle in a thread of its own, readings out, commands in."""

from __future__ import annotations

import importlib
import sys
import threading
import time
from typing import Any

from hardware.base import RobotDriver, SystemClock
from hardware.link import Clock, Link
from hardware.loopback import Loopback
from robolearn.config import ConfigError
from robolearn.deploy.robot import RobotFile, load_robot_file
from robolearn_ros import drive
from robolearn_ros.node import ERROR, OK, WARN, Parameter, RobotNode
from robolearn_ros.node import main as run

PARAMETERS = (
    Parameter("link", "loopback", "wire to the drives: loopback, ros2_control, or MODULE:FUNCTION of your own"),
    Parameter("controller", "forward_command_controller", "(ros2_control) name of the controller that takes commands"),
    Parameter("interface", "effort", "(ros2_control) what the controller takes: effort, or pd (five values per joint)"),
)


class HardwareNode(RobotNode):
    """Owns the ``RobotDriver``. It is the last that stops, and it damps the robot on every way out."""

    role = drive.ROLE

    def __init__(self, **options: Any) -> None:
        super().__init__("hardware_node", PARAMETERS, **options)
        if self.value("use_sim_time"):
            raise ConfigError(
                "parameter 'use_sim_time': real drives live in real time; use sim_node for a simulated robot"
            )
        self._thread: threading.Thread | None = None
        self._driver: RobotDriver | None = None

    def setup(self) -> None:
        """Load the robot file, connect and match the motors."""
        self._robot = load_robot_file(self.value("robot"))
        clock = SystemClock()
        link = make_link(self.value("link"), self._robot, clock, self)
        self._driver = RobotDriver(link, self._robot, clock)
        self._driver.__enter__()  # connects, configures, and closes again if that fails

    def start(self) -> None:
        """Take the drives over, damped."""
        assert self._driver is not None  # configured
        self._driver.activate()
        # ros2_control publishes the readings itself: a second publisher would alternate with it.
        self._drive = drive.Drive(self, self._robot, self._driver, public=self.value("link") != "ros2_control")
        self._overruns = 0
        self.report("drive thread", OK, "on time")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._driver,), name="drives", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Damp and let go of the drives."""
        if self._thread is not None:
            self._ended.set()
            self._thread.join()
            self._thread = None
        if self._driver is not None and self._driver.state.value == "active":
            self._driver.deactivate()

    def teardown(self) -> None:
        """Damp whatever still is driven, and disconnect."""
        if self._driver is not None:
            self._driver.disconnect()
            self._driver = None

    def _run(self, driver: RobotDriver) -> None:
        due = time.monotonic()
        while not self._ended.is_set():
            due += self._robot.control_dt
            try:
                self._cycle(driver, due)
            except Exception as error:  # nothing may end this loop: drives keep the last command that they have
                driver.fail(f"internal error: {type(error).__name__}: {error}")
                self.report("drive thread", ERROR, str(driver.fault))
                self._ended.wait(max(0.0, due - time.monotonic()))
            late = time.monotonic() - due
            if late > self._robot.control_dt:
                missed = int(late / self._robot.control_dt)
                self._overruns += missed
                due += missed * self._robot.control_dt
                self.report(
                    "drive thread", WARN, "cycles were missed: the computer was late", {"missed": self._overruns}
                )

    def _cycle(self, driver: RobotDriver, end: float) -> None:
        """Send what is due to the drives, then the reading to the controller; its answer goes out at once."""
        driver.cycle()
        now = time.monotonic()
        self._drive.publish(now, driver.read_state())
        while (left := end - time.monotonic()) > 0.0:
            order = self._drive.take(left)
            if order is not None:
                self._drive.apply(order, time.monotonic())


def make_link(name: str, robot: RobotFile, clock: Clock, node: RobotNode) -> Link:
    """Return the wire to the drives.

    Raises:
        ConfigError: no such link, or what it needs is missing.
    """
    if name == "loopback":
        return Loopback(robot.joints, clock, pose=robot.default_pose)
    if name == "ros2_control":
        from hardware.ros2_control import Ros2Control

        return Ros2Control(robot, clock, node.value("controller"), node.value("interface"), node.get_namespace())
    module, colon, function = name.partition(":")
    if not colon:
        raise ConfigError(f"parameter 'link': {name!r} is neither loopback, ros2_control nor MODULE:FUNCTION")
    try:
        return getattr(importlib.import_module(module), function)(robot, clock)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"parameter 'link': {name!r} cannot be loaded: {error}") from error


def main() -> int:
    """Run the node."""
    return run(HardwareNode)


if __name__ == "__main__":
    sys.exit(main())
