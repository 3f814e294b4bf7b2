from __future__ import annotations

import hashlib
import html
import importlib.abc
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from segan.runtime.bundle.attributes import read_attributes
from segan.runtime.bundle.reader import open_bundle

Segan = Callable[..., subprocess.CompletedProcess[str]]

QUICK = ("--seeds", "0-2", "--steps", 3)


def test_an_atlas_as_typed(segan_here: Segan, toy_bundle: Path, tmp_path: Path) -> None:
    assert segan_here("name", toy_bundle, "L1N0D2", "smile", "--range", "-1,2").returncode == 0
    done = segan_here("atlas", *QUICK)
    assert done.returncode == 0, done.stderr
    assert "bundle: toy.segan" in done.stderr
    assert "names: None were proposed: names are known only for the built-in faces" in done.stderr
    # Every strength of each slider for each seed, and the seeds themselves.
    assert f"measuring: {16 * 3 * 3 + 3}/{16 * 3 * 3 + 3} images" in done.stderr
    assert "atlas/index.html: 16 sliders, 0 dead, 1 near-duplicate." in done.stdout
    assert "next: open atlas/index.html in a browser" in done.stdout
    page = (tmp_path / "atlas" / "index.html").read_text(encoding="utf-8")
    assert "segan sweep toy.segan --attr smile" in re.sub("</?span>", "", page)
    # The page's own advice works.
    assert segan_here("sweep", "toy.segan", "--attr", "smile", "--steps", 2).returncode == 0
    words = ("name", "toy.segan", "L1N0D2", "smile", "--range=-1,2")
    assert segan_here(*words).returncode == 0
    assert segan_here("atlas", *QUICK).returncode == 0  # replaces it


def test_json_holds_the_figures(segan_here: Segan, toy_bundle_zip: Path, tmp_path: Path) -> None:
    done = segan_here("atlas", toy_bundle_zip, *QUICK, "--max", 4, "-o", "a b", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["page"] == "a b/index.html"
    assert [entry["rank"] for entry in found["sliders"]] == [1, 2, 3, 4]
    assert found["left_out"] == 15
    assert found["classes"] == ["circle", "square", "star"]
    written = json.loads((tmp_path / "a b" / "atlas.json").read_text())
    assert {"index.html", "atlas.json"} < set(written.pop("files"))
    assert {key: found[key] for key in written} == written
    page = (tmp_path / "a b" / "index.html").read_text(encoding="utf-8")
    assert "--class circle" in re.sub("</?span>", "", page)


def test_hidden_sliders(segan_here: Segan, toy_bundle: Path) -> None:
    assert segan_here("name", toy_bundle, "L1N0D2", "smile", "--hide").returncode == 0
    done = segan_here("atlas", toy_bundle, *QUICK)
    assert "15 sliders, 0 dead, 1 near-duplicate, 1 hidden (--hidden)." in done.stdout
    done = segan_here("atlas", toy_bundle, *QUICK, "--hidden")
    assert "16 sliders" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--seeds", 3), "1 seed is given; expected 2 or more"),
        (("--steps", 2), "steps is 2; expected 3 or more"),
        (("--max", 0), "--max is 0"),
        (("--psi", 2), "--psi is 2.0; expected 0 to 1"),
        (("--class", 1), "has no classes"),
        (("--copy", "c.segan"), "--copy is given without --write-names; expected both or neither"),
        (("--write-names", "--no-propose"), "exclude each other"),
    ],
)
def test_wrong_use(
    segan_here: Segan, toy_bundle: Path, tmp_path: Path, words: tuple[object, ...], message: str
) -> None:
    done = segan_here("atlas", toy_bundle, "--seeds", "0-1", *words)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert not (tmp_path / "atlas").exists()


def test_the_page_shows_the_command_that_makes_it(
    segan_here: Segan, toy_bundle: Path, tmp_path: Path
) -> None:
    words = ["atlas", "toy.segan", *map(str, QUICK), "--psi", "0.7", "--no-propose", "-o", "a b"]
    done = segan_here(*words)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "a b" / "index.html").read_text(encoding="utf-8")
    text = html.unescape(re.sub("</?span>", "", page))
    assert shlex.join(["segan", *words]) in text
    sweeps = re.findall("segan sweep [^<]*", text)
    assert len(sweeps) == 16
    assert all(sweep.endswith(" --psi 0.7") for sweep in sweeps)
    assert "--psi 0.7" in done.stdout
    assert segan_here(*shlex.split(sweeps[0])[1:]).returncode == 0


def test_bundles_and_folders_that_are_refused(
    segan_here: Segan, toy_bundle: Path, toy_bundle_plain: Path, tmp_path: Path
) -> None:
    done = segan_here("atlas", toy_bundle_plain)
    assert done.returncode == 2
    assert "segan directions" in done.stderr
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    done = segan_here("atlas", toy_bundle, "-o", "mine")
    assert done.returncode == 1
    assert "mine exists and is not an atlas" in done.stderr
    done = segan_here("atlas", toy_bundle, *QUICK, "-o", ".")
    assert done.returncode == 1
    assert "is the current folder, or one above it" in done.stderr


# Names, proposed by a network that stands in for the one that ships.


@pytest.fixture
def faces_bundle(toy_bundle: Path) -> Path:
    """The toy, whose data claims to be the built-in faces."""
    manifest = json.loads((toy_bundle / "manifest.json").read_bytes())
    manifest["provenance"]["checkpoint"] = {"data": "faces"}
    (toy_bundle / "manifest.json").write_text(json.dumps(manifest))
    return toy_bundle


@pytest.fixture
def reads_red(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A network that calls the mean of red ``smile``; the resolutions that it was asked for."""
    torch = pytest.importorskip("torch", reason="the network is PyTorch's")
    from segan.train.measure.control.attributes import OUTPUTS, READINGS

    smile = next(reading for reading in READINGS if reading.name == "smile")

    class Red(torch.nn.Module):  # type: ignore[misc,name-defined]
        reference_mean = torch.zeros(1)

        def features(self, images: Any) -> Any:
            return images[:, :1].mean((2, 3))

        def head(self, features: Any) -> Any:
            outputs = torch.zeros(len(features), OUTPUTS)
            outputs[:, smile.start] = -40 * features[:, 0]
            return outputs

        def forward(self, images: Any) -> Any:
            return self.head(self.features(images))

    asked: list[int] = []

    def shipped_attribute_network(resolution: int) -> Red:
        asked.append(resolution)
        return Red()

    module = ModuleType("shipped_attributes")
    module.shipped_attribute_network = shipped_attribute_network  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "segan.train.measure.control.attribute_files", module)
    return asked


def test_names_are_proposed_and_written(
    segan_here: Segan, faces_bundle: Path, reads_red: list[int]
) -> None:
    done = segan_here("atlas", faces_bundle, *QUICK, "--json")
    assert done.returncode == 0, done.stderr
    assert reads_red == [16]
    found = json.loads(done.stdout)
    proposed = {e["slider"]: e["proposal"] for e in found["sliders"] if e["proposal"]}
    ((slider, proposal),) = proposed.items()
    assert proposal["name"] == "smile"
    assert proposal["confidence"] == 1
    assert "standard deviations; 0% of its effect" in proposal["reason"]
    assert found["named"] == 0
    assert read_attributes(open_bundle(faces_bundle)) == ()

    done = segan_here("atlas", faces_bundle, *QUICK, "--write-names")
    assert done.returncode == 0, done.stderr
    assert f"{faces_bundle}: 1 sliders named." in done.stdout
    (entry,) = read_attributes(open_bundle(faces_bundle))
    assert (entry.name, str(entry.slider), entry.sign) == ("smile", slider, proposal["sign"])
    assert segan_here("sweep", faces_bundle, "--attr", "smile", "--steps", 2).returncode == 0
    # A name that is there is not given again.
    done = segan_here("atlas", faces_bundle, *QUICK, "--write-names", "--json")
    assert json.loads(done.stdout)["named"] == 0


def test_the_sign_follows_the_named_attribute(
    segan_here: Segan, faces_bundle: Path, reads_red: list[int]
) -> None:
    from segan.runtime.generate.generator import load

    assert segan_here("atlas", faces_bundle, *QUICK, "--write-names").returncode == 0
    with load(faces_bundle) as generator:
        strips = [generator.sweep(seed, attr="smile", steps=2) for seed in range(16)]
    # The network's smile is less red.
    low, high = (np.mean([strip[end, ..., 0] for strip in strips]) for end in (0, 1))
    assert high < low


def test_names_go_into_a_copy(
    segan_here: Segan, faces_bundle: Path, reads_red: list[int], tmp_path: Path
) -> None:
    before = hashlib.sha256((faces_bundle / "manifest.json").read_bytes()).hexdigest()
    words = ("--write-names", "--copy", "named.segan")
    done = segan_here("atlas", faces_bundle, *QUICK, *words)
    assert done.returncode == 0, done.stderr
    assert [a.name for a in read_attributes(open_bundle(tmp_path / "named.segan"))] == ["smile"]
    assert hashlib.sha256((faces_bundle / "manifest.json").read_bytes()).hexdigest() == before
    page = (tmp_path / "atlas" / "index.html").read_text("utf-8")
    assert "segan sweep named.segan --attr smile" in re.sub("</?span>", "", page)


def test_names_of_other_data_are_proposed_on_request(
    segan_here: Segan,
    toy_bundle: Path,
    toy_bundle_zip: Path,
    reads_red: list[int],
) -> None:
    done = segan_here("atlas", toy_bundle, *QUICK)
    assert "None were proposed: names are known only for the built-in faces" in done.stderr
    assert reads_red == []
    done = segan_here("atlas", toy_bundle, *QUICK, "--propose")
    assert done.returncode == 0, done.stderr
    assert "names: 1 proposed" in done.stderr
    assert "only if the images resemble these faces" in done.stderr
    # What the network cannot read is refused all the same.
    done = segan_here("atlas", toy_bundle_zip, *QUICK, "--write-names")
    assert done.returncode == 2
    assert "no names can be proposed: images have 1 channel, and the network" in done.stderr


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            "torch is not installed (pip install 'segan[train]')",
        ),
        (ImportError("libc10.so: cannot open"), "cannot be loaded (libc10.so: cannot open)"),
        (OSError("[WinError 126] shm.dll\nsecond line"), "loaded ([WinError 126] shm.dll)"),
        (ModuleNotFoundError("No module named 'torch._C'", name="torch._C"), "torch._C')"),
    ],
)
def test_a_missing_network_is_reported(
    segan_here: Segan,
    faces_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: Exception,
    words: str,
) -> None:
    name = "segan.train.measure.control.attribute_files"

    class Broken(importlib.abc.MetaPathFinder):
        def find_spec(self, fullname: str, path: object, target: object = None) -> None:
            if fullname == name:
                raise error

    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    done = segan_here("atlas", faces_bundle, *QUICK)
    assert done.returncode == 0, done.stderr
    assert "None were proposed: " in done.stderr
    assert words in done.stderr
    page = (tmp_path / "atlas" / "index.html").read_text("utf-8")
    assert "Names: None were proposed" in page
    done = segan_here("atlas", faces_bundle, *QUICK, "--propose")
    assert done.returncode == 2
    assert words in done.stderr
    assert segan_here("atlas", faces_bundle, *QUICK, "--no-propose").stderr.count("proposed") == 0


def test_the_shipped_bundle_is_not_changed(segan_here: Segan) -> None:
    done = segan_here("atlas", "--write-names")
    assert done.returncode == 2
    assert "ships with segan and cannot be changed. Write a copy: --copy " in done.stderr
