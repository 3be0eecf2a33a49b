"""Bring up one robot, real or simulated.

ros2 launch robolearn_ros deploy.launch.py sim:=true policy:=/path/to/policy.onnx
ros2 launch robolearn_ros deploy.launch.py sim:=false link:=ros2_control robot:=/path/to/robot.yaml namespace:=a1
"""

from launch import LaunchDescription
from robolearn_ros.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """Return what to start."""
    return launch_description()
