"""The live server around `chatanyone.stream` and `chatanyone.talk`: transport, signalling, limits, safety, metrics."""
