"""A policy that goes to a stand-in of the Hugging Face Hub and comes back, and its model card."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from data_files import DATA, ROOT
from hub_server import TOKEN, HubServer, hub_server

import evaluate as evaluate_command
import export as export_command
from agents.command_line import run as run_command
from agents.configuration import configure
from agents.evaluation import FRESH_SEED
from agents.export.export import export_policy
from agents.hub.card import model_card
from agents.hub.repository import fetch, push
from agents.options_file import read_options
from agents.runs.folder import RunFolder
from agents.trained.policy import load_trained_policy
from agents.trained.report import evaluate_policy
from policies.refusal import Refusal

CARTPOLE = DATA / "old_runs" / "runs" / "CartPole-v1" / "varied"
MakeRun = Callable[..., Path]


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with hub_server() as server:
        yield server


def call(hub: HubServer, home: Path, script: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command whose Hub is the stand-in."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(home),
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
    }
    command = [sys.executable, str(ROOT / script), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_a_policy_goes_to_the_hub_and_comes_back(hub: HubServer, tmp_path: Path) -> None:
    file = tmp_path / "out" / "mine.onnx"
    file.parent.mkdir()
    words = (str(CARTPOLE), "--output", str(file), "--which", "final", "--card", "--push-to-hub", "me/pole")
    pushed = call(hub, tmp_path / "home", "export.py", *words)
    assert pushed.returncode == 0, pushed.stderr
    assert f"uploaded: {hub.address}/me/pole/commit/{hub.commit('me/pole')}\n" in pushed.stdout
    card = (file.parent / "README.md").read_bytes()
    assert hub.repositories["me/pole"] == {"policy.onnx": file.read_bytes(), "README.md": card}
    assert any(request.startswith("PUT /lfs/") for request in hub.requests)
    # Another machine, with a cache of its own.
    evaluated = call(hub, tmp_path / "elsewhere", "evaluate.py", "hf://me/pole", "--episodes", "3", "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    figures = json.loads(evaluated.stdout)
    local = evaluate_policy(load_trained_policy(file), episodes=3, first_seed=FRESH_SEED)
    assert figures["mean_return"] == local.evaluation.mean_return
    assert figures["policy"].startswith(str(tmp_path / "elsewhere"))


@pytest.fixture
def here(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """Let this process take the stand-in for the Hub."""
    template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub


def test_revisions(here: HubServer, tmp_path: Path) -> None:
    file = tmp_path / "policy.onnx"
    file.write_bytes(b"one")
    commit = push("me/twice", file, "---\ntags: []\n---\n").rpartition("/")[2]
    assert fetch(f"hf://me/twice@{commit}").read_bytes() == b"one"
    file.write_bytes(b"two")
    push("me/twice", file, "---\ntags: []\n---\n")
    assert fetch("hf://me/twice").read_bytes() == b"two"


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("hf://me/nothing", "has no such repository"),
        ("hf://me/empty", "holds no policy.onnx"),
        ("hf://me/empty@v2", "no such revision"),
        ("hf://pole", "USER/NAME is needed"),
        ("hf://", "USER/NAME is needed"),
        ("hf://me/../pole", "USER/NAME is needed"),
    ],
)
def test_what_is_not_there_is_refused(address: str, named: str, here: HubServer) -> None:
    here.repositories["me/empty"] = {"README.md": b""}
    with pytest.raises(Refusal, match=named):
        fetch(address)


def test_a_policy_of_the_hub_is_read_as_any_other_file(
    here: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here.repositories["you/foreign"] = {"policy.onnx": b"no model at all"}
    code, out, err = in_process(monkeypatch, capsys, evaluate_command.main, "hf://you/foreign")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1, err
    assert "policy.onnx" in err


def test_upload_without_a_token_is_refused(here: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    (tmp_path / "policy.onnx").write_bytes(b"one")
    with pytest.raises(Refusal, match=r"push_to_hub me/pole: the Hub refused .*401"):
        push("me/pole", tmp_path / "policy.onnx", "")


def test_without_a_connection(here: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(Refusal, match="cannot be reached"):
        fetch("hf://me/pole")


def in_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], main: Callable[[], None], *words: str
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["command", *words])
    code = 0
    try:
        run_command(main)
    except SystemExit as error:
        code = int(error.code or 0)
    return code, *capsys.readouterr()


def test_readme_of_something_else_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "README.md").write_text("# My project\n")
    words = (str(CARTPOLE), "--card", "--output", str(tmp_path / "policy.onnx"))
    code, out, err = in_process(monkeypatch, capsys, export_command.main, *words)
    assert (code, out) == (2, "")
    assert err.startswith("error: --card would replace")
    assert err.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["README.md"]
    code, out, err = in_process(monkeypatch, capsys, export_command.main, *words[:1], "--push-to-hub", "pole")
    assert (code, out) == (2, "")
    assert "USER/NAME is needed" in err
    (tmp_path / "README.md").unlink()
    (tmp_path / "README.md").mkdir()
    code, _, err = in_process(monkeypatch, capsys, export_command.main, *words)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("error: --card cannot be written: ")


def test_card_says_what_the_policy_is(make_run: MakeRun, tmp_path: Path) -> None:
    path = make_run(tmp_path, "CartPole-v1", architecture="gru", seed=7, env_arguments={"max_episode_steps": 90})
    figures = {"episodes": 20, "mean_return": 80.5, "std_return": 3.25, "success_rate": 0.4}
    run = RunFolder.open(path)
    run.write_json("result.json", {"best": figures, "final": figures})
    metadata = export_policy(path, tmp_path / "policy.onnx").metadata
    card = model_card(metadata, run.read_configuration(), "best", "policy.onnx", "me/pole")
    head, body = card.removeprefix("---\n").split("\n---\n", 1)
    entries = yaml.safe_load(head)
    assert entries["library_name"] == "varied-sparsity-rl"
    assert entries["pipeline_tag"] == "reinforcement-learning"
    assert {"CartPole-v1", "onnx"} <= set(entries["tags"])
    ((result,),) = (index["results"] for index in entries["model-index"])
    assert result["dataset"]["name"] == "CartPole-v1"
    assert {metric["type"]: metric["value"] for metric in result["metrics"]} == {
        "mean_reward": "80.50 +/- 3.25",
        "success_rate": 0.4,
    }
    for text in ("GRU on CartPole-v1", "`max_episode_steps`: `90`", "hf://me/pole", "| success rate | 40.0% |", "best"):
        assert text in body
    assert str(tmp_path) not in card
    command = re.search(r"```\n(python train\.py .*)\n```", body)
    assert command
    words = shlex.split(command[1])
    assert words[2:4] == ["--env", "CartPole-v1"]
    assert {"--architecture", "gru", "--seed", "7", "--budget", "600", "max_episode_steps=90"} <= set(words)


def test_card_of_settings_that_no_option_sets(tmp_path: Path) -> None:
    metadata = export_policy(CARTPOLE, tmp_path / "policy.onnx").metadata
    configuration = configure("CartPole-v1", log_std_init=-2.0, log_dir="/home/me/secret")
    card = model_card(metadata, configuration, "final", "my policy.onnx")
    assert "python train.py --config settings.yaml" in card
    assert "secret" not in card
    (tmp_path / "settings.yaml").write_text(card.split("```yaml\n")[1].split("```")[0])
    assert configure(**read_options(tmp_path / "settings.yaml", {})) == configure("CartPole-v1", log_std_init=-2.0)
    assert "python evaluate.py 'my policy.onnx' --episodes 100" in card
    assert "exported as `my policy.onnx`" in card
