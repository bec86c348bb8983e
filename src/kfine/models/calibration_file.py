"""Calibration files: what `kfine calibrate` writes and `restore --calibration` takes."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfine.errors import InputError, ModelError
from kfine.files.side_files import read_json
from kfine.models.calibration import Calibration

FORMAT = 1
_KEY = "kfine_calibration"


@dataclass(frozen=True)
class CalibrationFile:
    """A calibration, and of what.

    Attributes:
        calibration: the table.
        method: that it was measured with.
        model: name and SHA-256 of the model's weights; None for a method without.
        facts: whatever else the file says: pairs, coverage.
    """

    calibration: Calibration
    method: str
    model: dict[str, str] | None
    facts: dict[str, Any]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> CalibrationFile:
        """Return the file at `path`.

        Raises:
            InputError: it is missing or no such file.
        """
        name = Path(path).name
        try:
            content = read_json(Path(path))
        except FileNotFoundError:
            raise InputError(
                f"{name}: expected a calibration file, found none; kfine calibrate makes one"
            ) from None
        except (OSError, ValueError) as error:
            raise InputError(
                f"{name}: cannot be read as a calibration file ({type(error).__name__})"
            ) from None
        if not isinstance(content, dict) or content.get(_KEY) != FORMAT:
            raise InputError(
                f"{name}: expected a calibration file of format {FORMAT}, got something else; kfine calibrate makes one"
            )
        try:
            table = Calibration.checked(name, content.get("uncertainty"))
        except ModelError as error:
            raise InputError(str(error).replace(" config.json:", "")) from None
        method, model = content.get("method"), content.get("model")
        if not isinstance(method, str) or not (model is None or isinstance(model, dict)):
            raise InputError(
                f"{name}: expected the method and its model; make the file anew with kfine calibrate"
            )
        return cls(table, method, model, {})

    def text(self) -> str:
        """Return the content of the file."""
        table = self.calibration.model_dump(mode="json")
        content = {
            _KEY: FORMAT,
            "method": self.method,
            "model": self.model,
            **self.facts,
            "uncertainty": table,
        }
        return json.dumps(content, indent=2) + "\n"

    def checked_for(self, method: str, model: dict[str, str] | None, *, name: str) -> Calibration:
        """Return the calibration, if it is that of `method` and of the weights of `model`.

        Raises:
            InputError: it is another's.
        """
        if method != self.method:
            raise InputError(
                f"{name}: calibrates method {self.method}, expected {method}; calibrate that one"
            )
        ours, theirs = model or {}, self.model or {}
        if any(ours.get(key) != theirs.get(key) for key in ("sha256", "core")):
            raise InputError(
                f"{name}: calibrates other weights than those of model {(model or {}).get('name', 'none')}; calibrate "
                "this model"
            )
        return self.calibration
