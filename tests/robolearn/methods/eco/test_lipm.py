"""The pendulum against numerical integration, its steps against the reduced model's maps."""

import math

import numpy as np
import pytest

from robolearn.methods.eco.lipm import (
    LEFT,
    RIGHT,
    Gait,
    Stepper,
    divergent,
    first_step_time,
    foothold,
    inwards,
    natural_rate,
    pendulum,
    smooth,
    steady_offset,
)

GAIT = Gait()
OMEGA = natural_rate(0.37)
VELOCITY = np.array([0.15, 0.03])


def runge_kutta(x, v, support, omega, t, steps=200):
    state, dt = np.array([x, v]), t / steps

    def slope(s):
        return np.array([s[1], omega**2 * (s[0] - support)])

    for _ in range(steps):
        a = slope(state)
        b = slope(state + dt / 2 * a)
        c = slope(state + dt / 2 * b)
        d = slope(state + dt * c)
        state = state + dt / 6 * (a + 2 * b + 2 * c + d)
    return state


def walk_one_step(x, v, velocity, stance, gait=GAIT):
    """The reduced model from touch-down to touch-down: state seen from the next foot."""
    place = foothold(divergent(x, v, OMEGA), velocity, gait, OMEGA, stance, gait.step_time)
    x, v = pendulum(x, v, 0.0, OMEGA, gait.step_time)
    return x - place, v, place


@pytest.mark.parametrize("t", [0.0, 0.1, 0.275, 0.9])
def test_pendulum_is_the_solution_of_its_equation(t):
    x, v = pendulum(0.04, -0.3, 0.01, OMEGA, t)
    assert np.allclose((x, v), runge_kutta(0.04, -0.3, 0.01, OMEGA, t), atol=1e-9)


def test_energy_of_the_pendulum_stays():
    """v^2 - omega^2 (x - p)^2 is the orbital energy of Kajita et al."""
    x, v = pendulum(0.04, -0.3, 0.01, OMEGA, 0.2)
    assert v**2 - OMEGA**2 * (x - 0.01) ** 2 == pytest.approx(0.3**2 - OMEGA**2 * 0.03**2)


def test_divergent_component_grows_away_from_the_support():
    x, v = np.array([0.02, -0.05]), np.array([0.1, 0.2])
    support = np.array([0.01, 0.03])
    later = divergent(*pendulum(x, v, support, OMEGA, 0.2), OMEGA)
    assert np.allclose(later, support + (divergent(x, v, OMEGA) - support) * math.exp(0.2 * OMEGA))


def test_natural_rate():
    assert natural_rate(9.81) == 1.0
    with pytest.raises(ValueError, match=r"height must be above 0 m, got 0"):
        natural_rate(0.0)


@pytest.mark.parametrize("stance", [LEFT, RIGHT])
def test_the_steady_gait_repeats_itself_with_the_wanted_steps(stance):
    offset = steady_offset(VELOCITY, GAIT, OMEGA, stance)
    place = foothold(offset, VELOCITY, GAIT, OMEGA, stance, GAIT.step_time)
    wanted = VELOCITY * GAIT.step_time + (0.0, inwards(stance) * GAIT.width)
    assert np.allclose(place, wanted)
    landed = offset * math.exp(OMEGA * GAIT.step_time) - place
    assert np.allclose(landed, steady_offset(VELOCITY, GAIT, OMEGA, 1 - stance))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("share", [1.0, 0.9, 0.8])
def test_eigenvalues_of_two_steps(axis, share):
    """Per step the convergent part has exp(-omega T), the divergent one what the feedback leaves: 0 if it is full."""
    gait = Gait(feedback=(share, share))

    def two_steps(x, v):
        for stance in (LEFT, RIGHT):
            x, v, _ = walk_one_step(x, v, VELOCITY, stance, gait)
        return np.array([x[axis], v[axis]])

    offset = steady_offset(VELOCITY, GAIT, OMEGA, LEFT)
    x0, v0, h = offset * 0.5, offset * 0.5 * OMEGA, 1e-6
    unit = np.eye(2)[axis]
    columns = [
        (two_steps(x0 + h * unit, v0) - two_steps(x0 - h * unit, v0)) / (2 * h),
        (two_steps(x0, v0 + h * unit) - two_steps(x0, v0 - h * unit)) / (2 * h),
    ]
    growth = math.exp(OMEGA * GAIT.step_time)
    values, wanted = np.linalg.eigvals(np.array(columns).T), [((1 - share) * growth) ** 2, growth**-2]
    assert np.allclose(np.sort(np.abs(values)), np.sort(wanted), atol=1e-6) and max(wanted) < 1.0


def test_large_errors_are_walked_off_within_the_limits():
    """As far as the feet reach; where a limit holds a step back, more than one step is needed."""
    rng, slow = np.random.default_rng(0), 0
    for _ in range(50):
        v = rng.uniform(-0.3, 0.3, 2)
        x = steady_offset(VELOCITY, GAIT, OMEGA, LEFT) + rng.uniform((-0.02, -0.033), (0.02, 0.028)) - v / OMEGA
        stance, errors = LEFT, []
        for _ in range(6):
            x, v, place = walk_one_step(x, v, VELOCITY, stance)
            assert abs(place[0]) <= GAIT.forward
            assert GAIT.sideways[0] <= inwards(stance) * place[1] <= GAIT.sideways[1]
            stance = 1 - stance
            errors.append(np.abs(divergent(x, v, OMEGA) - steady_offset(VELOCITY, GAIT, OMEGA, stance)).max())
        assert errors[-1] < 1e-9
        slow += errors[0] > 1e-3
    assert 0 < slow < 50


def test_a_fall_that_no_step_can_stop_is_not_hidden():
    """Beyond the capture limit for steps of the largest length the divergent component runs away."""
    x, v, stance = np.array([0.0, -0.07]), np.array([1.5, 0.0]), LEFT
    for _ in range(6):
        x, v, _ = walk_one_step(x, v, VELOCITY, stance)
        stance = 1 - stance
    assert divergent(x, v, OMEGA)[0] > 5.0


def test_weight_is_shifted_for_just_so_long_that_the_steady_gait_begins():
    t = first_step_time(GAIT, OMEGA)
    x, v = pendulum(GAIT.width / 2, 0.0, 0.0, OMEGA, t)  # from the right foot, towards the left one
    seen = divergent(x, v, OMEGA) - GAIT.width
    assert seen == pytest.approx(steady_offset((0.0, 0.0), GAIT, OMEGA, LEFT)[1])
    assert 0 < t < GAIT.step_time


def test_smooth_begins_and_ends_at_rest():
    h = 1e-5
    assert (smooth(-1.0), smooth(0.0), smooth(0.5), smooth(1.0), smooth(2.0)) == (0.0, 0.0, 0.5, 1.0, 1.0)
    for end in (0.0, 1.0):
        assert abs(smooth(end + h) - smooth(end - h)) / (2 * h) < 1e-8


@pytest.mark.parametrize("heading", [0.0, 2.0])
def test_swinging_foot_goes_from_where_it_was_to_its_foothold(heading):
    stepper = Stepper(GAIT, OMEGA, heading)
    turn = np.array([[math.cos(heading), -math.sin(heading)], [math.sin(heading), math.cos(heading)]])
    with pytest.raises(RuntimeError, match=r"call plan\(\) before swing\(\)"):
        stepper.swing()
    dt, start = 0.005, np.append(turn @ (-0.04, -0.15), 0.002)
    while stepper.steps < 1:  # the weight shifts: the foot comes back to where it was
        stepper.plan((0.0, 0.0), VELOCITY, start, heading)
        place, _ = stepper.swing()
        assert np.allclose(place[:2], start[:2]) and place[2] < 0.5 * GAIT.clearance
        stepper.advance(dt)
    assert stepper.stance == LEFT
    xi = steady_offset(VELOCITY, GAIT, OMEGA, LEFT) * math.exp(OMEGA * stepper.time)
    heights = []
    while stepper.steps < 2:
        stepper.plan(turn @ xi, VELOCITY, start, heading + 0.1)
        place, yaw = stepper.swing()
        if not heights:
            assert np.allclose(place, start, atol=1e-3) and yaw == pytest.approx(heading + 0.1, abs=1e-3)
        heights.append(place[2])
        end, end_yaw = stepper.swing(stepper.left)
        xi = xi * math.exp(OMEGA * dt)
        stepper.advance(dt)
    wanted = turn @ (VELOCITY * GAIT.step_time + (0.0, -GAIT.width))
    assert np.allclose(end, (*wanted, 0.0), atol=1e-9) and end_yaw == pytest.approx(heading)
    assert max(heights) == pytest.approx(GAIT.clearance + 0.001, abs=1e-3)
    assert stepper.stance == RIGHT


def test_heading_turns_the_steps():
    stepper = Stepper(GAIT, OMEGA)
    stepper.advance(0.05, yaw_rate=2.0)
    stepper.plan((0.0, 0.0), (0.0, 0.0), (0.0, 0.15, 0.0), 0.0)
    assert stepper.heading == pytest.approx(0.1)
    offset = -steady_offset((0.0, 0.0), GAIT, OMEGA, LEFT)[1]
    side = max(offset, GAIT.sideways[0])
    assert np.allclose(stepper.target, (-math.sin(0.1) * side, math.cos(0.1) * side))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"width": 0.5}, "width 0.5 m must lie within sideways"), ({"step_time": 0.0}, "must be above 0")],
)
def test_impossible_gaits_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Gait(**change)
