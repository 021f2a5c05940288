"""For the site: README is its first page, and links to files that are no pages go to the repository."""

import re
from pathlib import Path
from typing import Any

_LINK = re.compile(r"\]\((?!https?://|#)([^)\s]+)\)")
_ROOT = Path(__file__).parent.parent


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """What MkDocs calls with the text of every page."""
    if page.file.src_uri == "index.md":
        markdown = (_ROOT / "README.md").read_text("utf-8")
        folder = _ROOT
    else:
        folder = (_ROOT / "docs" / page.file.src_uri).parent

    def link(found: re.Match) -> str:
        path, hash_, anchor = found[1].partition("#")
        target = (folder / path).resolve()
        if target.is_relative_to(_ROOT / "docs"):
            depth = len(Path(page.file.src_uri).parts) - 1
            return f"]({'../' * depth}{target.relative_to(_ROOT / 'docs').as_posix()}{hash_}{anchor})"
        if not target.exists():
            raise SystemExit(f"error: {page.file.src_uri}: {found[1]}: there is no such file")
        return f"]({config.repo_url}/blob/main/{target.relative_to(_ROOT).as_posix()}{hash_}{anchor})"

    return _LINK.sub(link, markdown)
