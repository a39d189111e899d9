"""The paper's tables on the inputs at hand: one module each, ``TITLE``, ``NEEDS`` and ``measure(session) -> Outcome``."""
