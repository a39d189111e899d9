"""Data engines and losses of the motion nets."""
