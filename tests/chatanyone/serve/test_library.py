from __future__ import annotations

import asyncio
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from chatanyone.errors import ConfigError, MediaError, PortraitError
from chatanyone.live_config import LimitsConfig
from chatanyone.serve import content
from chatanyone.serve.library import Entry, Library, _shown_name
from chatanyone.serve.portraits import Portraits, as_it_is
from chatanyone.serve.refusals import Refused
from tests.helpers.media import gradient, png_header, write_picture


def entry(folder: Path, name: str, owner: str | None = None) -> Entry:
    path = folder / name
    path.write_bytes(b"x")
    return Entry(name, name, path, owner)


def test_ready_failed_and_waited_for(tmp_path: Path) -> None:
    async def prepare(one: Entry) -> None:
        await asyncio.sleep(0)
        if one.id == "bad":
            raise PortraitError(f"no face was found in {one.source}; choose another picture")
        if one.id == "broken":
            raise RuntimeError("inner details")
        one.result = one.id.upper()

    async def body() -> None:
        library = Library("portrait", 10, prepare)
        good = library.add(entry(tmp_path, "good", "me"))
        assert good.state == "preparing" and 0 < good.progress < 1
        assert (await library.ready("good")).result == "GOOD" and good.public()["progress"] == 1
        library.add(entry(tmp_path, "bad", "me"))
        with pytest.raises(Refused, match="^No face was found in this file; choose another picture"):
            await library.ready("bad")
        assert not (tmp_path / "bad").exists() and (tmp_path / "good").exists()
        library.add(entry(tmp_path, "broken"))
        with pytest.raises(Refused, match="could not be prepared; the server's log") as caught:
            await library.ready("broken")
        assert "inner" not in str(caught.value)
        with pytest.raises(Refused, match="no such portrait"):
            await library.ready("unknown")
        await library.close()

    asyncio.run(body())


def test_everybody_sees_the_houses_and_their_own(tmp_path: Path) -> None:
    async def prepare(one: Entry) -> None: ...

    async def body() -> None:
        library = Library("portrait", 10, prepare)
        for name, owner in (("house", None), ("mine", "me"), ("yours", "you")):
            library.add(entry(tmp_path, name, owner))
        assert [one.id for one in library.seen_by("me")] == ["house", "mine"]
        assert [one.id for one in library.seen_by(None)] == ["house"]
        await library.close()

    asyncio.run(body())


def test_the_oldest_upload_goes_first_and_never_the_houses(tmp_path: Path) -> None:
    async def prepare(one: Entry) -> None: ...

    async def body() -> None:
        library = Library("portrait", 2, prepare)
        library.add(entry(tmp_path, "house"))
        for name in "abc":
            library.add(entry(tmp_path, name, "me"))
        assert [one.id for one in library.seen_by("me")] == ["house", "b", "c"]
        assert not (tmp_path / "a").exists() and (tmp_path / "house").exists()
        await library.close()

    asyncio.run(body())


def test_the_house_folder(tmp_path: Path) -> None:
    async def body() -> None:
        house, uploads = tmp_path / "house", tmp_path / "uploads"
        house.mkdir()
        uploads.mkdir()
        for name in ("Ada_L.png", "ada-l.png"):
            write_picture(house / name)
        (house / "notes.txt").write_text("no picture")
        portraits = Portraits(LimitsConfig(), uploads)
        portraits.add_house(house, demo=False)
        entries = portraits.library.seen_by(None)
        assert [(one.id, one.name) for one in entries] == [("ada-l", "Ada L"), ("ada-l-2", "ada l")]
        assert (await portraits.library.ready("ada-l-2")).thumbnail
        with pytest.raises(ConfigError, match="must be a folder of pictures"):
            portraits.add_house(tmp_path / "none", demo=False)
        portraits.add_house(None)
        assert [one.name for one in portraits.library.seen_by(None)][-1] == "Eileen Collins"
        await portraits.library.close()
        assert (house / "Ada_L.png").exists()

    asyncio.run(body())


def test_the_gallery_shows_a_person_as_a_call_will(tmp_path: Path) -> None:
    """What preparation lays beside the portrait is the thumbnail; its shape tells them apart."""
    async def frame(picture: Path) -> Path:
        Image.fromarray(gradient(300, 200)).save(tmp_path / "ada-200x300.jpg")
        return tmp_path / "ada-200x300.safetensors"

    async def body() -> None:
        Image.fromarray(gradient(300, 300)).save(tmp_path / "ada.png")
        for prepare, shape in ((frame, 2 / 3), (as_it_is, 1.0)):
            portraits = Portraits(LimitsConfig(), tmp_path, prepare)
            entry = portraits.library.add(Entry("ada", "Ada", tmp_path / "ada.png"))
            shown = (await portraits.library.ready(entry.id)).thumbnail
            assert shown is not None
            (tmp_path / "shown").write_bytes(shown)
            width, height = Image.open(tmp_path / "shown").size
            assert width / height == pytest.approx(shape, abs=0.01)
            await portraits.library.close()

    asyncio.run(body())


@pytest.mark.parametrize(("given", "shown"), [("C:\\fotos\\me.jpg", "me"), ("../../etc/passwd", "passwd"), (None, "yours"),
                                              ("a\nb.png", "ab"), ("x" * 200 + ".png", "x" * 60), ("", "yours")])
def test_names_are_labels(given: str | None, shown: str) -> None:
    assert _shown_name(given) == shown


def test_pictures_are_known_by_their_content(tmp_path: Path) -> None:
    content.check_picture(write_picture(tmp_path / "a.png"), 10**6)
    write_picture(tmp_path / "b.png").rename(tmp_path / "b.exe")
    content.check_picture(tmp_path / "b.exe", 10**6)
    for suffix in ("JPEG", "WEBP"):
        Image.fromarray(gradient(80, 80)).save(tmp_path / "c", suffix)
        content.check_picture(tmp_path / "c", 10**6)


@pytest.mark.parametrize(("data", "message"), [
    (b"hello world, this is text", "not a picture"), (b"GIF89a" + bytes(40), "not a picture"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"), (b"RIFF0000AVI LIST", "not a picture"),
    (b"\x89PNG\r\n\x1a\n" + bytes(20), "damaged"), (png_header(9000, 9000), "more than 50 megapixels; scale it down")])
def test_what_is_no_picture(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(MediaError, match=message):
        content.check_picture(tmp_path / "a.png", 50 * 10**6)


def film(path: Path, seconds: float) -> Path:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(round(10 * seconds)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")))
        container.mux(stream.encode(None))
    return path


def test_clips(tmp_path: Path) -> None:
    content.check_clip(film(tmp_path / "a", 2), 30)
    with pytest.raises(MediaError, match="lasts 4 s, at most 2 s are taken; cut it"):
        content.check_clip(film(tmp_path / "b", 4), 2)
    (tmp_path / "c").write_bytes(b"not a film")
    with pytest.raises(MediaError, match="not a film"):
        content.check_clip(tmp_path / "c", 2)
    with pytest.raises(MediaError, match="no moving picture|not a film"):
        content.check_clip(write_picture(tmp_path / "d.png"), 2)


def test_thumbnails_carry_no_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    Image.fromarray(gradient(600, 400)).save(tmp_path / "a.jpg", exif=exif)
    small = content.thumbnail(tmp_path / "a.jpg")
    assert b"secret" in (tmp_path / "a.jpg").read_bytes() and b"secret" not in small
    (tmp_path / "b.jpg").write_bytes(small)
    assert Image.open(tmp_path / "b.jpg").size == (213, 320)
