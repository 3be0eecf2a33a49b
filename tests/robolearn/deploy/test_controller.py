"""The state machine: every cell of the table, every refusal, and what is sent to the drives on the way."""

import numpy as np
import pytest

from robolearn.config import ConfigError
from robolearn.deploy.checks import Reaction, Reason
from robolearn.deploy.controller import Controller
from robolearn.deploy.modes import DRIVEN, TRANSITIONS, Internal, Mode, Request

from .kit import DT, POSE, J, Rig, make_policy, make_robot, only

L, S, R, P, D, E = Mode.IDLE, Mode.STAND, Mode.READY, Mode.POLICY, Mode.DAMPING, Mode.ESTOP
NO = None
REQUESTS = {  # in good order, and armed where that is possible
    #                     IDLE STAND READY POLICY DAMPING ESTOP
    Request.ARM:          (L,  NO,   NO,   NO,    NO,     NO),
    Request.STAND:        (S,  NO,   NO,   S,     NO,     NO),
    Request.START_POLICY: (NO, NO,   P,    NO,    NO,     NO),
    Request.STOP:         (D,  D,    D,    D,     D,      E),
    Request.ESTOP:        (E,  E,    E,    E,     E,      E),
    Request.RESET:        (NO, NO,   NO,   NO,    L,      L),
}  # fmt: skip
REACTIONS = {  # what a tick that finds this leads to
    Reaction.WARN:        (L,  S,    R,    P,     D,      E),
    Reaction.RAMP_DOWN:   (L,  S,    R,    P,     D,      E),
    Reaction.STAND:       (L,  S,    R,    S,     D,      E),
    Reaction.DAMPING:     (D,  D,    D,    D,     D,      E),
    Reaction.ESTOP:       (E,  E,    E,    E,     E,      E),
}  # fmt: skip
CAUSES = {
    Reaction.WARN: {"state": {"temperature": np.full(J, 75.0)}},
    Reaction.RAMP_DOWN: {"command_age": 9.0},
    Reaction.STAND: {"state": {"battery": 0.01}},
    Reaction.DAMPING: {"monitor_age": 9.0},
    Reaction.ESTOP: {"estop": True},
}
MODES = list(Mode)
ROBOT = make_robot(battery={"reaction": "stand", "debounce": 0.0})


def cells(table):
    return [(trigger, mode, row[i]) for trigger, row in table.items() for i, mode in enumerate(MODES)]


def stiff_command(out):
    return out.command.kp.any()


@pytest.mark.parametrize(("request_", "mode", "after"), cells(REQUESTS))
def test_every_request_in_every_mode(request_, mode, after):
    rig = Rig(ROBOT).to(mode)
    if request_ is Request.STAND and mode is L:
        rig.ask(Request.ARM)
    answer = rig.ask(request_)
    assert answer.accepted == (after is not None)
    assert answer.reason
    out = rig.tick()
    assert out.mode is (after or mode)
    assert stiff_command(out) == (out.mode in DRIVEN)
    if after is None:
        assert "not possible" in answer.reason


@pytest.mark.parametrize(("reaction", "mode", "after"), cells(REACTIONS))
def test_every_reaction_in_every_mode(reaction, mode, after):
    rig = Rig(ROBOT).to(mode)
    if mode is L:
        rig.ask(Request.ARM)  # unarmed it would only report: see test_monitor.py
    out = rig.tick(**CAUSES[reaction])
    assert out.mode is after
    assert stiff_command(out) == (after in DRIVEN)
    if mode in (D, E):
        assert not rig.ask(Request.STAND).accepted


def test_ramp_done_leads_from_stand_to_ready_only():
    assert [mode for mode in Mode if Internal.RAMP_DONE in TRANSITIONS[mode]] == [S]
    assert TRANSITIONS[S][Internal.RAMP_DONE] is R


def test_the_table_has_no_way_into_motion_but_these():
    ways = {(mode, trigger, to) for mode, row in TRANSITIONS.items() for trigger, to in row.items() if to in DRIVEN}
    assert ways == {
        (L, Request.STAND, S), (S, Internal.RAMP_DONE, R), (R, Request.START_POLICY, P),
        (P, Request.STAND, S), (P, Internal.TRIP_STAND, S),
    }  # fmt: skip


def test_strings_are_understood_and_nonsense_is_refused():
    rig = Rig().to(L)
    assert rig.ask("arm").accepted
    for nonsense in ("jump", "ramp_done", "trip_stand", "", None, 3, ["arm"]):
        assert not rig.ask(nonsense).accepted
    assert "possible in idle: arm, stand, stop, estop" in rig.ask("ramp_done").reason


def test_stand_needs_arm_and_arm_ends_with_every_change():
    rig = Rig().to(L)
    assert rig.ask(Request.STAND) == (False, "stand refused: not armed")
    rig.ask(Request.ARM)
    assert rig.tick().armed
    rig.ask(Request.STOP)
    assert not rig.tick().armed
    assert rig.ask(Request.RESET).accepted
    assert rig.ask(Request.STAND) == (False, "stand refused: not armed")


def test_a_stop_and_the_way_back_between_two_ticks_do_not_use_the_old_set_point():
    rig = Rig().to(R)
    rig.position = POSE + 0.15  # somebody leans on the robot
    rig.tick()
    for request in (Request.STOP, Request.RESET, Request.ARM, Request.STAND):
        assert rig.ask(request).accepted
    measured = rig.position.copy()
    command = rig.tick().command
    assert np.abs(command.position - measured).max() < 1e-3
    assert command.kp == pytest.approx(np.full(J, 50.0 * DT))  # gains grow from zero within 1 s


def test_nothing_starts_without_a_running_loop_but_stops_are_heard():
    controller = Controller(make_robot(), make_policy())
    assert controller.request(Request.ARM, 0.0).reason == "arm refused: the control loop is not running"
    rig = Rig().to(L)
    for late in (0.2, -1.0, np.nan):
        assert not rig.controller.request(Request.ARM, rig.now + late).accepted
    assert rig.controller.request(Request.STOP, rig.now + 99.0).accepted
    assert rig.controller.request(Request.ESTOP, np.nan).accepted


def test_nothing_starts_before_a_state_arrived():
    rig = Rig(make_robot(state_stale={"mode": "off"}))
    rig.run(20, state=None)
    assert rig.ask(Request.ARM).reason == "arm refused: no valid state of the robot was ever received"


def test_start_policy_needs_a_policy_that_lives():
    rig = Rig(policy=None).to(R)
    assert rig.ask(Request.START_POLICY).reason == "start_policy refused: no policy is loaded"
    rig = Rig().to(R)
    rig.tick(policy_age=np.inf)
    assert rig.mode is R
    assert "the policy's heartbeat is inf s old" in rig.ask(Request.START_POLICY).reason


@pytest.mark.parametrize(
    "changes", [{"temperature": np.full(J, 75.0)}, {"battery": 0.15}, {"temperature": np.full(J, np.nan)}]
)
@pytest.mark.parametrize("mode", [L, R])
def test_warm_or_empty_refuses_the_start(mode, changes):
    rig = Rig().to(mode)
    rig.tick(state=changes)
    answer = rig.ask(Request.ARM if mode is L else Request.START_POLICY)
    assert not answer.accepted
    assert "too warm or too empty" in answer.reason


@pytest.mark.parametrize("mode", [D, E])
@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"estop": True}, "not clear: estop"),
        ({"state": {"velocity": np.array([0.6, 0.0])}}, "joints still move (0.6 rad/s, limit 0.5)"),
        ({"monitor_age": 9.0}, "not clear: heartbeat_monitor"),
        ({"state": {"orientation": np.array([0.0, 1.0, 0.0, 0.0])}}, "not clear: fall"),
        ({"fault": "boom"}, "not clear: process_fault"),
    ],
)
def test_reset_needs_slow_joints_and_all_causes_cleared(mode, what, reason):
    rig = Rig().to(mode)
    rig.tick(**what)
    answer = rig.ask(Request.RESET)
    assert not answer.accepted
    assert reason in answer.reason
    rig.tick()
    assert rig.ask(Request.RESET).accepted
    out = rig.run(50)
    assert out.mode is L
    assert not out.armed
    assert not stiff_command(out)
    assert not out.command.kd.any()


def test_reset_needs_a_living_robot():
    rig = Rig().to(E)
    rig.run(20, state=None)
    assert "not clear: state_stale" in rig.ask(Request.RESET).reason


def test_stand_ramps_from_the_measured_joints_slowly_with_growing_gains():
    rig = Rig()
    rig.position = np.array([-0.7, 0.9])
    rig.to(S)
    np.testing.assert_allclose(rig.out.command.position, [-0.7, 0.9], atol=1e-3)
    assert (rig.out.command.kp <= 0.5 + 1e-9).all()
    ticks, before = 1, rig.out.command
    while rig.mode is S:
        out = rig.tick().command
        speed = np.abs(out.position - before.position).max() / DT
        assert speed <= 0.5 + 1e-6
        assert (out.kp - before.kp <= 0.5 + 1e-9).all()
        assert (out.kp >= before.kp).all()
        before, ticks = out, ticks + 1
    # 1.3 rad at 0.5 rad/s, with the smooth step's peak of 1.5: 3.9 s.
    assert ticks == pytest.approx(390, abs=1)
    np.testing.assert_allclose(before.position, POSE)
    np.testing.assert_array_equal(before.kp, 50.0)
    assert rig.mode is R


def test_stand_starts_at_the_joints_of_its_first_tick_not_of_the_last_idle_one():
    rig = Rig().to(L)
    rig.ask(Request.ARM)
    rig.ask(Request.STAND)
    rig.position = POSE + 0.2
    np.testing.assert_allclose(rig.tick().command.position, POSE + 0.2, atol=1e-3)


def test_stand_takes_two_seconds_even_when_nothing_is_to_be_done():
    rig = Rig().to(S)
    rig.run(198)
    assert rig.mode is S
    rig.run(3)
    assert rig.mode is R


def test_stand_starts_inside_the_soft_range():
    rig = Rig()
    rig.position = np.array([1.15, -1.15])
    rig.to(S)
    assert np.abs(rig.out.command.position).max() <= 1.0


@pytest.mark.parametrize("how", [{"estop": True}, {"monitor_age": 9.0}])
@pytest.mark.parametrize("mode", [S, R, P])
def test_after_a_stop_the_ramp_starts_at_the_joints_and_no_old_set_point_is_replayed(mode, how):
    rig = Rig().to(mode)
    rig.run(20)
    out = rig.tick(**how)
    assert out.mode in (D, E)
    rig.run(3)
    rig.position = np.array([-0.9, 0.8])  # it sank
    rig.run(3)
    assert rig.ask(Request.RESET).accepted
    rig.tick()
    assert rig.ask(Request.ARM).accepted
    assert rig.ask(Request.STAND).accepted
    out = rig.tick()
    np.testing.assert_allclose(out.command.position, [-0.9, 0.8], atol=1e-3)
    assert (out.command.kp <= 0.5 + 1e-9).all()
    assert out.mode is S


def test_a_stalled_loop_stops_instead_of_jumping_ahead():
    rig = Rig().to(S)
    assert rig.tick(elapsed=0.2).mode is D
    assert rig.found(Reason.LOOP_STALLED)


def test_a_late_tick_moves_no_further_than_one_on_time():
    rig = Rig().to(S)
    rig.run(50)
    before = rig.out.command.position
    on_time = np.abs(rig.tick().command.position - before)
    before = rig.out.command.position
    late = np.abs(rig.tick(elapsed=0.045).command.position - before)
    np.testing.assert_allclose(late, on_time, rtol=0.1, atol=1e-6)


def test_estop_during_the_ramp():
    rig = Rig().to(S)
    rig.run(50)
    assert rig.ask(Request.ESTOP) == (True, "now estop")
    out = rig.tick()
    assert (out.mode, stiff_command(out), out.stop_reason) == (E, False, "operator: estop")
    assert out.events[0].reason is Reason.ESTOP
    np.testing.assert_array_equal(out.command.kd, 3.0)


def test_policy_blends_in_from_the_pose_that_was_held():
    rig = Rig().to(R)
    rig.ask(Request.START_POLICY)
    out = rig.tick(result=None)
    np.testing.assert_array_equal(out.command.position, POSE)  # it has not answered
    np.testing.assert_array_equal(out.command.kp, 50.0)
    seen = [rig.tick(result={"joint_target": POSE + 0.4}).command for _ in range(60)]
    np.testing.assert_allclose(seen[0].position, POSE + 0.4 * 0.02)
    np.testing.assert_allclose(seen[24].position, POSE + 0.2)
    np.testing.assert_allclose(seen[24].kp, 40.0)
    np.testing.assert_allclose(seen[24].kd, 1.5)
    np.testing.assert_allclose(seen[59].position, POSE + 0.4)
    np.testing.assert_allclose(seen[59].kp, 30.0)


def test_between_outputs_the_last_target_is_held():
    rig = Rig().to(P)
    rig.run(60)
    target = rig.tick(result={"joint_target": POSE + 0.15}).command.position
    np.testing.assert_array_equal(rig.tick(result=None).command.position, target)
    np.testing.assert_array_equal(rig.tick(result=None).command.position, target)


def test_one_bad_target_is_held_over_and_two_brake():
    rig = Rig().to(P)
    rig.run(60)
    held = rig.tick(result={}).command.position
    out = rig.tick(result={"joint_target": np.array([np.nan, 0.0])})
    np.testing.assert_array_equal(out.command.position, held)
    assert rig.tick(result={"joint_target": np.array([np.inf, 0.0])}).mode is D


def test_an_output_from_before_the_start_is_not_used():
    rig = Rig().to(R)
    old = rig.result(joint_target=POSE + 0.3)
    rig.tick(result=None)
    rig.ask(Request.START_POLICY)
    for _ in range(2):
        np.testing.assert_array_equal(rig.tick(result=old).command.position, POSE)


def test_a_second_start_does_not_remember_the_first():
    rig = Rig().to(P)
    rig.run(60)
    rig.ask(Request.STAND)
    rig.run(300, result=None)
    assert rig.mode is R
    rig.ask(Request.START_POLICY)
    np.testing.assert_array_equal(rig.tick(result=None).command.position, POSE)


def test_from_the_policy_standing_begins_at_its_last_command_with_its_gains():
    rig = Rig().to(P)
    rig.run(60)
    held = rig.out.command
    rig.ask(Request.STAND)
    out = rig.tick()
    assert out.mode is S
    np.testing.assert_allclose(out.command.position, held.position, atol=1e-3)
    np.testing.assert_allclose(out.command.kp, 30.0 + 0.2)  # from 30 to 50 in 1 s
    rig.run(250)
    assert rig.mode is R


def test_a_first_target_far_away_falls_back_to_standing():
    rig = Rig().to(R)
    rig.ask(Request.START_POLICY)
    out = rig.tick(result={"joint_target": POSE + np.array([0.6, 0.0])})
    assert out.mode is S
    assert "left" in out.stop_reason
    np.testing.assert_allclose(out.command.position, POSE)


def test_idle_sends_nothing_and_damping_only_brakes():
    out = Rig().to(L).tick()
    assert not any(getattr(out.command, name).any() for name in ("velocity", "kp", "kd", "torque"))
    out = Rig().to(D).tick()
    np.testing.assert_array_equal(out.command.kd, 3.0)
    assert not out.command.kp.any()


def test_the_first_tick_without_a_state_is_harmless():
    out = Rig().tick(state=None)
    assert out.mode is L
    np.testing.assert_array_equal(out.command.position, POSE)
    assert not out.command.kd.any()


def test_output_says_what_was_wanted_and_what_was_sent():
    rig = Rig().to(P)
    rig.run(60)
    out = rig.tick(result={"joint_target": np.array([1.5, -0.3])})
    assert out.wanted.position[0] == 1.5
    assert out.command.position[0] == pytest.approx(0.4)  # 0.3, and 0.1 rad a tick


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("inputs", [None, "inputs", 3])
def test_whatever_breaks_inside_brakes(mode, inputs):
    rig = Rig().to(mode)
    rig.now += DT
    out = rig.controller.step(rig.state(), None, inputs, rig.now)
    assert out.mode is (E if mode is E else D)
    assert not stiff_command(out)
    assert (out.command.kd > 0).all()
    assert out.events[-1].reason is Reason.PROCESS_FAULT
    assert "internal error" in out.stop_reason or mode in (D, E)


@pytest.mark.parametrize("mode", MODES)
def test_a_button_counts_also_in_a_tick_that_breaks(mode, monkeypatch):
    rig = Rig().to(mode)
    monkeypatch.setattr(rig.controller.monitor, "check", lambda *_, **__: 1 / 0)
    assert rig.tick(estop=True).mode is E


def test_a_limit_that_is_met_too_long_brakes_in_the_same_tick():
    rig = Rig(only(Reason.SOFT_RANGE)).to(P)
    rig.run(80, result={"joint_target": np.array([0.95, -0.3])})
    for _ in range(9):
        out = rig.tick(result={"joint_target": np.array([1.05, -0.3])})
    assert out.mode is D
    assert not stiff_command(out)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"robot": "a1"}, "made for 'a1'"),
        ({"joints": ("left", "rihgt")}, "missing ['right'], unknown ['rihgt']"),
        ({"joints": ("right", "left")}, "wrong order"),
        ({"joints": ("left", "left")}, "missing ['right']"),
        ({"dt": 0.01}, "policy dt: 0.01 s, but robot 'twin' runs policies at 0.02 s"),
        ({"kp": np.array([30.0, 0.0])}, "policy kp: 0 for joint 'right'; must be above 0"),
        ({"kp": np.array([30.0, 90.0])}, "at most 80"),
        ({"kd": np.array([-0.1, 1.0])}, "policy kd: -0.1 for joint 'left'; must be at least 0"),
        ({"kp": np.full(3, 30.0)}, "policy kp: expected shape (2,), got (3,)"),
        ({"kd": np.array([np.nan, 1.0])}, "policy kd: must be finite"),
        ({"action_clip": 0.0}, "policy action_clip: must be positive"),
        ({"command_range": np.array([[1.0, -1.0]])}, "command_range"),
        ({"observation_mean": np.zeros(2)}, "policy observation_mean: expected shape (3,)"),
        ({"observation_std": -np.ones(3)}, "negative standard deviation"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused_at_the_start(changes, message):
    with pytest.raises(ConfigError) as error:
        Controller(make_robot(), make_policy(**changes))
    assert message in str(error.value)
