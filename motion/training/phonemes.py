"""From IPA to the phoneme classes the audio encoder learns and the articulation targets the mouth follows.

The 43 classes are our choice: fine enough to tell what the lips, jaw and tongue do in any language espeak-ng speaks,
coarse enough that a formant synthesiser and a real voice agree on them.
"""

from __future__ import annotations

from dataclasses import dataclass

PHONEME_CLASSES: tuple[str, ...] = (
    "sil",
    "p", "b", "m", "f", "v", "θ", "ð", "t", "d", "n", "l", "r", "ɹ", "s", "z", "ʃ", "ʒ", "tʃ", "dʒ",
    "k", "ɡ", "ŋ", "x", "h", "j", "w",
    "i", "ɪ", "y", "e", "ɛ", "ø", "æ", "a", "ɑ", "ə", "ɜ", "ʌ", "ɔ", "o", "ʊ", "u",
)
PHONEME_INDEX: dict[str, int] = {name: index for index, name in enumerate(PHONEME_CLASSES)}
SILENCE = PHONEME_INDEX["sil"]
PHONEME_DIM = len(PHONEME_CLASSES)
VOWELS = frozenset("i ɪ y e ɛ ø æ a ɑ ə ɜ ʌ ɔ o ʊ u".split())

# Symbols that are no class of their own, with the class whose mouth shape and sound are nearest.
_NEAREST: dict[str, str] = {
    # consonants
    "ɸ": "f", "β": "v", "ʋ": "v", "ⱱ": "v", "ɱ": "m", "ʙ": "b", "ɓ": "b", "ʘ": "p",
    "ʈ": "t", "ɖ": "d", "ɗ": "d", "c": "k", "ɟ": "ɡ", "g": "ɡ", "q": "k", "ɢ": "ɡ", "ɠ": "ɡ", "ʔ": "h", "ʄ": "ɡ",
    "ɳ": "n", "ɲ": "n", "ɴ": "ŋ", "ɾ": "r", "ɽ": "r", "ʀ": "x", "ʁ": "x", "ɻ": "ɹ", "ɺ": "r",
    "ɬ": "l", "ɮ": "l", "ɭ": "l", "ʎ": "l", "ʟ": "l", "ɫ": "l",
    "ʂ": "ʃ", "ʐ": "ʒ", "ɕ": "ʃ", "ʑ": "ʒ", "ç": "x", "χ": "x", "ɣ": "x", "ħ": "h", "ʕ": "h", "ɦ": "h", "ɧ": "x",
    "ʝ": "j", "ɰ": "ɡ", "ɥ": "w", "ʍ": "w", "ʦ": "s", "ʣ": "z", "ʧ": "tʃ", "ʤ": "dʒ", "ʨ": "tʃ", "ʥ": "dʒ",
    # vowels
    "ä": "a", "ɨ": "ɪ", "ʉ": "u", "ɯ": "ɪ", "ʏ": "y", "ɘ": "ə", "ɵ": "ø", "ɤ": "ʌ", "œ": "ø", "ɞ": "ɜ",
    "ɐ": "ə", "ɶ": "a",
    "ɒ": "ɔ", "ɚ": "ɜ", "ɝ": "ɜ", "ᵻ": "ɪ", "ᵿ": "ʊ",
}
_AFFRICATES: dict[str, str] = {
    "tʃ": "tʃ", "tɕ": "tʃ", "tʂ": "tʃ", "ʈʂ": "tʃ", "dʒ": "dʒ", "dʑ": "dʒ", "dʐ": "dʒ", "ɖʐ": "dʒ",
    "cɕ": "tʃ", "ɟʝ": "dʒ",
}


def parse_ipa(ipa: str) -> list[str]:
    """The phoneme classes of one espeak symbol, in order: ``"ˈaɪ"`` → ``["a", "ɪ"]``; marks and tones are dropped.

    Doubled results collapse (``"ss"`` → ``["s"]``); an empty or purely diacritic symbol is silence, ``[]``.
    """
    classes: list[str] = []
    index = 0
    while index < len(ipa):
        pair, single = ipa[index:index + 2], ipa[index]
        name = _AFFRICATES.get(pair)
        index += 2 if name else 1
        if name is None:
            name = single if single in PHONEME_INDEX else _NEAREST.get(single)
        if name is not None and (not classes or classes[-1] != name):
            classes.append(name)
    return classes


def stress_of(ipa: str) -> int:
    """2 for primary stress, 1 for secondary, 0 for none."""
    return 2 if "ˈ" in ipa else 1 if "ˌ" in ipa else 0


@dataclass(frozen=True)
class Articulation:
    """Where a phoneme wants the mouth, and how strongly it insists (Cohen & Massaro 1993: target and dominance).

    Every target is in [0, 1] at a normal speaking voice; every `hold_*` is the dominance magnitude of its group: 1 is
    strict (a bilabial closes, whatever its neighbours do), 0.1 lets the neighbours decide. Numbers are our choice; those
    of the opening (`jaw`, `narrow`) were calibrated on the lips of seven tracked speakers of known sentences.
    """

    jaw: float = 0.1  # opening of the jaw
    close: float = 0.0  # lips pressed together
    tuck: float = 0.0  # lower lip to the upper teeth
    pucker: float = 0.0  # lips rounded and narrow
    funnel: float = 0.0  # lips rounded and flared
    spread: float = 0.0  # corners drawn back
    raise_upper: float = 0.0  # upper lip lifted
    lower_down: float = 0.0  # lower lip drawn down, shows the lower teeth
    tongue: float = 0.0  # tip of the tongue visible between the teeth
    narrow: float = 0.0  # lips drawn near each other without touching, as rounding and [ɹ] do
    hold_jaw: float = 0.5
    hold_lips: float = 0.3
    hold_close: float = 0.5


_BILABIAL = dict(jaw=0.03, close=1.0, hold_jaw=1.2, hold_lips=0.25, hold_close=8.0)
_LABIODENTAL = dict(jaw=0.06, tuck=1.0, raise_upper=0.18, hold_jaw=1.0, hold_lips=0.5, hold_close=3.0)
_ALVEOLAR = dict(jaw=0.09, spread=0.15, lower_down=0.12, raise_upper=0.05, hold_jaw=0.7, hold_lips=0.15)
_SIBILANT = dict(jaw=0.12, spread=0.3, lower_down=0.28, raise_upper=0.12, hold_jaw=1.2, hold_lips=0.4)
_POSTALVEOLAR = dict(jaw=0.07, funnel=0.55, pucker=0.2, lower_down=0.15, raise_upper=0.15, hold_jaw=1.0, hold_lips=0.8)
_DENTAL = dict(jaw=0.11, spread=0.1, lower_down=0.15, tongue=0.35, hold_jaw=0.8, hold_lips=0.3)
_VELAR = dict(jaw=0.16, hold_jaw=0.3, hold_lips=0.08, hold_close=0.3)


def _vowel(jaw: float, **shape: float) -> Articulation:
    return Articulation(jaw=jaw, hold_jaw=1.0, hold_lips=shape.pop("hold_lips", 0.7), **shape)


ARTICULATIONS: dict[str, Articulation] = {
    "sil": Articulation(jaw=0.0, hold_jaw=0.8, hold_lips=0.6, hold_close=0.5),
    "p": Articulation(**_BILABIAL), "b": Articulation(**_BILABIAL), "m": Articulation(**_BILABIAL),
    "f": Articulation(**_LABIODENTAL), "v": Articulation(**_LABIODENTAL),
    "θ": Articulation(**_DENTAL), "ð": Articulation(**_DENTAL),
    "t": Articulation(**_ALVEOLAR), "d": Articulation(**_ALVEOLAR), "n": Articulation(**{**_ALVEOLAR, "jaw": 0.07}),
    "l": Articulation(jaw=0.2, tongue=0.2, spread=0.1, hold_jaw=0.5, hold_lips=0.12),
    "r": Articulation(jaw=0.12, spread=0.1, hold_jaw=0.5, hold_lips=0.12),
    "ɹ": Articulation(jaw=0.1, funnel=0.35, pucker=0.2, narrow=0.5, hold_jaw=0.5, hold_lips=0.4),
    "s": Articulation(**_SIBILANT), "z": Articulation(**_SIBILANT),
    "ʃ": Articulation(**_POSTALVEOLAR), "ʒ": Articulation(**_POSTALVEOLAR),
    "tʃ": Articulation(**_POSTALVEOLAR), "dʒ": Articulation(**_POSTALVEOLAR),
    "k": Articulation(**_VELAR), "ɡ": Articulation(**_VELAR), "ŋ": Articulation(**_VELAR), "x": Articulation(**_VELAR),
    "h": Articulation(jaw=0.2, hold_jaw=0.15, hold_lips=0.05, hold_close=0.2),
    "j": Articulation(jaw=0.09, spread=0.4, hold_jaw=0.6, hold_lips=0.5),
    "w": Articulation(jaw=0.08, pucker=0.9, funnel=0.2, narrow=0.8, hold_jaw=0.8, hold_lips=1.2),
    "i": _vowel(0.2, spread=0.6, lower_down=0.15, raise_upper=0.1),
    "ɪ": _vowel(0.22, spread=0.4, lower_down=0.12, raise_upper=0.08),
    "y": _vowel(0.1, narrow=0.5, pucker=0.8, funnel=0.25, hold_lips=1.0),
    "e": _vowel(0.33, spread=0.5, lower_down=0.18, raise_upper=0.1),
    "ɛ": _vowel(0.31, spread=0.4, lower_down=0.22, raise_upper=0.12),
    "ø": _vowel(0.2, narrow=0.35, pucker=0.5, funnel=0.4, hold_lips=1.0),
    "æ": _vowel(0.4, spread=0.4, lower_down=0.28, raise_upper=0.16),
    "a": _vowel(0.43, spread=0.15, lower_down=0.25, raise_upper=0.15),
    "ɑ": _vowel(0.48, funnel=0.08, lower_down=0.22, raise_upper=0.12),
    "ə": Articulation(jaw=0.22, hold_jaw=0.5, hold_lips=0.15),
    "ɜ": _vowel(0.24, funnel=0.2, pucker=0.1, hold_lips=0.4),
    "ʌ": _vowel(0.22, lower_down=0.18, raise_upper=0.1, hold_lips=0.4),
    "ɔ": _vowel(0.36, narrow=0.35, funnel=0.6, pucker=0.2, hold_lips=0.9),
    "o": _vowel(0.26, narrow=0.35, funnel=0.45, pucker=0.5, hold_lips=1.0),
    "ʊ": _vowel(0.17, narrow=0.35, funnel=0.25, pucker=0.55, hold_lips=0.8),
    "u": _vowel(0.12, narrow=0.5, funnel=0.2, pucker=0.85, hold_lips=1.1),
}
