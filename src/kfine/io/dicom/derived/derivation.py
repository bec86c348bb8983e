"""Derivation in DICOM terms: identifiers, description, codes, references, equipment."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kfine._version import __version__
from kfine.io.dicom.frame import Plane
from kfine.text import one_line

_LONGEST = {"LO": 64, "ST": 1024}
_SERIES = 100  # derived series of series n are 100 n + 1, 100 n + 2, ...
_LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Derivation:
    """Processing that produced a series.

    Attributes:
        made_by: provenance of a restoration (`kfine.restore`), or {}.
        content: digest of the voxels.
    """

    made_by: Mapping[str, Any]
    content: str

    def uid(self, *parts: object) -> str:
        """Return the identifier of `parts`: a function of input, model, options, seed, software and voxels.

        It does not depend on file names: a copy of the input gives the same series.
        """
        from pydicom.uid import generate_uid

        recipe = dict(self.made_by)
        recipe["input"] = {k: v for k, v in recipe.get("input", {}).items() if k != "name"}
        text = json.dumps([recipe, self.content, *map(str, parts)], sort_keys=True, default=str)
        return str(generate_uid(entropy_srcs=[text]))

    @property
    def description(self) -> str:
        """Return a description of the processing in one ASCII line."""
        made_by = self.made_by
        facts = [f"kfine {__version__} super-resolution"]
        if "method" in made_by:
            names = [str(made_by[key]) for key in ("method", "time_method") if key in made_by]
            facts.append(f"method {', '.join(names)}")
        if made_by.get("model"):
            model = made_by["model"]
            facts.append(f"model {model.get('name')} (SHA-256 {str(model.get('sha256'))[:12]})")
        if "matrix" in made_by:
            facts.append(
                "matrix {} to {}".format(*("x".join(map(str, m)) for m in made_by["matrix"].values()))
            )
        if "frames" in made_by and made_by["frames"]["restored"] > 1:
            facts.append("frames {measured} to {restored}".format(**made_by["frames"]))
        if self.samples > 1:
            facts.append(f"mean of {self.samples} samples")
        if "seed" in made_by:
            facts.append(f"seed {made_by['seed']}")
        if "kspace" in made_by:
            facts.append(f"k-space {made_by['kspace']}")
        return _fitting("; ".join([*facts, "research software, not a medical device"]), "ST")

    @property
    def samples(self) -> int:
        """Number of samples that were averaged."""
        return int(self.made_by.get("options", {}).get("samples") or 1)

    def codes(self, *, resampled: bool) -> list[Any]:
        """Return the coded derivation (PS3.16, CID 7203)."""
        from highdicom.sr import CodedConcept
        from pydicom.sr.codedict import codes

        dcm = codes.DCM
        found = [dcm.SpatialResampling if resampled else dcm.UnspecifiedMethodOfCalculation]
        found += [dcm.PixelByPixelMean] if self.samples > 1 else []
        return [CodedConcept.from_code(code) for code in found]

    def equipment(self) -> Any:
        """Return this software as an item of ContributingEquipmentSequence."""
        from highdicom import ContributingEquipment
        from pydicom.sr.codedict import codes

        return ContributingEquipment(
            manufacturer="The kfine developers",
            manufacturer_model_name="kfine",
            software_versions=__version__,
            purpose_of_reference=codes.DCM.ProcessingEquipment,
            contribution_description="Super-resolution; research software, not a medical device",
        )


def references(planes: Iterable[Plane], *, plain: bool = False) -> list[Any]:
    """Return `planes` as items of SourceImageSequence; frames of one file are one item.

    plain: without purpose and frame numbers, for sequences that list referenced images.
    """
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    purpose = codes.DCM.SourceImageForImageProcessingOperation
    files: dict[str, list[Plane]] = defaultdict(list)
    for plane in planes:
        files[plane.uid].append(plane)
    items = []
    for uid, frames in files.items():
        item = item_of(ReferencedSOPClassUID=frames[0].file.header.SOPClassUID, ReferencedSOPInstanceUID=uid)
        if not plain:
            item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(purpose)]
            if frames[0].file.frames > 1:
                item.ReferencedFrameNumber = sorted({frame.index + 1 for frame in frames})
        items.append(item)
    return items


def put(dataset: Any, **values: Any) -> None:
    """Write `values` by keyword into `dataset`."""
    for keyword, value in values.items():
        setattr(dataset, keyword, value)


def item_of(**values: Any) -> Any:
    """Return a data set of `values` by keyword."""
    from pydicom.dataset import Dataset

    item = Dataset()
    put(item, **values)
    return item


def series_number(source: int | None, *, which: int) -> int:
    """Return the number of the derived series `which` (1, 2, ...) of series `source`.

    >>> series_number(4, which=1), series_number(None, which=2)
    (401, 2)
    """
    number = _SERIES * max(source or 0, 0) + which
    return number if number <= _LARGEST else which


def suffixed(description: str, suffix: str) -> str:
    """Return a series description with `suffix`, cut to DICOM's length.

    >>> suffixed("sax cine", "kfine std")
    'sax cine kfine std'
    """
    room = _LONGEST["LO"] - len(suffix) - 1
    return f"{description[:room].strip()} {suffix}".strip()


def _fitting(text: str, kind: str) -> str:
    plain = text.encode("ascii", "replace").decode()
    return one_line(plain)[: _LONGEST[kind]]
