import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from robolearn.config import ConfigError
from robolearn.deploy import onnx_file
from robolearn.deploy.contract import KEY, from_metadata, to_json, with_defaults
from robolearn.deploy.onnx_file import PolicyFileError
from robolearn.deploy.policy import OnnxPolicy


@pytest.fixture
def policy(policy_file):
    return OnnxPolicy(policy_file)


@pytest.fixture
def rewrite(policy_file, tmp_path):
    """Return a function that changes the contract, seals the file again and returns its path."""

    def _rewrite(change, model=lambda model: model, file=policy_file):
        bare, metadata = onnx_file.unseal(file.read_bytes())
        document = json.loads(metadata[KEY])
        result = change(document)
        metadata[KEY] = json.dumps(document if result is None else result)
        path = tmp_path / "changed.onnx"
        path.write_bytes(onnx_file.join(model(bare), metadata))
        return path

    return _rewrite


def stand(policy):
    pair = policy.contract.golden[0]
    return {name: np.array(pair.inputs[name]) for name in policy.contract.signals}


def test_golden_pairs_come_out(policy):
    assert policy.check_golden() == []
    assert len(policy.contract.golden) >= 4


def test_the_first_step_is_the_first_golden_pair(policy):
    output = policy.step(stand(policy))
    expected = policy.contract.golden[0].outputs
    assert output.finite
    assert output.joint_target == pytest.approx(expected["joint_target"], abs=1e-5)
    assert output.observation == pytest.approx(expected["observation"], abs=1e-5)


def test_targets_follow_the_contract_s_formula(policy):
    c, signals = policy.contract, stand(policy)
    for _ in range(3):
        output = policy.step(signals)
        wanted = np.array(c.robot.default_pose) + np.array(c.action.scale) * output.action
        assert output.joint_target == pytest.approx(wanted, abs=1e-6)
        assert np.abs(output.action).max() <= c.action.clip


def test_memory_moves_on_and_reset_brings_the_start_back(policy):
    signals = stand(policy)
    first, second = policy.step(signals), policy.step(signals)
    assert not np.array_equal(first.joint_target, second.joint_target)  # it reads its previous action
    columns = slice(-len(first.action), None)
    assert second.observation[columns] == pytest.approx(first.action)
    policy.reset()
    assert np.array_equal(policy.step(signals).joint_target, first.joint_target)


def test_another_robot_s_policy_has_its_own_memory(policy):
    signals = stand(policy)
    first = policy.step(signals)
    other = policy.another()
    second = policy.step(signals)
    for expected in (first, second):
        assert np.array_equal(other.step(signals).joint_target, expected.joint_target)
    assert other.contract is policy.contract


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_reading_is_reported_and_leaves_the_memory(policy, bad):
    signals = stand(policy)
    policy.step(signals)
    broken = {**signals, "joint_velocity": np.full(12, bad)}
    assert not policy.step(broken).finite
    after = policy.step(signals)
    policy.reset()
    policy.step(signals)
    assert after.finite
    assert np.array_equal(after.joint_target, policy.step(signals).joint_target)


def test_a_setting_acts_as_the_signal_of_its_name(budget_file):
    """Set, given as a signal, or left at its default: what the network reads, and what another robot's policy has."""
    policy, other = OnnxPolicy(budget_file), OnnxPolicy(budget_file)
    signals = {name: value for name, value in stand(policy).items() if name != "budget"}
    assert policy.step(signals).observation[-1] == pytest.approx(2.0 * 0.9)
    policy.reset()
    policy.set({"budget": 0.6})
    outputs = [policy.step(signals), policy.another().step(signals), other.step({**signals, "budget": 0.6})]
    for output in outputs:
        assert output.observation[-1] == pytest.approx(2.0 * 0.6)
        assert np.array_equal(output.joint_target, outputs[0].joint_target)
    other.reset()
    assert not np.array_equal(other.step(signals).joint_target, outputs[0].joint_target)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"budget": 0.49}, "setting 'budget': must be from 0.5 to 1, got 0.49"),
        ({"budget": float("nan")}, "must be from 0.5 to 1, got nan"),
        ({"budget": 0.7, "buget": 0.7}, "unknown setting 'buget'. Did you mean 'budget'"),
    ],
)
def test_what_cannot_be_set_changes_nothing(budget_file, policy, values, message):
    budgeted = OnnxPolicy(budget_file)
    with pytest.raises(ConfigError, match=message):
        budgeted.set(values)
    assert budgeted.settings == {"budget": 0.9}
    with pytest.raises(ConfigError, match="the policy has none"):
        policy.set(values)


def test_a_file_with_other_defaults_is_the_same_policy(budget_file):
    before, after = OnnxPolicy(budget_file), OnnxPolicy(with_defaults(budget_file.read_bytes(), {"budget": 0.55}))
    assert after.settings == {"budget": 0.55}
    after.set({"budget": 0.9})
    assert np.array_equal(after.step(stand(after)).joint_target, before.step(stand(before)).joint_target)
    with pytest.raises(ConfigError, match=r"from 0\.5 to 1, got 2"):
        with_defaults(budget_file.read_bytes(), {"budget": 2.0})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("command"), r"missing \['command'\]"),
        (lambda s: s.update(comand=np.zeros(3)), r"unknown \['comand'\]"),
        (lambda s: s.update(command=np.zeros(2)), "signal 'command' needs 3 values, got 2"),
    ],
)
def test_wrong_signals(policy, change, message):
    signals = stand(policy)
    change(signals)
    with pytest.raises(ValueError, match=message):
        policy.step(signals)


def fields(document, where="contract"):
    """Every (path, mapping, key) of a document, one element of each list."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield f"{where}.{key}", document, key
            yield from fields(value, f"{where}.{key}")
    elif isinstance(document, list) and document and isinstance(document[0], dict):
        yield from fields(document[0], f"{where}[0]")


FREE = ("contract.provenance", "contract.golden[0].")
"""Tables whose keys are free, or are checked as a whole."""


def test_no_field_may_be_missing(budget_file, rewrite):
    document = json.loads(to_json(OnnxPolicy(budget_file).contract))
    # Files of before have no target_range: what the graph holds its targets in is in the graph.
    optional = ("contract.provenance.", FREE[1], "contract.action.target_range")
    paths = [path for path, _, _ in fields(document) if not path.startswith(optional)]
    assert len(paths) > 40
    for wanted in paths:

        def remove(document, wanted=wanted):
            for path, mapping, key in list(fields(document)):
                if path == wanted:
                    del mapping[key]

        with pytest.raises(PolicyFileError):
            OnnxPolicy(rewrite(remove, file=budget_file))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("settings"), r"settings has [], but of the signals the operator sets ['budget']"),
        (lambda d: d["settings"].update(pace=d["settings"]["budget"]), "settings has ['budget', 'pace']"),
        (lambda d: d["settings"]["budget"].update(default=1.1), "default must be from low to high"),
        (lambda d: d["settings"]["budget"].update(low=1.0), "low must be below high"),
        (lambda d: d["signals"]["budget"].update(width=2), "of the signals the operator sets []"),
    ],
)
def test_settings_that_do_not_fit_the_signals_are_refused(rewrite, budget_file, change, message):
    def apply(document):
        change(document)

    with pytest.raises(PolicyFileError, match=re.escape(message)):
        OnnxPolicy(rewrite(apply, file=budget_file))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(version=2), "contract.version is 2"),
        (lambda d: d.update(format="other"), "contract.format: 'other' is not one of the choices"),
        (lambda d: d.update(extra=1), "unknown key 'extra'"),
        (lambda d: d["robot"].pop("kp"), "contract.robot.kp: required entry is missing"),
        (lambda d: d["robot"]["kp"].__setitem__(0, 0.0), "contract.robot: kp must be above 0"),
        (lambda d: d["robot"]["joints"].__setitem__(1, d["robot"]["joints"][0]), "joints must be named, each once"),
        (lambda d: d["robot"]["default_pose"].pop(), "default_pose has 11 values for 12 joints"),
        (lambda d: d.update(control_dt=0.0), "control_dt must be in"),
        (lambda d: d["signals"]["command"].update(width=4), "command has 3 entries, the signal has 4"),
        (lambda d: d["signals"].update(height_scan={"width": 9, "unit": "m", "frame": "b"}), "golden"),
        (lambda d: d["memory"]["previous_action"].update(shape=[1, 11]), "needs 11 values"),
        (
            lambda d: d["golden"][1]["outputs"]["joint_target"].__setitem__(3, 9.0),
            "golden[1]: the target of joint 'FR_hip_joint' is 9 rad; by robot.default_pose and action",
        ),
        (
            lambda d: d["golden"][1]["outputs"]["observation"].__setitem__(3, 9.0),
            "golden pair 1: output 'observation'",
        ),
        (lambda d: d["action"]["scale"].__setitem__(0, 0.3), "the target of joint 'FL_hip_joint' is .* it would be"),
        (lambda d: d["robot"]["default_pose"].__setitem__(4, 0.7), "the target of joint 'FR_thigh_joint' is"),
        (lambda d: d["golden"].clear(), "at least one pair"),
        (lambda d: [d], "contract.version is None"),
    ],
)
def test_a_contract_that_does_not_fit_is_refused_by_field(rewrite, change, message):
    path = rewrite(lambda d: result if isinstance(result := change(d), list) and result == [d] else None)
    with pytest.raises(PolicyFileError, match="changed.onnx.*" + message.replace("[", r"\[")):
        OnnxPolicy(path)


def test_an_edit_by_hand_is_noticed(policy_file, tmp_path):
    data = policy_file.read_bytes()
    assert data.count(b'"control_dt": 0.02') == 1
    path = tmp_path / "edited.onnx"
    path.write_bytes(data.replace(b'"control_dt": 0.02', b'"control_dt": 0.03'))
    with pytest.raises(PolicyFileError, match="edited or damaged"):
        OnnxPolicy(path)


def test_the_content_of_a_file_is_as_good_as_the_file(policy, policy_file):
    content = policy_file.read_bytes()
    assert OnnxPolicy(content).contract == policy.contract
    with pytest.raises(PolicyFileError, match="edited or damaged"):
        OnnxPolicy(content.replace(b'"control_dt": 0.02', b'"control_dt": 0.03'))


def test_a_plain_onnx_file_is_no_policy(policy_file, tmp_path):
    bare, _ = onnx_file.unseal(policy_file.read_bytes())
    path = tmp_path / "bare.onnx"
    path.write_bytes(bare)
    with pytest.raises(PolicyFileError, match="not written by robolearn export"):
        OnnxPolicy(path)


def test_a_graph_that_the_runtime_cannot_load(rewrite):
    with pytest.raises(PolicyFileError, match="ONNX Runtime cannot load the graph"):
        OnnxPolicy(rewrite(lambda d: None, model=lambda model: b""))


def test_the_document_survives_the_round_trip(policy, budget_file):
    assert from_metadata({KEY: to_json(policy.contract)}) == policy.contract
    budgeted = OnnxPolicy(budget_file).contract
    assert from_metadata({KEY: to_json(budgeted)}) == budgeted
    assert "settings" not in json.loads(to_json(policy.contract))  # its file is as before there were settings
    assert json.loads(to_json(budgeted))["settings"]["budget"]["default"] == 0.9


def test_deploy_needs_nothing_but_numpy_yaml_and_onnxruntime(policy_file):
    """A fresh interpreter in which every other package of ours refuses to be imported."""
    code = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "mujoco", "gymnasium", "onnx", "matplotlib", "rich", "rclpy", "sim"}:
            raise ImportError(name + " is not on a robot")

sys.meta_path.insert(0, Refuse())
import importlib, pkgutil, robolearn.deploy
for module in pkgutil.iter_modules(robolearn.deploy.__path__):
    importlib.import_module("robolearn.deploy." + module.name)
from robolearn.deploy.policy import OnnxPolicy
policy = OnnxPolicy(sys.argv[1])
pair = policy.contract.golden[0]
assert policy.step({name: pair.inputs[name] for name in policy.contract.signals}).finite
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(policy_file)], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[3], env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
