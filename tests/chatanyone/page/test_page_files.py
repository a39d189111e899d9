"""The page's files by themselves: whole, small, and free of what its content security policy or a closed network forbids."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

PAGE = Path("chatanyone/serve/page")


class Elements(HTMLParser):
    """Every element of a document with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def page() -> Path:
    return Path(__file__).resolve().parents[3] / PAGE


@pytest.fixture(scope="module")
def elements(page: Path) -> list[tuple[str, dict[str, str | None]]]:
    return Elements((page / "index.html").read_text()).found


def test_nothing_runs_inline(elements: list[tuple[str, dict[str, str | None]]]) -> None:
    for tag, attributes in elements:
        assert tag != "style" and "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        assert tag != "script" or attributes.get("src")


def test_nothing_comes_from_elsewhere(page: Path) -> None:
    for path in page.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "").replace("http://www.w3.org/1999/xlink", "")
        assert not re.search(r"(https?:)?//[a-z0-9.-]+\.[a-z]{2,}", text), path.name


def test_every_file_that_is_named_exists(page: Path, elements: list[tuple[str, dict[str, str | None]]]) -> None:
    named = {value for tag, attributes in elements for value in (attributes.get("src"), attributes.get("href"))
             if value and value.startswith("static/")}
    for name in named:
        assert (page / name.removeprefix("static/").split("#")[0]).is_file(), name
    for script in page.glob("*.js"):
        for imported in re.findall(r'from "\./([^"]+)"', script.read_text()):
            assert (page / imported).is_file(), f"{script.name} imports {imported}"


def test_every_icon_is_drawn(page: Path, elements: list[tuple[str, dict[str, str | None]]]) -> None:
    drawn = set(re.findall(r'<symbol id="([a-z]+)"', (page / "icons.svg").read_text()))
    used = {str(attributes["href"]).split("#")[1] for tag, attributes in elements if tag == "use"}
    for script in page.glob("*.js"):
        used |= set(re.findall(r'icon(?:\(|: )"([a-z]+)"', script.read_text()))
    assert used <= drawn


def test_every_id_that_scripts_look_for_exists(page: Path, elements: list[tuple[str, dict[str, str | None]]]) -> None:
    ids = {attributes["id"] for tag, attributes in elements if attributes.get("id")}
    for script in page.glob("*.js"):
        for name in re.findall(r'\$\("#([a-z-]+)"', script.read_text()):
            assert name in ids, f"{script.name} looks for #{name}"


def test_the_first_paint_is_light(page: Path) -> None:
    assert sum(path.stat().st_size for path in page.iterdir()) < 120_000


def test_references_between_labels_and_controls_hold(elements: list[tuple[str, dict[str, str | None]]]) -> None:
    ids = {attributes["id"] for tag, attributes in elements if attributes.get("id")}
    for tag, attributes in elements:
        for name in ("for", "aria-controls", "aria-labelledby"):
            if attributes.get(name):
                assert attributes[name] in ids, f"<{tag} {name}={attributes[name]}>"
