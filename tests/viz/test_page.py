"""The page that can be mailed: whole, closed to the outside, true to the voxels."""

import base64
import hashlib
import html
import io
import json
import re

import numpy as np
import pytest
from PIL import Image as Picture

import kfine
from kfine.errors import UsageError
from kfine.image import Image
from kfine.phantom.cine import beating_heart
from kfine.viz.layers import nearest_frames, on_grid_of
from kfine.viz.page import page_of
from tests.conftest import phantom

AFFINE = np.array([[0, 0, -1, 30], [0, 1, 0, -28], [2, 0, 0, 7], [0, 0, 0, 1]], float)


def data_of(page):
    return json.loads(re.search(r"const DATA = (.*);\n", page)[1])


@pytest.fixture
def restored():
    return kfine.restore(Image(phantom((1, 9, 24, 20)), AFFINE), scale=2, method="zero-filling")


def test_it_holds_all_that_it_needs_and_lets_nothing_out(restored):
    page = restored.show().page
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1])
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        body = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}'" in policy
    assert not re.search(r"""(src|href)=["']?(http|//)""", page)
    assert not re.search(r" (style|on\w+)=", page)


def test_pictures_are_the_voxels(restored):
    data = data_of(restored.show().page)
    plane = data["planes"][0]
    assert [plane["name"] for plane in data["planes"]] == ["axial", "coronal", "sagittal"]
    assert plane["indices"] == list(range(9))
    picture = plane["pictures"]["after"][4][0]
    grey = np.asarray(Picture.open(io.BytesIO(base64.b64decode(picture.split(",")[1]))), float)
    voxels = restored.mean.voxels[0, 4] / data["windows"]["grey"] * 255
    # Axial: anterior on top, the patient's left on the right; here rows run forward and columns to the left.
    assert np.abs(grey - voxels[::-1].clip(0, 255).round()).max() <= 1


def test_a_sharp_image_is_one_more_layer():
    image = Image(phantom((1, 1, 16, 16)), AFFINE)
    brighter = Image(1.5 * image.voxels, AFFINE)
    data = data_of(page_of(before=image, after=image, sharp=brighter))
    assert data["sharp"]
    pictures = data["planes"][0]["pictures"]
    assert pictures["sharp"] != pictures["after"]
    assert "sharp" not in data_of(page_of(before=image, after=image))["planes"][0]["pictures"]
    with pytest.raises(UsageError, match="resample"):
        page_of(before=image, after=image, sharp=Image(np.ones((1, 1, 4, 4))))


def test_words_from_outside_are_escaped():
    image = Image(phantom((1, 1, 8, 8)))
    page = page_of(before=image, after=image, title="<script>a</script>", facts=["</script><b>"])
    assert "<script>a" not in page
    assert "<b>" not in page


def test_images_of_two_shapes_are_refused():
    with pytest.raises(UsageError, match="resample"):
        page_of(before=Image(np.ones((1, 1, 4, 4))), after=Image(np.ones((1, 1, 8, 8))))


def test_a_cine_plays_in_true_time():
    heart = beating_heart((24, 24), frames=5, period=1.0)
    data = data_of(kfine.restore(heart, scale=2, method="zero-filling").show().page)
    assert data["times"] == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert data["period"] == 1.0
    assert data["planes"][0]["frames"] == [0, 1, 2, 3, 4]


def test_before_lies_on_the_grid_of_after():
    """A ramp, which linear interpolation keeps, has the world's values on both grids."""
    low = Image(np.broadcast_to(np.arange(16, dtype=np.float32), (1, 1, 16, 16)).copy(), AFFINE)
    high = kfine.restore(low, scale=2, method="nearest").mean
    there = on_grid_of(low, high).voxels[0, 0, 16]
    assert np.allclose(there[2:-4], np.arange(2, 28) / 2, atol=1e-4)


def test_frames_meet_round_the_heart_beat():
    low, high = beating_heart((8, 8), frames=4), beating_heart((8, 8), frames=8)
    assert nearest_frames(low, high)[::2] == [0, 1, 2, 3]
    assert nearest_frames(low, high)[7] in (0, 3)


def test_a_notebook_shows_it(restored):
    shown = restored.show()
    frame = shown._repr_html_()
    assert frame.startswith("<iframe srcdoc=")
    assert html.unescape(re.search(r'srcdoc="([^"]*)"', frame)[1]) == shown.page
    assert shown._repr_png_().startswith(b"\x89PNG")


def test_a_page_stays_small_enough_to_mail():
    image = Image(np.random.default_rng(0).random((1, 60, 192, 192), np.float32), AFFINE)
    page = page_of(before=image, after=image, std=image)
    assert len(page) < 40e6
