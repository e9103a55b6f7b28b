"""Show the network that would be trained: python specify.py --env AdroitHandHammer-v1 --budget 50000."""

import json

from agents.command_line import OneLineParser, add_training_options, run, show_network, training_options
from policies.refusal import Refusal

NETWORK_OPTIONS = (
    "env",
    "env_arguments",
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
    parser.add_argument("--inputs", type=int, metavar="N", help="observation size, in place of --env")
    parser.add_argument("--outputs", type=int, metavar="N", help="action size or number of choices, in place of --env")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    arguments = parser.parse_args()
    from envs.lookup import environment_spaces
    from envs.presets import preset_for
    from policies.network.architectures import specify_architecture
    from policies.sequence_policy import network_sizes

    options = training_options(arguments)
    env, env_arguments = options.pop("env", None), options.pop("env_arguments", {})
    sizes = (arguments.inputs, arguments.outputs)
    if env is not None and sizes == (None, None):
        sizes = network_sizes(*environment_spaces(env, env_arguments))
    elif env is not None or None in sizes:
        raise Refusal(
            "the network's sizes are missing or given twice: `env`, or `n_inputs` with `n_outputs`, is needed"
        )
    architecture = options.pop("architecture", "varied")
    budget = options.pop("budget", preset_for(env or "").budget)
    specification = specify_architecture(architecture, *sizes, budget, **options)
    if arguments.json:
        print(json.dumps(specification.to_dict(), indent=2))
    else:
        show_network(specification, env)


if __name__ == "__main__":
    run(main)
