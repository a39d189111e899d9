"""What `chatanyone.portrait` is made of: framing, matte, plate, body keypoints, storage."""
