"""Perturbations: each against a closed form or a brute-force reference, with values of its own in every episode."""

import dataclasses
import math

import mujoco
import numpy as np
import pytest
import torch

from robolearn.config import ConfigError
from robolearn.evaluate.sim2sim.perturbations import (
    BIAS,
    NOISE,
    PERTURBATIONS,
    Size,
    Unsupported,
    apply,
    find,
    prepare,
    size_of,
    strengths,
)  # fmt: skip
from robolearn.evaluate.sim2sim.results import JOINT, NOMINAL
from robolearn.evaluate.sim2sim.simulators import SIMULATORS
from sim.environment import EnvConfig, TaskEnv
from sim.robots import load_robot
from sim.rotations import projected_gravity, rotation_matrix
from sim.tasks import load_task

torch.set_num_threads(1)
HERE = SIMULATORS["mujoco"]
A1 = load_robot("a1")
STEPS = 100
FLAT = sorted(set(PERTURBATIONS) - {"steps"})


def of(seed, count):
    """The first episodes of a seed."""
    return tuple((seed, episode) for episode in range(count))


@pytest.fixture
def stage():
    """``stage(values, decimation=4, seed=0)``: a stage with perturbations applied; a number is one for two episodes."""
    made = []

    def _make(values, decimation=4, seed=0, n=2):
        task = load_task("velocity_flat")
        task = dataclasses.replace(
            task,
            physics=dataclasses.replace(task.physics, decimation=decimation),
            actions=dataclasses.replace(task.actions, delay=(0, 0)),
            disturbances=dataclasses.replace(task.disturbances, push=None, force=None),
            randomization={},
            terminations={},
        )
        values = {
            name: np.broadcast_to(value, n if np.ndim(value) == 0 else len(value)) for name, value in values.items()
        }
        n = len(next(iter(values.values()))) if values else n
        env = TaskEnv(prepare(task, values, HERE), A1, EnvConfig(n, threads=1), seed=5)
        made.append(env)
        env.commands.fix(torch.tensor([0.5, 0.0, 0.2]))
        env.reset()
        return apply(values, env, HERE, of(seed, n), STEPS)

    yield _make
    for env in made:
        env.close()


def signals(stage):
    return stage.measured(stage.env.sensing.signals())


def drive(stage, steps, size=1.0):
    """Swing every joint; return (qpos, measured signals) after each step."""
    rows = []
    for t in range(steps):
        stage.before_step(t)
        stage.env.step(torch.full((stage.env.num_envs, 12), size * math.sin(0.7 * t)))
        rows.append((stage.env.engine.field("qpos").clone(), {k: v.clone() for k, v in signals(stage).items()}))
    return rows


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_the_table_is_in_order(name):
    p = PERTURBATIONS[name]
    assert p.description and p.label and p.name == name
    assert list(p.full) == sorted({*p.full, *p.quick}) and p.nominal not in p.full and p.quick
    low, high = p.limits
    assert all(low <= value <= high for value in (*p.full, *p.quick, p.nominal))
    if p.joint:
        assert low <= p.joint[0] <= p.nominal <= p.joint[1] <= high


def test_strengths_of_a_case():
    assert strengths(NOMINAL, 0.0, of(0, 3)) == {}
    np.testing.assert_array_equal(strengths("push", 7.0, of(0, 3))["push"], [7.0, 7.0, 7.0])
    few, many = strengths(JOINT, 0.0, of(4, 2)), strengths(JOINT, 0.0, of(4, 60))
    assert set(many) == set(FLAT)
    for name, values in many.items():
        low, high = PERTURBATIONS[name].joint
        assert low <= values.min() < values.max() <= high
        np.testing.assert_array_equal(values[:2], few[name])
        if name.endswith("latency"):
            assert not (values % 5).any()
    assert not np.allclose(strengths(JOINT, 0.0, of(5, 2))["push"], few["push"])
    assert abs(np.corrcoef(many["payload"], many["friction"])[0, 1]) < 0.4


def test_values_are_listed_for_the_a1_and_grow_with_the_robot():
    assert size_of(A1) == Size(1.0, 1.0)
    small = size_of(load_robot("bruce"))
    assert small == Size(0.37, 0.25), "4.646 of 12.45 kg; 8.5 of 33.5 N m"
    listed, scaled = strengths(JOINT, 0.0, of(4, 60)), strengths(JOINT, 0.0, of(4, 60), small)
    factors = {"payload": 0.37, "push": 0.37, "joint_friction": 0.25}
    for name, values in listed.items():
        np.testing.assert_allclose(scaled[name], values * factors.get(name, 1.0), err_msg=name)
    np.testing.assert_array_equal(strengths("push", 7.0, of(0, 2), small)["push"], [7.0, 7.0])


def test_wrong_names_and_values_are_refused():
    with pytest.raises(ConfigError, match=r"unknown perturbation 'frition'\. Did you mean 'friction'"):
        strengths("frition", 1.0, of(0, 1))
    with pytest.raises(ConfigError, match="Did you mean 'joint'"):
        find("jont")
    for value in (-1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match=r"perturbation 'friction': value \S+ is outside of \[0, inf\]"):
            strengths("friction", value, of(0, 1))


def test_nominal_values_change_nothing(stage):
    nothing = drive(stage({}), 50)
    nominal = drive(stage({name: PERTURBATIONS[name].nominal for name in FLAT}), 50)
    for (qpos, seen), (same, seen_too) in zip(nothing, nominal, strict=True):
        assert torch.equal(qpos, same)
        for signal, values in seen.items():
            torch.testing.assert_close(values, seen_too[signal], rtol=0, atol=1e-6)


def test_every_quick_value_changes_something(stage):
    nothing = drive(stage({}), 50)[-1]
    for name in FLAT:
        changed = drive(stage({name: PERTURBATIONS[name].quick[0]}), 50)[-1]
        pairs = [(nothing[0], changed[0]), *((nothing[1][key], changed[1][key]) for key in nothing[1])]
        assert not all(torch.allclose(a, b, atol=1e-4) for a, b in pairs), name


def test_friction_is_that_of_the_ground_in_each_episode(stage):
    s = stage({"friction": np.array([0.05, 0.9])})
    found = s.env.engine.expand("geom_friction")
    torch.testing.assert_close(found[:, s.env.scene.ground_geom, 0], torch.tensor([0.05, 0.9], dtype=torch.float64))
    others = [i for i in range(s.env.scene.model.ngeom) if i != s.env.scene.ground_geom]
    np.testing.assert_array_equal(found[1, others], s.env.scene.model.geom_friction[others])
    drive(s, 5, size=0.0)  # a robot on ice goes where it is pulled; friction holds the other
    pull = torch.tensor([20.0, 0.0, 0.0])  # N; the weight is 122 N
    s.forces.append(lambda step: pull.expand(2, 3))
    rows = drive(s, 50, size=0.0)
    assert rows[-1][0][0, 0] > 0.5 and rows[-1][0][1, 0].abs() < 0.1


def test_the_ground_carries_the_payload(stage):
    s = stage({"payload": np.array([0.0, 5.0])})
    drive(s, 150, size=0.0)
    weight = s.env.state.foot_force.sum(1) / 9.81
    nominal = float(s.env.scene.model.body_mass.sum())
    # the feet are pushed sideways too, so the sum of the sizes of their forces is a little above the weight
    assert weight.tolist() == pytest.approx([nominal, nominal + 5], rel=0.02)
    base = s.env.scene.base_body
    ratio = s.env.engine.expand("body_inertia")[1, base] / torch.as_tensor(s.env.scene.model.body_inertia[base])
    assert ratio.tolist() == pytest.approx([1 + 5 / float(s.env.scene.model.body_mass[base])] * 3)


def test_the_centre_of_mass_moves_forward(stage):
    s = stage({"center_of_mass": np.array([0.0, 0.08])})
    com = s.env.engine.field("subtree_com")[:, 1]
    s.env.engine.forward()
    model, base = s.env.scene.model, s.env.scene.base_body
    shift = 0.08 * float(model.body_mass[base] / model.body_mass.sum())
    assert (com[1] - com[0]).tolist() == pytest.approx([shift, 0, 0], abs=1e-9)


def test_weak_motors_stop_at_their_own_limit(stage):
    s = stage({"motor_strength": np.array([1.0, 0.4])})
    torque = s.env.actuators.torque(torch.full((2, 12), 9.0), torch.zeros(2, 12), torch.zeros(2, 12))
    torch.testing.assert_close(torque.amax(1), torch.tensor([33.5, 0.4 * 33.5], dtype=torch.float64))


def test_gains_scale_both_parts_of_the_torque(stage):
    s = stage({"gains": np.array([1.0, 1.5])})
    for target, velocity in ((0.1, 0.0), (0.0, 2.0)):
        torque = s.env.actuators.torque(
            torch.full((2, 12), target, dtype=torch.float64), torch.zeros(2, 12), torch.full((2, 12), velocity)
        )
        torch.testing.assert_close(torque[1], 1.5 * torque[0])
        assert torque[0].abs().min() > 0


def test_joint_friction_takes_torque_away_from_a_moving_joint(stage):
    s = stage({"joint_friction": np.array([0.0, 0.6])})
    velocity = torch.linspace(-1, 1, 12).repeat(2, 1)
    s.env.engine.field("qvel")[:, s.env.state.joint_v] = velocity.double()
    found = []
    step = s.env.engine.step
    s.env.engine.step = lambda **_: (found.append(s.env.engine.field("ctrl").clone()), step())
    s.env.step(torch.zeros(2, 12))
    wanted = -0.6 * (velocity[1] / 0.2).clamp(-1, 1).double()
    torch.testing.assert_close(found[0][1] - found[0][0], wanted, rtol=0, atol=1e-6)


def test_observations_are_exactly_as_old_as_asked(stage):
    """At a control step of one physics step, the reading of k steps ago is in the list of true ones."""
    s = stage({"observation_latency": np.array([0.0, 5.0, 15.0, 70.0])}, decimation=1)
    state = s.env.state
    truth = [torch.cat((state.joint_position, state.joint_velocity, state.base_angular_velocity, state.base_quat), 1)]
    for t in range(30):
        s.env.step(torch.full((4, 12), math.sin(0.3 * t)))
        s.env.commands.fix(torch.full((4, 3), float(t)))
        truth.append(
            torch.cat((state.joint_position, state.joint_velocity, state.base_angular_velocity, state.base_quat), 1)
        )
        seen = signals(s)
        found = torch.cat(
            [seen[k] for k in ("joint_position", "joint_velocity", "base_angular_velocity", "base_orientation")], 1
        )
        for row, age in enumerate((0, 1, 3, 14)):
            torch.testing.assert_close(found[row], truth[max(t + 1 - age, 0)][row], rtol=0, atol=0)
        assert (seen["command"] == t).all()


def test_observation_latency_counts_physics_steps_within_a_control_step(stage):
    fine = stage({"observation_latency": 0.0}, decimation=1)
    coarse = stage({"observation_latency": 10.0}, decimation=4)
    for t in range(6):
        action = torch.full((2, 12), math.sin(0.7 * t))
        coarse.env.step(action)
        history = []
        for _ in range(4):
            fine.env.step(action)
            history.append(signals(fine)["joint_position"].clone())
        torch.testing.assert_close(signals(coarse)["joint_position"], history[1], rtol=0, atol=1e-6)


def test_actions_act_exactly_as_late_as_asked(stage):
    """A robot whose targets are late moves like one that is given the old targets, at every physics step."""
    ages = (0, 1, 4, 11)
    late = stage({"action_latency": 5.0 * np.array(ages)}, decimation=4)
    plain = stage({}, decimation=1, n=4)
    goals = [torch.full((12,), math.sin(0.9 * t)) for t in range(10)]
    for t, goal in enumerate(goals):
        late.env.step(goal.expand(4, 12))
        for k in range(4 * t, 4 * t + 4):
            given = [goals[(k - age) // 4] if k >= age else torch.zeros(12) for age in ages]
            plain.env.step(torch.stack(given))
        torch.testing.assert_close(late.env.engine.field("qpos"), plain.env.engine.field("qpos"), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["observation_latency", "action_latency"])
def test_a_latency_between_two_physics_steps_is_refused(stage, name):
    with pytest.raises(
        ConfigError, match=f"{name}' in simulator 'mujoco': 7 ms is no multiple of its time step of 5 ms"
    ):
        stage({name: 7.0})


def angle_between(a, b):
    return 2 * (a * b).sum(1).abs().clamp(max=1).acos()


def test_noise_has_the_stated_size_and_is_new_at_every_step(stage):
    s = stage({"sensor_noise": np.array([2.0, 0.0])})
    true = s.env.sensing.signals()
    drawn = [s.measured(true) for _ in range(400)]
    for name, std in NOISE.items():
        values = torch.stack([seen[name] for seen in drawn])
        assert torch.equal(values[:, 1], true[name][1].expand_as(values[:, 1])) or name == "base_orientation"
        if name != "base_orientation":
            spread = (values[:, 0] - true[name][0]).std().item()
            assert spread == pytest.approx(2 * std, rel=0.1)
    turned = torch.stack([seen["base_orientation"][0] for seen in drawn])
    assert turned.norm(dim=1).tolist() == pytest.approx([1.0] * 400, abs=1e-5)
    angles = angle_between(turned.double(), true["base_orientation"][:1].double())
    assert angles.square().mean().sqrt().item() == pytest.approx(2 * 0.02 * math.sqrt(3), rel=0.1)
    assert torch.equal(drawn[0]["command"], true["command"])


def test_noise_is_paired_between_values_and_numbers_of_episodes(stage):
    one = stage({"sensor_noise": np.array([1.0])})
    three = stage({"sensor_noise": np.array([3.0, 1.0, 1.0])})
    for _ in range(3):
        name = "joint_velocity"
        small = one.measured(one.env.sensing.signals())[name] - one.env.sensing.signals()[name]
        large = three.measured(three.env.sensing.signals())[name] - three.env.sensing.signals()[name]
        torch.testing.assert_close(3 * small[0], large[0], rtol=0, atol=1e-5)
        assert not torch.allclose(large[1], large[2])


def test_a_bias_stays_through_the_episode_and_differs_between_joints_and_episodes(stage):
    s = stage({"sensor_bias": np.full(40, 1.0)})
    true = s.env.sensing.signals()
    first, later = s.measured(true), s.measured(true)
    for name, std in BIAS.items():
        assert torch.equal(first[name], later[name])
        if name != "base_orientation":
            offset = first[name] - true[name]
            assert offset.std().item() == pytest.approx(std, rel=0.2)
            assert len(offset.unique()) > 0.9 * offset.numel()


def test_a_push_has_its_impulse_direction_and_time(stage):
    forces = {}
    for impulse in (5.0, 20.0):
        s = stage({"push": np.full(6, impulse)}, n=6)
        rows = []
        for t in range(STEPS):
            s.before_step(t)
            rows.append(s.env.disturbances.external.clone())
        forces[impulse] = torch.stack(rows)
        total = forces[impulse].sum(0) * s.env.step_dt
        assert total.norm(dim=1).tolist() == pytest.approx([impulse] * 6, rel=1e-5)
        assert not forces[impulse][..., 2].any()
        for row in range(6):
            (on,) = np.nonzero(forces[impulse][:, row].norm(dim=1).numpy())
            assert len(on) == 5 and on[-1] - on[0] == 4  # 0.1 s
            assert 0.3 * STEPS <= on[0] <= 0.7 * STEPS
    torch.testing.assert_close(4 * forces[5.0], forces[20.0])
    angles = torch.atan2(forces[5.0].sum(0)[:, 1], forces[5.0].sum(0)[:, 0])
    assert angles.max() - angles.min() > 1


def test_a_push_reaches_the_base(stage):
    """In the air, where nothing else acts sideways, the momentum is the impulse."""
    s = stage({"push": np.array([0.0, 6.0])})
    s.env.engine.field("qpos")[:, 2] += 30.0
    place = s.env.engine.field("subtree_com")[:, 1]
    for t in range(STEPS):
        s.before_step(t)
        s.env.step(torch.zeros(2, 12))
    mass = float(s.env.scene.model.body_mass.sum())
    before = place.clone()
    s.env.engine.step(20)
    velocity = (place - before) / (20 * s.env.engine.timestep)
    assert (mass * velocity[:, :2]).norm(dim=1).tolist() == pytest.approx([0.0, 6.0], abs=0.02)


@pytest.mark.parametrize("more", [{}, {"payload": np.array([0.0, 4.0])}])
def test_a_slope_accelerates_like_gravity_that_leans(stage, more):
    s = stage({**more, "slope": np.array([25.0, 10.0])})
    env = s.env
    acceleration = env.engine.field("qacc")
    env.engine.field("ctrl")[:] = 2.0
    s.before_step(0)
    env.disturbances.update()
    env.engine.forward()
    uphill = s.draw("slope direction", 0.0, 2 * math.pi)
    true = s.measured(env.sensing.signals())["base_orientation"].double()
    for row, degrees in enumerate((25.0, 10.0)):
        lean = math.radians(degrees)
        horizontal = np.array([math.cos(uphill[row]), math.sin(uphill[row])]) * math.sin(lean)
        down = np.array([*-horizontal, -math.cos(lean)])
        task = env.task
        other = TaskEnv(task, A1, EnvConfig(1, threads=1))
        model = other.scene.model
        if more:
            factor = 1 + more["payload"][row] / model.body_mass[env.scene.base_body]
            model.body_mass[env.scene.base_body] *= factor
            model.body_inertia[env.scene.base_body] *= factor
        data = mujoco.MjData(model)
        model.opt.gravity[:] = 9.81 * down
        data.qpos[:], data.qvel[:] = env.engine.field("qpos")[row], env.engine.field("qvel")[row]
        data.ctrl[:] = 2.0
        mujoco.mj_forward(model, data)
        other.close()
        np.testing.assert_allclose(acceleration[row], data.qacc, rtol=1e-4, atol=1e-3)
        base = rotation_matrix(env.state.base_quat[row].double())
        np.testing.assert_allclose(projected_gravity(true[row]), base.T @ torch.as_tensor(down), atol=1e-6)


def test_the_steps_of_the_ground_have_the_asked_height(stage):
    s = stage({"steps": 7.0})
    x = torch.tensor([0.0, 1.15, 1.45, 1.75])
    for points in ((x, 0 * x), (-x, 0 * x), (0 * x, x), (0 * x, -x)):
        heights = s.env.terrain.heights_at(torch.stack(points, 1))
        assert (heights - heights[0]).tolist() == pytest.approx([0, 0.07, 0.14, 0.21], abs=1e-5)
    drive(s, 25, size=0.0)
    assert s.env.state.base_height.tolist() == pytest.approx([A1.target_height] * 2, abs=0.06)


@pytest.mark.parametrize("simulator", ["pybullet", "drake"])
def test_simulators_without_height_fields_say_so(simulator):
    with pytest.raises(Unsupported, match=f"perturbation 'steps': simulator {simulator!r} has no height fields"):
        prepare(load_task("velocity_flat"), strengths("steps", 4.0, of(0, 2)), SIMULATORS[simulator])


def test_steps_need_a_world_that_was_built_with_them(stage):
    s = stage({})
    with pytest.raises(ConfigError, match="'steps' in simulator 'mujoco': needs a world that was built with"):
        apply(strengths("steps", 4.0, of(0, 2)), s.env, HERE, of(0, 2), STEPS)


def test_an_engine_that_lacks_a_field_is_named_with_the_perturbation(stage, monkeypatch):
    s = stage({})

    def refuse(name):
        raise KeyError(f"no field {name!r} here")

    monkeypatch.setattr(s.env.engine, "expand", refuse)
    wanted = "perturbation 'friction': simulator 'drake' cannot apply it: no field 'geom_friction' here"
    with pytest.raises(Unsupported, match=wanted):
        apply(strengths("friction", 0.5, of(0, 2)), s.env, SIMULATORS["drake"], of(0, 2), STEPS)


def test_all_together_can_be_applied(stage):
    s = stage(strengths(JOINT, 0.0, of(0, 3)))
    rows = drive(s, 30, size=0.2)
    assert all(bool(torch.isfinite(value).all()) for value in (rows[-1][0], *rows[-1][1].values()))
    assert s.env.actuators.friction.unique().numel() == 3
