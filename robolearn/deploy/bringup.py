"""Which nodes one robot needs, and with what parameters: the only description of a bring-up.

The process runner (``robolearn deploy``) and the launch files both start what ``plan`` returns.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from robolearn.config import ConfigError, load_yaml, unknown
from robolearn.deploy.contract import read_contract
from robolearn.deploy.inputs import PolicySetup
from robolearn.deploy.onnx_file import PolicyFileError
from robolearn.deploy.robot import RobotFile, load_robot_file

Value = bool | int | float | str

PACKAGE = "robolearn_ros"
NODES = ("recorder_node", "sim_node", "hardware_node", "policy_node", "safety_monitor", "teleop_node")
LOOPBACK = "loopback"
LINKS = (LOOPBACK, "ros2_control")
MAX_DOMAIN = 101
"""Higher numbers can fall on ports that the operating system lends to others."""
_NAMESPACE = re.compile(r"/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")
_MAX_NAMESPACE = 200


@dataclass(frozen=True)
class BringUp:
    """What somebody wants to run.

    Attributes:
        robot: robot file: a name that ships, or the path of a YAML file.
        policy: path of a policy file; empty: the robot can only stand.
        simulated: the simulated robot instead of the real one.
        namespace: of all nodes and topics; several robots need one each.
        use_sim_time: nodes follow ``/clock``; None: they do so where the robot is simulated.
        record: folder for the recording; empty: nothing is recorded.
        teleop: also start teleop_node, for a gamepad; a keyboard needs ``robolearn teleop`` in a terminal of its own.
        link: how hardware_node reaches the real robot: one of ``LINKS``, or MODULE:FUNCTION of your own.
        latch_file: remembers an emergency stop over a restart; empty: the safety monitor's default.
        parameter_files: ROS 2 parameter files (YAML), each stronger than the one before.
        parameters: by node and name; stronger than all files.
        settings: of the policy, by name; the others are at the defaults of its file.
        domain: ROS domain; None: that of the environment (``ROS_DOMAIN_ID``), or 0.
    """

    robot: str = "a1"
    policy: str = ""
    simulated: bool = True
    namespace: str = ""
    use_sim_time: bool | None = None
    record: str = ""
    teleop: bool = False
    link: str = LOOPBACK
    latch_file: str = ""
    parameter_files: tuple[str, ...] = ()
    parameters: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    settings: Mapping[str, float] = field(default_factory=dict)
    domain: int | None = None


@dataclass(frozen=True)
class NodeSpec:
    """One node to start.

    Attributes:
        executable: of the package ``robolearn_ros``; also the name of its module.
        name: of the node.
        namespace: empty, or with a leading slash.
        parameters: stronger than the files.
        parameter_files: absolute paths; a later one is stronger.
        remappings: pairs (from, to).
        essential: without it the robot must not run: when it ends, all others are stopped.
    """

    executable: str
    name: str
    namespace: str
    parameters: Mapping[str, Value]
    parameter_files: tuple[str, ...] = ()
    remappings: tuple[tuple[str, str], ...] = ()
    essential: bool = True


def plan(wanted: BringUp) -> list[NodeSpec]:
    """Check what is wanted and return the nodes in the order to start them. Stop them in the reverse order:

    the safety monitor before the policy, so that it ends with damping and not with a policy that it misses; the drive
    node after both, so that somebody damps the joints to the end; the recorder last, so that it sees all of that.

    Raises:
        ConfigError: a file, name or number that cannot work; the message says which, and what would be right.
    """
    namespace = full_namespace(wanted.namespace)
    domain_id(wanted.domain)
    robot = load_robot_file(wanted.robot)
    if wanted.policy:
        _check_policy(wanted.policy, robot, wanted.settings)
    elif wanted.settings:
        raise ConfigError(f"setting {next(iter(wanted.settings))!r}: is one of a policy, and none is given")
    use_sim_time = wanted.simulated if wanted.use_sim_time is None else wanted.use_sim_time
    if use_sim_time and not wanted.simulated:
        raise ConfigError("use_sim_time: a real robot lives in real time; only the simulated one publishes /clock")
    common: dict[str, Value] = {"robot": _robot(wanted.robot), "use_sim_time": use_sim_time}
    policy = str(Path(wanted.policy).resolve()) if wanted.policy else ""
    own: dict[str, dict[str, Value]] = {}
    if wanted.record:
        own["recorder_node"] = {**common, "policy": policy, "out": str(_writable(Path(wanted.record)).resolve())}
    if wanted.simulated:
        own["sim_node"] = {**common, "use_sim_time": False}  # it makes the time that the others follow
    else:
        own["hardware_node"] = {**common, "link": _link(wanted.link)}
    if policy:
        own["policy_node"] = {**common, "policy": policy, **wanted.settings}
    own["safety_monitor"] = {**common, "policy": policy}
    if wanted.latch_file:
        own["safety_monitor"]["latch_file"] = str(Path(wanted.latch_file).expanduser().resolve())
    if wanted.teleop:
        own["teleop_node"] = dict(common)
    for name, values in wanted.parameters.items():
        if name not in own:
            raise unknown("node", name, own, "parameters")
        own[name] |= _scalars(values, name)
    files = parameter_files(wanted.parameter_files)
    # Two simulated robots have two times: in a namespace, the clock is in that namespace too.
    remappings = (("/clock", "clock"),) if wanted.simulated and namespace else ()
    return [
        NodeSpec(name, name, namespace, values, files, remappings, name not in ("recorder_node", "teleop_node"))
        for name, values in own.items()
    ]


def domain_id(wanted: int | None) -> int:
    """Return the ROS domain to use: the one that is asked for, or that of the environment, or 0.

    Raises:
        ConfigError: no number from 0 to ``MAX_DOMAIN``.
    """
    text = os.environ.get("ROS_DOMAIN_ID") or "0" if wanted is None else str(wanted)
    if not re.fullmatch(r"[0-9]{1,3}", text) or int(text) > MAX_DOMAIN:
        where = "ROS_DOMAIN_ID" if wanted is None else "domain"
        raise ConfigError(f"{where}: expected a number from 0 to {MAX_DOMAIN}, got {text!r}")
    return int(text)


def full_namespace(text: str) -> str:
    """Return a namespace as ROS 2 writes it: empty, or with a leading slash.

    Raises:
        ConfigError: ROS 2 would not accept it.
    """
    if text in ("", "/"):
        return ""
    if not _NAMESPACE.fullmatch(text) or len(text) > _MAX_NAMESPACE:
        raise ConfigError(
            f"namespace {text!r}: expected names of letters, digits and _, none beginning with a digit, "
            "with / between them, such as 'a1' or 'lab/a1'"
        )
    return f"/{text.lstrip('/')}"


def parameter_files(paths: Sequence[str | Path]) -> tuple[str, ...]:
    """Return ROS 2 parameter files with absolute paths.

    Raises:
        ConfigError: one cannot be read, is no parameter file, or names a node that does not exist: ROS 2 itself would
            not say so.
    """
    for path in paths:
        for name, entry in _entries(load_yaml(path), ""):
            if entry is None:
                raise ConfigError(f"{path}: {name or 'the file'}: expected 'ros__parameters:' with parameters below it")
            if name.rpartition("/")[2] not in (*NODES, "*", "**"):
                raise unknown("node", name, NODES, str(path))
    return tuple(str(Path(path).resolve()) for path in paths)


def _robot(name: str) -> str:
    return str(Path(name).resolve()) if name.endswith((".yaml", ".yml")) else name


def _check_policy(path: str, robot: RobotFile, settings: Mapping[str, float]) -> None:
    """Refuse a policy that is damaged or made for something else, and settings that it does not have.

    Its graph is loaded later, by policy_node.
    """
    try:
        contract, _ = read_contract(path)
        PolicySetup.from_contract(contract, robot)
        contract.complete(settings)
    except PolicyFileError as error:
        raise ConfigError(str(error)) from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _link(name: str) -> str:
    if name not in LINKS and ":" not in name:
        raise unknown("link", name, (*LINKS, "MODULE:FUNCTION"))
    return name


def _writable(folder: Path) -> Path:
    """Refuse a folder that cannot be made or written."""
    existing = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(f"record {folder}: {existing} is no folder that can be written")
    return folder


def _scalars(values: object, name: str) -> dict[str, Value]:
    if not isinstance(values, Mapping):
        raise ConfigError(f"parameters: expected {name}.PARAMETER=VALUE")
    for key, value in values.items():
        if not isinstance(value, bool | int | float | str):
            raise ConfigError(f"parameters: {name}.{key}: expected a number, text, true or false, got {value!r}")
    return dict(values)


def _entries(data: object, name: str) -> Iterator[tuple[str, object]]:
    """Yield node names and their parameters (None where there are none); keys may be nested by namespace."""
    if not isinstance(data, Mapping):
        yield name, None
        return
    for key, value in data.items():
        if key == "ros__parameters":
            yield name, value if isinstance(value, Mapping) else None
        else:
            yield from _entries(value, f"{name}/{key}" if name else str(key))
