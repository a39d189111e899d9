"""The bars: one module each, ``TITLE`` and ``measure(session) -> Outcome``."""
