"""The table of the detector of foreign images: distances, and files that are no such table."""

import json

import numpy as np
import pytest

from kfine.errors import ModelError
from kfine.methods.novelty import FEATURES
from kfine.models.checkpoint import PACKAGED
from kfine.models.novelty import FILE, Kind, NoveltyTable, SizeClass

NAMES = ("size", "a", "b")
COVARIANCE = np.array([[1.0, 0.3, 0.0], [0.3, 2.0, -0.4], [0.0, -0.4, 0.5]])


def table(**changes):
    factor = np.linalg.cholesky(np.linalg.inv(COVARIANCE))
    rows = tuple(tuple(row[: place + 1]) for place, row in enumerate(factor))
    small = SizeClass(below=4.0, kinds=(Kind(name="heart", mean=(0, 1, 1)),), factor=rows, limit=1.0)
    kinds = (
        Kind(name="brain", mean=(1, 0, 0)),
        Kind(name="heart", mean=(1, 2, 0)),
        Kind(name="phantom", mean=(1, -2, 0), foreign=True),
    )
    large = SizeClass(below=None, kinds=kinds, factor=rows, limit=3.0, margin=0.1)
    values = {
        "features": NAMES,
        "centre": (3.0, 0.0, 10.0),
        "scale": (1.0, 2.0, 1.0),
        "classes": (small, large),
        "planes": 9,
        "subjects": 2,
    }
    return NoveltyTable(**values | changes)


def test_the_distance_is_that_of_mahalanobis_to_the_nearest_anatomy():
    found = table().distance(np.array([5.0, 1.0, 12.0]))
    units = np.array([2.0, 0.5, 2.0])
    apart = [units - np.array(mean) for mean in ((1, 0, 0), (1, 2, 0))]
    lengths = [np.sqrt(each @ np.linalg.inv(COVARIANCE) @ each) / 3 for each in apart]
    assert found.apart == pytest.approx(min(lengths))
    assert found.nearest == ("brain", "heart")[int(np.argmin(lengths))]
    assert found.distance == pytest.approx(max(min(lengths), 1 + found.nearer))


def test_each_size_has_its_own_limit():
    found = table()
    near = np.array([3.0, 2.0, 11.0])
    assert found.distance(near).apart == pytest.approx(0, abs=1e-9)
    assert found.distance(near).nearest == "heart"
    assert found.distance(np.array([4.0, 0.0, 10.0])).nearest == "brain"  # of the second class


def test_a_plane_that_is_clearly_nearer_to_a_foreign_kind_is_foreign():
    found = table().distance(np.array([4.0, -4.0, 10.0]))
    assert found.nearest == "phantom"
    assert found.apart < 1 < found.distance
    assert found.foreign
    between = table().distance(np.array([4.0, -2.0, 10.0]))  # as far from one as from the other
    assert between.nearer == pytest.approx(-0.1)
    assert not between.foreign


def test_what_is_most_unlike_is_named():
    assert table().distance(np.array([4.0, 0.0, 10.9])).odd == "b"
    assert table().distance(np.array([4.0, np.nan, 10.0])).foreign  # not a number is like nothing


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"scale": (1.0, 0.0, 1.0)}, "scale.1"),
        ({"features": ("a", "b", "c")}, "'size' among them"),
        ({"centre": (0.0, 0.0)}, "a centre and a scale"),
        ({"classes": ()}, "classes"),
        ({"planes": 0}, "planes"),
        ({"more": 1}, "more"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, changes, says):
    content = json.loads(table().model_dump_json()) | changes
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(ModelError, match=says):
        NoveltyTable.of(tmp_path)


def test_files_that_are_no_table_are_refused(tmp_path):
    assert NoveltyTable.of(tmp_path) is None
    (tmp_path / FILE).write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        NoveltyTable.of(tmp_path)
    content = json.loads(table().model_dump_json())
    content["classes"][1]["factor"][2] = [1.0]
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(ModelError, match="lower triangle"):
        NoveltyTable.of(tmp_path)
    content = json.loads(table().model_dump_json())
    content["classes"].reverse()
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(ModelError, match="increasing sizes"):
        NoveltyTable.of(tmp_path)


def test_the_packaged_core_has_a_table_of_today_s_features():
    packaged = NoveltyTable.of(PACKAGED / "core")
    assert packaged is not None
    assert packaged.features == FEATURES
    assert {"brain", "heart", "knee"} <= {kind.name for each in packaged.classes for kind in each.kinds}
    assert packaged.false_alarms is not None
    assert packaged.false_alarms < 0.03
