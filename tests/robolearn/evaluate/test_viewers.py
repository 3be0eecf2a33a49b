"""The session behind the viewers: commands, keys and state; the browser page served for a moment."""

import importlib.util

import mujoco
import numpy as np
import pytest

from robolearn.evaluate import viewers
from robolearn.evaluate.viewers import KEY_DOWN, KEY_LEFT, KEY_RIGHT, KEY_UP, Session
from robolearn.experiment import compose, make_env
from robolearn.rl import ActorCritic
from robolearn.rl.config import NetworkConfig


@pytest.fixture
def session():
    env = make_env(compose("a1_velocity_flat", overrides=["env.num_envs=1", "env.threads=1"]))
    policy = ActorCritic(env.obs_dims, env.num_actions, 0, NetworkConfig(actor_hidden=(4,), critic_hidden=(4,)))
    yield Session(env, policy, (0.5, 0.0, 0.0))
    env.close()


def test_keys_change_the_command(session):
    assert session.command == pytest.approx((0.5, 0.0, 0.0))
    for code in (KEY_UP, KEY_UP, KEY_DOWN, KEY_LEFT, ord("A"), ord("A"), ord("D"), 999):
        session.key(code)
    assert session.command == pytest.approx((0.6, 0.1, 0.2))
    session.key(KEY_RIGHT)
    session.key(ord("S"))
    assert session.command == (0.0, 0.0, 0.0)
    session.step()
    assert session.command == (0.0, 0.0, 0.0), "the command holds"
    session.key(ord("R"))
    assert session.env.commands.fixed is None


def test_the_shown_state_is_the_simulated_one(session):
    model = session.env.scene.display_model()
    data = mujoco.MjData(model)
    for _ in range(5):
        session.step()
    session.copy_to(model, data)
    np.testing.assert_array_equal(data.qpos, session.env.engine.field("qpos")[0].numpy())
    base = data.body(session.env.robot.base).xpos
    np.testing.assert_allclose(base, data.qpos[:3], atol=1e-12)
    assert "forward +0.50" in session.status()


@pytest.mark.skipif(importlib.util.find_spec("mjviser") is None, reason="needs robolearn[viewer]")
def test_the_browser_page_is_served_while_the_robot_walks(session, capsys):
    before = session.env.state.base_position.clone()
    viewers.show_browser(session, seconds=0.3, port=0)
    assert "http://localhost:" in capsys.readouterr().out
    assert not np.array_equal(before.numpy(), session.env.state.base_position.numpy())
