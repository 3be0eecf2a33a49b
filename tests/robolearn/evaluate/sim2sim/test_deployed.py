"""The nodes' episodes again: the truth behind a recording, the stack in one process, and whether all of it agrees."""

import dataclasses
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from walked import POLICY, Walked, make_robot, weaken

from robolearn.config import ConfigError
from robolearn.deploy.policy import OnnxPolicy
from robolearn.evaluate.deployed import DeployedRobot
from robolearn.evaluate.sim2sim.deployed import agreement, check
from robolearn.evaluate.sim2sim.deployed.again import replay, run_again
from robolearn.evaluate.sim2sim.deployed.agreement import (
    SAME,
    SHARE,
    SIGMAS,
    Agreement,
    Check,
    compare_actions,
    compare_commands,
    compare_measures,
)
from robolearn.evaluate.sim2sim.deployed.episode import take_apart
from robolearn.evaluate.sim2sim.deployed.nodes import _follow
from robolearn.evaluate.sim2sim.deployed.truth import Truth
from robolearn.evaluate.sim2sim.measures import MEASURES, SCORE, measure
from robolearn.evaluate.sim2sim.world import make_world
from robolearn.replay.mcap import BagError
from robolearn.replay.recording import Note

torch.set_num_threads(1)
STEPS = 40
SCRIPT = np.repeat([[0.0, 0.0, 0.0], [0.6, 0.0, 0.3]], STEPS // 2, 0)


@pytest.fixture(scope="module")
def walked():
    return Walked(SCRIPT)


@pytest.fixture(scope="module")
def episode(walked):
    return take_apart(walked.recording(), STEPS)


@pytest.fixture(scope="module")
def world():
    made = make_world(POLICY, "mujoco", 1)
    made.reset()
    yield made
    made.close()


def test_an_episode_is_found_in_its_recording(walked, episode):
    assert episode.steps == STEPS and episode.every == 4 and not episode.stopped
    assert episode.stood == 21
    np.testing.assert_array_equal(episode.command, SCRIPT)
    assert len(episode.commands) == episode.first + 4 * STEPS
    np.testing.assert_array_equal(episode.action[-1], walked.rows["answered"]["action"][STEPS - 1])


def test_commands_give_the_same_robot_again(walked, episode):
    found = replay(episode, make_robot())
    assert found.difference is None
    assert found.compared == found.cycles == len(episode.commands)


def test_the_truth_is_what_the_simulated_robot_did(walked, episode, world):
    trace = replay(episode, make_robot()).truth.trace(world, episode, SCRIPT, STEPS)
    ends = episode.first + 4 * np.arange(1, STEPS + 1) - 1  # places of cycles that count from 1
    qpos, sensors = np.array(walked.qpos)[ends], np.array(walked.sensors)[ends]
    np.testing.assert_allclose(trace.position[:, 0], qpos[:, :3], atol=1e-6)
    np.testing.assert_allclose(trace.joint_position[:, 0], qpos[:, 7:], atol=1e-6)
    forces = sensors[:, world.env.scene.foot_force].reshape(STEPS, 4, 3)
    np.testing.assert_allclose(trace.foot_force[:, 0], np.linalg.norm(forces, axis=-1), atol=1e-2)
    feet = sensors[:, world.env.scene.foot_velocity].reshape(STEPS, 4, 3)
    np.testing.assert_allclose(trace.foot_velocity[:, 0], feet, atol=1e-5)
    sent = np.array(walked.rows["commands"]["position"])[ends - 1]
    np.testing.assert_allclose(trace.target[:, 0], sent, atol=1e-6)
    torque, velocity = (np.array(walked.rows["states"][name]) for name in ("torque", "velocity"))
    powers = [np.abs(torque[end - 3 : end + 1] * velocity[end - 4 : end]).sum(1).mean() for end in ends]
    np.testing.assert_allclose(trace.power[:, 0], powers, rtol=1e-5)
    np.testing.assert_allclose(trace.torque[:, 0], torque[ends], rtol=1e-5)
    assert trace.alive.all() and trace.steps == STEPS and trace.velocity[-1, 0, 0] > 0.2


def test_the_truth_does_not_depend_on_what_was_measured_before(episode, world):
    truth, qvel = replay(episode, make_robot()).truth, world.env.engine.field("qvel")
    truth.trace(world, episode, SCRIPT, 1)
    first = qvel.clone()
    truth.trace(world, episode, SCRIPT, STEPS)  # leaves its accelerations to the solver as a start
    truth.trace(world, episode, SCRIPT, 1)
    assert torch.equal(qvel, first)


def test_one_process_decides_the_same(episode):
    found = run_again(episode, SCRIPT, make_robot())
    assert found.steps == STEPS and not found.stopped
    assert compare_actions([(found.action, episode.action)], 0.02).agrees
    assert compare_actions([(found.target, episode.target)], 0.02).agrees


def test_another_command_is_seen_in_the_actions(episode):
    other = SCRIPT.copy()
    other[30:] = 0.0
    found = compare_actions([(run_again(episode, other, make_robot()).action, episode.action)], 0.02)
    assert not found.agrees and "above it since 0.60 s of episode 0" in found.found


@pytest.mark.parametrize(
    "spoil",
    [
        lambda robot: weaken(robot, 0.99),
        lambda robot: robot.injector.inject("command_delayed", seconds=0.005),
        lambda robot: robot.injector.inject("position_bias", joint="FL_calf_joint", bias=1e-4),
        lambda robot: robot.link.push(np.array([0.0, 0.5, 0.0])),
    ],
)
def test_drives_that_are_not_as_they_should_be_are_seen_at_once(spoil):
    walked = Walked(SCRIPT, at=10, do=spoil)
    episode = take_apart(walked.recording(), STEPS)
    difference = replay(episode, make_robot()).difference
    spoiled = (episode.first + 40) * 0.005
    assert difference is not None and spoiled - 1e-9 <= difference.time <= spoiled + 0.03


def test_what_the_recorder_did_not_hear_of_a_limp_robot_is_no_loss(walked):
    lost = {"states": range(7), "commands": range(12), "ticks": range(9)}
    episode = take_apart(walked.recording(lost), STEPS)
    found = replay(episode, make_robot())
    assert found.difference is None and found.compared == found.cycles - 7


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ({"commands": [100, 101]}, "2 commands were not recorded, the first at 0.505 s"),
        ({"commands": range(25)}, "driven before anything was recorded"),
        ({"answered": [3]}, "1 of 40 steps of the policy were not recorded"),
        ({"asked": [3, 5]}, "2 of 40 steps"),
        ({"ticks": slice(None)}, "never answered"),
        ({"states": slice(500, None)}, "no reading of the episode's last step"),
    ],
)
def test_a_hole_is_said_and_not_guessed(walked, lost, words):
    with pytest.raises(BagError, match=words):
        take_apart(walked.recording(lost), STEPS)


def test_a_lost_reading_or_tick_is_no_hole(walked):
    first = take_apart(walked.recording(), STEPS)
    episode = take_apart(walked.recording({"states": [300, 301], "ticks": [first.first - 1, first.first + 3]}), STEPS)
    assert episode.first == first.first
    found = replay(episode, make_robot())
    assert found.difference is None and found.compared == found.cycles - 2


def test_a_late_answer_is_said():
    walked = Walked(SCRIPT)
    answers = walked.rows["ticks"]["answer"]
    place = next(i for i, each in enumerate(answers) if each[0] == 7)
    answers[place], answers[place + 1] = answers[place + 1], answers[place]
    with pytest.raises(BagError, match="answered late at"):
        take_apart(walked.recording(), STEPS)


def test_a_first_answer_that_was_late_is_said(walked):
    recording = walked.recording()
    entered = dict(recording.notes[-1].data)
    notes = (*recording.notes[:-1], Note(0.0, entered | {"time": entered["time"] - 0.005}))
    with pytest.raises(BagError, match="answered late at"):
        take_apart(dataclasses.replace(recording, notes=notes), STEPS)


def test_a_robot_that_was_stopped_ends_its_episode(world):
    def topple(robot):
        robot.link.push(np.array([0.0, 150.0, 0.0]))

    walked = Walked(SCRIPT, at=20, do=topple)
    episode = take_apart(walked.recording(), STEPS)
    assert episode.stopped and 20 <= episode.steps < STEPS
    robot = make_robot()
    local = run_again(episode, SCRIPT, robot)
    assert local.steps == STEPS  # nobody pushed this one
    survived = measure(local.truth.trace(world, episode, SCRIPT, local.steps))["survival"]
    ended = measure(local.truth.trace(world, episode, SCRIPT, episode.steps))["survival"]
    assert survived == 1.0 and ended == pytest.approx(episode.steps / STEPS)


def test_physics_of_another_step_is_refused():
    with pytest.raises(ConfigError, match=r"every 0\.005 s, the benchmark's physics step is 0\.002 s"):
        Truth(DeployedRobot(OnnxPolicy(POLICY)))


# The comparison.


def values(shift=0.0, n=1, spread=0.0):
    """Measures of an episode from n starts, the same for all but where they are told to differ."""
    around = spread * np.linspace(-1, 1, n)
    shares = {name: (0.5 * (m.zero + m.one), abs(m.one - m.zero)) for name, m in MEASURES.items()} | {SCORE: (0.5, 1.0)}
    return {name: np.full(n, middle) + (shift + around) * scale for name, (middle, scale) in shares.items()}


def test_equal_measures_agree():
    rows = compare_measures([values(n=4)] * 2, [values()] * 2, [values()] * 2)
    assert len(rows) == len(MEASURES) + 1 and all(row.agrees for row in rows)


def test_the_tolerance_is_a_share_of_the_scale_and_three_standard_errors():
    given = values(n=16, spread=0.1)
    (row, *_) = compare_measures([given] * 3, [values()] * 3, [values()] * 3)
    spread = given[row.name].std(ddof=1)
    error = np.sqrt(3 * spread**2 * (1 + 1 / 16)) / 3
    assert row.error == pytest.approx(error)
    assert row.tolerance == pytest.approx(SHARE + SIGMAS * error)
    for factor, agrees in ((0.99, True), (1.01, False)):
        moved = [values(factor * row.tolerance)] * 3
        assert compare_measures([given] * 3, moved, moved)[0].agrees is agrees


def test_nodes_that_differ_from_one_process_do_not_agree():
    for factor, agrees in ((0.9, True), (1.1, False)):
        rows = compare_measures([values(n=4)], [values()], [values(factor * SAME)])
        assert all(row.agrees is agrees for row in rows)


def test_what_is_unknown_does_not_agree():
    rows = compare_measures([values(n=4)], [values()], [{}])
    assert rows and not any(row.agrees for row in rows)
    text = Agreement(1, 4, rows, ()).table()
    assert "unknown" in text and "yes" not in text
    assert json.loads(Agreement(1, 4, rows, ()).to_json())["rows"][0]["nodes"] is None


def test_a_measure_that_no_episode_has_is_left_out():
    nothing = {"cost_of_transport": np.array([np.nan])}
    rows = compare_measures([values() | nothing], [values() | nothing], [values() | nothing])
    assert "cost_of_transport" not in {row.name for row in rows}
    rows = compare_measures([values()] * 2, [values() | nothing, values()], [values() | nothing, values()])
    assert all(row.agrees for row in rows)


def test_commands_are_compared_in_their_order():
    late = np.concatenate((SCRIPT[:1], SCRIPT[:-1]))
    assert compare_commands(SCRIPT, SCRIPT, 0.02) == (True, 0.0)
    same, seconds = compare_commands(late, SCRIPT, 0.02)
    assert same and seconds == pytest.approx(0.02)
    assert compare_commands(SCRIPT[:10], SCRIPT, 0.02)[0]
    assert not compare_commands(SCRIPT * [1.0, 1.0, -1.0], SCRIPT, 0.02)[0]


def test_everything_must_agree():
    rows = compare_measures([values(n=4)], [values()], [values()])
    good = Agreement(1, 4, rows, (Check("one", "well", True),))
    assert good.agrees and "agrees  one: well" in good.table()
    bad = dataclasses.replace(good, checks=(Check("one", "not well", False),))
    assert not bad.agrees and "DIFFERS  one: not well" in bad.table()


@pytest.fixture
def whole(tmp_path, monkeypatch):
    """The whole comparison, with a walk in this process in the place of the nodes'."""

    def run(do=lambda robot: None, losses=()):
        asked, losses = [], list(losses)

        def load(folder):
            return Walked(asked[-1], at=10, do=do).recording(losses.pop(0) if losses else None)

        monkeypatch.setattr(check, "walk", lambda way, script, namespace, folder: asked.append(script))
        monkeypatch.setattr(check, "load", load)
        way = check.Way(POLICY, None, check.timestep())
        return check.check(way, 1, 3.0, 0, tmp_path, say=lambda text: None)

    return run


def test_the_released_policy_does_deployed_what_it_does_in_thereference(whole):
    found = whole()
    assert all(each.agrees for each in found.checks)
    for row in found.rows:
        assert row.in_process == row.nodes
        assert abs(row.nodes - row.benchmark) <= 2 * row.tolerance, row  # a single episode


def test_a_recording_with_a_hole_is_made_once_more_but_not_for_ever(whole):
    hole = {"commands": [100]}
    assert all(each.agrees for each in whole(losses=[hole]).checks)
    with pytest.raises(BagError, match="1 commands were not recorded"):
        whole(losses=[hole] * check.ATTEMPTS)


def test_other_drives_do_not_agree(whole):
    found = whole(lambda robot: weaken(robot, 0.9))
    assert not found.agrees
    assert any("position of" in each.found for each in found.checks if not each.agrees)


def test_a_lasting_difference_of_the_robot_is_seen_in_the_measures(world):
    """Also where nobody compares readings: drives with half of their gains, judged by the measures alone."""
    walked = Walked(np.repeat([[0.0, 0.0, 0.0], [0.7, 0.0, 0.0]], 75, 0), at=0, do=lambda robot: weaken(robot, 0.6))
    script = np.array(walked.rows["asked"]["command"])[:150]
    episode = take_apart(walked.recording(), 150)
    robot = make_robot()
    weaken(robot, 0.6)
    theirs = [measure(replay(episode, robot).truth.trace(world, episode, script, episode.steps))]
    rows = compare_measures(check.reference(POLICY, [script], 0), theirs, theirs)
    assert not all(row.agrees for row in rows)
    assert agreement.Agreement(1, 16, rows, ()).table().count("NO") >= 2


def test_a_robot_that_must_be_hoisted_is_refused_before_anything_runs(monkeypatch, tmp_path):
    contract = SimpleNamespace(robot=SimpleNamespace(name="bruce"))
    monkeypatch.setattr(check, "read_contract", lambda path: (contract, None))
    with pytest.raises(ConfigError, match=r"'bruce' must be hoisted .* robolearn rehearse"):
        check.check(SimpleNamespace(policy="walker.onnx"), 1, 1.0, 0, tmp_path)


class SlowEars:
    """An operator to whom the event of the start came before the state, which is still that of before."""

    def __init__(self, ends=math.inf):
        self.state, self.robot_time, self.ends, self.asked = "ready", 1.0, ends, []
        self.events = [{"mode": "policy", "from": "ready", "time": 1.0}]

    def wait_for(self, condition, limit, what):
        while not condition():
            self.robot_time += 0.01
            if self.robot_time >= self.ends and len(self.events) == 1:
                self.events.append({"mode": "damping", "from": "policy", "time": self.ends})

    def drive(self, *command):
        self.asked.append(command)


def test_a_script_goes_on_although_the_state_is_heard_late_and_ends_with_the_policy():
    script = np.array([[0.1, 0.0, 0.0], [0.1, 0.0, 0.0], [0.2, 0.0, 0.0], [0.3, 0.0, 0.0]])
    operator = SlowEars()
    _follow(operator, script, 0.02)
    assert operator.asked == [tuple(script[0]), tuple(script[2]), tuple(script[3])]
    assert operator.robot_time >= 1.0 + 0.02 * len(script)
    operator = SlowEars(ends=1.05)
    _follow(operator, script, 0.02)
    assert operator.asked == [tuple(script[0]), tuple(script[2])], "the policy ended before the last row"
