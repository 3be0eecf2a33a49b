"""A setting of the policy as a parameter of its node: where it comes from, what is refused, and the recording of it."""

import dataclasses

import pytest
import torch
from stack import LIMIT, RELEASED, Stack
from test_recorder import wait_for_damping, wait_for_ticks
from test_refusals import refusal

from robolearn.cli.main import main
from robolearn.config import ConfigError, merge, to_dict
from robolearn.deploy.contract import read_contract
from robolearn.experiment import compose
from robolearn.export import export as exporting
from robolearn.replay.decisions import decide_again
from robolearn.replay.recording import load
from robolearn.replay.rerun import rerun
from robolearn.run_folder import find_run

BUDGET = {"range": [0.5, 1.0], "default": 1.0, "unit": "1", "meaning": "share of the unconstrained energy"}


class Budgeted(torch.nn.Module):
    """The released policy, which moves a little less with a smaller budget: the last column of what it reads."""

    def __init__(self, walker):
        super().__init__()
        self.walker = walker

    def forward(self, obs, memory):
        action, memory = self.walker(obs[:, :-1], memory)
        return action * (0.8 + 0.2 * obs[:, -1:]), memory


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """The file of a policy that walks and has a budget."""
    released = exporting.from_run(find_run(RELEASED.parent))
    entries = {
        "task": {
            "settings": {"budget": BUDGET},
            "observations": {"policy": {"terms": {"budget": {}}}},
        }
    }
    config = compose(merge(to_dict(released.config), entries))
    path = tmp_path_factory.mktemp("budget") / "policy.onnx"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"PARITY_ROBOTS": 1, "PARITY_STEPS": 50, "SEEN_ROBOTS": 32, "SEEN_STEPS": 250}.items():
            patch.setattr(exporting, name, value)
        exporting.export(dataclasses.replace(released, config=config, actor=Budgeted(released.actor)), path)
    assert list(read_contract(path)[0].settings) == ["budget"]
    return path


def test_it_is_given_changed_refused_and_run_again_from_the_recording(policy, tmp_path, capsys):
    """The robot walks on with each budget, and the recording alone says which output had which."""
    stack = Stack(tmp_path, policy=policy)
    stack.start("recorder_node", out=tmp_path / "out", min_free_megabytes=0.0)
    stack.start("policy_node", budget=0.8)
    with stack:
        operator = stack.operator

        def walk_on(seconds):
            stack.go_on(seconds)
            assert operator.state == "policy", operator.events

        wait_for_ticks(tmp_path / "out")
        stack.walk(0.5)
        walk_on(0.5)
        operator.set_policy("budget", 0.55)
        operator.wait_for(lambda: operator.diagnostics.get("policy_node: settings") == {"budget": "0.55"}, LIMIT)
        walk_on(0.5)
        for name, value, says in (
            ("budget", 1.2, "policy_node refuses budget 1.2: .*budget.*out of range"),
            ("policy", 0.5, "unknown setting 'policy'. Valid: budget"),
            ("buget", 0.7, "unknown setting 'buget'. Did you mean 'budget'"),
        ):
            with pytest.raises(ConfigError, match=says):
                operator.set_policy(name, value)
        assert main(["set", "budget=1.0"]) == 0
        assert capsys.readouterr().out == "budget is 1\n"
        walk_on(0.5)
        stack.ask("stop")
        stack.wait("damping")
        wait_for_damping(tmp_path / "out")
    recording = load(tmp_path / "out")
    held = recording.answered.column("settings")
    assert list(dict.fromkeys(held)) == [0.8, 0.55, 1.0]
    assert min((held == budget).sum() for budget in (0.8, 0.55, 1.0)) >= 10
    found = rerun(recording)
    assert found.identical, found.first
    assert found.outputs > 60
    assert decide_again(recording).disagreement is None


@pytest.mark.parametrize(
    ("parameters", "says"),
    [({"budget": 0.4}, "'budget'"), ({"budget": 2}, "'budget'"), ({"buget": 0.7}, "Did you mean 'budget'")],
)
def test_what_training_never_saw_is_refused_at_the_start(policy, tmp_path, parameters, says):
    assert says in refusal(tmp_path, "policy_node", policy=policy, **parameters)
