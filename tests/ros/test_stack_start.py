"""The whole stack as a user starts it, with ``robolearn deploy --sim``: operate, stop, again, two side by side."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stack import LIMIT, RELEASED, Watch

from robolearn.deploy.bringup import BringUp, plan
from robolearn.deploy.processes import Command, Processes, environment, node_words
from robolearn_ros.operator import Operator


def ask(operator, *requests):
    """Ask, again where joints still move, signs of life are still on their way, or a policy is still being loaded."""
    for request in requests:
        end = time.monotonic() + LIMIT
        while not (answer := operator.request(request, LIMIT)).accepted:
            assert time.monotonic() < end, (request, answer.reason)
            time.sleep(0.05)


class Deployment:
    """``robolearn deploy --sim`` as fast as it goes, and its operator."""

    def __init__(self, folder, namespace=""):
        self.latch = folder / f"latch{namespace}"
        self.log = folder / f"deploy{namespace}.log"
        words = ["deploy", "--sim", "--policy", str(RELEASED), "--namespace", namespace, "--latch", str(self.latch)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "robolearn.cli.main", *words, "sim_node.real_time_factor=0.0"],
                env={**os.environ, "ROS_LOG_DIR": str(folder), "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.operator = Operator(namespace)

    def wait(self, state):
        self.operator.wait_for_state(state, LIMIT)

    def ask(self, *requests):
        ask(self.operator, *requests)

    def stand(self):
        self.wait("idle")
        self.ask("arm", "stand")
        self.wait("ready")

    def pid(self, node):
        """Process id of a node: a child of the runner."""
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.process.pid and node in (folder / "cmdline").read_text():
                    return int(folder.name)
        raise AssertionError(f"{node} does not run")

    def stop(self):
        """Ctrl-C; return the exit code."""
        self.operator.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(LIMIT)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.stop()
        if error[0] is not None:
            print(self.log.read_text())


def test_walk_stop_latch_and_start_again(tmp_path):
    with Deployment(tmp_path) as robot:
        robot.stand()
        robot.operator.drive(0.5)
        robot.ask("start_policy")
        robot.wait("policy")
        with Watch() as watch:
            watch.wait(lambda: watch.cycles, "readings")
            begin = watch.cycles[0][1].time
            watch.wait(lambda: watch.cycles[-1][1].time > begin + 2.0, "two seconds of walking")
        assert [
            event for event in robot.operator.events if event.get("reaction") in ("stand", "damping", "estop")
        ] == []
        robot.ask("stop")
        robot.wait("damping")

        def braked():  # the state and the event that tells why come on two topics
            return (event for event in robot.operator.events if event.get("mode") == "damping" and "from" in event)

        robot.operator.wait_for(lambda: any(braked()), LIMIT)
        change = next(braked())
        assert (change["from"], change["message"]) == ("policy", "operator: stop")
        robot.ask("reset")
        robot.wait("idle")
        robot.ask("estop")
        robot.wait("estop")
        assert robot.stop() == 0
        assert "Traceback" not in robot.log.read_text()
    assert robot.latch.exists()
    with Deployment(tmp_path) as robot:
        robot.wait("estop")  # a restart does not clear it
        assert not robot.operator.request("arm", LIMIT).accepted
        robot.ask("reset")
        robot.wait("idle")
        assert not robot.latch.exists()
        assert robot.stop() == 0
    with Deployment(tmp_path) as robot:
        robot.wait("idle")
        os.kill(robot.pid("policy_node"), signal.SIGKILL)
        assert robot.process.wait(LIMIT) == 1
        last = robot.log.read_text().splitlines()[-1]
        assert last.startswith("robolearn: error: policy_node was killed by SIGKILL")
        assert last.endswith("All other nodes were stopped")


def test_two_robots_and_a_second_instance(tmp_path):
    with Deployment(tmp_path, "left") as left, Deployment(tmp_path, "right") as right:
        left.stand()
        right.stand()
        words = ["deploy", "--sim", "--policy", str(RELEASED), "--namespace", "left", "--latch", str(left.latch)]
        second = subprocess.run(
            [sys.executable, "-m", "robolearn.cli.main", *words],
            env={**os.environ, "ROS_LOG_DIR": str(tmp_path)},
            capture_output=True, text=True, timeout=2 * LIMIT, check=False,
        )  # fmt: skip
        assert second.returncode == 1
        assert len(second.stderr.splitlines()) == 1
        assert "runs already on this machine" in second.stderr
        right.ask("estop")
        right.wait("estop")
        assert left.operator.state == "ready"  # neither the second instance nor the other robot disturbed it
        assert left.operator.request("stop", LIMIT).accepted
        assert left.stop() == 0
        assert right.stop() == 0


@pytest.mark.parametrize(
    "order", [("policy_node", "safety_monitor", "sim_node"), ("safety_monitor", "sim_node", "policy_node")]
)
def test_any_order_of_starting_will_do(tmp_path, order):
    """Each begins only when the one before it is alive."""
    wanted = BringUp(
        policy=str(RELEASED), latch_file=str(tmp_path / "latch"), parameters={"sim_node": {"real_time_factor": 0.0}}
    )
    specs = {spec.name: spec for spec in plan(wanted)}
    env = {**environment(), "ROS_LOG_DIR": str(tmp_path)}
    lines, running = [], []
    operator = Operator()
    try:
        for name in order:
            running.append(Processes([Command(name, node_words(specs[name], tmp_path))], env, lines.append))
            running[-1].start()
            end = time.monotonic() + LIMIT
            while not operator.alive(name):
                assert time.monotonic() < end, lines
                time.sleep(0.02)
        operator.wait_for_state("idle", LIMIT)
        ask(operator, "arm", "stand")
        operator.wait_for_state("ready", LIMIT)
        ask(operator, "start_policy")
        operator.wait_for_state("policy", LIMIT)
    finally:
        print(*lines, *operator.events, sep="\n")  # shown when the test fails
        operator.close()
        for processes in running:
            processes.stop()


def test_a_stop_before_the_robot_is_there_is_remembered(tmp_path):
    """No cycle of the drives ever came, and the safety monitor is killed: the stop holds all the same."""
    latch = tmp_path / "latch"
    spec = next(spec for spec in plan(BringUp(latch_file=str(latch))) if spec.name == "safety_monitor")
    env, lines = {**environment(), "ROS_LOG_DIR": str(tmp_path)}, []
    with (
        Processes([Command(spec.name, node_words(spec, tmp_path))], env, lines.append) as monitor,
        Operator() as operator,
    ):
        ask(operator, "estop")
        end = time.monotonic() + LIMIT
        while not latch.exists():
            assert time.monotonic() < end, lines
            time.sleep(0.02)
        os.kill(monitor.pid("safety_monitor"), signal.SIGKILL)
    assert latch.exists()
