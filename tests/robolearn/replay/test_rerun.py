"""A policy over recorded requests: what differs is named, first and most, and nothing else is."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robolearn.config import ConfigError
from robolearn.deploy.policy import OnnxPolicy
from robolearn.replay import report
from robolearn.replay.mcap import BagError
from robolearn.replay.recording import load
from robolearn.replay.rerun import rerun
from robolearn.replay.summary import summarize

from .stage import Stage

RELEASED = Path(__file__).parents[3] / "policies" / "a1_velocity_flat" / "policy.onnx"


def test_the_same_policy_gives_the_same(bag, played):
    found = rerun(load(bag))
    assert found.identical
    assert found.first is found.most is None
    assert (found.outputs, found.skipped, found.left_out) == (played.number, 0, ())
    assert max(each.largest for each in found.differences) <= 1e-6
    assert "identical to 1e-05" in report.policy(found)


def test_terms_and_joints_are_all_compared(bag, policy_file):
    contract = OnnxPolicy(policy_file).contract
    names = [(each.group, each.name) for each in rerun(load(bag)).differences]
    terms = [("observation", term.name) for term in contract.observation.terms]
    joints = contract.robot.joints
    assert names == [*terms, *(("action", j) for j in joints), *(("joint_target", j) for j in joints)]


MISTAKES = {
    "joint_velocity": lambda state: replace(state, velocity=1.5 * state.velocity),
    "joint_position": lambda state: replace(state, position=state.position + np.eye(12)[5] * 0.02),
    "base_angular_velocity": lambda state: replace(state, angular_velocity=state.angular_velocity[::-1] * [1, 2, 3]),
    "base_orientation": lambda state: replace(state, orientation=np.array([0.99, 0.0, 0.141067, 0.0])),
}


@pytest.mark.parametrize("signal", MISTAKES)
def test_a_signal_that_the_robot_computes_otherwise_is_named(policy_file, tmp_path, signal):
    """The robot's policy saw something else than was recorded of its readings, from the middle of the run on."""
    stage = Stage(policy_file)
    stage.play(0.2)
    since = stage.now
    stage.miscompute = MISTAKES[signal]
    stage.run(0.3)
    found = rerun(load(stage.write(tmp_path)))
    assert not found.identical
    terms = OnnxPolicy(policy_file).contract.observation.terms
    wrong = {term.name for term in terms if term.signal == signal}
    assert found.first.group == "observation"
    assert found.first.name in wrong
    assert 0.0 <= found.first.since - (since - 50.005) <= 0.05
    assert found.most.name in wrong  # not the previous action, which follows from it
    untouched = {term.name for term in terms} - wrong - {"previous_action"}
    assert {each.name for each in found.differences if each.group == "observation" and each.since is None} >= untouched
    text = report.policy(found)
    assert f"DIFFERENT: first observation term {found.first.name}, since" in text
    if signal == "joint_position":
        assert found.first.where == stage.robot.joints[5]


def test_another_policy_is_told_apart(bag):
    """The terms that both have are compared; the other one's action comes from another network."""
    found = rerun(load(bag), RELEASED)
    assert not found.identical
    by_group = {
        group: [each for each in found.differences if each.group == group] for group in ("observation", "action")
    }
    same = [each.name for each in by_group["observation"] if each.since is None]
    assert "joint_position" in same
    assert all(each.since is not None for each in by_group["action"])
    assert found.first.name not in same


def test_behind_a_hole_nothing_is_made_up(stage, tmp_path):
    """Nobody knows what the policy remembered: what follows until it begins anew is left out, not called different."""
    stage.drop("policy_input", [10])
    found = rerun(load(stage.write(tmp_path)))
    assert found.identical
    assert (found.outputs, found.skipped) == (10, stage.number - 11)


def test_a_missing_answer_is_left_out(stage, tmp_path):
    stage.drop("policy_output", [4, 5])
    found = rerun(load(stage.write(tmp_path)))
    assert found.identical
    assert (found.outputs, found.skipped) == (stage.number - 2, 2)


@pytest.mark.parametrize(
    ("unseen", "dropped", "skipped"),
    [
        ({8}, [], 1),  # paused for a moment: its memory did not move, and the next output has the same past
        ({8, 9, 10}, [], 3),
        ({1, 2}, [], 2),  # the first request of a walk comes again until it is answered
        ({8, 12}, [5], 3),
        ({8}, [6], 2),  # answers: 6 is the answer to request 7, so of 7 and 8 the policy saw one; nobody can tell which
    ],
)
def test_a_request_that_the_policy_never_saw_moves_no_memory(policy_file, tmp_path, unseen, dropped, skipped):
    stage = Stage(policy_file)
    stage.unseen = unseen
    stage.play(0.6)
    assert stage.number > 20
    if dropped:
        stage.drop("policy_output", dropped)
    found = rerun(load(stage.write(tmp_path)))
    assert found.identical
    if unseen == {8} and dropped:
        assert found.skipped == stage.number - 6
    else:
        assert (found.outputs, found.skipped) == (stage.number - skipped, skipped)


def test_the_beginning_of_a_second_walk_forgets_the_first(policy_file, tmp_path):
    stage = Stage(policy_file).play(0.1)
    assert stage.ask("stand")
    stage.run(2.5)
    assert stage.ask("start_policy")
    stage.run(0.1)
    recording = load(stage.write(tmp_path))
    assert recording.asked.column("first").sum() == 2
    assert rerun(recording).identical


@pytest.fixture(scope="module")
def budgeted(budget_file):
    """A run in which the operator changes the budget twice; its policy remembers the past in a recurrent layer."""
    stage = Stage(budget_file).play(0.1)
    for budget in (0.6, 0.75):
        stage.runner._policy.set({"budget": budget})
        stage.run(0.2)
    return stage


def test_a_setting_that_changed_during_the_run_is_run_again_as_it_was(budgeted, tmp_path):
    recording = load(budgeted.write(tmp_path))
    assert sorted(set(recording.answered.column("settings"))) == [0.6, 0.75, 0.9]
    found = rerun(recording)
    assert found.identical
    assert (found.outputs, found.skipped) == (budgeted.number, 0)


def test_the_words_tell_when_a_setting_changed(budgeted, bag, tmp_path):
    recording = load(budgeted.write(tmp_path))
    lines = report.overview(recording, summarize(recording)).splitlines()
    begin = lines.index("settings of the policy")
    told = [line.split() for line in lines[begin + 1 : begin + 4]]
    assert [(name, float(value)) for name, _, _, value in told] == [("budget", 0.9), ("budget", 0.6), ("budget", 0.75)]
    since = [float(time) for _, time, _, _ in told]
    assert np.diff(since) == pytest.approx([0.1, 0.2], abs=0.025)  # to the policy's next output
    assert lines[begin + 4] == ""
    without = load(bag)
    assert "settings of the policy" not in report.overview(without, summarize(without))


def test_a_setting_that_was_recorded_wrongly_is_found(budgeted, tmp_path):
    """What is run again is what the answers say, not what makes the difference vanish."""
    recording = load(budgeted.write(tmp_path))
    recording.answered["settings"][12] += 0.01
    found = rerun(recording)
    assert found.first.name == "budget"
    assert found.first.since == recording.asked.time[12]


def test_without_its_answer_a_request_has_the_setting_of_its_neighbours_or_none(budgeted, tmp_path):
    held = load(budgeted.write(tmp_path / "all")).answered.column("settings")
    changed = np.flatnonzero(np.diff(held)).tolist()
    assert len(changed) == 2
    between, at_the_change = copy.copy(budgeted), copy.copy(budgeted)
    for stage, lost in ((between, [2, 3]), (at_the_change, [changed[0] + 1])):
        stage.messages = list(budgeted.messages)
        stage.drop("policy_output", lost)
    found = rerun(load(between.write(tmp_path / "between")))
    assert found.identical
    assert (found.outputs, found.skipped) == (budgeted.number - 2, 2)
    found = rerun(load(at_the_change.write(tmp_path / "change")))
    assert found.identical
    assert found.outputs == changed[0] + 1  # from there on nobody knows what it remembered


def test_what_is_not_finite_is_a_difference_unless_both_are(policy_file, tmp_path):
    stage = Stage(policy_file)
    stage.play(0.1)
    stage.changes = {"velocity": np.full(12, np.nan)}
    stage.run(0.02)  # the monitor drops such readings; the policy was asked all the same
    assert rerun(load(stage.write(tmp_path / "both"))).identical
    stage = Stage(policy_file)
    stage.play(0.1)
    stage.miscompute = lambda state: replace(state, velocity=np.full(12, np.nan))
    stage.run(0.02)
    found = rerun(load(stage.write(tmp_path / "one")))
    assert found.first.name == "joint_velocity"
    assert found.first.largest == np.inf


def test_without_a_policy_there_is_nothing_to_run(stage, policy_file, tmp_path):
    folder = stage.write(tmp_path, policy=None)
    with pytest.raises(BagError, match="name the one that ran with --policy"):
        rerun(load(folder))
    assert rerun(load(folder, policy_file), policy_file).identical
    quiet = Stage(policy_file)
    quiet.run(0.05)
    with pytest.raises(BagError, match="did it ever run"):
        rerun(load(quiet.write(tmp_path / "quiet")))


def test_a_policy_for_another_robot_is_refused(stage, policy_file, tmp_path):
    recording = load(stage.write(tmp_path))
    other = replace(recording, robot=replace(recording.robot, name="other"))
    with pytest.raises(ConfigError, match="made for 'a1'"):
        rerun(other, policy_file)
