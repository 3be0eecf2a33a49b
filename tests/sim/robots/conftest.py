import struct
from pathlib import Path

import pytest
import yaml

SCENE = """
<mujoco>
  <compiler angle="degree" eulerseq="XYZ"/>
  <option timestep="0.01" cone="elliptic"/>
  <size nconmax="7"/>
  <default><geom contype="1" conaffinity="1" density="500" margin="0.01" condim="1"/><joint armature="0.03"/></default>
  <asset><texture type="skybox" builtin="flat" width="8" height="48"/></asset>
  <worldbody>
    <light pos="0 0 3"/>
    <geom name="floor" type="plane" size="5 5 .1"/>
    <body name="ball" pos="2 0 1"><geom size=".1"/></body>
    <body name="torso" pos="0 0 1">
      <freejoint/>
      <geom name="torso" type="box" size=".2 .1 .1"/>
      <camera name="eye"/>
      <body name="left_leg" pos="0 .1 0" euler="0 10 0">
        <joint name="left_hip" axis="0 1 0" range="-60 60" damping="0.2" frictionloss="0.1"/>
        <geom type="capsule" size=".03" fromto="0 0 0 0 0 -.3"/>
        <body name="left_foot" pos="0 0 -.3"><geom name="left_sole" size=".04"/></body>
      </body>
      <body name="right_leg" pos="0 -.1 0" euler="0 10 0">
        <joint name="right_hip" axis="0 1 0" range="-60 60" damping="0.2" frictionloss="0.1"/>
        <geom type="capsule" size=".03" fromto="0 0 0 0 0 -.3"/>
        <body name="right_foot" pos="0 0 -.3"><geom name="right_sole" size=".04"/></body>
      </body>
      <body name="arm" pos=".1 0 .1" euler="20 0 30">
        <joint name="shoulder" axis="1 1 0" pos=".02 -.01 .03" range="-90 90"/>
        <geom type="capsule" size=".03" fromto="0 0 0 .3 0 0"/>
        <body name="hand" pos=".3 0 0">
          <joint name="slider" type="slide" axis="1 0 0" range="0 .1"/>
          <geom name="hand" type="box" size=".03 .04 .05"/>
        </body>
      </body>
    </body>
  </worldbody>
  <sensor><jointpos joint="left_hip"/></sensor>
  <equality><joint joint1="shoulder" joint2="slider"/></equality>
  <actuator>
    <motor joint="left_hip" gear="4" ctrlrange="-2.5 2.5"/>
    <position joint="right_hip" kp="10" forcerange="-12 12"/>
    <motor joint="shoulder"/>
  </actuator>
  <keyframe><key name="home"/></keyframe>
</mujoco>
"""
ENTRIES = {
    "model": {"file": "robot.xml"},
    "joints": ["left_hip", "right_hip"],
    "locked_joints": ["shoulder", "slider"],
    "kp": 20.0,
    "kd": 0.5,
    "velocity_limit": 20.0,
    "feet": ["left_sole", "right_sole"],
}


class Files:
    """A folder with a robot's files. A changed entry of None is removed from the description."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("robot.xml", SCENE)

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def describe(self, **changes: object) -> Path:
        entries = {key: value for key, value in {**ENTRIES, **changes}.items() if value is not None}
        return self.write("robot.yaml", yaml.safe_dump(entries))


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


@pytest.fixture(scope="session")
def tetrahedron():
    """Return a binary STL of a tetrahedron with legs of the given length (m)."""

    def build(size: float) -> bytes:
        corners = [(0.0, 0.0, 0.0), (size, 0.0, 0.0), (0.0, size, 0.0), (0.0, 0.0, size)]
        faces = [(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)]
        body = b"".join(struct.pack("<12fH", 0, 0, 0, *(v for i in face for v in corners[i]), 0) for face in faces)
        return bytes(80) + struct.pack("<I", len(faces)) + body

    return build
