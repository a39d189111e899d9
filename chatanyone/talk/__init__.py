"""Who talks: turns, interruption, voices, minds and ears of a live session. Async; knows no network but HTTP services."""
