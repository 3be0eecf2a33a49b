"""The bring-up description as a ROS 2 launch description; the files in ``launch/`` only say which part they want."""

from __future__ import annotations

from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from robolearn.config import ConfigError, parse_settings
from robolearn.deploy.bringup import PACKAGE, BringUp, NodeSpec, plan
from robolearn.deploy.processes import REFUSED

ARGUMENTS = {
    "robot": ("a1", "robot file: a name that ships, or the path of a YAML file"),
    "policy": ("", "policy file (.onnx); empty: the robot can only stand"),
    "settings": ("", "of the policy, NAME=VALUE, separated by commas; the others are at the defaults of its file"),
    "sim": (None, "true: the simulated robot; false: the real one"),
    "namespace": ("", "of all nodes and topics"),
    "use_sim_time": ("", "true, false; empty: as sim"),
    "link": ("loopback", "to the real robot: loopback, ros2_control, or MODULE:FUNCTION"),
    "record": ("", "folder to record into; empty: nothing is recorded"),
    "teleop": ("false", "true: also teleop_node, for /joy"),
    "latch_file": ("", "remembers an emergency stop over a restart; empty: the safety monitor's default"),
    "params": ("", "ROS 2 parameter files, separated by commas"),
}
"""Name, default (None: must be given) and meaning."""


def launch_description(*only: str, **fixed: str) -> LaunchDescription:
    """Return the launch description of a bring-up.

    Args:
        only: names of nodes; without any, all of them.
        fixed: arguments that the launch file decides; the others are arguments of the launch file.
    """
    open_ones = {name: entry for name, entry in ARGUMENTS.items() if name not in fixed}
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in open_ones.items()
    ]

    def start(context: LaunchContext) -> list[Node]:
        values = {name: LaunchConfiguration(name).perform(context) for name in open_ones} | fixed
        return [_node(spec) for spec in plan(_wanted(values)) if not only or spec.name in only]

    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def _wanted(values: dict[str, str]) -> BringUp:
    return BringUp(
        robot=values["robot"],
        policy=values["policy"],
        simulated=_truth("sim", values["sim"]),
        namespace=values["namespace"],
        use_sim_time=_truth("use_sim_time", values["use_sim_time"]) if values["use_sim_time"] else None,
        link=values["link"],
        record=values["record"],
        teleop=_truth("teleop", values["teleop"]),
        latch_file=values["latch_file"],
        parameter_files=_words(values["params"]),
        settings=parse_settings(_words(values["settings"]), "settings"),
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _truth(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ConfigError(f"{name}: expected true or false, got {text!r}")
    return text.lower() == "true"


def _node(spec: NodeSpec) -> Node:
    end = Shutdown(reason=f"{spec.name} ended")

    def end_if_refused(event: Any, _: LaunchContext) -> Shutdown | None:
        return end if event.returncode == REFUSED else None

    # The namespace is always given: without it, launch_ros would let files win over the parameters here.
    return Node(
        package=PACKAGE,
        executable=spec.executable,
        name=spec.name,
        namespace=spec.namespace,
        parameters=[*spec.parameter_files, dict(spec.parameters)],
        remappings=list(spec.remappings),
        output="screen",
        on_exit=end if spec.essential else end_if_refused,
    )
