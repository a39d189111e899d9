"""Clauses, transcripts, server-sent events, the history."""

from __future__ import annotations

import pytest

from chatanyone.talk.clauses import LONGEST, Clauses, speakable
from chatanyone.talk.history import MOST_MESSAGES, History, Message
from chatanyone.talk.sse import MOST_BYTES, EventStream
from chatanyone.talk.transcript import Transcript


def split(text: str, size: int = 3) -> list[str]:
    clauses, pieces = Clauses(), []
    for start in range(0, len(text), size):
        pieces += clauses.push(text[start:start + size])
    return pieces + clauses.flush()


@pytest.mark.parametrize(("text", "pieces"), [
    ("Hello. How are you? Fine!", ["Hello. ", "How are you? ", "Fine!"]),
    ("Dr. Smith met J. R. Ewing, e.g. at 10:30.", ["Dr. Smith met J. R. Ewing, ", "e.g. at 10:30."]),
    ("It costs 3.14 or 1,000 euros. Really.", ["It costs 3.14 or 1,000 euros. ", "Really."]),
    ("It was in 1999. Then came more.", ["It was in 1999. ", "Then came more."]),
    ("Am 3. Oktober ist frei.", ["Am 3. Oktober ist frei."]),
    ("So did I. You too?", ["So did I. ", "You too?"]),
    ("He said \"Stop!\" Then he left.", ["He said \"Stop!\" ", "Then he left."]),
    ("Well… I see... Good.", ["Well… ", "I see... ", "Good."]),
    ("你好，我是安娜。今天天气很好！你呢？", ["你好，我是安娜。", "今天天气很好！", "你呢？"]),
    ("我今天早上去了商店，然后回家。", ["我今天早上去了商店，", "然后回家。"]),
    ("one\ntwo\n\nthree", ["one ", "two ", "three"]),
    ("1. First\n2. **Second**", ["1. First ", "2. Second"]),
    ("...", []),
    ("  \n ", []),
    ("", []),
])
def test_pieces(text: str, pieces: list[str]) -> None:
    for size in (1, 3, 1000):
        assert [piece.rstrip() for piece in split(text, size)] == [piece.rstrip() for piece in pieces]


def test_the_first_piece_ends_early_at_a_comma_later_ones_do_not() -> None:
    text = "Well then, I think so, although it depends on the weather, of course, and on you. Yes."
    assert split(text)[0] == "Well then, I think so, "
    later = "Sure. Well then, I think so, although it depends on the weather, of course. Yes."
    assert split(later)[1] == "Well then, I think so, although it depends on the weather, of course. "


def test_a_piece_comes_as_soon_as_its_end_is_sure() -> None:
    clauses = Clauses()
    assert clauses.push("I am here.") == []  # it could go on: here.com
    assert clauses.push(" ") == ["I am here. "]


def test_text_without_marks_is_cut_at_a_space() -> None:
    pieces = split("word " * 100)
    assert all(len(piece) <= LONGEST for piece in pieces) and "".join(pieces).split() == ["word"] * 100
    assert [len(piece.rstrip()) for piece in split("x" * 600)] == [240, 240, 120]


@pytest.mark.parametrize(("text", "spoken"), [
    ("**Bold** and `code` and _this_", "Bold and code and this"),
    ("See [the page](https://a.b/c) or https://d.e/f now", "See the page or now"),
    ("Nice 😀👍🏽 day", "Nice day"),
    ("# Title", "Title"),
    ("- item", "item"),
    ("a\x00b\x1b[31m", "a b [31m"),
    ("before ```python\nprint()\n``` after", "before after"),
])
def test_markup_is_not_spoken(text: str, spoken: str) -> None:
    assert speakable(text) == spoken


def test_words_are_laid_along_the_sound() -> None:
    transcript = Transcript()
    transcript.begin("aaaa bbbb cccc ")
    transcript.add(15_000)
    transcript.finish()
    assert [transcript.heard(at) for at in (0, 2000, 3000, 8000, 14_000)] == ["", "", "aaaa ", "aaaa bbbb ", "aaaa bbbb cccc "]
    transcript.begin("dddd ")
    assert transcript.heard(15_000) == "aaaa bbbb cccc "  # not a sample of it was played
    transcript.add(2000)
    assert transcript.heard(16_999) == "aaaa bbbb cccc "  # 1000 samples a letter so far: its middle is at 2500
    transcript.add(3000)
    assert transcript.heard(18_000) == "aaaa bbbb cccc dddd " == transcript.text


def test_ideographs_are_heard_one_by_one() -> None:
    transcript = Transcript()
    transcript.begin("你好安娜")
    transcript.add(8000)
    transcript.finish()
    assert [transcript.heard(at) for at in (500, 1500, 3500, 8000)] == ["", "你", "你好", "你好安娜"]


def test_the_history_is_bounded_and_forgets_what_was_not_heard() -> None:
    history = History()
    for index in range(100):
        history.add(Message("user", str(index), f"item_{index}"))
    assert len(history) == MOST_MESSAGES and history.newest is not None and history.newest.text == "99"
    answer = Message("assistant", "", "item_x")
    assert history.add(answer) == "item_99" and history.newest is answer
    history.remove(answer)
    assert history.last_id == "item_99"


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_event_streams_may_be_cut_anywhere(size: int) -> None:
    raw = ': hello\n\ndata: one\n\ndata:two\r\nid: 3\r\n\r\nevent: x\ndata: a\ndata: b\n\ndata: {"ü": 1}'.encode()
    stream, found = EventStream(), list[str]()
    for start in range(0, len(raw), size):
        found += stream.push(raw[start:start + size])
    assert found + list(stream.flush()) == ["one", "two", "a\nb", '{"ü": 1}']


def test_an_endless_event_is_refused() -> None:
    stream = EventStream()
    with pytest.raises(ValueError, match="too long"):
        for _ in range(MOST_BYTES // 1000 + 1):
            list(stream.push(b"data: " + b"x" * 1000))
