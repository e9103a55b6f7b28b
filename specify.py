"""Show the network that would be trained: python specify.py --env AdroitHandHammer-v1 --budget 50000."""

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
)


def main() -> None:
    """Parse the options and print the network as a table or as JSON."""
    parser = OneLineParser(
        prog="specify.py", description="Show the network that would be trained, before any training."
    )
    add_training_options(parser, only=NETWORK_OPTIONS)
    parser.add_argument("--inputs", type=whole_number, metavar="N", help="observation size, in place of --env")
    parser.add_argument(
        "--outputs", type=whole_number, metavar="N", help="action size or number of choices, in place of --env"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page whose sliders change the network")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    arguments = parser.parse_args()
    from envs.lookup import environment_spaces
    from policies.network.architectures import specify_architecture
    from policies.sequence_policy import network_sizes

    # Environments may print; of --json nothing but JSON is standard output.
    with standard_output_for_machines() if arguments.json else nullcontext():
        options = training_options(arguments)
        env = options.pop("env", None)
        sizes = (arguments.inputs, arguments.outputs)
        with options.located():
            configuration = configure(env or "", **options)
            if env is not None and sizes == (None, None):
                sizes = network_sizes(
                    *environment_spaces(env, configuration.training_arguments, configuration.wrappers)
                )
            elif env is not None or None in sizes:
                raise Refusal(
                    "the network's sizes are missing or given twice: `env`, or `n_inputs` with `n_outputs`, is needed"
                )
            specification = specify_architecture(
                configuration.architecture,
                *sizes,
                configuration.budget,
                hidden_proportion=configuration.hidden_proportion,
                hidden_size=configuration.hidden_size,
                densities=configuration.densities or None,
                uniform_density=configuration.uniform_density,
            )
            if arguments.html is not None:
                write_explorer(arguments.html, configuration, sizes)
    if arguments.json:
        print(json.dumps(specification.to_dict(), indent=2))
    else:
        show_network(specification, env)
        if arguments.html is not None:
            print(f"written: {arguments.html}")


def write_explorer(file: Path, configuration: TrainingConfiguration, sizes: tuple[int, int]) -> None:
    """Write the page of the network explorer, which is about budget and hidden proportion alone.

    :raises Refusal: if something else decides the network, or the file cannot be written
    """
    from agents.explorer.page import network_page
    from policies.network.specification import DEFAULT_HIDDEN_PROPORTION

    for name, usual in (("architecture", "varied"), ("hidden_size", None), ("densities", {})):
        if getattr(configuration, name) != usual:
            raise Refusal(
                f"`html` does not fit this `{name}`: its page finds networks of `architecture` varied "
                "from `budget` and `hidden_proportion` alone"
            )
    proportion = configuration.hidden_proportion or DEFAULT_HIDDEN_PROPORTION
    page = network_page(*sizes, configuration.budget, proportion, configuration.env or None)
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise Refusal(f"`html` {file} cannot be written: {error.strerror}") from None


if __name__ == "__main__":
    run(main, prints_its_result=True)
