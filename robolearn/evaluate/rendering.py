"""Off-screen rendering: make it work where that is possible, and say in one line what is missing where it is not."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from robolearn.config import ConfigError, nearest

if TYPE_CHECKING:
    import mujoco

DEBIAN_PACKAGES = ("libegl1", "libgl1-mesa-dri")
_LIBRARIES = {"egl": ("libEGL.so.1",), "osmesa": ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so")}
_OFF = ("off", "disable", "disabled", "false", "0")
_BACKENDS = (*_LIBRARIES, "glfw", "glx", "wgl", "cgl", "enable", "enabled", "on", "true", "1", "", *_OFF)
_PROBE = "<mujoco><worldbody><geom size='.1'/></worldbody></mujoco>"


class RenderError(RuntimeError):
    """No image can be drawn on this machine as it is; the message says what to install."""


def has_display() -> bool:
    """True where a window can be opened."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def choose_backend() -> None:
    """Set ``MUJOCO_GL`` so that importing mujoco works with or without a display and an OpenGL library.

    Call it before mujoco is imported: mujoco loads its OpenGL library then, and fails as a whole where that is missing.

    Raises:
        ConfigError: the variable is set to a word that MuJoCo does not know.
    """
    if sys.platform != "linux":
        return
    backend = (os.environ.get("MUJOCO_GL") or ("" if has_display() else "egl")).lower().strip()
    if backend not in _BACKENDS:
        raise ConfigError(f"environment variable MUJOCO_GL: unknown value {backend!r}.{nearest(backend, _LIBRARIES)}")
    if backend in _LIBRARIES:
        usable = any(map(_can_load, _LIBRARIES[backend]))
        os.environ["MUJOCO_GL"] = backend if usable else "off"


def _can_load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def open_renderer(model: mujoco.MjModel, width: int, height: int) -> mujoco.Renderer:
    """Return an off-screen renderer of (height, width, 3) uint8 images; close it after use.

    Raises:
        RenderError: no OpenGL context can be made.
    """
    import mujoco

    model.vis.global_.offwidth = max(width, model.vis.global_.offwidth)
    model.vis.global_.offheight = max(height, model.vis.global_.offheight)
    try:
        return mujoco.Renderer(model, height, width)
    except Exception as error:  # every backend has its own exception types
        backend = os.environ.get("MUJOCO_GL") or "glfw"
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        cause = "no OpenGL library found" if backend in _OFF else f"MUJOCO_GL={backend}: {reason}"
        raise RenderError(f"no image can be drawn off screen ({cause}); run: {install_command()}") from None


def install_command() -> str:
    """The command that adds software rendering on Debian and Ubuntu."""
    return f"apt-get install -y {' '.join(DEBIAN_PACKAGES)}"


def works() -> str | None:
    """Draw one small image in a process of its own; return None, or why it failed."""
    code = (
        "from robolearn.evaluate.rendering import choose_backend, open_renderer; choose_backend(); import mujoco; "
        f"r = open_renderer(mujoco.MjModel.from_xml_string({_PROBE!r}), 64, 64); r.render(); r.close()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["unknown reason"])[-1]


def ensure() -> bool:
    """Install the Debian packages when drawing fails and this process may do so; True when drawing works at the end."""
    if works() is None:
        return True
    command = install_command()
    if hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"Video needs software rendering: running {command}")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
        subprocess.run(["apt-get", "update", "-qq"], **quiet)  # type: ignore[call-overload]
        subprocess.run([*command.split()[:2], "-y", "--no-install-recommends", *DEBIAN_PACKAGES], **quiet)  # type: ignore[call-overload]
    reason = works()
    if reason is not None:
        print(f"Note: videos cannot be drawn here yet ({reason}).\n      All else works. To add it: sudo {command}")
    return reason is None


if __name__ == "__main__":
    if sys.argv[1:] == ["--install"]:
        ensure()  # a missing renderer must not stop an installation: everything but the video works
    else:
        problem = works()
        print(problem or "off-screen rendering works")
        raise SystemExit(problem is not None)
