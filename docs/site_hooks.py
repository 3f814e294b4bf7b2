"""What MkDocs does not do by itself: pages from the repository's root, and links out of docs/.

``CONTRIBUTING.md`` and ``CHANGELOG.md`` lie in the repository's root, where GitHub looks for them.
The site shows both under About. Links are written so that they work on GitHub; those that leave
docs/ are turned here into links within the site, or into plain text.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
#: File in the repository's root → page of the site.
PAGES = {
    "CONTRIBUTING.md": "about/contributing.md",
    "CHANGELOG.md": "about/changelog.md",
    "README.md": "index.md",
}
#: An inline link or image: (start, target, end).
LINK = re.compile(r"(!?\[(?:[^\]\\]|\\.)*\])\(([^)\s]+)\)")
#: What a page loads by itself from elsewhere.
LOADED = re.compile(
    r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)"
)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that lie in the repository's root."""
    for name, page in PAGES.items():
        if name != "README.md":
            text = (ROOT / name).read_text(encoding="utf-8")
            files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links that leave docs/ into links within the site."""
    of_root = {target: name for name, target in PAGES.items() if target != "index.md"}
    source = page.file.src_uri
    # Where the page lies in the repository: its links are relative to that folder.
    written = of_root.get(source, f"docs/{source}")

    def relink(found: re.Match[str]) -> str:
        text, target = found.groups()
        if re.match(r"[a-z]+:|#", target):
            return found.group()
        path, mark, anchor = target.partition("#")
        in_repository = posixpath.normpath(posixpath.join(posixpath.dirname(written), path))
        if in_repository in PAGES:
            in_docs = PAGES[in_repository]
        elif in_repository.startswith("docs/"):
            in_docs = in_repository.removeprefix("docs/")
        else:
            return text[1:-1]
        relative = os.path.relpath(in_docs, posixpath.dirname(source) or ".")
        return f"{text}({relative}{mark}{anchor})"

    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [LINK.sub(relink, markdown[end : fence.start()]), fence.group()]
        end = fence.end()
    return "".join([*parts, LINK.sub(relink, markdown[end:])])


def on_post_build(config: MkDocsConfig) -> None:
    """Checks that the pages load nothing from the network. Raises: PluginError if one does."""
    for page in Path(config.site_dir).rglob("*.html"):
        found = LOADED.findall(page.read_text(encoding="utf-8"))
        if found:
            raise PluginError(f"{page.name} loads {found[0]}; expected files of the site alone")
