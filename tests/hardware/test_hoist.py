"""The hoist of the simulated robot: what the rope and the frame do, and how it lets go."""

import mujoco
import numpy as np
import pytest

from hardware.hoist import LOWERING, Hoist, needs_hoist
from hardware.mujoco_robot import MujocoRobot

WEIGHT = 20.0
BOX = f"""
<mujoco>
  <option timestep="0.002"/>
  <worldbody>
    <geom type="plane" size="2 2 0.1"/>
    <body name="box" pos="0 0 0.1">
      <freejoint/>
      <inertial pos="0 0 0" mass="{WEIGHT / 9.81}" diaginertia="0.02 0.02 0.02"/>
      <geom type="box" size="0.1 0.1 0.1"/>
      <body name="arm">
        <joint name="arm" axis="0 0 1"/>
        <inertial pos="0 0 0" mass="1e-3" diaginertia="1e-3 1e-3 1e-3"/>
      </body>
    </body>
  </worldbody>
</mujoco>"""


def hanging(feet, tilt=0.0):
    """A box of 20 N on the hoist of a robot with so many feet, tilted forward by ``tilt`` rad."""
    robot = MujocoRobot(mujoco.MjModel.from_xml_string(BOX), ["arm"], "box", np.array([1.0]))
    robot.hoist = Hoist.lifting(0.1, WEIGHT, feet)
    robot.place(np.zeros(1), 0.2)
    robot.data.qpos[3:7] = np.cos(tilt / 2), 0, np.sin(tilt / 2), 0
    return robot


def tilt_of(robot):
    return float(np.arctan2(robot.data.body("box").xmat[2], robot.data.body("box").xmat[8]))


def test_only_robots_on_two_feet_are_kept_upright():
    assert [needs_hoist(feet) for feet in (1, 2, 4)] == [True, True, False]
    assert Hoist.lifting(0.3, 50.0, 4).arm == 0.0
    assert Hoist.lifting(0.3, 50.0, 2).arm > 0.0


def test_the_frame_turns_back_what_is_tilted_and_never_about_the_vertical():
    hoist = Hoist(1.0, 100.0, 10.0, 50.0, arm=0.5)
    up = np.array([0.1, -0.2, np.sqrt(0.95)])
    torque = hoist.torque(20.0, up, np.zeros(3))
    np.testing.assert_allclose(torque, 20.0 * 0.5 * np.cross(up, (0, 0, 1)))
    assert hoist.torque(20.0, np.array([0, 0, 1.0]), np.array([0, 0, 3.0])) == pytest.approx(0)
    assert hoist.torque(20.0, np.array([0, 0, 1.0]), np.array([2.0, 0, 0]))[0] < 0, "it damps"
    assert hoist.torque(0.0, up, np.ones(3)) == pytest.approx(0), "a slack rope holds nothing"


@pytest.mark.parametrize(("feet", "upright"), [(2, True), (4, False)])
def test_a_tilted_biped_is_set_upright_and_others_hang_as_before(feet, upright):
    robot = hanging(feet, tilt=0.3)
    robot.advance(3.0)
    assert tilt_of(robot) == pytest.approx(0.0 if upright else 0.3, abs=1e-3)


def test_it_is_lowered_at_the_asked_speed_and_lets_go_on_the_ground():
    robot = hanging(2)
    robot.advance(2.0)
    start = robot.data.qpos[2]
    assert start > 0.18
    robot.lower()
    robot.advance(0.7)  # the soft rope follows after 0.2 s
    before = robot.data.qpos[2]
    robot.advance(0.2)
    assert before - robot.data.qpos[2] == pytest.approx(0.2 * LOWERING, rel=0.05)
    robot.advance(2.0)
    assert robot.hoist is None
    assert robot.data.qpos[2] == pytest.approx(0.1, abs=2e-3)


def test_nothing_is_lowered_without_a_hoist_and_a_new_rope_does_not_sink():
    robot = hanging(4)
    robot.lower()
    robot.hoist = Hoist.lifting(0.1, WEIGHT, 4)
    robot.advance(3.0)
    assert robot.data.qpos[2] == pytest.approx(0.1 + 0.15 - 1 / 20, abs=1e-3)
    robot.hoist = None
    robot.lower()
    assert robot.hoist is None


@pytest.mark.parametrize("wrong", [{"arm": -1.0}, {"lowering": -0.1}, {"stiffness": 0.0}, {"max_force": 0.0}])
def test_figures_without_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="a hoist needs"):
        Hoist(**{"height": 1.0, "stiffness": 100.0, "damping": 10.0, "max_force": 50.0, **wrong})
