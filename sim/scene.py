"""Robot + ground + sensors -> one compiled model, and where in it everything stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import mujoco
import numpy as np

from sim.ground import Ground
from sim.robots.robot import Foot, Robot, foot_geoms

FORCE_ONLY = 1 << int(mujoco.mjtConDataField.mjCONDATA_FORCE)
NET_FORCE = 3  # contact sensor: the sum of all matching contact forces, in the world frame


@dataclass(frozen=True)
class PhysicsConfig:
    """Time steps and solver.

    Attributes:
        timestep: physics period in s.
        decimation: physics steps per control step.
        integrator: MuJoCo integrator.
        iterations: limit of solver iterations.
        ls_iterations: limit of line-search iterations.
        cone: friction cone.
        solver: constraint solver.
        contact_time: s, time constant of a contact with the ground; the engine keeps it above two time steps.
    """

    timestep: float = 0.005
    decimation: int = 4
    integrator: Literal["euler", "implicitfast"] = "euler"
    iterations: int = 10
    ls_iterations: int = 20
    cone: Literal["pyramidal", "elliptic"] = "pyramidal"
    solver: Literal["newton", "cg", "pgs"] = "newton"
    contact_time: float = 0.02

    def __post_init__(self) -> None:
        if not 0 < self.timestep <= 0.02:
            raise ValueError(f"timestep must be in (0, 0.02] s, got {self.timestep}")
        if self.contact_time <= 0:
            raise ValueError(f"contact_time must be above 0 s, got {self.contact_time}")
        if min(self.decimation, self.iterations, self.ls_iterations) < 1:
            raise ValueError("decimation, iterations and ls_iterations must be at least 1")


@dataclass(frozen=True)
class Scene:
    """A compiled model and the addresses that the environment needs.

    Attributes:
        model: the compiled model: free base first, one torque motor per controlled joint, in policy order. It holds no
            geoms for display only: without them the physics is a tenth faster.
        display_model: compiles the same model with everything that is there to be looked at; same ``qpos``.
        joint_qpos: (J,) index of each joint in ``qpos``.
        joint_qvel: (J,) index of each joint in ``qvel``.
        base_body: body id of the floating base.
        foot_clearance: m, height of the lowest foot's reference point above the ground at the start pose.
        ground_geom: geom id of the floor or height field; its friction holds for every contact with it.
        foot_position: columns of ``sensordata`` with the feet's positions in the world, 3 each.
        foot_velocity: columns with their linear velocities in the world, 3 each.
        foot_force: columns with the net contact force on each foot, 3 each.
        termination_force: columns with the net contact force on each part whose contact ends the episode, 3 each; a
            part is a body or, where a foot belongs to the body, another collision geom of it.
        knee_bodies: (F,) id of the body below the knee of each foot's leg; its origin is the knee.
        undesired_force: columns with the net contact force on each part that should not touch the ground, 3 each.
    """

    model: mujoco.MjModel
    display_model: Callable[[], mujoco.MjModel]
    joint_qpos: np.ndarray
    joint_qvel: np.ndarray
    base_body: int
    foot_clearance: float
    knee_bodies: np.ndarray
    ground_geom: int
    foot_position: slice
    foot_velocity: slice
    foot_force: slice
    termination_force: slice
    undesired_force: slice


def build_scene(robot: Robot, ground: Ground, physics: PhysicsConfig) -> Scene:
    """Put a robot on the ground, with motors and sensors.

    Raises:
        ConfigError: the robot's description names something that its model lacks.
    """
    spec, columns = _make_spec(robot, ground, physics)
    spec.compiler.discardvisual = True
    model = spec.compile()
    joints = [model.joint(name).id for name in robot.joints]
    start = mujoco.MjData(model)
    start.qpos[:3] = 0, 0, robot.base_height
    start.qpos[model.jnt_qposadr[joints]] = robot.default_pose
    mujoco.mj_forward(model, start)
    return Scene(
        model=model,
        display_model=lambda: _make_spec(robot, ground, physics)[0].compile(),
        joint_qpos=model.jnt_qposadr[joints].copy(),
        joint_qvel=model.jnt_dofadr[joints].copy(),
        base_body=model.body(robot.base).id,
        foot_clearance=float(start.sensordata[columns["foot_position"]][2::3].min()),
        knee_bodies=_knees(start, robot, start.sensordata[columns["foot_position"]].reshape(-1, 3)),
        ground_geom=model.geom(ground.geom_name).id,
        **columns,
    )


def _knees(data: mujoco.MjData, robot: Robot, feet: np.ndarray) -> np.ndarray:
    """Return the body that each leg's knee moves: of the joints between base and foot, the one farthest from both ends.

    Args:
        data: the start pose.
        robot: the robot.
        feet: (F, 3) m, places of the feet.
    """
    model, knees = data.model, []
    for foot, place in zip(robot.feet, feet, strict=True):
        body = int({"body": model.body, "geom": model.geom, "site": model.site}[foot.kind](foot.object).id)
        if foot.kind != "body":
            body = int((model.geom_bodyid if foot.kind == "geom" else model.site_bodyid)[body])
        leg = []
        while body and model.body(body).name != robot.base:
            if model.body_jntnum[body]:
                leg.append(body)
            body = int(model.body_parentid[body])
        hip = data.xpos[leg[-1]] if leg else place
        ends = {link: min(np.linalg.norm(data.xpos[link] - end) for end in (hip, place)) for link in leg}
        knees.append(max(leg, key=lambda link: ends[link], default=model.body(robot.base).id))
    return np.array(knees)


def _make_spec(robot: Robot, ground: Ground, physics: PhysicsConfig) -> tuple[mujoco.MjSpec, dict[str, slice]]:
    """Return the scene before compilation, and the columns of its sensors."""
    spec = robot.spec()
    spec.option.timestep = physics.timestep
    spec.option.integrator = {
        "euler": mujoco.mjtIntegrator.mjINT_EULER,
        "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
    }[physics.integrator]
    spec.option.iterations = physics.iterations
    spec.option.ls_iterations = physics.ls_iterations
    spec.option.cone = {"pyramidal": mujoco.mjtCone.mjCONE_PYRAMIDAL, "elliptic": mujoco.mjtCone.mjCONE_ELLIPTIC}[
        physics.cone
    ]
    spec.option.solver = {
        "newton": mujoco.mjtSolver.mjSOL_NEWTON,
        "cg": mujoco.mjtSolver.mjSOL_CG,
        "pgs": mujoco.mjtSolver.mjSOL_PGS,
    }[physics.solver]
    # A diverging simulation must be seen, not silently restarted by the simulator.
    spec.option.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
    floor = ground.add_to(spec)
    floor.priority = 2  # above the feet: the ground's friction counts, so that one number randomises every contact
    floor.solref[0] = physics.contact_time
    _add_surroundings(spec, robot.base)
    for joint in robot.joints:
        motor = spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        motor.set_to_motor()
    return spec, _add_sensors(spec, robot)


def _add_surroundings(spec: mujoco.MjSpec, base: str) -> None:
    """Sky and light, for people who watch; the physics does not see them."""
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.70, 0.80, 0.90],
        rgb2=[0.93, 0.95, 0.97],
        width=256,
        height=256,
    )
    spec.stat.extent = 3.0  # the viewer's near and far planes follow from it; a large height field would clip the robot
    spec.visual.headlight.ambient = [0.35, 0.35, 0.35]
    spec.visual.headlight.diffuse = [0.35, 0.35, 0.35]
    spec.visual.headlight.specular = [0.05, 0.05, 0.05]
    spec.visual.rgba.haze = [0.93, 0.95, 0.97, 1.0]
    spec.visual.quality.shadowsize = 4096
    spec.body(base).add_light(
        name="sun",
        mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACK,
        type=mujoco.mjtLightType.mjLIGHT_SPOT,
        pos=[1.2, -0.9, 3.0],
        dir=[-0.4, 0.3, -1.0],
        cutoff=70.0,
        exponent=1.0,
        diffuse=[0.6, 0.6, 0.58],
        castshadow=True,
    )


def _add_sensors(spec: mujoco.MjSpec, robot: Robot) -> dict[str, slice]:
    """Add the sensors, one kind after the other, so that each kind is one run of columns."""
    sites = [_foot_site(spec, foot) for foot in robot.feet]
    obj = mujoco.mjtObj
    for kind, sensor in (
        ("foot_position", mujoco.mjtSensor.mjSENS_FRAMEPOS),
        ("foot_velocity", mujoco.mjtSensor.mjSENS_FRAMELINVEL),
    ):
        for foot, site in zip(robot.feet, sites, strict=True):
            spec.add_sensor(name=f"{kind}_{foot.name}", type=sensor, objtype=obj.mjOBJ_SITE, objname=site)
    for foot in robot.feet:
        kind, name = (obj.mjOBJ_GEOM, foot.object) if foot.kind == "geom" else (obj.mjOBJ_BODY, _foot_body(spec, foot))
        _contact_sensor(spec, f"foot_force_{foot.name}", kind, name)
    counts = dict.fromkeys(("foot_position", "foot_velocity", "foot_force"), len(sites))
    for prefix, bodies in (
        ("termination_force", robot.termination_bodies),
        ("undesired_force", robot.undesired_contact_bodies),
    ):
        parts = [part for body in bodies for part in _parts(spec, robot, body)]
        for kind, name in parts:
            _contact_sensor(spec, f"{prefix}_{name}", kind, name)
        counts[prefix] = len(parts)
    columns, start = {}, 0
    for name, count in counts.items():
        columns[name] = slice(start, start + 3 * count)
        start += 3 * count
    return columns


def _parts(spec: mujoco.MjSpec, robot: Robot, body: str) -> list[tuple[mujoco.mjtObj, str]]:
    """What stands for a body's contacts: itself or, when a foot belongs to it, each of its other collision geoms."""
    geoms = [geom for geom in spec.body(body).geoms if geom.conaffinity]
    for i, geom in enumerate(geoms):
        geom.name = geom.name or f"{body}_collision_{i}"
    names = [str(geom.name) for geom in geoms]
    feet = {geom.name for foot in robot.feet for geom in foot_geoms(spec, foot)}
    if feet.isdisjoint(names):
        return [(mujoco.mjtObj.mjOBJ_BODY, body)]
    return [(mujoco.mjtObj.mjOBJ_GEOM, name) for name in names if name not in feet]


def _contact_sensor(spec: mujoco.MjSpec, name: str, kind: mujoco.mjtObj, target: str) -> None:
    sensor = spec.add_sensor(name=name, type=mujoco.mjtSensor.mjSENS_CONTACT, objtype=kind, objname=target)
    intprm: Sequence[int] = [FORCE_ONLY, NET_FORCE, 1]
    sensor.intprm[: len(intprm)] = intprm


def _foot_body(spec: mujoco.MjSpec, foot: Foot) -> str:
    return foot.object if foot.kind == "body" else str(spec.site(foot.object).parent.name)


def _foot_site(spec: mujoco.MjSpec, foot: Foot) -> str:
    """Return the name of a site at the foot's reference point, adding it where the foot is a geom or a body."""
    if foot.kind == "site":
        return foot.object
    name = f"{foot.name}_foot_reference"
    if foot.kind == "geom":
        geom = spec.geom(foot.object)
        middle = geom.pos if np.isnan(geom.fromto[0]) else geom.fromto.reshape(2, 3).mean(0)
        site = geom.parent.add_site(name=name, pos=middle, group=5)
        if geom.frame is not None:
            site.set_frame(geom.frame)
    else:
        spec.body(foot.object).add_site(name=name, group=5)
    return name
