"""Motion to pixels: begins at keypoints and meshes, ends at frames."""
