"""Packets between processes: nothing is lost on the way, and nothing foreign is taken for one's own."""

import contextlib
import math
import struct
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robolearn.deploy.inputs import Inputs, PolicyResult
from robolearn.deploy.modes import Mode
from robolearn.deploy.power import Power
from robolearn.deploy.types import JointCommand, RobotState
from robolearn.deploy.wire import (
    CommandPacket,
    Packet,
    PolicyPackets,
    PowerPacket,
    StatePacket,
    TickPacket,
    WireError,
)

from .kit import make_robot

ROBOT = make_robot()
CONTRACT = SimpleNamespace(  # all that packets look at
    command=("vx", "vy"), observation=SimpleNamespace(width=3), settings={}
)
STATE = StatePacket(ROBOT)
COMMAND = CommandPacket(ROBOT)
POLICY = PolicyPackets(ROBOT, CONTRACT, "0123")

anything = st.floats(width=64)  # NaN and infinity too
numbers = st.integers(0, 2**53)


def vectors(width):
    return st.lists(anything, min_size=width, max_size=width).map(np.array)


states = st.builds(
    RobotState,
    position=vectors(2),
    velocity=vectors(2),
    torque=vectors(2),
    orientation=vectors(4),
    angular_velocity=vectors(3),
    sequence=numbers,
    stamp=st.floats(0, 1e6),
    acceleration=vectors(3),
    temperature=vectors(2) | st.just(np.zeros(0)),
    battery=anything,
)
commands = st.builds(JointCommand, *(vectors(2) for _ in range(5)))


def same(one, other):
    return np.array_equal(np.asarray(one), np.asarray(other), equal_nan=True)


def over(packet, data):
    """A packet as it comes out of the middleware."""
    return struct.unpack(f"<{len(data)}d", struct.pack(f"<{len(data)}d", *data)), packet.fingerprint


@given(states, st.floats(0, 1e6), st.booleans())
def test_a_reading_survives_the_way(state, cycle, fault):
    found = STATE.unpack(*over(STATE.packet, STATE.pack(cycle, fault, state)), now=math.nan)
    assert (found.time, found.fault) == (cycle, fault)
    for name in ("position", "velocity", "torque", "orientation", "angular_velocity", "acceleration", "battery"):
        assert same(getattr(found.state, name), getattr(state, name)), name
    assert found.state.sequence == state.sequence
    known = len(state.temperature) and not np.isnan(state.temperature).all()
    assert same(found.state.temperature, state.temperature if known else np.zeros(0))


def test_a_reading_is_stamped_by_its_age_at_arrival():
    state = replace(reading(), stamp=9.75)
    data = STATE.pack(10.0, False, state)
    assert STATE.unpack(data, STATE.packet.fingerprint, now=500.0).state.stamp == 499.75
    assert STATE.unpack(data, STATE.packet.fingerprint, now=math.nan).state.stamp == 9.75


@pytest.mark.parametrize("fault", [False, True])
def test_a_cycle_without_a_reading(fault):
    found = STATE.unpack(*over(STATE.packet, STATE.pack(7.5, fault, None)), now=1.0)
    assert found == (7.5, fault, None)


@given(commands, anything)
def test_a_command_survives_the_way(command, cycle):
    time, found = COMMAND.unpack(*over(COMMAND.packet, COMMAND.pack(cycle, command)))
    assert same(time, cycle)
    assert all(same(getattr(found, name), getattr(command, name)) for name in JointCommand.__slots__)


def test_power_is_for_everyone_who_knows_the_order():
    """docs/deployment.md tells it to those who do not read packets."""
    packet = PowerPacket(ROBOT)
    data = packet.pack(1.5, Power(power=40.0, energy=7.0))
    assert list(data) == [1.5, 40.0, 7.0]
    found = packet.packet.unpack(*over(packet.packet, data))
    assert {name: float(value[0]) for name, value in found.items()} == {"cycle": 1.5, "power": 40.0, "energy": 7.0}


@given(states, vectors(2), numbers, st.booleans())
def test_a_request_survives_the_way(state, command, number, first):
    got, begins, seen, asked = POLICY.asked(*over(POLICY.input, POLICY.ask(number, first, state, command)))
    assert (got, begins) == (number, first)
    assert same(asked, command)
    for name in ("position", "velocity", "orientation", "angular_velocity"):
        assert same(getattr(seen, name), getattr(state, name)), name


@given(vectors(2), vectors(2), vectors(3), anything, numbers)
def test_an_answer_survives_the_way(target, action, observation, seconds, number):
    result = PolicyResult(target, action, observation, seconds, stamp=3.0)
    got, found = POLICY.answered(*over(POLICY.output, POLICY.answer(number, result)), now=8.0)
    assert (got, found.stamp) == (number, 8.0)
    for name in ("joint_target", "action", "observation", "inference_time"):
        assert same(getattr(found, name), getattr(result, name)), name


@given(vectors(2), vectors(2))
def test_what_the_operator_had_set_comes_with_the_answer(target, settings):
    packets = PolicyPackets(ROBOT, SimpleNamespace(**{**vars(CONTRACT), "settings": dict.fromkeys("ab")}), "0123")
    result = PolicyResult(target, target, np.zeros(3), 0.0, 0.0, settings)
    assert same(packets.answered(*over(packets.output, packets.answer(7, result)), now=0.0)[1].settings, settings)


def test_the_packets_of_a_policy_have_the_form_that_recordings_are_read_by():
    """Another fingerprint makes every earlier recording unreadable: then say so in the change log."""
    assert f"{POLICY.input.fingerprint:08x} {POLICY.output.fingerprint:08x}" == "da3a646a 32c4401f"
    assert "settings" not in POLICY.output.unpack(
        POLICY.output.pack(number=0, evaluation=0, inference_time=0, joint_target=0, action=0, observation=0),
        POLICY.output.fingerprint,
    )


def test_single_precision_is_exact_in_a_packet():
    """The network gives float32; nothing of it is rounded."""
    values = np.random.default_rng(0).standard_normal(2).astype(np.float32)
    data = POLICY.answer(1, PolicyResult(values, values, np.zeros(3, np.float32), 0.0, 0.0))
    found = POLICY.answered(data, POLICY.output.fingerprint, 0.0)[1]
    assert np.array_equal(found.joint_target.astype(np.float32), values)


def test_a_tick_has_all_that_was_decided_from():
    inputs = Inputs(True, np.array([0.5, -0.5]), 0.1, 0.2, 0.0, 0.3, fault="broken")
    output = SimpleNamespace(mode=Mode.DAMPING, armed=False, velocity_command=np.array([0.25, 0.0]))
    tick = TickPacket(ROBOT, 2)
    part = tick.packet.unpack(tick.pack(5.0, 70.0, math.nan, -1, inputs, output), tick.packet.fingerprint)
    scalars = {name: float(value[0]) for name, value in part.items() if len(value) == 1}
    assert math.isnan(scalars.pop("cycle"))
    assert scalars == {
        "now": 5.0, "wall": 70.0, "answer": -1.0, "mode": list(Mode).index(Mode.DAMPING), "armed": 0.0, "fault": 1.0,
        "estop": 1.0, "command_age": 0.1, "policy_age": 0.2, "hardware_age": 0.3,
    }  # fmt: skip
    assert part["command"].tolist() == [0.5, -0.5]
    assert part["followed"].tolist() == [0.25, 0.0]


@pytest.mark.parametrize("changes", [{"name": "other"}, {"joints": ("right", "left")}, {"joints": ("left", "middle")}])
def test_another_robot_or_order_of_joints_is_refused(changes):
    other = replace(ROBOT, **changes)
    with pytest.raises(WireError, match="fingerprint"):
        StatePacket(other).unpack(STATE.pack(0.0, False, reading()), STATE.packet.fingerprint, 0.0)
    with pytest.raises(WireError, match="other joints"):
        CommandPacket(other).unpack(COMMAND.pack(0.0, JointCommand.zero(2)), COMMAND.packet.fingerprint)
    with pytest.raises(WireError, match="fingerprint"):  # also where the packet is short
        StatePacket(other).unpack(STATE.pack(0.0, False, None), STATE.packet.fingerprint, 0.0)


def test_another_policy_is_refused():
    other = PolicyPackets(ROBOT, CONTRACT, "4567")
    with pytest.raises(WireError, match="another policy"):
        other.asked(POLICY.ask(1, True, reading(), np.zeros(2)), POLICY.input.fingerprint)
    contract = SimpleNamespace(command=CONTRACT.command, observation=SimpleNamespace(width=4), settings={})
    wider = PolicyPackets(ROBOT, contract, "0123")
    assert wider.input.fingerprint == POLICY.input.fingerprint
    assert wider.output.fingerprint != POLICY.output.fingerprint


def test_kinds_are_not_mistaken_for_each_other():
    prints = [packet.fingerprint for packet in (STATE.packet, COMMAND.packet, POLICY.input, POLICY.output)]
    assert len({*prints, TickPacket(ROBOT, 2).packet.fingerprint, TickPacket(ROBOT, 3).packet.fingerprint}) == 6
    assert all(0 <= fingerprint < 2**32 for fingerprint in prints)  # fits into data_offset


def test_a_fingerprint_stays_what_it_is():
    """Two computers with other versions of Python must agree on it."""
    assert Packet("kind", {"a": 1, "b": 2}, ("robot", "joint")).fingerprint == 0xDC0D51A6


@pytest.mark.parametrize("packet", [STATE.packet, COMMAND.packet, POLICY.input, POLICY.output])
@pytest.mark.parametrize("change", [-1, 1, None])
def test_a_wrong_size_is_refused(packet, change):
    size = 0 if change is None else packet.size + change
    with pytest.raises(WireError, match=f"{size} values instead of {packet.size}"):
        packet.unpack([0.0] * size, packet.fingerprint)


@given(st.lists(anything, max_size=40))
def test_whatever_comes_is_a_packet_or_refused(data):
    """Bytes of the right fingerprint and any content never raise anything else."""
    for read in (
        lambda: STATE.unpack(data, STATE.packet.fingerprint, 0.0),
        lambda: COMMAND.unpack(data, COMMAND.packet.fingerprint),
        lambda: POLICY.asked(data, POLICY.input.fingerprint),
        lambda: POLICY.answered(data, POLICY.output.fingerprint, 0.0),
    ):
        with contextlib.suppress(WireError):
            read()


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.5])
@pytest.mark.parametrize("packet", ["state", "asked", "answered"])
def test_a_number_that_counts_must_be_whole(packet, bad):
    """NaN in a signal is for the monitor to judge; in a counter it would be an exception in the control loop."""
    read, layout, field = {
        "state": (lambda data: STATE.unpack(data, STATE.packet.fingerprint, 0.0), STATE.packet, "sequence"),
        "asked": (lambda data: POLICY.asked(data, POLICY.input.fingerprint), POLICY.input, "number"),
        "answered": (lambda data: POLICY.answered(data, POLICY.output.fingerprint, 0.0), POLICY.output, "number"),
    }[packet]
    values = {name: np.zeros(where.stop - where.start) for name, where in layout._slices.items()}
    data = layout.pack(**{**values, field: bad})
    with pytest.raises(WireError, match="no whole number"):
        read(data)


def test_a_field_must_be_given():
    with pytest.raises(KeyError, match="kp"):
        COMMAND.packet.pack(cycle=0.0, position=np.zeros(2), velocity=np.zeros(2))


def test_parts_do_not_share_memory_with_the_message():
    data = COMMAND.pack(0.0, JointCommand.zero(2))
    _, command = COMMAND.unpack(data, COMMAND.packet.fingerprint)
    data[1] = 5.0
    assert command.position[0] == 0.0


def reading():
    zero = np.zeros(2)
    return RobotState(zero, zero, zero, np.array([1.0, 0, 0, 0]), np.zeros(3), sequence=1, stamp=0.0)
