"""What the documents promise exists: commands parse, make targets are there, links lead somewhere."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from chatanyone import cli

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("[a-z]*/README.md")])


def _commands(text: str) -> list[list[str]]:
    """Every `chatanyone …` line inside fenced code, continuation lines joined."""
    fenced = "\n".join(re.findall(r"^```[a-z]*\n(.*?)^```", text, re.S | re.M)).replace("\\\n", " ")
    lines = [line.split("  #")[0].strip() for line in fenced.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("chatanyone ")]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_are_ones_the_program_takes(path: Path) -> None:
    for command in _commands(path.read_text()):
        cli.parser().parse_args(command)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_targets_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"`make ([a-z]+)`", path.read_text())) | set(
        re.findall(r"^make ([a-z]+)", path.read_text(), re.M))
    assert named <= targets


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)|<img[^>]* src=\"([^\"]+)\"", path.read_text())
    local = [link for pair in links for link in pair if link and not link.startswith(("http", "mailto:"))]
    missing = [link for link in local if not (path.parent / link).exists()]
    assert not missing


def _options(parser: argparse.ArgumentParser, verb: str = "") -> set[str]:
    """Every long option, with its verb."""
    found = {f"{verb.strip()} {name}" for action in parser._actions for name in action.option_strings if name.startswith("--")}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= {option for name, inner in action.choices.items() for option in _options(inner, f"{verb} {name}")}
    return {option for option in found if not option.endswith("--help")}


def test_every_option_is_in_a_document() -> None:
    told = {name for path in DOCUMENTS for name in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", path.read_text())}
    options = _options(cli.parser())
    assert "animate --style" in options and "style save --video" in options
    assert [option for option in sorted(options) if option.split()[-1] not in told] == []


def test_every_tool_is_in_their_table() -> None:
    rows = set(re.findall(r"^\| `(\w+\.py)` \|", (ROOT / "tools" / "README.md").read_text(), re.M))
    assert rows == {path.name for path in (ROOT / "tools").glob("*.py")}


def test_the_commands_are_found_at_all() -> None:
    assert _commands("```sh\nchatanyone bench \\\n  --json x.json  # numbers\nmake test\n```\n") == [
        ["bench", "--json", "x.json"]]


def test_make_targets_of_the_contract_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in ("install", "demo", "test", "lint", "bench"))
    assert re.search(r"^make test$", (ROOT / ".ci" / "run").read_text(), re.M)
