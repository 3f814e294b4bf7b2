from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from segan.runtime.errors import OutputError
from segan.train.report.write import check_target, report_draft

if TYPE_CHECKING:
    from tests.conftest import RaisesError


def write(out: Path, text: str) -> None:
    """A report of one page."""
    with report_draft(out, {"title": "t"}) as draft:
        (draft / "images").mkdir()
        (draft / "images" / "a.png").write_bytes(b"a")
        (draft / "index.html").write_text(text)


def test_a_report_appears_whole_and_replaces_an_older_one(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "report"
    write(out, "one")
    record = json.loads((out / "report.json").read_text())
    assert record["format"] == "segan.report/1"
    assert record["files"] == ["images/a.png", "index.html", "report.json"]
    write(out, "two")
    assert (out / "index.html").read_text() == "two"
    assert [path.name for path in out.parent.iterdir()] == ["report"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    write(tmp_path / "report", "one")
    assert (tmp_path / "report" / "index.html").read_text() == "one"


def test_a_failure_leaves_the_older_report(tmp_path: Path) -> None:
    out = tmp_path / "report"
    write(out, "one")

    def fail() -> None:
        with report_draft(out, {}) as draft:
            (draft / "index.html").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (out / "index.html").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


@pytest.mark.parametrize("content", ["", "[]", '{"format": "segan.batch/1"}', '{"files": 1}'])
def test_another_folder_is_not_replaced(
    tmp_path: Path, content: str, raises_error: RaisesError
) -> None:
    out = tmp_path / "report"
    out.mkdir()
    (out / "report.json").write_text(content)
    with raises_error(OutputError, field="out", value=out):
        write(out, "one")
    assert [path.name for path in out.iterdir()] == ["report.json"]


def test_a_report_with_other_files_is_not_replaced(
    tmp_path: Path, raises_error: RaisesError
) -> None:
    out = tmp_path / "report"
    write(out, "one")
    (out / "notes.txt").write_text("mine")
    with raises_error(OutputError, field="out", value=out, problem="notes.txt"):
        write(out, "two")
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "index.html").read_text() == "one"


def test_a_file_is_not_replaced(tmp_path: Path, raises_error: RaisesError) -> None:
    (tmp_path / "report").write_text("mine")
    with raises_error(OutputError, field="out", value=tmp_path / "report"):
        check_target(tmp_path / "report")
    with raises_error(OutputError):
        write(tmp_path / "report" / "inner", "one")
    assert (tmp_path / "report").read_text() == "mine"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="permission was denied"):
            write(tmp_path / "report", "one")
    finally:
        tmp_path.chmod(0o700)
