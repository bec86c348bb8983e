"""Names of patients in paths: exports from an archive often name their folders and files after them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

from kfine.io.checks import clean_text
from kfine.io.dicom_header import patient_words


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
            self._words[word] = min(study, self._words.get(word, study))
        for part in parts:
            if any(word in part.lower() for word in words):
                self._parts[part] = min(study, self._parts.get(part, study))

    def part(self, text: str) -> str:
        """Return `text`, a part of a path, or what stands for it.

        In the path of a patient's own image, the name may be inside a word; elsewhere it must be a word.
        """
        studies = [self._parts[text]] if text in self._parts else []
        words = re.split(r"[\W_]+", text.lower())
        studies = studies or sorted(self._words[word] for word in words if word in self._words)
        return _stand_in(studies[0], text) if studies else text

    def clean(self, text: str) -> str:
        """Return a message with the stand-ins in it."""
        for part in sorted(self._parts, key=len, reverse=True):
            for shown in (part, clean_text(part)):
                text = text.replace(shown, self.part(part))
        if self._words:
            words = "|".join(map(re.escape, sorted(self._words, key=len, reverse=True)))
            whole = re.compile(rf"(?<![^\W_])({words})(?![^\W_])", re.IGNORECASE)
            text = whole.sub(lambda match: _stand_in(self._words.get(match[0].lower(), ""), match[0]), text)
        return text


def _stand_in(study: str, text: str) -> str:
    return "patient-" + hashlib.sha256(f"{study}\0{text}".encode("utf-8", "replace")).hexdigest()[:8]
