"""Robots behind one driver: links to drives, a simulated robot, a loopback fake, faults to inject, robot files."""
