"""Audio to motion: coefficients, keypoints and meshes; no images, no files of users, no sockets."""
