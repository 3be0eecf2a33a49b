import pytest
from tampered import rng, world

from robolearn.evaluate.sim2sim.diagnosis import inertia


@pytest.fixture(scope="module")
def reference():
    return world()


def check(reference, candidate):
    """Findings of the inertia by check."""
    return {f.check: f for f in inertia.check(reference, candidate, rng())}


def times(field, name, factor):
    def change(model):
        rows = slice(6, None) if name is None else model.joint(name).dofadr if "dof" in field else model.body(name).id
        getattr(model, field)[rows] *= factor

    return change


def heavier(model):
    """As a load on the base: mass and inertia grow together."""
    for field in ("body_mass", "body_inertia"):
        getattr(model, field)[model.body("trunk").id] *= 1.2


def damp(columns, value):
    def change(model):
        model.dof_damping[columns] += value

    return change


def shift(model):
    model.body_ipos[model.body("trunk").id] += 0.02, 0.0, 0.01


PLANTED = {
    "base mass": (times("body_mass", "trunk", 1.2), "the mass of trunk is 1.2 times the reference's"),
    "base mass with inertia": (heavier, "the mass, with its inertia, of trunk is 1.2 times the reference's"),
    "inertia of a thigh": (times("body_inertia", "FL_thigh", 1.5), "the inertia of FL_thigh is 1.5 times"),
    "inertia of a calf": (times("body_inertia", "RR_calf", 0.5), "the inertia of RR_calf is 0.5 times"),
    "armature": (
        times("dof_armature", None, 1.5),
        "the armature (rotor inertia) of every joint is 0.015 instead of 0.01 kg m^2",
    ),
    "armature of one joint": (
        times("dof_armature", "RL_calf_joint", 0.5),
        "the armature (rotor inertia) of RL_calf_joint is 0.005 instead of 0.01 kg m^2",
    ),
    "damping": (damp(slice(6, None), 0.05), "damping of every joint is +0.05 N m s/rad beyond the reference's"),
    "drag": (damp(slice(3, 6), 0.1), "damping of the base's rotation is +0.1 N m s/rad beyond the reference's"),
    "centre of mass": (shift, "the centre of mass of trunk is shifted by ("),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_of_the_inertia_is_named(reference, fault):
    change, words = PLANTED[fault]
    findings = check(reference, world(change=change))
    assert findings["gravity"].verdict == "ok"
    differ = [f for f in findings.values() if f.verdict == "differs"]
    assert differ
    assert all(f.what.startswith(words) for f in differ), [f.what for f in differ]


def test_a_torque_that_does_not_arrive_whole(reference):
    def weaken(model):
        model.actuator_gear[:, 0] *= 0.9

    what = check(reference, world(change=weaken))["answer to pushes"].what
    assert what.startswith("the torque that acts at every joint is 0.9 times what was asked for")


def test_two_faults_are_named_together(reference):
    def change(model):
        heavier(model)
        times("dof_armature", None, 1.5)(model)

    what = check(reference, world(change=change))["answer to pushes"].what
    assert "of trunk is 1.2 times" in what
    assert "of every joint is 0.015 instead of 0.01" in what
