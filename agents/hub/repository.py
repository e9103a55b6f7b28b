"""Repositories of the Hugging Face Hub that hold one exported policy and its card.

The address of the Hub and the token are huggingface_hub's own matter: HF_ENDPOINT, HF_TOKEN, `hf auth login`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import (
    EntryNotFoundError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from agents.hub.card import CARD
from policies.refusal import Refusal

POLICY = "policy.onnx"


def check_repository(name: str) -> None:
    """Refuse what cannot be the name of a repository.

    :raises Refusal: if it is no USER/NAME
    """
    try:
        validate_repo_id(name)
        fits = name.count("/") == 1
    except HFValidationError:
        fits = False
    if not fits:
        raise Refusal(
            f"{name!r} can be no repository of the Hub: USER/NAME is needed, of letters, digits, '-', '_' and '.'"
        )


def push(name: str, policy: Path, card: str) -> str:
    """Upload a policy and its card in one commit, into a repository that is made if there is none.

    :param name: USER/NAME
    :return: address of the commit
    :raises Refusal: if the Hub takes them not
    """
    with _refused(f"`push_to_hub` {name}"):
        hub = HfApi(library_name="varied-sparsity-rl")
        hub.create_repo(name, exist_ok=True)
        operations = [CommitOperationAdd(POLICY, policy), CommitOperationAdd(CARD, card.encode())]
        return str(hub.create_commit(name, operations, commit_message="Policy and card").commit_url)


def fetch(address: str) -> Path:
    """Download the policy of a repository into huggingface_hub's cache, unless it lies there already.

    :param address: hf://USER/NAME or hf://USER/NAME@REVISION
    :raises Refusal: if it is no such address, or there is no policy
    """
    name, _, revision = address.removeprefix("hf://").partition("@")
    check_repository(name)
    with _refused(address):
        return Path(HfApi(library_name="varied-sparsity-rl").hf_hub_download(name, POLICY, revision=revision or None))


@contextmanager
def _refused(what: str) -> Iterator[None]:
    """Refuse whatever the network, the Hub and its clients raise."""
    try:
        yield
    except RepositoryNotFoundError:
        raise Refusal(f"{what}: the Hub has no such repository, or shows it to others alone (HF_TOKEN)") from None
    except RevisionNotFoundError:
        raise Refusal(f"{what}: the repository has no such revision") from None
    except LocalEntryNotFoundError as error:
        raise Refusal(f"{what}: the Hub cannot be reached, and no copy lies here: {_first_line(error)}") from None
    except EntryNotFoundError:
        raise Refusal(f"{what}: the repository holds no {POLICY}, which export.py --push-to-hub writes") from None
    except Exception as error:
        raise Refusal(f"{what}: the Hub refused or cannot be reached: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no more is known'}"
