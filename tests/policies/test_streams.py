"""Streams that outlive what they write to."""

import errno
import io
import os
import sys
import threading
from pathlib import Path

import pytest

from policies.streams import LastingOutput, lasting_streams, say


def piped(encoding: str = "utf-8") -> tuple[int, io.TextIOWrapper]:
    reader, writer = os.pipe()
    return reader, open(writer, "w", encoding=encoding)


def test_words_are_dropped_once_the_reader_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, stream = piped()
    monkeypatch.setattr(sys, "stdout", stream)
    with lasting_streams() as output:
        assert output is not None
        print("heard", flush=True)
        assert os.read(reader, 100) == b"heard\n"
        assert output.lost is None
        os.close(reader)
        for _ in range(3):
            print("lost", flush=True)
        assert output.reader_is_gone
        os.write(stream.fileno(), b"below Python")
        assert not sys.stdout.isatty()
    assert sys.stdout is stream
    stream.close()


def test_characters_that_an_encoding_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, stream = piped("ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    with lasting_streams():
        print("1 ± 2 → \udc80")
    assert os.read(reader, 100) == b"1 \\xb1 2 \\u2192 \\udc80\n"
    stream.close()
    os.close(reader)


def test_a_pipe_that_another_process_made_non_blocking(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, stream = piped()
    os.set_blocking(stream.fileno(), False)
    text = "word " * 100_000  # more than a pipe holds
    heard: list[bytes] = []

    def hear() -> None:
        while chunk := os.read(reader, 1000):
            heard.append(chunk)

    monkeypatch.setattr(sys, "stdout", stream)
    listener = threading.Thread(target=hear)
    with lasting_streams() as output:
        listener.start()
        print(text, flush=True)
        assert output is not None
        assert output.lost is None
    stream.close()
    listener.join()
    os.close(reader)
    assert b"".join(heard).decode() == text + "\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_full_disk_is_told_from_a_closed_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "wb", buffering=0) as raw:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, write_through=True))  # as of `python -u`
        with lasting_streams() as output:
            print("lost")
            assert output is not None
            assert output.lost is not None
            assert output.lost.errno == errno.ENOSPC
            assert not output.reader_is_gone


def test_streams_that_are_no_files_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    words = io.StringIO()
    monkeypatch.setattr(sys, "stdout", words)
    with lasting_streams() as output:
        print("in a notebook")
        assert (output, sys.stdout) == (None, words)
    assert words.getvalue() == "in a notebook\n"


def test_saying_never_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, stream = piped("ascii")
    monkeypatch.setattr(sys, "stderr", stream)
    say("±")
    os.close(reader)
    say("lost")
    with pytest.raises(BrokenPipeError):
        stream.close()
    say("closed")
    monkeypatch.setattr(sys, "stderr", None)
    say("there is none")


def test_a_stream_that_was_closed_below() -> None:
    reader, stream = piped()
    raw = stream.buffer.raw
    assert isinstance(raw, io.RawIOBase)
    output = LastingOutput(raw, stream)
    stream.close()
    os.close(reader)
    assert output.write(b"lost") == 4
    assert output.lost is not None
