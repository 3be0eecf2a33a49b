import math

import numpy as np
import pytest
import torch
from tampered import POLICY, Tampered, differing, rng, world

from robolearn.evaluate.sim2sim.diagnosis import contract, diagnose
from robolearn.evaluate.sim2sim.diagnosis import words as words_for
from robolearn.evaluate.sim2sim.diagnosis.contract import _age
from robolearn.evaluate.sim2sim.diagnosis.probe import in_the_air, rotations
from sim.rotations import rotation_matrix

FRONT_LEGS = [3, 4, 5, 0, 1, 2, 6, 7, 8, 9, 10, 11]
CALF = 5  # FR_calf_joint


@pytest.fixture(scope="module")
def reference():
    return world()


def of_joints(change):
    """Readings in which the joints' positions and velocities are changed alike."""
    return lambda signals: signals | {name: change(signals[name]) for name in ("joint_position", "joint_velocity")}


def flip(values):
    values[:, CALF] *= -1
    return values


def the_finding(findings, check):
    return next(finding for finding in findings if finding.check == check)


def readings(change):
    return {"readings": change}


PLANTED = {
    "two legs swapped": (
        {"readings": of_joints(lambda v: v[:, FRONT_LEGS]), "targets": lambda t: t[:, FRONT_LEGS]},
        "joint_position",
        "of FL_hip_joint is that of FR_hip_joint",
    ),
    "sign of a joint": (
        {"readings": of_joints(flip), "targets": flip},
        "joint_position",
        "of FR_calf_joint has the opposite sign",
    ),
    "degrees": (
        readings(lambda s: s | {"joint_velocity": torch.rad2deg(s["joint_velocity"])}),
        "joint_velocity",
        "of FL_hip_joint is in degrees",
    ),
    "offset": (
        readings(lambda s: s | {"joint_position": s["joint_position"] + 0.25}),
        "joint_position",
        "of FL_hip_joint is +0.250 off",
    ),
    "angular velocity in the world frame": (
        readings(
            lambda s: (
                s
                | {
                    "base_angular_velocity": (
                        rotation_matrix(s["base_orientation"]) @ s["base_angular_velocity"].unsqueeze(-1)
                    ).squeeze(-1)
                }
            )
        ),
        "base_angular_velocity",
        "is in the world frame instead of the base frame",
    ),
    "sign of the angular velocity": (
        readings(lambda s: s | {"base_angular_velocity": -s["base_angular_velocity"]}),
        "base_angular_velocity",
        "has the opposite sign",
    ),
    "xyzw": (
        readings(lambda s: s | {"base_orientation": s["base_orientation"].roll(-1, 1)}),
        "base_orientation",
        "comes as (x, y, z, w) instead of (w, x, y, z)",
    ),
    "world to base": (
        readings(lambda s: s | {"base_orientation": s["base_orientation"] * torch.tensor([1.0, -1, -1, -1])}),
        "base_orientation",
        "goes from world to base instead of base to world",
    ),
    "another quaternion for the same orientation": (
        readings(lambda s: s | {"base_orientation": -s["base_orientation"]}),
        None,
        "",
    ),
    "command": (
        readings(lambda s: s | {"command": 0.5 * s["command"]}),
        "command",
        "the command (vx, vy, yaw_rate) arrives changed",
    ),
    "targets of two legs swapped": (
        {"targets": lambda t: t[:, FRONT_LEGS]},
        "joint targets",
        "the target of FL_hip_joint moves FR_hip_joint",
    ),
    "targets in degrees": (
        {"targets": torch.deg2rad},
        "joint targets",
        "(degrees for radians)",
    ),
    "sign of a target": ({"targets": flip}, "joint targets", "the target of FR_calf_joint moves the other way"),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_of_the_contract_is_named(reference, fault):
    tampering, check, words = PLANTED[fault]
    findings = contract.check(reference, Tampered(world(), **tampering), rng())
    differ = differing(findings)
    if check is None:
        assert differ == []
        return
    assert ("contract", check) in differ
    assert words in the_finding(findings, check).what
    if "swapped" in fault:
        assert "RL" not in the_finding(findings, check).what, "the rear legs are as they should be"


@pytest.mark.parametrize("steps", [1, 2])
def test_late_readings_are_dated(reference, steps):
    findings = contract.check(reference, Tampered(world(), late_readings=steps), rng())
    assert differing(findings) == [("contract", "age of readings")]
    late = the_finding(findings, "age of readings")
    assert late.measured == pytest.approx(20 * steps)
    assert late.unit == "ms" and late.tolerance == pytest.approx(2.5)


def test_late_targets_and_other_gains_are_no_matter_of_the_contract(reference):
    candidate = Tampered(world(), late_targets=1)
    candidate.env.actuators.kp *= 1.5
    assert differing(contract.check(reference, candidate, rng())) == []


def test_joints_turned_inside_the_model_are_found_though_they_read_back(reference):
    def turn(model):
        model.jnt_axis[model.joint("FR_calf_joint").id] *= -1

    findings = contract.check(reference, world(change=turn), rng())
    assert differing(findings)[0] == ("contract", "kinematics")
    assert the_finding(findings, "joint_position").verdict == "ok"
    assert the_finding(findings, "kinematics").what == "FR_calf_joint turns the other way"


def test_a_leg_that_is_longer_is_found(reference):
    def stretch(model):
        model.body_pos[model.body("RL_calf").id] *= 1.1

    finding = the_finding(contract.check(reference, world(change=stretch), rng()), "kinematics")
    assert finding.verdict == "differs"
    assert finding.what == "foot RL is elsewhere at the same joint angles"
    assert finding.measured == pytest.approx(0.02, rel=1e-3)  # a tenth of the thigh's 0.2 m


class Renamed:
    """A world whose robot has its joints in another order."""

    def __init__(self, inner):
        self.env = type("Env", (), {"robot": type("Robot", (), {"joints": inner.env.robot.joints[::-1]})})


def test_another_order_of_names_is_found_before_anything_is_compared(reference):
    findings = contract.check(reference, Renamed(reference), rng())
    assert [finding.check for finding in findings] == ["joint names"]
    assert "0: RR_calf_joint instead of FL_hip_joint" in findings[0].what
    assert findings[0].measured == 12


def test_velocities_in_another_frame_are_found_by_how_positions_change(reference):
    """An engine that takes the base's rotation in the world frame reads it back as it was set."""
    candidate = world()
    states = in_the_air(reference, 4, rng(), 1.0)
    findings = contract._rates(candidate, states)
    assert differing(findings) == []
    engine, inner = candidate.env.engine, candidate.env.engine.step
    qpos, qvel = engine.field("qpos"), engine.field("qvel")

    def step(substeps=1, derived=True):
        turn = torch.as_tensor(rotations(qpos[:, 3:7].numpy()))
        qvel[:, 3:6] = torch.einsum("nji,nj->ni", turn, qvel[:, 3:6].clone())
        inner(substeps)
        turn = torch.as_tensor(rotations(qpos[:, 3:7].numpy()))
        qvel[:, 3:6] = torch.einsum("nij,nj->ni", turn, qvel[:, 3:6].clone())

    engine.step = step
    findings = contract._rates(candidate, states)
    assert differing(findings) == [("contract", "base rotation")]
    assert the_finding(findings, "base rotation").what == (
        "velocities of rotation are in the world frame instead of the base frame"
    )


def test_rotations_are_those_of_the_simulation():
    quaternions = rng().normal(size=(20, 4))
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    expected = rotation_matrix(torch.as_tensor(quaternions)).numpy()
    np.testing.assert_allclose(rotations(quaternions), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1.0, []),
        (-1.0, ["has the opposite sign"]),
        (180 / math.pi, ["is in degrees"]),
        (-math.pi / 180, ["has the opposite sign", "is turned from degrees into radians once too often"]),
        (1.5, ["is 1.5 times as large"]),
    ],
)
def test_factors_in_words(factor, words):
    assert words_for._factor(factor) == words


def test_what_follows_a_wrong_contract_is_not_tested(reference):
    candidate = Tampered(world(), targets=lambda t: t[:, FRONT_LEGS])
    diagnosis = diagnose(POLICY, reference, candidate)
    assert diagnosis.boundary == "contract"
    assert diagnosis.first.check == "joint targets"
    assert [f.boundary for f in diagnosis.findings if f.verdict == "not tested"] == [
        "actuation", "inertia", "contact", "sensitivity"
    ]  # fmt: skip


def test_readings_cannot_be_dated_unless_they_agree(reference):
    findings = contract.check(reference, Tampered(world(), readings=of_joints(flip)), rng())
    assert the_finding(findings, "age of readings").verdict == "not tested"


def test_the_age_of_present_readings_is_zero(reference):
    assert _age(reference, rng()).measured == 0
