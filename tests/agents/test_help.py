"""What the commands say of themselves: help in groups, presets, the list of environments, completion in a shell."""

import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest
from data_files import ROOT

from agents.configuration import GROUPS, PRESET_ONLY, TrainingConfiguration, option_name
from envs.task import task_of
from tests.same_runs import call


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_the_help_has_every_option_in_its_group(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    named = [name for names in GROUPS.values() for name in names]
    assert len(named) == len({*named})
    assert {*named} <= {*TrainingConfiguration.model_fields} - {*PRESET_ONLY}
    assert call("train.py", "--help", patch=monkeypatch) == 0
    lines = capsys.readouterr().out.splitlines()
    starts = [lines.index(f"{group}:") for group in GROUPS]
    assert starts == sorted(starts)
    texts = dict(
        zip(GROUPS, ("\n".join(lines[a:b]) for a, b in zip(starts, [*starts[1:], None], strict=True)), strict=True)
    )
    others = {*TrainingConfiguration.model_fields} - {*PRESET_ONLY, *named}
    for group, names in (GROUPS | {"learning": tuple(others)}).items():
        for name in names:
            assert f"\n  {option_name(name)} " in f"{texts[group]} "
    assert "(default 50000)" in " ".join(texts["network"].split())


@pytest.mark.parametrize("words", [["--env", "AdroitHandHammer-v1", "--help"], ["--help", "--env=AdroitHandHammer-v1"]])
def test_the_help_shows_a_preset(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("train.py", *words, patch=monkeypatch) == 0
    preset = task_of("AdroitHandHammer-v1").preset
    text = said(capsys)
    for name in {*preset} - {"with_demos", *PRESET_ONLY}:
        _, _, after = text.partition(f" {option_name(name)} ")
        assert f"[AdroitHandHammer-v1: {preset[name]}" in after, name
    name, value = next(iter(preset["with_demos"].items()))
    assert f"{value} with --demos]" in text, name
    for name in {*preset} & {*PRESET_ONLY}:
        assert f"{name}: {preset[name]}" in text.rpartition("Without an option:")[2]
    for name in {*preset["with_demos"]} & {*PRESET_ONLY}:
        assert f"{name} with --demos: {preset['with_demos'][name]}" in text.rpartition("Without an option:")[2]


def test_the_help_of_an_environment_without_a_preset_or_a_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("specify.py", "--help", "--env", "Pendulum-v1", patch=monkeypatch) == 0
    assert "There is no preset for Pendulum-v1." in said(capsys)
    assert call("train.py", "--help", "--env", "Pendullum-v1", patch=monkeypatch) == 2
    assert "did you mean Pendulum-v1" in capsys.readouterr().err
    assert call("train.py", "--help", "--env", patch=monkeypatch) == 0
    assert "[" in said(capsys)


def test_environments_are_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("train.py", "--list-envs", "c*poLE", patch=monkeypatch) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["environment", "inputs", "outputs", "preset"]
    by_env = {row.split()[0]: row for row in rows}
    assert by_env["CartPole-v1"].split()[1:3] == ["4", "2"]
    assert f"budget {task_of('CartPole-v1').preset['budget']}" in by_env["CartPole-v1"]
    assert "CartPole-v0" not in by_env  # of which there is a newer version
    assert by_env["popgym-PositionOnlyCartPoleEasy-v0"].split()[1:3] == ["6", "2"]  # with its preset's wrappers
    assert call("train.py", "--list-envs", "CartPole-v0", patch=monkeypatch) == 0
    assert "CartPole-v0 " in capsys.readouterr().out
    assert call("train.py", "--list-envs", "LunarLander-", patch=monkeypatch) == 0
    assert "cannot be made" in capsys.readouterr().out
    monkeypatch.syspath_prepend(ROOT / "tests")
    sys.modules.pop("picky", None)
    gymnasium.registry.pop("Picky-v0", None)
    assert call("train.py", "--list-envs", "picky:", patch=monkeypatch) == 0
    assert [row.split()[0] for row in capsys.readouterr().out.splitlines()] == ["environment", "Picky-v0"]
    assert call("train.py", "--list-envs", "no such", patch=monkeypatch) == 2
    assert capsys.readouterr().err.startswith("error: --list-envs 'no such' is in no environment's id")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("train.py --hidden-", {"--hidden-proportion", "--hidden-size"}),
        ("train.py --env CartPo", {"CartPole-v0", "CartPole-v1"}),
        ("train.py --architecture ", {"varied", "uniform", "dense", "lstm", "gru", "auto"}),
        ("sweep.py sh", {"show"}),
        ("evaluate.py compare logs --", {"--help", "--json", "--out", "--range", "--score"}),
        ("evaluate.py compare --s", {"--score"}),
        ("evaluate.py logs --s", {"--seed", "--stochastic"}),
    ],
)
def test_a_shell_completes_words(line: str, expected: set[str], tmp_path: Path) -> None:
    answer = tmp_path / "answer"
    shell = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer)}
    line = f"{ROOT}/{line}"
    environment = os.environ | shell | {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    script = line.split()[0]
    assert Path(script).read_text().startswith("# PYTHON_ARGCOMPLETE_OK\n")  # by which a shell knows it
    subprocess.run([sys.executable, script], env=environment, capture_output=True, timeout=120, check=True)
    assert {word.strip() for word in answer.read_text().split("\n")} == expected
