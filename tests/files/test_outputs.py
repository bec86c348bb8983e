"""Files of one command come together or not at all."""

import os

import pytest

from kfine.errors import ResourceError, UsageError
from kfine.files.staging import check_inputs_safe, check_outputs, made_folder, staged


@pytest.fixture
def paths(tmp_path):
    (tmp_path / "other").mkdir()
    return [tmp_path / "a", tmp_path / "b", tmp_path / "other" / "c"]


def write_all(places, text="new"):
    for place in places.values():
        place.write_text(text)


def names(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


def test_all_come_and_nothing_else_stays(paths, tmp_path):
    with staged(paths) as places:
        write_all(places)
        assert not any(path.exists() for path in paths)
        assert [place.parent.parent for place in places.values()] == [path.parent for path in paths]
    assert [path.read_text() for path in paths] == ["new"] * 3
    assert names(tmp_path) == {"a", "b", "other", "other/c"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_in_the_middle_leaves_nothing(paths, tmp_path, error):
    def work():
        with staged(paths) as places:
            places[paths[0]].write_text("half")
            raise error

    with pytest.raises(error):
        work()
    assert names(tmp_path) == {"other"}


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_move_that_fails_puts_everything_back(paths, tmp_path, monkeypatch, failing, links):
    paths[1].write_text("old")
    stale = tmp_path / "stale"
    stale.write_text("stale")
    before = {path: path.read_text() for path in (paths[1], stale)}
    replace = os.replace

    def refuse(source, target):
        if target == paths[failing] and "before" not in str(source):
            raise OSError(28, "No space left on device", str(source), None, str(target))
        replace(source, target)

    def no_links(*_, **__):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("kfine.files.staging.os.replace", refuse)
    if not links:
        monkeypatch.setattr("kfine.files.staging.os.link", no_links)

    def work():
        with staged(paths, overwrite=True, obsolete=[stale]) as places:
            write_all(places)

    with pytest.raises(ResourceError, match="No space left"):
        work()
    assert {path: path.read_text() for path in before} == before
    assert names(tmp_path) == {"b", "stale", "other"}


def test_obsolete_files_go_with_success(paths, tmp_path):
    (tmp_path / "stale").write_text("stale")
    with staged(paths, overwrite=True, obsolete=[tmp_path / "stale", tmp_path / "none"]) as places:
        write_all(places)
    assert "stale" not in names(tmp_path)


def test_a_file_that_appears_meanwhile_is_not_replaced(paths, tmp_path):
    def work():
        with staged(paths) as places:
            write_all(places)
            paths[1].write_text("somebody else's")

    with pytest.raises(UsageError, match="exists already"):
        work()
    assert paths[1].read_text() == "somebody else's"
    assert names(tmp_path) == {"b", "other"}


def test_a_folder_that_cannot_be_written_is_a_resource(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "pathlib.Path.mkdir", lambda *_, **__: (_ for _ in ()).throw(OSError(30, "Read-only"))
    )

    def work():
        with staged([tmp_path / "a"]):
            pytest.fail("got a place to write")

    with pytest.raises(ResourceError, match="Read-only"):
        work()


def test_two_outputs_in_one_place_are_refused(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    check_outputs([tmp_path / "a", tmp_path / "b"], overwrite=False)
    for same in (
        tmp_path / "a",
        tmp_path / "link" / "a",
        tmp_path / "." / "link" / ".." / tmp_path.name / "a",
    ):
        with pytest.raises(UsageError, match="one file"):
            check_outputs([tmp_path / "a", same], overwrite=True)


def test_inputs_are_kept(tmp_path):
    (tmp_path / "in").touch()
    (tmp_path / "alias").symlink_to("in")
    check_inputs_safe([tmp_path / "out"], [tmp_path / "in"])
    with pytest.raises(UsageError, match="is an input"):
        check_inputs_safe([tmp_path / "alias"], [tmp_path / "in"])


def test_a_made_folder_goes_again_on_failure(tmp_path):
    def fail(folder, *, leave):
        with made_folder(folder):
            (folder / "x").touch() if leave else None
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail(tmp_path / "a" / "b", leave=False)
    assert names(tmp_path) == set()
    with pytest.raises(KeyboardInterrupt):
        fail(tmp_path / "a" / "b", leave=True)
    assert names(tmp_path) == {"a", "a/b", "a/b/x"}
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="a file has this name"), made_folder(tmp_path / "file"):
        pass
