import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from link_fakes import JOINTS, RecordingLink, reading, robot_file, same, stiff

from hardware.base import RobotDriver
from hardware.joints import JointMap, Motor
from robolearn.config import ConfigError

NAMES = [f"joint_{i}" for i in range(6)]


@st.composite
def wirings(draw):
    return [
        Motor(name, draw(st.sampled_from([1, -1])), draw(st.floats(-7, 7)))
        for name in draw(st.permutations(NAMES[: draw(st.integers(1, 6))]))
    ]


def wired():
    return [Motor("ankle", -1, 0.5), Motor("hip", 1, -0.25), Motor("knee", -1, 0.0)]


def test_a_reading_is_sorted_signed_and_shifted():
    state = JointMap(wired(), JOINTS).to_joints(
        reading(
            position=np.array([0.7, 0.1, 0.3]), velocity=np.array([1.0, 2.0, 3.0]), torque=np.array([4.0, 5.0, 6.0])
        )
    )
    np.testing.assert_allclose(state.position, [0.35, -0.3, -0.2])
    np.testing.assert_array_equal(state.velocity, [2.0, -3.0, -1.0])
    np.testing.assert_array_equal(state.torque, [5.0, -6.0, -4.0])
    np.testing.assert_array_equal(state.temperature, reading().temperature[[1, 2, 0]])
    for name in ("orientation", "angular_velocity", "acceleration", "sequence", "stamp", "battery"):
        np.testing.assert_array_equal(getattr(state, name), getattr(reading(), name))


def test_a_command_goes_the_other_way_and_gains_keep_their_sign():
    sent = JointMap(wired(), JOINTS).to_motors(
        stiff(position=np.array([0.35, -0.3, -0.2]), kp=np.array([1.0, 2.0, 3.0]), kd=np.array([4.0, 5.0, 6.0]))
    )
    np.testing.assert_allclose(sent.position, [0.7, 0.1, 0.3])
    np.testing.assert_array_equal(sent.kp, [3.0, 1.0, 2.0])
    np.testing.assert_array_equal(sent.kd, [6.0, 4.0, 5.0])
    np.testing.assert_allclose(sent.velocity, [-0.6, 0.2, -0.4])
    np.testing.assert_allclose(sent.torque, [-0.9, 0.3, -0.6])


@given(wirings(), st.data())
def test_to_the_motors_and_back_changes_nothing(motors, data):
    joints = data.draw(st.permutations([motor.joint for motor in motors]))
    wiring = JointMap(motors, joints)
    command = stiff(len(motors))
    sent = wiring.to_motors(command)
    back = wiring.to_joints(
        reading(count=len(motors), position=sent.position, velocity=sent.velocity, torque=sent.torque)
    )
    np.testing.assert_allclose(back.position, command.position, atol=1e-12)
    np.testing.assert_array_equal(back.velocity, command.velocity)
    np.testing.assert_array_equal(back.torque, command.torque)


@given(wirings(), st.data())
def test_what_a_drive_computes_is_the_same_torque_in_either_frame(motors, data):
    """tau = kp (q_d - q) + kd (dq_d - dq) + tau_ff, seen by the motors, is the joints' law with the motors' signs."""
    joints = data.draw(st.permutations([motor.joint for motor in motors]))
    wiring, count = JointMap(motors, joints), len(motors)

    def law(command, state):
        return command.kp * (command.position - state.position) + command.kd * (command.velocity - state.velocity)

    raw, command = reading(count=count), stiff(count, kp=7.0)
    torque = law(wiring.to_motors(command), raw)
    seen = wiring.to_joints(reading(count=count, torque=torque)).torque
    np.testing.assert_allclose(seen, law(command, wiring.to_joints(raw)), atol=1e-12)


def test_a_robot_that_reports_no_temperature():
    state = JointMap(wired(), JOINTS).to_joints(reading(temperature=np.zeros(0)))
    assert state.temperature.size == 0


@pytest.mark.parametrize(
    ("motors", "message"),
    [
        (["hip", "knee"], "joint 'ankle' has no motor"),
        (["hip", "knee", "ankle", "knee"], "joint 'knee' has 2 motors"),
        (["hip", "knee", "ankel"], "'ankel': not in the robot file. Did you mean 'ankle'"),
        (["hip", "knee", "ankle", "toe"], "'toe'"),
        ([], "joint 'hip' has no motor"),
    ],
)
def test_names_that_do_not_match_are_refused(clock, motors, message):
    link = RecordingLink(motors)
    with pytest.raises(ConfigError, match=message), RobotDriver(link, robot_file(), clock):
        pass
    assert link.calls == ["open", "close"]
    assert link.sent == []


@pytest.mark.parametrize(("direction", "offset"), [(0, 0.0), (2, 0.0), (1, np.nan), (-1, np.inf)])
def test_bad_motors_are_refused(direction, offset):
    with pytest.raises(ConfigError, match="'hip'"):
        Motor("hip", direction, offset)


@pytest.mark.parametrize(
    "name", ["position", "velocity", "torque", "orientation", "angular_velocity", "acceleration", "temperature"]
)
@pytest.mark.parametrize("size", [1, 5])
def test_readings_of_a_wrong_size_are_refused(name, size):
    with pytest.raises(ValueError, match=f"{name} of shape"):
        JointMap(wired(), JOINTS).to_joints(reading(**{name: np.zeros(size)}))


def test_the_fake_can_tell_packets_apart():
    assert same(reading(), reading())
    assert not same(reading(), reading(battery=0.5))
