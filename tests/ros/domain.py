"""ROS domains for tests: nobody hears the nodes of another test, or of one that ended a moment ago."""

import os
import socket
import sys

from robolearn_ros import transport

DOMAINS = range(10, 100)
_claim = None
_last = DOMAINS[os.getpid() % len(DOMAINS)]


def enter_new_domain():
    """Move this process, and those that it starts from now on, into a domain that no test process on this machine uses.

    The last one is free again; its turn comes when all others were used.
    """
    global _claim, _last
    for step in range(1, len(DOMAINS) + 1):
        domain = DOMAINS[(_last - DOMAINS.start + step) % len(DOMAINS)]
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0robolearn-tests/domain{domain}")
        except OSError:
            claim.close()
            continue
        if _claim is not None:
            _claim.close()
        _claim, _last = claim, domain
        os.environ["ROS_DOMAIN_ID"] = str(domain)
        return
    raise RuntimeError(f"all ROS domains from {DOMAINS.start} to {DOMAINS.stop - 1} are used by other test processes")


os.environ["AMENT_PREFIX_PATH"] = sys.prefix
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
transport.choose(os.environ)
