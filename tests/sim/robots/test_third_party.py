"""The files in ``examples/robots``: robots that nobody here wrote, and another way to use one that comes along."""

import importlib.metadata
from pathlib import Path
from xml.etree import ElementTree

import mujoco
import numpy as np
import pytest

from sim.robots import load_robot

FOLDER = Path(__file__).parents[3] / "examples" / "robots"
# name of the file: distribution that ships the model, joints, feet, published or summed mass (kg)
ROBOTS = {
    "ant": ("gymnasium", 8, 4, None),
    "bruce_arms_free": ("robolearn", 16, 2, 4.646),
    "g1": ("mjlab", 13, 2, 33.34),
    "solo12": ("example-robot-data", 12, 4, 2.5),
    "upkie": ("upkie_description", 4, 2, 5.34),
}


def load(name):
    distribution = ROBOTS[name][0]
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{distribution} is not installed; see docs/bring_your_own_robot.md")
    return load_robot(FOLDER / f"{name}.yaml")


@pytest.fixture(params=ROBOTS)
def robot(request):
    return load(request.param)


def test_every_example_is_tested():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(ROBOTS)


def test_figures_survive(robot):
    _, joints, feet, mass = ROBOTS[robot.name]
    model = robot.spec().compile()
    assert (len(robot.joints), len(robot.feet)) == (joints, feet)
    assert model.nv == 6 + joints
    if mass is not None:
        assert model.body_mass.sum() == pytest.approx(mass, abs=0.01)
    assert robot.mirror is not None
    assert not model.geom_contype.any()


@pytest.mark.parametrize("name", ["solo12", "upkie"])
def test_mass_is_the_sum_of_the_links_of_a_urdf(name):
    robot = load(name)
    total = sum(float(mass.get("value")) for mass in ElementTree.parse(robot.source.path).iter("mass"))
    assert robot.spec().compile().body_mass.sum() == pytest.approx(total, rel=1e-6)


def test_the_robot_starts_on_its_feet(robot):
    spec = robot.spec()
    spec.option.timestep = 0.002
    spec.worldbody.add_geom(name="ground", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[5, 5, 0.1])
    for name in robot.joints:
        spec.add_actuator(target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    model = spec.compile()
    data = mujoco.MjData(model)
    q = [int(model.joint(name).qposadr[0]) for name in robot.joints]
    v = [int(model.joint(name).dofadr[0]) for name in robot.joints]
    target, limit = np.array(robot.default_pose), np.array(robot.effort_limit)
    data.qpos[q] = target
    mujoco.mj_forward(model, data)
    assert not any(contact.dist < -1e-3 for contact in data.contact)
    for _ in range(150):
        data.ctrl = np.clip(robot.kp * (target - data.qpos[q]) - robot.kd * data.qvel[v], -limit, limit)
        mujoco.mj_step(model, data)
    assert np.isfinite(data.qpos).all()
    touched = {model.geom_bodyid[geom] for contact in data.contact for geom in contact.geom} - {0}
    assert touched, "it rests on something"
    assert data.body(robot.base).xpos[2] > 0.6 * robot.base_height
