"""The state against plain MuJoCo, and what spans steps against counting by hand."""

import mujoco
import numpy as np
import pytest
import torch

from sim.rotations import rotation_matrix


def random_step(env, seed=0):
    return env.step(torch.randn(env.num_envs, 12, generator=torch.Generator().manual_seed(seed)))


@pytest.fixture
def tumbling(make_env):
    """Environments that move in all directions, after a few steps."""
    start = {"yaw": [-3.0, 3.0], "linear_velocity": [-1.0, 1.0], "angular_velocity": [-3.0, 3.0], "height": [0.5, 0.5]}
    env = make_env({"randomization": {"initial_base": start}}, num_envs=4)
    for seed in range(3):
        random_step(env, seed)
    return env


def test_base_state_against_mujoco(tumbling):
    env, s = tumbling, tumbling.state
    model, data = env.scene.model, mujoco.MjData(env.scene.model)
    for i in range(env.num_envs):
        data.qpos[:] = env.engine.field("qpos")[i].numpy()
        data.qvel[:] = env.engine.field("qvel")[i].numpy()
        mujoco.mj_forward(model, data)
        rotation = data.xmat[env.scene.base_body].reshape(3, 3)
        velocity = np.zeros(6)
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, env.scene.base_body, velocity, 1)
        assert np.allclose(s.base_rotation[i], rotation, atol=1e-5)
        assert np.allclose(s.base_angular_velocity[i], velocity[:3], atol=1e-4)
        assert np.allclose(s.base_linear_velocity[i], velocity[3:], atol=1e-4)
        assert np.allclose(s.base_velocity_w[i, :3], data.qvel[:3], atol=1e-4)
        assert np.allclose(s.base_velocity_w[i, 3:], rotation @ velocity[:3], atol=1e-4)
        assert np.allclose(s.projected_gravity[i], rotation.T @ [0, 0, -1], atol=1e-5)
        assert float(s.heading[i]) == pytest.approx(np.arctan2(rotation[1, 0], rotation[0, 0]), abs=1e-4)
        assert np.allclose(s.base_position[i], data.qpos[:3], atol=1e-5)
        assert float(s.base_height[i]) == pytest.approx(data.qpos[2], abs=1e-5)
        assert np.allclose(s.joint_position[i], data.qpos[env.scene.joint_qpos], atol=1e-5)
        assert np.allclose(s.joint_velocity[i], data.qvel[env.scene.joint_qvel], atol=1e-4)


def test_feet_are_those_of_the_last_physics_step(make_env):
    env = make_env(num_envs=1)
    random_step(env)
    step, last = env.engine.step, {}

    def recording_step(**_):
        last.update(qpos=env.engine.field("qpos")[0].numpy().copy(), qvel=env.engine.field("qvel")[0].numpy().copy())
        step()

    env.engine.step = recording_step
    random_step(env, 1)
    model, data = env.scene.model, mujoco.MjData(env.scene.model)
    data.qpos[:], data.qvel[:] = last["qpos"], last["qvel"]
    mujoco.mj_forward(model, data)
    for f, foot in enumerate(env.robot.feet):
        geom = model.geom(foot.object).id
        velocity = np.zeros(6)
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_GEOM, geom, velocity, 0)
        assert np.allclose(env.state.foot_position[0, f], data.geom_xpos[geom], atol=1e-5)
        assert np.allclose(env.state.foot_velocity[0, f], velocity[3:], atol=1e-4)


def test_joint_acceleration_is_the_mean_over_the_control_step(tumbling):
    before = tumbling.state.joint_velocity.clone()
    random_step(tumbling, 9)
    s = tumbling.state
    assert torch.allclose(s.joint_acceleration, (s.joint_velocity - before) / 0.02)
    assert s.joint_acceleration.abs().max() > 1.0


def test_base_acceleration_is_the_mean_over_the_control_step(tumbling):
    before = tumbling.state.base_velocity_w.clone()
    random_step(tumbling, 9)
    s = tumbling.state
    assert torch.allclose(s.base_acceleration, (s.base_velocity_w - before) / 0.02)
    assert s.base_acceleration.abs().max() > 1.0


def test_a_falling_base_accelerates_with_gravity(make_env):
    env = make_env({"randomization": {"initial_base": {"height": [1.0, 1.0], "yaw": [0.5, 0.5]}}})
    for _ in range(5):
        env.step(torch.zeros(2, 12))
    assert torch.allclose(env.state.base_acceleration[:, 2], torch.tensor(-9.81), atol=0.5)


def test_knees_are_where_calf_and_thigh_meet(tumbling):
    model = tumbling.scene.model
    assert [model.body(int(body)).name for body in tumbling.scene.knee_bodies] == [
        f"{foot}_calf" for foot in ("FL", "FR", "RL", "RR")
    ]
    random_step(tumbling)
    thigh, foot = (
        tumbling.engine.field("xpos")[:, [model.body(f"{leg}_thigh").id for leg in ("FL", "FR", "RL", "RR")]],
        tumbling.state.foot_position,
    )
    knee, length = tumbling.state.knee_position, 0.2  # m, of thigh and calf of the A1
    assert torch.allclose((knee - thigh).norm(dim=-1), torch.tensor(length).double(), atol=1e-4)
    assert torch.allclose((knee - foot).norm(dim=-1), torch.tensor(length), atol=1e-4)


def test_actions_of_three_steps_are_kept(make_env):
    env = make_env()
    actions = [torch.full((2, 12), float(k)) for k in (1, 2, 30)]
    for action in actions:
        env.step(action)
    s = env.state
    assert torch.equal(s.action, torch.full((2, 12), 10.0))  # the clip of the task
    assert torch.equal(s.previous_action, actions[1])
    assert torch.equal(s.earlier_action, actions[0])


def test_air_time_is_counted_from_lift_off_to_touch_down(make_env):
    env = make_env({"randomization": {"initial_base": {"height": [0.1, 0.1]}}})
    s, steps = env.state, 0
    while not s.foot_contact.any():
        assert torch.allclose(s.foot_air_time, torch.full((2, 4), steps * 0.02), atol=1e-6)
        assert not s.foot_landed.any()
        env.step(torch.zeros(2, 12))
        steps += 1
        assert steps < 20
    assert 0.1 < steps * 0.02 < 0.2  # falling 0.1 m takes 0.14 s
    landed = s.foot_landed.clone()
    assert torch.equal(landed, s.foot_contact)
    assert torch.allclose(s.foot_last_air_time[landed], torch.tensor(steps * 0.02), atol=1e-6)
    assert (s.foot_air_time[landed] == 0).all()
    still = landed & s.foot_contact
    env.step(torch.zeros(2, 12))
    assert not (s.foot_landed & still & s.foot_contact).any()  # once per landing
    assert torch.allclose(s.foot_last_air_time[landed], torch.tensor(steps * 0.02), atol=1e-6)  # kept


def test_refresh_touches_only_the_given_environments(tumbling):
    env, s = tumbling, tumbling.state
    before = {name: value.clone() for name, value in s.state_dict().items()}
    s.refresh(torch.tensor([1]))
    others = torch.tensor([0, 2, 3])
    for name, value in s.state_dict().items():
        if value.shape[:1] == (env.num_envs,):
            assert torch.equal(value[others], before[name][others]), name
    for name in (
        "action",
        "previous_action",
        "earlier_action",
        "torque",
        "power",
        "joint_acceleration",
        "base_acceleration",
        "episode_step",
    ):
        assert (getattr(s, name)[1] == 0).all(), name
        assert (before[name][1] != 0).any() or name == "earlier_action", name


def test_no_tensor_of_the_state_is_the_simulator_s_own_memory(tumbling):
    env = tumbling
    live = {env.engine.field(name).untyped_storage().data_ptr() for name in ("qpos", "qvel", "sensordata", "ctrl")}
    for name, value in env.state.state_dict().items():
        assert value.untyped_storage().data_ptr() not in live, name


def test_reading_does_not_alias_a_float32_simulator(tumbling):
    """On engines that already are float32 a cast copies nothing; the state must copy by itself."""
    s = tumbling.state
    s._qpos, s._qvel, s._sensors = s._qpos.float(), s._qvel.float(), s._sensors.float()
    s.update()
    before = {name: value.clone() for name, value in s.state_dict().items()}
    for tensor in (s._qpos, s._qvel, s._sensors):
        tensor.fill_(123.0)
    for name, value in s.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_height_and_scan_follow_the_terrain(make_env, small_terrain):
    start = {"xy": [-3.0, 3.0], "yaw": [-3.0, 3.0], "height": [0.5, 0.5]}
    env = make_env({"terrain": small_terrain, "randomization": {"initial_base": start}}, num_envs=20)
    s = env.state
    ground = env.terrain.heights_at(s.base_position[:, :2])
    assert ground.abs().max() > 0.05
    assert torch.allclose(s.base_height, s.base_position[:, 2] - ground)
    grid = torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.0, 0.3]])
    scan = s.scan(grid)
    for i in range(20):
        for p, point in enumerate(grid):
            # the heading-aligned frame: the base's rotation without roll and pitch (there are none at the start)
            place = s.base_position[i] + rotation_matrix(s.base_quat[i]) @ torch.tensor([*point.tolist(), 0.0])
            expected = env.terrain.heights_at(place[:2]) - s.base_position[i, 2]
            assert float(scan[i, p]) == pytest.approx(float(expected), abs=1e-3)
    assert torch.allclose(s.scan(grid, torch.tensor([3, 1])), scan[[3, 1]])
