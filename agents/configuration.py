"""The one typed object that describes a training, its defaults, its checks and its YAML form."""

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from policies.network.specification import BLOCKS
from policies.refusal import Refusal

Architecture = Literal["varied", "uniform", "dense", "lstm"]
ARCHITECTURES: tuple[str, ...] = typing.get_args(Architecture)


def _option(help_text: str, **metadata: Any) -> Any:
    """Describe a field for the command line; the default is resolved from the environment's preset."""
    default = metadata.pop("default", dataclasses.MISSING)
    factory = metadata.pop("default_factory", dataclasses.MISSING)
    return field(default=default, default_factory=factory, metadata={"help": help_text, **metadata})


@dataclass(frozen=True, kw_only=True)
class TrainingConfiguration:
    """Everything needed to repeat a training. Make one with `configure`, which fills in the environment's preset.

    A field's metadata describe its command-line option; fields are named after it (`--learning-rate` is
    `learning_rate`) but for the two repeatable ones, which collect `--env-arg` and `--density`.
    """

    env: str = _option("environment id, as registered with Gymnasium (module:id imports module first)")
    env_arguments: Mapping[str, Any] = _option(
        "argument of the environment; repeatable", flag="--env-arg", metavar="NAME=VALUE", default_factory=dict
    )
    architecture: Architecture = _option("kind of network", choices=ARCHITECTURES, default="varied")
    hidden_proportion: float | None = _option(
        "share of the weights that lie in the hidden-to-hidden block, between 0 and 1 (default 0.5)", default=None
    )
    budget: int = _option("trainable weights of each of the two networks")
    hidden_size: int | None = _option("hidden units of the actor (default: the smallest that fits)", default=None)
    densities: Mapping[str, float] = _option(
        f"pinned density of one block of the actor ({' '.join(BLOCKS)}); repeatable",
        flag="--density",
        metavar="BLOCK=VALUE",
        default_factory=dict,
    )
    uniform_density: float | None = _option("density of every block under uniform (default 0.2)", default=None)
    init: str = _option("initial weights: scaled, scaled:GAIN or normal:STD; not for lstm")
    activation: str = _option("activation of the hidden units; not for lstm", choices=("relu", "tanh"))
    reward: str = _option(
        "reward trained on; evaluation reports the registered one", choices=("registered", "corrected")
    )
    total_timesteps: int = _option("environment steps of the training")
    n_envs: int = _option("environments stepped together")
    seed: int = _option("seed of everything random", default=0)
    device: str = _option("torch device: auto, cpu, cuda, ...", default="auto")
    log_dir: str = _option("folder of all runs", default="logs")
    run_name: str | None = _option("folder of this run (default: from architecture, seed and time)", default=None)
    eval_every: int = _option("environment steps between evaluations")
    eval_episodes: int = _option("episodes of each evaluation")
    checkpoint_every: int = _option("environment steps between checkpoints, from which --resume goes on")
    keep: int = _option("checkpoints that are kept (default 3)", default=3)
    progress: bool = _option("no progress bar", flag="--no-progress", default=True)
    learning_rate: float = _option("step size of Adam")
    learning_rate_schedule: str = _option(
        "constant, or linear: falls to zero over the training", choices=("constant", "linear")
    )
    n_steps: int = _option("steps of each environment per rollout")
    batch_size: int = _option("environment steps per minibatch, a multiple of --n-steps")
    n_epochs: int = _option("passes over a rollout")
    gamma: float = _option("discount factor")
    gae_lambda: float = _option("lambda of generalized advantage estimation")
    clip_range: float = _option("clipping of the probability ratio")
    ent_coef: float = _option("weight of the entropy bonus")
    vf_coef: float = _option("weight of the value loss")
    max_grad_norm: float = _option("largest norm of a gradient")
    target_kl: float | None = _option("divergence that ends an update early (default: no limit)", default=None)
    noise_correlation: float = _option(
        "correlation of exploration noise from step to step, from 0 to below 1; for Box actions"
    )
    loss_steps: str = _option("steps that count in the loss: all, or the last of each episode", choices=("all", "last"))
    demos: str | None = _option(
        "demonstrations to fit first: id of a Minari data set, or the folder of one (default: none)", default=None
    )
    demo_episodes: int | None = _option("demonstrations to fit (default: all but a held-out tenth)", default=None)
    demo_epochs: int | None = _option(
        "passes over the demonstrations (default: as many as make 300 updates)", default=None
    )
    demo_learning_rate: float | None = _option(
        "step size of Adam at the fit's beginning, from which it falls linearly to zero (default: 1e-3, and less for "
        "more than 500 hidden units)",
        default=None,
    )
    demos_only: bool = _option("no reinforcement learning after the fit", default=False)
    demo_weight: float = _option("weight of the imitation loss in the policy's first update by PPO")
    demo_decay: float = _option("factor on that weight from update to update")
    critic_rollouts: int = _option("rollouts after the fit from which the critic alone learns")
    log_std_init: float = _option("initial logarithm of the actions' standard deviation")
    normalize_observation: bool = _option("normalize observations by their running mean and variance")
    normalize_reward: bool = _option("scale rewards by the running deviation of the return")
    vectorization: str = _option("how environments are stepped: threads, serial, processes or batched")

    @property
    def last_step(self) -> int:
        """Environment steps after which the training ends: none if it learns from demonstrations alone."""
        return 0 if self.demos_only else self.total_timesteps


# Recorded in config.yaml and settable from Python and presets, but not among the command's fixed options.
PRESET_ONLY = ("log_std_init", "normalize_observation", "normalize_reward", "vectorization")

_POSITIVE = (
    "budget",
    "total_timesteps",
    "n_envs",
    "eval_every",
    "eval_episodes",
    "checkpoint_every",
    "keep",
    "n_steps",
    "batch_size",
    "n_epochs",
)
_RANGES: dict[str, tuple[float, float, str]] = {
    "hidden_proportion": (0.0, 1.0, "a number between 0 and 1, both excluded"),
    "learning_rate": (0.0, math.inf, "a positive number"),
    "clip_range": (0.0, math.inf, "a positive number"),
    "max_grad_norm": (0.0, math.inf, "a positive number"),
    "demo_learning_rate": (0.0, math.inf, "a positive number"),
    "target_kl": (0.0, math.inf, "a positive number"),
}
_CLOSED_RANGES: dict[str, tuple[float, float, str]] = {
    "gamma": (0.0, 1.0, "a number from 0 to 1"),
    "gae_lambda": (0.0, 1.0, "a number from 0 to 1"),
    "noise_correlation": (0.0, 1.0 - 1e-6, "a number from 0 to below 1"),
    "uniform_density": (math.ulp(0.0), 1.0, "a number above 0, at most 1"),
    "ent_coef": (0.0, math.inf, "a number of at least 0"),
    "vf_coef": (0.0, math.inf, "a number of at least 0"),
    "demo_weight": (0.0, math.inf, "a number of at least 0"),
    "demo_decay": (0.0, 1.0, "a number from 0 to 1"),
    "critic_rollouts": (0, math.inf, "a whole number of at least 0"),
    "demo_episodes": (1, math.inf, "a whole number of at least 1"),
    "demo_epochs": (1, math.inf, "a whole number of at least 1"),
    "seed": (0, 2**31 - 1, "a whole number from 0 to 2147483647"),
}


def configure(env: str, **options: Any) -> TrainingConfiguration:
    """Fill in the preset of an environment and check every value.

    :param env: environment id
    :param options: fields of `TrainingConfiguration` that differ from the preset
    :raises Refusal: one line that names the option at fault and what would fit
    """
    from envs.presets import Preset, preset_for  # and with them Gymnasium, which `--help` need not wait for

    known = {field.name for field in dataclasses.fields(TrainingConfiguration)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise Refusal(f"unknown option {unknown[0]!r}: one of {', '.join(sorted(known))} is needed")
    preset = preset_for(env)
    from_preset = {field.name: getattr(preset, field.name) for field in dataclasses.fields(Preset)}
    if options.get("demos") is not None:
        from_preset |= preset.with_demos
    configuration = TrainingConfiguration(
        **({k: v for k, v in from_preset.items() if k in known} | {"env": env} | options)
    )
    _check(configuration)
    return configuration


def option_name(field_name: str) -> str:
    """Return the command-line option of a field."""
    for entry in dataclasses.fields(TrainingConfiguration):
        if entry.name == field_name and "flag" in entry.metadata:
            return entry.metadata["flag"]
    return "--" + field_name.replace("_", "-")


def _check(configuration: TrainingConfiguration) -> None:
    hints = typing.get_type_hints(TrainingConfiguration)
    for entry in dataclasses.fields(configuration):
        value = getattr(configuration, entry.name)
        name = f"`{entry.name}`"
        if not _fits(value, hints[entry.name]):
            raise Refusal(f"{name} {value!r} does not fit: {_describe(hints[entry.name])} is needed")
        if "choices" in entry.metadata and value not in entry.metadata["choices"]:
            raise Refusal(f"{name} {value!r} is unknown: one of {', '.join(entry.metadata['choices'])} is needed")
        if entry.name in _POSITIVE and value < 1:
            raise Refusal(f"{name} {value} does not fit: a whole number of at least 1 is needed")
        if value is not None and entry.name in _RANGES:
            low, high, needed = _RANGES[entry.name]
            if not low < value < high:
                raise Refusal(f"{name} {value} does not fit: {needed} is needed")
        if value is not None and entry.name in _CLOSED_RANGES:
            low, high, needed = _CLOSED_RANGES[entry.name]
            if not (low <= value <= high and math.isfinite(value)):
                raise Refusal(f"{name} {value} does not fit: {needed} is needed")
    if configuration.demos is None:
        for name in ("demo_episodes", "demo_epochs", "demo_learning_rate", "demos_only"):
            if getattr(configuration, name):
                raise Refusal(f"`{name}` needs `demos`, the demonstrations to fit")
    run_name = configuration.run_name
    if run_name is not None and (
        run_name in ("", "..") or Path(run_name).name != run_name or len(run_name.encode()) > 200
    ):
        raise Refusal(f"`run_name` {configuration.run_name!r} does not fit: the plain name of one folder is needed")
    for block, density in configuration.densities.items():
        if block not in BLOCKS:
            raise Refusal(
                f"`densities` {block}={density}: unknown block {block!r}, one of {' '.join(BLOCKS)} is needed"
            )
        if not (_fits(density, float) and 0 < density <= 1):
            raise Refusal(f"`densities` {block}={density} does not fit: a number above 0, at most 1, is needed")


def _fits(value: Any, hint: Any) -> bool:
    if typing.get_origin(hint) is Literal:
        return isinstance(value, str)
    options = typing.get_args(hint) if type(None) in typing.get_args(hint) else (hint,)
    for option in options:
        kind = typing.get_origin(option) or option
        if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            return True
        if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
            return True
    return False


def _describe(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    for kind, name in names.items():
        if hint is kind or kind in typing.get_args(hint):
            return name
    return "a table of names and values"


def to_yaml(configuration: TrainingConfiguration, **extra: Any) -> str:
    """Write a configuration as plain YAML: texts, numbers, lists and tables only.

    :param extra: further top-level entries, such as package versions
    """
    values = dataclasses.asdict(configuration)
    return yaml.safe_dump(_plain(values | extra), sort_keys=False)


def from_yaml(text: str) -> TrainingConfiguration:
    """Read what `to_yaml` wrote, through the same checks as the command line; builds no objects named in the text.

    :raises Refusal: if the text is no YAML table of known options with fitting values
    """
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Refusal(f"the configuration is no plain YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict) or not isinstance(values.get("env"), str):
        raise Refusal("the configuration is no table with an entry 'env'")
    values.pop("versions", None)
    if not all(isinstance(key, str) for key in values):
        raise Refusal("the configuration has a key that is no text")
    return configure(values.pop("env"), **values)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value
