"""The running ROS 2 stack: latency from signal to command, jitter of the control loop, memory.

hardware_node (with the loopback robot), safety_monitor and policy_node run as processes of their own, in real time, and
a listener stands where the drives are. Latency is from the moment at which hardware_node has a reading until the answer
to it arrives; all clocks are this computer's monotonic clock. Ticks in which the policy is asked contain two more
messages and its evaluation. Jitter is the distance of a tick from the one before, less the period.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from common import Report, cores, finish, parse, parser

from robolearn.cli.ros import join_ros
from robolearn.deploy import bringup, processes
from robolearn.deploy.bringup import BringUp
from robolearn.deploy.robot import FOLDER, load_robot_file
from robolearn.deploy.wire import CommandPacket, TickPacket

ROOT = Path(__file__).resolve().parents[1]
POLICY = ROOT / "policies" / "a1_velocity_flat" / "policy.onnx"
AIM_MS = 2.0
"""p99 of the latency, idle, at 50 and 200 Hz."""
LIMIT = 60.0


def _burn() -> None:
    while True:
        sum(range(1000))


@contextlib.contextmanager
def load(count: int) -> Iterator[None]:
    """Keep ``count`` processes busy."""
    context = multiprocessing.get_context("spawn")
    found = [context.Process(target=_burn, daemon=True) for _ in range(count)]
    for process in found:
        process.start()
    try:
        yield
    finally:
        for process in found:
            process.kill()
            process.join()


def robot_file(folder: Path, control_hz: float) -> Path:
    """Write the A1's robot file with another control rate, and with wide checks of what is measured here."""
    data = yaml.safe_load((FOLDER / "a1.yaml").read_text())
    data["control_hz"] = control_hz
    data["command_timeout"] = 1.0
    for name in ("loop_stalled", "heartbeat_policy", "heartbeat_hardware", "heartbeat_monitor"):
        data["safety"][name]["limit"] = 0.9
    data["safety"]["observation_range"]["mode"] = data["safety"]["observation_z_score"]["mode"] = "warn"
    for name in ("policy_deadline", "inference_time", "state_stale", "state_frozen", "time_backwards"):
        data["safety"][name]["mode"] = "warn"
    path = folder / "a1.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def memory(pid: int) -> float:
    """Return the proportional set size of a process, MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def measure(control_hz: float, seconds: float, busy: int, domain: int) -> tuple[dict[str, Any], dict[str, float]]:
    """Run the stack under its policy; return a row of the result, and the memory of each process in MiB."""
    import rclpy
    from std_msgs.msg import Float64MultiArray

    from robolearn_ros import qos
    from robolearn_ros.inbox import Inbox
    from robolearn_ros.operator import Operator

    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        path = robot_file(Path(folder), control_hz)
        robot = load_robot_file(path)
        wanted = BringUp(
            robot=str(path), policy=str(POLICY), simulated=False, domain=domain, latch_file=str(Path(folder) / "latch")
        )
        lines: list[str] = []
        running = stack.enter_context(processes.nodes(bringup.plan(wanted), domain, lines.append))
        operator = stack.enter_context(Operator(domain=domain))
        operator.wait_for_state("idle", LIMIT)
        for request, state in (("arm", "idle"), ("stand", "ready"), ("start_policy", "policy")):
            end = time.monotonic() + LIMIT
            while not (answer := operator.request(request, LIMIT)).accepted:
                if time.monotonic() > end:
                    raise RuntimeError(f"{request}: {answer.reason}; {lines[-5:]}")
                time.sleep(0.1)
            operator.wait_for_state(state, LIMIT)
        context = rclpy.context.Context()
        rclpy.init(context=context, domain_id=domain)
        stack.callback(context.try_shutdown)
        node = rclpy.create_node("listener", context=context)
        commands, packet = Inbox(node, Float64MultiArray, "joint_commands", qos.COMMAND), CommandPacket(robot)
        ticks, tick_packet = Inbox(node, Float64MultiArray, "safety_monitor/tick", qos.SENSOR), TickPacket(robot, 3)
        stack.callback(ticks.close)
        stack.callback(commands.close)
        if busy:
            stack.enter_context(load(busy))
            time.sleep(1.0)
        latency: dict[float, float] = {}
        asked: dict[float, bool] = {}
        wall: list[float] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            message = commands.take(0.1)
            if message is not None:
                cycle, _ = packet.unpack(message.data, message.layout.data_offset)
                latency.setdefault(cycle, time.monotonic() - cycle)
            while (message := ticks.take(0.0)) is not None:
                tick = tick_packet.packet.unpack(message.data, message.layout.data_offset)
                asked[float(tick["cycle"][0])] = tick["answer"][0] >= 0
                wall.append(float(tick["wall"][0]))
        sizes = {spec.name: memory(running.pid(spec.name)) for spec in bringup.plan(wanted)}
        still = operator.state
    plain = 1e3 * np.array([value for cycle, value in latency.items() if not asked.get(cycle, False)])
    policy = 1e3 * np.array([value for cycle, value in latency.items() if asked.get(cycle, False)])
    periods = 1e3 * np.diff(wall)
    jitter = np.abs(periods[periods < 1.5e3 / control_hz] - 1e3 / control_hz)

    def of(values: np.ndarray, share: float) -> float | str:
        return round(float(np.percentile(values, share)), 2) if len(values) else "-"

    row = {
        "control, Hz": round(control_hz), "busy processes": busy, "commands": len(latency),
        "latency p50, ms": of(plain, 50), "p99": of(plain, 99),
        "with policy p50, ms": of(policy, 50), "p99 ": of(policy, 99),
        "jitter p50, ms": of(jitter, 50), "p99  ": of(jitter, 99),
        "longest period, ms": round(float(periods.max()), 1) if len(periods) else "-", "state at the end": still,
    }  # fmt: skip
    return row, sizes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = parser(__doc__)
    options.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    options.add_argument("--rates", type=float, nargs="+", default=[50.0, 200.0, 500.0], help="control rates, Hz")
    options.add_argument("--domain", type=int, default=97, help="ROS domain")
    args = parse(options, arguments)
    join_ros(args.domain)
    os.environ["OMP_NUM_THREADS"] = "1"
    rates, seconds = (args.rates[:1], 1.0) if args.quick else (args.rates, args.seconds)
    report = Report("ros_loop", {"robot": "a1 (loopback)", "policy": POLICY.parent.name, "seconds": seconds}, "")
    for busy in (0,) if args.quick else (0, cores()):
        for rate in rates:
            row, sizes = measure(rate, seconds, busy, args.domain)
            report.rows.append(row)
    total = sum(sizes.values())
    report.notes.append(
        "Memory (proportional), MiB: " + ", ".join(f"{name} {size:.0f}" for name, size in sizes.items())
    )
    report.notes.append(f"Together {total:.0f} MiB. Aim: latency p99 at most {AIM_MS:g} ms without busy processes.")
    return finish(report, args)


if __name__ == "__main__":
    sys.exit(main())
