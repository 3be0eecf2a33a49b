"""Robot descriptions: a YAML file beside a model, read into one immutable ``Robot``."""

from sim.robots.loader import list_robots, load_robot
from sim.robots.robot import Foot, MirrorJoint, Robot

__all__ = ["Foot", "MirrorJoint", "Robot", "list_robots", "load_robot"]
