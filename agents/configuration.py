"""The one typed model of a training: names, types, defaults, bounds, choices and help of its settings; its YAML form.

The command line, presets, config.yaml, files of `--config` and study files are read through it.
"""

import functools
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from agents.literals import read_arguments, surviving, written_arguments
from agents.settings import Settings, field_schemas, first_misfit, in_short
from policies.network.architectures import ARCHITECTURES, those_with_room
from policies.network.blocks import PATTERNS
from policies.network.specification import BLOCKS
from policies.refusal import Refusal


def _plain_folder_name(name: str) -> str:
    if name in ("", "..") or PurePath(name).name != name or len(name.encode(errors="surrogatepass")) > 200:
        raise Refusal("the plain name of one folder is needed")
    return name


def _class_text(text: str) -> str:
    from envs.chosen_classes import ClassText  # and with it Gymnasium, which `--help` need not wait for

    ClassText.of(text)
    return text


def _as_tuple(values: Any) -> Any:
    return tuple(values) if isinstance(values, list) else values


AUTO: Literal["auto"] = "auto"
"""In place of what `agents.recommendation` is to choose."""


def _or_auto(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    return AUTO if value == AUTO else check(value)


Count = Annotated[int, Field(ge=1)]
LogarithmOfNoise = Annotated[float, Field(ge=-10, le=2)]
Proportion = Annotated[float, Field(gt=0, lt=1)]
if TYPE_CHECKING:
    Architecture = str
    Block = str
    ProportionOrAuto = float | Literal["auto"]
    CountOrAuto = int | Literal["auto"]
else:
    Architecture = Literal[(*ARCHITECTURES, AUTO)]
    Block = Literal[tuple(BLOCKS)]
    ProportionOrAuto = Annotated[Proportion, WrapValidator(_or_auto)]
    CountOrAuto = Annotated[Count, WrapValidator(_or_auto)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Density = Annotated[float, Field(gt=0, le=1)]
Correlation = Annotated[float, Field(ge=0, le=1 - 1e-6)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
FolderName = Annotated[str, AfterValidator(_plain_folder_name)]
Argument = Annotated[Any, AfterValidator(surviving)]
ClassName = Annotated[str, AfterValidator(_class_text)]
ClassNames = Annotated[tuple[ClassName, ...], BeforeValidator(_as_tuple)]

GROUPS = {
    "task": ("env", "env_arguments", "wrappers", "reward", "training_episode_steps"),
    "network": (
        *("architecture", "hidden_proportion", "budget", "hidden_size", "densities", "uniform_density", "pattern"),
        *("init", "activation", "parent"),
    ),
    "weights that move": (
        *("rebalance", "rebalance_networks", "rebalance_scope", "rebalance_every", "rebalance_fraction"),
        *("rebalance_until", "rebalance_init"),
    ),
    "learning": (),
    "demonstrations": (
        *("demos", "demo_episodes", "demo_epochs", "demo_learning_rate", "demos_only", "demo_weight", "demo_decay"),
        "critic_rollouts",
    ),
    "run": (
        *("seed", "device", "log_dir", "run_name", "eval_every", "eval_episodes", "final_episodes"),
        *("checkpoint_every", "keep", "progress", "callbacks"),
    ),
}
"""What settings are about, in the order of the help. Those that stand nowhere are about learning."""

OUTSIDE = ("versions", "env_module")
"""Entries of a run's config.yaml that are no settings: package versions, and the module that registered `env`."""


def _setting(default: Any, help_text: str, **marks: Any) -> Any:
    """Describe a field.

    :param marks: `flag`: the option, if it is not the name; `metavar`: of a table or list, whose option is repeatable;
        `preset_only`: there is no option, but presets, files and Python set it; `changeable`: when a run is resumed;
        `later`: newer than studies that are to go on, whose records name it only where it is set; `auto`: the option
        takes `auto` beside numbers
    """
    return Field(default, description=help_text, json_schema_extra=marks)


class TrainingConfiguration(Settings):
    """Everything needed to repeat a training. Make one with `configure`, which fills in the environment's preset.

    The defaults are those of an environment without preset. `batch_size` is a multiple of `n_steps` (minibatches are
    whole sequences) and divides n_envs · n_steps; where it is not given and the default does not fit, it is derived.
    The arguments of the environment are copies of those given, and come back from every file as they are.
    """

    env: str = Field(description="environment id, as registered with Gymnasium (module:id imports module first)")
    env_arguments: Mapping[str, Argument] = _setting(
        {}, "argument of the environment; repeatable", flag="--env-arg", metavar="NAME=VALUE"
    )
    wrappers: ClassNames = _setting(
        (),
        "wrapper around the environment, of gymnasium.wrappers, popgym.wrappers or a module of yours; repeatable, the "
        "innermost first; none leaves out the preset's",
        flag="--wrapper",
        metavar="MODULE:CLASS[:NAME=VALUE,...]",
        later=True,
    )
    architecture: Architecture = _setting(
        "varied",
        "kind of network: "
        + "; ".join(f"{entry.name}: {entry.summary}" for entry in ARCHITECTURES.values())
        + "; auto: the parent chooses",
    )
    hidden_proportion: ProportionOrAuto | None = _setting(
        None, "share of the weights that lie in the hidden-to-hidden block, between 0 and 1 (default 0.5)", auto=True
    )
    budget: CountOrAuto = _setting(50_000, "trainable weights of each of the two networks", auto=True)
    hidden_size: Count | None = _setting(None, "hidden units of the actor (default: the smallest that fits)")
    densities: Mapping[Block, Density] = _setting(
        {},
        f"pinned density of one block of the actor ({' '.join(BLOCKS)}); repeatable",
        flag="--density",
        metavar="BLOCK=VALUE",
    )
    uniform_density: Density | None = _setting(None, "density of every block under uniform (default 0.2)")
    pattern: Literal["unstructured", "blocks"] = _setting(
        "unstructured",
        "where the weights of a network of six blocks lie: unstructured (each anywhere), or blocks (eight rows share "
        "their columns, which is faster where hh or hx is sparse)",
        later=True,
    )
    rebalance: Literal["none", "momentum", "magnitude", "random"] = _setting(
        "none",
        "weights of a network of six blocks that move while it learns: none; momentum (small ones go to where the "
        "gradient is large, in blocks of steady momentum); magnitude (small ones go anywhere in blocks of large ones); "
        "random (any go anywhere)",
        later=True,
    )
    rebalance_networks: Literal["actor", "critic", "both"] = _setting(
        "both", "networks whose weights move: actor, critic or both", later=True
    )
    rebalance_scope: Literal["network", "block"] = _setting(
        "network",
        "network: weights move between blocks, and the hidden proportion with them; block: within blocks",
        later=True,
    )
    rebalance_every: Count = _setting(
        10, "updates between moves: what is learned from a rollout, or from a minibatch of demonstrations", later=True
    )
    rebalance_fraction: Density = _setting(
        0.3, "share of the weights that are taken out at the beginning; falls as a half cosine to zero", later=True
    )
    rebalance_until: Density = _setting(0.75, "share of the training after which nothing moves", later=True)
    rebalance_init: Literal["zero", "scaled"] = _setting(
        "zero", "values of weights that moved: zero, or scaled: normal, as large as the block's others", later=True
    )
    init: str = _setting("scaled", "initial weights of a network of six blocks: scaled, scaled:GAIN or normal:STD")
    activation: Literal["relu", "tanh"] = _setting("relu", "activation of the hidden units of a network of six blocks")
    reward: str = _setting(
        "registered",
        "reward trained on: registered, progress (what exceeds the best step of the episode), or another of the task; "
        "evaluation reports the registered one",
    )
    training_episode_steps: Count | None = _setting(
        None,
        "steps after which an episode of the training ends, where evaluations go on (default: never)",
        later=True,
    )
    total_timesteps: Count = _setting(1_000_000, "environment steps of the training", changeable=True)
    n_envs: Count = _setting(8, "environments stepped together")
    seed: Seed = _setting(0, "seed of everything random")
    device: str = _setting("auto", "torch device: auto, cpu, cuda, ...", changeable=True)
    log_dir: str = _setting("logs", "folder of all runs")
    run_name: FolderName | None = _setting(None, "folder of this run (default: from architecture, seed and time)")
    eval_every: Count = _setting(50_000, "environment steps between evaluations", changeable=True)
    eval_episodes: Count = _setting(20, "episodes of each evaluation", changeable=True)
    final_episodes: Count | None = _setting(
        None,
        "episodes of the evaluation that ends the training (default: as many as --eval-episodes)",
        changeable=True,
        later=True,
    )
    checkpoint_every: Count = _setting(
        50_000, "environment steps between checkpoints, from which --resume goes on", changeable=True
    )
    keep: Count = _setting(3, "checkpoints that are kept", changeable=True)
    progress: bool = _setting(True, "no progress bar", flag="--no-progress", changeable=True)
    callbacks: ClassNames = _setting(
        (),
        "callback of Stable-Baselines3, in a module of yours or theirs, to run beside the training; repeatable",
        flag="--callback",
        metavar="MODULE:CLASS[:NAME=VALUE,...]",
        changeable=True,
        later=True,
    )
    learning_rate: Positive = _setting(3e-4, "step size of Adam")
    learning_rate_schedule: Literal["constant", "linear"] = _setting(
        "constant", "constant, or linear: falls to zero over the training"
    )
    n_steps: Count = _setting(256, "steps of each environment per rollout")
    batch_size: Count = _setting(512, "environment steps per minibatch, a multiple of --n-steps")
    n_epochs: Count = _setting(10, "passes over a rollout")
    gamma: Fraction = _setting(0.99, "discount factor")
    gae_lambda: Fraction = _setting(0.95, "lambda of generalized advantage estimation")
    clip_range: Positive = _setting(0.2, "clipping of the probability ratio")
    clip_range_vf: Positive | None = _setting(
        None, "clipping of the change of values, on the scale of the rewards (default: none)", later=True
    )
    ent_coef: NotNegative = _setting(0.0, "weight of the entropy bonus")
    vf_coef: NotNegative = _setting(0.5, "weight of the value loss")
    max_grad_norm: Positive = _setting(0.5, "largest norm of a gradient")
    grad_clipping: Literal["joint", "separate"] = _setting(
        "joint",
        "whose gradient has that norm: joint (that of actor and critic together, as in Stable-Baselines3) or separate "
        "(that of each)",
        later=True,
    )
    target_kl: Positive | None = _setting(None, "divergence that ends an update early (default: no limit)")
    noise_correlation: Correlation = _setting(
        0.0, "correlation of exploration noise from step to step, from 0 to below 1; for Box actions"
    )
    log_std_final: LogarithmOfNoise | None = _setting(
        None,
        "logarithm of the exploration noise's standard deviation towards which it falls in a line over the "
        "training; for Box actions (default: it is learned)",
        later=True,
    )
    self_imitation: NotNegative = _setting(
        0.0,
        "weight of imitating the training's own best episodes beside PPO: 0 for none, 1 for as much",
        later=True,
    )
    self_imitation_episodes: Count = _setting(8, "best episodes that are imitated", later=True)
    loss_steps: Literal["all", "last"] = _setting(
        "all", "steps that count in the loss: all, or the last of each episode"
    )
    demos: str | None = _setting(
        None, "demonstrations to fit first: id of a Minari data set, or the folder of one (default: none)"
    )
    demo_episodes: Count | None = _setting(None, "demonstrations to fit (default: all but a held-out tenth)")
    demo_epochs: Count | None = _setting(None, "passes over the demonstrations (default: as many as make 300 updates)")
    demo_learning_rate: Positive | None = _setting(
        None,
        "step size of Adam at the fit's beginning, from which it falls linearly to zero (default: 1e-3, and less for "
        "more than 500 hidden units)",
    )
    demos_only: bool = _setting(False, "no reinforcement learning after the fit")
    demo_weight: NotNegative = _setting(1.0, "weight of the imitation loss in the policy's first update by PPO")
    demo_decay: Fraction = _setting(0.95, "factor on that weight from update to update")
    critic_rollouts: Annotated[int, Field(ge=0)] = _setting(
        3, "rollouts after the fit from which the critic alone learns"
    )
    log_std_init: float = _setting(0.0, "initial logarithm of the actions' standard deviation", preset_only=True)
    normalize_observation: bool = _setting(
        True, "normalize observations by their running mean and variance", preset_only=True
    )
    normalize_reward: bool = _setting(True, "scale rewards by the running deviation of the return", preset_only=True)
    parent: str | None = _setting(
        None, "folder of the parent that auto asks, as sweep.py learn writes (default: the project's own)", later=True
    )
    recommended_by: str | None = _setting(
        None,
        "version of the parent that chose the network, or whose rule did, where it was left open",
        preset_only=True,
        later=True,
    )
    vectorization: Literal["threads", "serial", "processes", "batched"] = _setting(
        "serial", "how environments are stepped: threads, serial, processes or batched", preset_only=True
    )

    @model_validator(mode="after")
    def _demonstrations_are_given(self) -> Self:
        for name in ("demo_episodes", "demo_epochs", "demo_learning_rate", "demos_only"):
            if self.demos is None and getattr(self, name):
                raise Refusal(f"`{name}` needs `demos`, the demonstrations to fit")
        return self

    @model_validator(mode="after")
    def _episodes_are_imitated(self) -> Self:
        count = self.self_imitation_episodes
        if not self.self_imitation and count != type(self).model_fields["self_imitation_episodes"].default:
            raise Refusal(f"`self_imitation_episodes` {count} needs `self_imitation`, the weight of imitating them")
        if self.self_imitation and not self.normalize_reward:
            raise Refusal(
                "`self_imitation` does not fit `normalize_reward` false: what beats the critic is judged on the scale "
                "of normalized rewards; leave one of the two out"
            )
        return self

    @model_validator(mode="after")
    def _weights_can_move(self) -> Self:
        if self.rebalance == "none":
            for name, field in type(self).model_fields.items():
                if name.startswith("rebalance_") and getattr(self, name) != field.default:
                    raise Refusal(f"`{name}` {getattr(self, name)} needs `rebalance`, the rule by which weights move")
        elif self.architecture != AUTO and not ARCHITECTURES[self.architecture].has_room:
            raise Refusal(
                f"`rebalance` {self.rebalance} does not fit `architecture` {self.architecture}, in which a weight has "
                f"no other place to go to: {those_with_room()} is needed"
            )
        elif self.demos_only and self.rebalance_networks == "critic":
            raise Refusal("`rebalance_networks` critic does not fit `demos_only`, which leaves the critic as it is")
        elif self.pattern != PATTERNS[0]:
            raise Refusal(
                f"`rebalance` {self.rebalance} does not fit `pattern` {self.pattern}: weights move one by one, "
                "out of the groups of rows that share their columns; leave one of the two out"
            )
        elif (
            self.rebalance_scope == "network"
            and "actor" in self.moving_networks
            and len(self.densities) > len(BLOCKS) - 2
        ):
            raise Refusal(
                f"`rebalance_scope` network does not fit `densities` that pin {len(self.densities)} blocks: block is "
                "needed, or leave the densities of two blocks free"
            )
        return self

    @property
    def open_fields(self) -> tuple[str, ...]:
        """Names of what is left to the parent."""
        return tuple(name for name in ("architecture", "hidden_proportion", "budget") if getattr(self, name) == AUTO)

    @property
    def moving_networks(self) -> tuple[str, ...]:
        """Networks whose weights move: "actor", "critic", both or none."""
        if self.rebalance == "none":
            return ()
        if self.demos_only:  # The critic learns nothing then.
            return ("actor",)
        return ("actor", "critic") if self.rebalance_networks == "both" else (self.rebalance_networks,)

    @property
    def last_step(self) -> int:
        """Environment steps after which the training ends: none if it learns from demonstrations alone."""
        return 0 if self.demos_only else self.total_timesteps

    @property
    def training_arguments(self) -> dict[str, Any]:
        """Arguments of the environments trained in. Evaluations have `env_arguments` alone: the registered reward, and
        whole episodes.

        :raises Refusal: if the environment has no such reward, cannot be cut, or is unknown
        """
        from envs.lookup import with_cut
        from envs.task import with_reward

        if self.training_episode_steps is not None and self.vectorization == "batched" and not self.wrappers:
            raise Refusal(
                f"`training_episode_steps` does not fit {self.env}, which is stepped as one batch: leave it out"
            )

        arguments = with_reward(self.env, self.env_arguments, self.reward)
        return with_cut(self.env, arguments, self.training_episode_steps)

    @property
    def cuts_episodes(self) -> bool:
        """Whether episodes of the training are cut: there are `training_episode_steps`, and they are no shorter anyway.

        :raises Refusal: as `training_arguments`
        """
        from envs.lookup import LIMIT

        steps = self.training_episode_steps
        return steps is not None and self.training_arguments.get(LIMIT) == steps


def takes_none(field: Mapping[str, Any]) -> bool:
    """Tell of a field's schema whether its option reads none: it is a number that may be absent.

    :param field: as `agents.settings.field_schemas` returns it
    """
    return field.get("default", ...) is None and field["type"] in ("integer", "number") and not field.get("auto")


def marks_of(name: str) -> Mapping[str, Any]:
    """Return what a field says of itself beyond type and help; see `_setting`."""
    extra = TrainingConfiguration.model_fields[name].json_schema_extra
    return extra if isinstance(extra, dict) else {}


PRESET_ONLY = tuple(name for name in TrainingConfiguration.model_fields if marks_of(name).get("preset_only"))
"""Fields without an option."""


def configure(env: str, **options: Any) -> TrainingConfiguration:
    """Fill in the preset of an environment and check every value.

    :param env: environment id
    :param options: fields of `TrainingConfiguration` that differ from the preset
    :raises Refusal: one line that names the option at fault and what would fit
    """
    from envs.task import task_of  # and with it Gymnasium, which `--help` need not wait for

    values = {**flat(task_of(env).preset, options), "env": env, **options}
    try:
        configuration = TrainingConfiguration.model_validate(values)
        return configuration if "batch_size" in options else _with_fitting_batches(configuration)
    except ValidationError as error:
        path, complaint = first_misfit(error, TrainingConfiguration)
        if not path:
            raise Refusal(complaint) from None
        entry = "".join(f" {step}" for step in path[1:])
        raise Refusal(f"`{path[0]}`{entry} {complaint}") from None


def _with_fitting_batches(configuration: TrainingConfiguration) -> TrainingConfiguration:
    """Return a configuration with the largest `batch_size` up to its own that fits `n_steps` and `n_envs`.

    Its own stays if it can be used at all. Where all are too small, the smallest that fits is taken.
    """
    n_steps, n_envs, own = configuration.n_steps, configuration.n_envs, configuration.batch_size
    if own % n_steps == 0 and own <= n_steps * n_envs:
        return configuration
    largest = min(n_envs, max(own // n_steps, 1 if n_steps > 1 else 2))
    sequences = next(count for count in range(largest, 0, -1) if n_envs % count == 0)
    return configuration.model_copy(update={"batch_size": sequences * n_steps})


def flat(preset: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that a preset sets beside these options: those in `with_demos` only if there are any."""
    fields = {name: value for name, value in preset.items() if name != "with_demos"}
    demos = {**fields, **options}.get("demos")
    return fields if demos is None else {**fields, **preset.get("with_demos", {})}


def merged(options: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with others over them; a table over a table adds to it."""
    tables = {
        name: {**options[name], **value}
        for name, value in over.items()
        if isinstance(value, Mapping) and isinstance(options.get(name), Mapping)
    }
    return {**options, **over, **tables}


def option_name(field_name: str) -> str:
    """Return the command-line option of a field."""
    return marks_of(field_name).get("flag", "--" + field_name.replace("_", "-"))


def to_yaml(configuration: TrainingConfiguration, **extra: Any) -> str:
    """Write a configuration as plain YAML: texts, numbers, lists and tables only.

    :param extra: further top-level entries, those of `OUTSIDE`
    """
    arguments = written_arguments(configuration.env_arguments)
    return yaml.dump(
        _plain({**dict(configuration), "env_arguments": arguments, **extra}), Dumper=_Dumper, sort_keys=False
    )


def from_yaml(text: str) -> TrainingConfiguration:
    """Read what `to_yaml` wrote, through the same checks as the command line; builds no objects named in the text.

    A run from before an option existed went without it, whatever the environment's preset says today.

    :raises Refusal: if the text is no YAML table of known options with fitting values
    """
    values = {name: value for name, value in _table(text).items() if name not in OUTSIDE}
    if not all(isinstance(key, str) for key in values):
        raise Refusal("the configuration has a key that is no text")
    fields = TrainingConfiguration.model_fields
    newer = {name: field.default for name, field in fields.items() if marks_of(name).get("later")}
    return configure(**{**newer, **fields_of_file(values)})


def module_in_yaml(text: str) -> str | None:
    """Return the name of the module that registered the environment, from what `to_yaml` wrote; for messages alone.

    :raises Refusal: if the text is no YAML table, or what it names can be no module
    """
    module = _table(text).get("env_module")
    check_module_name(module)
    return module


def check_module_name(module: object) -> None:
    """Refuse what a file gives as the name of a module, if it can be none.

    :raises Refusal: if it is neither None nor a dotted name
    """
    if module is not None and not (isinstance(module, str) and re.fullmatch(r"\w+(\.\w+)*", module)):
        raise Refusal(f"the entry 'env_module' is {in_short(module)}: the name of a module is needed")


def wrappers_of_file(value: object) -> tuple[str, ...]:
    """Return what a file gives as the texts of wrappers.

    :raises Refusal: if it is no list of them
    """
    try:
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise Refusal("a list of texts is needed")
        return tuple(_class_text(text) for text in value)
    except Refusal as error:
        raise Refusal(f"the entry 'wrappers' is {in_short(value)}: {error.message}") from None


def fields_of_file(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields as a file holds them as they are meant: 1e5 as a whole number where one is needed, and the
    environment's arguments as they were; see `agents.literals`.

    :raises Refusal: if a text that stands for a literal is none
    """
    meant = {name: whole_if_meant(name, value) for name, value in fields.items()}
    return meant | ({"env_arguments": read_arguments(meant["env_arguments"])} if "env_arguments" in meant else {})


def whole_if_meant(name: str, value: Any) -> Any:
    """Return a field's value; a whole float, such as YAML's 1e5, as an int if the field takes whole numbers."""
    is_whole = type(value) is float and value.is_integer()
    return int(value) if is_whole and name in _whole_fields() else value


@functools.cache
def _whole_fields() -> frozenset[str]:
    return frozenset(name for name, field in field_schemas(TrainingConfiguration).items() if field["type"] == "integer")


def _table(text: str) -> dict[Any, Any]:
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Refusal(f"the configuration is no plain YAML: {error}") from None
    if not isinstance(values, dict) or not isinstance(values.get("env"), str):
        raise Refusal("the configuration is no table with an entry 'env'")
    return values


class _Dumper(yaml.SafeDumper):
    """Quotes texts such as 1e5, too, which YAML 1.1 takes for texts and `agents.yaml_file` for numbers."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+.\d][\d_.]*[eE][-+]?[\d_]+$"), [*"-+.0123456789"]
)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value
