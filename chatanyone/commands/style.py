"""`chatanyone style`."""

from __future__ import annotations

import argparse
from typing import Any

from chatanyone.commands.options import add_verb


def add(verbs: Any) -> None:
    """Declares the verb and its own verbs."""
    verb = add_verb(verbs, "style", "save, list, show and remove ways of moving", _list)
    inner = verb.add_subparsers(dest="what", metavar="what", required=True)
    saving = add_verb(inner, "save", "save how the person in a clip moves", _save)
    saving.add_argument("name", help="a to z, 0 to 9, - and _")
    source = saving.add_mutually_exclusive_group(required=True)
    source.add_argument("--video", metavar="FILE", help="clip of one person who speaks")
    source.add_argument("--motion", metavar="FILE", help="motion (.npz, .csv, .json), such as `chatanyone track` writes")
    saving.add_argument("--description", metavar="TEXT", default="", help="one sentence")
    saving.add_argument("--force", action="store_true", help="replace a style of yours of that name")
    for name, purpose, run, named in (("list", "list all styles", _list, False),
                                      ("show", "show a style's numbers", _show, True),
                                      ("remove", "remove a style of yours", _remove, True)):
        other = add_verb(inner, name, purpose, run)
        if named:
            other.add_argument("name", help="of the style; show also takes a mixture such as calm:0.7,lively:0.3")
    for other in inner.choices.values():
        other.add_argument("--config", metavar="FILE", help="settings, see configs/README.md")


def _store(options: argparse.Namespace) -> Any:
    from chatanyone.config import load_config
    from chatanyone.styles import styles_of

    return styles_of(load_config(options.config))


def _save(options: argparse.Namespace) -> None:
    from chatanyone.config import load_config
    from chatanyone.styles import clip_style

    _store(options).place(options.name, options.force)  # before a film is tracked
    source = options.video or options.motion
    style = clip_style(source, load_config(options.config), options.name, options.description)
    path = _store(options).save(style, options.force)
    print(f"{path}\n{style.summary()}")


def _list(options: argparse.Namespace) -> None:
    store = _store(options)
    for name in store.names():
        print(f"{name:<12} {store.get(name).description}")


def _show(options: argparse.Namespace) -> None:
    print(_store(options).resolve(options.name).summary())


def _remove(options: argparse.Namespace) -> None:
    _store(options).remove(options.name)
