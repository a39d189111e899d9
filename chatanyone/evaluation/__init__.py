"""`chatanyone evaluate`: how good the films are, measured on portraits, voices and clips, as tables with their uncertainty.

`bars` and `tables` hold one module for each question; each has pure functions of numbers and a ``measure(session)`` that
feeds them. Definitions with sources: docs/metrics.md.
"""
