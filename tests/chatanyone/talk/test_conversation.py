"""A conversation as the page sees it, on virtual time: answers, captions, modes, push-to-talk, faults of mind and voice."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest

from chatanyone.stream.types import Dials
from chatanyone.talk.commands import SessionChanges
from chatanyone.talk.companion import CompanionMind
from chatanyone.talk.fields import CommandError
from tests.helpers.talk import FakeParts, ScriptEar, ScriptMind, Talk, ToneVoice, hum, open_talk, silence, typed
from tests.helpers.virtual_time import run


def update(talk: Talk, **session: Any) -> None:
    talk.conversation.receive(json.dumps({"type": "session.update", "session": session}))


def test_a_typed_message_is_answered_and_captions_follow_what_is_played() -> None:
    async def main() -> Talk:
        talk = await open_talk(FakeParts())
        typed(talk, "hello")
        await talk.until(lambda: talk.all("response.done"))
        await talk.close()
        return talk

    talk = run(main())
    assert [name for name in talk.names() if not name.endswith("delta")] == [
        "session.created", "conversation.item.added", "chatanyone.state", "response.created", "chatanyone.state",
        "output_audio_buffer.started", "response.output_audio_transcript.done", "output_audio_buffer.stopped",
        "response.done", "chatanyone.state"]
    deltas = [(time, event["delta"]) for time, event in talk.events if event["type"].endswith("transcript.delta")]
    assert "".join(delta for _, delta in deltas).strip() == "One two three four five. Six seven eight nine ten."
    begun = talk.when("output_audio_buffer.started")
    for time, delta in deltas:
        if delta == "Six ":  # after "One two three four five. ", 24 letters of 0.1 s and half of its own
            assert 2.4 <= time - begun <= 2.8
    assert [event["state"] for event in talk.all("chatanyone.state")] == ["thinking", "speaking", "listening"]
    assert all(event["event_id"] for _, event in talk.events)
    json.dumps([event for _, event in talk.events])


def test_the_first_clause_is_spoken_while_the_mind_still_writes() -> None:
    async def main() -> Talk:
        talk = await open_talk(FakeParts(ScriptMind(["Well, ", "that is easy. "] + ["more words "] * 100, pause_s=0.1)))
        typed(talk, "hello")
        await talk.speaking()
        assert talk.parts.script.closed == 0 and talk.parts.voice.said == ["Well, that is easy. "]
        await talk.close()
        assert talk.parts.script.closed == 1
        return talk

    run(main())


def test_the_companion_greets_unless_told_not_to() -> None:
    async def main(greet: bool) -> Talk:
        talk = await open_talk(FakeParts(CompanionMind(), greet=greet))
        await talk.hear(silence(1.0))
        await talk.close()
        return talk

    assert run(main(True)).parts.voice.said[0].startswith("Hello! ")
    assert not run(main(False)).parts.voice.said


def test_speech_without_an_ear_is_answered_to_its_length() -> None:
    async def main() -> Talk:
        talk = await open_talk(FakeParts(CompanionMind()))
        await talk.hear(hum(3.0))
        await talk.hear(silence(0.7))
        stopped = talk.when("input_audio_buffer.speech_stopped")
        assert [time for time, event in talk.events if event.get("state") == "thinking"] == [stopped]
        await talk.until(lambda: talk.parts.voice.said)
        await talk.close()
        return talk

    assert run(main()).parts.voice.said[0] == "I listened to you for about 3 seconds. "


def test_chat_without_an_ear_says_once_that_it_cannot_understand() -> None:
    async def main() -> Talk:
        talk = await open_talk(FakeParts(mode="chat"))
        for _ in range(2):
            await talk.hear(np.concatenate([hum(1.0), silence(1.0)]))
        await talk.close()
        return talk

    talk = run(main())
    assert [event["message"] for event in talk.all("chatanyone.notice")] == [
        "this server has no transcription service, so what you say is not understood; type instead"]
    assert talk.all("chatanyone.state")[-1]["state"] == "listening" and not talk.parts.asked


def test_chat_without_an_ear_and_push_to_talk_asks_no_model_either() -> None:
    async def main() -> Talk:
        talk = await open_talk(FakeParts(mode="chat"))
        update(talk, audio={"input": {"turn_detection": None}})
        talk.conversation.receive('{"type": "input_audio_buffer.clear"}')
        await talk.hear(hum(1.0))
        talk.conversation.receive('{"type": "input_audio_buffer.commit"}')
        talk.conversation.receive('{"type": "response.create"}')
        await talk.hear(silence(1.0))
        await talk.close()
        return talk

    talk = run(main())
    assert talk.all("chatanyone.notice")[0]["code"] == "no_ear" and not talk.parts.asked
    assert talk.all("chatanyone.state")[-1]["state"] == "listening"


def test_speech_with_an_ear_becomes_the_minds_question() -> None:
    async def main() -> Talk:
        talk = await open_talk(FakeParts(mode="chat", ear=ScriptEar("what is this")))
        await talk.hear(np.concatenate([silence(1.0), hum(1.0), silence(3.0)]))
        await talk.close()
        return talk

    talk = run(main())
    assert [m.text for m in talk.parts.asked[0]] == ["what is this"]
    # What the ear got: the second of speech, a soft onset before and a little after.
    assert 1.3 <= len(talk.parts.ear.heard[0]) / 16_000 <= 1.6
    started, stopped = talk.all("input_audio_buffer.speech_started"), talk.all("input_audio_buffer.speech_stopped")
    assert started[0]["audio_start_ms"] == pytest.approx(1000, abs=40)
    assert stopped[0]["audio_end_ms"] == pytest.approx(2000, abs=40)
    assert started[0]["item_id"] == talk.all("conversation.item.added")[0]["item"]["id"]


def test_an_ear_without_words_leads_back_to_listening() -> None:
    async def main() -> Talk:
        talk = await open_talk(FakeParts(mode="chat", ear=ScriptEar("")))
        await talk.hear(np.concatenate([hum(1.0), silence(2.0)]))
        await talk.close()
        return talk

    talk = run(main())
    assert [event["state"] for event in talk.all("chatanyone.state")] == ["thinking", "listening"]
    assert not talk.parts.asked


def test_push_to_talk() -> None:
    async def main() -> Talk:
        talk = await open_talk(FakeParts(ear=ScriptEar("pressed words")))
        update(talk, audio={"input": {"turn_detection": None}})
        await talk.hear(hum(1.0))  # nobody pressed
        talk.conversation.receive('{"type": "input_audio_buffer.clear"}')
        await talk.hear(hum(0.7))
        talk.conversation.receive('{"type": "input_audio_buffer.commit"}')
        talk.conversation.receive('{"type": "response.create"}')
        await talk.speaking()
        talk.conversation.receive('{"type": "input_audio_buffer.clear"}')  # pressing again interrupts
        await talk.hear(silence(0.5))
        assert np.abs(talk.units[-1][1].sound).max() == 0
        await talk.close()
        return talk

    talk = run(main())
    assert "input_audio_buffer.speech_started" not in talk.names()
    assert [len(heard) / 16_000 for heard in talk.parts.ear.heard] == [0.7]
    assert [m.text for m in talk.parts.asked[0]] == ["pressed words"]
    assert talk.all("response.done")[0]["response"]["status"] == "cancelled"


def test_an_empty_commit_is_refused() -> None:
    async def main() -> Talk:
        talk = await open_talk(FakeParts())
        talk.conversation.receive('{"type": "input_audio_buffer.commit", "event_id": "mine"}')
        await talk.close()
        return talk

    fault = run(main()).all("error")[0]["error"]
    assert fault["message"] == "there is no sound to commit; is the microphone on?" and fault["event_id"] == "mine"


def test_say_speaks_what_was_typed_and_answers_no_speech() -> None:
    async def main() -> Talk:
        talk = await open_talk(FakeParts(mode="say"))
        typed(talk, "Say this.")
        await talk.until(lambda: talk.all("response.done"))
        await talk.hear(np.concatenate([hum(1.0), silence(1.0)]))
        await talk.close()
        return talk

    talk = run(main())
    assert talk.parts.voice.said == ["Say this. "] and not talk.parts.asked
    assert talk.all("chatanyone.state")[-1]["state"] == "listening"


def test_a_message_typed_while_the_avatar_speaks_comes_after_it() -> None:
    async def main() -> Talk:
        talk = await open_talk(FakeParts())
        typed(talk, "one")
        await talk.until(lambda: talk.all("response.output_audio_transcript.delta"))
        typed(talk, "two")
        await asyncio.sleep(0.2)
        await talk.close()
        return talk

    assert [(m.role, m.text) for m in run(main()).parts.asked[1]] == [("user", "one"), ("assistant", "One"), ("user", "two")]


def test_a_mind_that_fails_is_a_notice_an_apology_and_listening_again() -> None:
    async def main() -> Talk:
        talk = await open_talk(FakeParts(ScriptMind([], fault="the language model cannot be reached")))
        typed(talk, "hello")
        await talk.until(lambda: talk.all("response.done"))
        await talk.hear(silence(0.2))
        await talk.close()
        return talk

    talk = run(main())
    assert [(e["code"], e["message"]) for e in talk.all("chatanyone.notice")] == [
        ("mind_failed", "the language model cannot be reached")]
    assert talk.parts.voice.said == ["Sorry, I lost my train of thought."]
    done = talk.all("response.done")[0]["response"]
    assert done["status"] == "failed" and done["status_details"]["error"]["message"] == "the language model cannot be reached"
    assert talk.all("chatanyone.state")[-1]["state"] == "listening"


def test_a_voice_that_fails_is_a_notice_and_listening_again() -> None:
    async def main() -> Talk:
        talk = await open_talk(FakeParts(voice=ToneVoice(fault="the speech service hung")))
        typed(talk, "hello")
        await talk.until(lambda: talk.all("response.done"))
        typed(talk, "again")
        await talk.until(lambda: len(talk.all("response.done")) == 2)
        await talk.close()
        return talk

    talk = run(main())
    assert [e["code"] for e in talk.all("chatanyone.notice")] == ["voice_failed"] * 2
    assert talk.all("chatanyone.state")[-1]["state"] == "listening"
    assert [(m.role, m.text) for m in talk.parts.asked[1]] == [("user", "hello"), ("user", "again")]
    assert talk.parts.script.closed == 2


def test_a_fault_of_the_program_ends_the_answer_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(ToneVoice):
        def speak(self, text: str, language: str, name: str) -> Any:
            raise RuntimeError("oh")

    async def main() -> Talk:
        talk = await open_talk(FakeParts(voice=Broken()))
        typed(talk, "hello")
        await talk.until(lambda: talk.all("response.done"))
        await talk.hear(silence(0.1))
        await talk.close()
        return talk

    talk = run(main())
    assert talk.all("chatanyone.notice")[0]["code"] == "broken" and "an answer broke" in caplog.text
    assert talk.all("chatanyone.state")[-1]["state"] == "listening"


def test_settings_change_and_are_told() -> None:
    async def main() -> Talk:
        talk = await open_talk(FakeParts())
        given: list[Dials] = []
        talk.session.set_dials = given.append  # type: ignore[assignment]
        update(talk, mode="say", dials={"pose": 0.5, "groups": {"brows": 2}})
        update(talk, language="de", audio={"output": {"voice": "male"}})
        update(talk, dials={"gesture": 0})
        update(talk, mode="sing")
        update(talk, style="nothing")
        await talk.close()
        assert given == [Dials(pose=0.5, groups={"brows": 2.0}), Dials(pose=0.5, gesture=0.0, groups={"brows": 2.0})]
        return talk

    talk = run(main())
    first, last = talk.all("session.created")[0]["session"], talk.all("session.updated")[-1]["session"]
    assert first["mode"] == "companion" and first["size"] == [32, 48] and first["modes"][0] == "mirror"
    assert (last["mode"], last["language"], last["audio"]["output"]["voice"]) == ("say", "de", "male")
    assert last["dials"] == {"expression": 1.0, "pose": 0.5, "gesture": 0.0, "groups": {"brows": 2.0}}
    assert [event["error"]["code"] for event in talk.all("error")] == ["invalid_value", "unknown_style"]


def test_dials_of_groups_are_held_to_those_that_exist() -> None:
    async def main() -> Talk:
        talk = await open_talk(FakeParts())
        for index in range(70):  # nobody knows which exist: their number is bounded all the same
            update(talk, dials={"groups": {f"group {index}": -1}})
        talk.conversation._groups = ("brows",)
        update(talk, dials={"groups": {"brows": 1, "horns": 1}})
        await talk.close()
        return talk

    talk = run(main())
    assert len(talk.all("session.updated")) == 64
    assert [event["error"]["message"] for event in talk.all("error")][5:] == [
        "there are at most 64 dials of groups", 'unknown dial "horns"; known here: brows']


def test_wishes_before_the_session_are_taken_over_silently() -> None:
    async def main() -> Talk:
        talk = await open_talk(FakeParts(), begin=False)
        talk.conversation.apply(SessionChanges(mode="say", dials={"pose": 0.0}))
        with pytest.raises(CommandError, match="mode chat does not work on this server; it can do say"):
            talk.parts.modes = ("say",)
            talk.conversation.apply(SessionChanges(mode="chat"))
        assert not talk.events
        talk.conversation.begin(talk.session)
        await talk.close()
        return talk

    session = run(main()).all("session.created")[0]["session"]
    assert session["mode"] == "say" and session["dials"]["pose"] == 0.0


def test_a_style_reaches_the_session() -> None:
    async def main() -> None:
        talk = await open_talk(FakeParts())
        put_on: list[Any] = []

        async def set_style(style: Any) -> None:
            put_on.append(style)

        talk.session.set_style = set_style  # type: ignore[method-assign]
        talk.conversation._styles = {"calm": "the calm style"}.get
        for style in ("calm", "calm", None):
            update(talk, style=style)
        await talk.close()
        assert put_on == ["the calm style", None]

    run(main())


def test_sound_that_stops_coming_ends_the_utterance() -> None:
    async def main() -> Talk:
        talk = await open_talk(FakeParts(CompanionMind()))
        await talk.hear(hum(2.0))
        await asyncio.sleep(3)  # the track is gone
        await talk.close()
        return talk

    talk = run(main())
    assert "input_audio_buffer.speech_stopped" in talk.names() and talk.parts.voice.said


def test_two_conversations_do_not_mix() -> None:
    async def main() -> tuple[Talk, Talk]:
        parts = FakeParts(CompanionMind(), mode="say")
        one, two = await open_talk(parts), await open_talk(parts)
        update(one, mode="companion")
        typed(one, "my name is Ann")
        typed(two, "something else")
        await asyncio.gather(one.hear(hum(0.0)), two.hear(hum(0.0)))
        await one.until(lambda: one.all("response.done") and two.all("response.done"))
        typed(one, "what is my name?")
        await one.until(lambda: len(one.all("response.done")) == 2)
        await two.hear(hum(1.0))
        await one.close()
        await two.close()
        return one, two

    one, two = run(main())
    said = [[event["response"]["output"][0]["content"][0]["transcript"] for event in talk.all("response.done")]
            for talk in (one, two)]
    assert said[0][0].startswith("Nice to meet you, Ann!") and said[0][1] == "Your name is Ann, you told me."
    assert said[1] == ["something else"]
    assert "input_audio_buffer.speech_started" not in one.names()


def test_closing_hangs_up_on_everything_and_nothing_is_said_afterwards() -> None:
    async def main() -> Talk:
        talk = await open_talk(FakeParts(ScriptMind(["word "] * 1000), ear=ScriptEar(pause_s=5)))
        typed(talk, "hello")
        await talk.speaking()
        await talk.hear(hum(1.0))
        await talk.conversation.close()
        await talk.conversation.close()
        count = len(talk.events)
        talk.conversation.receive('{"type": "response.create"}')
        await talk.hear(hum(1.0))
        assert len(talk.events) == count and talk.parts.script.closed == 1 and talk.parts.voice.open == 0
        await talk.close()
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left
        return talk

    run(main())


def test_nonsense_is_answered_with_a_sentence() -> None:
    async def main() -> Talk:
        talk = await open_talk(FakeParts())
        talk.conversation.receive(b"\xff\xfe{")
        await talk.close()
        return talk

    assert run(main()).all("error")[0]["error"]["message"] == "a message must be one JSON object, this is not JSON"


def test_the_end_of_the_session_is_told_last() -> None:
    async def main() -> Talk:
        talk = await open_talk(FakeParts())
        talk.conversation.on_notice("the rate was lowered")
        talk.conversation.on_end("the renderer is gone")
        talk.conversation.on_notice("never told")
        await talk.close()
        return talk

    talk = run(main())
    assert talk.names() == ["session.created", "chatanyone.notice", "chatanyone.ended"]
