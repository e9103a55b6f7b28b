"""Imports run one way; pyproject.toml says which."""

import subprocess
import sys
from pathlib import Path

from data_files import ROOT


def test_imports_run_in_the_directions_of_the_layers_and_in_no_circle() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
