"""The page of `gradgen ops`: it lists what the rows call, as often as they do, and (deep) what they find."""

import pytest
from ops import coverage


def page():
    """function -> its cells, of the page that ships."""
    lines = coverage.FILE.read_text().splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_the_page_lists_the_rows():
    """Regenerate it with tests/ops/coverage.py where this fails."""
    found = page()
    wanted = coverage.counts()
    assert set(found) == set(wanted)
    for name, (engine, *_) in found.items():
        assert engine == str(wanted[name]), name  # every row is right in the engine


def test_nothing_on_the_page_is_wrong():
    assert not [name for name, cells in page().items() if "wrong" in " ".join(cells)]


@pytest.mark.deep
def test_the_page_is_what_the_rows_find():
    assert coverage.table(coverage.all_outcomes()) == coverage.FILE.read_text()
