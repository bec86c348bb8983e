"""Finished slices on disk: what is damaged or of another recipe counts as not there."""

import numpy as np
import pytest

from kfine.errors import ResourceError
from kfine.restoration.streaming import ResumeStore

ARRAYS = {"mean": np.arange(6.0).reshape(2, 3), "sums": np.ones(2)}


def same(found):
    return set(found) == set(ARRAYS) and all(np.array_equal(found[name], ARRAYS[name]) for name in ARRAYS)


def test_what_was_saved_is_there_for_the_same_recipe_alone(tmp_path):
    parts = ResumeStore(tmp_path / "parts", {"seed": 1})
    assert parts.load(3) is None
    parts.save(3, ARRAYS)
    found = parts.load(3)
    assert same(found)
    assert parts.load(2) is None
    assert ResumeStore(tmp_path / "parts", {"seed": 2}).load(3) is None


@pytest.mark.filterwarnings("ignore:.*restored anew")
def test_a_changed_byte_is_noticed_or_does_not_matter(tmp_path):
    parts = ResumeStore(tmp_path, {"seed": 1})
    parts.save(0, ARRAYS)
    file = tmp_path / "slice-00000.npz"
    whole, lost = file.read_bytes(), 0
    for place in range(0, len(whole), 5):
        for value in (0, 255, whole[place] ^ 1):
            file.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            found = parts.load(0)
            lost += found is None
            assert found is None or same(found)
    assert lost > len(whole) // 5


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "parts").touch()
    with pytest.raises(ResourceError, match="cannot be made"):
        ResumeStore(tmp_path / "parts", {}).save(0, ARRAYS)


@pytest.mark.parametrize("content", [b"", b"PK\3\4 and so on", b"\x93NUMPY\1\0v\0{'descr': 1}"])
def test_a_damaged_part_is_noted(tmp_path, content):
    (tmp_path / "slice-00007.npz").write_bytes(content)
    with pytest.warns(UserWarning, match="slice 7 is restored anew"):
        assert ResumeStore(tmp_path, {}).load(7) is None
