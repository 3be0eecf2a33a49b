"""Tasks: YAML files of named, weighted terms."""

from sim.tasks import costs, rewards, terminations
from sim.tasks.config import ActionConfig, TaskConfig, list_tasks, load_task
from sim.tasks.terms import cost, reward, termination

__all__ = [
    "ActionConfig",
    "TaskConfig",
    "cost",
    "costs",
    "list_tasks",
    "load_task",
    "reward",
    "rewards",
    "termination",
    "terminations",
]
