"""Runs in which weights move: what their folders hold, and everything that reads them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from demonstration_data import record
from PIL import Image
from stable_baselines3.common.callbacks import BaseCallback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.building import load_agent
from agents.configuration import configure
from agents.export.export import export_policy
from agents.rebalancing_plan import moves_note
from agents.runs.folder import RunFolder
from agents.runs.patterns import read_patterns
from agents.trained.pattern_film import record_patterns
from agents.trained.policy import load_trained_policy
from agents.trained.report import evaluate_policy
from agents.training import plan_training, train
from policies.network.blocks import BLOCKS
from policies.refusal import Refusal

OPTIONS: dict[str, Any] = {
    "env": "RandomAnomaly-v0",
    "env_arguments": {"image_size": 8, "sequence_length": 4},
    "budget": 1_000,
    "hidden_proportion": 0.2,
    "rebalance": "momentum",
    "rebalance_every": 1,
    "n_envs": 8,
    "n_steps": 5,
    "batch_size": 20,
    "total_timesteps": 40 * 8,
    "eval_every": 80,
    "eval_episodes": 8,
    "progress": False,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(configure(**OPTIONS, log_dir=str(tmp_path_factory.mktemp("logs")), run_name="run")).path


def counts(run: Path, which: str, network: str) -> dict[str, int]:
    tensors = safetensors.numpy.load_file(run / which / "policy.safetensors")
    return {block: len(tensors[f"{network}.positions_{block}"]) for block in BLOCKS}


def test_folder_holds_the_first_and_the_last_network(run: Path) -> None:
    folder = RunFolder.open(run)
    first, last = folder.read_first_network(), folder.read_network()
    assert first == plan_training(folder.read_configuration())
    for network in ("actor", "critic"):
        before, after = getattr(first, network), getattr(last, network)
        assert before.total_weights == after.total_weights == 1_000
        assert (before.n_hidden, before.hidden_proportion) != (after.n_hidden, after.hidden_proportion)
        assert before.n_hidden == after.n_hidden
        assert counts(run, "final", network) == after.weights
    assert any(counts(run, "best", network) != counts(run, "final", network) for network in ("actor", "critic"))


@pytest.mark.parametrize("which", ["best", "final"])
def test_policies_of_any_time_act_and_are_exported(which: Any, run: Path, tmp_path: Path) -> None:
    policy, _, _ = load_agent(run, which)
    assert policy.actor.specification.weights == counts(run, which, "actor")
    exported = export_policy(run, tmp_path / "policy.onnx", which)
    assert exported.metadata.specification.actor == policy.actor.specification
    reports = [
        evaluate_policy(load_trained_policy(path, which=of), episodes=20, first_seed=0)
        for path, of in ((run, which), (exported.path, None))
    ]
    assert reports[0].evaluation.returns.tolist() == reports[1].evaluation.returns.tolist()


def test_tensorboard_shows_where_weights_are(run: Path) -> None:
    events = EventAccumulator(str(run), size_guidance={"images": 0})
    events.Reload()
    tags = events.Tags()
    for network in ("actor", "critic"):
        assert len(events.Images(f"network/pattern/{network}")) > 2
        proportions = [event.value for event in events.Scalars(f"network/hidden_proportion/{network}")]
        assert len(set(proportions)) > 2
        first = getattr(RunFolder.open(run).read_first_network(), network).hidden_proportion
        assert proportions[0] == pytest.approx(first)
        assert {f"network/density/{network}/{block}" for block in BLOCKS} < set(tags["scalars"])
        weights = [events.Scalars(f"network/weights/{network}/{block}")[-1].value for block in BLOCKS]
        assert sum(weights) == 1_000
        assert events.Scalars(f"network/moved/{network}")[0].value > 50
        for figure in ("revived_units", "unconnected_units"):
            assert f"network/{figure}/{network}" in tags["scalars"]


def test_a_film_shows_where_weights_were(run: Path, tmp_path: Path) -> None:
    moments = read_patterns(run)
    assert [(moment.phase, moment.at) for moment in moments] == [("", 40 * update) for update in range(6)]
    folder = RunFolder.open(run)
    for network, picture in (
        (getattr(networks, name), picture)
        for moment, networks in ((moments[0], folder.read_first_network()), (moments[-1], folder.read_network()))
        for name, picture in moment.pictures.items()
    ):
        assert dict(zip(BLOCKS, picture.weights.tolist(), strict=True)) == network.weights
        assert picture.hidden_proportion == network.hidden_proportion
        rows, columns = network.n_hidden + network.n_outputs, network.n_inputs + network.n_hidden + network.n_outputs
        assert picture.density.shape == (rows, columns)  # a cell for each position
        assert (picture.density == 255).sum() == network.total_weights
    policy = load_trained_policy(run)
    record_patterns(policy, tmp_path / "pattern.gif")
    with Image.open(tmp_path / "pattern.gif") as film:
        assert film.n_frames >= 2
    with pytest.raises(Refusal, match="at its end"):
        record_patterns(policy, tmp_path / "pattern.png")
    still = tmp_path / "still"
    shutil.copytree(run, still)
    file = sorted((still / "patterns").iterdir())[0]
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(Refusal, match="is damaged"):
        record_patterns(load_trained_policy(still), tmp_path / "pattern.gif")
    shutil.rmtree(still / "patterns")
    with pytest.raises(Refusal, match="in which weights moved"):
        record_patterns(load_trained_policy(still), tmp_path / "pattern.gif")


def test_another_network_is_damage_in_a_run_without_moves(run: Path, tmp_path: Path) -> None:
    still = tmp_path / "still"
    shutil.copytree(run, still)
    text = (still / "config.yaml").read_text()
    kept = [line for line in text.splitlines() if not line.startswith("rebalance")]
    first = RunFolder.open(run).read_first_network()
    kept.append(f"hidden_size: {first.actor.n_hidden}")
    (still / "config.yaml").write_text("\n".join(line for line in kept if line != "hidden_size: null") + "\n")
    with pytest.raises(Refusal, match="different networks"):
        load_agent(still, "final")


def test_within_blocks_the_specification_stays(tmp_path: Path) -> None:
    options = OPTIONS | {"rebalance": "magnitude", "rebalance_scope": "block", "total_timesteps": 120}
    configuration = configure(**options, log_dir=str(tmp_path), run_name="run")
    path = train(configuration).path
    network = json.loads((path / "network.json").read_text())
    assert "first" not in network
    assert network == plan_training(configuration).to_dict()
    policy, _, _ = load_agent(path, "final")
    still = {name: value for name, value in options.items() if not name.startswith("rebalance")}
    unmoved, _, _ = load_agent(train(configure(**still, log_dir=str(tmp_path), run_name="still")).path, "final")
    assert policy.actor.specification == unmoved.actor.specification
    assert not np.array_equal(policy.actor.positions("hh"), unmoved.actor.positions("hh"))


def test_while_demonstrations_are_fitted_the_actor_moves_and_then_the_critic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demos = record(tmp_path / "minari", monkeypatch)
    options = OPTIONS | {"env": "Pendulum-v1", "env_arguments": {}, "demos": str(demos), "demo_epochs": 3}
    options |= {"n_envs": 2, "n_steps": 20, "batch_size": 20, "total_timesteps": 160, "log_dir": str(tmp_path)}
    whole = RunFolder.open(train(configure(**options, run_name="whole")).path)
    fit = RunFolder.open(train(configure(**options, run_name="fit", demos_only=True)).path)
    first = whole.read_first_network()
    assert whole.read_network().actor == fit.read_network().actor != first.actor
    assert fit.read_network().critic == fit.read_first_network().critic
    assert whole.read_network().critic != first.critic
    events = EventAccumulator(str(fit.path), size_guidance={"images": 0})
    events.Reload()
    proportions = [event.value for event in events.Scalars("demos/hidden_proportion/actor")]
    assert proportions[0] == pytest.approx(fit.read_first_network().actor.hidden_proportion)
    assert proportions[-1] == pytest.approx(fit.read_network().actor.hidden_proportion)
    assert len(events.Images("demos/pattern/actor")) == 1 + 3  # before the fit and with each evaluation
    assert events.Scalars("network/hidden_proportion/actor")[0].value == proportions[-1]  # what PPO would begin with
    assert events.Scalars("demos/moved/actor")[0].value > 0
    moments = read_patterns(whole.path)
    of_fit = [moment for moment in moments if moment.phase == "demos"]
    assert of_fit == moments[: len(of_fit)]
    assert [moment.at for moment in of_fit] == sorted({moment.at for moment in of_fit})
    assert of_fit[-1].pictures["actor"].hidden_proportion == whole.read_network().actor.hidden_proportion
    assert [moment.at for moment in moments[len(of_fit) :]] == [0, 40, 80]
    record_patterns(load_trained_policy(whole.path), tmp_path / "fit.gif")
    with Image.open(tmp_path / "fit.gif") as film:
        assert film.n_frames >= len(of_fit)


def test_while_a_training_goes_on_its_folder_tells_of_the_network_that_was_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demos = record(tmp_path / "minari", monkeypatch)
    options = OPTIONS | {"env": "Pendulum-v1", "env_arguments": {}, "demos": str(demos), "demo_epochs": 3}
    options |= {"n_envs": 2, "n_steps": 20, "batch_size": 20, "total_timesteps": 160, "rebalance_networks": "actor"}
    seen = []

    class Look(BaseCallback):
        def _on_step(self) -> bool:
            folder = RunFolder.open(tmp_path / "Pendulum-v1" / "run")
            seen.append((folder.read_network().actor, load_agent(folder.path, "best")[0].actor.specification))
            return False

    train(configure(**options, log_dir=str(tmp_path), run_name="run"), [Look()])
    told, best = seen[0]
    assert told == best != RunFolder.open(tmp_path / "Pendulum-v1" / "run").read_first_network().actor


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "dense"}, "varied or uniform"),
        ({"architecture": "lstm"}, "varied or uniform"),
        ({"rebalance": "none", "rebalance_every": 3}, "needs `rebalance`"),
        ({"densities": dict.fromkeys(BLOCKS, 0.5)}, "pin 6 blocks"),
        ({"densities": dict.fromkeys(BLOCKS[1:], 0.5)}, "pin 5 blocks"),
        ({"rebalance_fraction": 0.0}, "above 0"),
        ({"demos": "some", "demos_only": True, "rebalance_networks": "critic"}, "leaves the critic as it is"),
    ],
)
def test_what_does_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(Refusal) as caught:
        configure(**{"env": "CartPole-v1", "rebalance": "momentum"} | options)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "uniform", "uniform_density": 1.0}, "no weight of the actor can move"),
        (
            {"densities": dict.fromkeys(BLOCKS, 1.0), "rebalance_scope": "block"},
            "of the actor can move",
        ),
        ({"total_timesteps": 4_096, "rebalance_every": 10}, "at most 2 fits"),
        ({"total_timesteps": 1_024, "rebalance_every": 1}, "a longer training is needed"),
    ],
)
def test_a_training_in_which_nothing_would_move_is_refused(options: dict[str, Any], message: str) -> None:
    options = {"env": "CartPole-v1", "rebalance": "momentum", "budget": 1_000, "n_envs": 8, "n_steps": 128} | options
    with pytest.raises(Refusal) as caught:
        plan_training(configure(**options | {"batch_size": 256}))
    assert message in caught.value.message


def test_a_fit_in_which_nothing_would_move_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"env": "Pendulum-v1", "rebalance": "momentum", "demos_only": True, "demo_epochs": 2}
    demos = record(tmp_path / "minari", monkeypatch)
    with pytest.raises(Refusal, match="leaves no move of the actor in the"):
        train(configure(**options, demos=str(demos), rebalance_every=1_000, log_dir=str(tmp_path)))
    assert not (tmp_path / "Pendulum-v1").exists()


def test_the_number_of_moves_is_said_beforehand(run: Path) -> None:
    configuration = configure(**OPTIONS)
    assert moves_note(configuration) == "weights of the actor and the critic move 5 times: every 1 updates of 8"
    assert len(read_patterns(run)) == 1 + 5
    assert moves_note(configure(env="CartPole-v1")) is None


def test_where_demonstrations_are_all_the_critic_gets_no_room() -> None:
    common = {"env": "CartPole-v1", "budget": 1_000, "rebalance": "momentum", "demos": "some", "demos_only": True}
    plan = plan_training(configure(**common))
    assert plan.critic == plan_training(configure(env="CartPole-v1", budget=1_000)).critic
    assert configure(**common).moving_networks == ("actor",)


def test_pinned_blocks_are_the_actors() -> None:
    pinned = dict.fromkeys(BLOCKS, 0.5)
    common = {"env": "CartPole-v1", "rebalance": "momentum", "densities": pinned}
    assert configure(**common, rebalance_networks="critic").moving_networks == ("critic",)


def test_room_is_for_weights_that_move_between_blocks() -> None:
    common = {"env": "CartPole-v1", "budget": 1_000}
    smallest = plan_training(configure(**common))
    roomy = plan_training(configure(**common, rebalance="momentum"))
    for network in ("actor", "critic"):
        before, after = getattr(smallest, network), getattr(roomy, network)
        assert after.n_hidden >= 1.25 * before.n_hidden
        assert after.n_hidden**2 >= 900
        assert after.weights["hh"] == before.weights["hh"]
        assert after.total_weights == 1_000
    assert plan_training(configure(**common, rebalance="momentum", rebalance_scope="block")) == smallest
    actor_alone = plan_training(configure(**common, rebalance="momentum", rebalance_networks="actor"))
    assert (actor_alone.actor, actor_alone.critic) == (roomy.actor, smallest.critic)
    assert plan_training(configure(**common, rebalance="momentum", hidden_size=70)).actor.n_hidden == 70
