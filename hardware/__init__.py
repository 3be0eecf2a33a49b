"""Robots behind one driver: vendor links, a simulated robot, a loopback fake, and fault injection. See docs/hardware.md."""
