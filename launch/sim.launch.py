"""Bring up a simulated robot.

ros2 launch robolearn_ros sim.launch.py policy:=/path/to/policy.onnx
"""

from launch import LaunchDescription
from robolearn_ros.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """Return what to start."""
    return launch_description(sim="true", link="loopback")
