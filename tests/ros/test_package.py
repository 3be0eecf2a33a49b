"""The ROS 2 package: colcon builds and installs it, its files agree with each other and with the code."""

import ast
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from robolearn.deploy.bringup import NODES, PACKAGE, parameter_files
from robolearn.deploy.processes import REFUSED
from robolearn.version import __version__
from robolearn_ros.node import COMMON

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "ros2_ws" / "src" / PACKAGE
CONFIG = sorted((FOLDER / "config").glob("*.yaml"))
FROM_ARGUMENTS = {"robot", "autostart", "policy", "link", "out"}


def node_module(name):
    return importlib.import_module(f"{PACKAGE}.{name}")


def parameters_of(name):
    return {parameter.name: parameter for parameter in (*COMMON, *node_module(name).PARAMETERS)}


def test_package_xml():
    packages = pytest.importorskip("catkin_pkg.package")
    warnings = []
    package = packages.parse_package(str(FOLDER), warnings=warnings)
    assert warnings == []
    assert (package.name, package.version, package.package_format) == (PACKAGE, __version__, 3)
    assert package.get_build_type() == "ament_python"
    assert package.licenses == ["Apache-2.0"]
    # What colcon cannot resolve would be missing on the robot: every ROS package that is imported, and nothing else.
    imported = set()
    for path in [*(FOLDER / PACKAGE).glob("*.py"), *(ROOT / "launch").glob("*.py")]:
        for entry in ast.walk(ast.parse(path.read_text())):
            if isinstance(entry, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in entry.names}
            elif isinstance(entry, ast.ImportFrom):
                imported.add(entry.module.split(".")[0])
    ours = {"robolearn", "robolearn_ros", "hardware", "sim"}
    from_pip = {"numpy": "python3-numpy", "yaml": "python3-yaml", "rosbags": "", "mujoco": ""}
    needed = {from_pip.get(name, name) for name in imported - ours - set(sys.stdlib_module_names)} - {""}
    assert {dependency.name for dependency in package.exec_depends} == needed


def test_executables_are_the_modules_with_a_main():
    scripts = {}
    for entry in ast.walk(ast.parse((FOLDER / "setup.py").read_text())):
        if isinstance(entry, ast.Assign) and entry.targets[0].id == "NODES":
            scripts = set(ast.literal_eval(entry.value))
    with_main = {
        path.stem
        for path in (FOLDER / PACKAGE).glob("*.py")
        if 'if __name__ == "__main__"' in path.read_text() or path.stem in NODES
    }
    assert scripts == with_main == set(NODES)
    for name in scripts:
        assert callable(node_module(name).main)


def test_setup_and_package_agree_on_the_version():
    assert f'version="{__version__}"' in (FOLDER / "setup.py").read_text()


@pytest.mark.parametrize("path", CONFIG, ids=lambda path: path.stem)
def test_parameter_files_show_the_defaults(path):
    assert parameter_files([path]) == (str(path),)
    for name, entry in yaml.safe_load(path.read_text()).items():
        known = parameters_of(name.removeprefix("/**/"))
        for key, value in entry["ros__parameters"].items():
            assert key in known, f"{name}: no parameter {key}"
            assert (value, type(value)) == (known[key].default, type(known[key].default)), f"{name}.{key}"


def test_parameter_files_show_every_parameter():
    shown = {}
    for path in CONFIG:
        for name, entry in yaml.safe_load(path.read_text()).items():
            shown.setdefault(name.removeprefix("/**/"), set()).update(entry["ros__parameters"])
    for name in NODES:
        assert set(parameters_of(name)) - FROM_ARGUMENTS == shown.get(name, set()), name


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Where ``colcon build`` installed the package, and what it said."""
    colcon = Path(sys.executable).with_name("colcon")
    if not colcon.exists():
        pytest.skip("colcon is not installed")
    folder = tmp_path_factory.mktemp("ws")
    source = folder / "src" / PACKAGE  # a copy: setuptools writes beside setup.py
    shutil.copytree(FOLDER, source, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__", "build"))
    words = [str(colcon), "--log-base", "log", "build", "--event-handlers", "console_direct+"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = subprocess.run([str(colcon), "list"], cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    return folder / "install" / PACKAGE, listed.stdout


def test_colcon_takes_it_for_a_ros_package(installed):
    assert installed[1].split() == [PACKAGE, f"src/{PACKAGE}", "(ros.ament_python)"]


def test_colcon_installs_what_ros2_run_and_ros2_launch_look_for(installed):
    folder = installed[0]
    share = folder / "share" / PACKAGE
    assert (folder / "share" / "ament_index" / "resource_index" / "packages" / PACKAGE).is_file()
    assert (share / "package.xml").is_file()
    assert {path.name for path in (share / "launch").iterdir()} == {path.name for path in (ROOT / "launch").iterdir()}
    assert {path.name for path in (share / "config").iterdir()} == {path.name for path in CONFIG}
    for name in NODES:
        script = folder / "lib" / PACKAGE / name
        assert script.stat().st_mode & 0o111, f"{name} cannot be executed"


def test_an_installed_executable_starts(installed, tmp_path):
    """It refuses an unknown parameter, in one line: the way from the script to the node's own code is complete."""
    folder = installed[0]
    (packages,) = folder.glob("lib/python*/site-packages")

    done = subprocess.run(
        [str(folder / "lib" / PACKAGE / "policy_node"), "--ros-args", "-p", "polcy:=x"],
        env={**os.environ, "PYTHONPATH": str(packages), "ROS_LOG_DIR": str(tmp_path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == REFUSED
    assert "unknown parameter 'polcy'. Did you mean 'policy'?" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
