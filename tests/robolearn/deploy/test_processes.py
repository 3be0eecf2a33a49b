"""The process runner, with small scripts in place of nodes: order, output, failures, and every way to end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from robolearn import packages
from robolearn.config import ConfigError
from robolearn.deploy.bringup import BringUp, NodeSpec, plan
from robolearn.deploy.processes import REFUSED, Command, Ended, Processes, environment, node_words, nodes
from robolearn.deploy.stop_signal import StopSignal

LIMIT = 30.0
NODE = """
import pathlib, signal, sys, threading, time
name, diary, ended = {name!r}, pathlib.Path({diary!r}), False
def note(what):
    with diary.open("a") as file:
        file.write(f"{{name}} {{what}}\\n")
def end(*_):
    global ended
    ended = True
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, lambda *_: note("interrupted"))
note("started")
print("ready", flush=True)
{body}
while not ended:
    time.sleep(0.05)
note("ended")
"""


def wait_until(condition):
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def alive(pid):
    """Whether a process runs; one that ended and that nobody waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Stage:
    """A folder with scripts that note in one diary what happens to them."""

    def __init__(self, folder):
        self.folder, self.lines = folder, []
        self._diary = folder / "diary"

    def script(self, name, body=""):
        path = self.folder / f"{name}.py"
        path.write_text(NODE.format(name=name, diary=str(self._diary), body=body))
        return path

    def command(self, name, body="", essential=True):
        return Command(name, [sys.executable, str(self.script(name, body))], essential)

    def processes(self, *commands):
        return Processes(commands, environment(), self.lines.append)

    def diary(self):
        return self._diary.read_text().splitlines() if self._diary.exists() else []

    def wait_for(self, *names):
        wait_until(lambda: all(f"{name} started" in self.diary() for name in names))


@pytest.fixture
def stage(tmp_path, monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "42")
    return Stage(tmp_path)


def test_the_last_that_was_started_ends_first_one_after_the_other(stage):
    with stage.processes(*(stage.command(name) for name in "abc")):
        stage.wait_for(*"abc")
    assert [line for line in stage.diary() if "ended" in line] == ["c ended", "b ended", "a ended"]


def test_every_line_names_its_node(stage):
    commands = (stage.command("drive"), stage.command("monitor", "print('two', file=sys.stderr, flush=True)"))
    with stage.processes(*commands):
        wait_until(lambda: len(stage.lines) == 3)
    assert sorted(stage.lines) == ["drive   | ready", "monitor | ready", "monitor | two"]


def test_bytes_that_are_no_text_are_shown_all_the_same(stage):
    body = "sys.stdout.buffer.write(b'caf\\xe9\\n'); sys.stdout.flush()"
    with stage.processes(stage.command("a", body)):
        wait_until(lambda: "a | caf\N{REPLACEMENT CHARACTER}" in stage.lines)


def test_ctrl_c_in_the_terminal_reaches_only_us(stage):
    with stage.processes(stage.command("a")) as running:
        assert os.getpgid(running.pid("a")) == running.pid("a") != os.getpgid(0)


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ("print('error: no robot', flush=True); sys.exit(1)", 1, "b ended with exit code 1: no robot"),
        ("print('[ERROR] [17.25] [a1.b]: no.', flush=True); sys.exit(3)", 3, "b did not start: no"),
        ("sys.exit(0)", 0, "b ended with exit code 0; its last line: ready"),
        ("signal.raise_signal(signal.SIGKILL)", -9, "b was killed by SIGKILL; its last line: ready"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
    ],
)
def test_an_essential_process_that_ends_is_named_with_its_last_words(stage, body, code, text):
    with stage.processes(stage.command("a"), stage.command("b", body)) as running:
        ended = running.watch(StopSignal())
        assert (ended.name, ended.code) == ("b", code)
        assert text in str(ended)
        stage.wait_for("a")
    assert "a ended" in stage.diary()


def test_one_that_dies_before_a_word(stage):
    assert str(Ended("a", 4, ())) == "a ended with exit code 4 without a word"


def test_without_the_recorder_the_robot_goes_on(stage):
    commands = (stage.command("robot"), stage.command("recorder", "sys.exit(7)", essential=False))
    stop = StopSignal()
    with stage.processes(*commands) as running:
        wait_until(lambda: running.failed() is None and any("goes on without it" in line for line in stage.lines))
        assert running.failed() is None
        assert sum("goes on without it" in line for line in stage.lines) == 1
        assert alive(running.pid("robot"))
        stop.received = True
        assert running.watch(stop) is None


def test_a_recorder_that_did_not_even_start_is_a_failed_start(stage):
    """Nothing moves yet, and whoever asked for a recording should not find out afterwards that there is none."""
    refused = f"print('error: no room', flush=True); sys.exit({REFUSED})"
    with stage.processes(stage.command("robot"), stage.command("recorder", refused, essential=False)) as running:
        ended = running.watch(StopSignal())
        assert str(ended) == "recorder did not start: no room"


def test_nobody_reads_what_is_shown_but_no_node_is_held_up(stage):
    """`robolearn deploy | head`: pipes of 64 kB would fill, and the node that writes into one would stand still."""

    def gone(line):
        raise BrokenPipeError(32, "Broken pipe")

    much = "for _ in range(5000): print('x' * 99)\nsys.stdout.flush()\nnote('wrote all')"
    with Processes([stage.command("a", much)], dict(os.environ), gone):
        wait_until(lambda: "a wrote all" in stage.diary())


def test_one_that_does_not_end_is_killed_and_holds_nobody_up(stage):
    deaf = stage.command("deaf", "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)")
    running = stage.processes(stage.command("a"), deaf)
    running.start()
    stage.wait_for("a")
    wait_until(lambda: "deaf | deaf" in stage.lines)
    pid = running.pid("deaf")
    running.stop(limit=0.2)
    assert not alive(pid)
    assert "deaf | did not end within 0.2 s and is killed" in stage.lines
    assert stage.diary()[-1] == "a ended"


def test_stopping_twice_does_nothing(stage):
    running = stage.processes(stage.command("a"))
    running.start()
    pid = running.pid("a")
    running.stop()
    running.stop()
    assert not alive(pid)


def test_when_one_cannot_be_started_the_others_are_stopped(stage):
    running = stage.processes(stage.command("a"), Command("b", ["/nowhere/at/all"]))
    with pytest.raises(FileNotFoundError):
        running.start()
    assert running.failed() is None  # nothing runs any more


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal at the parent's death")
def test_when_the_runner_is_killed_the_nodes_end(stage):
    script = stage.script("orphan")
    parent = stage.folder / "parent.py"
    parent.write_text(
        "import sys, time\n"
        "from robolearn.deploy.processes import REFUSED, Command, Processes, environment\n"
        f"command = Command('orphan', [sys.executable, {str(script)!r}])\n"
        "running = Processes([command], environment(), lambda line: None)\n"
        "running.start()\nprint(running.pid('orphan'), flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, str(parent)], stdout=subprocess.PIPE, text=True) as runner:
        pid = int(runner.stdout.readline())
        stage.wait_for("orphan")
        runner.kill()
        wait_until(lambda: not alive(pid))
    assert stage.diary()[-1] == "orphan ended"


def test_the_environment_is_whole_and_fit_for_ros(monkeypatch):
    for name in ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE", "AMENT_PREFIX_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SOMETHING_ELSE", "kept")
    found = environment()
    assert {name: found[name] for name in ("SOMETHING_ELSE", "ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE")} == {
        "SOMETHING_ELSE": "kept",
        "ROS_DOMAIN_ID": "0",
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
    assert found["AMENT_PREFIX_PATH"] == sys.prefix
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    monkeypatch.setenv("AMENT_PREFIX_PATH", "/opt/ros/kilted")
    assert environment(7)["ROS_DOMAIN_ID"] == "7"
    assert environment()["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SUBNET"
    assert environment()["AMENT_PREFIX_PATH"] == "/opt/ros/kilted"


def test_without_rclpy_nothing_is_started(monkeypatch):
    monkeypatch.setattr(packages, "is_installed", lambda name: False)
    with pytest.raises(ConfigError, match=r"source your ROS 2 installation"), nodes(plan(BringUp(simulated=False))):
        raise AssertionError("started")


def test_parameters_are_named_in_full_and_come_last(tmp_path):
    spec = NodeSpec(
        "sim_node", "sim_node", "/a/b", {"x": 12.0, "y": True, "z": "1.0", "n": 3, "e": ""}, ("/f.yaml",),
        (("/clock", "clock"),),
    )  # fmt: skip
    words = node_words(spec, tmp_path)
    own = tmp_path / "sim_node.yaml"
    assert words[:4] == [sys.executable, "-m", "robolearn_ros.sim_node", "--ros-args"]
    assert [words[i + 1] for i, word in enumerate(words) if word == "--params-file"] == ["/f.yaml", str(own)]
    assert {"__ns:=/a/b", "__node:=sim_node", "/clock:=clock"} <= set(words)
    written = yaml.safe_load(own.read_text())["/a/b/sim_node"]["ros__parameters"]
    assert written == dict(spec.parameters)
    assert {name: type(value) for name, value in written.items()} == {
        "x": float,
        "y": bool,
        "z": str,
        "n": int,
        "e": str,
    }
    assert "x: 12.0" in own.read_text()  # without its point it would be an integer, which ROS 2 refuses


class Stack:
    """``robolearn deploy --sim`` as a process, with fake nodes, rclpy and mujoco."""

    def __init__(self, stage, **bodies):
        package = stage.folder / "robolearn_ros"
        package.mkdir()
        (package / "__init__.py").touch()
        for name in ("rclpy", "mujoco"):
            (stage.folder / f"{name}.py").touch()
        for name in ("sim_node", "safety_monitor"):
            stage.script(name, bodies.get(name, "")).rename(package / f"{name}.py")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "robolearn.cli.main", "deploy", "--sim", "--namespace", "r1"],
            env={**os.environ, "PYTHONPATH": str(stage.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, number=None):
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_command_ends_with_0_when_a_person_ends_it(stage, number):
    stack = Stack(stage)
    stage.wait_for("sim_node", "safety_monitor")
    code, out, err = stack.end(number)
    assert (code, err) == (0, "")
    assert "robolearn request arm --namespace r1" in out
    assert "sim_node       | ready" in out
    assert stage.diary()[-2:] == ["safety_monitor ended", "sim_node ended"]
    assert not any("interrupted" in line for line in stage.diary())


def test_the_command_fails_in_one_line_when_a_node_does(stage):
    body = "print('error: /r1/safety_monitor runs already', flush=True); sys.exit(1)"
    code, out, err = Stack(stage, safety_monitor=body).end()
    assert code == 1
    assert err == (
        "robolearn: error: safety_monitor ended with exit code 1: /r1/safety_monitor runs already. "
        "All other nodes were stopped\n"
    )
    assert "Stopping because safety_monitor ended" in out
