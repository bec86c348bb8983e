"""Files of raw k-space: fastMRI, ISMRMRD as its own package writes it, BART."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from raw_files import (
    COILS,
    COLUMNS,
    ROWS,
    coils,
    measured,
    noise,
    thing,
    to_kspace,
    write_bart,
    write_fastmri,
    xml_header,
)
from refusals import refused

from kfine.cli import run
from kfine.errors import InputError, UsageError
from kfine.io import read
from kfine.io.kspace.ismrmrd import _readouts as readouts_of

h5py = pytest.importorskip("h5py")
ismrmrd = pytest.importorskip("ismrmrd")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
OBJECT = np.abs(thing()) > 0.5
BIT = {"noise": 1 << 18, "calibration": 1 << 19, "reversed": 1 << 21}
NO_IMAGE = [
    getattr(ismrmrd, f"ACQ_IS_{name}")
    for name in (
        "NAVIGATION_DATA", "PHASECORR_DATA", "HPFEEDBACK_DATA", "DUMMYSCAN_DATA", "RTFEEDBACK_DATA",
        "SURFACECOILCORRECTIONSCAN_DATA", "PHASE_STABILIZATION_REFERENCE", "PHASE_STABILIZATION",
    )
]  # fmt: skip


def oversampled(count: int = COILS, axis: int = -2) -> np.ndarray:
    """Return the coils' k-space with twice the field of view along an axis."""
    images = coils(count) * thing()
    rows, columns = (ROWS // 2, 0) if axis == -2 else (0, COLUMNS // 2)
    return to_kspace(np.pad(images, ((0, 0), (rows, rows), (columns, columns)))).astype(np.complex64)


def test_fastmri(tmp_path: Path) -> None:
    header = xml_header(
        (2 * ROWS, COLUMNS, 1), (192, 100, 3), recon=(ROWS, COLUMNS, 1), recon_fov=(96, 100, 3)
    )
    kspace = np.stack([oversampled(), 0.5 * oversampled()])
    write_fastmri(tmp_path / "a.h5", kspace, header)
    image = read(tmp_path / "a.h5")
    assert image.voxels.shape == (1, 2, ROWS, COLUMNS)
    assert image.voxel_sizes == pytest.approx((3, 2, 2.5))
    assert image.source.acquisition["oversampling_removed"]
    assert (image.source.kind, len(image.source.digest)) == ("kspace", 64)
    assert_allclose(np.abs(image.voxels[0, 0])[OBJECT], np.abs(thing())[OBJECT], atol=0.03)
    assert_allclose(np.abs(image.voxels[0, 1]), 0.5 * np.abs(image.voxels[0, 0]), atol=1e-4)


def test_fastmri_of_one_coil_without_header(tmp_path: Path) -> None:
    kspace = np.stack([to_kspace(thing())] * 3).astype(np.complex64)
    write_fastmri(tmp_path / "a.h5", kspace, None)
    image = read(tmp_path / "a.h5")
    assert_allclose(image.voxels[0, 2], thing(), atol=1e-5)
    assert image.voxel_sizes == (1, 1, 1)


def test_bart(tmp_path: Path) -> None:
    kspace = measured()
    # Readout, phases, partitions, coils.
    path = write_bart(tmp_path / "a", kspace.transpose(1, 2, 0)[:, :, None])
    expected = np.abs(thing())[OBJECT]
    for half in (path, path.with_suffix(".hdr")):
        with pytest.warns(UserWarning, match="no voxel size: 1 mm is assumed"):
            image = read(half)
        assert_allclose(np.abs(image.voxels[0, 0])[OBJECT], expected, atol=0.03)


def test_bart_in_time_and_in_three_dimensions(tmp_path: Path) -> None:
    frames = np.stack([thing() * (1 + f) for f in range(3)])
    array = np.zeros((ROWS, COLUMNS, *(1,) * 8, 3), np.complex64)
    array[...] = np.moveaxis(to_kspace(frames), 0, -1).reshape(array.shape)
    assert_allclose(read(write_bart(tmp_path / "a", array)).voxels[:, 0], frames, atol=1e-4)
    slab = np.stack([thing() * (1 + s) for s in range(5)])
    array = np.moveaxis(to_kspace(slab, (0, 1, 2)), 0, -1)
    assert_allclose(read(write_bart(tmp_path / "b", array)).voxels[0], slab, atol=1e-4)


def test_bart_slice_across_the_readout(tmp_path: Path) -> None:
    """`bart slice 0` of a 3-D scan leaves one readout sample; phases and partitions are the plane."""
    kspace = measured()
    kspace[:, 1::2, 3] = 0  # sampled differently in the two phase directions, as no slab may be
    path = write_bart(tmp_path / "a", kspace.transpose(1, 2, 0)[None])
    np.save(tmp_path / "a.npy", kspace)
    with pytest.warns(UserWarning, match="4 coils combined"):
        image = read(path)
    assert image.voxels.shape == (1, 1, ROWS, COLUMNS)
    assert_allclose(image.voxels, read(tmp_path / "a.npy", coil_axis=0).voxels, atol=1e-6)


def test_bart_slices_across_the_readout_in_time(tmp_path: Path) -> None:
    frames = np.stack([thing() * (1 + f) for f in range(3)])
    array = np.moveaxis(to_kspace(frames), 0, -1).reshape(1, ROWS, COLUMNS, *(1,) * 7, 3)
    assert_allclose(read(write_bart(tmp_path / "a", array)).voxels[:, 0], frames, atol=1e-4)


def acquisition(samples: np.ndarray, *, flags: int = 0, centre: int | None = None, **index: int):
    """Return a readout (coil, sample)."""
    readout = ismrmrd.Acquisition()
    readout.resize(samples.shape[1], len(samples))
    readout.available_channels = len(samples)
    readout.center_sample = samples.shape[1] // 2 if centre is None else centre
    # An axial plane: rows run to the back, columns to the left of the patient.
    readout.read_dir[:], readout.phase_dir[:], readout.slice_dir[:] = (1, 0, 0), (0, 1, 0), (0, 0, 1)
    for key, value in index.items():
        if key == "position":
            readout.position[:] = value
        else:
            setattr(readout.idx, key, value)
    readout.flags = flags
    readout.data[:] = samples
    return readout


def write_mrd(path: Path, header: str, readouts: list) -> Path:
    dataset = ismrmrd.Dataset(str(path), "dataset", True)
    dataset.write_xml_header(header)
    for readout in readouts:
        dataset.append_acquisition(readout)
    dataset.close()
    return path


HEADER = xml_header((COLUMNS, ROWS, 1), (100, 96, 3), centre=ROWS // 2)


def lines(kspace: np.ndarray, **index) -> list:
    return [acquisition(kspace[:, row], kspace_encode_step_1=row, **index) for row in range(ROWS)]


@pytest.mark.parametrize(
    ("places", "listed"),
    [
        ([{"contrast": 0}, {"contrast": 1}, {"contrast": 4}], "2 (contrast 1, set 0), 3 (contrast 4, set 0)"),
        ([{"set": 0}, {"set": 1}], "1 (contrast 0, set 0), 2 (contrast 0, set 1)"),
        (
            [{"contrast": c, "set": s} for c in (0, 1) for s in (0, 1)],
            "3 (contrast 1, set 0), 4 (contrast 1, set 1)",
        ),
    ],
)
def test_ismrmrd_with_several_contrasts_or_sets(tmp_path: Path, places: list, listed: str, capsys) -> None:
    kspace = measured()
    readouts = [line for number, place in enumerate(places, 1) for line in lines(number * kspace, **place)]
    path = write_mrd(tmp_path / "a.h5", HEADER, readouts)
    refused(InputError, listed, read, path)
    for wrong in (0, len(places) + 1):
        refused(UsageError, f"contrast {wrong}: expected one of 1 (", read, path, contrast=wrong)
    first = np.abs(read(path, contrast=1).voxels)
    for number in range(2, len(places) + 1):
        assert_allclose(np.abs(read(path, contrast=number).voxels), number * first, rtol=1e-4, atol=1e-3)
    assert run(["info", str(path)]) == 4
    assert "--contrast N" in capsys.readouterr().err


def test_the_command_line_selects_a_contrast(tmp_path: Path) -> None:
    readouts = [line for number in (1, 2) for line in lines(number * measured(), contrast=number)]
    path = write_mrd(tmp_path / "a.h5", HEADER, readouts)
    assert run(["restore", str(path), "--scale", "1.5", "--method", "zero-filling", "--contrast", "2"]) == 0
    (made,) = tmp_path.glob("*_kfine.json")
    record = json.loads(made.read_text())
    assert "_contrast-2_" in made.name
    assert record["call"]["reading"] == {"contrast": 2}


def test_ismrmrd_with_readout_oversampling(tmp_path: Path) -> None:
    header = xml_header(
        (2 * COLUMNS, ROWS, 1), (200, 96, 3), recon=(COLUMNS, ROWS, 1), recon_fov=(100, 96, 3)
    )
    path = write_mrd(tmp_path / "a.h5", header, lines(oversampled(axis=-1), position=(10, 20, 30)))
    image = read(path)
    assert image.matrix == (ROWS, COLUMNS)
    assert image.voxel_sizes == pytest.approx((3, 2, 2.5))
    assert_allclose(np.abs(image.voxels[0, 0])[OBJECT], np.abs(thing())[OBJECT], atol=0.03)
    # The centre of the plane, from the patient's LPS to RAS.
    assert_allclose(image.affine @ [0, ROWS // 2, COLUMNS // 2, 1], [-10, -20, 30, 1], atol=1e-5)
    assert_allclose(image.affine[:3, :3], [[0, 0, -2.5], [0, -2, 0], [3, 0, 0]], atol=1e-6)


def test_ismrmrd_slices_in_any_order_averages_and_what_is_no_image(tmp_path: Path) -> None:
    kspace = measured()
    readouts = [acquisition(noise((COILS, 4000), 0.1, 1).astype(np.complex64), flags=BIT["noise"])]
    for number, (place, factor) in enumerate([(0.0, 1), (8.0, 3), (4.0, 2)]):
        where = {"slice": number, "position": (0, 0, place)}
        readouts += lines(kspace * factor * 1.5, average=0, **where)
        readouts += lines(kspace * factor * 0.5, average=1, **where)
        # In the middle of k-space, where any of them would ruin the image.
        centre = {"kspace_encode_step_1": ROWS // 2, **where}
        readouts += [acquisition(kspace[:, 20] * 99, flags=1 << bit - 1, **centre) for bit in NO_IMAGE]
        readouts.append(
            acquisition(kspace[:, 20] * 99, flags=BIT["calibration"], kspace_encode_step_1=20, **where)
        )
    image = read(write_mrd(tmp_path / "a.h5", HEADER, readouts))
    assert image.voxels.shape == (1, 3, ROWS, COLUMNS)
    assert image.voxel_sizes[0] == pytest.approx(4)
    for number in range(3):
        ratio = np.abs(image.voxels[0, number])[OBJECT] / np.abs(thing())[OBJECT]
        assert np.median(ratio) == pytest.approx(number + 1, rel=0.03)


def test_ismrmrd_partial_fourier_asymmetric_echo_and_reversed_lines(tmp_path: Path) -> None:
    kspace = measured(1) + noise((1, ROWS, COLUMNS), 0.001).astype(np.complex64)
    readouts = []
    for row in range(16, ROWS):
        line = kspace[:, row, 10:]
        back = row % 2 == 1
        readouts.append(
            acquisition(
                line[:, ::-1] if back else line,
                flags=BIT["reversed"] if back else 0,
                centre=COLUMNS - 1 - COLUMNS // 2 if back else COLUMNS // 2 - 10,
                kspace_encode_step_1=row - 16,
            )
        )
    header = xml_header((COLUMNS, ROWS, 1), (100, 96, 3), centre=ROWS // 2 - 16)
    image = read(write_mrd(tmp_path / "a.h5", header, readouts))
    # Rows -8 to 23 and columns -10 to 19 about the origin.
    assert image.matrix == (47, 39)
    assert image.coverage[15:, 9:].all()
    assert image.coverage.sum() == 32 * 30
    gain = (47 * 39 / (ROWS * COLUMNS)) ** 0.5
    assert_allclose(to_kspace(image.voxels[0, 0])[15:, 9:], kspace[0, 16:, 10:] * gain, atol=1e-5)


@pytest.mark.parametrize("columns", [COLUMNS, COLUMNS - 1])
@pytest.mark.parametrize("centre", ["mirrored", "as sampled", "unset"])
def test_ismrmrd_reversed_full_lines(tmp_path: Path, columns: int, centre: str) -> None:
    kspace = to_kspace(thing()[:, :columns])[None].astype(np.complex64)
    told = {"mirrored": columns // 2, "as sampled": columns - 1 - columns // 2, "unset": 0}[centre]
    readouts = [
        acquisition(kspace[:, row, ::-1], flags=BIT["reversed"], centre=told, kspace_encode_step_1=row)
        if row % 2
        else acquisition(kspace[:, row], kspace_encode_step_1=row)
        for row in range(ROWS)
    ]
    header = xml_header((columns, ROWS, 1), (100, 96, 3), centre=ROWS // 2)
    image = read(write_mrd(tmp_path / "a.h5", header, readouts))
    assert_allclose(to_kspace(image.voxels[0, 0]), kspace[0], atol=1e-4)


def test_only_chunks_with_wanted_readouts_are_read() -> None:
    class Counted:
        def __init__(self) -> None:
            self.starts: list[int] = []

        def fields(self, name: str) -> "Counted":
            assert name == "data"
            return self

        def __getitem__(self, part: slice) -> list[int]:
            self.starts.append(part.start)
            return list(range(1000)[part])

    data = Counted()
    wanted = np.array([3, 200, 900])
    assert list(readouts_of(data, wanted)) == [(3, 3), (200, 200), (900, 900)]
    assert data.starts == [0, 768]


def test_ismrmrd_frames(tmp_path: Path) -> None:
    readouts = [line for phase in range(3) for line in lines(measured(1) * (phase + 1), phase=phase)]
    image = read(write_mrd(tmp_path / "a.h5", HEADER, readouts))
    assert image.frames == 3
    assert_allclose(image.voxels[2], 3 * image.voxels[0], atol=1e-4)
