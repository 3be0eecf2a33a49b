"""Who may import whom: the rules of docs/design.md, read from the syntax trees, so nothing needs to be importable."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_LINES = 600
OURS = ("robolearn", "sim", "hardware", "ros2_ws")
LIGHT = {"numpy", "yaml"}
CONFIG = ("robolearn.config", "robolearn.packages", "robolearn.version")


def imports_of(source: str, module: str, is_package: bool) -> set[str]:
    """Absolute dotted names of every import in ``source``; ``from a import b`` gives ``a.b``."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if is_package else module.split(".")[:-1]
                base = ".".join(package[: len(package) - node.level + 1] + ([base] if base else []))
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def python_files() -> dict[str, Path]:
    """Module name to file, for every file of ours that is not a test."""
    files = {}
    for top in OURS:
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def inside(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def violations(module: str, names: set[str]) -> list[str]:
    """The imports among ``names`` that ``module`` must not make."""
    bad = []
    for name in sorted(names):
        top = name.split(".")[0]
        ours, standard = top in OURS, top in sys.stdlib_module_names
        if inside(module, ("robolearn.deploy",)):
            allowed = (
                inside(name, ("robolearn.deploy", *CONFIG)) if ours else standard or top in LIGHT | {"onnxruntime"}
            )
        elif inside(module, ("hardware",)):
            allowed = inside(name, ("hardware", "robolearn.deploy", *CONFIG)) if ours else top != "torch"
        elif inside(module, ("ros2_ws",)):
            allowed = (
                inside(name, ("ros2_ws", "robolearn.deploy", "hardware", "sim", *CONFIG)) if ours else top != "torch"
            )
        elif inside(module, ("sim",)):
            allowed = not ours or inside(name, ("sim", *CONFIG))
        elif inside(module, ("robolearn.rl",)):
            allowed = (
                inside(name, ("robolearn.rl", "sim.interface", *CONFIG))
                if ours
                else top not in {"gymnasium", "mujoco", "mujoco_warp", "warp"}
            )
        elif inside(module, ("robolearn.methods",)):
            own = ".".join(module.split(".")[:3])
            allowed = not ours or inside(name, (own, "robolearn.rl", "sim", *CONFIG))
        elif module == "robolearn" or module in CONFIG:
            allowed = inside(name, CONFIG) if ours else standard or top == "yaml"
        else:
            allowed = True
        if not allowed:
            bad.append(name)
    return bad


FILES = python_files()


@pytest.mark.parametrize("module", FILES)
def test_imports_stay_in_their_layer(module):
    path = FILES[module]
    names = imports_of(path.read_text(encoding="utf-8"), module, path.name == "__init__.py")
    assert violations(module, names) == []


@pytest.mark.parametrize(
    ("module", "source", "bad"),
    [
        ("robolearn.deploy.policy", "import torch", ["torch"]),
        ("robolearn.deploy.policy", "import numpy, onnxruntime, json", []),
        ("robolearn.deploy.policy", "from robolearn import rl", ["robolearn.rl"]),
        ("robolearn.rl.ppo", "from sim import tasks", ["sim.tasks"]),
        ("robolearn.rl.ppo", "def f():\n    import gymnasium", ["gymnasium"]),
        ("robolearn.rl.ppo", "from sim.interface import VecEnv\nfrom . import networks", []),
        ("robolearn.rl.ppo", "from ..evaluate import rollout", ["robolearn.evaluate.rollout"]),
        ("sim.environment", "from robolearn.rl import ppo", ["robolearn.rl.ppo"]),
        ("sim.environment", "from robolearn.config import parse", []),
        ("robolearn.methods.eco.loss", "from robolearn.methods.hib import x", ["robolearn.methods.hib.x"]),
        ("robolearn.methods.eco.loss", "from robolearn.methods.eco import x", []),
        ("robolearn.config", "import numpy", ["numpy"]),
    ],
)
def test_the_check_sees_what_it_must(module, source, bad):
    assert violations(module, imports_of(source, module, False)) == bad


@pytest.mark.parametrize("module", FILES)
def test_files_stay_readable(module):
    text = FILES[module].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    assert not any(word in text for word in ("TO" + "DO", "FIX" + "ME", "NotImplemented" + "Error"))


def test_a_class_inherits_at_most_one_level_of_ours():
    """A base class of ours may itself only inherit from the outside."""
    bases: dict[str, set[str]] = {}
    for path in FILES.values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = {base.id for base in node.bases if isinstance(base, ast.Name)}
    outside = {"Exception", "ValueError"}
    deep = [
        (name, base, above)
        for name, parents in bases.items()
        for base in parents - outside
        for above in bases.get(base, set()) & set(bases)
    ]
    assert deep == []
