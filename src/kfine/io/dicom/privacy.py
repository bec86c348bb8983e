"""Names of patients in paths: exports from an archive often name their folders and files after them."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kfine.files.names import stem_of
from kfine.io.dicom.patient_names import patient_words, readings, tells
from kfine.text import clean_text

# A word of a message, with the apostrophes in it.
_WORD = re.compile(r"[^\W_]+(?:['’‘ʼʻ`´][^\W_]+)*")


class Discretion:
    """Which parts of paths name patients, and what stands for them: learnt from the headers of DICOM files.

    A stand-in is the same in every run, and tells nothing to whoever does not have the images.

    hide: False where nothing stands for anything: names stay as they are.
    """

    def __init__(self, *, hide: bool = True) -> None:
        self._hide = hide
        # Of each part of a path, and of each word, that names a patient: a study of that patient.
        self._parts: dict[str, str] = {}
        self._words: dict[str, str] = {}

    def learn(self, header: Any, parts: Iterable[str]) -> None:
        """Take in a file's header and the `parts` of its path.

        Pseudonyms stay: the same name and number, or PatientIdentityRemoved.
        """
        name, number = str(header.get("PatientName") or ""), str(header.get("PatientID") or "")
        pseudonym = name.strip("^ ").lower() == number.strip().lower()
        if not self._hide or pseudonym or str(header.get("PatientIdentityRemoved") or "").strip() == "YES":
            return
        words = patient_words(header)
        study = str(header.get("StudyInstanceUID") or "")
        for word in words:
            if len(word) > 1:  # a letter alone names nobody but in the path of the own image
                self._words[word] = min(study, self._words.get(word, study))
        for part in parts:
            if tells(part, words):
                self._parts[part] = min(study, self._parts.get(part, study))

    def part(self, text: str) -> str:
        """Return `text`, a part of a path, or what stands for it; messages that name it are cleaned from then on.

        In the path of a patient's own image, the name may be inside a word; elsewhere it must be a word.
        """
        if text not in self._parts:
            words = {word for one in readings(text) for word in (*one.split(), one.replace(" ", ""))}
            studies = sorted(self._words[word] for word in words if word in self._words)
            if not studies:
                return text
            self._parts[text] = studies[0]
        return _stand_in(self._parts[text], text)

    def clean(self, text: str) -> str:
        """Return a message with the stand-ins in it.

        Words of one or two letters are taken out with the path that they are in only: alone they may be any word.
        """
        text = unicodedata.normalize("NFC", text)
        for part in sorted(self._parts, key=len, reverse=True):
            shown = [part, clean_text(part), *([stem_of(Path(part))] if len(stem_of(Path(part))) > 2 else [])]
            for said in (unicodedata.normalize("NFC", one) for one in shown):
                if said in text:
                    text = re.sub(rf"(?<![^\W_]){re.escape(said)}(?![^\W_])", self.part(part), text)
        return _WORD.sub(self._word, text) if self._words else text

    def _word(self, match: re.Match[str]) -> str:
        words = {one.replace(" ", "") for one in readings(match[0])}
        studies = sorted(self._words[word] for word in words if len(word) > 2 and word in self._words)
        return _stand_in(studies[0], match[0]) if studies else match[0]


def _stand_in(study: str, text: str) -> str:
    return "patient-" + hashlib.sha256(f"{study}\0{text}".encode("utf-8", "replace")).hexdigest()[:8]
