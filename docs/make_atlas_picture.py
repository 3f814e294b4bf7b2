"""Writes docs/images/atlas.webp: the atlas of the shipped model in a real browser.

Run from the repository root, with Chromium or Chrome on the PATH: python docs/make_atlas_picture.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from segan.runtime.bundle.shipped import shipped_bundle

PICTURE = Path(__file__).with_name("images") / "atlas.webp"
WIDTH, HEIGHT = 1400, 2010
MAX_BYTES = 400_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
#: Options of a browser that shows no prompts and makes no background connections.
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def draw_atlas(folder: Path) -> Path:
    """Runs ``segan atlas`` on the shipped model, as a user does; returns the page."""
    subprocess.run(
        [sys.executable, "-m", "segan.cli.main", "atlas", "-o", "atlas"], cwd=folder, check=True
    )
    return folder / "atlas" / "index.html"


def photograph(page: Path, folder: Path) -> Image.Image:
    """The page in a browser's window. Raises: SystemExit without a browser."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise SystemExit(f"no browser is on the PATH; expected one of {', '.join(BROWSERS)}.")
    target = folder / "page.png"
    subprocess.run(
        [
            browser,
            *OPTIONS,
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={WIDTH},{HEIGHT}",
            f"--screenshot={target}",
            page.as_uri(),
        ],
        check=True,
        capture_output=True,
    )
    with Image.open(target) as picture:
        return picture.convert("RGB")


def main() -> None:
    """Draws the atlas, photographs it, and writes the picture as small as it has to be."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"atlas of {shipped_bundle().name}")
        picture = photograph(draw_atlas(folder), folder)
    for quality in (86, 80, 72, 64):
        picture.save(PICTURE, "WEBP", quality=quality, method=6)
        if PICTURE.stat().st_size <= MAX_BYTES:
            break
    print(f"wrote {PICTURE.parent.name}/{PICTURE.name}, {PICTURE.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
