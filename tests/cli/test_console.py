"""What the command line lets through of what libraries say."""

import logging
import warnings

from kfine.cli.console import plain_warnings


def test_libraries_are_not_heard(caplog, capsys):
    log = logging.getLogger("some.library")
    with plain_warnings() as notes:
        log.warning("building the font cache")
        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
    log.warning("heard again")
    assert (notes, capsys.readouterr().err) == ([], "")
    assert [record.getMessage() for record in caplog.records] == ["heard again"]
