"""Packages that an installation may lack, and how to install them."""

from __future__ import annotations

import importlib.util

from robolearn.config import ConfigError

EXTRAS = {
    "mujoco": "sim",
    "rclpy": "ros",
    "rosbags": "bags",
    "onnx": "export",
    "onnxscript": "export",
    "mujoco_warp": "gpu",
    "warp": "gpu",
    "pybullet": "sim2sim",
    "pydrake": "sim2sim",
    "ray": "cluster",
    "mjviser": "viewer",
    "rsl_rl": "bench",
}
"""The smallest extra that brings a package, by the name that is imported; everything else comes with ``train``."""


class MissingPackageError(ConfigError):
    """A package is not installed; the message says how to install it."""


def missing(package: str) -> str:
    """Return what to say, in one line, where ``package`` (the name that is imported) is not installed."""
    extra = "ros" if package.endswith(("_msgs", "_srvs")) else EXTRAS.get(package, "train")
    system = ", or source your ROS 2 installation (setup.bash)" if extra == "ros" else ""
    # A name, not a folder: the index has another package that is called robolearn.
    return f"the package {package!r} is not installed; in a clone of robolearn: pip install '.[{extra}]'{system}"


def is_installed(package: str) -> bool:
    """Tell whether ``package`` can be found, without importing it."""
    return importlib.util.find_spec(package) is not None


def need(package: str) -> None:
    """Refuse to go on without a package.

    Raises:
        MissingPackageError: it is not installed; says how to install it.
    """
    if not is_installed(package):
        raise MissingPackageError(missing(package))
