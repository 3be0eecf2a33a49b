"""Watch a policy while it runs: MuJoCo's own window, or a page in the browser."""

from __future__ import annotations

import sys
import time
from typing import Any

import mujoco
import torch

from robolearn.evaluate.rendering import RenderError, has_display
from robolearn.evaluate.rollout import Player, planar_velocity
from robolearn.packages import is_installed, missing
from robolearn.rl.networks import ActorCritic
from sim.environment import TaskEnv

STEP_V, STEP_W = 0.1, 0.2  # m/s, rad/s per key
PORT = 8080
KEY_RIGHT, KEY_LEFT, KEY_DOWN, KEY_UP = 262, 263, 264, 265  # GLFW key codes
KEYS = "arrow keys: faster, slower, turn; A and D: sideways; S: stop; R: back to the task's own commands"


def choose(wanted: str = "auto") -> str:
    """Return ``native``, ``browser`` or ``video``: the best that this machine offers, or what was asked for.

    Raises:
        RenderError: the viewer asked for cannot work here.
    """
    browser = is_installed("mjviser")
    if wanted == "native" and not has_display():
        raise RenderError("no display: use --viewer browser or --viewer video, or set DISPLAY")
    if wanted == "browser" and not browser:
        raise RenderError(f"browser viewer: {missing('mjviser')}")
    if wanted != "auto":
        return wanted
    if has_display():
        return "native"
    return "browser" if browser and sys.stdin.isatty() and sys.stdout.isatty() else "video"


class Session:
    """One robot under a policy, with commands that a person may change.

    Args:
        env: the environment; environment 0 is watched.
        policy: what acts.
        command: vx, vy (m/s), yaw rate (rad/s); None follows the task's own commands.
    """

    def __init__(self, env: TaskEnv, policy: ActorCritic, command: tuple[float, float, float] | None = None) -> None:
        self.env = env
        self._player = Player(policy, env.num_envs)
        self._obs = env.reset()
        self.set_command(command)

    @property
    def command(self) -> tuple[float, float, float]:
        """What is asked of the robot now."""
        vx, vy, wz = self.env.state.command[0].tolist()
        return vx, vy, wz

    def set_command(self, command: tuple[float, float, float] | None) -> None:
        """Hold a command, or follow the task's own again."""
        self.env.commands.fix(None if command is None else torch.tensor(command, device=self.env.device))

    def nudge(self, vx: float = 0.0, vy: float = 0.0, wz: float = 0.0) -> None:
        """Add to the command."""
        now = self.command
        self.set_command((now[0] + vx, now[1] + vy, now[2] + wz))

    def step(self) -> None:
        """Advance by one control period."""
        result = self.env.step(self._player(self._obs))
        self._obs = result.obs
        self._player.forget(result.final_ids)

    def copy_to(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Put the robot's state into ``data`` and compute the positions of all bodies."""
        data.qpos[:] = self.env.engine.field("qpos")[0].double().cpu().numpy()
        data.qvel[:] = self.env.engine.field("qvel")[0].double().cpu().numpy()
        mujoco.mj_forward(model, data)

    def key(self, code: int) -> None:
        """Change the command as a key of the window says."""
        if code == ord("S"):
            self.set_command((0.0, 0.0, 0.0))
        elif code == ord("R"):
            self.set_command(None)
        else:
            moves: dict[int, dict[str, float]] = {
                KEY_UP: {"vx": STEP_V},
                KEY_DOWN: {"vx": -STEP_V},
                KEY_LEFT: {"wz": STEP_W},
                KEY_RIGHT: {"wz": -STEP_W},
                ord("A"): {"vy": STEP_V},
                ord("D"): {"vy": -STEP_V},
            }
            if code in moves:
                self.nudge(**moves[code])

    def status(self) -> str:
        """Command and velocity as one line."""
        measured = planar_velocity(self.env)[0].tolist()
        pairs = zip(("forward", "left", "turn"), self.command, measured, strict=True)
        return "   ".join(f"{name} {asked:+.2f} ({did:+.2f})" for name, asked, did in pairs)


def show_native(session: Session, seconds: float | None = None) -> None:
    """Open MuJoCo's window and run in real time until it is closed, or for ``seconds``.

    Raises:
        RenderError: no window can be opened.
    """
    import mujoco.viewer

    model = session.env.scene.display_model()
    data = mujoco.MjData(model)
    try:
        window = mujoco.viewer.launch_passive(
            model, data, key_callback=session.key, show_left_ui=False, show_right_ui=False
        )
    except Exception as error:  # the window library has its own exceptions
        raise RenderError(f"no window can be opened ({error}); use --viewer browser or --viewer video") from error
    print(KEYS)
    with window:
        window.cam.type = mujoco.mjtCamera.mjCAMERA_TRACKING
        window.cam.trackbodyid = session.env.scene.base_body
        window.cam.distance, window.cam.elevation = 2.0, -18.0
        clock = _Clock(session.env.step_dt, seconds)
        while window.is_running() and clock.wait():
            session.step()
            with window.lock():
                session.copy_to(model, data)
            window.sync()


def show_browser(session: Session, seconds: float | None = None, port: int = PORT) -> None:
    """Serve a page with the robot and sliders for its command, until Ctrl-C or for ``seconds``.

    Raises:
        RenderError: the viewer is not installed.
    """
    try:
        import viser
        from mjviser import ViserMujocoScene
    except ImportError as error:
        raise RenderError(f"browser viewer: {missing('mjviser')}") from error
    model = session.env.scene.display_model()
    data = mujoco.MjData(model)
    server = viser.ViserServer(port=port, verbose=False)
    try:
        scene = ViserMujocoScene(server, model, num_envs=1)
        controls = _command_controls(server, session)
        scene.create_scene_gui()
        print(f"Open http://localhost:{server.get_port()} in a browser; Ctrl-C ends. (From another machine: ")
        print(f"  ssh -L {server.get_port()}:localhost:{server.get_port()} HOST)", flush=True)
        clock = _Clock(session.env.step_dt, seconds)
        while clock.wait():
            session.set_command(controls())
            session.step()
            session.copy_to(model, data)
            scene.update_from_mjdata(data)
    finally:
        server.stop()


def _command_controls(server: Any, session: Session) -> Any:
    """Add sliders for the command; return a function that reads them."""
    ranges = session.env.task.commands
    with server.gui.add_folder("Command"):
        own = server.gui.add_checkbox("the task's own commands", initial_value=session.env.commands.fixed is None)
        sliders = [
            server.gui.add_slider(label, min=bounds[0], max=bounds[1], step=0.05, initial_value=min(bounds[1], start))
            for label, bounds, start in (
                ("forward, m/s", ranges.vx, 0.5),
                ("left, m/s", ranges.vy, 0.0),
                ("turn, rad/s", ranges.yaw_rate, 0.0),
            )
        ]

    def read() -> tuple[float, float, float] | None:
        if own.value:
            return None
        vx, vy, wz = (float(slider.value) for slider in sliders)
        return vx, vy, wz

    return read


class _Clock:
    """Holds a loop to real time.

    Args:
        period: s per turn.
        limit: s after which ``wait`` says no; None for never.
    """

    def __init__(self, period: float, limit: float | None) -> None:
        self._period, self._limit = period, limit
        self._begin = self._next = time.monotonic()

    def wait(self) -> bool:
        """Sleep until the next turn is due; False when the time is over."""
        now = time.monotonic()
        self._next = max(self._next + self._period, now - 0.2)  # a slow machine plays in slow motion
        time.sleep(max(0.0, self._next - now))
        return self._limit is None or now - self._begin < self._limit
