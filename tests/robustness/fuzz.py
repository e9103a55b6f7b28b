"""Fuzz everything that reads a user's file or option: python -m tests.robustness.fuzz --inputs 1500.

Each input is a valid one with some damage, some foreign content or an attack in it. It must be accepted, or refused
with one clear line: never a traceback, never code run from a file, never a file written outside of the run folder. An
audit hook watches what is opened, written and started; readers run in child processes, so that a crash of a native
parser is counted and does not end the harness.

`--reader NAME --only N` repeats one input and shows what happens. Counts go to results/fuzz.json.
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
import pytest
import yaml
from stable_baselines3.common.callbacks import BaseCallback

from agents.building import load_agent
from agents.command_line import run as run_command
from agents.configuration import TrainingConfiguration, configure
from agents.demonstrations.dataset import load_demonstrations
from agents.export.export import export_policy
from agents.monitoring.callbacks import EpisodeFiguresCallback, EvaluationCallback
from agents.monitoring.episode_pictures import pictures_for
from agents.monitoring.network import NetworkCallback
from agents.resumption.callback import CheckpointCallback
from agents.resumption.checkpoint import Checkpoint, checkpoint_files, checkpoint_to_resume
from agents.resumption.logs import continued_logger
from agents.resumption.options import configuration_to_resume
from agents.runs.folder import RunFolder
from agents.studies.definition import read_study
from agents.studies.planning import plan_study
from agents.trained.policy import load_trained_policy
from agents.training import build_algorithm, plan_training, train, training_environments
from benchmarks.harness import FOLDER, describe, machine, markdown_table, publish, write_result
from envs.lookup import environment_spaces
from envs.random_anomaly.digits import load_digit_images
from envs.sequence_choice.sources import load_sequences
from envs.task import task_of
from policies.network.architectures import ARCHITECTURES
from policies.refusal import Refusal
from tests.demonstration_data import record

LIMIT_SECONDS = 60
"""Of processor time for one input; a reader that takes longer counts as crashed."""
LIMIT_MEMORY = 12 * 2**30

SMALL = {"n_envs": 2, "total_timesteps": 56, "eval_every": 56, "eval_episodes": 2, "progress": False, "budget": 400}
RUNS: Mapping[str, dict[str, Any]] = {
    "cartpole": {"env": "CartPole-v1", "n_steps": 28, "batch_size": 28, **SMALL},
    "anomaly": {"env": "RandomAnomaly-v0", "n_steps": 7, "batch_size": 14, "env_arguments": {"image_size": 8}, **SMALL},
    "hammer": {"env": "AdroitHandHammer-v1", "n_steps": 28, "batch_size": 28, **SMALL},
}

EXTREMES = (1e-320, 1e308, 2**31, 2**63, 10**30, float("nan"), float("inf"))
NUMBERS: tuple[Any, ...] = (0, 1, -1, 2, 0.5, -0.5, *EXTREMES, True)
BLANKS = ("", " ", "\x00", "\n", "ä\u2028\U0001f600")
PATHS = ("../../escape", "/dev/zero", "/etc/passwd")
ENVIRONMENTS = ("CartPole-v1", "Pendulum-v1", "canary_module:CartPole-v1", "canary_module")
TEXTS = (*BLANKS, *PATHS, *ENVIRONMENTS, "x" * 5000, "%s%n{0}", "varied", "none,blur", "nan", "-1")
OTHERS: tuple[Any, ...] = (None, [], {}, [[[]]], {"a": 1}, [1, 2.5, "x"], b"bytes")
FOREIGN_FILES = (b"\x80\x04.", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"{}", b"[]", b"null")
YAML_ATTACKS = (
    "!!python/object/apply:os.system ['touch canary']",
    "!!python/object/new:subprocess.Popen [['touch', 'canary']]",
    "!!python/name:canary_module.run",
    "!!python/module:canary_module",
    "!!python/object:canary_module.Canary {}",
    "&a [*a, *a]",
    "[" * 3000,
    "{" * 3000,
    "!!binary aGVsbG8=",
    "2020-13-45",
    "<<: [1]",
    "!!set {a, b}",
    "\t- x",
    "? {a: b}\n: c",
)


class Canary:
    """A pickle that tells on whoever loads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch canary",)


@dataclass(frozen=True)
class Reader:
    """Something that reads what a user gives: how inputs are made, and what is called with them."""

    make: Callable[[random.Random, "Workshop"], Any]
    """an input, from a generator and what valid inputs are made of"""
    read: Callable[[Any, "Workshop"], object]
    """returns if the input is accepted; raises Refusal if it is refused"""


class Workshop:
    """Valid runs to damage, a folder to work in, and new learners."""

    def __init__(self, runs: Path, folder: Path) -> None:
        self.runs, self.folder = runs, folder

    def copy_with(self, name: str, file: str, content: bytes) -> Path:
        """Return a copy of a run, or of the data set, in which one file has another content."""
        run = self.folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(self.runs / name, run)
        (run / file).write_bytes(content)
        return run

    def learner(self, name: str) -> tuple[CheckpointCallback, Any]:
        """Return a new learner to restore a checkpoint into: what an input leaves in one is not the next one's."""
        configuration = run_configuration(name, self.folder)
        environments = training_environments(configuration)
        algorithm = build_algorithm(configuration, plan_training(configuration), environments)
        folder = RunFolder(self.folder / "run")
        others: list[BaseCallback] = [
            NetworkCallback(every=11),
            EpisodeFiguresCallback(task_of(configuration.env).figures),
            EvaluationCallback(environments, every=56, episodes=2, folder=folder),
            *pictures_for(configuration, environments),
        ]
        return CheckpointCallback(folder, every=56, keep=3, others=others), algorithm


@contextlib.contextmanager
def open_workshop(runs: Path) -> Iterator[Workshop]:
    """Work in a folder of its own, in which a module waits that must never be imported."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("canary_module.py").write_text("open('canary', 'w').close()\n")
        Path("file").touch()
        sys.path.insert(0, folder)
        yield Workshop(runs, Path(folder))


# ---- inputs


def damage(generator: random.Random, content: bytes) -> bytes:
    """Damage bytes: flips, cuts, insertions, repetitions, swaps, or something else altogether."""
    data = bytearray(content)
    for _ in range(generator.choice((1, 1, 2, 5))):
        kind = generator.randrange(8)
        at = generator.randrange(len(data) + 1)
        if kind == 0 and data:
            data[min(at, len(data) - 1)] ^= 1 << generator.randrange(8)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            data[at:at] = generator.randbytes(generator.choice((1, 3, 40)))
        elif kind == 3:
            data[at:at] = data[: generator.randrange(len(data) + 1)]
        elif kind == 4:
            del data[at : at + generator.randrange(1, 30)]
        elif kind == 5:
            data[at : at + 8] = generator.choice((b"\xff" * 8, b"\x00" * 8, b"9" * 8))
        elif kind == 6 and generator.random() < 0.2:
            data = bytearray(generator.choice((b"", pickle.dumps(Canary()), *FOREIGN_FILES)))
        else:
            data[at : at + 1] = generator.choice((b'"', b"{", b"}", b":", b"-", b"\n", b"0", b"e", b"\xc3", b"!!"))
    return bytes(data)


def nasty(generator: random.Random) -> Any:
    """Return a value that hardly fits anywhere."""
    return generator.choice(generator.choice((NUMBERS, TEXTS, OTHERS)))


def change_tree(generator: random.Random, tree: Any) -> Any:
    """Replace, remove or add something somewhere in a tree of tables and lists."""
    if isinstance(tree, dict) and tree and generator.random() < 0.85:
        key = generator.choice(list(tree))
        kind = generator.randrange(10)
        if kind == 0:
            return {k: v for k, v in tree.items() if k != key}
        if kind == 1:
            return tree | {generator.choice(("extra", "", "env", "state", "array")): nasty(generator)}
        return tree | {key: change_tree(generator, tree[key])}
    if isinstance(tree, list) and tree and generator.random() < 0.85:
        at = generator.randrange(len(tree))
        changed = [change_tree(generator, tree[at])] if generator.random() < 0.8 else []
        return [*tree[:at], *changed, *tree[at + 1 :]]
    if isinstance(tree, np.ndarray) and generator.random() < 0.8:
        return change_array(generator, tree)
    return nasty(generator)


def change_repeatedly(generator: random.Random, tree: Any, times: tuple[int, ...]) -> Any:
    """Change a tree in one place or in several."""
    for _ in range(generator.choice(times)):
        tree = change_tree(generator, tree)
    return tree


def change_array(generator: random.Random, array: np.ndarray) -> np.ndarray:
    """Return an array of another shape, type or content."""
    kind = generator.randrange(6)
    if kind == 0:
        return array.reshape(-1)[: generator.randrange(array.size + 1)]
    if kind == 1:
        return array.astype(generator.choice(("float64", "float32", "int64", "uint8", "bool", "uint64", "float16")))
    if kind == 2:
        return np.concatenate([array.reshape(-1), array.reshape(-1)])
    if kind == 3:
        return array[None]
    changed = array.copy().reshape(-1)
    if changed.size:
        with np.errstate(all="ignore"):
            value = np.array(generator.choice((np.nan, np.inf, -1e300, 1e300, -1, 7))).astype(changed.dtype)
        changed[generator.randrange(changed.size)] = value
    return changed.reshape(array.shape)


def json_input(generator: random.Random, content: bytes) -> bytes:
    """Damage a JSON file as text or as a tree."""
    if generator.random() < 0.5:
        return damage(generator, content)
    tree = change_repeatedly(generator, json.loads(content), (1, 1, 3))
    if generator.random() < 0.02:
        return b"[" * 100_000
    return json.dumps(tree, default=repr).encode()


def yaml_input(generator: random.Random, content: bytes) -> bytes:
    """Damage a YAML file as text or as a tree, or plant an attack in it."""
    kind = generator.random()
    if kind < 0.3:
        return damage(generator, content)
    tree = yaml.safe_load(content)
    if kind < 0.8:
        tree = change_repeatedly(generator, tree, (1, 1, 2))
        return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode("utf-8", "surrogatepass")
    lines = content.decode().splitlines()
    at = generator.randrange(len(lines))
    attack = generator.choice(YAML_ATTACKS)
    lines[at] = f"{lines[at].partition(':')[0]}: {attack}" if generator.random() < 0.7 else attack
    return "\n".join(lines).encode()


def safetensors_input(generator: random.Random, content: bytes) -> bytes:
    """Damage a safetensors file, its header more often than its numbers."""
    if generator.random() < 0.4:
        return damage(generator, content)
    size = int.from_bytes(content[:8], "little")
    header, tensors = content[8 : 8 + size], content[8 + size :]
    header = json_input(generator, header) if generator.random() < 0.5 else damage(generator, header)
    size = len(header) if generator.random() < 0.9 else generator.choice((0, 2**63, 2**64 - 1, len(header) + 1))
    return size.to_bytes(8, "little") + header + tensors


def checkpoint_input(generator: random.Random, workshop: Workshop) -> tuple[str, bytes]:
    """Damage a checkpoint's bytes, or change its state and give it a digest that fits."""
    name = generator.choice(("anomaly", "hammer", "cartpole"))
    content = checkpoint_files(workshop.runs / name)[-1].read_bytes()
    if generator.random() < 0.3:
        return name, safetensors_input(generator, content)
    checkpoint = Checkpoint.from_bytes(content)
    state = change_repeatedly(generator, dict(checkpoint.state), (1, 1, 3))
    state = state if isinstance(state, dict) else {"state": state}
    try:
        return name, Checkpoint(generator.choice((56, 56, 0, 10**12)), state).to_bytes()
    except Refusal:  # bytes have no form in a checkpoint
        return name, damage(generator, content)


def npz_input(generator: random.Random, workshop: Workshop) -> bytes:
    """Make a source of digits that is damaged, of other arrays, or an attack."""
    images = np.random.default_rng(0).integers(0, 255, (40, 8, 8)).astype(np.uint8)
    arrays: dict[str, Any] = {"x": images, "y": np.repeat(np.arange(2), 20)}
    kind = generator.random()
    buffer = io.BytesIO()
    if kind < 0.4:
        np.savez(buffer, **arrays)
        return damage(generator, buffer.getvalue())
    if kind < 0.85:
        for _ in range(generator.choice((1, 2))):
            name = generator.choice(("x", "y"))
            if name in arrays and generator.random() < 0.15:
                del arrays[name]
            elif name in arrays:
                arrays[name] = change_array(generator, np.asarray(arrays[name]))
        if generator.random() < 0.1:
            arrays[generator.choice(("x", "y", "z"))] = np.array([Canary()], dtype=object)
        np.savez(buffer, **arrays)
        return buffer.getvalue()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in generator.sample(["x.npy", "y.npy", "../canary", "/tmp/canary", "x", "y.npy/", "x.npy"], 3):
            content = io.BytesIO()
            np.save(content, images)
            archive.writestr(name, generator.choice((content.getvalue(), pickle.dumps(Canary()), b"", b"\x93NUMPY")))
    return buffer.getvalue()


def sequences_npz_input(generator: random.Random, workshop: Workshop) -> bytes:
    """Make an archive of labelled sequences that is damaged, of other arrays, or an attack."""
    lengths = np.random.default_rng(0).integers(1, 6, 12)
    x = np.random.default_rng(1).normal(size=(int(lengths.sum()), 2))
    arrays: dict[str, Any] = {"x": x, "lengths": lengths, "y": np.repeat(["a", "b"], 6)}
    if generator.random() < 0.5:
        arrays = {"x": x[:24].reshape(12, 2, 2), "y": arrays["y"]}
    kind = generator.random()
    if kind >= 0.4:
        for _ in range(generator.choice((1, 2))):
            name = generator.choice(list(arrays))
            kept = {n: entries for n, entries in arrays.items() if n != name}
            with contextlib.suppress(ValueError):  # of texts as numbers
                arrays = kept if generator.random() < 0.15 else kept | {name: change_array(generator, arrays[name])}
        if generator.random() < 0.1:
            arrays[generator.choice(("x", "y", "lengths"))] = np.array([Canary()], dtype=object)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return damage(generator, buffer.getvalue()) if kind < 0.4 else buffer.getvalue()


CELLS = ("", "?", "nan", "inf", "-1e400", "1e39", "1_0", "0x1", "a", "=1+1", '"', "\x00", "9" * 400, "2025-01-01")


def sequences_csv_input(generator: random.Random, workshop: Workshop) -> bytes:
    """Make a table of labelled sequences in which bytes or cells are damaged."""
    rows = [[str(s), str(t), "ab"[s % 2], str(s + t), str(s * t)] for s in range(8) for t in range(1 + s % 3)]
    rows.insert(0, ["series", "time", "label", "left", "right"])
    return separated(generator, rows, ",")


def sequences_ts_input(generator: random.Random, workshop: Workshop) -> bytes:
    """Make a file of the UCR/UEA archive in which bytes, channels or the header are damaged."""
    header = ["@timeStamps false", "@univariate false", "@dimensions 2", "@classLabel true a b", "@data"]
    if generator.random() < 0.3:
        attacks = ("@data", "@timeStamps true", "@classLabel false", "@dimensions 3", "@", "@data 1", "# x", "1:a")
        header[generator.randrange(len(header))] = generator.choice(attacks)
    rows = [[",".join(str(s + t) for t in range(1 + s % 4))] * 2 + ["ab"[s % 2]] for s in range(8)]
    return "\n".join(header).encode() + b"\n" + separated(generator, rows, ":")


PLACES = ("c/0.csv", "a/0.txt", "0.csv", "a/.csv", "a/0/0.csv", "ä\u2028/0.CSV")


def sequences_folder_input(generator: random.Random, workshop: Workshop) -> dict[str, bytes]:
    """Make files of recordings, by where they lie, of which one is damaged or lies elsewhere."""
    tables = {
        f"{label}/{s}.csv": [["time", "left", "right"], *([str(t), str(s + t), str(s * t)] for t in range(1 + s % 3))]
        for label in "ab"
        for s in range(4)
    }
    files = {name: "\n".join(map(",".join, rows)).encode() for name, rows in tables.items()}
    name = generator.choice(list(tables))
    files[name] = separated(generator, tables[name], ",")
    if generator.random() < 0.2:
        files[generator.choice(PLACES)] = files.pop(name)
    return files


def separated(generator: random.Random, rows: list[list[str]], separator: str) -> bytes:
    """Write rows, with damage to their bytes or with cells that hardly fit."""
    kind = generator.random()
    for _ in range(generator.choice((1, 1, 3)) if kind >= 0.5 else 0):
        row = generator.choice(rows)
        change = generator.randrange(4)
        if change == 0:
            row.append(generator.choice(CELLS))
        elif change == 1 and len(row) > 1:
            del row[generator.randrange(len(row))]
        elif change == 2:
            generator.shuffle(rows)
        else:
            row[generator.randrange(len(row))] = generator.choice(CELLS)
    content = "\n".join(map(separator.join, rows)).encode()
    return damage(generator, content) if kind < 0.5 else content


Words = Callable[[random.Random, Workshop], list[str]]
Options = Mapping[str, tuple[str, ...]]

OPTIONS: Options = {
    "--env": (
        "CartPole-v1",
        "Pendulum-v1",
        "Taxi-v4",
        "RandomAnomaly-v0",
        "nowhere:CartPole-v1",
        "PositionOnly-v0",
        "Text-v0",
    ),
    "--wrapper": (
        "gymnasium.wrappers:TimeAwareObservation",
        "gymnasium.wrappers:No",
        "popgym.wrappers:Antialias",
        "none",
    ),
    "--env-arg": (
        "max_episode_steps=5",
        "colour=red",
        "keep=(0,)",
        "keep=[[0]]",
        "env=Hopper-v5",
        "image_size=12",
        "sequence_length=3",
        "kinds=none",
        "a=[[[[",
    ),
    "--architecture": (*ARCHITECTURES, "sparse"),
    "--hidden-proportion": ("0.5", "0", "1", "0.999999", "1e-9"),
    "--budget": ("300", "1", "5000", "100000000000"),
    "--hidden-size": ("5", "0", "100000000"),
    "--density": ("hh=0.2", "hh=2", "zz=1", "hh", "yx=1e-9"),
    "--uniform-density": ("0.2", "0", "1.5"),
    "--init": ("scaled", "scaled:2", "normal:0.05", "normal:", "uniform"),
    "--activation": ("relu", "tanh", "gelu"),
    "--reward": ("registered", "corrected", "none"),
    "--total-timesteps": ("1000", "0"),
    "--n-envs": ("2", "0"),
    "--seed": ("0", "-1", "4294967296"),
    "--device": ("cpu", "cuda", "meta", "abacus:7"),
    "--log-dir": ("logs", "/proc/nowhere", "file/logs"),
    "--run-name": ("run", "..", "a/b", "."),
    "--eval-every": ("100", "0"),
    "--checkpoint-every": ("100", "0"),
    "--keep": ("1", "0"),
    "--learning-rate": ("1e-3", "0", "-1"),
    "--learning-rate-schedule": ("linear", "cosine"),
    "--n-steps": ("128", "1"),
    "--batch-size": ("128", "100"),
    "--gamma": ("0.9", "1.1"),
    "--noise-correlation": ("0.5", "1"),
    "--loss-steps": ("last", "first"),
    "--inputs": ("5", "0", "100000000"),
    "--outputs": ("2", "0", "100000000"),
    "--resume": ("nowhere", "/etc", "valid"),
    "--no-progress": (),
    "--json": (),
    "--bogus": ("1",),
}


def environment_words(generator: random.Random, workshop: Workshop) -> list[str]:
    """Return what train.py and specify.py begin with, mostly an environment."""
    return ["--env", "CartPole-v1"] if generator.random() < 0.8 else []


def policy_words(generator: random.Random, workshop: Workshop) -> list[str]:
    """Return what evaluate.py and export.py begin with: a run or a file, mostly one that is there."""
    there = [workshop.runs / "cartpole", workshop.runs / "policy.onnx", workshop.runs / "anomaly"]
    return [str(generator.choice(there)) if generator.random() < 0.8 else f"x{nasty(generator)}".replace("\x00", "0")]


EVALUATE_OPTIONS: Options = {
    "--which": ("best", "final", "worst"),
    "--env": ("CartPole-v1", "Pendulum-v1", "nowhere:CartPole-v1"),
    "--env-arg": ("max_episode_steps=5", "colour=red", "split=train", "a=[[[["),
    "--episodes": ("3", "0", "-1"),
    "--seed": ("5", "-1", "4294967296"),
    "--stochastic": (),
    "--json": (),
    "--video": ("film.gif", "film.txt", "/proc/nowhere/film.mp4", ".png"),
    "--video-episodes": ("1", "0"),
}
EXPORT_OPTIONS: Options = {
    "--output": ("policy.onnx", "/proc/nowhere/policy.onnx", "file/policy.onnx", "."),
    "--which": ("best", "final", "worst"),
    "--bogus": ("1",),
}


def option_words(generator: random.Random, workshop: Workshop, options: Options) -> list[str]:
    """Choose options that exist, with values that mostly do not fit."""
    words: list[str] = []
    for option in generator.sample(list(options), generator.randrange(1, min(5, 1 + len(options)))):
        words.append(option)
        if options[option] and generator.random() < 0.97:
            kind = generator.random()
            value = options[option][0] if kind < 0.5 else generator.choice(options[option])
            value = str(nasty(generator)) if kind > 0.75 else value
            value = str(workshop.runs / "cartpole") if value == "valid" else value
            # No argument of a program holds a zero byte; and a module named on the command line may be imported.
            words.append(value.replace("\x00", "0").replace("canary", "nowhere"))
    return words


def onnx_input(generator: random.Random, workshop: Workshop) -> bytes:
    """Damage an exported policy's bytes, or change a part of its model: an attribute, a tensor, where data lie."""
    content = (workshop.runs / "policy.onnx").read_bytes()
    if generator.random() < 0.4:
        return damage(generator, content)
    model = onnx.load_from_string(content)
    graph = model.graph
    for _ in range(generator.choice((1, 1, 3))):
        kind = generator.randrange(9)
        node, tensor = generator.choice(graph.node), generator.choice(graph.initializer)
        if kind == 0:
            node.op_type = generator.choice(("If", "Loop", "Scan", "Identity", "Gemm", "ReadFile", "MatMul", ""))
        elif kind == 1:
            node.domain = generator.choice(("com.canary", "ai.onnx.ml", "x" * 300))
        elif kind == 2:
            tensor.data_location = onnx.TensorProto.EXTERNAL
            location = generator.choice(("/etc/passwd", "../../canary", ""))
            for key, value in (("location", location), ("offset", "-1")):
                tensor.external_data.add(key=key, value=value)
        elif kind == 3:
            tensor.dims.append(generator.choice((0, 2, 2**40, -1)))
        elif kind == 4:
            tensor.data_type = generator.randrange(25)
        elif kind == 5 and model.metadata_props:
            entry = generator.choice([entry for entry in model.metadata_props if entry.value[:1] in "{["])
            entry.value = json_input(generator, entry.value.encode()).decode(errors="replace")
        elif kind == 6 and node.input:
            node.input[generator.randrange(len(node.input))] = generator.choice(("", "state", "nowhere"))
        elif kind == 7:
            graph.node.add().CopyFrom(node)
        else:
            model.ir_version, model.opset_import[0].version = generator.randrange(99), generator.randrange(99)
    return model.SerializeToString()


def dataset_input(generator: random.Random, workshop: Workshop) -> tuple[str, bytes]:
    """Damage one of the two files of a data set of demonstrations."""
    metadata = workshop.runs / "dataset" / "data" / "metadata.json"
    if generator.random() < 0.5:
        return "metadata.json", json_input(generator, metadata.read_bytes())
    name = next(path.name for path in metadata.parent.iterdir() if path.suffix == ".hdf5")
    content = metadata.with_name(name).read_bytes()
    if generator.random() < 0.5:
        return name, damage(generator, content)
    data = bytearray(content)  # what the parser itself reads lies in the first pages
    for _ in range(generator.choice((1, 3, 20))):
        data[generator.randrange(min(len(data), 6000))] = generator.choice((0, 1, 0x7F, 0xFF, generator.randrange(256)))
    return name, bytes(data)


STUDIES = (
    *((FOLDER / "studies" / name).read_bytes() for name in ("random_anomaly.yaml", "hammer_imitation.yaml")),
    b"""name: small
env: CartPole-v1
seed: 1
options: {budget: 300, total_timesteps: 1000}
groups:
  one:
    sampler: grid
    seeds: [0, 1]
    parameters: {hidden_proportion: [0.3, 0.5], learning_rate: [0.001]}
  two:
    sampler: random
    trials: 3
    parameters:
      hidden_proportion: {uniform: [0.1, 0.9]}
      densities: {normal: [0.5, 0.25], clip: [0.02, 1]}
""",
)


def study_input(generator: random.Random, workshop: Workshop) -> bytes:
    """Damage a study file."""
    return yaml_input(generator, generator.choice(STUDIES))


# ---- readers


def read_agent(run: Path) -> None:
    """Load a run as evaluation and export do, and plan to resume it."""
    _, _, configuration = load_agent(run)
    plan_training(configuration)


def file_of_run(
    file: str,
    names: tuple[str, ...],
    change: Callable[[random.Random, bytes], bytes],
    read: Callable[[Path], object] = read_agent,
) -> Reader:
    """Return a reader of a run in which one file is damaged."""

    def make(generator: random.Random, workshop: Workshop) -> tuple[str, bytes]:
        name = generator.choice(names)
        return name, change(generator, (workshop.runs / name / file).read_bytes())

    return Reader(make, lambda given, workshop: read(workshop.copy_with(given[0], file, given[1])))


def single_file(name: str, make: Callable[[random.Random, Workshop], bytes], read: Callable[[Path], object]) -> Reader:
    """Return a reader of a file that stands alone."""

    def write_and_read(content: bytes, workshop: Workshop) -> None:
        path = workshop.folder / name
        path.write_bytes(content)
        read(path)

    return Reader(make, write_and_read)


def read_checkpoint(given: tuple[str, bytes], workshop: Workshop) -> None:
    """Do what a resumption does before its first step, with a checkpoint that is the only one of a run."""
    name, content = given
    run = workshop.copy_with(name, "result.json", b"")
    for file in checkpoint_files(run):
        file.unlink()
    (run / "checkpoints" / "56.safetensors").write_bytes(content)
    checkpoint = checkpoint_to_resume(run)
    callback, algorithm = workshop.learner(name)
    with contextlib.closing(algorithm.get_env()), continued_logger(run, checkpoint) as logger:
        algorithm.set_logger(logger)
        if checkpoint is not None:
            callback.restore(algorithm, checkpoint, {})


def read_dataset(given: tuple[str, bytes], workshop: Workshop) -> None:
    """Load demonstrations."""
    load_dataset(workshop.copy_with("dataset", f"data/{given[0]}", given[1]))


def load_dataset(folder: Path) -> None:
    """Load demonstrations of CartPole."""
    load_demonstrations(str(folder), *environment_spaces("CartPole-v1"), None, 0)


def read_digits(path: Path) -> None:
    """Load a source of digits, which refuses by ValueError, as environments do; `make_environment` renders it."""
    try:
        load_digit_images(path, "train", 8)
    except ValueError as error:
        raise Refusal(str(error)) from error


def read_sequences(path: Path) -> None:
    """Load a source of labelled sequences."""
    load_sequences(path, "train")


def read_recordings(files: Mapping[str, bytes], workshop: Workshop) -> None:
    """Load a folder of labelled sequences."""
    folder = workshop.folder / "recordings"
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    read_sequences(folder)


class WorkBegins(Exception):
    """Everything was accepted: the work would begin."""


def command_line(name: str, first_words: Words, options: Options, *work: str) -> Reader:
    """Return a reader of a command line, up to where its work would begin.

    :param first_words: makes what stands before the options
    :param work: the functions that a command line calls when all of its options are accepted
    """

    def make(generator: random.Random, workshop: Workshop) -> list[str]:
        return first_words(generator, workshop) + option_words(generator, workshop, options)

    def read(words: list[str], workshop: Workshop) -> None:
        errors = io.StringIO()
        try:
            with contextlib.ExitStack() as stack:
                for function in work:
                    stack.enter_context(mock.patch(function, side_effect=WorkBegins))
                stack.enter_context(mock.patch("sys.argv", [f"{name}.py", *words]))
                stack.enter_context(contextlib.redirect_stderr(errors))
                stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
                stack.enter_context(contextlib.chdir(workshop.folder))
                run_command(importlib.import_module(name).main)
        except WorkBegins:
            return
        except SystemExit as end:
            if end.code in (0, None):
                return
            lines = [line for line in errors.getvalue().splitlines() if not line.startswith("warning: ")]
            if end.code != 2 or len(lines) != 1 or not lines[0].startswith("error: "):
                raise AssertionError(f"exit code {end.code}, {errors.getvalue()!r}") from None
            raise Refusal(lines[0]) from None

    return Reader(make, read)


EVALUATION = ("agents.trained.report.evaluate_policy", "agents.trained.recording.record")

READERS: Mapping[str, Reader] = {
    "config.yaml": file_of_run("config.yaml", ("cartpole", "cartpole", "anomaly", "hammer"), yaml_input),
    "policy.safetensors": file_of_run("best/policy.safetensors", ("cartpole", "anomaly"), safetensors_input),
    "normalization.json": file_of_run("best/normalization.json", ("cartpole",), json_input),
    "result.json": file_of_run("result.json", ("cartpole",), json_input, lambda run: configuration_to_resume(run, {})),
    "checkpoint": Reader(checkpoint_input, read_checkpoint),
    "npz source": single_file("source.npz", npz_input, read_digits),
    "npz sequences": single_file("sequences.npz", sequences_npz_input, read_sequences),
    "csv sequences": single_file("sequences.csv", sequences_csv_input, read_sequences),
    "ts sequences": single_file("sequences.ts", sequences_ts_input, read_sequences),
    "folder of sequences": Reader(sequences_folder_input, read_recordings),
    "ONNX file": single_file("policy.onnx", onnx_input, load_trained_policy),
    "data set": Reader(dataset_input, read_dataset),
    "study file": single_file("study.yaml", study_input, lambda path: plan_study(read_study(path))),
    "train.py options": command_line("train", environment_words, OPTIONS, "agents.training.train"),
    "specify.py options": command_line("specify", environment_words, OPTIONS),
    "evaluate.py options": command_line("evaluate", policy_words, EVALUATE_OPTIONS, *EVALUATION),
    "export.py options": command_line("export", policy_words, EXPORT_OPTIONS, "agents.export.export.export_policy"),
}
"""Another reader is one more entry."""


# ---- watching


class Watch:
    """An audit hook that notes what no input may cause, within a `with` statement."""

    STARTED = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "pickle.find_class")
    CHANGED = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")

    def __init__(self, *folders: Path) -> None:
        self.folders = tuple(str(folder.resolve()) for folder in folders)
        self.on = False
        self.violations: list[str] = []
        sys.addaudithook(self._hook)

    def __enter__(self) -> None:
        self.violations.clear()
        self.on = True

    def __exit__(self, *exception: object) -> None:
        self.on = False

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in self.STARTED:
            self.violations.append(f"{event} {arguments!r:.100}")
        elif event == "import" and str(arguments[0]).startswith("canary"):
            self.violations.append(f"import {arguments[0]}")
        elif event == "open":
            path, mode, flags = arguments
            writes = isinstance(mode, str) and any(letter in mode for letter in "wax+")
            writes = writes or (isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)))
            if writes and isinstance(path, str | bytes | os.PathLike):
                self._check(event, path)
        elif event in self.CHANGED:
            self._check(event, arguments[0])

    def _check(self, event: str, path: Any) -> None:
        where = os.path.abspath(os.fsdecode(path))
        if not where.startswith((*self.folders, "/dev/null")) and "__pycache__" not in where:
            self.violations.append(f"{event} {where}")


# ---- processes


def judge(reader: Reader, given: Any, workshop: Workshop, watch: Watch) -> tuple[str, str]:
    """Give an input to its reader; return accepted, refused or failed, and what was said."""
    try:
        with watch:
            reader.read(given, workshop)
        outcome, text = "accepted", ""
    except Refusal as error:
        outcome, text = "refused", str(error)
        if "\n" in text or not text.strip() or len(text) > 20_000:
            outcome, text = "failed", f"not one clear line: {text!r:.300}"
    except BaseException as error:
        outcome, text = "failed", f"{type(error).__name__}: {error!s:.300}"
    if watch.violations:
        outcome, text = "failed", f"{watch.violations[0]} (otherwise: {outcome})"
    if (workshop.folder / "canary").exists():
        (workshop.folder / "canary").unlink()
        outcome, text = "failed", f"code was run (otherwise: {outcome})"
    return outcome, text


def work(name: str, first: int, last: int, seed: int, runs: Path) -> None:
    """Judge the inputs first … last − 1 of a reader, printing one line of JSON for each."""
    import resource  # POSIX alone has it

    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_MEMORY, LIMIT_MEMORY))
    results, sys.stdout = sys.stdout, sys.stderr
    sys.stderr = io.StringIO()
    with open_workshop(runs) as workshop:
        # What is loaded and compiled at the first time is not the input's doing.
        for run in RUNS:
            read_agent(runs / run)
            if name == "checkpoint":
                workshop.learner(run)
        load_trained_policy(runs / "policy.onnx")
        load_dataset(runs / "dataset")
        watch = Watch(workshop.folder)
        for number in range(first, last):
            signal.setitimer(signal.ITIMER_PROF, LIMIT_SECONDS)  # ends the process, inside of native code too
            generator = random.Random(f"{seed} {name} {number}")
            given = READERS[name].make(generator, workshop)
            started = time.process_time()
            outcome, text = judge(READERS[name], given, workshop, watch)
            line = {"number": number, "outcome": outcome, "text": text, "seconds": time.process_time() - started}
            print(json.dumps(line), file=results, flush=True)
        signal.setitimer(signal.ITIMER_PROF, 0)


def fuzz(name: str, inputs: int, seed: int, runs: Path) -> dict[str, Any]:
    """Judge a reader's inputs in child processes; one that crashes is counted and the rest go on."""
    counts = {"accepted": 0, "refused": 0, "failed": 0}
    failures: list[str] = []
    slowest, following = 0.0, 0
    while following < inputs:
        command = [sys.executable, "-m", "tests.robustness.fuzz", "--worker", name, str(following), str(inputs)]
        command += [str(seed), str(runs)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert worker.stdout is not None
        for line in worker.stdout:
            result = json.loads(line)
            counts[result["outcome"]] += 1
            slowest = max(slowest, result["seconds"])
            if result["outcome"] == "failed":
                failures.append(f"input {result['number']}: {result['text']}")
            following = result["number"] + 1
        if worker.wait() and following < inputs:
            counts["failed"] += 1
            failures.append(f"input {following}: the reader's process ended with exit code {worker.returncode}")
            following += 1
    taken = {"slowest_seconds": round(slowest, 2), "date": machine()["date"]}
    return {"inputs": inputs, **counts, **taken, "failures": failures[:20]}


def run_configuration(name: str, log_dir: Path) -> TrainingConfiguration:
    """Return the configuration of one of the valid runs."""
    return configure(**RUNS[name], log_dir=str(log_dir), run_name=name)


def make_runs(folder: Path) -> Path:
    """Train the valid runs, briefly, and put them side by side, with an exported policy and a data set."""
    runs = folder / "runs"
    runs.mkdir()
    for name in RUNS:
        train(run_configuration(name, folder / "logs")).path.rename(runs / name)
    export_policy(runs / "cartpole", runs / "policy.onnx", "best")
    with pytest.MonkeyPatch.context() as patch:
        record(runs / "minari", patch, "CartPole-v1", episodes=4, steps=10).rename(runs / "dataset")
    return runs


def fuzz_all(inputs: int, seed: int, names: list[str]) -> dict[str, dict[str, Any]]:
    """Fuzz the readers named."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        runs = make_runs(Path(folder))
        for name in names:
            results[name] = fuzz(name, inputs, seed, runs)
            print(name, json.dumps(results[name], indent=1), flush=True)
    return results


def show(name: str, number: int, seed: int) -> None:
    """Repeat one input and print it and what happens."""
    with tempfile.TemporaryDirectory() as folder:
        runs = make_runs(Path(folder))
        with open_workshop(runs) as workshop:
            given = READERS[name].make(random.Random(f"{seed} {name} {number}"), workshop)
            print(repr(given)[:3000])
            READERS[name].read(given, workshop)
            print("accepted")


def report(results: Mapping[str, Mapping[str, Any]], command: str) -> None:
    """Write the table."""
    columns = ("inputs", "accepted", "refused", "failed", "slowest_seconds", "date")
    total = {column: sum(result[column] for result in results.values()) for column in columns[:4]}
    rows = [(name, *(result[column] for column in columns)) for name, result in results.items()]
    table = markdown_table(
        ("reader", "inputs", "accepted", "refused in one line", "failed", "slowest (s)", "date"),
        [*rows, ("all", *total.values(), "", "")],
    )
    publish("fuzz", "Fuzzing of all readers", f"`{command}`", table, describe(machine()))


def main() -> None:
    """Fuzz and write the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_500, help="per reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", choices=READERS, help="this one alone, and no result is written")
    parser.add_argument("--only", type=int, help="with --reader: show this input")
    parser.add_argument("--worker", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        name, first, last, seed, runs = arguments.worker
        work(name, int(first), int(last), int(seed), Path(runs))
    elif arguments.only is not None:
        show(arguments.reader, arguments.only, arguments.seed)
    elif arguments.reader:
        fuzz_all(arguments.inputs, arguments.seed, [arguments.reader])
    else:
        results = fuzz_all(arguments.inputs, arguments.seed, list(READERS))
        command = f"python -m tests.robustness.fuzz --inputs {arguments.inputs}"
        content = {"command": command, "seed": arguments.seed, "machine": machine(), "readers": results}
        write_result("fuzz", content)
        report(results, command)


if __name__ == "__main__":
    main()
