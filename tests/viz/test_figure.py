import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib import rcParams
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from kfine.errors import InputError, KfineError, ResourceError, UsageError
from kfine.evaluation.metrics import psnr, ssim
from kfine.image import Image, Source
from kfine.operators.fourier import centre_pad, ifft2c
from kfine.viz.figure import draw, save
from kfine.viz.view import make_scene


def panels(figure: Figure) -> dict:
    return {axes.get_label(): axes for axes in figure.axes}


def pixels(axes) -> np.ndarray:
    return np.ma.filled(axes.images[0].get_array().astype(float), np.nan)


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def rendered(figure: Figure) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="rgba", dpi=40, facecolor=figure.get_facecolor())
    return np.frombuffer(buffer.getvalue(), dtype=np.uint8)


def full(case, **options) -> Figure:
    std = replace(case.reference, voxels=0.05 * np.abs(case.reference.voxels))
    restored = {"zero filling": case.zero_filled, "restored": case.reference}
    return draw(low=case.low, restored=restored, reference=case.reference, uncertainty=std, **options)


def test_the_full_figure_has_every_panel(case):
    columns = ["low resolution", "zero filling", "restored", "reference"]
    figure = full(case, title="A title", provenance="seed 0")
    assert set(panels(figure)) == {
        *(f"{row}: {column}" for row in ("image", "zoom", "k-space") for column in columns),
        "error: zero filling",
        "error: restored",
        "uncertainty",
        "scale: error",
        "scale: uncertainty",
    }
    for expected in (
        *columns,
        "A title",
        "seed 0",
        "slice 1 of 0-2",
        "measured 37 × 31",
        "37 × 31",
        "96 × 80",
    ):
        assert expected in words(figure)


@pytest.mark.parametrize("count", [1, 5])
def test_without_reference_there_are_no_errors(case, count):
    restored = {f"method {number}": case.zero_filled for number in range(count)}
    figure = draw(low=case.low, restored=restored, zoom=False)
    assert len(panels(figure)) == 2 * (count + 1)
    assert "SSIM" not in words(figure)


def test_without_reference_the_uncertainty_is_a_column(case):
    figure = draw(low=case.low, restored={"restored": case.reference}, uncertainty=case.zero_filled)
    assert {"uncertainty", "zoom: uncertainty", "scale: uncertainty"} <= set(panels(figure))
    places = [panels(figure)[name].get_position() for name in ("image: restored", "uncertainty")]
    assert places[0].y0 == pytest.approx(places[1].y0)
    assert places[0].x1 < places[1].x0


def test_where_the_interval_is_wide_voxels_are_unsure(case):
    """Half of the interval is 8 % of the range in the upper half of the image and 2 % in the lower one."""
    data_range = float(np.ptp(case.reference.voxels))
    width = np.full_like(case.reference.voxels, 0.02 * data_range)
    width[:, :, : case.reference.matrix[0] // 2] = 0.08 * data_range
    half = replace(case.reference, voxels=width)
    figure = draw(
        low=case.low, restored={"zero filling": case.zero_filled, "r": case.reference}, half_width=half
    )
    found = panels(figure)
    _, tinted = found["image: sure and unsure"].images
    np.testing.assert_array_equal(pixels(found["image: sure and unsure"]), pixels(found["image: r"]))
    unsure = tinted.get_array()[..., 3] > 0
    np.testing.assert_array_equal(unsure, pixels(found["uncertainty"]) > 5)
    assert 0 < unsure.mean() < 1
    assert found["uncertainty"].collections  # the outline
    assert pixels(found["uncertainty"]).max() == pytest.approx(8, rel=1e-5)
    assert "unsure: half of the 90 % interval is wider than 5 % of the range" in words(figure)
    assert {"zoom: sure and unsure", "scale: uncertainty"} <= set(found)
    boxes = [axes.get_position() for axes in figure.axes]
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number] if other.width > 0)


def test_where_all_is_sure_nothing_is_coloured(case):
    half = replace(case.reference, voxels=np.zeros_like(case.reference.voxels))
    found = panels(draw(low=None, restored={"r": case.reference}, half_width=half))
    assert not found["image: sure and unsure"].images[1].get_array()[..., 3].any()
    assert not found["uncertainty"].collections


def test_beside_errors_the_interval_lies_below_the_reference(case):
    half = replace(case.reference, voxels=0.1 * np.abs(case.reference.voxels))
    figure = draw(low=None, restored={"r": case.zero_filled}, reference=case.reference, half_width=half)
    assert "image: sure and unsure" not in panels(figure)
    assert panels(figure)["uncertainty"].collections
    assert "90 % interval (±)" in words(figure)


def test_a_comparison_needs_no_input(case):
    figure = draw(low=None, reference=case.reference, restored={"zero filling": case.zero_filled})
    assert "image: low resolution" not in panels(figure)
    assert not [patch for axes in figure.axes if "k-space" in axes.get_label() for patch in axes.patches]


def test_no_panel_leaves_the_page_or_covers_another(case):
    for figure in (full(case), draw(low=None, reference=case.reference, restored={"a": case.zero_filled})):
        boxes = [axes.get_position() for axes in figure.axes]
        for number, box in enumerate(boxes):
            assert min(box.x0, box.y0) >= 0
            assert max(box.x1, box.y1) <= 1
            assert not any(box.overlaps(other) for other in boxes[:number] if other.width > 0)


def test_no_text_leaves_the_page(case):
    long = "sub-01_ses-02_acq-mprage_rec-something_T1w_restored.nii.gz"
    figure = draw(low=None, restored={long: case.zero_filled}, reference=case.reference, provenance=long * 8)
    figure.canvas.draw()
    page = figure.bbox
    for text in figure.texts:
        extent = text.get_window_extent()
        assert extent.x0 >= page.x0, text
        assert extent.x1 <= page.x1, text
        assert extent.y0 >= page.y0, text


def test_scores_are_those_of_the_slice_over_the_volume_s_range(case):
    a, b = case.reference.voxels[0, 0], case.zero_filled.voxels[0, 0]
    data_range = float(case.reference.voxels.max() - case.reference.voxels.min())
    expected = f"{psnr(a, b, data_range=data_range):.2f} dB · SSIM {ssim(a, b, data_range=data_range):.3f}"
    assert expected in words(full(case, slice_index=0))
    assert expected not in words(full(case, slice_index=1))


def test_errors_share_one_scale_in_percent_of_the_range(case):
    figure = full(case)
    first, second = panels(figure)["error: zero filling"], panels(figure)["error: restored"]
    assert first.images[0].get_clim() == second.images[0].get_clim()
    assert not pixels(second).any()  # restored is the reference here
    error = np.abs(case.zero_filled.voxels - case.reference.voxels)[0, 1]
    assert pixels(first).max() == pytest.approx(100 * error.max() / np.ptp(case.reference.voxels), rel=1e-5)


def test_uncertainty_is_in_percent_of_the_range(case):
    """The standard deviation of `full` is 5 % of the reference, whose maximum is its range."""
    shown = pixels(panels(full(case))["uncertainty"])
    expected = 5 * case.reference.voxels[0, 1] / np.ptp(case.reference.voxels)
    assert shown.max() == pytest.approx(expected.max(), rel=1e-5)
    assert shown.mean() == pytest.approx(expected.mean(), rel=1e-5)


def test_the_scan_s_kspace_is_that_of_the_reference_inside_the_block(case):
    figure = draw(low=case.low, restored={"restored": case.reference}, slice_index=1)
    low, high = (pixels(panels(figure)[f"k-space: {name}"]) for name in ("low resolution", "restored"))
    known = np.isfinite(low)
    assert known.sum() == 37 * 31
    np.testing.assert_allclose(10 ** low[known], 10 ** high[known], rtol=1e-3, atol=0.1)


def test_images_share_one_grey_window(case):
    limits = {axes.images[0].get_clim() for name, axes in panels(full(case)).items() if "image" in name}
    plane = case.reference.voxels[0, 1]
    rows, columns = (slice(n // 4, n - n // 4) for n in plane.shape)  # not what is bright beside a coil
    assert limits == {(0.0, float(np.percentile(plane[rows, columns], 99.8)))}


def outlined(axes) -> tuple[slice, slice]:
    """The k-space indices (rows, columns) inside the rectangle."""
    (patch,) = (patch for patch in axes.patches if isinstance(patch, Rectangle))
    (x, y), width, height = patch.get_xy(), patch.get_width(), patch.get_height()
    edges = np.array([y, y + height, x, x + width]) + 0.5
    assert (edges == edges.round()).all()
    top, bottom, left, right = edges.astype(int)
    return slice(top, bottom), slice(left, right)


@pytest.mark.parametrize(("high", "low"), [((96, 80), (37, 31)), ((65, 64), (32, 33)), ((64, 64), (20, 64))])
@pytest.mark.parametrize("signs", [(-1, -1), (1, -1), (1, 1)])
def test_the_rectangle_holds_the_measured_block_and_nothing_else(make_case, high, low, signs):
    reference = make_case(high, low).reference
    reference = replace(reference, affine=reference.affine @ np.diag([1, *signs, 1]))
    complex_image = reference.with_plane(reference.voxels.astype(np.complex64))
    small = complex_image.with_plane(np.ones((1, 3, *low), dtype=np.complex64))
    # A complex image whose k-space is 1 in the measured block and 0 elsewhere.
    kspace = centre_pad(torch.ones((1, 3, *low), dtype=torch.complex64), high)
    filled = complex_image.with_plane(ifft2c(kspace).numpy())
    axes = panels(draw(low=small, restored={"zero filling": filled}, slice_index=1))["k-space: zero filling"]
    expected = np.zeros(axes.images[0].get_array().shape, dtype=bool)
    expected[outlined(axes)] = True
    np.testing.assert_array_equal(pixels(axes) > -1, expected)
    assert expected.sum() == low[0] * low[1]


def test_the_block_that_was_measured_is_outlined_whatever_the_header_says(case):
    low = replace(case.low, source=Source(acquired_matrix=(9, 11)))
    figure = draw(low=low, restored={"restored": case.reference})
    assert f"measured {low.matrix[0]} × {low.matrix[1]}" in words(figure)
    figure = draw(low=low, restored={"restored": case.reference}, measured=(21, 17))
    rows, columns = outlined(panels(figure)["k-space: restored"])
    assert (rows.stop - rows.start, columns.stop - columns.start) == (21, 17)
    assert "measured 21 × 17" in words(figure)


def test_low_and_high_lie_on_the_same_millimetres(make_case):
    """A bright voxel n // 2 of the low grid covers voxel N // 2 of the high one, whatever the flips."""
    for signs in [(1, 1), (-1, 1), (-1, -1)]:
        base = make_case((90, 80), (31, 28)).reference
        base = replace(base, affine=base.affine @ np.diag([1, *signs, 1]))
        centres = []
        for matrix in ((90, 80), (31, 28)):
            voxels = np.zeros((1, 3, *matrix), dtype=np.float32)
            voxels[..., matrix[0] // 2, matrix[1] // 2] = 1
            image, scene = base.with_plane(voxels), make_scene(base, slice_index=1)
            plane, extent = scene.plane(image), scene.extent(matrix)
            row, column = np.argwhere(plane == 1)[0]
            centres.append(
                (
                    extent.top + (row + 0.5) * extent.height / plane.shape[0],
                    extent.left + (column + 0.5) * extent.width / plane.shape[1],
                )
            )
        np.testing.assert_allclose(centres[0], centres[1], atol=1e-9)


def test_the_picture_depends_on_what_is_drawn(case):
    first = rendered(full(case))
    np.testing.assert_array_equal(first, rendered(full(case)))
    changed = case.zero_filled.voxels.copy()
    changed[0, 1, 40:50, 30:50] = 0
    other = rendered(full(replace(case, zero_filled=replace(case.zero_filled, voxels=changed))))
    assert first.shape == other.shape
    assert (first != other).any()


def test_a_picture_of_the_flipped_file_is_the_same_picture(case):
    def flip(image: Image) -> Image:
        affine = image.affine.copy()
        affine[:3, 3] += affine[:3, 2] * (image.matrix[1] - 1)
        affine[:3, 2] *= -1
        return replace(image, voxels=image.voxels[..., ::-1], affine=affine)

    turned = draw(low=None, reference=flip(case.reference), restored={"a": flip(case.zero_filled)})
    straight = draw(low=None, reference=case.reference, restored={"a": case.zero_filled})
    for name in ("image: a", "error: a", "image: reference"):
        np.testing.assert_array_equal(pixels(panels(turned)[name]), pixels(panels(straight)[name]))
        shown = [panels(figure)[name] for figure in (turned, straight)]
        spans = [np.ptp(axes.get_xlim()) for axes in shown]
        assert spans[0] == pytest.approx(spans[1])


def test_drawing_leaves_global_style_alone(case):
    before = dict(rcParams)
    rendered(full(case))
    assert dict(rcParams) == before


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 31), (13, 7), (64, 64)])
def test_any_size_can_be_drawn(shape):
    voxels = np.random.default_rng(0).random((2, 2, *shape)).astype(np.float32)
    image = Image(voxels)
    low = image.with_plane(voxels[..., : max(1, shape[0] // 2), : max(1, shape[1] // 2)])
    rendered(draw(low=low, restored={"a $b$^{": image}, reference=image, uncertainty=image))


def test_mistakes_are_explained(case):
    nan = replace(case.reference, voxels=np.full_like(case.reference.voxels, np.nan))
    restored = {"restored": case.reference}
    shifted = replace(case.low, affine=case.low.affine + np.array([[0, 0, 0, 9.0]] * 3 + [[0] * 4]))
    mistakes: list[tuple[type[KfineError], str, dict]] = [
        (UsageError, "at least one", {"low": case.low, "restored": {}}),
        (InputError, "0 to 2", {"low": case.low, "restored": restored, "slice_index": 3}),
        (InputError, "same grid", {"low": case.low, "restored": restored | {"low": case.low}}),
        (InputError, "at most 37x31", {"low": case.reference, "restored": {"restored": case.low}}),
        (InputError, "field of view", {"low": shifted, "restored": restored}),
        (InputError, "finite", {"low": None, "restored": {"restored": nan}}),
    ]
    for kind, message, options in mistakes:
        with pytest.raises(kind, match=message):
            draw(**options)


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_files_are_written_whole_and_alone(case, tmp_path, suffix, magic):
    path = tmp_path / f"figure.{suffix}"
    save(draw(low=case.low, restored={"restored": case.reference}), path, dpi=40)
    assert path.read_bytes().startswith(magic)
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_overwritten_unasked(case, tmp_path):
    path = tmp_path / "figure.png"
    path.write_text("mine")
    figure = draw(low=case.low, restored={"restored": case.reference})
    with pytest.raises(KfineError, match=r"figure\.png"):
        save(figure, path)
    assert path.read_text() == "mine"
    save(figure, path, overwrite=True, dpi=40)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_failure_leaves_nothing_behind(case, tmp_path, monkeypatch):
    def fail(self, target, **options):
        with open(target, "wb") as stream:
            stream.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(ResourceError, match="cannot be written"):
        save(draw(low=case.low, restored={"restored": case.reference}), tmp_path / "figure.png")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_suffix_is_refused(case, tmp_path):
    with pytest.raises(UsageError, match=r"\.png"):
        save(draw(low=case.low, restored={"restored": case.reference}), tmp_path / "figure.docx")
