from __future__ import annotations

import re

import pytest

from chatanyone.talk import companion
from chatanyone.talk.companion import answer, known_name
from chatanyone.talk.history import Message


class Chat:
    """A conversation with the script."""

    def __init__(self) -> None:
        self.history: list[Message] = []

    def say(self, text: str, speech_s: float | None = None) -> str:
        self.history.append(Message("user", text, speech_s=speech_s))
        said = answer(self.history)
        self.history.append(Message("assistant", said))
        return said


def test_it_greets_and_asks_for_the_name_and_remembers_it() -> None:
    chat = Chat()
    chat.history.append(Message("assistant", answer([])))
    assert "name?" in chat.history[0].text
    assert "Maria" in chat.say("maria")
    chat.say("how are you?")
    assert chat.say("Do you know what is my name?") == "Your name is Maria, you told me."
    assert "Tom" in chat.say("Call me Tom, please")
    assert known_name(chat.history) == "Tom"


@pytest.mark.parametrize("said", ["yes", "Hello", "I am tired", "thanks"])
def test_what_is_no_name_is_none(said: str) -> None:
    assert known_name([Message("assistant", "What is your name?"), Message("user", said)]) is None


@pytest.mark.parametrize(("said", "pattern"), [
    ("Are you a real person?", "script|beforehand"), ("what can you do", "mirror|slider"), ("Who are you?", "script"),
    ("tell me a joke", "framed"), ("What time is it?", "clock"), ("goodbye", "Goodbye|soon"), ("thank you!", "welcome"),
    ("how are you?", "How are you"), ("do you record me?", "script|record"), ("Why?", "script|wonder"),
    ("Is water wet?", "script"), ("I bought a green bicycle", "script"), ("你好吗", "script"),
])
def test_it_answers_small_talk(said: str, pattern: str) -> None:
    assert re.search(pattern, Chat().say(said))


def test_the_same_question_gets_another_answer_next_time() -> None:
    chat = Chat()
    assert chat.say("how are you?") != chat.say("how are you?")


def test_speech_that_nobody_understood_is_answered_to_its_length() -> None:
    chat = Chat()
    assert "short" in Chat().say("", 0.5) or "words" in Chat().say("", 0.5)
    assert "about 4 seconds" in chat.say("", 4.2)
    assert "20 seconds" in chat.say("", 20.0)
    assert len({chat.say("", 3.0) for _ in range(3)}) == 3


def test_no_sentence_has_a_hole() -> None:
    named, nameless = [Message("user", "my name is Bo")], [Message("user", "x")]
    variants = [pair for _, pair in companion._SCRIPT] + [companion._OTHERWISE, companion._NAMED, companion._HEARD_LONG]
    for sentence in (sentence for pair in variants for sentence in pair):
        for history in (named, nameless):
            filled = companion._filled(sentence, history[0], known_name(history))
            assert "{" not in filled and "  " not in filled and not filled.startswith(",")
