"""One small quadruped for every engine test, and plain MuJoCo to compare with.

One model means one set of Warp kernels: a machine that has none compiles them once, in under a minute.
"""

from collections.abc import Callable

import mujoco
import numpy as np
import pytest
import torch

from sim.engines import Engine, make_engine

LEGS = {"FL": (0.18, 0.05, 0.08), "FR": (0.18, -0.05, -0.08), "RL": (-0.18, 0.05, 0.08), "RR": (-0.18, -0.05, -0.08)}
FOOT_RADIUS = 0.02
STAND = (0.0, 0.9, -1.8)


def _leg(name, x, y, hip):
    return f"""
    <body name="{name}_hip" pos="{x} {y} 0">
      <inertial pos="0 0 0" mass="0.7" diaginertia="5e-4 8e-4 5e-4"/>
      <joint name="{name}_hip_joint" axis="1 0 0" range="-0.8 0.8"/>
      <body name="{name}_thigh" pos="0 {hip} 0">
        <inertial pos="0 0 -0.03" mass="1.0" diaginertia="5e-3 5e-3 1e-3"/>
        <joint name="{name}_thigh_joint" axis="0 1 0" range="-1 4"/>
        <body name="{name}_calf" pos="0 0 -0.2">
          <inertial pos="0 0 -0.1" mass="0.17" diaginertia="3e-3 3e-3 4e-5"/>
          <joint name="{name}_calf_joint" axis="0 1 0" range="-2.7 -0.9"/>
          <geom name="{name}_foot" type="sphere" size="{FOOT_RADIUS}" pos="0 0 -0.2"/>
          <site name="{name}_foot" pos="0 0 -0.2"/>
        </body>
      </body>
    </body>"""


JOINTS = [f"{leg}_{joint}_joint" for leg in LEGS for joint in ("hip", "thigh", "calf")]
QUADRUPED = f"""
<mujoco>
  <option timestep="0.005"><flag autoreset="disable"/></option>
  <default>
    <joint armature="0.01" damping="0.1" frictionloss="0.2"/>
    <geom contype="0" conaffinity="1" friction="0.8 0.02 0.01"/>
  </default>
  <worldbody>
    <geom name="floor" type="plane" size="0 0 1" contype="1" conaffinity="1" friction="0.1 0.02 0.01"/>
    <body name="trunk" pos="0 0 0.3">
      <freejoint/>
      <inertial pos="0.01 0 0" mass="4.7" diaginertia="0.016 0.036 0.045"/>
      <site name="imu"/>
      {"".join(_leg(name, *place) for name, place in LEGS.items())}
    </body>
  </worldbody>
  <actuator>{"".join(f'<motor name="{joint}" joint="{joint}" ctrlrange="-33 33"/>' for joint in JOINTS)}</actuator>
  <sensor>
    <gyro name="gyro" site="imu"/>
    <accelerometer name="accelerometer" site="imu"/>
    <framequat name="orientation" objtype="site" objname="imu"/>
    <framelinvel name="foot_velocity" objtype="site" objname="FL_foot"/>
    <contact name="foot_contact" geom1="FL_foot" data="force" reduce="netforce" num="1"/>
  </sensor>
</mujoco>"""


# A position servo on a sliding bead is unstable when kp * timestep^2 / mass > 4 (semi-implicit Euler): 1e4 * 25e-6 / m,
# so with 0.1 kg it is stable (2.5) and with 0.01 kg it grows by a factor of 23 per step.
BEADS = """<mujoco><option timestep="0.005" gravity="0 0 0"><flag autoreset="disable"/></option><worldbody>
  <body><joint name="quiet" type="slide" axis="1 0 0"/><inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/></body>
  <body><joint name="bead" type="slide" axis="1 0 0"/><inertial pos="0 0 0" mass="0.1" diaginertia="1 1 1"/></body>
  </worldbody><actuator><position joint="bead" kp="1e4"/></actuator></mujoco>"""


class Quadruped:
    """The model, states of it, and plain MuJoCo in those states."""

    xml = QUADRUPED

    def __init__(self):
        self.model = mujoco.MjModel.from_xml_string(QUADRUPED)
        standing = self.model.qpos0.copy()
        standing[7:] = STAND * 4
        self.standing = self.on_ground(standing, 0.001)

    def on_ground(self, qpos, depth):
        """Return ``qpos`` at the height at which the lowest foot is ``depth`` (m) in the ground."""
        data = mujoco.MjData(self.model)
        data.qpos[:] = qpos
        mujoco.mj_kinematics(self.model, data)
        qpos = qpos.copy()
        qpos[2] -= min(data.geom(f"{leg}_foot").xpos[2] for leg in LEGS) - FOOT_RADIUS + depth
        return qpos

    def random_states(self, count, seed, in_contact):
        """Draw (count, ...) states, controls and forces, tilted and moving; float32 can hold them exactly."""
        model, rng = self.model, np.random.default_rng(seed)
        rows = {"qpos": [], "qvel": [], "ctrl": [], "qfrc_applied": [], "xfrc_applied": []}
        for _ in range(count):
            qpos = model.qpos0.copy()
            tilt = 0.02 if in_contact else 0.5
            mujoco.mju_euler2Quat(qpos[3:7], rng.uniform(-tilt, tilt, 3), "xyz")
            qpos[:2] = rng.uniform(-1, 1, 2)
            qpos[7:] = STAND * 4 + rng.uniform(-tilt, tilt, model.nu)
            rows["qpos"].append(self.on_ground(qpos, rng.uniform(0, 0.01) if in_contact else -0.5))
            rows["qvel"].append(rng.uniform(-0.5, 0.5, model.nv))
            rows["ctrl"].append(rng.uniform(-10, 10, model.nu))
            rows["qfrc_applied"].append(rng.uniform(-0.2, 0.2, model.nv))
            rows["xfrc_applied"].append(rng.uniform(-1, 1, (model.nbody, 6)))
        return {name: np.stack(values).astype(np.float32).astype(float) for name, values in rows.items()}

    def plain(self, states, index):
        """Return plain MuJoCo's data in one of the states."""
        data = mujoco.MjData(self.model)
        for name, value in states.items():
            getattr(data, name)[:] = value[index]
        return data

    @staticmethod
    def load(engine, states):
        """Write the states into an engine."""
        for name, value in states.items():
            engine.field(name).copy_(torch.as_tensor(value))


@pytest.fixture(autouse=True)
def _log_elsewhere(tmp_path, monkeypatch):
    """MuJoCo writes its warnings to a file in the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def quadruped() -> Quadruped:
    return Quadruped()


@pytest.fixture(scope="session")
def beads_xml() -> str:
    return BEADS


@pytest.fixture(params=["mujoco", "warp"])
def build(request) -> Callable[..., Engine]:
    """Either of MuJoCo's engines on the CPU: ``build(model, num_envs, expand=())``."""

    def _build(model, num_envs, expand=()):
        return make_engine(request.param, model, num_envs, "cpu", threads=1, expand=expand)

    return _build
