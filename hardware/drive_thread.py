"""The driver's cycle in a thread of its own: a control loop that hangs must not leave drives with an old command."""

from __future__ import annotations

import threading
from types import TracebackType

from hardware.base import Clock, RobotDriver


class DriveThread:
    """Calls ``driver.cycle()`` every ``control_dt`` while its ``with`` block runs. For robots that live in real time.

    Open it inside the driver's block, so that it has ended when the driver damps::

        with RobotDriver(link, robot, clock) as driver, DriveThread(driver, clock):
            ...

    Attributes:
        overruns: cycles that were missed because the computer was late.
    """

    def __init__(self, driver: RobotDriver, clock: Clock) -> None:
        self._driver, self._clock = driver, clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drive", daemon=True)
        self.overruns = 0

    def __enter__(self) -> DriveThread:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        period = self._driver.control_dt
        due = self._clock.now()
        while not self._stop.is_set():
            self._driver.cycle()
            due += period
            ahead = due - self._clock.now()
            if ahead > 0:
                self._clock.wait(ahead)
            else:
                missed = int(-ahead / period)
                self.overruns += missed
                due += missed * period
