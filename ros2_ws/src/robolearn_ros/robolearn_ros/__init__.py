"""ROS 2 nodes: they carry messages to ``robolearn.deploy`` and ``hardware`` and decide nothing themselves."""

import os

from robolearn_ros import transport

transport.choose(os.environ)
