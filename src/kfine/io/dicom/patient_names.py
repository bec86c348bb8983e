"""What a patient may be called in the name of a folder or file: the words of a header, compared folded."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any

_APOSTROPHES = dict.fromkeys(map(ord, "'’‘ʼʻ`´"))
_GERMAN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"})
_LETTERS = str.maketrans({"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"})
_TITLE = 3  # which part of a name is Dr, Mr; the next one is Jr
_SHORT = 2  # letters: such a word is inside too many others


@lru_cache(maxsize=4096)
def readings(text: str) -> frozenset[str]:
    """Return the ways to write `text` in plain lower case letters and digits, words separated by one blank.

    Accents, marks and apostrophes go; a letter with an umlaut is one letter or two, and what looks like the two may
    be the one.

    >>> sorted(readings("O'Brien_MÜLLER")), sorted(readings("Mueller"))
    (['obrien mueller', 'obrien muller'], ['mueller', 'muller'])
    """
    lower = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).casefold()
    found = {_plain(lower), _plain(lower.translate(_GERMAN))}
    return frozenset(found | {re.sub("([aou])e", r"\1", one).replace("ss", "s") for one in found})


def _plain(text: str) -> str:
    letters = "".join(c for c in unicodedata.normalize("NFKD", text) if unicodedata.category(c)[0] != "M")
    return " ".join(re.split(r"[\W_]+", letters.translate(_LETTERS))).strip()


def patient_words(header: Any) -> frozenset[str]:
    """Return the parts of the patient's name and number, as `readings`, that would tell who it is.

    Numbers of one or two digits would not: they count things everywhere.
    """
    return _words(str(header.get("PatientName") or ""), str(header.get("PatientID") or ""))


@lru_cache(maxsize=4096)
def _words(name: str, number: str) -> frozenset[str]:
    whole = re.split(r"[\^=\s]+", number)
    for group in name.split("="):  # the same name in several scripts
        parts = group.split("^")
        whole += [part for n, part in enumerate(parts) if n < _TITLE or len(part) > _SHORT]
        whole += ["".join(parts[:2]), "".join(parts[1::-1])]
        whole += [piece for part in parts for piece in re.split(r"[\W_]+", part) if len(piece) > _SHORT]
        whole += [piece for part in parts[:_TITLE] for piece in part.split()]
    found = {one.replace(" ", "") for part in whole for one in readings(part)}
    plain = {one.replace(" ", "") for part in whole if len(part) <= _SHORT for one in readings(part)}
    return frozenset(
        word
        for word in found
        if (len(word) > _SHORT or word in plain) and not (word.isdigit() and len(word) <= _SHORT)
    ) - {""}


def tells(text: str, words: frozenset[str]) -> bool:
    """Return whether `text` of a patient's own image holds one of the patient's `words`.

    Words of one or two letters must stand alone, longer ones may be inside others.
    """
    for reading in readings(text):
        together = reading.replace(" ", "")
        if any(word in together for word in words if len(word) > _SHORT) or words & {
            *reading.split(),
            together,
        }:
            return True
    return False
