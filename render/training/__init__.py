"""Data engines and losses of the rendering nets."""
