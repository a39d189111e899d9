"""MediaPipe behind small typed functions: pictures in, landmarks in picture pixels out. Offline and quiet."""

from chatanyone.vision.faces import CHEEKS, Face, detect_faces, face_landmarks, yaw_asymmetry
from chatanyone.vision.hands import Hand, detect_hands
from chatanyone.vision.pose import PoseLandmarks, detect_pose
from chatanyone.vision.scores import FaceScores, Scores
from chatanyone.vision.segmentation import person_mask, person_mask_in, pose_mask

__all__ = [
    "CHEEKS", "Face", "FaceScores", "Hand", "PoseLandmarks", "Scores", "detect_faces", "detect_hands", "detect_pose",
    "face_landmarks", "person_mask", "person_mask_in", "pose_mask", "yaw_asymmetry",
]
