"""Wishes of the operator of the simulation that are given at its start, as parameters."""

import json

from stack import LIMIT, Stack
from test_refusals import Stranger


def text(fault):
    return json.dumps(json.dumps(fault))  # a string to YAML, too


def test_a_fault_that_is_given_at_the_start_is_injected(tmp_path):
    stack = Stack(tmp_path, policy=None, fault=text({"kind": "frozen_state"}))
    with stack, Stranger() as stranger:
        stranger.until(lambda: any("frozen_state since" in status.message for status in stranger.status.values()))


def test_a_wrong_fault_at_the_start_is_refused(tmp_path):
    node = Stack(tmp_path, policy=None).start("sim_node", fault=text({"kind": "frozen_stat"}))
    assert node.process.wait(LIMIT) != 0
    assert "Did you mean 'frozen_state'" in node.text()
