"""The phone sets of Festival's voices in IPA.

Read off the `defPhoneSet` of each voice and the comments there; where a set calls one symbol several sounds, the one that
the voice's recordings have (heard by the shipped encoder) is taken.
"""

from __future__ import annotations

from motion.training.force import ipa as arpabet

SILENT = frozenset({"pau", "h#", "#", "##", "brth", "x"})

_RADIO = {"axr": "ɚ", "dx": "ɾ", "nx": "n", "el": "əl", "em": "əm", "en": "ən", "hv": "h"}
_ITALIAN = {
    "E": "ɛ", "O": "ɔ", "g": "ɡ", "S": "ʃ", "Z": "ʒ", "tS": "tʃ", "dZ": "dʒ", "J": "ɲ", "ng": "ŋ", "nf": "ɱ", "L": "ʎ",
}
_FINNISH = {
    "a": "ɑ", "@": "æ", "7": "ø", "&": "ə", "g": "ɡ", "S": "ʃ", "Z": "ʒ", "T": "θ", "D": "ð", "N": "ŋ", "L": "ʎ", "v": "ʋ",
}
_CZECH = {
    "c": "ts", "c~": "tʃ", "ch": "x", "d~": "ɟ", "dz": "dz", "dz~": "dʒ", "g": "ɡ", "h": "ɦ", "n*": "ŋ", "n~": "ɲ", "e": "ɛ",
    "r~": "rʒ", "r~*": "rʃ", "s~": "ʃ", "t~": "c", "z~": "ʒ", "_": "ʔ",
}
_RUSSIAN = {
    "ii": "i", "yy": "ɨ", "uu": "u", "ee": "ɛ", "oo": "o", "aa": "a", "a": "ʌ", "e": "ɪ", "i": "ɪ", "y": "ɨ", "ae": "ə",
    "ay": "ə", "ur": "ʊ", "c": "ts", "ch": "tɕ", "sch": "ɕ", "sh": "ʂ", "zh": "ʐ", "h": "x", "hh": "ç", "g": "ɡ", "gg": "ɡ",
}
_CATALAN = {"ax": "ə", "E": "ɛ", "O": "ɔ", "g": "ɡ", "J": "ɲ", "L": "ʎ", "r": "ɾ", "rr": "r", "S": "ʃ", "Z": "ʒ", "_": ""}
_INDIAN = {
    "a": "ə", "aa": "a", "ih": "ɪ", "iy": "i", "uh": "ʊ", "uw": "u", "eh": "ɛ", "ee": "e", "ay": "aɪ", "oh": "o", "oo": "o",
    "aw": "aʊ", "@": "æ", "k": "k", "kh": "k", "g": "ɡ", "gh": "ɡ", "ch": "tʃ", "j": "dʒ", "zh": "dʒ", "T": "ʈ", "td": "ʈ",
    "D": "ɖ", "N": "ɳ", "th": "t", "tth": "t", "dh": "d", "ddh": "d", "bh": "b", "y": "j", "L": "ɭ", "R": "ɽ", "sh": "ʃ",
    "ksh": "kʃ", "sri": "ʃr", "v": "ʋ",
}

PHONE_SETS: dict[str, dict[str, str]] = {
    "radio": _RADIO, "italian": _ITALIAN, "finnish": _FINNISH, "czech": _CZECH, "russian": _RUSSIAN, "catalan": _CATALAN,
    "indian": _INDIAN,
}


def ipa(name: str, phone_set: str) -> str:
    """A phone of a set in IPA; silences are empty.

    Marks of stress (``a1``) and length (``a:``) fall away, doubled consonants of Russian are the palatal ones.
    """
    if name in SILENT:
        return ""
    known = PHONE_SETS[phone_set]
    if name in known:
        return known[name]
    plain = name.rstrip("1:")
    if plain in known:
        return known[plain]
    if phone_set == "radio":
        return arpabet(name)
    return plain[0] if phone_set == "russian" and len(plain) == 2 and plain[0] == plain[1] else plain
