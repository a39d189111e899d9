"""Speech features: Whisper-style log-mel and the encoder behind it."""
