"""The bring-up description: which nodes, with what, in which order; and everything that is refused before a start."""

from pathlib import Path

import pytest

from robolearn.config import ConfigError
from robolearn.deploy import bringup
from robolearn.deploy.bringup import BringUp, domain_id, full_namespace, parameter_files, plan

ROOT = Path(__file__).parents[3]
RELEASED = str(ROOT / "policies" / "a1_velocity_flat" / "policy.onnx")


@pytest.fixture(autouse=True)
def no_domain(monkeypatch):
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)


def by_name(**wanted):
    return {spec.name: spec for spec in plan(BringUp(**wanted))}


def yaml_file(folder, text, name="params.yaml"):
    path = folder / name
    path.write_text(text)
    return str(path)


def test_a_simulated_robot_with_a_policy():
    specs = plan(BringUp(policy=RELEASED))
    assert [spec.name for spec in specs] == ["sim_node", "policy_node", "safety_monitor"]
    assert all(spec.essential and spec.executable == spec.name and spec.namespace == "" for spec in specs)
    sim, policy, monitor = (spec.parameters for spec in specs)
    assert sim == {"robot": "a1", "use_sim_time": False}  # it makes the time that the others follow
    assert policy == monitor == {"robot": "a1", "use_sim_time": True, "policy": RELEASED}


def test_a_real_robot_without_a_policy_can_only_stand():
    specs = by_name(simulated=False, link="ros2_control")
    assert list(specs) == ["hardware_node", "safety_monitor"]
    assert specs["hardware_node"].parameters == {"robot": "a1", "use_sim_time": False, "link": "ros2_control"}
    assert specs["safety_monitor"].parameters == {"robot": "a1", "use_sim_time": False, "policy": ""}


def test_the_order_lets_somebody_damp_and_record_to_the_end(tmp_path):
    """Stopping goes backwards: who asks for motion first, the drives after policy and monitor, the recorder last."""
    for simulated, drive in ((True, "sim_node"), (False, "hardware_node")):
        names = list(by_name(simulated=simulated, policy=RELEASED, record=str(tmp_path / "new"), teleop=True))
        assert names == ["recorder_node", drive, "policy_node", "safety_monitor", "teleop_node"]


def test_recorder_and_teleop_may_fail_alone(tmp_path):
    specs = by_name(policy=RELEASED, record=str(tmp_path / "new" / "deep"), teleop=True)
    assert {name for name, spec in specs.items() if not spec.essential} == {"recorder_node", "teleop_node"}
    assert specs["recorder_node"].parameters["out"] == str(tmp_path / "new" / "deep")
    assert specs["recorder_node"].parameters["policy"] == RELEASED
    assert not (tmp_path / "new").exists()  # a description makes nothing


def test_two_simulated_robots_have_two_clocks():
    assert all(spec.remappings == (("/clock", "clock"),) for spec in plan(BringUp(namespace="a1")))
    assert all(spec.namespace == "/a1" for spec in plan(BringUp(namespace="a1")))
    assert all(spec.remappings == () for spec in plan(BringUp()))
    assert all(spec.remappings == () for spec in plan(BringUp(namespace="a1", simulated=False)))


def test_simulated_time_can_be_left_out():
    assert by_name(use_sim_time=False)["safety_monitor"].parameters["use_sim_time"] is False


def test_relative_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    specs = by_name(robot="hardware/robots/a1.yaml", policy=str(Path(RELEASED).relative_to(ROOT)), latch_file="latch")
    assert specs["safety_monitor"].parameters == {
        "robot": str(ROOT / "hardware/robots/a1.yaml"),
        "use_sim_time": True,
        "policy": RELEASED,
        "latch_file": str(ROOT / "latch"),
    }


def test_parameters_by_node(tmp_path):
    specs = by_name(parameters={"sim_node": {"hoisted": True, "real_time_factor": 0.0}})
    assert specs["sim_node"].parameters["hoisted"] is True
    assert "hoisted" not in specs["safety_monitor"].parameters


def test_settings_go_to_the_policy_s_node(budget_file):
    specs = by_name(policy=str(budget_file), settings={"budget": 0.7})
    assert specs["policy_node"].parameters["budget"] == 0.7
    assert "budget" not in specs["safety_monitor"].parameters
    with pytest.raises(ConfigError, match=r"policy\.onnx: setting 'budget': must be from 0\.5 to 1, got 1\.5"):
        by_name(policy=str(budget_file), settings={"budget": 1.5})


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"robot": "a11"}, "unknown robot 'a11'. Did you mean 'a1'?"),
        ({"robot": "missing.yaml"}, "missing.yaml: cannot be read"),
        ({"policy": "missing.onnx"}, "missing.onnx: cannot be read"),
        ({"policy": RELEASED, "robot": "go1"}, "made for 'a1', not for robot 'go1'"),
        ({"namespace": "1robot"}, "namespace '1robot'"),
        ({"namespace": "a/"}, "namespace 'a/'"),
        ({"namespace": "a-b"}, "namespace 'a-b'"),
        ({"namespace": "ä"}, "namespace"),
        ({"namespace": "a" * 300}, "namespace"),
        ({"namespace": "a1\n"}, "namespace"),
        ({"domain": 102}, "domain: expected a number from 0 to 101, got '102'"),
        ({"domain": -1}, "domain: expected a number from 0 to 101, got '-1'"),
        ({"simulated": False, "link": "loopbak"}, "unknown link 'loopbak'. Did you mean 'loopback'?"),
        ({"simulated": False, "use_sim_time": True}, "a real robot lives in real time"),
        ({"parameters": {"simnode": {}}}, "unknown node 'simnode'. Did you mean 'sim_node'?"),
        ({"parameters": {"hardware_node": {"link": "x"}}}, "unknown node 'hardware_node'"),
        ({"parameters": {"sim_node": 3}}, "expected sim_node.PARAMETER=VALUE"),
        ({"parameters": {"sim_node": {"fault": {"kind": "noise"}}}}, "sim_node.fault: expected a number, text"),
        ({"record": __file__}, "is no folder that can be written"),
        ({"record": f"{__file__}/x"}, "test_bringup.py is no folder that can be written"),
        ({"settings": {"budget": 0.7}}, "setting 'budget': is one of a policy, and none is given"),
        ({"policy": RELEASED, "settings": {"budget": 0.7}}, "unknown setting 'budget': the policy has none"),
        ({"parameter_files": ("missing.yaml",)}, "missing.yaml: cannot be read"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(wanted, message):
    with pytest.raises(ConfigError) as caught:
        plan(BringUp(**wanted))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value).strip()


def test_a_damaged_policy_is_refused(tmp_path):
    data = bytearray(Path(RELEASED).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "policy.onnx").write_bytes(data)
    with pytest.raises(ConfigError, match=r"policy\.onnx"):
        plan(BringUp(policy=str(tmp_path / "policy.onnx")))


@pytest.mark.parametrize(
    "text",
    [
        "/**:\n  ros__parameters: {robot: a1}",
        "/r1/sim_node:\n  ros__parameters: {hoisted: true}",
        "'/**/safety_monitor':\n  ros__parameters: {cmd_vel_stamped: true}",
        "r1:\n  sim_node:\n    ros__parameters: {hoisted: true}",
        "hardware_node:\n  ros__parameters: {link: loopback}",  # one file may serve simulation and robot
    ],
)
def test_ros_parameter_files_are_taken_as_they_are(tmp_path, text):
    path = yaml_file(tmp_path, text)
    assert parameter_files([path]) == (path,)
    assert all(spec.parameter_files == (path,) for spec in plan(BringUp(parameter_files=(path,))))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/r1/sim_nod:\n  ros__parameters: {hoisted: true}", "unknown node '/r1/sim_nod'"),
        ("sim_node:\n  hoisted: true", "sim_node/hoisted: expected 'ros__parameters:'"),
        ("sim_node:\n  ros__parameters: 3", "sim_node: expected 'ros__parameters:'"),
        ("ros__parameters: {hoisted: true}", "unknown node ''"),
        ("- a", "expected a mapping"),
        ("sim_node: {", "not valid YAML"),
    ],
)
def test_parameter_files_that_ros_would_ignore_are_refused(tmp_path, text, message):
    with pytest.raises(ConfigError) as caught:
        parameter_files([yaml_file(tmp_path, text)])
    assert message in str(caught.value)


def test_files_keep_their_order(tmp_path):
    names = [yaml_file(tmp_path, "/**:\n  ros__parameters: {robot: a1}", name) for name in ("b.yaml", "a.yaml")]
    assert plan(BringUp(parameter_files=tuple(names)))[0].parameter_files == tuple(names)


@pytest.mark.parametrize(("text", "number"), [("", 0), ("7", 7), ("101", 101)])
def test_the_domain_comes_from_the_environment(monkeypatch, text, number):
    monkeypatch.setenv("ROS_DOMAIN_ID", text)
    assert domain_id(None) == number
    assert domain_id(3) == 3


@pytest.mark.parametrize("text", ["x", "-1", "300", "1.0", "0x1", "102"])
def test_a_bad_domain_in_the_environment_is_named(monkeypatch, text):
    monkeypatch.setenv("ROS_DOMAIN_ID", text)
    with pytest.raises(ConfigError, match="ROS_DOMAIN_ID"):
        domain_id(None)


@pytest.mark.parametrize(
    ("text", "name"), [("", ""), ("/", ""), ("a1", "/a1"), ("/a1", "/a1"), ("lab/_a1", "/lab/_a1"), ("/a__b", "/a__b")]
)
def test_namespaces_are_written_as_ros_does(text, name):
    assert full_namespace(text) == name


def test_own_links_are_for_the_hardware_node_to_load():
    assert by_name(simulated=False, link="acme:make_link")["hardware_node"].parameters["link"] == "acme:make_link"


def test_the_description_needs_no_ros():
    source = Path(bringup.__file__).read_text()
    assert "rclpy" not in source
