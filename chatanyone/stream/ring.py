"""Pictures between the renderer's process and ours: a few slots of shared memory and three numbers beside them."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatanyone.stream.units import UNIT_FRAMES

_HEAD_BYTES = 64
_BEFORE, _UNSENT, _CUTS = range(3)
REDRAWN = 2  # slots, beyond those for steps, for pictures drawn again


@dataclass(frozen=True)
class RingShape:
    """What both sides must know. size: width, height; slots: one for each unit under way, then `REDRAWN`."""

    name: str
    size: tuple[int, int]
    slots: int

    @property
    def slot_shape(self) -> tuple[int, int, int, int]:
        return UNIT_FRAMES, self.size[1], self.size[0], 3


class Ring:
    """Slots of ``[4, H, W, 3]`` bytes. A slot belongs to the renderer from the step that names it to its answer, and to us
    otherwise, so nobody waits for a lock; the last `REDRAWN` slots are always the renderer's. What we write of a cut and the
    renderer reads are aligned numbers, `cuts` the last of them.

    Args:
        shape: as given by the side that made it.
        memory: already open.
    """

    def __init__(self, shape: RingShape, memory: SharedMemory) -> None:
        self.shape, self._memory = shape, memory
        view: Any = memory.buf
        self._head: NDArray[np.int64] | None = np.frombuffer(view, np.int64, 3)
        count = shape.slots * int(np.prod(shape.slot_shape))
        pixels = np.frombuffer(view, np.uint8, count, _HEAD_BYTES)
        self._slots: NDArray[np.uint8] | None = pixels.reshape(shape.slots, *shape.slot_shape)

    @classmethod
    def create(cls, size: tuple[int, int], slots: int) -> Ring:
        """Ours: `close` takes it away."""
        count = slots * int(np.prod(RingShape("", size, slots).slot_shape))
        memory = SharedMemory(create=True, size=_HEAD_BYTES + count)
        return cls(RingShape(memory.name, size, slots), memory)

    @classmethod
    def attach(cls, shape: RingShape) -> Ring:
        """The renderer's."""
        return cls(shape, SharedMemory(shape.name))

    @property
    def cut_before(self) -> int:
        """Frames of motion before this one have their mouth held shut."""
        return 0 if self._head is None else int(self._head[_BEFORE])

    @cut_before.setter
    def cut_before(self, frame: int) -> None:
        if self._head is not None:
            self._head[_BEFORE] = frame

    def cut(self, before: int, unsent: int) -> None:
        """Sets `cut_before`, and which steps' pictures can still be drawn again."""
        if self._head is not None:
            self._head[_BEFORE], self._head[_UNSENT] = before, unsent
            self._head[_CUTS] += 1

    @property
    def last_cut(self) -> tuple[int, int]:
        """How many cuts there were, and the first step whose pictures can still be drawn again."""
        return (0, 0) if self._head is None else (int(self._head[_CUTS]), int(self._head[_UNSENT]))

    @property
    def redrawn(self) -> range:
        """The renderer's own slots."""
        return range(self.shape.slots - REDRAWN, self.shape.slots)

    def slot(self, index: int, pictures: int) -> NDArray[np.uint8]:
        """The first pictures of a slot; a view.

        Raises:
            ValueError: the ring is closed.
        """
        if self._slots is None:
            raise ValueError("expected an open ring, this one was closed")
        return self._slots[index, :pictures]

    def close(self, unlink: bool) -> None:
        """Views that were handed out must be gone; may be called twice."""
        if self._slots is None:
            return
        self._head = self._slots = None
        self._memory.close()
        if unlink:
            self._memory.unlink()
