"""The frame of the command: what it prints, which exit code it gives, and how faults become one line."""

import errno
import os
import subprocess
import sys

import pytest

from robolearn.cli import main as main_module
from robolearn.cli.errors import CommandError
from robolearn.cli.main import COMMANDS, command_parser, load_command, main
from robolearn.config import ConfigError
from robolearn.packages import MissingPackageError

from .conftest import run_command


def one_line(text):
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("robolearn")
    return lines[0]


@pytest.mark.parametrize("words", [[], ["--help"], ["help"]])
def test_the_overview_names_every_command(words, capsys):
    assert main(words) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("robolearn 0.")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_a_docstring(name):
    assert load_command(name).__doc__
    assert "usage: robolearn" in command_parser(name).format_help()


def test_an_unknown_command_gets_the_nearest(capsys):
    assert main(["trian"]) == 2
    assert "Did you mean 'train'?" in one_line(capsys.readouterr().err)


def test_an_unknown_option_is_one_line(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["train", "a1_velocity_flat", "--bogus"])
    assert caught.value.code == 2
    assert "--bogus" in one_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ConfigError("entry x:\n  is wrong"), 2, "entry x: is wrong"),
        (MissingPackageError("get it"), 1, "get it"),
        (CommandError("no luck"), 1, "no luck"),
        (CommandError("bad words", 2), 2, "bad words"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), 1, "the disk is full while writing /x/y"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), 1, "/x/y: Permission denied"),
        (ModuleNotFoundError("No module named 'rich'", name="rich"), 1, "'rich' is not installed"),
    ],
)
def test_faults_become_one_line_and_an_exit_code(monkeypatch, capsys, error, code, text):
    class Failing:
        __doc__ = "fails"

        @staticmethod
        def add_arguments(parser):
            pass

        @staticmethod
        def run(args):
            raise error

    monkeypatch.setattr(main_module, "load_command", lambda name: Failing)
    assert main(["list"]) == code
    assert text in one_line(capsys.readouterr().err)


def test_a_fault_of_our_own_is_not_hidden(monkeypatch):
    class Broken:
        __doc__ = "broken"
        add_arguments = staticmethod(lambda parser: None)

        @staticmethod
        def run(args):
            raise ZeroDivisionError

    monkeypatch.setattr(main_module, "load_command", lambda name: Broken)
    with pytest.raises(ZeroDivisionError):
        main(["list"])


def test_help_does_not_load_torch_or_mujoco():
    text = (
        "import sys\nfrom robolearn.cli.main import main, command_parser, COMMANDS\nmain([])\n"
        "[command_parser(name) for name in COMMANDS]\n"
        "print(sorted({'torch', 'mujoco', 'numpy', 'matplotlib', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_waiting_threads_sleep_unless_told_otherwise(monkeypatch, capsys):
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert main(["bench", "--list"]) == 0
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    assert main(["bench", "--list"]) == 0
    assert os.environ["GOMP_SPINCOUNT"] == "1000"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["train", "velocity_flta"], "Did you mean 'velocity_flat'?"),
        (["train", "velocity_flat"], "needs a robot"),
        (["train", "velocity_flat", "--robot", "a11"], "unknown robot 'a11'. Did you mean 'a1'?"),
        (["train", "a1_velocity_flat", "ppo.clipp=1"], "unknown key 'clipp'. Did you mean 'clip'?"),
        (["train", "a1_velocity_flat", "--num-envs", "0"], "num_envs must be >= 1"),
        (["train", "a1_velocity_flat", "--device", "tpu"], "expected cpu, cuda or cuda:N"),
        (["train", "a1_velocity_flat", "--threads", "0"], "--threads 0: must be at least 1"),
        (["train"], "name one experiment or task"),
        (["train", "a1_velocity_flat", "--resume", "x"], "name one experiment or task"),
        (["train", "--resume", "no/such/run"], "no such run, checkpoint or policy"),
        (["config", "a1_velocity_flat", "task.rewards.x.weight=1"], "unknown reward 'x'"),
        (["config", "a1_velocity_flat", "--explain", "pop"], "unknown section 'pop'. Did you mean 'ppo'?"),
        (["play", "no/such/run"], "no such run, checkpoint or policy"),
        (["play", "x", "--command", "1,2"], "expected three numbers"),
        (["eval", "x", "--seeds", "0"], "must be at least 1"),
        (["eval", "x", "--impulses", "1,-2"], "expected numbers of 0 or more"),
        (["bench", "stepp"], "unknown benchmark 'stepp'"),
    ],
)
def test_wrong_input_is_one_line_with_exit_code_2(words, text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert text in one_line(capsys.readouterr().err)
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_no_gpu_is_one_line(capsys, tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["train", "a1_velocity_flat", "--device", "cuda", "--out", str(tmp_path)]) == 2
    assert "no GPU found" in one_line(capsys.readouterr().err)


def test_an_unknown_graphics_backend_is_one_line():
    done = run_command("list", MUJOCO_GL="opengl")
    assert done.returncode == 2
    assert "MUJOCO_GL: unknown value 'opengl'" in one_line(done.stderr)
