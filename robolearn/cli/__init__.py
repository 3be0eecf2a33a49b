"""The ``robolearn`` command, one module per sub-command."""
