"""Steer a running robot with a gamepad: /joy comes from `ros2 run joy joy_node`. For the keyboard: robolearn teleop.

ros2 launch robolearn_ros teleop.launch.py namespace:=a1
"""

from launch import LaunchDescription
from robolearn_ros.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """Return what to start."""
    fixed = {
        "sim": "false",
        "use_sim_time": "false",
        "link": "loopback",
        "policy": "",
        "settings": "",
        "record": "",
        "latch_file": "",
    }
    return launch_description("teleop_node", teleop="true", **fixed)
