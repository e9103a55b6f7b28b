# PYTHON_ARGCOMPLETE_OK
"""Show the network that would be trained: python specify.py --env AdroitHandHammer-v1 --budget 50000.

With --recommend the networks that would do best, before any training.
"""

import json
from contextlib import nullcontext
from pathlib import Path

from agents.command_line import (
    OneLineParser,
    add_training_options,
    run,
    show_network,
    standard_output_for_machines,
    training_options,
    whole_number,
)
from agents.configuration import TrainingConfiguration, configure
from policies.refusal import Refusal

NETWORK_OPTIONS = (
    "env",
    "env_arguments",
    "wrappers",
    "architecture",
    "hidden_proportion",
    "budget",
    "hidden_size",
    "densities",
    "uniform_density",
    "pattern",
    "rebalance",
    "rebalance_networks",
    "rebalance_scope",
    "parent",
)
RECOMMENDING_OPTIONS = ("total_timesteps", "demos", "demos_only")
"""What the parent knows of a training beside its network."""


def main() -> None:
    """Parse the options and print the network as a table or as JSON."""
    parser = OneLineParser(
        prog="specify.py", description="Show the network that would be trained, before any training."
    )
    add_training_options(parser, only=(*NETWORK_OPTIONS, *RECOMMENDING_OPTIONS))
    parser.add_argument("--inputs", type=whole_number, metavar="N", help="observation size, in place of --env")
    parser.add_argument(
        "--outputs", type=whole_number, metavar="N", help="action size or number of choices, in place of --env"
    )
    parser.add_argument(
        "--recommend",
        action="store_true",
        help="rank the networks that would fit by the score the parent predicts, and say which one auto takes",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page whose sliders change the network")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    arguments = parser.parse_args()
    from agents.building import network_settings
    from agents.rebalancing_plan import room_note
    from agents.recommendation.ranking import format_ranking
    from agents.recommendation.recommend import Recommendation, is_open, left_open, recommend, with_network
    from envs.lookup import environment_spaces
    from policies.network.architectures import specify_architecture
    from policies.sequence_policy import network_sizes

    # Environments may print; of --json nothing but JSON is standard output.
    with standard_output_for_machines() if arguments.json else nullcontext():
        options = training_options(arguments)
        env = options.pop("env", None)
        sizes = (arguments.inputs, arguments.outputs)
        recommendation: Recommendation | None = None
        with options.located():
            if arguments.recommend:
                options.update(left_open(options))
            configuration = configure(env or "", **options)
            if arguments.recommend or is_open(configuration):
                if env is None or sizes != (None, None):
                    raise Refusal(
                        "what is recommended depends on the task: `env` is needed, without `n_inputs` and `n_outputs`"
                    )
                recommendation = recommend(configuration)
                configuration = with_network(configuration, recommendation)
            if env is not None and sizes == (None, None):
                sizes = network_sizes(
                    *environment_spaces(env, configuration.training_arguments, configuration.wrappers)
                )
            elif env is not None or None in sizes:
                raise Refusal(
                    "the network's sizes are missing or given twice: `env`, or `n_inputs` with `n_outputs`, is needed"
                )
            n_inputs, n_outputs = sizes
            settings = network_settings(configuration)
            specification = specify_architecture(n_inputs=n_inputs, n_outputs=n_outputs, **settings)
            if arguments.html is not None:
                write_explorer(arguments.html, configuration, sizes)
    if arguments.recommend and recommendation is not None:
        print(json.dumps(recommendation.to_dict(), indent=2) if arguments.json else format_ranking(recommendation))
    elif arguments.json:
        print(json.dumps(specification.to_dict(), indent=2))
    else:
        if recommendation is not None:
            print(f"recommended: {recommendation.sentence}\n")
        show_network(specification, env, room_note(configuration, specification))
    if arguments.html is not None and not arguments.json:
        print(f"written: {arguments.html}")


def write_explorer(file: Path, configuration: TrainingConfiguration, sizes: tuple[int, int]) -> None:
    """Write the page of the network explorer, which is about budget and hidden proportion alone.

    :raises Refusal: if something else decides the network, or the file cannot be written
    """
    from agents.explorer.page import network_page
    from agents.recommendation.recommend import facts_of, parent_of
    from policies.network.specification import DEFAULT_HIDDEN_PROPORTION

    for name, usual in (
        ("architecture", "varied"),
        ("hidden_size", None),
        ("densities", {}),
        ("rebalance", "none"),
    ):
        if getattr(configuration, name) != usual:
            raise Refusal(
                f"`html` does not fit this `{name}`: its page finds networks of `architecture` varied "
                "from `budget` and `hidden_proportion` alone"
            )
    proportion = configuration.hidden_proportion or DEFAULT_HIDDEN_PROPORTION
    env = configuration.env or None
    asked = None if env is None else (parent_of(configuration), facts_of(configuration), configuration.last_step)
    page = network_page(*sizes, configuration.budget, proportion, env, asked, configuration.pattern)
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise Refusal(f"`html` {file} cannot be written: {error.strerror}") from None


if __name__ == "__main__":
    run(main, prints_its_result=True)
