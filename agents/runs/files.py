"""Files that are there whole or not at all, whatever happens to the process or the machine while they are written."""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from policies.refusal import Refusal


def check_path(path: Path) -> None:
    """Refuse a path that is not stored in UTF-8, in which TensorBoard, safetensors and ONNX Runtime look for all files.

    The current folder may have any name, as long as paths are relative to it.

    :raises Refusal: if the path is no text, or the locale has another encoding and the path is not plain ASCII
    """
    try:
        fits = os.fsencode(path) == str(path).encode()
    except UnicodeEncodeError:
        fits = False
    if not fits:
        raise Refusal(
            f"the path {str(path)!a} cannot be used, since names of files are in {sys.getfilesystemencoding()} here: "
            "ASCII, or UTF-8 with PYTHONUTF8=1, is needed"
        )


def read_text(path: Path) -> str:
    """Read a text.

    :raises Refusal: if the file is missing or no text
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(f"{path} cannot be read: {error}") from None


def read_table(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds a table.

    :raises Refusal: if it cannot be read or is damaged
    """
    text = read_text(path)
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{path} is damaged: {error}") from None
    if not isinstance(table, dict):
        raise Refusal(f"{path} is damaged: it holds no table")
    return table


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file under a temporary name beside it, flush it to disk, and rename it.

    A file of that name stays as it is until the new one is complete; a failed write leaves no temporary file.

    :raises OSError: if it cannot be written, such as on a full disk
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    flush_folder(path.parent)


def flush_folder(path: Path) -> None:
    """Flush a folder's entries to disk, so that a rename in it survives a power cut; Windows has no call for it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # what Windows says to opening a folder
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_file(path: Path) -> None:
    """Flush what other handles have written to a file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
