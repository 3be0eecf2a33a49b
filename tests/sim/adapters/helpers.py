"""A task without chance, so that what one environment does can be compared with what many do."""

import dataclasses

from sim.disturbances import DisturbanceConfig
from sim.tasks import ActionConfig, load_task

COMMAND = [0.5, -0.2, 0.3]


def calm_task(episode_s=0.2):
    """Walking on flat ground without randomisation, disturbances, noise and delay."""
    task = load_task("velocity_flat")
    return dataclasses.replace(
        task,
        observations=dataclasses.replace(
            task.observations, policy=dataclasses.replace(task.observations.policy, measured=False)
        ),
        actions=ActionConfig(),
        randomization={},
        disturbances=DisturbanceConfig(),
        episode_s=episode_s,
    )
