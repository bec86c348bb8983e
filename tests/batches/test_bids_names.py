"""BIDS names, images of a dataset that are restored, and descriptions of the derivative."""

import json

import pytest

from kfine.batches.bids import (
    BidsName,
    check_derivative,
    derivative_description,
    find_bids_cases,
    is_dataset,
    resolution_label,
    stated_skull_stripped,
)
from kfine.errors import InputError, UsageError


@pytest.mark.parametrize(
    ("name", "res", "derived"),
    [
        ("sub-01_T1w.nii.gz", "2x", "sub-01_res-2x_desc-kfine_T1w"),
        ("sub-01_ses-a_run-2_T1w.nii", "256x256", "sub-01_ses-a_run-2_res-256x256_desc-kfine_T1w"),
        ("sub-01_space-orig_res-low_desc-preproc_T1w.nii", "2x", "sub-01_space-orig_res-2x_desc-preprocKfine_T1w"),
        ("sub-01_res-low_label-GM_desc-x_T1w.nii", None, "sub-01_res-low_label-GM_desc-xKfine_T1w"),
        ("sub-01_T1w.nii", None, "sub-01_desc-kfine_T1w"),
    ],
)  # fmt: skip
def test_derived_names(name, res, derived):
    parts = BidsName.of(name)
    assert parts.derived(resolution=res) == derived
    assert parts.derived(resolution=res, ending="Std") == derived.replace("fine_", "fineStd_")


@pytest.mark.parametrize(
    "name", ["T1w.nii", "sub-01.nii", "sub-0 1_T1w.nii", "sub-01_T1w.nii\n", "sub-\x1b_T1w.nii"]
)
def test_other_names_are_refused(name):
    with pytest.raises(InputError, match="BIDS name") as refusal:
        BidsName.of(name)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize(
    ("scale", "matrix", "label"),
    [(2.0, None, "2x"), (1.25, None, "1p25x"), (None, (3, 4), "3x4"), (None, None, None)],
)
def test_resolution_labels(scale, matrix, label):
    assert resolution_label(scale=scale, matrix=matrix) == label


@pytest.fixture
def dataset(tmp_path):
    def touch(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()

    touch(
        "sub-02/anat/sub-02_T1w.nii.gz", "sub-01/ses-a/anat/sub-01_ses-a_T2w.nii", "sub-01/ses-a/anat/notes.json",
        "sub-01/ses-a/func/sub-01_ses-a_task-x_bold.nii.gz", "sub-01/ses-a/anat/sub-01_ses-a_T1map.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_part-phase_T2w.nii", "derivatives/kfine/sub-01/anat/sub-01_desc-kfine_T1w.nii",
        "sourcedata/x.nii", "sub-02/anat/mine.nii", "sub-02/anat/sub-02_T1w.nii",
        "sub-02/anat/sub-02_desc-kfineStd_T1w.nii",
    )  # fmt: skip
    (tmp_path / "dataset_description.json").write_text('{"Name": "Brains", "BIDSVersion": "1.8.0"}')
    return tmp_path


def test_what_is_restored_of_a_dataset(dataset):
    search = find_bids_cases(dataset, out=dataset / "derivatives" / "kfine")
    assert [case.label for case in search.cases] == [
        "sub-01/ses-a/anat/sub-01_ses-a_T2w.nii",
        "sub-02/anat/sub-02_T1w.nii",
    ]
    assert dict(search.left_out).keys() == {
        "sub-01/ses-a/func/sub-01_ses-a_task-x_bold.nii.gz", "sub-01/ses-a/anat/sub-01_ses-a_T1map.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_part-phase_T2w.nii", "sub-02/anat/sub-02_desc-kfineStd_T1w.nii",
    }  # fmt: skip
    assert dict(search.failures).keys() == {"sub-02/anat/mine.nii", "sub-02/anat/sub-02_T1w.nii.gz"}
    forced = find_bids_cases(dataset, out=dataset / "derivatives" / "kfine", force=True)
    assert {case.label for case in forced.cases} - {case.label for case in search.cases} == {
        "sub-02/anat/sub-02_desc-kfineStd_T1w.nii"
    }
    only = find_bids_cases(dataset, out=dataset / "out", only=["*_T2w.nii"])
    assert (len(only.cases), len(only.failures)) == (1, 0)


def test_images_that_differ_in_resolution_alone_would_share_a_name(dataset):
    for res in ("low", "high"):
        (dataset / "sub-01" / "ses-a" / "anat" / f"sub-01_ses-a_res-{res}_T1w.nii").touch()
    clashes = {}
    for resolution in ("2x", None):
        search = find_bids_cases(dataset, out=dataset / "out", only=["*_res-*"], resolution=resolution)
        clashes[resolution] = [label.rsplit("/")[-1] for label, _ in search.failures]
        assert len(search.cases) + len(search.failures) == 2
    assert clashes == {"2x": ["sub-01_ses-a_res-low_T1w.nii"], None: []}


def test_what_is_a_dataset(dataset):
    assert is_dataset(dataset)
    assert not is_dataset(dataset / "sub-01")
    (dataset / "dataset_description.json").write_text("{")
    assert not is_dataset(dataset)
    (dataset / "sourcedata" / "dataset_description.json").write_text('{"BIDSVersion": "1.8.0"}')
    assert not is_dataset(dataset / "sourcedata")  # no subjects


def test_descriptions(dataset):
    out = dataset / "derivatives" / "kfine"
    description = derivative_description(dataset, out)
    assert (description["Name"], description["DatasetLinks"]) == (
        "Brains, restored by kfine",
        {"source": "../.."},
    )
    (dataset / "dataset_description.json").write_text('{"BIDSVersion": "1.8.0", "DatasetDOI": "doi:10.1/x"}')
    assert derivative_description(dataset, out)["SourceDatasets"] == [{"URL": "doi:10.1/x"}]
    check_derivative(out)
    (out / "dataset_description.json").write_text(json.dumps(description))
    check_derivative(out)
    for other in ('{"GeneratedBy": [{"Name": "fmriprep"}]}', "{", '{"GeneratedBy": 3}'):
        (out / "dataset_description.json").write_text(other)
        with pytest.raises(UsageError, match="another dataset"):
            check_derivative(out)


@pytest.mark.parametrize(
    ("content", "stated"),
    [
        ('{"SkullStripped": true}', True),
        ('{"SkullStripped": "no"}', None),
        ("[]", None),
        ("{", None),
        (None, None),
    ],
)
def test_stated_skull_stripping(tmp_path, content, stated):
    if content is not None:
        (tmp_path / "sub-01_T1w.json").write_text(content)
    assert stated_skull_stripped(tmp_path / "sub-01_T1w.nii.gz") is stated
