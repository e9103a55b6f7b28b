"""Pages in headless Chromium."""

import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


def in_chromium(options: Sequence[str], tmp_path: Path) -> str:
    """Run headless Chromium and return what it prints."""
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *QUIET]
    for attempt in range(2):  # its start fails now and then on a busy machine
        result = subprocess.run(
            [*command, f"--user-data-dir={tmp_path}/profile{attempt}", "--window-size=1280,1400", *options],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if result.stdout:
            return result.stdout
        time.sleep(2)
    raise AssertionError(result.stderr)
