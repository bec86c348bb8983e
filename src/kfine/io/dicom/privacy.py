"""Patient names: detection in texts and paths, and their pseudonyms."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from kfine.files.names import stem_of
from kfine.text import clean_text

_APOSTROPHES = dict.fromkeys(map(ord, "'’‘ʼʻ`´"))
_GERMAN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"})
_LETTERS = str.maketrans({"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"})
_TITLE = 3  # index of the part of a name with titles such as Dr; the next part has suffixes such as Jr
_LONG = 5  # letters: the shortest word that does not occur inside others by chance
_SHORT = 2  # letters: words of this length occur inside many others


@lru_cache(maxsize=4096)
def readings(text: str) -> frozenset[str]:
    """Return the spellings of `text` in plain lower-case letters and digits, words separated by one blank.

    Accents, marks and apostrophes are removed.  An umlaut is spelt with one letter or two, and two letters that may
    stand for an umlaut also with one.

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
    """Return the identifying parts of the patient's name and number, as `readings`.

    Numbers of one or two digits do not identify anybody.
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


def names_patient(text: str, words: frozenset[str]) -> bool:
    """Return whether `text` from a patient's own image contains one of the patient's `words`.

    Words of one or two letters must stand alone; longer ones may be inside others.
    """
    for reading in readings(text):
        together = reading.replace(" ", "")
        if any(word in together for word in words if len(word) > _SHORT) or words & {
            *reading.split(),
            together,
        }:
            return True
    return False


# A word of a message with its apostrophes.
_WORD = re.compile(r"[^\W_]+(?:['’‘ʼʻ`´][^\W_]+)*")


class Discretion:
    """Pseudonyms for the parts of paths that name patients, learnt from the headers of DICOM files.

    A pseudonym is the same in every run and discloses nothing without the images.

    hide: False leaves all names unchanged.
    """

    def __init__(self, *, hide: bool = True) -> None:
        self._hide = hide
        # For each part of a path, and each word, that names a patient: a study of that patient.
        self._parts: dict[str, str] = {}
        self._words: dict[str, str] = {}

    def as_dict(self) -> dict[str, Any]:
        """Return what was learnt, JSON-ready: names of patients among it."""
        return {"hide": self._hide, "parts": dict(self._parts), "words": dict(self._words)}

    @classmethod
    def of_dict(cls, learnt: dict[str, Any]) -> Discretion:
        """Return the one that `as_dict` gave."""
        made = cls(hide=bool(learnt["hide"]))
        made._parts, made._words = dict(learnt["parts"]), dict(learnt["words"])
        return made

    def learn(self, header: Any, parts: Iterable[str]) -> None:
        """Learn from a file's header and the `parts` of its path.

        Names that are pseudonyms already stay: those equal to the number, or with PatientIdentityRemoved.
        """
        name, number = str(header.get("PatientName") or ""), str(header.get("PatientID") or "")
        pseudonym = name.strip("^ ").lower() == number.strip().lower()
        if not self._hide or pseudonym or str(header.get("PatientIdentityRemoved") or "").strip() == "YES":
            return
        words = patient_words(header)
        study = str(header.get("StudyInstanceUID") or "")
        for word in words:
            if len(word) > 1:  # single letters identify a patient only in the path of that patient's images
                self._words[word] = min(study, self._words.get(word, study))
        for part in parts:
            if names_patient(part, words):
                self._parts[part] = min(study, self._parts.get(part, study))

    def part(self, text: str) -> str:
        """Return `text`, a part of a path, or its pseudonym, which `clean` uses from then on.

        In the path of a patient's own image the name may be inside a word; elsewhere it must be a whole word, or long.
        """
        if text not in self._parts:
            words = {word for one in readings(text) for word in (*one.split(), one.replace(" ", ""))}
            studies = sorted(self._words[word] for word in words if word in self._words)
            studies = studies or self._inside(words)
            if not studies:
                return text
            self._parts[text] = studies[0]
        return _pseudonym(self._parts[text], text)

    def learn_damaged(self, damaged: Iterable[tuple[Path, Exception]], known: Collection[Path]) -> None:
        """Learn from unreadable files and their errors; their names are hidden if their patient is unknown.

        known: folders of readable files.
        """
        for path, error in damaged:
            header = getattr(error, "header", None)
            try:
                if header is not None and header.get("PatientName"):
                    self.learn(header, [path.name])
                    continue
            except (NotImplementedError, ValueError, TypeError, LookupError, AttributeError):
                self.conceal(path.name)  # damage in the patient's name or number
            if path.parent not in known:
                self.conceal(path.name)

    def conceal(self, text: str) -> None:
        """Give `text`, a part of a path that may name a patient, a pseudonym from now on."""
        if self._hide and self.part(text) == text:
            self._parts[text] = ""

    def _inside(self, words: Iterable[str]) -> list[str]:
        """Return the studies of the long names that occur inside one of `words`."""
        long = {
            name: study for name, study in self._words.items() if len(name) >= _LONG and not name.isdigit()
        }
        return sorted({study for name, study in long.items() if any(name in word for word in words)})

    def clean(self, text: str) -> str:
        """Return a message with pseudonyms.

        Words of one or two letters are replaced only within their path: elsewhere they may be other words.
        """
        text = unicodedata.normalize("NFC", text)
        for part in sorted(self._parts, key=len, reverse=True):
            shown = [part, clean_text(part), *([stem_of(Path(part))] if len(stem_of(Path(part))) > 2 else [])]
            for spelling in (unicodedata.normalize("NFC", one) for one in shown):
                if spelling in text:
                    text = re.sub(rf"(?<![^\W_]){re.escape(spelling)}(?![^\W_])", self.part(part), text)
        return _WORD.sub(self._word, text) if self._words else text

    def _word(self, match: re.Match[str]) -> str:
        words = {one.replace(" ", "") for one in readings(match[0])}
        studies = sorted(self._words[word] for word in words if len(word) > 2 and word in self._words)
        studies = studies or self._inside(words)
        return _pseudonym(studies[0], match[0]) if studies else match[0]


def _pseudonym(study: str, text: str) -> str:
    return "patient-" + hashlib.sha256(f"{study}\0{text}".encode("utf-8", "replace")).hexdigest()[:8]
