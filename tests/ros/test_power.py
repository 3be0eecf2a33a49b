"""The power that a walking robot publishes, against an integral of what was recorded of its joints."""

import numpy as np
import pytest
from stack import ROOT, Stack
from test_recorder import wait_for_damping, wait_for_ticks

from robolearn.deploy.modes import Mode
from robolearn.replay.recording import load, mode_spans
from robolearn.replay.summary import summarize

CASES = {
    # policy, speed in m/s, least work in J, options of the simulation
    "a1": ("a1_velocity_flat", 0.5, 50.0, {}),
    "bruce": ("bruce_eco", 0.1, 3.0, {"hoisted": True}),
}


@pytest.fixture(scope="module", params=CASES)
def recording(request, tmp_path_factory):
    """The released policy walks in lock step; a control cycle is one physics step, so readings tell all."""
    folder = tmp_path_factory.mktemp("power")
    policy, speed, _, options = CASES[request.param]
    policy = ROOT / "policies" / policy / "policy.onnx"
    stack = Stack(folder, policy, robot=request.param, timestep=0.005, **options)
    stack.start("recorder_node", out=folder / "out", min_free_megabytes=0.0)
    with stack:
        wait_for_ticks(folder / "out")
        stack.walk(speed)
        stack.go_on(3.0)
        stack.ask("stop")
        stack.wait("damping")
        wait_for_damping(folder / "out")
    return load(folder / "out")


def test_the_energy_on_the_topic_is_the_integral_of_recorded_torque_and_velocity(recording):
    states, power = recording.states, recording.power
    ((begin, end, _),) = (span for span in mode_spans(recording) if span[2] is Mode.POLICY)
    _, ours, theirs = np.intersect1d(states.column("cycle"), power.column("cycle"), return_indices=True)
    walking = (states.time[ours] >= begin) & (states.time[ours] <= end)
    ours, theirs = ours[walking], theirs[walking]
    # A torque acts from the velocity of the reading before; a message that was lost leaves a pair out.
    step = np.flatnonzero(np.diff(states.column("sequence")[ours]) == 1)
    assert len(step) > 200
    work = np.abs(states["torque"][ours[step + 1]] * states["velocity"][ours[step]]).sum(axis=1) * 0.005
    energy = power.column("energy")[theirs]
    told = energy[step + 1] - energy[step]
    assert work.sum() > CASES[recording.robot.name][2]
    assert told.sum() == pytest.approx(work.sum(), rel=1e-9)
    assert power.column("power")[theirs[step + 1]] * 0.005 == pytest.approx(told, abs=1e-9)


def test_the_recording_tells_energy_and_mean_power(recording):
    found = {each.mode: each for each in summarize(recording).energy}
    walk, speed = found[Mode.POLICY], CASES[recording.robot.name][1]
    assert walk.energy == pytest.approx(walk.mean * walk.seconds)
    assert 1.0 < walk.mean < 200.0
    assert 0.8 * walk.mean / speed < walk.per_metre < 1.2 * walk.mean / (0.4 * speed)  # the command rose to it
    assert found[None].energy >= walk.energy
