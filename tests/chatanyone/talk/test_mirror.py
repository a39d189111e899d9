"""The avatar speaks with the user's own voice."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.helpers.talk import PACKET, FakeParts, Talk, hum, open_talk, silence, typed
from tests.helpers.virtual_time import run


async def mirroring(**config: Any) -> tuple[Talk, list[tuple[int, NDArray[np.float32]]]]:
    """A talk in mirror mode, and what it hands to the session."""
    talk = await open_talk(FakeParts(mode="mirror", **config))
    spoken: list[tuple[int, NDArray[np.float32]]] = []
    speak = talk.session.speak

    async def recorded(samples: NDArray[np.float32], turn: int) -> None:
        spoken.append((turn, samples.copy()))
        await speak(samples, turn)

    talk.session.speak = recorded  # type: ignore[method-assign]
    return talk, spoken


def voice(seconds: float) -> NDArray[np.float32]:
    """Something no two samples of which are alike."""
    return np.random.default_rng(0).uniform(-0.5, 0.5, round(16_000 * seconds)).astype(np.float32)


@pytest.mark.parametrize("packet", [PACKET, 777])
def test_samples_pass_bit_for_bit_and_nothing_outside_speech(packet: int) -> None:
    sound = np.concatenate([silence(1.0), voice(1.5), silence(2.0)])

    async def main() -> list[tuple[int, NDArray[np.float32]]]:
        talk, spoken = await mirroring()
        for start in range(0, len(sound), packet):
            await asyncio.sleep(packet / 16_000)
            talk.conversation.hear(sound[start:start + packet])
        await talk.close()
        return spoken

    spoken = run(main())
    passed = np.concatenate([samples for _, samples in spoken])
    first = int(np.flatnonzero(passed)[0])
    begin = 16_000 - first
    assert np.array_equal(passed, sound[begin:begin + len(passed)])
    assert np.array_equal(passed[first:first + 24_000], sound[16_000:40_000])
    assert 40 <= first / 16 <= 100  # ms before the voice: a soft onset is not cut off
    assert 0.4 <= (len(passed) - first) / 16_000 - 1.5 <= 0.6  # and the pause that ends the turn
    assert len({turn for turn, _ in spoken}) == 1


def test_each_utterance_is_a_turn_and_it_ends() -> None:
    async def main() -> Talk:
        talk, spoken = await mirroring()
        for _ in range(2):
            await talk.hear(np.concatenate([hum(0.8), silence(1.5)]))
        await talk.close()
        assert len({turn for turn, _ in spoken}) == 2
        return talk

    talk = run(main())
    assert [event["state"] for event in talk.all("chatanyone.state")] == ["thinking", "speaking", "listening"] * 2


def test_the_delay_is_the_detectors_and_the_sessions() -> None:
    """From the microphone to the session: the first samples within 105 ms after the voice."""
    async def main() -> list[float]:
        talk, spoken = await mirroring()
        lags: list[float] = []
        await talk.hear(silence(1.0))
        begun, packets = talk.now, voice(1.0).reshape(-1, PACKET)
        for index, packet in enumerate(packets):
            await asyncio.sleep(PACKET / 16_000)
            talk.conversation.hear(packet)
            await asyncio.sleep(0.001)
            if not spoken:
                lags.append(talk.now - begun)
        await talk.close()
        return lags

    lags = run(main())
    assert 0.02 <= max(lags) <= 0.085  # two windows of the detector, up to one more, up to a packet


def test_jitter_can_be_given_more_room() -> None:
    async def main(jitter_ms: int) -> int:
        from chatanyone.talk.settings import TurnConfig
        talk, spoken = await mirroring(turns=TurnConfig(jitter_ms=jitter_ms))
        await talk.hear(np.concatenate([silence(0.5), voice(1.0)]))
        await talk.close()
        return len(spoken[0][1])

    assert run(main(0)) < 4000 < 6400 <= run(main(400))


def test_typed_text_is_spoken_in_mirror_mode_too_and_gives_way_to_the_voice() -> None:
    async def main() -> Talk:
        talk, spoken = await mirroring()
        typed(talk, "Say this sentence for me, please.")
        await talk.speaking()
        await talk.hear(np.concatenate([silence(0.3), hum(0.8), silence(1.5)]))
        await talk.close()
        return talk

    talk = run(main())
    assert talk.parts.voice.said == ["Say this sentence for me, ", "please. "][:len(talk.parts.voice.said)]
    assert talk.all("response.done")[0]["response"]["status"] == "cancelled"


def test_push_to_talk_mirrors_while_pressed() -> None:
    sound = voice(0.5)

    async def main() -> list[tuple[int, NDArray[np.float32]]]:
        talk, spoken = await mirroring()
        talk.conversation.receive('{"type": "session.update", "session": {"audio": {"input": {"turn_detection": null}}}}')
        await talk.hear(voice(0.3))
        talk.conversation.receive('{"type": "input_audio_buffer.clear"}')
        await talk.hear(sound)
        talk.conversation.receive('{"type": "input_audio_buffer.commit"}')
        await talk.hear(voice(0.3))
        await talk.close()
        return spoken

    assert np.array_equal(np.concatenate([samples for _, samples in run(main())]), sound)


def test_the_button_silences_the_mirror() -> None:
    async def main() -> Talk:
        talk, spoken = await mirroring()
        await talk.hear(hum(1.0))
        talk.conversation.receive('{"type": "response.cancel"}')
        count = len(spoken)
        await talk.hear(hum(0.5))
        assert len(spoken) == count and np.abs(talk.units[-1][1].sound).max() == 0
        await talk.close()
        return talk

    run(main())
