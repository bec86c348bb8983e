"""The figure and the moving picture of a cine: the region and the line that move, times, and the loop."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Picture

import kfine
from kfine.acquisition.timing import timing_of_image
from kfine.errors import InputError, UsageError
from kfine.image import Image
from kfine.viz.animation import animate
from kfine.viz.cine import draw_cine
from kfine.viz.view import liveliest_slice, make_cine_scene
from tests.conftest import beating


def case(frames=6, *, frames_scale=2, **options):
    """Return a low-resolution cine, its restoration and their timing."""
    low = kfine.degrade(beating(frames, matrix=(64, 56), **options), matrix=(32, 28))
    mean = kfine.restore(
        low, scale=2, frames_scale=frames_scale, method="zero-filling", time_method="linear"
    ).mean
    return low, mean, timing_of_image(low, frames_scale=frames_scale, frames=None)


def moving_bar(across):
    """Return a cine of a body in air, in slice 1 of which a bar moves along a row or a column, off the centre."""
    voxels = np.zeros((8, 2, 60, 80), np.float32)
    voxels[:, :, 6:54, 8:72] = 400
    for frame in range(8):
        voxels[frame, 1, 20:24, 50 + frame : 56 + frame] = 700
    if not across:
        voxels = voxels.swapaxes(2, 3)
    return Image(voxels, frame_times=tuple(0.1 * n for n in range(8)), period=0.8)


@pytest.mark.parametrize("across", [True, False])
def test_the_slice_the_region_and_the_line_are_where_it_moves(across):
    cine = moving_bar(across)
    assert liveliest_slice(cine) == 1
    scene = make_cine_scene(cine, timing_of_image(cine, frames_scale=None, frames=None))
    assert scene.still.index == 1
    assert scene.line.across == across
    row, column = (22 - 30, 56.5 - 40) if across else (56.5 - 40, 22 - 30)
    zoom = scene.still.zoom
    assert zoom.top < row < zoom.bottom
    assert zoom.left < column < zoom.right
    assert scene.line.place == pytest.approx(row if across else column, abs=2.5)
    picture = scene.along_line(cine)
    assert picture.shape[1] == 8
    peaks = [np.flatnonzero(course > 550).mean() for course in picture.T]
    np.testing.assert_allclose(np.diff(peaks), 1)


def test_what_a_viewer_of_the_input_still_sees():
    low, mean, timing = case(4, period=0.8)
    scene = make_cine_scene(mean, timing)
    assert scene.latest_measured() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert scene.chosen(3) == [1, 5, 7]
    assert scene.label(1) == "100 ms · between frames"
    assert scene.label(2) == "200 ms · measured"
    still = make_cine_scene(low, timing_of_image(low, frames_scale=None, frames=None))
    assert still.chosen(2) == [1, 3]
    assert make_cine_scene(mean, timing, seconds=False).when(3).startswith("frame ")


def test_the_figure_has_a_row_a_time_and_a_column_an_image():
    low, mean, timing = case()
    std = replace(mean, voxels=np.abs(mean.voxels) * 0.01)
    figure = draw_cine(
        low=low, restored={"a": mean, "b": mean}, timing=timing, reference=mean, uncertainty=std, title="t"
    )
    names = {axes.get_label() for axes in figure.axes}
    chosen = [f"frame {n}" for n in make_cine_scene(mean, timing).chosen(3)]
    rows = ["image", *chosen, "line"]
    columns = ["low resolution", "a", "b", "reference", "uncertainty (std)"]
    assert {f"{row}: {column}" for row in rows for column in columns} <= names
    line = next(axes for axes in figure.axes if axes.get_label() == "line: a")
    assert line.images[0].get_array().shape[1] == 2 * 12  # twice round
    words = " ".join(text.get_text() for text in figure.texts)
    assert "line over time" in words
    assert "between frames" in words
    assert "2 heart beats of 900 ms" in words
    assert "inf dB · SSIM 1.0000" in words
    assert "measured" not in " ".join(
        text.get_text()
        for text in draw_cine(low=None, restored={"a": mean}, timing=timing, reference=mean).texts
    )


def test_errors_of_all_methods_have_the_same_scale():
    _, mean, timing = case()
    worse, worst = (replace(mean, voxels=mean.voxels + more) for more in (8.0, 40.0))
    figure = draw_cine(low=None, restored={"a": worse, "b": worst}, timing=timing, reference=mean)
    panels = {axes.get_label(): axes for axes in figure.axes}
    shown = [panels[f"image: error, {name}"].images[0] for name in "ab"]
    scale = 100 / np.ptp(mean.voxels)
    for image, size in zip(shown, (8.0, 40.0), strict=True):
        assert np.ma.median(image.get_array()) == pytest.approx(size * scale, rel=1e-3)
        assert image.get_clim() == shown[1].get_clim()
    assert shown[0].get_clim()[1] >= 40 * scale
    assert "scale: error, b" in panels
    alone = draw_cine(low=None, restored={"a": mean}, timing=timing, reference=mean)
    assert "line: error" in {axes.get_label() for axes in alone.axes}


def test_unsure_voxels_of_a_cine_are_coloured_frame_by_frame():
    low, mean, timing = case()
    width = np.zeros_like(mean.voxels)
    width[0] = 0.2 * np.ptp(mean.voxels)  # the first frame alone
    half = replace(mean, voxels=width)
    figure = draw_cine(low=low, restored={"a": mean}, timing=timing, half_width=half)
    panels = {axes.get_label(): axes for axes in figure.axes}
    later = f"frame {make_cine_scene(mean, timing).chosen(3)[0]}"
    assert panels["image: sure and unsure"].images[1].get_array()[..., 3].all()
    assert not panels[f"{later}: sure and unsure"].images[1].get_array()[..., 3].any()
    words = " ".join(text.get_text() for text in figure.texts)
    assert "unsure: half of the 90 % interval is wider than 5 % of the range" in words


def test_the_animation_loops_in_one_heart_beat(tmp_path):
    low, mean, timing = case(7)
    moving = animate(low=low, restored={"restored": mean}, timing=timing)
    assert len(moving.pictures) == 14
    assert sum(moving.durations) == 900
    moving.save(tmp_path / "a.gif")
    with Picture.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 14
        assert gif.info["loop"] == 0
        assert gif.size == moving.pictures[0].size
        total = 0
        for frame in range(gif.n_frames):
            gif.seek(frame)
            total += gif.info["duration"]
        assert total == 900
    with pytest.raises(UsageError, match="exists already"):
        moving.save(tmp_path / "a.gif")


def test_the_animation_slows_down_rather_than_leave_out_a_frame():
    low, mean, timing = case(10, frames_scale=8)  # 80 frames in 900 ms, 11.25 ms each
    moving = animate(low=low, restored={"restored": mean}, timing=timing)
    assert len(moving.pictures) == 80
    assert moving.durations == [20] * 80


def test_without_times_the_pace_is_fixed():
    low, _, _ = case()
    bare = replace(low, frame_times=None, period=None)
    timing = timing_of_image(bare, frames_scale=2, frames=None)
    mean = kfine.restore(bare, scale=2, frames_scale=2, method="zero-filling", time_method="linear").mean
    moving = animate(low=bare, restored={"restored": mean}, timing=timing)
    assert moving.durations == [50] * 11
    words = [t.get_text() for t in draw_cine(low=bare, restored={"a": mean}, timing=timing).texts]
    assert any("frame 0.5" in word for word in words) or any("frame 1.5" in word for word in words)


def test_refusals():
    low, mean, timing = case()
    with pytest.raises(UsageError, match="at least one"):
        draw_cine(low=low, restored={}, timing=timing)
    with pytest.raises(InputError, match="expected the reference's shape"):
        draw_cine(low=low, restored={"a": mean, "b": low}, timing=timing)
