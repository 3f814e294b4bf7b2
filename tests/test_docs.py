"""The documentation is true: links and paths exist, the reference is up to date, examples run.

Every fenced bash and python block of README.md and of docs/ is run, page by page in an empty
folder, with nothing changed but what SHORTER states: less data, a shorter run, fewer images. Lines
that begin with ``make`` or ``pip`` are not run; their targets and extras must exist. Blocks of
``text`` are not run: output, file layouts, and commands that need hours, a GPU or other files.
"""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segan.cli.main import COMMANDS
from segan.runtime.bundle.shipped import shipped_bundle

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TITLES = [page.relative_to(ROOT).as_posix() for page in PAGES]

#: Pages whose blocks need a run; each takes what those before it left.
TRAIN = ("README.md", "docs/guides/training.md", "docs/guides/several-gpus.md")
EXPORT = ("docs/guides/export.md", "docs/guides/report.md")
#: Pages whose blocks need no more than a bundle; here it is the one that ships.
USE = (
    "docs/start/install.md",
    "docs/start/python.md",
    "docs/guides/generation.md",
    "docs/guides/atlas.md",
    "docs/guides/directions.md",
    "docs/guides/benchmark.md",
    "docs/guides/tensorrt.md",
    "docs/guides/data.md",
)
#: The page for a folder of photos, by itself.
PHOTOS = "docs/start/photos-to-sliders.md"
RUN = {*TRAIN, *EXPORT, *USE, PHOTOS}

#: What is run instead of a line, since training for minutes is no test: the same, shortened.
SHORTER = {
    "segan atlas -o atlas": "segan atlas -o atlas --seeds 0-1 --steps 3 --no-propose",
    "segan train --mode 2": "segan train --mode 2 --faces 32 --kimg 0.02",
    "segan train --initial-checkpoint runs/00000-faces-mode2-tiny --shared-coords 0.25 --kimg 50": (
        "segan train --initial-checkpoint runs/00000-faces-mode2-tiny --shared-coords 0.25 "
        "--faces 32 --kimg 0.02"
    ),
    "segan train --initial-checkpoint runs/00000-faces-mode2-tiny --resolution 64 --kimg 100": (
        "segan train --initial-checkpoint runs/00000-faces-mode2-tiny --resolution 64 "
        "--faces 32 --kimg 0.02"
    ),
    "segan train --data photos.zip --mode 2 --preset paper --kimg 1000": (
        "segan train --data photos.zip --mode 2 --preset tiny --batch-size 4 --kimg 0.004"
    ),
    "torchrun --standalone --nproc-per-node 4 -m segan.cli train --mode 2 --preset paper": (
        "torchrun --standalone --nproc-per-node 2 -m segan.cli train --mode 2 --preset paper "
        "--faces 32 --resolution 8 --kimg 0.016 --metric-images 8"
    ),
    "segan data render faces.zip --count 20000 --resolution 64 --seed 0": (
        "segan data render faces.zip --count 8 --resolution 64 --seed 0"
    ),
    "segan generate faces.segan --seeds 0-999 -o many --psi 0.7 --format tar": (
        "segan generate faces.segan --seeds 0-9 -o many --psi 0.7 --format tar"
    ),
    "segan sweep faces.segan --all -o sweeps": "segan sweep faces.segan --all -o sweeps --steps 3",
    "segan sweep faces.segan --at L2N0D1 --seeds 0-3 -o slider.gif": (
        "segan sweep faces.segan --at L2N0D1 --seeds 0-3 -o slider.gif --steps 3"
    ),
    "segan interpolate faces.segan --seeds 0,5,9 --frames 30 --loop -o walk.gif": (
        "segan interpolate faces.segan --seeds 0,5,9 --frames 2 --loop -o walk.gif"
    ),
    "segan atlas faces.segan -o atlas": (
        "segan atlas faces.segan -o atlas --seeds 0-1 --steps 3 --no-propose"
    ),
    "segan benchmark faces.segan --backends cpu --batches 1": (
        "segan benchmark faces.segan --backends cpu --batches 1 --rounds 1 --seconds 0.1"
    ),
    "segan train --data photos.zip --kimg 25": (
        "segan train --data photos.zip --kimg 0.004 --batch-size 4"
    ),
    "segan atlas photos.segan -o photos-atlas": (
        "segan atlas photos.segan -o photos-atlas --seeds 0-1 --steps 3 --no-propose"
    ),
}


def blocks(page: Path, *languages: str) -> list[tuple[str, str]]:
    """(language, text) of a page's fenced blocks."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(language, code) for language, code in found if language in languages]


def headings(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub spells them."""
    lines = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=TITLES)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)[^)]*\)|(?:src|href)=\"([^\"]+)\"", text):
        link = "".join(target)
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), link
        assert found.is_relative_to(ROOT), link
        if anchor:
            assert anchor in headings(found), link


def test_every_page_is_in_the_index_and_on_the_site() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").as_posix()
        assert name == "index.md" or f"({name})" in index, name
        assert re.search(rf"[-:] {re.escape(name)}$", site, re.MULTILINE), name


def test_the_command_reference_is_up_to_date() -> None:
    written = runpy.run_path(str(ROOT / "docs" / "make_commands.py"))["render"]()
    page = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    assert written == page, "run 'make docs'"
    for name in COMMANDS:
        assert f"\n## segan {name}\n" in page


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("segan.runtime", "runtime"),
        ("segan.runtime.atlas", "runtime"),
        ("segan.train", "train"),
        ("segan.train.measure", "measure"),
        ("segan.export", "export"),
    ],
)
def test_every_public_name_is_in_the_reference(module: str, name: str) -> None:
    page = (ROOT / "docs" / "reference" / "api" / f"{name}.md").read_text(encoding="utf-8")
    listed = set(re.findall(rf"^::: {re.escape(module)}\.(\w+)$", page, re.MULTILINE))
    assert listed - {"errors"} == set(importlib.import_module(module).__all__)


def test_every_built_in_attribute_is_described() -> None:
    from segan.train.data.faces.attributes import FACE_ATTRIBUTES

    page = (ROOT / "docs" / "guides" / "data.md").read_text(encoding="utf-8")
    missing = [a.name for a in FACE_ATTRIBUTES if f"`{a.name}`" not in page]
    assert missing == []


def test_every_field_of_the_manifest_is_described() -> None:
    from segan.runtime.bundle.manifest import Manifest, Verification

    for record, name in ((Manifest, "reference/bundle.md"), (Verification, "guides/export.md")):
        page = (ROOT / "docs" / name).read_text(encoding="utf-8")
        missing = [name for name in record.__struct_fields__ if f"`{name}`" not in page]
        assert missing == []


def test_the_table_of_presets_is_right() -> None:
    from segan.train.runs.presets import preset

    page = (ROOT / "docs" / "guides" / "training.md").read_text(encoding="utf-8")
    rows = {
        cells[0]: cells[1:]
        for line in page.splitlines()
        if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 4
    }
    assert rows["setting"] == ["`tiny`", "`paper`", "`auto`"]
    configs = [preset("tiny", resolution=32), preset("paper", resolution=64)]
    auto = preset("auto", resolution=256)

    def figures(config: Any) -> dict[str, Any]:
        network = config.network
        assert network.z_dim == network.w_dim
        return {
            "z_dim, w_dim": network.z_dim,
            "mapping layers": network.mapping_layers,
            "channels at resolution r": f"{network.channel_base} / r, at most "
            f"{network.channel_max}",
            "batch size": config.batch_size,
            "learning rate": config.learning_rate,
            "R1 γ": config.r1_gamma,
            "per-pixel noise": "yes" if config.noise else "no",
            "EMA half-life, kimg": config.ema_kimg,
            "length, kimg": config.total_kimg,
            "checkpoint every, kimg": config.snapshot_kimg,
        }

    for column, config in enumerate(configs):
        for name, value in figures(config).items():
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            assert rows[name][column] == shown, name
    scaled = ("batch size", "learning rate", "R1 γ", "EMA half-life, kimg")
    for name, value in figures(auto).items():
        if name == "channels at resolution r":
            assert rows[name][2] == "16384 / r (32768 / r from 512²), at most 512"
        elif name not in scaled:
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            assert rows[name][2] == shown, name
    assert auto.batch_size == 4096 // 256
    assert auto.r1_gamma == pytest.approx(0.0002 * 256**2 / auto.batch_size)
    assert auto.ema_kimg == pytest.approx(auto.batch_size * 10 / 32)
    assert auto.learning_rate == 0.0025
    assert preset("auto", resolution=1024).learning_rate == 0.002
    assert preset("auto", resolution=512).network.channel_base == 32768
    for config in (*configs, auto):
        assert (config.r1_interval, config.pl_interval, config.pl_weight) == (16, 4, 2)
        assert (config.style_mixing, config.beta1, config.beta2) == (0.9, 0, 0.99)
        subspace = config.subspace
        assert (subspace.dims, subspace.prior, subspace.placement) == (6, "uniform", "first")
        assert (subspace.orthonormality_weight, subspace.information_weight) == (1, 0.1)


def check_not_run(line: str) -> bool:
    """Checks a line of make or pip; whether it was one."""
    words = shlex.split(line)
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = [word for word in words[1:] if "=" not in word]
        assert targets
        for target in targets:
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
        return True
    if words[0] in ("pip", ".venv/bin/pip"):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for extras in re.findall(r"\[([\w,]+)\]", line):
            assert set(extras.split(",")) <= set(project["optional-dependencies"]), line
        return True
    return False


def run_line(line: str, folder: Path) -> None:
    """Runs one shell line, which must be a segan command, or torchrun's, in ``folder``."""
    words = shlex.split(SHORTER.get(line, line))
    module = {"segan": "segan.cli.main", "torchrun": "torch.distributed.run"}.get(words[0])
    assert module is not None, line
    done = subprocess.run(
        [sys.executable, "-m", module, *words[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def run_python(code: str, folder: Path) -> None:
    """Runs a Python block in ``folder``; torch must not come in."""
    code += "\nimport sys; assert 'torch' not in sys.modules and 'onnx' not in sys.modules\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def run_blocks(page: Path, folder: Path) -> None:
    """Runs a page's blocks in order."""
    for language, code in blocks(page, "bash", "sh", "shell", "console", "python"):
        assert language in ("bash", "python"), "use bash, python or text"
        if language == "python":
            run_python(code, folder)
            continue
        for line in code.splitlines():
            if line.strip() and not check_not_run(line):
                run_line(line, folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder with six photos of the reader's."""
    (tmp_path / "photos").mkdir()
    random = np.random.RandomState(0)
    for number in range(6):
        pixels = random.randint(0, 256, (70, 90, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.jpg")
    return tmp_path


def check_files(folder: Path, *names: str) -> None:
    """Files and folders that a page's commands promise."""
    for name in names:
        assert (folder / name).stat().st_size > 0, name


@pytest.mark.slow
def test_training_works_as_typed(folder: Path) -> None:
    pytest.importorskip("torch", reason="the README trains; the bare environment cannot")
    run_blocks(ROOT / "README.md", folder)
    assert len(list((folder / "out").glob("seed*.png"))) == 64
    assert {path.name for path in folder.glob("*.segan")} == {"faces.segan", "photos.segan"}
    check_files(folder, "sweep-L1N0D3.png", "sweep-L3N0D5.png", "atlas/index.html")
    for name in (*TRAIN[1:], *EXPORT):
        run_blocks(ROOT / name, folder)
    check_files(folder, "verified.segan", "report/index.html")


@pytest.mark.slow
def test_using_a_bundle_works_as_typed(folder: Path) -> None:
    pytest.importorskip("onnx", reason="'segan directions' writes graphs")
    write_copy(folder / "faces.segan")
    for name in USE:
        run_blocks(ROOT / name, folder)
    assert len(list((folder / "sweeps").glob("*.png"))) == 5
    check_files(folder, "slider.gif", "mix.png", "walk.gif", "many/shard-000000.tar", "grid.png")
    check_files(folder, "faces-sefa.segan", "faces-pca.segan", "atlas/index.html")


@pytest.mark.slow
def test_photos_become_sliders_as_typed(folder: Path) -> None:
    pytest.importorskip("torch", reason="the page trains; the bare environment cannot")
    run_blocks(ROOT / PHOTOS, folder)
    check_files(folder, "photos.segan", "photos-atlas/index.html")


def write_copy(target: Path) -> None:
    """Writes the model that ships with segan as a bundle that may be changed."""
    with zipfile.ZipFile(shipped_bundle()) as archive:
        archive.extractall(target)


@pytest.mark.parametrize("page", PAGES, ids=TITLES)
def test_blocks_that_are_not_run_name_what_exists(page: Path) -> None:
    if page.relative_to(ROOT).as_posix() in RUN:
        return  # run as a whole by the tests above
    for language, code in blocks(page, "bash", "python"):
        assert language == "bash", page.name
        for line in code.splitlines():
            assert check_not_run(line), line


def test_every_shortened_line_is_on_a_page() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for line in SHORTER:
        assert f"\n{line}\n" in text, line


def test_the_command_reference_is_written_only_when_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    main = runpy.run_path(str(ROOT / "docs" / "make_commands.py"))["main"]
    page = tmp_path / "commands.md"
    monkeypatch.setitem(main.__globals__, "PAGE", page)
    for words, status in ((["--help"], 0), (["--chekc"], 2)):
        monkeypatch.setattr("sys.argv", ["make_commands.py", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == status
    monkeypatch.setattr("sys.argv", ["make_commands.py", "--check"])
    assert main() == 1
    assert not page.exists()
    monkeypatch.setattr("sys.argv", ["make_commands.py"])
    assert main() == 0
    monkeypatch.setattr("sys.argv", ["make_commands.py", "--check"])
    assert main() == 0
    assert "out of date" in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=TITLES)
def test_no_figure_is_still_to_be_filled_in(page: Path) -> None:
    found = re.findall(r"@[A-Z]+@|^[A-Z0-9]{5,}$", page.read_text("utf-8"), re.MULTILINE)
    assert not found, f"{page.name} has placeholders: {found}"
