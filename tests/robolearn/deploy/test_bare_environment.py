"""What runs on a robot's computer, in an environment that holds what the slim install needs and nothing else."""

import importlib.metadata
import subprocess
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
POLICY = ROOT / "policies" / "a1_velocity_flat" / "policy.onnx"


def slim_distributions():
    """The distributions that `pip install robolearn` brings, with what they need in turn."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found, waiting = {}, [Requirement(text).name for text in project["dependencies"]]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = importlib.metadata.distribution(name)
        for text in found[name].requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found.values()


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The Python of an environment with links to those distributions, and to our package."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next(folder.glob("lib/python3*/site-packages"))
    for distribution in slim_distributions():
        for file in distribution.files or []:
            top = packages / file.parts[0]
            source = Path(distribution.locate_file(file.parts[0]))
            if not top.exists() and source.exists() and file.parts[0] not in ("..", "__pycache__"):
                top.symlink_to(source)
    for name in ("robolearn", "hardware"):
        (packages / name).symlink_to(ROOT / name)
    return folder / "bin" / "python"


def run(python, *words):
    result = subprocess.run([python, "-I", *words], capture_output=True, text=True, cwd="/")
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_it_really_is_bare(bare):
    absent = ["torch", "mujoco", "gymnasium", "stable_baselines3", "onnx", "matplotlib", "rclpy", "scipy", "rich"]
    found = run(bare, "-c", f"import importlib.util as u; print([n for n in {absent} if u.find_spec(n)])")
    assert found.strip() == "[]"


def test_every_module_of_the_runtime_imports(bare):
    modules = [f"robolearn.deploy.{path.stem}" for path in (ROOT / "robolearn" / "deploy").glob("*.py")]
    modules += ["hardware.base", "hardware.loopback", "hardware.faults", "hardware.ros2_control"]
    run(bare, "-c", "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)", *modules)


def test_the_released_policy_runs_and_gives_its_golden_results(bare):
    program = (
        "import sys\nfrom robolearn.deploy.policy import OnnxPolicy\n"
        "from robolearn.deploy.robot import load_robot_file\nfrom robolearn.deploy.runner import PolicyRunner\n"
        "policy = OnnxPolicy(sys.argv[1])\n"
        "PolicyRunner(policy, load_robot_file('a1')); print(policy.check_golden())"
    )
    assert run(bare, "-c", program, str(POLICY)).strip() == "[]"


@pytest.mark.parametrize("words", [("verify",), ("inspect",)])
def test_so_do_the_commands_for_a_policy_file(bare, words):
    assert run(bare, "-m", "robolearn.cli.main", *words, str(POLICY))


def test_a_command_that_needs_more_says_what_to_install(bare):
    result = subprocess.run(
        [bare, "-I", "-m", "robolearn.cli.main", "train", "a1_velocity_flat"], capture_output=True, text=True, cwd="/"
    )
    assert result.returncode == 1
    assert "pip install '.[train]'" in result.stderr
    assert len(result.stderr.splitlines()) == 1
