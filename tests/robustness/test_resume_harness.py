"""The harness of kills and resumptions, with a few of them."""

from pathlib import Path

import pytest

from tests.robustness.resume import MODES, run_harness, verdict


@pytest.mark.slow
def test_killed_and_resumed_in_every_way(tmp_path: Path) -> None:
    lines = run_harness(len(MODES), tmp_path / "work", tmp_path / "lines.jsonl", seed=1)
    figures = verdict(lines)
    assert figures["interruptions"] == figures["as promised"] == figures["all checkpoints whole"] == len(MODES)
    assert figures["in the middle of a checkpoint"] >= MODES.count("writing")
    assert figures["most steps lost"] <= figures["interval and one rollout"]
    assert figures["steps at the end"] == figures["steps without interruption"]
    assert figures["weights equal"]
    assert figures["evaluations equal"]
