"""What MkDocs adds to the pages: the help of every command, the presets, the benchmarks' tables, links that fit both.

The pages are read in the repository too, where `../benchmarks/README.md` is a file beside them. In the site it is a
page of its own, and a link to what is no page becomes its plain text.
"""

import os
import posixpath
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]

COMMANDS = (
    *("train.py", "evaluate.py", "evaluate.py compare", "specify.py", "export.py"),
    *("sweep.py", "sweep.py run", "sweep.py worker", "sweep.py report", "sweep.py show", "sweep.py learn"),
)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the benchmarks' page and the pictures of it and of others."""
    pictures = [path for kind in ("png", "gif") for path in (ROOT / "benchmarks").rglob(f"*.{kind}")]
    for path in [ROOT / "benchmarks" / "README.md", *sorted(pictures)]:
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill in what is generated, and let links of the repository be links of the site."""
    markdown = (
        markdown.replace("<!-- the help of every command -->", helps()) if "<!-- the help" in markdown else markdown
    )
    markdown = markdown.replace("<!-- every preset -->", presets()) if "<!-- every preset" in markdown else markdown
    here = page.file.src_uri

    def fitting(match: re.Match[str]) -> str:
        is_picture, text, target, anchor = match.groups()
        if ":" in target:
            return match[0]
        inside = here if here.startswith("benchmarks/") else f"docs/{here}"
        path = posixpath.normpath(posixpath.join(posixpath.dirname(inside), target))
        uri = path.removeprefix("docs/")
        if files.get_file_from_path(uri) is None:
            return text if (ROOT / path).exists() else match[0]  # which MkDocs warns of
        return f"{is_picture}[{text}]({posixpath.relpath(uri, posixpath.dirname(here) or '.')}{anchor or ''})"

    return _LINK.sub(fitting, markdown)


def helps() -> str:
    """Return what every command says of its options."""
    sections = []
    for command in COMMANDS:
        script, *words = command.split()
        done = subprocess.run(
            [sys.executable, script, *words, "--help"],
            cwd=ROOT,
            env=os.environ | {"COLUMNS": "80"},
            capture_output=True,
            text=True,
            check=True,
        )
        sections.append(f"## {command}\n\n```text\n{done.stdout.rstrip()}\n```\n")
    return "\n".join(sections)


def presets() -> str:
    """Return a table of each preset, and the ids that have it."""
    import envs  # noqa: F401  (registers the tasks)
    from agents.settings import in_words
    from envs.task import TASKS

    sections = []
    for task in {id(task): task for task in TASKS.values()}.values():
        if not task.preset:
            continue
        ids = ", ".join(f"`{name}`" for name in task.ids)
        rows = ["| setting | value |", "| --- | --- |"]
        for table, words in ((task.preset, ""), (task.preset.get("with_demos", {}), ", with `--demos`")):
            rows += [f"| `{n}`{words} | {in_words(v)} |" for n, v in table.items() if n != "with_demos"]
        sections.append(f"## {task.ids[0]}\n\n{ids}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(sections)
