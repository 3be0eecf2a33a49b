"""A policy in another process that answers wrongly, late, or not at all."""

import time

import numpy as np
import pytest
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from stack import LIMIT, Stack, Watch

WILD = {"soft_range", "rate_limit", "predicted_torque", "velocity", "torque", "tilt", "fall", "angular_rate"}
"""What sees targets that jump by 6 rad from one output to the next."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with Stack(tmp_path_factory.mktemp("stack"), fake_policy=True) as found:
        found.trouble = found.operator._node.create_client(SetParameters, "policy_node/set_parameters")
        yield found


def cause(stack, kind):
    content = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=kind)
    request = SetParameters.Request(parameters=[Parameter(name="trouble", value=content)])
    answer = stack.operator._insist(stack.trouble, request, time.monotonic() + LIMIT)
    assert answer is not None, "policy_node does not answer"
    assert answer.results[0].successful, answer.results[0].reason


@pytest.mark.parametrize(
    ("trouble", "reasons"),
    [
        ("nan_action", {"action_invalid"}),
        ("nan_observation", {"observation_invalid"}),
        ("silent", {"policy_deadline", "heartbeat_policy"}),
        ("late", {"policy_deadline", "heartbeat_policy"}),
        ("garbage", {"policy_deadline", "heartbeat_policy"}),
        ("wild", WILD),
    ],
)
def test_the_robot_brakes(stack, trouble, reasons):
    stack.walk()
    mark = stack.mark()
    with Watch() as watch:
        watch.wait(lambda: len(watch.commands) > 20, "commands")
        cause(stack, trouble)
        stack.operator.wait_for(
            lambda: any(e.get("mode") == "damping" and "from" in e for e in stack.since(mark)), LIMIT
        )
        cause(stack, "")
        seen = {event["reason"] for event in stack.since(mark) if event.get("reaction") == "damping"}
        assert seen & reasons
        watch.wait(lambda: not watch.commands[-1][2].kp.any(), "damping")
        low, high = stack_limits()
        for _, _, command in watch.commands:
            values = np.concatenate([command.position, command.velocity, command.kp, command.kd, command.torque])
            assert np.isfinite(values).all()
            assert (command.position >= low - 1e-9).all()
            assert (command.position <= high + 1e-9).all()


def stack_limits():
    from robolearn.deploy.robot import load_robot_file

    robot = load_robot_file("a1")
    return robot.soft_low, robot.soft_high
