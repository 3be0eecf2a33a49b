"""Shared by all tests: mujoco must be importable with and without a display."""

from robolearn.evaluate.rendering import choose_backend

choose_backend()
