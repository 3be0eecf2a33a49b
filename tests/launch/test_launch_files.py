"""The launch files, executed without ROS: what they start is compared with what the process runner starts."""

import importlib.util
import inspect
import runpy
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from robolearn.config import ConfigError
from robolearn.deploy.bringup import NODES, BringUp, plan
from robolearn.deploy.processes import REFUSED

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ros2_ws" / "src" / "robolearn_ros"
FILES = sorted((ROOT / "launch").glob("*.launch.py"))
RELEASED = str(ROOT / "policies" / "a1_velocity_flat" / "policy.onnx")


@dataclass
class Context:
    values: dict


@dataclass
class LaunchDescription:
    entities: list


@dataclass
class DeclareLaunchArgument:
    name: str
    default_value: str | None = None
    description: str | None = None


@dataclass
class OpaqueFunction:
    function: object

    def __post_init__(self):
        assert len(inspect.signature(self.function).parameters) == 1  # launch calls it with the context


@dataclass
class Shutdown:
    reason: str


@dataclass
class LaunchConfiguration:
    name: str

    def perform(self, context):
        return context.values[self.name]


@dataclass
class Node:
    """The arguments that launch_ros knows and that are used here; another one is an error."""

    package: str
    executable: str
    name: str
    namespace: str
    parameters: list
    remappings: list
    output: str
    on_exit: object = None
    extra: dict = field(default_factory=dict)


@pytest.fixture(autouse=True)
def recorded_launch(monkeypatch):
    """Puts recorders in place of the modules that only a ROS installation has."""
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    modules = {
        "launch": {"LaunchDescription": LaunchDescription},
        "launch.launch_context": {"LaunchContext": Context},
        "launch.launch_description": {"LaunchDescription": LaunchDescription},
        "launch.actions": {
            "DeclareLaunchArgument": DeclareLaunchArgument, "OpaqueFunction": OpaqueFunction, "Shutdown": Shutdown
        },
        "launch.substitutions": {"LaunchConfiguration": LaunchConfiguration},
        "launch_ros": {},
        "launch_ros.actions": {"Node": Node},
    }  # fmt: skip
    for name, content in modules.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "robolearn_ros.launching", raising=False)
    yield
    sys.modules.pop("robolearn_ros.launching", None)


def describe(name):
    description = runpy.run_path(str(ROOT / "launch" / f"{name}.launch.py"))["generate_launch_description"]()
    return description.entities


def launched(name, **arguments):
    """Evaluate a launch file as ``ros2 launch FILE name:=value ...`` does and return its nodes."""
    *declared, start = describe(name)
    defaults = {argument.name: argument.default_value for argument in declared}
    assert set(arguments) <= set(defaults), "no such launch argument"
    missing = [key for key, value in defaults.items() if value is None and key not in arguments]
    assert not missing, f"required: {missing}"
    return what_ends_all(start.function(Context({**defaults, **arguments})))


def what_ends_all(nodes):
    """Replace each node's reaction to its end by the set of exit codes, of four, after which all others are stopped."""
    for node in nodes:
        ends = node.on_exit if callable(node.on_exit) else lambda event, context, always=node.on_exit: always
        found = {code: ends(types.SimpleNamespace(returncode=code), None) for code in (0, 1, REFUSED, -9)}
        assert all(action in (None, Shutdown(f"{node.name} ended")) for action in found.values())
        node.on_exit = {code for code, action in found.items() if action}
    return nodes


def expected(specs):
    return [
        Node(
            package="robolearn_ros", executable=spec.executable, name=spec.name, namespace=spec.namespace,
            parameters=[*spec.parameter_files, dict(spec.parameters)], remappings=list(spec.remappings),
            output="screen", on_exit={0, 1, REFUSED, -9} if spec.essential else {REFUSED},
        )
        for spec in specs
    ]  # fmt: skip


def test_these_are_the_launch_files():
    assert [path.name for path in FILES] == ["deploy.launch.py", "sim.launch.py", "teleop.launch.py"]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"sim": "true"}, {}),
        ({"sim": "True", "policy": RELEASED}, {"policy": RELEASED}),
        ({"sim": "false"}, {"simulated": False}),
        (
            {"sim": "false", "link": "ros2_control", "policy": RELEASED, "namespace": "lab/a1", "teleop": "true"},
            {"simulated": False, "link": "ros2_control", "policy": RELEASED, "namespace": "lab/a1", "teleop": True},
        ),
        (
            {"sim": "true", "use_sim_time": "false", "record": "bags", "robot": "go1", "latch_file": "latch"},
            {"use_sim_time": False, "record": "bags", "robot": "go1", "latch_file": "latch"},
        ),
        ({"sim": "true", "namespace": "a1"}, {"namespace": "a1"}),
    ],
)
def test_deploy_starts_what_the_process_runner_starts(arguments, wanted):
    assert launched("deploy", **arguments) == expected(plan(BringUp(**wanted)))


def test_sim_is_deploy_with_a_simulated_robot():
    assert launched("sim", policy=RELEASED, namespace="b") == launched(
        "deploy", sim="true", policy=RELEASED, namespace="b"
    )
    assert {"sim", "link"}.isdisjoint(argument.name for argument in describe("sim")[:-1])


def test_teleop_starts_teleop_alone():
    (node,) = launched("teleop", namespace="a1", robot="go2")
    assert (node.executable, node.namespace, node.on_exit) == ("teleop_node", "/a1", {REFUSED})
    assert node.parameters == [{"robot": "go2", "use_sim_time": False}]


def test_parameter_files_come_before_the_parameters_that_the_arguments_fix(tmp_path):
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for file in files:
        file.write_text("sim_node:\n  ros__parameters: {hoisted: true}\n")
    nodes = launched("sim", params=f"{files[0]}, {files[1]}")
    for node in nodes:
        *given, own = node.parameters
        assert given == [str(file) for file in files]
        assert all(Path(file).is_file() for file in given)
        assert isinstance(own, dict)


@pytest.mark.parametrize("simulated", ["true", "false"])
def test_every_package_and_executable_exists(simulated, tmp_path):
    nodes = launched("deploy", sim=simulated, policy=RELEASED, record=str(tmp_path / "new"), teleop="true")
    assert len(nodes) == 5
    for node in nodes:
        assert node.package == PACKAGE.name
        assert node.executable in NODES
        assert (PACKAGE / "robolearn_ros" / f"{node.executable}.py").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sim": "yes"}, "sim: expected true or false, got 'yes'"),
        ({"sim": "false", "teleop": ""}, "teleop: expected true or false"),
        ({"sim": "true", "use_sim_time": "1"}, "use_sim_time: expected true or false"),
        ({"sim": "true", "robot": "a11"}, "unknown robot"),
        ({"sim": "true", "policy": "missing.onnx"}, "missing.onnx: cannot be read"),
        ({"sim": "true", "params": "missing.yaml"}, "missing.yaml: cannot be read"),
        ({"sim": "true", "settings": "budget"}, "settings budget: expected NAME=VALUE"),
        ({"sim": "true", "policy": RELEASED, "settings": "budget=0.7"}, "unknown setting 'budget'"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_starts(arguments, message):
    with pytest.raises(ConfigError, match=message):
        launched("deploy", **arguments)


def test_whether_the_robot_is_real_must_be_said():
    assert [argument.name for argument in describe("deploy")[:-1] if argument.default_value is None] == ["sim"]


@pytest.mark.parametrize("name", ["deploy", "sim", "teleop"])
def test_every_argument_says_what_it_is(name):
    assert all(argument.description for argument in describe(name)[:-1])


def test_the_recorded_names_do_not_stay_behind():
    assert "robolearn_ros.launching" not in sys.modules


@pytest.mark.skipif(importlib.util.find_spec("launch_ros") is None, reason="needs a ROS installation")
def test_with_the_real_launch(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] in ("launch", "launch_ros")]:
        monkeypatch.delitem(sys.modules, name)
    launch = pytest.importorskip("launch")
    pytest.importorskip("launch_ros")
    for path in FILES:
        context = launch.LaunchContext()
        *declared, start = runpy.run_path(str(path))["generate_launch_description"]().entities
        context.launch_configurations["sim"] = "true"
        for argument in declared:
            argument.execute(context)
        nodes = start.execute(context)
        assert {node.node_executable for node in nodes} <= set(NODES)
        assert nodes
