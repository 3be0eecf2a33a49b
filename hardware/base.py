"""The driver of a robot: life cycle, limits, dead-man and damping around a link to the robot's drives.

A vendor adapter is a ``Link``: it moves data and decides nothing. All that keeps people and robot safe is in
``RobotDriver``, once, so that no adapter can forget it.
"""

from __future__ import annotations

import threading
from enum import Enum
from types import TracebackType

import numpy as np

from hardware.joints import JointMap, Motor
from hardware.link import Clock, Link, SystemClock
from robolearn.deploy.robot import RobotFile
from robolearn.deploy.types import Array, JointCommand, RobotState

__all__ = [
    "TRANSITIONS",
    "Clock",
    "DriverError",
    "JointCommand",
    "Lifecycle",
    "Link",
    "Motor",
    "RobotDriver",
    "RobotState",
    "SystemClock",
]

EXIT_CYCLES = 10
"""Damping commands on every way out. One may be lost on the wire, and drives keep the last one that they received."""


class DriverError(RuntimeError):
    """An operation that the life cycle does not allow now, or a robot that did not take the damping command."""


class Lifecycle(Enum):
    """Where a driver stands. Only in ``ACTIVE`` does it pass commands on."""

    DISCONNECTED = "disconnected"
    UNCONFIGURED = "unconfigured"
    INACTIVE = "inactive"
    ACTIVE = "active"
    FAULT = "fault"


_RUNNING = (Lifecycle.INACTIVE, Lifecycle.ACTIVE, Lifecycle.FAULT)

TRANSITIONS: dict[str, dict[Lifecycle, Lifecycle]] = {
    "connect": {Lifecycle.DISCONNECTED: Lifecycle.UNCONFIGURED},
    "configure": {Lifecycle.UNCONFIGURED: Lifecycle.INACTIVE},
    "activate": {Lifecycle.INACTIVE: Lifecycle.ACTIVE},
    "deactivate": {Lifecycle.ACTIVE: Lifecycle.INACTIVE},
    "fail": dict.fromkeys(_RUNNING, Lifecycle.FAULT),
    "clear_fault": {Lifecycle.FAULT: Lifecycle.INACTIVE},
    "read_state": {state: state for state in _RUNNING},
    "write_command": {state: state for state in (Lifecycle.ACTIVE, Lifecycle.FAULT)},
    "cycle": {state: state for state in Lifecycle},
    "disconnect": dict.fromkeys(Lifecycle, Lifecycle.DISCONNECTED),
}
"""Operation -> state before -> state after. What is not here is refused with ``DriverError``."""


class RobotDriver:
    """Drives one robot through a link. Safe to use from a control loop and a ``DriveThread`` at the same time.

    ``with RobotDriver(link, robot, clock) as driver`` connects and configures; ``activate`` lets commands through.
    However the block ends, the drives get the damping command ``EXIT_CYCLES`` times and the link is closed.

    - **Inactive is passive**: nothing at all is sent, so that looking at a robot cannot disturb it.
    - **Active** repeats the last command every ``cycle``, and damping until the first one comes.
    - **Dead-man**: when commands stop for longer than the robot file's ``command_timeout``, the driver faults.
    - **Fault** sends damping on every ``cycle`` and every ``write_command``, and stays until ``clear_fault``: a robot
      that has sunk to the ground must not jump up because a late command arrives. A driver that was never active
      stays passive.

    Args:
        link: the wire to the drives.
        robot: joints, limits, damping gains, control rate and command timeout.
        clock: the time that commands are aged with.
    """

    def __init__(self, link: Link, robot: RobotFile, clock: Clock) -> None:
        self._link, self._robot, self._clock = link, robot, clock
        self._lock = threading.RLock()
        self._state = Lifecycle.DISCONNECTED
        self._fault: str | None = None
        self._commanding = False  # from activation until the last damping command: the drives listen to us
        self._damping = JointCommand.damping(robot.damping_kd)
        self._command = self._damping
        self._written: float | None = None  # when the last command came
        self._reading: RobotState | None = None
        self._map: JointMap | None = None

    @property
    def state(self) -> Lifecycle:
        """Where the driver stands."""
        return self._state

    @property
    def fault(self) -> str | None:
        """Why the driver is in fault: the first reason since the last ``clear_fault``."""
        return self._fault

    @property
    def damping(self) -> JointCommand:
        """The command that brakes every joint."""
        return self._damping

    @property
    def control_dt(self) -> float:
        """Seconds between two cycles."""
        return self._robot.control_dt

    def connect(self) -> None:
        """Open the link.

        Raises:
            DriverError: not allowed now.
        """
        with self._lock:
            after = self._allow("connect")
            try:
                self._link.open()
            except BaseException:
                self._link.close()
                raise
            self._reading, self._fault = None, None
            self._state = after

    def configure(self) -> None:
        """Match the robot's motors with the joints of the robot file, by name.

        Raises:
            ConfigError: they do not match.
            DriverError: not allowed now.
        """
        with self._lock:
            after = self._allow("configure")
            self._map = JointMap(self._link.motors, self._robot.joints)
            self._state = after

    def activate(self) -> None:
        """Take the drives over: from now on they are damped or commanded. Nothing moves before the first command.

        Raises:
            DriverError: not allowed now.
        """
        with self._lock:
            self._state = self._allow("activate")
            self._command, self._written, self._commanding = self._damping, None, True

    def deactivate(self) -> None:
        """Damp, then let go of the drives.

        Raises:
            DriverError: not allowed now, or the robot does not take the damping command (the driver is then in fault).
        """
        with self._lock:
            self._state = self._allow("deactivate")  # first of all: a late command must not stiffen the joints again
        self._let_go()

    def clear_fault(self) -> None:
        """Damp, forget the fault and become inactive. Whether the cause is gone is the caller's to know.

        Raises:
            DriverError: not allowed now, or the robot does not take the damping command (the fault then stays).
        """
        with self._lock:
            after = self._allow("clear_fault")
        self._let_go()
        with self._lock:
            self._state, self._fault = after, None

    def fail(self, reason: str) -> None:
        """Stop for ``reason``: damping on every cycle from now on.

        Raises:
            DriverError: not allowed now.
        """
        with self._lock:
            self._allow("fail")
            self._enter_fault(reason)
            if self._commanding:
                self._drive()

    def read_state(self) -> RobotState | None:
        """Return the newest reading, or None when none has come yet. Without news it is the last one, stamp and all.

        Raises:
            DriverError: not allowed now.
        """
        with self._lock:
            self._allow("read_state")
            assert self._map is not None  # configured
            try:
                reading = self._link.read()
                if reading is not None:
                    self._reading = self._map.to_joints(reading)
            except Exception as error:
                self._enter_fault(f"reading the robot failed: {error!r}")
            return self._reading

    def write_command(self, command: JointCommand) -> JointCommand:
        """Limit a command, send it and return what was really sent: in fault, the damping command.

        A command that is not finite, has a wrong size or a negative gain comes from something broken: a fault.

        Raises:
            DriverError: not active, nor in a fault that began while active.
        """
        with self._lock:
            self._allow("write_command")
            if not self._commanding:
                raise DriverError("write_command is refused: the driver was never active; clear_fault, then activate")
            now = self._clock.now()
            self._check_dead_man(now)
            if self._state is Lifecycle.ACTIVE:
                problem = self._problem(command)
                if problem:
                    self._enter_fault(problem)
                else:
                    self._command, self._written = self._limit(command), now
            return self._drive()

    def cycle(self) -> JointCommand | None:
        """Send what is due: the last command or damping. Call it ``control_dt`` after ``control_dt``; it never raises.

        Returns:
            What was sent; None while the drives do not listen to us.
        """
        with self._lock:
            if not self._commanding:
                return None
            self._check_dead_man(self._clock.now())
            return self._drive()

    def disconnect(self) -> None:
        """Damp if active or in fault, then close the link. Without effect when not connected.

        Raises:
            DriverError: the robot did not take the damping command: use its own stop. The link is closed all the same.
        """
        with self._lock:
            if self._state is Lifecycle.DISCONNECTED:
                return
            if self._state is Lifecycle.ACTIVE:
                self._state = Lifecycle.INACTIVE  # first of all: a late command must not stiffen the joints again
        try:
            self._let_go()
        finally:
            with self._lock:
                self._state, self._commanding = Lifecycle.DISCONNECTED, False
                self._link.close()

    def __enter__(self) -> RobotDriver:
        self.connect()
        try:
            self.configure()
        except BaseException:
            self.disconnect()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()

    def _allow(self, operation: str) -> Lifecycle:
        """Return the state after ``operation``, or refuse it."""
        allowed = TRANSITIONS[operation]
        if self._state not in allowed:
            where = " or ".join(state.value for state in allowed)
            raise DriverError(f"{operation} is refused: the driver is {self._state.value}, it must be {where}")
        return allowed[self._state]

    def _enter_fault(self, reason: str) -> None:
        if self._state is not Lifecycle.FAULT:
            self._state, self._fault = Lifecycle.FAULT, reason

    def _check_dead_man(self, now: float) -> None:
        if self._state is Lifecycle.ACTIVE and self._written is not None:
            age = now - self._written
            if not 0 <= age <= self._robot.command_timeout:
                self._enter_fault(f"no command for {age:.3f} s, command_timeout is {self._robot.command_timeout:g} s")

    def _drive(self) -> JointCommand:
        """Send the command of the moment. When the link fails: a fault, and damping is what is tried from then on."""
        assert self._map is not None  # configured
        command = self._command if self._state is Lifecycle.ACTIVE else self._damping
        try:
            self._link.send(self._map.to_motors(command))
        except Exception as error:
            self._enter_fault(f"sending a command failed: {error!r}")
            return self._damping
        return command

    def _let_go(self) -> None:
        """Send damping several times, whatever happens meanwhile, then stop commanding; re-raise what happened."""
        if not self._commanding:
            return
        assert self._map is not None  # configured
        failed: Exception | None = None
        interrupt: BaseException | None = None  # Ctrl-C a second time must not leave a stiff robot
        for _ in range(EXIT_CYCLES):
            try:
                with self._lock:
                    self._link.send(self._map.to_motors(self._damping))
                failed = None
                self._clock.wait(self._robot.control_dt)
            except Exception as error:
                failed = error
            except BaseException as error:
                interrupt = error
        if failed is not None:
            with self._lock:
                self._enter_fault(f"sending damping failed: {failed!r}")
            raise DriverError(f"the robot did not take the damping command, use its own stop: {failed!r}") from failed
        self._commanding = False
        if interrupt is not None:
            raise interrupt

    def _problem(self, command: JointCommand) -> str | None:
        """Say what is wrong with a command that no sound controller sends."""
        for name in JointCommand.__slots__:
            values = getattr(command, name)
            if np.shape(values) != self._robot.damping_kd.shape:
                return f"the command's {name} has shape {np.shape(values)}, expected {self._robot.damping_kd.shape}"
            if not np.isfinite(values).all():
                return f"the command's {name} of joint {self._joint(~np.isfinite(values))!r} is not finite"
        for name in ("kp", "kd"):
            values = getattr(command, name)
            if (values < 0).any():
                return f"the command's {name} of joint {self._joint(values < 0)!r} is negative"
        return None

    def _joint(self, bad: Array) -> str:
        return self._robot.joints[int(np.argmax(bad))]

    def _limit(self, command: JointCommand) -> JointCommand:
        robot = self._robot
        return JointCommand(
            position=np.clip(command.position, robot.soft_low, robot.soft_high),
            velocity=np.clip(command.velocity, -robot.velocity_limit, robot.velocity_limit),
            kp=np.minimum(command.kp, robot.kp_limit),
            kd=np.minimum(command.kd, robot.kd_limit),
            torque=np.clip(command.torque, -robot.effort_limit, robot.effort_limit),
        )
