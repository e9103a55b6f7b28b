"""Options of the user's own, from a file that `--config` names.

    env: CartPole-v1              # or --env beside --config
    learning_rate: 1e-3           # any fields of TrainingConfiguration
    presets:                      # for several environments: what holds for one of them alone
      my.module:MyEnv-v0: {budget: 5000, normalize_reward: false, with_demos: {n_epochs: 5}}

The command line wins over the file's options, these over its preset for the environment, and this over ours. Tables
(env_arguments, densities) add up. Nothing in a file chooses code to run: `env` names a registered environment, and a
module that registers one is named on the command line, `--env my.module:MyEnv-v0`, as are wrappers and callbacks.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from agents.configuration import OUTSIDE, TrainingConfiguration, check_module_name, fields_of_file, flat, merged
from agents.settings import first_misfit, in_short
from agents.yaml_file import YamlFile, read_yaml, under
from policies.refusal import Refusal

if TYPE_CHECKING:
    from envs.chosen_classes import ClassChoice


class Options(dict[str, Any]):
    """Fields of a configuration as they were given, on the command line or in a file.

    :param keys: field -> its key in the file, for those that come from it
    """

    def __init__(
        self, fields: Mapping[str, Any], file: YamlFile | None = None, keys: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(fields)
        self._file, self._keys = file, keys or {}

    @contextmanager
    def located(self) -> Iterator[None]:
        """Let a refusal of a field that comes from a file name file, line and key."""
        try:
            yield
        except Refusal as error:
            # What is said of an environment's arguments or reward names the environment first.
            for field in sorted(error.fields, key=lambda name: name == "env"):
                if self._file is not None and field in self._keys:
                    raise self._file.refuse(self._keys[field], str(error)) from None
            raise


def read_options(path: Path, given: Mapping[str, Any]) -> Options:
    """Read a file of options and put what is given on the command line over them. A run's config.yaml is such a file.

    :raises Refusal: one line that names file, line and key
    """
    file = read_yaml(path)
    own = _checked(file, file.content, "", beside=("presets", "recommended_by", *OUTSIDE))
    if "env" in own and "env" not in given:
        from envs.lookup import check_recorded_environment

        module = file.content.get("env_module")
        try:
            check_module_name(module)
            own["env"] = check_recorded_environment(own["env"], module)
        except Refusal as error:
            raise file.refuse("env", str(error) if module is None else error.message) from None
    for choice in _class_choices():
        field = choice.field
        if field in own and field not in given:
            try:
                choice.find_all(own[field])
            except Refusal as error:
                raise file.refuse(field, error.message) from None
    options = merged(own, given)
    preset, origins = _preset(file, options.get("env", ""))
    keys = flat(origins, {**preset, **options}) | {name: name for name in own}
    return Options(
        merged(flat(preset, options), options), file, {name: key for name, key in keys.items() if name not in given}
    )


def _class_choices() -> "Iterator[ClassChoice]":
    from agents.callbacks import CALLBACKS
    from envs.wrapping import WRAPPERS

    yield from (WRAPPERS, CALLBACKS)


def _preset(file: YamlFile, env: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a file's preset for an environment, and the keys of what is in it; every preset is checked."""
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for name, content in _table(file, file.content.get("presets", {}), "presets").items():
        key = under("presets", name)
        fields, origins = _preset_fields(file, content, key, beside=("with_demos",))
        demos, demos_origins = _preset_fields(file, content.get("with_demos", {}), under(key, "with_demos"))
        env_id = name.rpartition(":")[2]
        if env_id in found:
            raise file.refuse(key, f"is a second preset for {env_id}: one is needed")
        found[env_id] = (fields | {"with_demos": demos}, origins | {"with_demos": demos_origins})
    return found.get(env, ({}, {}))


def _preset_fields(
    file: YamlFile, content: Any, key: str, beside: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    fields = _checked(file, content, key, beside)
    if "env" in fields:
        raise file.refuse(under(key, "env"), "is what the preset is called: leave it out")
    return fields, {field: under(key, field) for field in fields}


def _checked(file: YamlFile, content: Any, key: str, beside: Collection[str] = ()) -> dict[str, Any]:
    """Return the fields in a table, each of which fits on its own.

    :param beside: names of what else may be there
    """
    fields = {name: value for name, value in _table(file, content, key).items() if name not in beside}
    try:
        fields = fields_of_file(fields)
    except Refusal as error:
        raise file.refuse(under(key, "env_arguments"), str(error)) from None
    try:
        TrainingConfiguration.model_validate({"env": "", **fields})
    except ValidationError as error:
        path, complaint = first_misfit(error, TrainingConfiguration)
        if path:  # else the fields do not fit each other, but they are not all that is given
            raise file.refuse(under(key, *path), complaint) from None
    return fields


def _table(file: YamlFile, content: Any, key: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise file.refuse(key, f"is {in_short(content)}: a table of names and values is needed")
    return content
