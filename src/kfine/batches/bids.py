"""BIDS, the Brain Imaging Data Structure: images of a dataset, and the derivative with their restorations.

Names and fields are those of the specification 1.10, https://bids-specification.readthedocs.io.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from kfine._version import __version__
from kfine.acquisition.grid import show
from kfine.batches.finding import RESULT, Case, Search, matches
from kfine.errors import InputError, UsageError
from kfine.files.contents import read_json
from kfine.files.names import files_below
from kfine.image import Image
from kfine.restoration.labels import Restored
from kfine.text import printable

VERSION = "1.10.0"
DESCRIPTION = "dataset_description.json"
SOURCE = "source"  # name of the dataset in BIDS URIs
_NAME = re.compile(
    r"(?P<entities>sub-[0-9A-Za-z+]+(?:_[a-z]+-[0-9A-Za-z+]+)*)_(?P<suffix>[0-9A-Za-z]+)\.nii(?:\.gz)?"
)
# Entities after "res" in a name.
_LAST = ("den", "label", "desc")
# Suffixes in anat/ that are not images: labels, and maps computed from several images.
_NO_IMAGES = {
    "mask", "dseg", "probseg", "defacemask", "T1map", "T2map", "T2starmap", "R1map", "R2map", "R2starmap", "PDmap",
    "MTRmap", "MTsat", "MTVmap", "MWFmap", "T1rho", "M0map", "Chimap", "TB1map", "RB1map", "S0map", "UNIT1",
}  # fmt: skip
_KINDS = {"anat", "dwi", "fmap", "func", "perf"}  # folders of images
_NO_MAGNITUDE = ("phase", "real", "imag")
_UNMASKED = 0.2  # fraction of the voxels: less than a box around a brain has outside of the brain


@dataclass(frozen=True)
class BidsName:
    """Parts of a BIDS file name: entities such as ("sub", "01"), and the suffix, such as "T1w"."""

    entities: tuple[tuple[str, str], ...]
    suffix: str

    @classmethod
    def of(cls, name: str) -> BidsName:
        """Return the parts of a NIfTI file's name, or raise `InputError`."""
        match = _NAME.fullmatch(name)
        if not match:
            raise InputError(f"{printable(name)}: expected a BIDS name such as sub-01_T1w.nii.gz; rename it")
        pairs = (entity.split("-", 1) for entity in match["entities"].split("_"))
        return cls(tuple((key, label) for key, label in pairs), match["suffix"])

    def derived(self, *, resolution: str | None, ending: str = "") -> str:
        """Return the name of the restored image, without the file's suffix.

        The description is `desc-kfine`, or that of the source followed by "Kfine".  `ending` is added to that label.

        >>> BidsName.of("sub-01_run-2_T1w.nii").derived(resolution="2x")
        'sub-01_run-2_res-2x_desc-kfine_T1w'
        """
        entities = dict(self.entities)
        label = (f"{entities['desc']}Kfine" if "desc" in entities else "kfine") + ending
        first = [pair for pair in self.entities if pair[0] not in ("res", *_LAST)]
        res = resolution or entities.get("res")
        middle = [("res", res)] if res else []
        last = [pair for pair in self.entities if pair[0] in _LAST[:-1]]
        pairs = [*first, *middle, *last, ("desc", label)]
        return "_".join([*(f"{key}-{value}" for key, value in pairs), self.suffix])


def is_dataset(top: Path) -> bool:
    """Return whether the folder `top` is a BIDS dataset: it has a description with BIDSVersion, and subjects."""
    return "BIDSVersion" in described(top) and any(path.is_dir() for path in top.glob("sub-*"))


def check_described(top: Path) -> None:
    """Warn about or refuse a folder that looks like a BIDS dataset without a valid description.

    Warns:
        UserWarning: no description; the folder counts as a plain folder.

    Raises:
        InputError: the description is damaged.
    """
    if not any(path.is_dir() for path in top.glob("sub-*")) or is_dataset(top):
        return
    if os.path.lexists(top / DESCRIPTION):
        raise InputError(
            f"{DESCRIPTION}: expected a JSON object with BIDSVersion beside folders sub-*, got something else; repair "
            "it, or remove it to restore a plain folder"
        )
    kinds = {
        path.name for pattern in ("sub-*/*", "sub-*/ses-*/*") for path in top.glob(pattern) if path.is_dir()
    }
    if kinds & _KINDS:
        warnings.warn(
            f"folders sub-*/{min(kinds & _KINDS)} without a {DESCRIPTION}: restored as a plain folder; add that "
            "file to restore a BIDS dataset",
            UserWarning,
            stacklevel=2,
        )


def described(top: Path) -> dict[str, Any]:
    """Return the description of a dataset; empty if it is missing or unreadable."""
    try:
        content = read_json(top / DESCRIPTION)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def find_bids_cases(
    top: Path,
    *,
    out: Path,
    only: Sequence[str] = (),
    resolution: str | None = None,
    force: bool = False,
) -> Search:
    """Return the images in the `anat` folders of the dataset `top`; other images are left out.

    Args:
        top: the dataset.
        out: the output folder, which is not searched.
        only: patterns of labels, as in `kfine.batches.finding`.
        resolution: the label in the names of results (`resolution_label`); it replaces that of an image, so two images
            can get the same name.
        force: whether results of kfine are restored too.
    """
    search = Search()

    def unlisted(folder: Path, error: OSError) -> None:
        reason = error.strerror or type(error).__name__
        where = folder.relative_to(top).as_posix()
        search.failures.append(
            (printable(where), InputError(f"{printable(folder.name)}: cannot be listed ({reason})"))
        )

    for subject in sorted(path for path in top.glob("sub-*") if path.is_dir()):
        for path in files_below(subject, leave=[out], on_error=unlisted):
            if not path.name.endswith((".nii", ".nii.gz")):
                continue
            place = PurePosixPath(path.relative_to(top).as_posix())
            if not matches(printable(place), only):
                continue
            try:
                name = BidsName.of(path.name)
            except InputError as error:
                search.failures.append((printable(place), error))
                continue
            why = _unwanted(place, name, force=force)
            if why is None:
                search.cases.append(Case(printable(place), place, (path,)))
            else:
                search.left_out.append((printable(place), why))
    search.cases.sort(key=lambda case: case.label)
    search.keep_apart(
        lambda case: str(case.place.with_name(BidsName.of(case.place.name).derived(resolution=resolution)))
    )
    return search


def _unwanted(place: PurePosixPath, name: BidsName, *, force: bool) -> str | None:
    """Return the reason why an image is not restored, None if it is."""
    if place.parent.name != "anat":
        return f"{printable(place.parent.name)}: only anat is restored"
    if name.suffix in _NO_IMAGES:
        return f"{name.suffix}: labels and computed maps are not restored"
    entities = dict(name.entities)
    if entities.get("desc", "").lower().endswith(("kfine", "kfinestd")) and not force:
        return f"{RESULT}; force=True restores them"
    part = entities.get("part")
    return f"part-{part}: only magnitudes are restored" if part in _NO_MAGNITUDE else None


def resolution_label(*, scale: float | None, matrix: Sequence[int] | None, slices: str = "") -> str | None:
    """Return the label of the entity `res`: the factor or the matrix, and the slices; None if nothing changes.

    >>> resolution_label(scale=1.5, matrix=None), resolution_label(scale=None, matrix=(256, 192))
    ('1p5x', '256x192')
    >>> resolution_label(scale=None, matrix=None, slices="1mm")
    '1mm'
    """
    plane = ""
    if scale is not None:
        plane = f"{scale:g}x".replace(".", "p").replace("-", "m")
    elif matrix:
        plane = "x".join(map(str, matrix))
    return plane + slices or None


def source_uri(case: Case) -> str:
    """Return the BIDS URI of the image of a case."""
    return f"bids:{SOURCE}:{case.place.as_posix()}"


def derivative_description(top: Path, out: Path) -> dict[str, Any]:
    """Return the description of the derivative `out` of the dataset `top`."""
    source = described(top)
    doi = source.get("DatasetDOI")
    named = isinstance(doi, str) and doi.startswith("doi:")
    url = doi if named else Path(os.path.relpath(os.path.realpath(top), os.path.realpath(out))).as_posix()
    name = source.get("Name")
    return {
        "Name": f"{name if isinstance(name, str) and name else 'A BIDS dataset'}, restored by kfine",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        **({"License": source["License"]} if isinstance(source.get("License"), str) else {}),
        "GeneratedBy": [
            {
                "Name": "kfine",
                "Version": __version__,
                "Description": "super-resolution of MR images with diffusion models; the JSON file of each image has "
                "the model and the options under kfine",
            }
        ],
        "SourceDatasets": [{"URL": url}],
        "DatasetLinks": {SOURCE: url},
    }


def check_derivative(out: Path) -> None:
    """Raise `UsageError` if `out` is a dataset of another program."""
    if not os.path.lexists(out / DESCRIPTION):
        return
    makers = described(out).get("GeneratedBy")
    listed = makers if isinstance(makers, list) else []
    if not any(isinstance(maker, dict) and maker.get("Name") == "kfine" for maker in listed):
        raise UsageError(
            f"{printable(out.name)}: another dataset ({DESCRIPTION} does not name kfine); choose another folder"
        )


def bids_sidecar(result: Restored, case: Case, *, of_std: bool = False) -> dict[str, Any]:
    """Return the content of the JSON file of a restored image, or of its standard deviation.

    SkullStripped is present only if it is known.
    """
    record = result.provenance
    image = result.mean
    stripped = None if result.low is None else skull_stripped(result.low, case.paths[0])
    sizes = " x ".join(f"{size:.4g}" for size in image.voxel_sizes[1:])
    what = "Standard deviation, voxel by voxel, of the samples of the" if of_std else "The"
    return {
        "Description": f"{what} image at higher resolution, restored by kfine, method {record.method}",
        "Sources": [source_uri(case)],
        "SpatialReference": source_uri(case),
        "Resolution": f"{sizes} mm in plane: matrix {show(record.restored)}, of which the central "
        f"{show(record.measured)} of k-space is the source's; slices {image.voxel_sizes[0]:.4g} mm apart as in "
        "the source",
        **({} if stripped is None else {"SkullStripped": stripped}),
        "kfine": record.as_dict(),
    }


def stated_skull_stripped(path: Path) -> bool | None:
    """Return SkullStripped of the JSON file beside the image `path`, None if it is not stated."""
    sidecar = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    try:
        stated = read_json(sidecar)["SkullStripped"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return stated if isinstance(stated, bool) else None


def skull_stripped(low: Image, path: Path) -> bool | None:
    """Return whether the image `low` from `path` shows the brain alone, None if that is not known.

    The JSON file may state it.  Otherwise, an image with few voxels of exactly 0 has its air and thus its skull; an
    image with many may be a brain, or a head with masked air.
    """
    stated = stated_skull_stripped(path)
    if stated is not None:
        return stated
    return False if float(np.mean(low.voxels == 0)) < _UNMASKED else None
