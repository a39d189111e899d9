from __future__ import annotations

import numpy as np

from chatanyone.stream.latency import Measurement, Report
from chatanyone.stream.standin import open_standin
from tests.helpers.virtual_time import run

SPEECH = (0.3 * np.sin(np.arange(32_000) * 0.3)).astype(np.float32)


def test_the_parts_add_up_and_interruptions_are_quick() -> None:
    """With a stand-in that takes 60 ms: 75 ms of lead, 167 of look-ahead, and the wait for the next step."""
    async def main() -> Report:
        session = await open_standin(size=(64, 96), work_s=lambda number: 0.06, chirps=False)
        report = await Measurement(session, SPEECH).run(15, 15, mouth=False)
        await session.close()
        return report

    report = run(main())
    at_once, packets = (np.array([one.total for one in kind]) for kind in (report.at_once, report.real_time))
    assert 240 < at_once.min() and at_once.max() < 400 and np.ptp(at_once) > 50
    assert all(-5 < one.wait < 140 and 70 < one.lead < 80 for one in report.at_once)
    assert 280 < packets.min() and packets.max() < 450
    assert np.percentile(report.sound_stops, 95) <= 150
    text = str(report)
    assert "64 × 96 at 30 pictures a second, 15 onsets of each kind, 15 interruptions" in text
    assert "| interruption → silence |" in text
    assert "0 underruns" in text
    print(text)
