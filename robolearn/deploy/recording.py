"""What lies in the folder of a recording beside the messages, so that it can be read later without the original setup.

::

    recordings/2026-11-20_16-40-07_a1/
      recording.json   robot, joints, namespace, policy, time
      robot.yaml       the robot file
      policy.onnx      the policy, where one was named
      *.mcap           the messages
      metadata.yaml    written at an orderly end; readers of ROS 2 bags look for it
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from robolearn.config import ConfigError, parse, to_dict
from robolearn.deploy.contract import read_contract
from robolearn.deploy.onnx_file import write_file
from robolearn.deploy.robot import FOLDER, load_robot_file
from robolearn.version import __version__

ABOUT, ROBOT, POLICY = "recording.json", "robot.yaml", "policy.onnx"


@dataclass(frozen=True)
class PolicyAbout:
    """The policy that ran.

    Attributes:
        path: where its file was.
        sha256: of the file; packets carry it in their fingerprint.
    """

    path: str
    sha256: str


@dataclass(frozen=True)
class About:
    """What a recording says about itself.

    Attributes:
        format, version: of this document.
        robot: name of the robot.
        joints: names, in the order of the packets.
        namespace: of the recorded topics: "/" or "/name".
        started: when, ISO 8601 with the offset of the time zone.
        program: version of robolearn.
        policy: what walked; None when the recorder was not told.
    """

    format: Literal["robolearn.recording"]
    version: Literal[1]
    robot: str
    joints: tuple[str, ...]
    namespace: str
    started: str
    program: str
    policy: PolicyAbout | None


def describe(robot: str | Path, policy: str | Path | None, namespace: str, started: datetime) -> About:
    """Return what to say about a recording that begins now.

    Args:
        robot: name or path of the robot file.
        policy: path of the policy file; None when it is not known.
        namespace: of the recorded topics.
        started: when, with its time zone.

    Raises:
        ConfigError: the robot file cannot be used, or the policy is for another robot.
        PolicyFileError: the policy file cannot be used.
    """
    file = load_robot_file(robot)
    about = None
    if policy is not None:
        contract, digest = read_contract(policy)
        if contract.robot.name != file.name:
            raise ConfigError(f"policy {policy}: made for {contract.robot.name!r}, not for robot {file.name!r}")
        about = PolicyAbout(str(Path(policy).resolve()), digest)
    return About(
        format="robolearn.recording",
        version=1,
        robot=file.name,
        joints=file.joints,
        namespace="/" + namespace.strip("/"),
        started=started.isoformat(timespec="seconds"),
        program=__version__,
        policy=about,
    )


def folder_name(about: About) -> str:
    """Return a name that sorts by time: date, namespace and robot."""
    moment = datetime.fromisoformat(about.started).strftime("%Y-%m-%d_%H-%M-%S")
    return "_".join(part for part in (moment, about.namespace.strip("/").replace("/", "-"), about.robot) if part)


def write_about(folder: Path, about: About, robot: str | Path) -> None:
    """Put the description, the robot file and the policy file into the folder of a recording.

    Raises:
        OSError: a file cannot be read or written.
    """
    source = Path(robot) if Path(robot).suffix in (".yaml", ".yml") else FOLDER / f"{robot}.yaml"
    shutil.copyfile(source, folder / ROBOT)
    if about.policy is not None:
        shutil.copyfile(about.policy.path, folder / POLICY)
    write_file(folder / ABOUT, json.dumps(to_dict(about), indent=1).encode())


def read_about(folder: Path) -> About:
    """Return what a recording says about itself.

    Raises:
        ConfigError: there is no description, or it is damaged or of another version.
    """
    path = folder / ABOUT
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ConfigError(f"{path}: damaged, not JSON ({error})") from error
    try:
        return parse(About, data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
