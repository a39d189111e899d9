"""What runs in a renderer's process in place of the nets: starts at once, obeys the same messages. The portrait's name says
how it behaves: ``good``, ``hangs`` (takes steps, never answers), ``refuses`` (cannot start), ``dies`` (at its fourth step).
"""

from __future__ import annotations

import os
import time
from multiprocessing.connection import Connection
from typing import Any

from chatanyone.stream.ring import Ring


def serve(pipe: Connection, config: Any) -> None:
    ring, behaviour = None, ""
    pipe.send(("loaded",))
    while True:
        try:
            kind, *rest = pipe.recv()
        except EOFError:
            os._exit(0)
        if kind == "close":
            os._exit(0)
        if kind == "open":
            ring, behaviour = Ring.attach(rest[0]), os.path.basename(rest[1])
            if behaviour == "refuses":
                pipe.send(("error", "PortraitError: it is refused"))
                os._exit(1)
            pipe.send(("ready", 8000))
        elif kind == "cut" and ring is not None:
            _, unsent = ring.last_cut
            slot = ring.redrawn[unsent % 2]
            ring.slot(slot, 4)[:] = 200 + unsent
            pipe.send(("made", unsent, slot, 4, 0.001, {}))
        elif ring is not None:
            step, slot, _ = rest
            if behaviour == "hangs":
                time.sleep(3600)
            if behaviour == "dies" and step.number == 3:
                os._exit(3)
            ring.slot(slot, step.pictures)[:] = step.number + (100 if ring.cut_before else 0)
            pipe.send(("made", step.number, slot, step.pictures, 0.001, {"drawing": 0.001}))
