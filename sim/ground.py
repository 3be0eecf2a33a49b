"""What a scene needs of its ground, and the simplest one. Needs no torch: a simulated robot stands on it anywhere."""

from __future__ import annotations

from typing import Protocol

import mujoco


class Ground(Protocol):
    """Something to stand on.

    Attributes:
        geom_name: name of the geom that ``add_to`` adds.
    """

    geom_name: str

    def add_to(self, spec: mujoco.MjSpec) -> mujoco.MjsGeom:
        """Add the ground to a model's world body and return the geom."""


class Plane:
    """An endless flat floor."""

    geom_name = "floor"

    def add_to(self, spec: mujoco.MjSpec) -> mujoco.MjsGeom:
        """Add the floor; see ``add_checkered``."""
        geom, texture, material = add_checkered(spec, self.geom_name)
        texture.rgb1, texture.rgb2 = (0.36, 0.41, 0.46), (0.31, 0.36, 0.41)
        texture.mark, texture.markrgb = mujoco.mjtMark.mjMARK_EDGE, (0.50, 0.55, 0.60)
        material.texuniform, material.texrepeat, material.reflectance = True, (0.5, 0.5), 0.03
        geom.type, geom.size = mujoco.mjtGeom.mjGEOM_PLANE, (0.0, 0.0, 0.05)  # 0: endless
        return geom


def add_checkered(spec: mujoco.MjSpec, name: str) -> tuple[mujoco.MjsGeom, mujoco.MjsTexture, mujoco.MjsMaterial]:
    """Add a geom with a checkered material to the world body; return geom, texture and material.

    The geom has contype 1 and conaffinity 0: it touches geoms with bit 1 in their conaffinity.
    """
    geom = spec.worldbody.add_geom(name=name, contype=1, conaffinity=0, material=name)
    texture = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, width=512, height=512)
    texture.builtin = mujoco.mjtBuiltin.mjBUILTIN_CHECKER
    material = spec.add_material(name=name, specular=0.1, shininess=0.1)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    return geom, texture, material
