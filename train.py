# PYTHON_ARGCOMPLETE_OK
"""Train a recurrent agent: python train.py --env AdroitHandHammer-v1 --hidden-proportion 0.5.

python train.py --resume RUN goes on with a training that was stopped.
"""

from agents.command_line import (
    OneLineParser,
    add_training_options,
    run,
    show_environments,
    show_network,
    show_remarks,
    training_options,
)
from agents.configuration import configure


def main() -> None:
    """Parse the options, show the network, train it, and report."""
    parser = OneLineParser(
        prog="train.py",
        usage="train.py --env ID [OPTION ...]\n       train.py --resume RUN [OPTION ...]\n       "
        "train.py --list-envs [PATTERN]",
        description="Train a recurrent agent whose network a weight budget decides. With --env ID this help shows "
        "the preset of ID too.",
    )
    add_training_options(parser)
    parser.add_argument("--resume", metavar="RUN", help="go on with the training in this run folder")
    parser.add_argument(
        "--list-envs",
        nargs="?",
        const="",
        metavar="PATTERN",
        help="list the environments whose id holds PATTERN (default: all), their sizes and presets; of a module of "
        "yours as module:PATTERN",
    )
    arguments = parser.parse_args()
    if arguments.list_envs is not None:
        show_environments(arguments.list_envs)
        return
    from agents.rebalancing_plan import moves_note, room_note
    from agents.recommendation.recommend import is_open, recommend, with_network
    from agents.resumption.options import configuration_to_resume
    from agents.training import plan_training, train
    from envs.task import task_of

    options = training_options(arguments)
    if arguments.resume is not None and arguments.config is not None:
        parser.error("--config does not fit --resume, which goes on with the run's own config.yaml: one is needed")
    with options.located():
        if arguments.resume is not None:
            folder, configuration = configuration_to_resume(arguments.resume, options)
        elif "env" in options:
            folder, configuration = None, configure(**options)
        else:
            parser.error("--env is missing: an environment id, or --resume RUN, is needed")
        recommendation = recommend(configuration) if is_open(configuration) else None
        if recommendation is not None:
            configuration = with_network(configuration, recommendation)
        specification = plan_training(configuration)
    if recommendation is not None:
        print(f"recommended: {recommendation.sentence}")
    show_network(specification, configuration.env, room_note(configuration, specification), moves_note(configuration))
    show_remarks(configuration)
    result = train(configuration, resume=folder)
    learned = "imitation alone" if configuration.demos_only else f"{result.steps:,} steps"
    print(f"evaluation over {len(result.final.returns)} fresh episodes after {learned}:")
    print(f"  return        {result.final.mean_return:.2f} ± {result.final.std_return:.2f}")
    if result.final.success_rate is not None:
        print(f"  {task_of(configuration.env).score:<12}  {result.final.success_rate:.1%}")
    print(f"run: {result.path}")


if __name__ == "__main__":
    run(main)
