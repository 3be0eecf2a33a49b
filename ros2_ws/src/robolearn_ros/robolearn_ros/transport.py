"""How Fast DDS carries messages: over UDP, never through shared memory."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

PROFILE = Path(__file__).with_name("this_computer.xml")


def choose(environment: MutableMapping[str, str]) -> None:
    """Choose UDP in the ``environment`` of a process that has not created a node yet. Whoever chose already decides.

    A process that is killed leaves its shared memory behind, and locks in it. Fast DDS 3.2 then crashes other processes
    at their own end (``SharedMemChannelResource::release``, seen in 2 of 12 and in 1 of 9 runs).

    ``ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST`` makes rmw_fastrtps 9.3 add shared memory whatever
    ``FASTDDS_BUILTIN_TRANSPORTS`` says. A profile that binds to loopback alone means the same without it; it also finds
    other processes sooner (five of them: at most 0.2 s instead of 3.3 s).
    """
    environment.setdefault("FASTDDS_BUILTIN_TRANSPORTS", "UDPv4")
    fast_dds = environment.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp").startswith("rmw_fastrtps")
    localhost = environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE") == "LOCALHOST"
    ours = environment.get("FASTDDS_DEFAULT_PROFILES_FILE", str(PROFILE)) == str(PROFILE)
    if fast_dds and localhost and ours:
        environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "SYSTEM_DEFAULT"  # the profile's
        environment["FASTDDS_DEFAULT_PROFILES_FILE"] = str(PROFILE)
