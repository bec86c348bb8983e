"""The detector's table from features alone: real planes within it, foreign ones beyond, subjects kept apart."""

import math

import domain
import numpy as np
import pytest

from kfine.methods.novelty import FEATURES, novelty_features

SIZE = FEATURES.index("size")


@pytest.fixture(scope="module")
def rows():
    """Features of two anatomies and a foreign kind, Gaussian, of 10 training and 10 validation subjects."""
    rng, labels, features = np.random.default_rng(0), [], []
    shift = rng.standard_normal((3, len(FEATURES)))
    for number, kind in enumerate(("brain", "heart", "phantom")):
        for subject in range(20):
            for _ in range(20):
                x = rng.standard_normal(len(FEATURES)) + 1.5 * shift[number]
                x[SIZE] = math.log(40 if rng.random() < 0.5 else 120) + 0.1 * rng.standard_normal()
                label = {"kind": kind, "validation": subject >= 10, "scan": "any", "source": kind}
                if kind == "phantom":
                    label |= {"foreign": "phantom", "name": "one"}
                else:
                    label |= {"subject": f"{kind}{subject}", "image": f"{kind}{subject}", "axis": 0}
                labels.append(label)
                features.append(x)
    far = [{"kind": "far", "foreign": "far", "name": "one", "validation": True}] * 50
    return labels + far, np.array([*features, *(rng.standard_normal((50, len(FEATURES))) * 4)])


def test_false_alarms_are_as_rare_as_asked_and_foreign_planes_are_found(rows):
    labels, features = rows
    table = domain.fitted_table(labels, features)
    assert table.subjects == 20
    assert table.planes == 400
    assert table.false_alarms < 0.04  # 400 planes; 1 % is asked for
    found = {}
    for label, x in zip(labels, features, strict=True):
        if label["validation"]:
            found.setdefault(label["kind"], []).append(table.distance(x))
    assert np.mean([one.foreign for one in found["far"]]) > 0.95
    assert np.mean([one.foreign for one in found["phantom"]]) > 0.9
    assert np.mean([one.nearest == "heart" for one in found["heart"]]) > 0.9
    text = domain.report(table, labels, features)
    assert "| far | 50 |" in text
    assert "| heart (200) |" in text


def test_the_area_under_the_curve_counts_pairs():
    assert domain.auroc(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 1
    assert domain.auroc(np.array([1.0, 3.0]), np.array([2.0, 4.0])) == 0.75


def test_shuffled_blocks_are_those_of_the_image():
    x = np.arange(48.0).reshape(6, 8)
    mixed = domain.shuffled(x, np.random.default_rng(0), 2)
    blocks = {tuple(x[i : i + 2, j : j + 2].ravel()) for i in (0, 2, 4) for j in (0, 2, 4, 6)}
    assert {tuple(mixed[i : i + 2, j : j + 2].ravel()) for i in (0, 2, 4) for j in (0, 2, 4, 6)} == blocks
    assert not np.array_equal(mixed, x)


def test_foreign_images_without_data_have_features():
    rng = np.random.default_rng(0)
    for kind in domain.NOISES:
        assert np.isfinite(novelty_features(domain.noise_of(kind, 48, rng))).all()
    for kind in ("ellipses", "boxes", "stripes", "ramp"):
        assert np.isfinite(novelty_features(domain.shapes_of(kind, 64, rng))).all()
    assert np.isfinite(novelty_features(domain.phantom_of(rng, training=True))).all()
