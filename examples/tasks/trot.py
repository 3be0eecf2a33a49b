"""A reward for trotting."""

from torch import Tensor

from sim.state import RobotState
from sim.tasks import reward


@reward
def trot(s: RobotState, *, command: float = 0.1) -> Tensor:
    """1 while exactly one diagonal pair of feet (order FL, FR, RL, RR) carries the robot and it is asked to move."""
    front_left, front_right, rear_left, rear_right = s.foot_contact.unbind(1)
    diagonal = (front_left == rear_right) & (front_right == rear_left) & (front_left != front_right)
    return (diagonal & (s.command[:, :2].norm(dim=1) > command)).float()
