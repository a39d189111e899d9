"""Live sessions: the engine on a clock. Units of sound and pictures, one pacer a session, interruption."""
