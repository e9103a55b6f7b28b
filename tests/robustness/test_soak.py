"""The soak, in less than a minute."""

from pathlib import Path

import pytest

from benchmarks.harness import read_lines
from tests.robustness.soak import figures, soak

SMALL: tuple[str, ...] = (
    "--env",
    "RandomAnomaly-v0",
    "--budget",
    "4000",
    "--env-arg",
    "image_size=12",
    "--n-envs",
    "32",
)
SMALL += ("--batch-size", "88", "--eval-episodes", "32", "--checkpoint-every", "3000", "--eval-every", "3000")


@pytest.mark.slow
def test_nothing_grows(tmp_path: Path) -> None:
    lines = tmp_path / "soak.jsonl"
    options = (*SMALL, "--no-progress")
    soak(5, tmp_path / "logs", lines, options, every=0.5)
    soak(15, tmp_path / "logs", lines, options, every=0.5)  # goes on where it was stopped
    samples = read_lines(lines)
    resumed = [line for line in samples if line["session"] == 1]
    assert len(samples) > len(resumed) > 10
    second = figures(resumed, warm_up=0)
    assert second["steps"] > 0
    assert second["children (least, most)"] == (0, 0)
    threads, files = second["threads (least, most)"], second["files (least, most)"]
    assert threads[1] - threads[0] <= 1
    assert files[1] - files[0] <= 3  # a checkpoint may be open at the moment of a sample
    assert second["memory at last (MiB)"] < second["memory at first (MiB)"] + 100
