import subprocess
import sys
from pathlib import Path

import pytest

from robolearn_ros.transport import PROFILE, choose

LOCAL = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
CHOSEN = {
    "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4",
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "SYSTEM_DEFAULT",
    "FASTDDS_DEFAULT_PROFILES_FILE": str(PROFILE),
}


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ({}, {"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}),
        ({"FASTDDS_BUILTIN_TRANSPORTS": "DEFAULT"}, {"FASTDDS_BUILTIN_TRANSPORTS": "DEFAULT"}),
        (
            {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"},
            {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET", "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"},
        ),
        (LOCAL, CHOSEN),
        (CHOSEN, CHOSEN),
        (CHOSEN | LOCAL, CHOSEN),  # a parent chose already, and somebody said so again
        (
            LOCAL | {"FASTDDS_DEFAULT_PROFILES_FILE": "/mine.xml"},
            LOCAL | {"FASTDDS_DEFAULT_PROFILES_FILE": "/mine.xml", "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"},
        ),
        (
            LOCAL | {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"},
            LOCAL | {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp", "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"},
        ),
        (LOCAL | {"RMW_IMPLEMENTATION": "rmw_fastrtps_cpp"}, CHOSEN | {"RMW_IMPLEMENTATION": "rmw_fastrtps_cpp"}),
    ],
)
def test_what_is_chosen(given, chosen):
    environment = dict(given)
    choose(environment)
    assert environment == chosen


NODE = """
import os
os.environ.pop("FASTDDS_DEFAULT_PROFILES_FILE", None)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
import robolearn_ros
import rclpy
rclpy.init()
node = rclpy.create_node("alone")
open_sockets = {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if fd.isdigit()
                and os.path.exists(f"/proc/self/fd/{fd}")}
numbers = {name[8:-1] for name in open_sockets if name.startswith("socket:[")}
for line in open("/proc/self/net/udp").readlines()[1:]:
    columns = line.split()
    if columns[9] in numbers:
        print("udp", columns[1])
print("shared", open("/proc/self/maps").read().count("fastdds_"))
node.destroy_node()
rclpy.shutdown()
"""


@pytest.mark.skipif(not Path("/proc/self/net/udp").exists(), reason="needs Linux' /proc")
def test_a_node_listens_on_loopback_only_and_shares_no_memory():
    result = subprocess.run([sys.executable, "-c", NODE], capture_output=True, text=True, timeout=60)
    lines = result.stdout.splitlines()
    assert lines[-1] == "shared 0", result.stderr
    assert not result.stderr, "the profile is understood"
    ports = [line.split()[1] for line in lines if line.startswith("udp")]
    assert len(ports) >= 2
    assert all(port.startswith("0100007F:") for port in ports), ports  # 127.0.0.1
