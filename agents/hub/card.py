"""The model card of an exported policy: a README.md that the Hugging Face Hub reads, and people too."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from agents.configuration import TrainingConfiguration, to_yaml
from agents.export.onnx_policy import PolicyMetadata
from agents.repeating import repeating_options
from agents.runs.folder import PolicyName
from envs.task import task_of
from policies.network.architectures import ARCHITECTURES, format_table
from policies.refusal import Refusal

LIBRARY = "varied-sparsity-rl"
CARD = "README.md"
METHOD = (
    'Q. Hershey and R. Paffenroth, "Balancing Sparse RNNs with Hyperparameterization Benefiting Meta-Learning", '
    "[arXiv 2509.15057](https://arxiv.org/abs/2509.15057) (2025)"
)


def model_card(
    metadata: PolicyMetadata,
    configuration: TrainingConfiguration,
    which: PolicyName,
    file: str,
    repository: str | None = None,
) -> str:
    """Return the card of a policy: task, network, evaluation, and the commands that use and repeat it.

    :param metadata: of the exported file
    :param configuration: of its training
    :param which: policy of the run that was exported
    :param file: name of the exported file, beside which the card lies
    :param repository: where it will lie on the Hub, if anywhere
    """
    actor, figures = metadata.specification.actor, metadata.evaluation
    architecture = ARCHITECTURES[metadata.specification.architecture]
    title = f"{architecture.title} on {metadata.env}"
    data = ModelCardData(
        library_name=LIBRARY,
        pipeline_tag="reinforcement-learning",
        tags=[metadata.env, "reinforcement-learning", "recurrent-ppo", "onnx", LIBRARY],
        model_name=title,
        eval_results=list(_results(metadata)),
    )
    learning = "PPO"
    if configuration.demos is not None:
        learning = "imitation of demonstrations" + ("" if configuration.demos_only else ", then PPO,")
    arguments = [f"- argument `{name}`: `{value!r}`" for name, value in metadata.env_arguments.items()]
    wrappers = [f"- wrapper `{wrapper}`" for wrapper in metadata.wrappers]
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# {title[0].upper()}{title[1:]}",
        f"A recurrent policy of {actor.total_weights:,} weights, trained by {learning} with varied-sparsity-rl and "
        f"exported as `{file}`.",
        "## Task",
        "\n".join(
            [
                f"- environment `{metadata.env}`: {actor.n_inputs:,} inputs, {actor.n_outputs:,} outputs",
                *arguments,
                *wrappers,
                f"- training: {configuration.last_step:,} environment steps, seed {configuration.seed}",
            ]
        ),
        "## Network",
        f"```\n{format_table(metadata.specification)}\n```",
        "## Evaluation",
        _evaluation(metadata.env, figures, which),
        "## Use",
        _block(f"python evaluate.py {f'hf://{repository}' if repository else shlex.quote(file)} --episodes 100")
        + "\n\nThe file needs no more than onnxruntime: inputs `observation`, `state` and `episode_start`, outputs "
        "`action` and `next_state`, float32.",
        "## Train it again",
        _repeat(configuration, metadata.env_module),
        "With: " + ", ".join(f"{name} {version}" for name, version in metadata.versions.items()) + ".",
        f"Method: {METHOD}.",
    ]
    return "\n\n".join(parts) + "\n"


def check_card_place(folder: Path) -> Path:
    """Return where a card is written; a README.md of something else stays.

    :raises Refusal: if there is one, or a folder of that name
    """
    file = folder / CARD
    if file.exists() and not file.is_file():
        raise Refusal(f"`card` cannot be written: {file} is no file, `output` in another folder is needed")
    if file.exists() and f"library_name: {LIBRARY}\n" not in file.read_text(encoding="utf-8", errors="replace"):
        raise Refusal(
            f"`card` would replace {file}, which is no model card of ours: `output` in another folder is needed"
        )
    return file


def _results(metadata: PolicyMetadata) -> list[EvalResult]:
    figures = metadata.evaluation
    values: dict[str, Any] = {}
    if figures.get("mean_return") is not None:
        values["mean_reward"] = f"{figures['mean_return']:.2f} +/- {figures.get('std_return') or 0:.2f}"
    if figures.get("success_rate") is not None:
        values["success_rate"] = round(figures["success_rate"], 4)
    return [
        EvalResult(
            task_type="reinforcement-learning",
            task_name="reinforcement-learning",
            dataset_type=metadata.env,
            dataset_name=metadata.env,
            metric_type=name,
            metric_name=name,
            metric_value=value,
        )
        for name, value in values.items()
    ]


def _evaluation(env: str, figures: Mapping[str, Any], which: PolicyName) -> str:
    if figures.get("mean_return") is None:
        return "The run recorded none."
    rows = [f"| mean return | {figures['mean_return']:,.2f} |"]
    rows += (
        [f"| standard deviation over episodes | {figures['std_return']:,.2f} |"] if figures.get("std_return") else []
    )
    if figures.get("success_rate") is not None:
        rows.append(f"| {task_of(env).score} | {figures['success_rate']:.1%} |")
    chosen = (
        "The best of the evaluations during the training, which chose this policy: fresh episodes may go less well."
        if which == "best"
        else "The policy at the end of the training, over episodes that chose nothing before."
    )
    episodes = f"over {figures.get('episodes', 'some')} episodes |"
    return "\n".join([f"| | {episodes}", "| --- | ---: |", *rows]) + f"\n\n{chosen}"


def _repeat(configuration: TrainingConfiguration, module: str | None) -> str:
    try:
        words = ["python", "train.py", *repeating_options(configuration, [module] if module else [])]
    except Refusal as error:
        settings = to_yaml(configuration.model_copy(update={"log_dir": "logs", "run_name": None}))
        return (
            f"{_block('python train.py --config settings.yaml')}\n\nThe settings, as there is no command of options "
            f"alone ({error}):\n\n```yaml\n{settings}```"
        )
    return _block(shlex.join(words))


def _block(command: str) -> str:
    return f"```\n{command}\n```"
