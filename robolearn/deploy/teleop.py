"""From keys and joystick to a velocity command and to requests: what a person's hands mean. No clock, no terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from robolearn.config import ConfigError
from robolearn.deploy.modes import Mode, Request
from robolearn.deploy.types import Array

AXES = ("vx", "vy", "wz")
LINGER = 0.5
"""s for which a velocity of zero is repeated before nothing more is published: one message may be lost."""
MAX_STEP = 0.1
"""s; after a longer pause the velocity goes on as if it had lasted so long."""

REQUEST_KEYS: Mapping[str, Request] = {
    " ": Request.STOP,
    "e": Request.ESTOP,
    "1": Request.ARM,
    "2": Request.STAND,
    "3": Request.START_POLICY,
    "r": Request.RESET,
}
STEP_KEYS: Mapping[str, tuple[int, int, int]] = {
    "w": (1, 0, 0), "up": (1, 0, 0), "s": (-1, 0, 0), "down": (-1, 0, 0),
    "a": (0, 1, 0), "d": (0, -1, 0),
    "j": (0, 0, 1), "left": (0, 0, 1), "l": (0, 0, -1), "right": (0, 0, -1),
    "h": (0, 0, 0),
}  # fmt: skip
"""Steps of the set-point: forward, to the left, turning to the left. ``h`` only holds it."""
HELP = (
    "space stop | e EMERGENCY STOP | 1 arm  2 stand  3 start policy | r reset\n"
    "w/s forward/back  a/d left/right  j/l turn  h hold | any other key: velocity zero | Ctrl-C ends"
)
_STOPS = (Request.STOP, Request.ESTOP)


@dataclass(frozen=True)
class TeleopSettings:
    """What keys and joystick do. Three values each for forward (m/s), left (m/s) and turning left (rad/s).

    Attributes:
        limit: (3,) largest velocity.
        acceleration: (3,) per s, how fast the command may change; stopping is not limited.
        key_step: share of ``limit`` that a key press adds.
        key_timeout: s without a key until the velocity is zero; 0: the set-point stays until a key changes it.
        joy_timeout: s without a usable message until the joystick counts as silent.
        dead_zone: share of an axis around its centre that means zero.
        axes: (3,) index of each velocity's axis.
        scales: (3,) share of ``limit`` at full deflection, from -1 to 1; negative turns the axis round.
        deadman: index of the button that must be held.
        buttons: index of each request's button, -1 for none. Except for stops they count only with the dead-man held.
    """

    limit: tuple[float, float, float]
    acceleration: tuple[float, float, float]
    key_step: float
    key_timeout: float
    joy_timeout: float
    dead_zone: float
    axes: tuple[int, int, int]
    scales: tuple[float, float, float]
    deadman: int
    buttons: Mapping[Request, int]

    def __post_init__(self) -> None:
        for name, ok, must in (
            ("limit", all(0 <= value < math.inf for value in self.limit), "finite and not negative"),
            ("acceleration", all(0 < value < math.inf for value in self.acceleration), "positive and finite"),
            ("key_step", 0 < self.key_step <= 1, "above 0 and at most 1"),
            ("key_timeout", 0 <= self.key_timeout < math.inf, "finite and not negative"),
            ("joy_timeout", 0 < self.joy_timeout < math.inf, "positive and finite"),
            ("dead_zone", 0 <= self.dead_zone < 1, "at least 0 and below 1"),
            ("axes", all(axis >= 0 for axis in self.axes), "not negative"),
            ("scales", all(-1 <= scale <= 1 for scale in self.scales), "from -1 to 1"),
            ("deadman", self.deadman >= 0, "the index of a button: without a dead-man no joystick"),
        ):
            if not ok:
                raise ConfigError(f"teleop {name}: must be {must}, got {getattr(self, name)}")
        used: dict[str, int] = {"deadman": self.deadman}
        used.update((request, index) for request, index in self.buttons.items() if index >= 0)
        for name, index in used.items():
            other = next(first for first, same in used.items() if same == index)
            if other != name:
                raise ConfigError(f"teleop buttons: {other} and {name} share button {index}; each needs its own")


class Teleop:
    """One person's keyboard and joystick. Times are s on one monotonic clock.

    The joystick moves the robot only while its dead-man is held, and wins over the keyboard then. The dead-man counts
    only after it was seen released: neither a start nor a joystick that comes back may move a robot by itself.

    Attributes:
        velocity: (3,) the command as last published.
        ignored: joystick messages that could not be used: an axis or button too few, or not a number.
        joy_silent: no usable message for ``joy_timeout``.
    """

    def __init__(self, settings: TeleopSettings) -> None:
        self._settings = settings
        self._limit = np.array(settings.limit)
        self._keys: Array = np.zeros(3)  # set-point of the keyboard
        self._key_time = -math.inf
        self._stick: Array = np.zeros(3)  # set-point of the joystick
        self._joy_time = -math.inf
        self._released = False  # the dead-man was seen released since the joystick is there
        self._held = False
        self._pressed: set[Request] = set()
        self._active_until = -math.inf
        self._tick = -math.inf
        self.velocity: Array = np.zeros(3)
        self.ignored = 0
        self.joy_silent = True

    @property
    def set_point(self) -> Array:
        """(3,) what the hands ask for; ``velocity`` follows it within the acceleration limit."""
        return self._stick if self._held else self._keys

    def key(self, key: str, now: float) -> Request | None:
        """Take a key press: a character, or ``up``, ``down``, ``left``, ``right``. Return what it asks for."""
        key = key.lower()  # caps lock must not take the emergency stop away
        self._active_until = now + LINGER
        if key in STEP_KEYS:
            moved = self._keys + self._settings.key_step * self._limit * STEP_KEYS[key]
            self._keys = np.clip(np.where(np.abs(moved) < 1e-9, 0.0, moved), -self._limit, self._limit)
            self._key_time = now
            return None
        self._halt()
        return REQUEST_KEYS.get(key)

    def joy(self, axes: Sequence[float], buttons: Sequence[int], now: float) -> list[Request]:
        """Take a joystick message: axes from -1 to 1, buttons 0 or 1. Return what newly pressed buttons ask for."""
        settings = self._settings
        pressed = {
            request for request, index in settings.buttons.items() if 0 <= index < len(buttons) and buttons[index]
        }
        asked = [request for request in _STOPS if request in pressed - self._pressed]
        if asked:
            self._halt()
        last = max(settings.deadman, *settings.buttons.values())
        if max(settings.axes) >= len(axes) or last >= len(buttons) or not all(map(math.isfinite, axes)):
            self.ignored += 1
            self._pressed = {r for r in self._pressed if r not in _STOPS} | {r for r in _STOPS if r in pressed}
            return asked  # a stop counts, however broken the rest
        if now - self._joy_time > settings.joy_timeout:
            self._released = False
            self._pressed = pressed  # what is held down while it appears was not pressed now
        self._joy_time, self.joy_silent = now, False
        held = bool(buttons[settings.deadman])
        self._released |= not held
        self._hold(held and self._released, now)
        if self._held:
            self._stick = self._limit * settings.scales * [self._deflection(axes[axis]) for axis in settings.axes]
            asked += [request for request in Request if request in pressed - self._pressed and request not in _STOPS]
        self._pressed = pressed
        return asked

    def tick(self, now: float) -> Array | None:
        """Return the velocity (3,) to publish now; None: publish nothing, nobody is there."""
        settings = self._settings
        if not self.joy_silent and now - self._joy_time > settings.joy_timeout:
            self._hold(False, now)
            self.joy_silent = True
        if settings.key_timeout and self._keys.any() and now - self._key_time > settings.key_timeout:
            self._halt()
        target = self.set_point
        if self._held or target.any():
            self._active_until = now + LINGER
        elapsed = min(max(now - self._tick, 0.0), MAX_STEP)
        self._tick = now
        change = elapsed * np.array(settings.acceleration)
        self.velocity = self.velocity + np.clip(target - self.velocity, -change, change)
        if self.velocity.any():
            self._active_until = max(self._active_until, now + LINGER)
        return self.velocity if now <= self._active_until else None

    def _hold(self, held: bool, now: float) -> None:
        if held != self._held:
            self._halt()  # released: zero at once; pressed: the keyboard's set-point is not taken up again later
            self._active_until = now + LINGER
        self._held = held

    def _halt(self) -> None:
        """Zero velocity, at once and from every source."""
        self._keys, self._stick, self.velocity = np.zeros(3), np.zeros(3), np.zeros(3)

    def _deflection(self, value: float) -> float:
        """Return an axis without its dead zone: continuous, and full at the end."""
        size = min(abs(value), 1.0)
        zone = self._settings.dead_zone
        return math.copysign(max(size - zone, 0.0) / (1.0 - zone), value)


def status_line(set_point: Array, mode: Mode | str, joystick: str, answer: str, width: int) -> str:
    """Return what the operator sees, at most ``width`` characters: set-point (3,), controller state, last answer."""
    vx, vy, wz = (value + 0.0 for value in set_point.tolist())
    text = f"[{str(mode).upper()}] vx {vx:+.2f} vy {vy:+.2f} wz {wz:+.2f} | joy {joystick} | {' '.join(answer.split())}"
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"
