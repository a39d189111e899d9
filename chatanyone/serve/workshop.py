"""Portraits and clips are prepared in a process of their own: it may take seconds, all cores and, with a file made to do
harm, the process; the server goes on."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from chatanyone.config import Config
from chatanyone.errors import ChatAnyoneError, MediaError
from chatanyone.stream.worker import exit_with_parent

IDLE_S = 120.0  # our choice: the process holds a gigabyte; after so long without work it ends
MOST_S = 600.0  # our choice: longer than any clip that is let in takes on one core
T = TypeVar("T")


class Workshop:
    """Runs functions of this module elsewhere, one at a time.

    Args:
        config: of the nets and of tracking.
        folder: where results go.
        size: width, height of portraits, px; may be set until the first `portrait`.
    """

    def __init__(self, config: Config, folder: Path, size: tuple[int, int] = (512, 768)) -> None:
        self.size = size
        self._config, self._folder = config, folder
        self._pool: ProcessPoolExecutor | None = None
        self._pid: int | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._busy = asyncio.Lock()

    async def portrait(self, picture: Path) -> Path:
        """A picture → the file of a prepared portrait; beside it, as .jpg, the picture as a call will show it.

        Raises:
            ChatAnyoneError: it shows nobody the way the renderer needs.
        """
        target = self._folder / f"{picture.stem}-{self.size[0]}x{self.size[1]}.safetensors"
        await self._run(prepare, picture, self.size, self._config, target)
        return target

    async def style(self, clip: Path) -> Any:
        """A clip → `chatanyone.pipeline.Style`.

        Raises:
            ChatAnyoneError: nobody moves in it.
        """
        from chatanyone.styles import load_style

        target = self._folder / f"{clip.stem}.style.safetensors"
        await self._run(track, clip, self._config, target)
        return load_style(target).pipeline_style()

    async def close(self) -> None:
        """Ends the process, whatever it does."""
        self._end(kill=True)

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        async with self._busy:
            if self._idle is not None:
                self._idle.cancel()
            loop = asyncio.get_running_loop()
            try:
                pool = await self._open()
                return await asyncio.wait_for(loop.run_in_executor(pool, work, *arguments), MOST_S)
            except (BrokenProcessPool, asyncio.TimeoutError):
                self._end(kill=True)
                raise MediaError("this file could not be worked on; choose another one") from None
            except asyncio.CancelledError:
                self._end(kill=True)
                raise
            finally:
                self._idle = loop.call_later(IDLE_S, self._end)

    async def _open(self) -> ProcessPoolExecutor:
        if self._pool is None:
            from chatanyone.cli import set_environment

            set_environment()  # the child inherits it, before it imports anything
            self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), exit_with_parent)
            self._pid = await asyncio.get_running_loop().run_in_executor(self._pool, os.getpid)
        return self._pool

    def _end(self, kill: bool = False) -> None:
        if self._idle is not None:
            self._idle.cancel()
        pool, self._pool = self._pool, None
        pid, self._pid = self._pid, None
        if pool is None:
            return
        if kill and pid is not None:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        pool.shutdown(wait=False, cancel_futures=True)


# In the other process. What is raised there must have one argument, a sentence, to come back whole.

def prepare(picture: Path, size: tuple[int, int], config: Config, target: Path) -> None:
    """Writes the prepared portrait; takes it from the cache where it was prepared before."""
    from PIL import Image

    from chatanyone.media.image import read_image
    from chatanyone.portrait import default_cache_dir, prepare_portrait

    _calm()
    try:
        portrait = prepare_portrait(read_image(picture), size, cache_dir=config.render.cache or default_cache_dir())
        portrait.save(target)
        pixels = portrait.image.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).contiguous().numpy()
        Image.fromarray(pixels).save(target.with_suffix(".jpg"), quality=92)
    except ChatAnyoneError as error:
        raise MediaError(str(error)) from None


def track(clip: Path, config: Config, target: Path) -> None:
    """Writes the clip's style."""
    from chatanyone.styles import clip_style, save_style

    _calm()
    try:
        save_style(clip_style(clip, config, "clip"), target)
    except ChatAnyoneError as error:
        raise MediaError(str(error)) from None


def _calm() -> None:
    """Running calls come first, on the processor and at Ctrl-C, which is the server's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        os.nice(10 - os.nice(0))
    except OSError:
        pass
