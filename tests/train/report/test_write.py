from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from PIL import Image

from segan.runtime.errors import CheckpointError, ConfigError, DataError
from segan.train.report.overview import alarms
from segan.train.report.run_record import read_run
from segan.train.report.write import ReportConfig, write_report

MakeRun = Callable[..., Path]

VOID = ("meta", "img", "br", "link", "input")


class Page(HTMLParser):
    """A page's text, links and anchors; elements must nest."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert len(given) == len(attrs), (tag, attrs)
        self.links += [value for name in ("src", "href") if (value := given.get(name))]
        self.ids += [value] if (value := given.get("id")) else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), (tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def report(*runs: Path, out: Path, **settings: Any) -> Page:
    """Writes a report; every link of its page leads into its folder, where nothing else lies."""
    write_report(ReportConfig(runs=runs, **settings), out)
    page = Page(out / "index.html")
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    for link in map(unquote, page.links):
        assert link.removeprefix("#") in (page.ids if link.startswith("#") else files), link
    text = (out / "index.html").read_text(encoding="utf-8")
    addresses = set(re.findall(r"\bhttps?://[^\"' )]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # a name, which no browser fetches
    assert "@import" not in text
    assert "url(" not in text
    return page


def test_a_run_is_shown(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(seed=3)
    page = report(run, out=tmp_path / "report")
    assert page.ids == ["overview", "samples", "metrics", "curves", "sliders", "time", "settings"]
    for words in (
        "Mode 2 eigen, preset tiny, 16², seed 3. 1 kimg, complete.",
        "0.2 best swd at kimg 1",
        "18 of 18 coordinates alive",
        "No alarms at the end of the log",
        "kimg 1, the best checkpoint",
        "seed 0 3",  # setting, preset, this run
        '"learning_rate": 0.004',
        "2,000 built-in faces of 16²",
    ):
        assert words in page.text, words
    assert (tmp_path / "report" / "images" / "samples-kimg000001.0.png").read_bytes() == (
        run / "samples" / "kimg000001.0.png"
    ).read_bytes()


def test_runs_are_compared(make_run: MakeRun, tmp_path: Path) -> None:
    first = make_run("00000-faces-mode2-tiny", swd=(0.3, 0.2))
    second = make_run("00001-faces-mode0-tiny", subspace__mode=0, swd=(0.3, 0.1))
    third = make_run("00002-faces-mode2-tiny", seed=1, kimg=(0.5, 0.7), swd=(0.3, 0.15))
    page = report(first, second, third, out=tmp_path / "report")
    names = ["mode 2 eigen, seed 0", "mode 0, seed 0", "mode 2 eigen, seed 1"]
    assert " ".join(names) in page.text
    assert "best swd 0.2 0.1 0.15" in page.text
    assert "dead coordinates 0 of 18 – 0 of 18" in page.text
    assert "kimg 0.5" in page.text  # the last that all have
    assert "newest" in page.text  # and where each one is now
    html = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'<td class="number best">([\d.]+)</td>', html) == ["0.1"]
    record = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert [run["name"] for run in record["runs"]] == names
    assert record["runs"][1]["best"] == {"checkpoint": "nimg00001000", "kimg": 1.0, "swd": 0.1}


def test_no_best_is_marked_if_runs_cannot_be_compared(make_run: MakeRun, tmp_path: Path) -> None:
    report(make_run("00000-a"), make_run("00001-b", resolution=32), out=tmp_path / "report")
    assert "number best" not in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


def test_runs_at_any_stage_are_shown(make_run: MakeRun, tmp_path: Path) -> None:
    started = make_run("00000-a")
    for name in ("samples", "checkpoints"):
        shutil.rmtree(started / name)
    (started / "log.jsonl").unlink()
    page = report(started, out=tmp_path / "report")
    assert page.ids == ["overview", "settings"]
    assert "nothing logged yet" in page.text
    going = make_run("00001-b", total_kimg=5.0)
    assert "of 5: running or stopped" in report(going, out=tmp_path / "report").text
    report(started, going, out=tmp_path / "report")
    assert "0 of 1 kimg" in report(going, started, out=tmp_path / "report").text


def test_alarms_are_shown(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(swd=(0.1, 0.2))
    with open(run / "log.jsonl", "a") as file:
        entry = {
            "nimg": 1000,
            "dead_coords": 3,
            "coords": 18,
            "share_z": 0.01,
            "score/real_sign": 0.99,
            "seconds/data": 50.0,
            "seconds/tick": 50.0,
        }
        file.write(json.dumps(entry) + "\n")
    found = alarms(read_run(run))
    fields = ["dead_coords", "share_z", "score/real_sign", "swd", "seconds/data"]
    assert [alarm.field for alarm in found] == fields
    for alarm, figure in zip(
        found, ("3 of 18", "1.0%", "0.99", "0.1 at kimg 0.5", "%"), strict=True
    ):
        assert figure in alarm.problem
    text = report(run, out=tmp_path / "report").text
    for alarm in found:
        assert alarm.problem in text
    assert "Pass augment ada" in text  # a setting, without the backticks
    assert "`" not in text
    assert "No alarms" not in text


def test_measurements_are_shown(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    line = {
        "metric": "fid50k_full",
        "interval": [9.5, 10.5],
        "protocol": {"n": 50000, "psi": 1.0, "data": {"name": "faces", "fingerprint": "0"}},
    }
    lines = [
        line | {"value": value, "model": {"kimg": kimg, "kind": "checkpoint"}}
        for kimg, value in ((0.5, 20.0), (1.0, 10.0))
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(own) + "\n" for own in lines))
    score = {"slider": "L1N0D3", "attribute": "shirt_hue", "leakage": 0.09}
    score |= {"effect": {"value": -1.2, "low": -1.4, "high": -1.0}}
    control = {"sliders": {"sliders": [score], "controlled": {"value": 1.0}}}
    (run / "control.json").write_text(json.dumps(control))
    row = {"backend": "cpu", "precision": "fp32", "batch": 1, "max_error": 0}
    row |= {"images_per_s": 10.0, "slowest": 9.0, "fastest": 11.0}
    (run / "benchmark.json").write_text(
        json.dumps({"rows": [row], "machine": {"processor": "a processor"}})
    )
    (run / "atlas" / "figures").mkdir(parents=True)
    (run / "atlas" / "index.html").write_text("an atlas")
    files = ["index.html", "atlas.json", "figures/L0.png"]
    (run / "atlas" / "atlas.json").write_text(
        json.dumps({"format": "segan.atlas/1", "files": files})
    )
    (run / "atlas" / "secret.txt").write_text("no picture")
    Image.new("RGB", (8, 8)).save(run / "atlas" / "figures" / "L0.png")
    page = report(run, out=tmp_path / "report")
    for words in (
        "10 fid50k_full at kimg 1",
        "10 (9.5 to 10.5) 1 checkpoint 50,000 images, ψ 1, data faces",
        "L1N0D3 shirt_hue −1.2 (−1.4 to −1) 9%",
        "Attributes controlled 1.",
        "a processor",
        "cpu fp32 1 10 9 – 11 – – same",
    ):
        assert words in page.text, words
    assert {"atlas/index.html", "atlas/figures/L0.png"} <= set(page.links)
    assert not (tmp_path / "report" / "atlas" / "secret.txt").exists()
    assert "whisker" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    # Compared, values of one measure stand in one row, and those of another protocol in their own.
    other = make_run("00001-b", seed=1)
    (other / "metrics.jsonl").write_text(
        json.dumps(lines[1] | {"value": 12.0})
        + "\n"
        + json.dumps(lines[1] | {"protocol": {"n": 100}, "value": 99.0})
    )
    text = report(run, other, out=tmp_path / "report").text
    assert "controlled attributes 1 –" in text
    assert "10 (9.5 to 10.5) 12 (9.5 to 10.5)" in text
    assert "fid50k_full (100 images) – 99" in text


def test_the_overlap_of_the_jacobian_is_shown(make_run: MakeRun, tmp_path: Path) -> None:
    run, other = make_run("00000-a"), make_run("00001-b", seed=1)
    for nimg, value in ((900, 0.5), (1000, 0.375)):
        with open(run / "log.jsonl", "a") as file:
            file.write(json.dumps({"nimg": nimg, "loss/jacobian": value}) + "\n")
    report(run, out=tmp_path / "report")
    html = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "overlap</" in html
    text = report(run, other, out=tmp_path / "report").text
    assert "overlap of the Jacobian 0.375 –" in text
    assert "Regularisers: overlap" in text


def test_only_an_atlas_is_copied_and_only_what_it_lists(make_run: MakeRun, tmp_path: Path) -> None:
    run, out = make_run(), tmp_path / "report"
    (tmp_path / "private.png").write_bytes(b"private")
    atlas = tmp_path / "atlas"
    atlas.mkdir()
    (atlas / "index.html").write_text("somebody's pages")

    def refused() -> DataError:
        with pytest.raises(DataError) as caught:
            report(run, out=out, atlas=atlas)
        assert (caught.value.field, caught.value.value) == ("atlas", atlas)
        return caught.value

    assert "atlas.json is missing" in refused().problem

    def list_files(*files: str, form: str = "segan.atlas/1") -> None:
        (atlas / "atlas.json").write_text(json.dumps({"format": form, "files": files}))

    for text in ("[]", '{"format": "segan.atlas/1"}', '{"format": "segan.atlas/1", "files": []}'):
        (atlas / "atlas.json").write_text(text)
        assert "segan.atlas/1" in refused().problem
    list_files("index.html", "atlas.json", form="segan.report/1")
    assert "segan.atlas/1" in refused().problem
    (atlas / "link.png").symlink_to(tmp_path / "private.png")
    for name in ("link.png", "../private.png", str(tmp_path / "private.png"), "none.png"):
        list_files("index.html", "atlas.json", name)
        assert repr(name) in refused().problem
    assert not out.exists()
    (atlas / "passwords.json").write_text("{}")
    list_files("index.html", "atlas.json")
    report(run, out=out, atlas=atlas)
    assert {path.name for path in (out / "atlas").iterdir()} == {"index.html", "atlas.json"}
    # Found by itself, a folder of that name that is no atlas is left out.
    (run / "atlas").mkdir()
    (run / "atlas" / "index.html").write_text("mine")
    report(run, out=out)
    assert not (out / "atlas").exists()


def test_strings_from_outside_are_escaped(make_run: MakeRun, tmp_path: Path) -> None:
    nasty = "<script>alert('1')</script>\"&#39;onload="
    run = make_run("00000-<b>&'\"", preset=nasty)
    other = make_run("00001-b")
    (run / "data.json").write_text(json.dumps({"path": f"a/{nasty}.zip"}))
    metric = {"metric": nasty, "protocol": {nasty: nasty, "n": nasty, "detector": {"name": nasty}}}
    lines = [
        metric | {"value": 1.0, "model": {"kimg": kimg, "kind": nasty}, "time": nasty}
        for kimg in (0.5, 1.0)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    score = {"slider": nasty, "attribute": nasty, "effect": 1.0, "leakage": 0.0}
    (run / "control.json").write_text(json.dumps({"sliders": [score]}))
    with open(run / "log.jsonl", "a") as file:
        file.write(json.dumps({"nimg": 1000, f"seconds/{nasty}": 1.0}) + "\n")
    row = {"backend": nasty, "precision": nasty, "batch": 1}
    row |= {"images_per_s": 10.0, "slowest": 9.0, "fastest": 11.0}
    machine = {"processor": nasty, "gpu": [{"name": nasty}]}
    (run / "benchmark.json").write_text(
        json.dumps({"rows": [row], "machine": machine, "bundle": {"name": nasty}})
    )
    picture = "a b<i>\"'&%23#.png"  # a name that a file can have
    (run / "atlas").mkdir()
    (run / "atlas" / "index.html").write_text("an atlas")
    Image.new("RGB", (8, 8)).save(run / "atlas" / picture)
    files = ["index.html", "atlas.json", picture]
    (run / "atlas" / "atlas.json").write_text(
        json.dumps({"format": "segan.atlas/1", "files": files})
    )
    for runs in ((run,), (run, other)):
        page = report(*runs, out=tmp_path / "report", title=nasty)
        html = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
        assert html.count("<script") == 1
        assert "alert('1')" not in html
        assert "<b>&" not in html
        assert "<i>" not in re.sub(r"<i></i>", "", html)
        assert html.count("&lt;script&gt;") >= 10
        assert nasty in page.text  # and is shown as it is


def test_broken_files_are_named_and_leave_no_report(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    (run / "samples" / "kimg000000.5.png").write_bytes(b"torn")
    with pytest.raises(DataError) as caught:
        report(run, out=tmp_path / "report")
    assert caught.value.value == run / "samples" / "kimg000000.5.png"
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_invalid_settings_are_refused(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    others = tuple(Path(str(number)) for number in range(33))
    for settings, field, value in (
        ({"runs": ()}, "runs", 0),
        ({"runs": (run, run / "..", run)}, "runs", run),
        ({"runs": others}, "runs", 33),
        ({"runs": (run,), "samples": 0}, "samples", 0),
        ({"runs": (run,), "samples": 51}, "samples", 51),
    ):
        with pytest.raises(ConfigError) as caught:
            ReportConfig(**settings)
        assert (caught.value.field, caught.value.value) == (field, value)
        assert caught.value.expected
    ReportConfig(runs=others[:32], samples=50)
    with pytest.raises(CheckpointError):
        report(run, tmp_path, out=tmp_path / "report")
