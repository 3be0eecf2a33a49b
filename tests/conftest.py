"""Shared by all tests: mujoco must be importable with and without a display."""

from hypothesis import settings

from robolearn.evaluate.rendering import choose_backend

choose_backend()
# The same examples in every run, and no time limit: a busy machine must not make a test fail.
settings.register_profile("robolearn", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("robolearn")
