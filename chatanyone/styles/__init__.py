"""Styles: ways of moving that have a name. Some ship, others are saved from clips; they can be mixed."""

from chatanyone.styles.clips import clip_manner, clip_style, document_style
from chatanyone.styles.mix import mixed
from chatanyone.styles.store import StyleStore, styles_of
from chatanyone.styles.style import NamedStyle, load_style, save_style

__all__ = ["NamedStyle", "StyleStore", "clip_manner", "clip_style", "document_style", "load_style", "mixed", "save_style",
           "styles_of"]
