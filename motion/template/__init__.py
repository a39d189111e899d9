"""3DMM head and hands: coefficients to keypoints and meshes."""
