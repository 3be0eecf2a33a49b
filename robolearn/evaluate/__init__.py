"""Roll-outs of trained policies: metrics, intervals, plots, videos and reports."""
