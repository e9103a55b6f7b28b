"""Fuzzing of all readers, with a few inputs; the harness itself must notice what it is there for."""

from pathlib import Path

import pytest

from tests.robustness.fuzz import READERS, Reader, Watch, Workshop, fuzz_all, judge


@pytest.mark.slow
def test_no_input_is_more_than_refused() -> None:
    for name, result in fuzz_all(40, seed=100, names=list(READERS)).items():
        assert result["failed"] == 0, (name, result["failures"])
        assert result["accepted"] + result["refused"] == 40
        assert result["refused"] > 0


def test_harness_notices_what_must_not_happen(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    watch, workshop = Watch(inside), Workshop(tmp_path, inside)

    def outcome(action: str) -> tuple[str, str]:
        return judge(Reader(lambda generator, workshop: "", lambda given, workshop: exec(action)), "", workshop, watch)

    assert outcome("pass") == ("accepted", "")
    assert outcome("from policies.refusal import Refusal; raise Refusal('no')") == ("refused", "no")
    assert outcome(f"open({str(inside / 'a')!r}, 'w').close()")[0] == "accepted"
    for action in (
        "raise ValueError('two\\nlines')",
        "raise ValueError('no')",
        "from policies.refusal import Refusal; raise Refusal('')",
        "raise KeyError('x')",
        "raise SystemExit(1)",
        f"open({str(tmp_path / 'b')!r}, 'w').close()",
        f"import os; os.mkdir({str(tmp_path / 'c')!r})",
        "import os; os.system('true')",
        "import subprocess; subprocess.run(['true'])",
        "import pickle, collections; pickle.loads(pickle.dumps(collections.OrderedDict()))",
        "import canary_of_another_name",
    ):
        assert outcome(action)[0] == "failed", action
    (inside / "canary").touch()
    assert outcome("pass") == ("failed", "code was run (otherwise: accepted)")
    assert outcome("pass")[0] == "accepted"
