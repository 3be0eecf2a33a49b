"""teleop_node as a process of its own, in a terminal of its own, against a made-up safety monitor and joystick."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time

import pytest

pytest.importorskip("rclpy")

import rclpy
import rclpy.executors
from geometry_msgs.msg import Twist, TwistStamped
from rclpy.context import Context
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Joy
from std_msgs.msg import String
from std_srvs.srv import Trigger

from robolearn.deploy.modes import Request
from robolearn.deploy.processes import REFUSED
from robolearn_ros import qos
from robolearn_ros.terminal import Terminal, TerminalError, split_keys

LIMIT = 30.0
"""s until what is waited for must have happened, however busy the machine."""
IN_ITS_TERMINAL = (
    "import fcntl, runpy, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "sys.argv[0] = 'teleop_node'; runpy.run_module('robolearn_ros.teleop_node', run_name='__main__')"
)
DEADMAN, ESTOP = 4, 1


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path))


class Surroundings:
    """What a teleop node talks to: records the commands and requests, plays the joystick."""

    def __init__(self, stamped=False, monitor=True):
        self.context = Context()
        rclpy.init(args=[], context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node("safety_monitor", context=self.context, use_global_arguments=False)
        self.commands, self.requests = [], []
        self.refuse = ""
        kind = TwistStamped if stamped else Twist
        self.cmd_vel = self.node.create_subscription(kind, "cmd_vel", self.commands.append, qos.COMMAND)
        self.state = self.node.create_publisher(String, "safety_monitor/state", qos.LATCHED)
        self.sticks = self.node.create_publisher(Joy, "joy", 10)
        self.stick = None
        self.node.create_timer(0.05, lambda: self.stick and self.sticks.publish(self.stick))
        if monitor:
            self.serve()
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._spin, daemon=True)
        self.thread.start()

    def serve(self):
        for request in Request:
            self.node.create_service(Trigger, f"~/{request}", lambda _, answer, r=request: self._answer(r, answer))

    def _answer(self, request, answer):
        self.requests.append(request)
        answer.success, answer.message = not self.refuse, self.refuse or f"now {request}"
        return answer

    def _spin(self):
        while not self.ended.is_set():
            self.executor.spin_once(timeout_sec=0.1)

    def hold(self, *buttons, axes=(0.0, 0.0, 0.0, 0.0)):
        """Let the joystick send this from now on, 20 times a second."""
        self.stick = Joy(axes=list(axes), buttons=[int(i in buttons) for i in range(8)])

    def speeds(self):
        return [getattr(command, "twist", command).linear.x for command in list(self.commands)]

    def close(self):
        self.ended.set()  # what the thread waits for must not be destroyed under it
        self.thread.join()
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


class Teleop:
    """The node's process; its terminal is a pseudo-terminal, or there is none."""

    def __init__(self, *parameters, terminal=True):
        arguments = ["--ros-args", *(word for parameter in parameters for word in ("-p", parameter))]
        self.text = ""
        self.screen = None
        if terminal:
            self.screen, self.tty = pty.openpty()
            self.before = termios.tcgetattr(self.tty)
            command = [sys.executable, "-c", IN_ITS_TERMINAL, *arguments]
            pipes = {"stdin": self.tty, "stdout": self.tty, "stderr": self.tty}
        else:
            command = [sys.executable, "-m", "robolearn_ros.teleop_node", *arguments]
            pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(command, env=os.environ.copy(), start_new_session=True, **pipes)
        self.output = self.screen if terminal else self.process.stdout.fileno()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        with contextlib.suppress(OSError):
            while data := os.read(self.output, 4096):
                self.text += data.decode(errors="replace")

    def type(self, keys):
        os.write(self.screen, keys.encode())

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        return self.process.wait(LIMIT)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(LIMIT)
        if self.screen is not None:
            os.close(self.tty)
            os.close(self.screen)


def until(condition, what):
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, f"not within {LIMIT} s: {what() if callable(what) else what}"
        time.sleep(0.01)


@pytest.fixture
def start():
    """Starts surroundings and a teleop node that have found each other; ends both."""
    with contextlib.ExitStack() as stack:

        def begin(*parameters, terminal=True, **surroundings):
            around = Surroundings(**surroundings)
            stack.callback(around.close)
            teleop = Teleop(*parameters, terminal=terminal)
            stack.callback(teleop.close)
            node = around.node
            until(
                lambda: node.count_publishers("cmd_vel") and around.sticks.get_subscription_count(), lambda: teleop.text
            )
            if terminal:
                until(lambda: "any other key" in teleop.text, lambda: teleop.text)
            return around, teleop

        yield begin


def quiet(around):
    """Whether commands have ended: nothing new while 20 joystick messages would have come."""
    count = len(around.commands)
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        if len(around.commands) != count:
            return False
        time.sleep(0.05)
    return True


def test_keys_drive_stop_and_ask(start):
    around, teleop = start("key_timeout:=0.0", "acceleration:=20.0")
    until(lambda: teleop.type("w") or around.speeds()[-1:] == [0.5], lambda: (around.speeds(), teleop.text))
    assert max(around.speeds()) == 0.5
    teleop.type("x")
    until(lambda: around.speeds()[-1] == 0.0, "an unknown key is zero velocity")
    until(lambda: quiet(around), "then silence")
    around.state.publish(String(data="ready"))
    until(lambda: "[READY]" in teleop.text, lambda: teleop.text)
    around.refuse = "not armed"
    until(lambda: teleop.type("2") or Request.STAND in around.requests, "stand is asked for")
    until(lambda: "stand: REFUSED: not armed" in teleop.text, lambda: teleop.text)
    around.refuse = ""
    # Services are found one by one, in the order of their creation: after the last one, all are there.
    assert list(Request)[-1] is Request.RESET
    until(lambda: teleop.type("r") or Request.RESET in around.requests, "reset is asked for")
    teleop.type(" eE")
    until(
        lambda: around.requests.count(Request.ESTOP) >= 2 and Request.STOP in around.requests, lambda: around.requests
    )
    # Again: the line is written 20 times a second and tells the newest answer, which may be another one.
    until(lambda: "estop: now estop" in teleop.text or teleop.type("e"), lambda: teleop.text)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_at_the_end_velocity_is_zero_and_the_terminal_as_before(start, number):
    around, teleop = start("key_timeout:=0.0")
    until(lambda: teleop.type("w") or any(around.speeds()), lambda: teleop.text)
    assert not termios.tcgetattr(teleop.tty)[3] & termios.ECHO
    assert teleop.end(number) == 0, teleop.text
    assert termios.tcgetattr(teleop.tty) == teleop.before
    until(lambda: around.speeds()[-1] == 0.0, "the last command is zero")
    assert quiet(around)


def test_the_joystick_drives_without_a_terminal(start):
    around, teleop = start("acceleration:=20.0", "cmd_vel_stamped:=true", terminal=False, stamped=True)
    until(lambda: "keyboard off" in teleop.text, lambda: teleop.text)
    assert teleop.text.count("keyboard off") == 1
    forward = (0.0, 1.0, 0.0, 0.0)
    # Together: a pause that the busy machine makes is zero velocity, and then only a new grip counts.
    until(lambda: grip(around, forward) and around.speeds()[-1] == 0.5, lambda: (around.speeds(), teleop.text))
    assert around.commands[-1].header.frame_id == "base_link"
    around.hold(axes=forward)
    until(lambda: around.speeds()[-1] == 0.0, "releasing the dead-man is zero velocity")
    until(lambda: grip(around, forward) and around.speeds()[-1] == 0.5, lambda: around.speeds())
    around.stick = None
    until(lambda: around.speeds()[-1] == 0.0, "a silent joystick is zero velocity")
    until(lambda: quiet(around), "then silence")
    around.hold(ESTOP)
    until(lambda: Request.ESTOP in around.requests, "the joystick's emergency stop")
    assert teleop.end() == 0, teleop.text


def grip(around, axes):
    """Release the dead-man, hold it, and say whether that moved something: at first nobody may be listening."""
    around.hold()
    time.sleep(0.2)
    before = len(around.commands)
    around.hold(DEADMAN, axes=axes)
    time.sleep(0.3)
    return any(around.speeds()[before:])


def test_an_emergency_stop_without_a_monitor_is_said_loudly_and_sent_when_it_appears(start):
    around, teleop = start(monitor=False)
    until(lambda: teleop.type("e") or "NOT SENT" in teleop.text, lambda: teleop.text)
    around.serve()
    until(lambda: Request.ESTOP in around.requests, "the emergency stop, without another key")


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("dead_zone:=.nan", "dead_zone"),
        ("button_arm:=4", "deadman and arm share button 4"),
        ("max_vz:=1.0", "Did you mean 'max_"),
    ],
)
def test_bad_parameters_are_refused_with_one_line(parameter, message):
    teleop = Teleop(parameter, terminal=False)
    assert teleop.process.wait(LIMIT) == REFUSED
    teleop.reader.join(LIMIT)
    assert message in teleop.text
    assert "Traceback" not in teleop.text


# The terminal alone.


@pytest.fixture
def pseudo():
    screen, keys = pty.openpty()
    yield screen, keys
    for descriptor in (screen, keys):
        with contextlib.suppress(OSError):
            os.close(descriptor)


def test_no_terminal_is_said(tmp_path):
    with (tmp_path / "keys").open("w+") as file, pytest.raises(TerminalError, match="no terminal"):
        Terminal(file.fileno()).open()


def test_a_terminal_in_whose_background_we_run_is_left_alone(pseudo):
    before = termios.tcgetattr(pseudo[1])
    with pytest.raises(TerminalError):
        Terminal(pseudo[1]).open()
    assert termios.tcgetattr(pseudo[1]) == before


def test_keys_come_at_once_and_the_terminal_is_put_back(pseudo, monkeypatch):
    screen, keys = pseudo
    monkeypatch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp())
    before = termios.tcgetattr(keys)
    terminal = Terminal(keys, keys)
    terminal.open()
    assert terminal.read() == []
    os.write(screen, "w\x1b[A\x1a\x1cé".encode())
    found = []
    until(lambda: found.extend(terminal.read()) or len(found) >= 5, lambda: found)
    assert found == ["w", "up", "\x1a", "\x1c", "é"], "Ctrl-Z and Ctrl-\\ are keys like others"
    terminal.show("line")
    terminal.close()
    terminal.close()
    assert termios.tcgetattr(keys) == before


def test_a_terminal_that_is_gone_is_said(pseudo, monkeypatch):
    screen, keys = pseudo
    monkeypatch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp())
    terminal = Terminal(keys, keys)
    terminal.open()
    os.close(screen)
    with pytest.raises(TerminalError, match="gone"):
        terminal.read()
    terminal.close()


def test_an_exception_leaves_the_terminal_as_it_was(pseudo):
    """As a program that ends without closing anything."""
    keys = pseudo[1]
    before = termios.tcgetattr(keys)
    code = (
        "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "from robolearn_ros.terminal import Terminal\n"
        "Terminal().open()\nprint(termios.tcgetattr(0)[3] & termios.ECHO, flush=True)\n1 / 0"
    )
    command = [sys.executable, "-c", code]
    ended = subprocess.run(
        command, stdin=keys, capture_output=True, start_new_session=True, timeout=LIMIT, env=os.environ.copy()
    )
    assert ended.stdout.strip() == b"0"
    assert b"ZeroDivisionError" in ended.stderr
    assert termios.tcgetattr(keys) == before


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", []),
        ("wW", ["w", "W"]),
        ("\x1b[A\x1b[D", ["up", "left"]),
        ("\x1b", ["\x1b"]),
        ("\x1b[Z", ["\x1b", "[", "Z"]),
    ],
)
def test_keys_are_told_apart(text, keys):
    assert split_keys(text) == keys
