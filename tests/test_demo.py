"""The demo: its page from small things, and all of it with a run of a minute."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "demo"

#: Of the steps that the page shows pictures of.
TITLES = ["Draw faces", "Show faces", "Train mode 2", "Generate", "Mix styles"]
TITLES += ["Sweep the model that ships with segan"]
TITLES += [*(f"Sweep layer {layer}" for layer in range(3)), "Walk between faces"]


class Page(HTMLParser):
    """Collects what a page shows, and whether its tags close."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.images: list[str] = []
        self.links: list[str] = []
        self.code: list[str] = []
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "img":
            self.images.append(values["src"] or "")
            assert values["alt"]
        if tag == "a":
            self.links.append(values["href"] or "")
        if tag not in ("img", "meta", "br", "link"):
            self._open.append(tag)
            if tag == "code":
                self.code.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "code" in self._open:
            self.code[-1] += data


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20), "white").save(path)


def make_folder(out: Path) -> tuple[Path, Path]:
    """What the demo's commands leave: (run, bundle)."""
    run, bundle = out / "runs" / "00000-faces-mode2-tiny", out / "faces.segan"
    shutil.copytree(ROOT / "tests" / "data" / "toy.segan", bundle)
    names = ("shipped.png", "samples/sheet.png", "walk.gif", "mix.png", "data.png")
    for name in (*names, *(f"sweep-layer{layer}.png" for layer in range(3))):
        draw(out / name)
    draw(run / "curves.png")
    for kimg in ("0000.0", "0010.0", "0020.0", "0030.0"):
        draw(run / "samples" / f"kimg{kimg}.png")
        draw(run / "samples" / f"kimg{kimg}-sliders.png")
    entries: list[dict[str, Any]] = [
        {"nimg": 10000, "kimg": 10.0, "coords": 16, "dead_coords": 1},
        {"nimg": 30000, "kimg": 30.0},
    ]
    (run / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return run, bundle


@pytest.fixture
def demo_page(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(str(DEMO))
    # dataclasses look their module up by name.
    monkeypatch.setitem(sys.modules, "demo_page", type(sys)("demo_page"))
    return runpy.run_path(str(DEMO / "demo_page.py"), run_name="demo_page")


def test_the_page_shows_every_picture_with_its_command(
    tmp_path: Path, demo_page: dict[str, Any]
) -> None:
    out = tmp_path / "out & about"
    run, bundle = make_folder(out)
    steps = [
        demo_page["Step"](title=title, command=f"segan <{title}> & 'more'", seconds=1.25)
        for title in TITLES
    ]
    path = demo_page["write_page"](out, run, bundle, steps)
    assert path == out / "index.html"
    page = Page(path)
    assert len(page.images) == len(set(page.images)) == 12
    for name in page.images + page.links:
        assert (out / name).is_file(), name
        assert not Path(name).is_absolute()
    for step in steps:
        assert step.command in page.code
    text = path.read_text(encoding="utf-8")
    assert "{{" not in text
    assert "{%" not in text
    # Three of the four sheets: first, middle, last; of the log, the newest of each figure.
    shown = [name for name in page.images if "kimg" in name]
    assert [Path(name).name[4:10] for name in shown] == ["0000.0", "0020.0", "0030.0"]
    assert "trained on 30 thousand images" in text
    assert "16 sliders, 1 of them dead" in text
    assert "1.0e-06" in text
    assert "120.0 dB" in text
    assert text.count('width="30" height="20"') == 12


def test_names_are_escaped(tmp_path: Path, demo_page: dict[str, Any]) -> None:
    nasty = "<script>alert('1')</script>\"&"
    run, bundle = make_folder(tmp_path)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["subspace"] = nasty
    entry = manifest["verification"][0]
    entry |= {"backend": nasty, "precision": nasty, "cases": {nasty: 1e-6}}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    steps = [
        demo_page["Step"](title=title, command=f"segan {nasty}", seconds=1.0)
        for title in [*TITLES, nasty]
    ]
    path = demo_page["write_page"](tmp_path, run, bundle, steps)
    text = path.read_text(encoding="utf-8")
    assert text.count("<script") == 1
    assert "alert('1')" not in text
    assert Page(path).code[0] == f"segan {nasty}"


def test_a_run_that_stopped_before_its_first_log_line_still_gets_a_page(
    tmp_path: Path, demo_page: dict[str, Any]
) -> None:
    run, bundle = make_folder(tmp_path)
    (run / "curves.png").unlink()
    (run / "log.jsonl").write_text("")
    steps = [
        demo_page["Step"](title=title, command=f"segan <{title}>", seconds=1.0) for title in TITLES
    ]
    text = demo_page["write_page"](tmp_path, run, bundle, steps).read_text(encoding="utf-8")
    assert "so there are no curves" in text
    assert "DEMO_MINUTES" in text
    assert "nothing logged in training" in text
    assert "segan <Train mode 2>" in Page(tmp_path / "index.html").code


@pytest.mark.parametrize("kimg", [2.0, 12.0, 40.0])
def test_the_page_says_how_far_training_came(
    tmp_path: Path, demo_page: dict[str, Any], kimg: float
) -> None:
    run, bundle = make_folder(tmp_path)
    (run / "log.jsonl").write_text(json.dumps({"nimg": kimg * 1000, "kimg": kimg}) + "\n")
    (run / "config.json").write_text(json.dumps({"total_kimg": 40.0}))
    steps = [
        demo_page["Step"](title=title, command=f"segan <{title}>", seconds=90) for title in TITLES
    ]
    path = demo_page["write_page"](tmp_path, run, bundle, steps, DEMO / "young")
    text, page = path.read_text(encoding="utf-8"), Page(path)
    assert f"trained on {kimg:g} thousand images here, after 80 thousand" in text
    assert f"Here it trained on {kimg:g},000 more, in 1.5 minutes" in text
    assert ("Its time was over before the 40 thousand" in text) == (kimg < 40)
    assert ("too little to see" in text) == (kimg < 5)
    assert (f"segan train --resume {shlex.quote(str(run))}" in page.code) == (kimg < 40)
    # Before this run at 0 and 20 thousand, then its own first sheet and its last.
    shown = [name for name in page.images if "kimg" in name]
    assert [name.split("/")[0] for name in shown] == ["before", "before", "runs", "runs"]
    assert [float(Path(name).stem[4:]) for name in shown] == [0, 20, 0, 30]
    for name in page.images:
        assert (tmp_path / name).is_file()


def test_the_young_checkpoint_is_whole_and_small() -> None:
    from segan.train.runs.checkpoint import GENERATOR, TRAINING, check_file, read_meta

    young = DEMO / "young"
    meta = read_meta(young)
    assert (meta.cur_nimg, meta.config.preset) == (80_000, "tiny")
    for name in (GENERATOR, TRAINING):
        check_file(young, meta, name)  # compares its SHA-256
    assert sum(path.stat().st_size for path in young.rglob("*")) < 4e6


def run_demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(DEMO / "make_demo.py"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_failing_step_ends_the_demo_with_its_own_message(tmp_path: Path) -> None:
    done = run_demo(tmp_path, "--faces", "0")
    assert done.returncode == 2
    assert "count is 0; expected 1 to" in done.stderr
    assert "'segan data render out/faces.zip --count 0 --resolution 32' ended" in done.stderr
    assert not (tmp_path / "out" / "index.html").exists()


@pytest.mark.parametrize("option", ["--kimg", "--minutes"])
def test_no_training_is_refused(tmp_path: Path, option: str) -> None:
    done = run_demo(tmp_path, option, "0")
    assert done.returncode == 2
    assert "must be more than 0" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_whole_demo_runs_twice(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the demo trains; the bare environment cannot")
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("stays")
    (out / "sweep-layer9.png").write_text("left over from an earlier demo")
    done = run_demo(tmp_path, "--kimg", "0.1", "--faces", "64")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Open this page: file://" in done.stdout
    assert (out / "mine.txt").exists()
    assert not (out / "sweep-layer9.png").exists()
    page = Page(out / "index.html")
    for name in page.images:
        with Image.open(out / name) as image:
            image.load()
    # Every command on the page is one that was shown on the screen.
    shown = re.findall(r"^\$ (.*)$", done.stdout, re.MULTILINE)
    assert len(shown) == 12
    assert set(shown) <= set(page.code)
    text = (out / "index.html").read_text()
    facts = r"mode 2, eigen · 24 sliders, .* · trained on 0\.\d+ thousand images here, after 80"
    assert re.search(facts, text)
    assert "--initial-checkpoint" in text

    # The time is up: training is stopped, and the demo continues with what there is.
    again = run_demo(tmp_path, "--kimg", "1000", "--minutes", "0.4", "--faces", "64")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "24 s have passed" in again.stdout
    assert len(list((out / "runs").iterdir())) == 1
    assert "too little to see" in (out / "index.html").read_text()
