"""One robot on flat ground in Drake: another contact model and another solver than MuJoCo's.

What was chosen, and why:

- **Contact approximation** ``lagged``, Drake's default: compliant contact with Hunt-Crossley dissipation, made convex,
  so that every step has a solution. TAMSI, which takes the same model as it is, can fail and is about to leave Drake;
  ``sap`` dissipates by another law. ``similar`` couples friction and normal force within a step, which helps when a
  foot lands, but lifts what slides by ``friction * speed * timestep``: in steps of 1 ms a sled at 1.5 m/s hopped along
  and touched the ground for a sixth of the time, where with ``lagged`` it pressed with its weight in every step. After
  0.6 s of landing or sliding, ``lagged`` had a robot 5 mm (steps of 5 ms) and 1 mm (1 ms) from where 0.25 ms bring it.
- **Point contact**: one point per shape. A foot is a sphere and loses nothing; a trunk or shank that lies on the ground
  rests on one point.
- **Stiffness** 3e4 N/m: a quarter of a 12 kg robot presses a foot 1 mm into the ground, as a rubber foot about does.
  **Dissipation** 5 s/m: what lands with 0.5 m/s leaves with a third of it, as rubber about does; MuJoCo's contacts
  return nothing. Drake's default of 50 s/m returns nothing either, but for that a foot that lands with 0.5 m/s meets 26
  times the elastic force: in steps of 1 ms a walk had peaks of 460 N instead of 320 N, at 0.53 instead of 0.51 m/s.
- **Friction**: Drake combines the coefficients of two surfaces to ``2 a b / (a + b)``. With the ground's ``b`` beyond
  all measure this is ``2 a``: every shape of the robot has half of what MuJoCo's rule gives for it and the ground.
- **Joint limits** are Drake's, as rigid as the time step allows. **Armature** is the rotor inertia of an actuator of
  gear ratio 1, exact in the mass matrix. **Dry friction** is a damping of ``friction / |dq|``, set anew before every
  step: Drake's damping is implicit, so it can hold a joint and cannot chatter. **Viscous damping** enters ``force``
  explicitly; ``timestep * damping`` more of armature makes it implicit, as it is with MuJoCo's Euler integrator.
- **Stepping** is the plant's own discrete update without a ``Simulator`` around it, which would do the same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np

from robolearn.packages import MissingPackageError, missing
from sim.engines.calculator import Array, Contact, ground_plane, sliding_friction
from sim.engines.foreign import WorldError
from sim.robots.urdf_export import export_urdf

try:
    from pydrake.geometry import (
        AddContactMaterial,
        CollisionFilterDeclaration,
        GeometrySet,
        HalfSpace,
        ProximityProperties,
        RoleAssign,
    )
    from pydrake.math import RigidTransform
    from pydrake.multibody.parsing import Parser
    from pydrake.multibody.plant import AddMultibodyPlant, CoulombFriction, MultibodyPlantConfig
    from pydrake.systems.framework import DiagramBuilder
except ImportError as error:
    raise MissingPackageError(f"engine 'drake': {missing('pydrake')}") from error

STIFFNESS = 3e4
"""N/m, of one contact between robot and ground."""
DISSIPATION = 5.0
"""s/m, Hunt-Crossley: the elastic force is multiplied by ``1 + DISSIPATION * speed of approach``."""
STICTION = 1e-4
"""m/s, slip at which friction has its full size; Drake's default."""
BOUNDLESS = 1e12
"""Friction coefficient of the ground's own."""
SLOWEST = 0.01
"""rad/s or m/s below which the dry friction of a joint falls off in proportion to its speed."""
_CONJUGATE = np.array([1.0, -1.0, -1.0, -1.0])


class DrakeWorld:
    """See ``sim.engines.foreign.World``. A step depends on the state and the forces alone: no past is remembered.

    Attributes:
        plant: Drake's model.
        context: its parameters, and the state that the last step began in.

    Args:
        model: the compiled model.

    Raises:
        ConfigError: the ground is not flat, or the robot has a part that a URDF cannot hold.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        builder = DiagramBuilder()
        self.plant, scene_graph = AddMultibodyPlant(
            MultibodyPlantConfig(
                time_step=model.opt.timestep,
                contact_model="point",
                discrete_contact_approximation="lagged",
                stiction_tolerance=STICTION,
                use_sampled_output_ports=False,  # contacts come from the present state, for the step that begins there
            ),
            builder,
        )
        plant, urdf = self.plant, export_urdf(model)
        (robot,) = Parser(plant).AddModelsFromString(urdf.text, "urdf")
        bodies = {link.name: plant.GetBodyByName(link.name, robot) for link in urdf.links}
        self._geoms: dict[Any, int] = {}
        for link in urdf.links:
            self._geoms |= dict(zip(plant.GetCollisionGeometriesForBody(bodies[link.name]), link.geoms, strict=True))
        self._add_contacts(model, scene_graph)
        joints = [(joint, plant.GetJointByName(joint.name, robot)) for joint in urdf.joints]
        self._rubbing = [(joint.dof, theirs, joint.friction) for joint, theirs in joints if joint.friction]
        for joint, theirs in joints:
            rotor = plant.AddJointActuator(f"{joint.name}_rotor", theirs)
            rotor.set_default_gear_ratio(1.0)
            rotor.set_default_rotor_inertia(joint.armature + model.opt.timestep * joint.damping)
        plant.mutable_gravity_field().set_gravity_vector(model.opt.gravity)
        plant.Finalize()
        self._diagram = builder.Build()
        self._root = self._diagram.CreateDefaultContext()
        self.context = plant.GetMyMutableContextFromRoot(self._root)
        port = plant.get_applied_generalized_force_input_port()
        self._force = port.FixValue(self.context, np.zeros(model.nv)).GetMutableData().get_mutable_value()
        self._results = plant.get_contact_results_output_port()
        self._stepped = False
        self._number(model, bodies[urdf.links[0].name], joints)
        self._speeds = model.nq + self._v
        self._state: Any = np.zeros(model.nq + model.nv)  # in Drake's order, to be copied from
        self._generalized = np.zeros(model.nv)

    def _add_contacts(self, model: mujoco.MjModel, scene_graph: Any) -> None:
        """Add the ground, and let the robot's shapes meet it alone."""
        plant, ground = self.plant, ground_plane(model)
        plant.RegisterCollisionGeometry(
            plant.world_body(), RigidTransform(), HalfSpace(), "ground", _surface(BOUNDLESS)
        )
        for shape, geom in self._geoms.items():
            surface = _surface(sliding_friction(model, geom, ground) / 2)
            scene_graph.AssignRole(plant.get_source_id(), shape, surface, RoleAssign.kReplace)
        apart = CollisionFilterDeclaration().ExcludeWithin(GeometrySet(list(self._geoms)))
        scene_graph.collision_filter_manager().Apply(apart)

    def _number(self, model: mujoco.MjModel, base: Any, joints: Sequence[tuple[Any, Any]]) -> None:
        """Find where in Drake's state (positions, then velocities) each entry of ``qpos`` and ``qvel`` stands.

        A floating base of Drake has its quaternion (w, x, y, z) before its position and its angular velocity before its
        linear velocity, which is, as in MuJoCo, that of the origin of the body's frame.
        """
        self._q, self._v = np.zeros(model.nq, np.int64), np.zeros(model.nv, np.int64)
        self._q[:7] = base.floating_positions_start() + np.array([4, 5, 6, 0, 1, 2, 3])
        self._v[:6] = base.floating_velocities_start_in_v() + np.array([3, 4, 5, 0, 1, 2])
        for joint, theirs in joints:
            self._q[joint.qpos], self._v[joint.dof] = theirs.position_start(), theirs.velocity_start()

    def place(self, qpos: Array, qvel: Array) -> None:
        """See ``World.place``."""
        self._stepped = False
        self._put(qpos, qvel)

    def _put(self, qpos: Array, qvel: Array) -> None:
        self._state[self._q] = qpos
        self._state[self._speeds] = to_world(qvel, qpos[3:7])
        self._root.SetDiscreteState(self._state)

    def step(self, force: Array, qpos: Array, qvel: Array) -> None:
        """See ``World.step``."""
        self._put(qpos, qvel)  # what the caller sees is the state, to the last bit: a copy of it goes on alike
        self._generalized[self._v] = to_world(force, qpos[3:7])
        self._force.SetFromVector(self._generalized)
        for dof, joint, friction in self._rubbing:
            joint.SetDampingVector(self.context, [friction / max(abs(float(qvel[dof])), SLOWEST)])
        try:
            state = self._diagram.EvalUniquePeriodicDiscreteUpdate(self._root).value()
        except RuntimeError as error:
            raise WorldError(str(error)) from error
        self._stepped = True
        qpos[:] = state[self._q]
        mujoco.mju_normalize4(qpos[3:7])
        qvel[:] = to_body(state[self._speeds], qpos[3:7])

    def contacts(self) -> Sequence[Contact]:
        """See ``World.contacts``. The context holds the state that the last step began in, and its results."""
        if not self._stepped:
            return ()
        found = self._results.Eval(self.context)
        return [self._contact(found.point_pair_contact_info(i)) for i in range(found.num_point_pair_contacts())]

    def _contact(self, point: Any) -> Contact:
        pair, force = point.point_pair(), np.asarray(point.contact_force())
        geom = self._geoms.get(pair.id_B)
        return Contact(self._geoms[pair.id_A], -force) if geom is None else Contact(geom, force)

    def close(self) -> None:
        """See ``World.close``."""
        return


def to_world(values: Array, quat: Array) -> Array:
    """Return velocities or forces (nv,) with the turning part of the free joint in the world frame, not in the body's.

    Args:
        values: (nv,) in MuJoCo's layout.
        quat: (4,) orientation of the base (w, x, y, z), of unit length.
    """
    turned = values.copy()
    mujoco.mju_rotVecQuat(turned[3:6], values[3:6], quat)
    return turned


def to_body(values: Array, quat: Array) -> Array:
    """Undo ``to_world``."""
    return to_world(values, quat * _CONJUGATE)


def _surface(friction: float) -> Any:
    """Return the properties of a robot's or the ground's surface."""
    properties = ProximityProperties()
    # Springs in series: two surfaces, each twice as stiff as the contact, each with its dissipation.
    AddContactMaterial(DISSIPATION, 2 * STIFFNESS, CoulombFriction(friction, friction), properties)
    return properties


def _is_news(record: logging.LogRecord) -> bool:
    return "deformable" not in record.getMessage()


# Drake warns at every half space that soft bodies will not touch it. There are none.
logging.getLogger("drake").addFilter(_is_news)
