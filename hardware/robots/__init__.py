"""Deployment files of the robots: limits, gains, rates and safety thresholds."""
