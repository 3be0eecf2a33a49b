"""A robot file of one's own around a simulated robot: own limits are practised before the real robot meets them."""

import os
import shutil
import signal

import pytest
from stack import LIMIT, ROOT, Node, Stack

from robolearn.deploy.processes import REFUSED


def own_file(folder, **changes):
    """A copy of the A1's robot file with other lines."""
    text = (ROOT / "hardware" / "robots" / "a1.yaml").read_text()
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    path = folder / "my_robot.yaml"
    path.write_text(text)
    return path


def told(stack, mark, word):
    stack.operator.wait_for(lambda: any(word in event["message"] for event in stack.since(mark)), LIMIT, word)
    return next(event for event in stack.since(mark) if word in event["message"])


def test_its_checks_count_and_a_stand_says_why(tmp_path):
    """In this file an empty battery lets the robot stand, instead of damping it."""
    file = own_file(
        tmp_path, battery=("trip: 0.1, debounce: 1.0, reaction: damping", "trip: 0.1, debounce: 0.2, reaction: stand")
    )
    with Stack(tmp_path, robot=file) as stack:
        stack.walk()
        mark = stack.mark()
        stack.operator.inject_fault({"kind": "battery_critical"})
        stack.wait("ready")
        (change,) = (event for event in stack.since(mark) if event.get("from") == "policy")
        assert change["mode"] == "stand" and "state of charge" in change["message"]
        stack.operator.inject_fault(None)
        mark = stack.mark()
        stack.ask_until("start_policy")
        stack.wait("policy")
        stack.ask("stand")
        assert told(stack, mark, "operator: stand")["from"] == "policy"


def test_a_fault_of_the_driver_comes_with_its_reason(tmp_path):
    """The safety monitor sleeps too long: the driver brakes by itself, and the monitor tells the operator why."""
    with Stack(tmp_path, patience=0.5) as stack:
        stack.walk()
        mark = stack.mark()
        monitor = stack.nodes["safety_monitor"].process
        os.kill(monitor.pid, signal.SIGSTOP)
        stack.operator.wait_for(
            lambda: stack.operator.diagnostics.get("sim_node: drives", {}).get("life cycle") == "fault",
            LIMIT,
            "a fault",
        )
        os.kill(monitor.pid, signal.SIGCONT)
        event = told(stack, mark, "the drives' driver is in fault")
        assert event["reason"] == "process_fault"
        assert "no command for" in event["message"] and "command_timeout is 0.1 s" in event["message"]


def test_a_robot_of_another_name_needs_a_description(tmp_path):
    file = own_file(tmp_path, name=("name: a1", "name: spot_the_dog"))
    node = Node(tmp_path, "sim_node", robot=file)
    assert node.process.wait(LIMIT) == REFUSED
    assert "has the name of the robot file, 'spot_the_dog'" in node.text()
    assert "sim_node.description=FILE.yaml" in node.text()


@pytest.mark.parametrize("name", ["a1", "a file of its own"])
def test_the_world_is_built_from_the_description_that_is_given(tmp_path, name):
    if name != "a1":
        name = shutil.copy(ROOT / "sim" / "robots" / "a1.yaml", tmp_path / "world.yaml")
    file = own_file(tmp_path, name=("name: a1", "name: spot_the_dog"))
    with Stack(tmp_path, policy=None, robot=file, description=name) as stack:
        stack.stand()


def test_a_description_with_other_joints_is_refused(tmp_path):
    node = Node(tmp_path, "sim_node", robot="a1", description="bruce")
    assert node.process.wait(LIMIT) == REFUSED
    assert "FL_hip_joint" in node.text()
    assert len(node.text().strip().splitlines()) == 1
