"""Names of patients in paths: exports from an archive often name their folders after them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from kfine.io.checks import clean_text
from kfine.io.dicom_header import patient_words


class Discretion:
    """Which parts of paths name patients, and what stands for them: learnt from the headers of DICOM files.

    The stand-in is the same in every run, and tells nothing to whoever does not have the images.
    """

    def __init__(self) -> None:
        self._studies: dict[str, str] = {}

    def learn(self, header: Any, parts: Iterable[str]) -> None:
        """Take in a file's header and the `parts` of its path.

        Pseudonyms stay: the same name and number, or PatientIdentityRemoved.
        """
        name, number = str(header.get("PatientName") or ""), str(header.get("PatientID") or "")
        pseudonym = name.strip("^ ").lower() == number.strip().lower()
        if pseudonym or str(header.get("PatientIdentityRemoved") or "").strip() == "YES":
            return
        words = patient_words(header)
        study = str(header.get("StudyInstanceUID") or "")
        for part in parts:
            if any(word in part.lower() for word in words):
                self._studies[part] = min(study, self._studies.get(part, study))

    def part(self, text: str) -> str:
        """Return `text`, a part of a path, or what stands for it."""
        study = self._studies.get(text)
        if study is None:
            return text
        return "patient-" + hashlib.sha256(f"{study}\0{text}".encode("utf-8", "replace")).hexdigest()[:8]

    def clean(self, text: str) -> str:
        """Return a message with the stand-ins in it."""
        for part in sorted(self._studies, key=len, reverse=True):
            for shown in (part, clean_text(part)):
                text = text.replace(shown, self.part(part))
        return text
