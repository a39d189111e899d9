"""Audio, image and video files."""
