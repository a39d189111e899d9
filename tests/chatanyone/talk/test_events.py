from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from chatanyone.stream.types import SessionState
from chatanyone.talk import commands, events
from chatanyone.talk.commands import (AddText, CancelResponse, ClearInput, CommitInput, CreateResponse, PushToTalk,
                                      SessionChanges, TurnDetection, UpdateSession, parse, read_changes)
from chatanyone.talk.fields import CommandError

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "live.md"
_SAMPLES: dict[Any, Any] = {str: "x", int: 3, SessionState: SessionState.THINKING, bool: True}


def all_events() -> list[events.Event]:
    """One of each that `events` can make."""
    made = []
    for name, make in inspect.getmembers(events, inspect.isfunction):
        hints = get_type_hints(make)
        if name.startswith("_") or make.__module__ != events.__name__ or hints.get("return") != events.Event:
            continue
        arguments = {parameter: _SAMPLES.get(hints[parameter], {}) for parameter in inspect.signature(make).parameters}
        if name == "error":
            arguments = {"fault": CommandError("no", param="p", event_id="e")}
        made.append(make(**arguments))
    return [event for event in made if "event_id" in event]


def test_every_event_is_json_with_a_type_and_an_id_of_its_own() -> None:
    made = all_events()
    assert len(made) >= 24
    for event in made:
        assert json.loads(json.dumps(event)) == event and event["type"] and event["event_id"].startswith("event_")
    assert len({event["event_id"] for event in made}) == len({event["type"] for event in made}) == len(made)


def test_every_event_and_command_is_documented() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    missing = [name for name in [*(event["type"] for event in all_events()), *commands._READERS] if f"`{name}`" not in text]
    assert not missing


@pytest.mark.parametrize(("message", "command"), [
    ('{"type": "response.create"}', CreateResponse()),
    ('{"type": "response.create", "response": {"instructions": "be brief"}}', CreateResponse("be brief")),
    ('{"type": "response.cancel", "response_id": "resp_1"}', CancelResponse()),
    ('{"type": "output_audio_buffer.clear"}', CancelResponse()),
    ('{"type": "input_audio_buffer.clear"}', ClearInput()),
    (b'{"type": "input_audio_buffer.commit"}', CommitInput()),
    ('{"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": '
     '[{"type": "input_text", "text": "  hi \\ud800 "}]}}', AddText("hi ?")),
    ('{"type": "session.update", "session": {"type": "realtime", "mode": "say", "style": null, "dials": {"pose": 1, '
     '"groups": {"brows": 0.5}}}}',
     UpdateSession(SessionChanges("say", style="", dials={"pose": 1.0}, groups={"brows": 0.5}))),
    ('{"type": "session.update", "session": {"audio": {"input": {"turn_detection": null}}}}',
     UpdateSession(SessionChanges(turns=PushToTalk()))),
    ('{"type": "session.update", "session": {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.4, '
     '"silence_duration_ms": 300, "create_response": false}}, "output": {"voice": "male"}}}}',
     UpdateSession(SessionChanges(voice="male", turns=TurnDetection(0.4, 300, False, None)))),
])
def test_messages_are_understood(message: str | bytes, command: commands.Command) -> None:
    assert parse(message) == (command, None)


@pytest.mark.parametrize(("message", "sentence"), [
    ("", "a message must be one JSON object, this is not JSON"),
    (b"\xff", "a message must be one JSON object, this is not JSON"),
    ("[" * 5000, "a message must be one JSON object, this is not JSON"),
    ("[1]", "a message must be one JSON object with a 'type'"),
    ("{}", "unknown event null; known here: session.update, conv"),
    ('{"type": "response.make"}', 'unknown event "response.make"; known here'),
    ('{"type": {}}', "unknown event dict; known"),
    ("x" * 40_000, "a message may have 32768 characters, this one has 40000"),
    ('{"type": "session.update"}', "session.update needs an object 'session'"),
    ('{"type": "session.update", "session": {"mode": "sing"}}', "session.mode must be mirror or say or companion or chat"),
    ('{"type": "session.update", "session": {"mode": []}}', "session.mode must be mirror or say or companion or"),
    ('{"type": "session.update", "session": {"portrait": "x"}}', 'unknown setting "portrait" in session; known here'),
    ('{"type": "session.update", "session": {"dials": {"pose": 3}}}', "session.dials.pose must be a number from 0 to 2, not"),
    ('{"type": "session.update", "session": {"dials": {"pose": NaN}}}', "session.dials.pose must be a number from 0 to 2"),
    ('{"type": "session.update", "session": {"dials": {"pose": 1' + "0" * 400 + "}}}", "session.dials.pose must be a number"),
    ('{"type": "session.update", "session": {"dials": {"pose": true}}}', "session.dials.pose must be a number from 0 to 2"),
    ('{"type": "session.update", "session": {"dials": {"groups": []}}}', "session.dials.groups must be an object of names"),
    ('{"type": "session.update", "session": {"dials": 1}}', "session.dials must be an object, not 1"),
    ('{"type": "session.update", "session": {"language": 5}}', "session.language must be text, not 5"),
    ('{"type": "session.update", "session": {"instructions": "' + "x" * 5000 + '"}}', "session.instructions may have 4000"),
    ('{"type": "session.update", "session": {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}}',
     "session.audio.input.turn_detection.type must be server_vad, or turn_detection null for push-to-talk"),
    ('{"type": "session.update", "session": {"audio": {"input": {"turn_detection": {"create_response": 1}}}}}',
     "session.audio.input.turn_detection.create_response must be true or false, not 1"),
    ('{"type": "conversation.item.create", "item": {"type": "message", "role": "system", "content": []}}',
     "conversation.item.create takes a user's message with one part of type input_text"),
    ('{"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": [{"type": "input_text", '
     '"text": " "}]}}', "the message is empty; type some words"),
    ('{"type": "input_audio_buffer.append", "audio": ""}', "sound comes over the call's audio track"),
])
def test_nonsense_is_refused_with_a_sentence(message: str | bytes, sentence: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse(message)
    assert str(caught.value).startswith(sentence)
    json.dumps(events.error(caught.value)).encode()


def test_a_refusal_names_the_message_and_the_field() -> None:
    with pytest.raises(CommandError) as caught:
        parse('{"type": "session.update", "event_id": "mine", "session": {"dials": {"pose": -1}}}')
    about = events.error(caught.value)["error"]
    assert (about["event_id"], about["param"], about["code"]) == ("mine", "session.dials.pose", "invalid_value")


def test_a_call_brings_the_same_settings() -> None:
    assert read_changes({"mode": "mirror", "style": "s1", "dials": {"expression": 0.5}}) == SessionChanges(
        "mirror", style="s1", dials={"expression": 0.5})


def test_what_is_no_number_is_not_sent() -> None:
    event = events.stats({"fps": 15.0, "lead_ms": float("nan"), "offset_ms": float("inf")})
    assert event["stats"] == {"fps": 15.0} and json.loads(json.dumps(event, allow_nan=False)) == event
