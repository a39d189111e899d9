"""Speaking over the avatar, on virtual time: how fast it is silent, what it remembers, and when it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
from numpy.typing import NDArray

from chatanyone.stream.types import SOUND_HZ, UNIT_SAMPLES, SessionState
from chatanyone.talk.settings import TurnConfig
from tests.helpers.talk import FakeParts, ScriptEar, ScriptMind, Talk, ToneVoice, hum, open_talk, silence, typed
from tests.helpers.virtual_time import run


async def answering(parts: FakeParts) -> Talk:
    """A talk in which the avatar is heard answering."""
    talk = await open_talk(parts)
    typed(talk, "hello")
    await talk.speaking()
    await talk.hear(silence(0.5))
    return talk


def silent_after(talk: Talk, time_s: float) -> float:
    """Seconds from `time_s` until the last loud sample that was sent before the next pause, when units play as they come."""
    loud = [time + (int(np.flatnonzero(np.abs(unit.sound) > 300)[-1]) + 1) / SOUND_HZ for time, unit in talk.units
            if np.abs(unit.sound).max() > 300 and time < time_s + 1]
    return max(loud) - time_s


@pytest.mark.parametrize("by_button", [True, False])
def test_sound_stops_within_150_ms(by_button: bool) -> None:
    """p95 over moments spread over a unit: from the button, or from the detector's word, to the last sample."""
    async def once(shift_s: float) -> float:
        talk = await answering(FakeParts())
        await asyncio.sleep(shift_s)
        if by_button:
            talk.conversation.receive('{"type": "response.cancel"}')
            moment = talk.now
            await asyncio.sleep(0.5)
        else:
            await talk.hear(hum(0.6))
            moment = talk.when("input_audio_buffer.speech_started")
        stopped = silent_after(talk, moment)
        await talk.close()
        return stopped

    times = [run(once(shift / 150)) for shift in range(20)]
    assert np.percentile(times, 95) <= 0.150
    assert max(times) > 0  # it was speaking


def test_the_detector_needs_100_ms_of_speech_at_most() -> None:
    async def main() -> float:
        talk = await answering(FakeParts())
        begun = talk.now
        await talk.hear(hum(0.6))
        noticed = talk.when("input_audio_buffer.speech_started") - begun
        await talk.close()
        return noticed

    assert run(main()) <= 0.105


def test_an_interruption_closes_streams_and_cuts_the_history_to_what_was_heard() -> None:
    async def main() -> tuple[Talk, FakeParts]:
        mind = ScriptMind(["One two three four five. ", "Six seven "], pause_s=0.2)
        mind.words += ["and "] * 1000  # still streaming when it is cut off
        parts = FakeParts(mind)
        talk = await answering(parts)
        await talk.until(lambda: "three" in "".join(e["delta"] for e in talk.all("response.output_audio_transcript.delta")))
        await talk.hear(hum(0.6))
        await asyncio.sleep(0)
        assert (mind.closed, parts.voice.open) == (1, 0)
        await talk.hear(silence(1))
        await talk.speaking()
        await talk.close()
        return talk, parts

    talk, parts = run(main())
    shown = "".join(event["delta"] for event in talk.all("response.output_audio_transcript.delta")
                    if event["response_id"] == talk.all("response.created")[0]["response"]["id"])
    done = talk.all("response.done")[0]["response"]
    assert done["status"] == "cancelled" and done["status_details"]["reason"] == "turn_detected"
    assert done["output"][0]["content"][0]["transcript"] == shown.strip() == "One two three"
    second = parts.asked[1]
    assert [(m.role, m.text, m.cut) for m in second] == [
        ("user", "hello", False), ("assistant", "One two three", True), ("user", "", False)]
    heard_ms = talk.all("conversation.item.truncated")[0]["audio_end_ms"]
    assert 0 < heard_ms < 2400 and heard_ms * 16 % 1 == 0
    assert "chatanyone.resumed" not in talk.names()


def loud_seconds(talk: Talk) -> float:
    blocks = [np.abs(unit.sound.astype(int)).reshape(-1, 64).max(1) > 300 for _, unit in talk.units]
    return 64 * int(np.concatenate(blocks).sum()) / SOUND_HZ


@pytest.mark.parametrize("parts", [FakeParts(), FakeParts(ear=ScriptEar(""))], ids=["no ear", "ear without words"])
def test_a_cough_is_a_false_alarm_and_the_avatar_goes_on(parts: FakeParts) -> None:
    async def main() -> Talk:
        talk = await answering(parts)
        await talk.hear(hum(0.2))
        await talk.hear(silence(0.4))
        assert talk.names().count("chatanyone.paused") == 1 and "chatanyone.resumed" not in talk.names()
        await talk.hear(silence(2))
        await talk.until(lambda: talk.all("response.done"))
        await talk.hear(silence(1))
        await talk.close()
        return talk

    talk = run(main())
    done = talk.all("response.done")
    assert [event["response"]["status"] for event in done] == ["completed"]
    assert done[0]["response"]["output"][0]["content"][0]["transcript"] == "One two three four five. Six seven eight nine ten."
    # Nothing is left out, little is said twice: 4.9 s of humming, up to a unit again.
    assert 4.85 <= loud_seconds(talk) <= 4.9 + UNIT_SAMPLES / SOUND_HZ
    paused_s = talk.when("chatanyone.resumed") - talk.when("chatanyone.paused")
    assert paused_s <= 1.5


def test_no_words_within_a_second_and_a_half_resume_even_while_the_noise_goes_on() -> None:
    async def main() -> Talk:
        talk = await answering(FakeParts(ear=ScriptEar("")))
        await talk.hear(hum(3.0))
        await talk.close()
        return talk

    talk = run(main())
    paused_s = talk.when("chatanyone.resumed") - talk.when("chatanyone.paused")
    assert paused_s == pytest.approx(1.5, abs=0.03)


def test_with_an_ear_words_cut_the_answer_off_while_the_user_still_speaks() -> None:
    async def main() -> Talk:
        talk = await answering(FakeParts(ear=ScriptEar("wait a moment", pause_s=0.2)))
        begun = talk.now
        await talk.hear(hum(1.4))
        assert talk.when("output_audio_buffer.cleared") - begun < 1.0
        await talk.hear(silence(1))
        await talk.close()
        return talk

    talk = run(main())
    assert [m.text for m in talk.parts.asked[1]] == ["hello", "One two", "wait a moment"]
    assert talk.all("conversation.item.input_audio_transcription.completed")[-1]["transcript"] == "wait a moment"


@pytest.mark.parametrize("ear", [ScriptEar(pause_s=60), ScriptEar(fault="the transcription service cannot be reached")])
def test_an_ear_that_fails_leaves_it_to_the_length_of_speech(ear: ScriptEar) -> None:
    async def main() -> Talk:
        talk = await answering(FakeParts(ear=ear))
        await talk.hear(hum(2.0))
        await talk.close()
        return talk

    talk = run(main())
    assert "output_audio_buffer.cleared" in talk.names() and "chatanyone.resumed" not in talk.names()


def test_speech_while_thinking_holds_the_answer_back_and_both_are_answered_together() -> None:
    async def main() -> Talk:
        talk = await open_talk(FakeParts(ScriptMind(pause_s=3.0), ear=ScriptEar("and another thing")))
        typed(talk, "first")
        await talk.hear(silence(0.5))
        await talk.hear(hum(1.0))
        await talk.hear(silence(8))
        await talk.close()
        return talk

    talk = run(main())
    assert [[m.text for m in asked] for asked in talk.parts.asked] == [["first"], ["first", "and another thing"]]
    assert [e["response"]["status"] for e in talk.all("response.done")][0] == "cancelled"
    assert not np.any([unit.turn for time, unit in talk.units if time < talk.when("output_audio_buffer.started")])


def test_a_cough_while_thinking_only_delays() -> None:
    async def main() -> Talk:
        talk = await open_talk(FakeParts(ScriptMind(pause_s=1.0)))
        typed(talk, "first")
        await talk.hear(silence(0.5))
        await talk.hear(hum(0.2))
        await talk.hear(silence(12))
        await talk.close()
        return talk

    talk = run(main())
    assert [event["response"]["status"] for event in talk.all("response.done")] == ["completed"]
    assert len(talk.parts.asked) == 1


def test_the_button_ends_the_answer_for_good() -> None:
    async def main() -> Talk:
        talk = await answering(FakeParts())
        talk.conversation.receive('{"type": "output_audio_buffer.clear"}')
        await talk.hear(silence(3))
        await talk.close()
        return talk

    talk = run(main())
    done = talk.all("response.done")[0]["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "client_cancelled")
    assert talk.all("chatanyone.state")[-1]["state"] == SessionState.LISTENING.value
    assert talk.names().count("response.created") == 1


def test_while_speaking_the_threshold_is_raised_against_echo() -> None:
    """A voice of probability 0.55 starts a turn in silence, and nothing while the avatar speaks."""
    weak = hum(0.8, loud=0.055 * 2 ** 0.5)

    async def main(speaking: bool) -> bool:
        talk = await answering(FakeParts()) if speaking else await open_talk(FakeParts())
        await talk.hear(weak)
        await talk.close()
        return "input_audio_buffer.speech_started" in talk.names()

    assert run(main(False)) and not run(main(True))


def test_while_speaking_quiet_sound_is_taken_for_what_echo_cancelling_left() -> None:
    async def main(floor: float) -> bool:
        talk = await answering(FakeParts(turns=TurnConfig(echo_floor=floor)))
        await talk.hear(hum(0.8, loud=0.15 * 2 ** 0.5))
        await talk.close()
        return "chatanyone.paused" in talk.names()

    assert run(main(0.14)) and not run(main(0.16))


def test_half_duplex_ignores_what_comes_while_the_avatar_speaks() -> None:
    async def main() -> Talk:
        talk = await answering(FakeParts())
        talk.conversation.receive('{"type": "session.update", "session": {"audio": {"input": {"turn_detection": '
                                  '{"type": "server_vad", "interrupt_response": false}}}}}')
        await talk.hear(hum(1.0))
        await talk.hear(silence(8))
        await talk.close()
        return talk

    talk = run(main())
    assert "chatanyone.paused" not in talk.names()
    assert [event["response"]["status"] for event in talk.all("response.done")] == ["completed"]


def test_a_session_that_cannot_resume_ends_the_answer() -> None:
    async def main() -> Talk:
        talk = await answering(FakeParts(turns=TurnConfig(confirm_s=10.0, silence_ms=5000)))
        await talk.hear(hum(0.2))
        talk.session.resume = lambda turn: False  # type: ignore[method-assign]
        await talk.hear(silence(6))
        await talk.close()
        return talk

    talk = run(main())
    assert talk.all("response.done")[0]["response"]["status"] == "cancelled"


def test_the_voice_waits_for_the_verdict_instead_of_running_on() -> None:
    async def main() -> None:
        voice = ToneVoice()
        talk = await answering(FakeParts(ScriptMind(["word " * 30]), voice=voice))
        reply = talk.conversation._turns.answers.current  # type: ignore[union-attr]
        await talk.hear(hum(0.1))
        await talk.until(lambda: "chatanyone.paused" in talk.names())
        assert reply is not None
        handed_over = reply.transcript.samples
        await talk.hear(silence(0.3))
        assert reply.transcript.samples <= handed_over + 1600
        await talk.close()
        assert voice.open == 0

    run(main())


def test_a_slow_voice_is_kept_waiting_too() -> None:
    """It makes sound as fast as it is spoken, so nothing but the pause holds it up."""
    class RealTime(ToneVoice):
        async def speak(self, text: str, language: str, name: str) -> AsyncIterator[NDArray[np.float32]]:
            async for samples in super().speak(text, language, name):
                await asyncio.sleep(0.1)
                yield samples

    async def main() -> None:
        talk = await answering(FakeParts(ScriptMind(["word " * 30]), voice=RealTime()))
        reply = talk.conversation._turns.answers.current  # type: ignore[union-attr]
        await talk.hear(hum(0.2))
        await talk.until(lambda: "chatanyone.paused" in talk.names())
        assert reply is not None
        handed_over = reply.transcript.samples
        await talk.hear(silence(0.3))
        assert reply.transcript.samples == handed_over > 0
        await talk.hear(silence(1.5))
        assert "chatanyone.resumed" in talk.names() and reply.transcript.samples > handed_over
        await talk.close()

    run(main())


def test_a_cough_after_a_typed_question_that_had_to_wait_loses_it_not() -> None:
    """A noise is still being listened to when the question is typed; the cough that follows holds the answer back."""
    async def main() -> Talk:
        talk = await open_talk(FakeParts(ear=ScriptEar("", pause_s=1.5)))
        await talk.hear(np.concatenate([hum(1.0), silence(0.7)]))
        typed(talk, "hello")
        await talk.hear(np.concatenate([silence(0.2), hum(0.2), silence(5.0)]))
        await talk.close()
        return talk

    assert [[m.text for m in asked] for asked in run(main()).parts.asked] == [["hello"]]


def test_a_cough_after_words_over_the_avatar_does_not_lose_them() -> None:
    """The avatar was spoken over and the ear is still at it when a cough comes."""
    class Ear(ScriptEar):
        async def transcribe(self, samples: NDArray[np.float32], language: str) -> str:
            await super().transcribe(samples, language)
            return "a question" if len(samples) > 1.4 * 16_000 else ""

    async def main() -> Talk:
        talk = await answering(FakeParts(ScriptMind(["word " * 30]), ear=Ear(pause_s=0.8)))
        await talk.hear(np.concatenate([hum(1.5), silence(0.7), hum(0.2), silence(5.0)]))
        await talk.close()
        return talk

    assert [asked[-1].text for asked in run(main()).parts.asked] == ["hello", "a question"]


def test_the_button_also_stops_an_answer_that_is_only_being_prepared() -> None:
    async def main() -> Talk:
        talk = await open_talk(FakeParts(ear=ScriptEar("never mind", pause_s=2.0)))
        await talk.hear(np.concatenate([hum(1.0), silence(1.0)]))
        talk.conversation.receive('{"type": "response.cancel"}')
        await talk.hear(silence(4.0))
        await talk.hear(np.concatenate([hum(0.1), silence(2.0)]))
        await talk.close()
        return talk

    talk = run(main())
    assert talk.all("chatanyone.state")[1]["state"] == "listening" and not talk.parts.asked
    assert [m.text for m in talk.conversation._turns.questions.history] == ["never mind"]  # type: ignore[union-attr]


def test_a_cough_between_question_and_answer_loses_neither() -> None:
    """The ear is still at the question when the cough comes; it hears words in one and none in the other."""
    class Ear(ScriptEar):
        async def transcribe(self, samples: NDArray[np.float32], language: str) -> str:
            await super().transcribe(samples, language)
            return "a question" if len(samples) > 16_000 else ""

    async def main() -> Talk:
        talk = await open_talk(FakeParts(ear=Ear(pause_s=0.8)))
        await talk.hear(np.concatenate([hum(1.5), silence(0.7), hum(0.2), silence(5.0)]))
        await talk.close()
        return talk

    assert [[m.text for m in asked] for asked in run(main()).parts.asked] == [["a question"]]
