"""robolearn: from a robot's description file to a policy that runs on the machine.

This package imports nothing heavy by itself, so that ``robolearn.deploy`` stays usable on a robot's computer.
"""

from robolearn.version import __version__

__all__ = ["__version__"]
