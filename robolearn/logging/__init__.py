"""What a run writes and shows: CSV and TensorBoard logs, learning curves, one live progress line."""
