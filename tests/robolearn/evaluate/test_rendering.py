"""Choosing a way to draw, with and without display and OpenGL."""

import sys

import pytest

from robolearn.config import ConfigError
from robolearn.evaluate import rendering, viewers
from robolearn.evaluate.rendering import RenderError


@pytest.fixture
def machine(monkeypatch):
    """A Linux machine with chosen OpenGL libraries and display."""

    def make(libraries=(), display=False, wanted=None):
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(rendering, "_can_load", lambda name: name in libraries)
        for name in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"):
            monkeypatch.delenv(name, raising=False)
        if display:
            monkeypatch.setenv("DISPLAY", ":0")
        if wanted is not None:
            monkeypatch.setenv("MUJOCO_GL", wanted)
        rendering.choose_backend()
        return rendering.os.environ.get("MUJOCO_GL")

    return make


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ({"libraries": ["libEGL.so.1"]}, "egl"),
        ({"libraries": []}, "off"),
        ({"libraries": [], "display": True}, None),
        ({"libraries": ["libOSMesa.so.8"], "wanted": "osmesa"}, "osmesa"),
        ({"libraries": ["libEGL.so.1"], "wanted": "osmesa"}, "off"),
        ({"libraries": ["libEGL.so.1"], "wanted": ""}, "egl"),
        ({"libraries": ["libEGL.so.1"], "wanted": "glfw"}, "glfw"),
    ],
)
def test_the_backend_never_stops_mujoco_from_being_imported(machine, options, chosen):
    assert machine(**options) == chosen


def test_an_unknown_backend_is_named(machine):
    with pytest.raises(ConfigError, match="Did you mean 'egl'"):
        machine(wanted="elg")


def test_a_failing_renderer_says_what_to_install(monkeypatch):
    import mujoco

    def fail(*_):
        raise AttributeError("'NoneType' object has no attribute 'glGetError'")

    monkeypatch.setattr(mujoco, "Renderer", fail)
    model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='.1'/></worldbody></mujoco>")
    with pytest.raises(RenderError, match="run: apt-get install -y libegl1 libgl1-mesa-dri"):
        rendering.open_renderer(model, 64, 64)


@pytest.mark.parametrize(
    ("display", "installed", "terminal", "viewer"),
    [
        (True, True, True, "native"),
        (False, True, True, "browser"),
        (False, True, False, "video"),
        (False, False, True, "video"),
    ],
)
def test_the_best_viewer_is_chosen(monkeypatch, display, installed, terminal, viewer):
    monkeypatch.setattr(viewers, "has_display", lambda: display)
    monkeypatch.setattr(viewers, "is_installed", lambda name: installed)
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: terminal, raising=False)
    assert viewers.choose() == viewer


def test_a_viewer_that_cannot_work_is_refused(monkeypatch):
    monkeypatch.setattr(viewers, "has_display", lambda: False)
    monkeypatch.setattr(viewers, "is_installed", lambda name: False)
    with pytest.raises(RenderError, match="no display"):
        viewers.choose("native")
    with pytest.raises(RenderError, match="not installed"):
        viewers.choose("browser")
    assert viewers.choose("video") == "video"
