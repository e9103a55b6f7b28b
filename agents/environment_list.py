"""Which environments there are to train in: their sizes, and what their presets set."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from agents.configuration import configure
from agents.settings import in_words
from envs.lookup import environment_spaces, registered_ids
from envs.modules import import_named
from envs.task import task_of
from policies.refusal import Refusal
from policies.sequence_policy import network_sizes


@dataclass(frozen=True)
class ListedEnvironment:
    """One environment, of the newest version that was asked for."""

    env: str
    sizes: tuple[int, int] | None
    """inputs and outputs of the actor; None if it cannot be trained in here"""
    trouble: str
    """why it cannot"""

    @property
    def preset(self) -> str:
        """What its preset sets, in one line."""
        fields = {name: value for name, value in task_of(self.env).preset.items() if name != "with_demos"}
        return ", ".join(f"{name} {in_words(value)}" for name, value in fields.items())


def listed_environments(pattern: str = "") -> Iterator[ListedEnvironment]:
    """Make the environments one after the other, which takes a tenth of a second each, and say what they are.

    :param pattern: a part of the id, in which `*` and `?` stand for any; capital or not. After `module:` of those that
        importing the module registers
    :raises Refusal: if no environment has such an id, or the module cannot be imported
    """
    module, separator, part = pattern.rpartition(":")
    before = set()
    if separator:
        before = {*registered_ids()}
        import_named(module, f"`list_envs` {pattern!r}")
    ids = [env for env in registered_ids() if env not in before and fnmatchcase(env.lower(), f"*{part.lower()}*")]
    if not ids:
        raise Refusal(f"`list_envs` {pattern!r} is in no environment's id: a part of one, such as Adroit, is needed")
    newest: dict[str, tuple[int, str]] = {}
    for env in ids:
        name, separator, version = env.rpartition("-v")
        number = (int(version), env) if separator and version.isdigit() else (0, env)
        key = name if separator else env
        newest[key] = max(newest.get(key, number), number)
    for _, env in newest.values():
        try:
            configuration = configure(env)
            spaces = environment_spaces(env, configuration.training_arguments, configuration.wrappers)
            yield ListedEnvironment(env, network_sizes(*spaces), "")
        except Refusal as error:
            yield ListedEnvironment(env, None, str(error).removeprefix(f"env {env} "))
