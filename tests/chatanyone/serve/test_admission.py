from __future__ import annotations

import pytest

from chatanyone.serve.admission import MOST_WAITING, Admission
from chatanyone.serve.limits import MOST_CLIENTS, TokenBuckets
from chatanyone.serve.refusals import Refused


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def refused(admission: Admission, client: str) -> Refused:
    with pytest.raises(Refused) as caught:
        admission.enter(client)
    return caught.value


def test_the_one_too_many_is_told_its_place_and_when_to_come_back() -> None:
    admission = Admission(2, 10.0, Clock())
    admission.enter("a")
    admission.enter("b")
    first, second = refused(admission, "c"), refused(admission, "d")
    assert (first.status, first.position, first.retry_s) == (503, 1, 10.0)
    assert (second.position, second.retry_s) == (2, 20.0)
    assert "2 conversations at a time and is full; you are number 2" in str(second)
    response = second.response()
    assert response.headers["Retry-After"] == "20" and b'"position": 2' in bytes(response.body)  # type: ignore[arg-type]


def test_places_are_kept_and_a_newcomer_does_not_overtake() -> None:
    clock = Clock()
    admission = Admission(1, 10.0, clock)
    admission.enter("a")
    assert refused(admission, "b").position == 1
    assert refused(admission, "c").position == 2
    clock.now_s = 9
    assert refused(admission, "b").position == 1 and admission.waiting == 2
    admission.leave()
    assert refused(admission, "new").position == 3
    assert refused(admission, "c").position == 2
    admission.enter("b")
    assert admission.taken == 1


def test_who_does_not_come_back_loses_the_place() -> None:
    clock = Clock()
    admission = Admission(1, 10.0, clock)
    admission.enter("a")
    refused(admission, "b")
    admission.leave()
    clock.now_s = 20.5
    admission.enter("late")
    assert admission.waiting == 0


def test_the_queue_is_bounded() -> None:
    admission = Admission(1, 10.0, Clock())
    admission.enter("a")
    for number in range(MOST_WAITING):
        refused(admission, f"client {number}")
    assert "so is its queue" in str(refused(admission, "one more")) and admission.waiting == MOST_WAITING


def test_a_server_that_stops_takes_nobody() -> None:
    admission = Admission(1, 10.0, Clock())
    admission.draining = True
    assert "about to stop" in str(refused(admission, "a"))


def test_tokens_come_back_in_time() -> None:
    clock = Clock()
    buckets = TokenBuckets(3, 0.5, clock)
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 0]
    assert buckets.take("a") == pytest.approx(2.0)
    assert buckets.take("b") == 0  # everybody has their own
    clock.now_s = 2.0
    assert buckets.take("a") == 0 and buckets.take("a") > 0
    clock.now_s = 1000
    assert [buckets.take("a") for _ in range(4)][:3] == [0, 0, 0]


def test_buckets_do_not_grow_without_end() -> None:
    buckets = TokenBuckets(3, 0.5, Clock())
    for number in range(MOST_CLIENTS + 50):
        buckets.take(str(number))
    assert len(buckets._buckets) == MOST_CLIENTS
