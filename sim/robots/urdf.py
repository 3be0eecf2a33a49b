"""Make URDF files readable for MuJoCo: resolve mesh paths, leave out what cannot be shown, keep every link."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import mujoco

from robolearn.config import ConfigError

MESH_FORMATS = (".stl", ".obj", ".msh")
# Links keep their own bodies here; the ones that nothing refers to are fused later. Unbalanced inertias are common in
# exported URDFs and MuJoCo would refuse them.
COMPILER = {"fusestatic": "false", "discardvisual": "false", "strippath": "false", "balanceinertia": "true"}


def read(root: Element, path: Path) -> tuple[mujoco.MjSpec, list[str]]:
    """Return the specification of a URDF document, and notes on meshes that cannot be shown.

    Args:
        root: the ``<robot>`` element; it is changed.
        path: the file it came from; meshes are looked for around it.

    Raises:
        ConfigError: a collision mesh is missing.
        ValueError: MuJoCo does not accept the document.
    """
    files, notes = _resolve_meshes(root, path)
    compiler = root.find("mujoco/compiler")
    if compiler is None:
        extension = root.find("mujoco")
        extension = ElementTree.SubElement(root, "mujoco") if extension is None else extension
        compiler = ElementTree.SubElement(extension, "compiler")
    compiler.attrib.pop("meshdir", None)
    compiler.attrib.update(COMPILER)
    spec = mujoco.MjSpec.from_string(ElementTree.tostring(root, encoding="unicode"))
    spec.compiler.meshdir = ""
    for mesh in spec.meshes:
        mesh.file = str(files[mesh.file])
    return spec, notes


def velocity_limits(root: Element) -> dict[str, float]:
    """Return the velocity limit (rad/s) of each joint that has one."""
    limits = {}
    for joint in root.findall("joint"):
        limit = joint.find("limit")
        if limit is not None and float(limit.get("velocity", 0)) > 0:
            limits[joint.get("name", "")] = float(limit.get("velocity", 0))
    return limits


def find_mesh(name: str, path: Path) -> Path | None:
    """Return the file behind a mesh name of a URDF, or None.

    ``package://name/rest`` is looked for as ``name/rest`` and ``rest`` in every folder above the URDF; other names are
    relative to the URDF or absolute.
    """
    if name.startswith("file://"):
        name = name.removeprefix("file://")
    if not name.startswith("package://"):
        file = path.parent / name
        return file if file.is_file() else None
    inside = Path(name.removeprefix("package://"))
    rest = Path(*inside.parts[1:])
    for folder in path.parents:
        for candidate in (folder / inside, folder / rest):
            if candidate.is_file():
                return candidate
    return None


def _resolve_meshes(root: Element, path: Path) -> tuple[dict[str, Path], list[str]]:
    """Give every mesh a name of its own (equal names in two folders would be taken for one file); return the files."""
    files: dict[str, Path] = {}
    names: dict[Path, str] = {}
    notes = []
    for link in root.findall("link"):
        for part in [element for element in link if element.tag in ("visual", "collision")]:
            mesh = part.find("geometry/mesh")
            if mesh is None:
                if part.tag == "visual" and _is_empty(part):
                    link.remove(part)
                continue
            wanted = mesh.get("filename", "")
            file = find_mesh(wanted, path)
            if file is None or file.suffix.lower() not in MESH_FORMATS:
                reason = "is missing" if file is None else f"is not one of {', '.join(MESH_FORMATS)}"
                if part.tag == "collision":
                    raise ConfigError(f"model.file: collision mesh {wanted!r} of link {link.get('name')!r} {reason}")
                notes.append(f"mesh {wanted} {reason} and is not shown")
                link.remove(part)
                continue
            if file not in names:
                names[file] = f"mesh{len(names)}_{file.name}"
                files[names[file]] = file
            mesh.set("filename", names[file])
    return files, notes


def _is_empty(part: Element) -> bool:
    """Tell whether a shape has a size of zero: some URDFs mark points that way."""
    sizes = [shape.get(key, "1") for shape in part.findall("geometry/*") for key in ("size", "radius", "length")]
    return any(float(number) == 0 for size in sizes for number in size.split())
