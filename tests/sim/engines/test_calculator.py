"""What MuJoCo computes beside a foreign simulator, against plain MuJoCo and by hand."""

import mujoco
import numpy as np
import pytest

from robolearn.config import ConfigError
from sim.engines.calculator import Calculator, Contact, contact_sensors, ground_plane, sliding_friction

SENSORS = """
<mujoco><worldbody>
  <geom name="floor" type="plane" size="0 0 1"/>
  <body name="box" pos="0 0 1"><freejoint/><site name="imu"/>
    <geom name="left" size=".1" pos="0 .2 0"/><geom name="right" size=".1" pos="0 -.2 0"/>
    <body name="arm" pos="1 0 0"><joint name="elbow" axis="0 1 0"/><geom name="arm" size=".1"/></body></body>
</worldbody>
<sensor>
  <framepos name="place" objtype="site" objname="imu"/>
  <accelerometer name="accelerometer" site="imu"/>
  <touch name="touch" site="imu"/>
  <contact name="left" geom1="left" data="force" reduce="netforce" num="1"/>
  <contact name="box" body1="box" data="force" reduce="netforce" num="1"/>
  <contact name="tree" subtree1="box" data="force" reduce="netforce" num="1"/>
  <contact name="deepest" geom1="left" data="force" reduce="mindist" num="1"/>
  <contact name="pair" geom1="left" geom2="floor" data="force" reduce="netforce" num="1"/>
</sensor></mujoco>"""


def test_kinematics_and_sensors_are_mujoco_s(quadruped):
    states = quadruped.random_states(3, seed=1, in_contact=True)
    for index in range(3):
        plain, calculator = quadruped.plain(states, index), Calculator(quadruped.model)
        mujoco.mj_forward(quadruped.model, plain)
        calculator.place(states["qpos"][index], states["qvel"][index])
        for name in ("xpos", "xquat", "cvel", "subtree_com"):
            assert getattr(calculator.data, name) == pytest.approx(getattr(plain, name), abs=1e-12), name
        for name in ("gyro", "orientation", "foot_velocity"):
            assert calculator.data.sensor(name).data == pytest.approx(plain.sensor(name).data, abs=1e-12), name


def test_generalised_forces_hold_everything_but_gravity_and_constraints(quadruped):
    """MuJoCo's ``qfrc_smooth`` is all that acts except constraints, less the bias of gravity and rotation."""
    states = quadruped.random_states(4, seed=2, in_contact=False)
    for index in range(4):
        plain, calculator = quadruped.plain(states, index), Calculator(quadruped.model)
        mujoco.mj_forward(quadruped.model, plain)
        calculator.place(states["qpos"][index], states["qvel"][index])
        calculator.actuate(states["ctrl"][index])
        force = calculator.force(states["qfrc_applied"][index], states["xfrc_applied"][index])
        assert force == pytest.approx(plain.qfrc_smooth + plain.qfrc_bias, abs=1e-10)
        assert np.abs(plain.qfrc_passive).max() > 1e-3, "the model must have damping for this test to mean anything"


def test_a_contact_sensor_gets_what_its_part_exerts():
    model = mujoco.MjModel.from_xml_string(SENSORS)
    calculator, geom = Calculator(model), {name: model.geom(name).id for name in ("left", "right", "arm")}
    calculator.place(model.qpos0, np.zeros(model.nv))
    calculator.sense([
        Contact(geom["left"], np.array([1.0, 2, 3])),
        Contact(geom["left"], np.array([0.0, 0, 10])),
        Contact(geom["right"], np.array([5.0, 0, 20])),
        Contact(geom["arm"], np.array([100.0, 100, 100])),
    ])  # fmt: skip
    assert calculator.data.sensor("left").data.tolist() == [-1, -2, -13]
    assert calculator.data.sensor("box").data.tolist() == [-6, -2, -33]
    calculator.sense([])
    assert not calculator.data.sensor("box").data.any()


def test_a_contact_sensor_has_mujoco_s_sign():
    model = mujoco.MjModel.from_xml_string(SENSORS)
    data = mujoco.MjData(model)
    data.qpos[2] = 0.099
    mujoco.mj_forward(model, data)
    assert data.sensor("left").data[2] < -0.1, "MuJoCo reports what presses on the ground"


def test_sensors_that_cannot_be_filled_are_listed_with_the_reason():
    columns, missing = contact_sensors(mujoco.MjModel.from_xml_string(SENSORS))
    assert len(columns) == 2
    assert set(missing) == {"accelerometer", "touch", "tree", "deepest", "pair"}
    assert "acceleration" in missing["accelerometer"] and "net force" in missing["deepest"]


@pytest.mark.parametrize(
    ("ground", "message"),
    [
        ('<geom name="hill" type="box" size="1 1 1" pos="0 0 -1"/>', "'hill' is not one level plane"),
        ('<geom name="high" type="plane" size="1 1 1" pos="0 0 1"/>', "'high' is not one level plane"),
        ('<geom name="ramp" type="plane" size="1 1 1" euler="5 0 0"/>', "'ramp' is not one level plane"),
        (
            '<geom type="plane" size="1 1 1"/><geom name="b" type="plane" size="1 1 1"/>',
            "'geom0' is not one level plane",
        ),
        ('<geom type="plane" size="1 1 1" contype="0"/>', "no ground"),
    ],
)
def test_other_ground_is_refused_by_name(ground, message):
    model = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{ground}</worldbody></mujoco>")
    with pytest.raises(ConfigError, match=message):
        ground_plane(model)


@pytest.mark.parametrize(
    ("one", "two", "expected"), [((0, 0.3), (0, 0.8), 0.8), ((1, 0.3), (0, 0.8), 0.3), ((0, 0.3), (2, 0.1), 0.1)]
)
def test_friction_follows_mujoco_s_priorities(one, two, expected):
    geoms = [f'<geom type="sphere" size="1" priority="{p}" friction="{mu}"/>' for p, mu in (one, two)]
    model = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{''.join(geoms)}</worldbody></mujoco>")
    assert sliding_friction(model, 0, 1) == sliding_friction(model, 1, 0) == expected
