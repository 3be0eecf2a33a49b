"""Tasks: YAML files of named, weighted terms."""

from sim.tasks import costs, gait_rewards, rewards, terminations
from sim.tasks.config import ActionConfig, TaskConfig, list_tasks, load_task
from sim.tasks.terms import cost, reward, termination

__all__ = [
    "ActionConfig",
    "TaskConfig",
    "cost",
    "costs",
    "gait_rewards",
    "list_tasks",
    "load_task",
    "reward",
    "rewards",
    "termination",
    "terminations",
]
