"""mkdocs hook: pictures stay in screenshots/, beside docs/, where a repository's viewer finds them too."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

PICTURES = Path(__file__).resolve().parents[1] / "screenshots"


def on_files(files: Files, config: Any) -> Files:
    """Add the pictures to the site."""
    for path in sorted(PICTURES.glob("*.*g")):
        files.append(File(f"screenshots/{path.name}", str(PICTURES.parent), config["site_dir"], False))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Their addresses as seen from the site's root."""
    return markdown.replace("](../screenshots/", "](screenshots/")
