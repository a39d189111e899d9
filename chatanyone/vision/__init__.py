"""MediaPipe behind small typed functions."""
