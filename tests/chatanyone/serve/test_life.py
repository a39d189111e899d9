from __future__ import annotations

from chatanyone.live_config import LimitsConfig
from chatanyone.serve.life import Life

LIMITS = LimitsConfig(session_s=600, idle_s=15, connect_s=20)


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def life() -> tuple[Life, Clock]:
    clock = Clock()
    return Life(LIMITS, clock), clock


def test_who_never_connects() -> None:
    one, clock = life()
    clock.now_s += 20
    assert one.over() is None
    clock.now_s += 0.1
    assert "No way was found" in str(one.over())


def test_who_falls_silent() -> None:
    one, clock = life()
    one.connect()
    for second in range(60):
        clock.now_s += 1
        one.received(100.0 * second)
        assert one.over() is None
    clock.now_s += 14
    one.received(5900.0)  # nothing new
    assert one.over() is None
    clock.now_s += 2
    assert one.over() == "Nothing came from the browser any more."
    one.received(6000.0)
    assert one.over() is None


def test_who_has_had_the_time() -> None:
    one, clock = life()
    one.connect()
    clock.now_s += 599
    one.received(1.0)
    assert one.over() is None and one.age_s == 599
    clock.now_s += 2
    assert one.over() == "The call has reached the server's limit of 10 minutes."
