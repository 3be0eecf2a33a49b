"""ROS 2 nodes: they carry messages to ``robolearn.deploy`` and ``hardware`` and decide nothing themselves."""

import os

# Fast DDS 3.2 shares memory between the processes of a computer: after one was killed, others crashed at their own end
# (2 of 12 runs). Over UDP one did in about 30. Whoever sets the variable decides.
os.environ.setdefault("FASTDDS_BUILTIN_TRANSPORTS", "UDPv4")
