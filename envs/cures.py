"""What helps where an environment of Gymnasium's or Gymnasium-Robotics' cannot be made: a newer id, or a package."""

from importlib.metadata import requires, version

import gymnasium
from gymnasium.envs.registration import EnvSpec, find_highest_version, get_env_id
from gymnasium.error import DependencyNotInstalled

from envs.contract import raising_module

FITS_ROBOTICS = (3, 12)
"""Below this version of MuJoCo the assertions of gymnasium_robotics 1.4.2 about types of joints hold, in Fetch, Hand
and FrankaKitchen."""


def cure(spec: EnvSpec, error: BaseException) -> str:
    """Return how a sentence goes on that begins with "… cannot be made", up to what was raised; often not at all."""
    if isinstance(error, AssertionError) and raising_module(error).startswith("gymnasium_robotics"):
        found = version("mujoco")
        if tuple(map(int, found.split(".")[:2])) < FITS_ROBOTICS:
            return ""
        return f' with mujoco {found}, pip install "mujoco<{".".join(map(str, FITS_ROBOTICS))}" mends it'
    if not isinstance(error, ImportError | DependencyNotInstalled):
        return ""
    newest = _newest(spec)
    if newest:
        return newest
    missing = getattr(error.__cause__ or error, "name", None)
    extra = _extra(missing) if missing and str(spec.entry_point).startswith("gymnasium.") else None
    return f' without pip install "gymnasium[{extra}]"' if extra else ""


def _newest(spec: EnvSpec) -> str:
    """Say that the newest version of an environment can be made, if it is another one, or what would help it."""
    highest = find_highest_version(spec.namespace, spec.name)
    if highest is None or highest == spec.version:
        return ""
    newest = get_env_id(spec.namespace, spec.name, highest)
    try:
        gymnasium.make(newest).close()
    except Exception as error:
        remedy = cure(gymnasium.spec(newest), error)
        return f", nor can {newest}{remedy}" if remedy else ""
    return f", {newest} can"


def _extra(module: str) -> str | None:
    """Return the extra of Gymnasium that installs a module."""
    for requirement in requires("gymnasium") or ():
        package, _, condition = requirement.partition(";")
        if package.lower().startswith(module.lower()) and "extra ==" in condition:
            return condition.rpartition("extra ==")[2].strip().strip("\"'")
    return None
