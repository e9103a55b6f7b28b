"""A file from anywhere is a policy of this project, or refused in one line; nothing in it is run or followed."""

import dataclasses
import json
import pickle
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from agents.export.graph import policy_model
from agents.export.onnx_policy import OnnxPolicy, PolicyMetadata, load_onnx, read_policy
from policies.varied_sparsity_policy import VariedSparsityPolicy


def metadata_of(policy: VariedSparsityPolicy) -> PolicyMetadata:
    return PolicyMetadata("CartPole-v1", {"max_episode_steps": 9}, policy.specification, {"onnx": "1"}, {"episodes": 3})


@cache
def policy() -> VariedSparsityPolicy:
    return VariedSparsityPolicy(
        spaces.Box(-np.inf, np.inf, (4,)), spaces.Box(-1, 1, (2,)), lambda _: 1e-3, budget=200, network_seed=0
    )


@cache
def content() -> bytes:
    return policy_model(policy(), None, metadata_of(policy())).SerializeToString()


def model() -> onnx.ModelProto:
    return onnx.load_model_from_string(content())


@pytest.fixture
def exported() -> OnnxPolicy:
    return read_policy(content())


def refused(file: Path, contents: bytes | onnx.ModelProto) -> str:
    """Return the one line with which a file is refused."""
    file.write_bytes(contents if isinstance(contents, bytes) else contents.SerializeToString())
    with pytest.raises(ValueError, match=r"\w") as caught:
        load_onnx(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_policy_comes_back(tmp_path: Path) -> None:
    (tmp_path / "policy.onnx").write_bytes(content())
    exported = load_onnx(str(tmp_path / "policy.onnx"))
    assert exported.metadata == metadata_of(policy())
    assert (exported.env, exported.env_arguments) == ("CartPole-v1", {"max_episode_steps": 9})
    assert (exported.n_inputs, exported.n_outputs, exported.discrete) == (4, 2, False)
    assert exported.state_size == policy().actor.state_size


def test_it_is_called_as_a_policy_is(exported: OnnxPolicy) -> None:
    observations = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    actions, state = exported.predict(observations, None, np.ones(3, bool), deterministic=True)
    assert actions.shape == (3, 2)
    again, _ = exported.predict(observations, state, np.array([True, True, False]))
    np.testing.assert_array_equal(again[:2], actions[:2])
    assert not np.array_equal(again[2], actions[2])
    with pytest.raises(ValueError, match="deterministic"):
        exported.predict(observations, state, np.ones(3), deterministic=False)


@pytest.mark.parametrize(
    ("observations", "state", "starts"),
    [((4,), None, None), ((2, 5), None, None), ((2, 4), (1, 1), None), ((2, 4), None, (3,)), ((2, 4), None, (2, 1))],
)
def test_other_shapes_are_refused(
    observations: tuple[int, ...], state: tuple[int, ...] | None, starts: tuple[int, ...] | None, exported: OnnxPolicy
) -> None:
    arrays = [None if shape is None else np.zeros(shape, np.float32) for shape in (observations, state, starts)]
    with pytest.raises(ValueError, match="needed"):
        exported.step(*arrays)


class Explosion:
    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return pytest.fail, ("a pickle was loaded",)


@pytest.mark.parametrize("foreign", [b"", b"text", pickle.dumps(Explosion()), b"\0" * 100, b"ORTM" * 50])
def test_other_files_are_refused(foreign: bytes, tmp_path: Path) -> None:
    refused(tmp_path / "policy.onnx", foreign)


def test_no_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing.onnx"):
        with pytest.raises(ValueError, match="cannot be read"):
            load_onnx(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_cut_off_files_are_refused(share: float, tmp_path: Path) -> None:
    refused(tmp_path / "policy.onnx", content()[: int(share * len(content()))])


@settings(max_examples=150)
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_are_refused_in_one_line_or_harmless(changes: list[tuple[float, int]]) -> None:
    changed = bytearray(content())
    for place, byte in changes:
        changed[int(place * len(changed))] = byte
    try:
        exported = read_policy(bytes(changed))
    except ValueError:
        return
    assert exported.step(np.zeros((2, 4), np.float32))[0].shape == (2, 2)


def external(tensor: onnx.TensorProto, victim: Path) -> onnx.TensorProto:
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=str(victim))
    return tensor


def in_weights(model: onnx.ModelProto, victim: Path) -> None:
    external(model.graph.initializer[0], victim)


def in_weights_by_name_alone(model: onnx.ModelProto, victim: Path) -> None:
    model.graph.initializer[0].external_data.add(key="location", value=str(victim))


def in_an_attribute(model: onnx.ModelProto, victim: Path) -> None:
    tensor = external(numpy_helper.from_array(np.zeros(2, np.float32), "t"), victim)
    attribute = onnx.AttributeProto(name="value", type=onnx.AttributeProto.TENSOR, t=tensor)
    model.graph.node[0].attribute.append(attribute)


def in_a_subgraph(model: onnx.ModelProto, victim: Path) -> None:
    tensor = external(numpy_helper.from_array(np.zeros(2, np.float32), "t"), victim)
    inner = helper.make_graph([], "inner", [], [], [tensor])
    model.graph.node[0].attribute.append(helper.make_attribute("body", inner))


def in_a_function(model: onnx.ModelProto, victim: Path) -> None:
    tensor = external(numpy_helper.from_array(np.zeros(2, np.float32), "t"), victim)
    node = helper.make_node("Add", ["a", "a"], ["b"])
    node.attribute.append(onnx.AttributeProto(name="value", type=onnx.AttributeProto.TENSOR, t=tensor))
    model.functions.append(helper.make_function("d", "f", ["a"], ["b"], [node], [helper.make_opsetid("", 18)]))


def in_a_sparse_tensor(model: onnx.ModelProto, victim: Path) -> None:
    values = external(numpy_helper.from_array(np.zeros(2, np.float32), "v"), victim)
    indices = numpy_helper.from_array(np.array([0, 1]), "i")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2]))


def in_training_steps(model: onnx.ModelProto, victim: Path) -> None:
    tensor = external(numpy_helper.from_array(np.zeros(2, np.float32), "t"), victim)
    model.training_info.add().algorithm.initializer.append(tensor)


@pytest.mark.parametrize(
    "plant",
    [
        *(in_weights, in_weights_by_name_alone, in_an_attribute, in_a_subgraph),
        *(in_a_function, in_a_sparse_tensor, in_training_steps),
    ],
)
@pytest.mark.parametrize("place", ["beside", "above", "absolute"])
def test_external_data_are_refused(
    plant: Callable[[onnx.ModelProto, Path], None], place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    monkeypatch.chdir(folder)
    secret = (folder if place == "beside" else tmp_path) / "secret.bin"
    secret.write_bytes(b"\x01" * 10_000)
    named = {"beside": Path("secret.bin"), "above": Path("../secret.bin"), "absolute": secret}[place]
    attacked = model()
    plant(attacked, named)
    assert "names external data" in refused(folder / "policy.onnx", attacked)


@pytest.mark.parametrize("domain", ["com.microsoft", "com.example"])
def test_foreign_operators_are_refused(domain: str, tmp_path: Path) -> None:
    attacked = model()
    attacked.graph.node[0].domain = domain
    attacked.opset_import.append(helper.make_opsetid(domain, 1))
    assert domain in refused(tmp_path / "policy.onnx", attacked)


@pytest.mark.parametrize("operator", ["If", "Loop", "Scan", "ImageDecoder", "RandomNormal"])
def test_operators_of_no_policy_are_refused(operator: str, tmp_path: Path) -> None:
    attacked = model()
    attacked.graph.node[0].op_type = operator
    assert operator in refused(tmp_path / "policy.onnx", attacked)


def test_functions_and_other_operator_versions_are_refused(tmp_path: Path) -> None:
    attacked = model()
    node = helper.make_node("Add", ["a", "a"], ["b"])
    attacked.functions.append(helper.make_function("", "Gemm", ["a"], ["b"], [node], [helper.make_opsetid("", 18)]))
    assert "functions" in refused(tmp_path / "policy.onnx", attacked)
    attacked = model()
    attacked.opset_import[0].version = 12
    assert "12" in refused(tmp_path / "policy.onnx", attacked)


def with_metadata(**changes: str | None) -> onnx.ModelProto:
    changed = model()
    properties = {entry.key: entry.value for entry in changed.metadata_props} | changes
    del changed.metadata_props[:]
    for key, value in properties.items():
        if value is not None:
            changed.metadata_props.add(key=key, value=value)
    return changed


def test_a_file_may_not_name_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted.py").write_text("raise SystemExit('the module was imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    text = refused(tmp_path / "policy.onnx", with_metadata(env=json.dumps("planted:CartPole-v1")))
    assert "module:id is for the command line" in text
    assert "planted" not in sys.modules


BAD_METADATA = {
    "no format": {"format": None},
    "another format": {"format": "someone's policy"},
    "no environment": {"env": None},
    "environment is no text": {"env": "3"},
    "arguments are no table": {"env_arguments": "[1]"},
    "no JSON": {"versions": "{"},
    "a pickle": {"evaluation": pickle.dumps(Explosion(), 0).decode()},
    "a YAML tag": {"env_arguments": "!!python/object/apply:os.abort []"},
    "deep nesting": {"evaluation": "[" * 100_000},
    "specification is no table": {"specification": "[]"},
    "another network": {
        "specification": json.dumps(
            VariedSparsityPolicy(
                spaces.Box(-1, 1, (5,)), spaces.Box(-1, 1, (2,)), lambda _: 1e-3, budget=200
            ).specification.to_dict()
        )
    },
}


@pytest.mark.parametrize("name", BAD_METADATA)
def test_damaged_metadata_are_refused(name: str, tmp_path: Path) -> None:
    refused(tmp_path / "policy.onnx", with_metadata(**BAD_METADATA[name]))


def test_onnxruntime_takes_no_settings_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_LOAD_CONFIG_FROM_MODEL", "1")
    monkeypatch.chdir(tmp_path)
    profile = json.dumps({"session_options": {"enable_profiling": 1}})
    (tmp_path / "policy.onnx").write_bytes(with_metadata(ort_config=profile).SerializeToString())
    load_onnx(tmp_path / "policy.onnx").step(np.zeros((1, 4), np.float32))
    assert [path.name for path in tmp_path.iterdir()] == ["policy.onnx"]


def other_input(changed: onnx.ModelProto) -> None:
    changed.graph.input[0].name = "picture"


def other_width(changed: onnx.ModelProto) -> None:
    changed.graph.input[1].type.tensor_type.shape.dim[1].dim_value += 1


def other_type(changed: onnx.ModelProto) -> None:
    changed.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE


def no_output(changed: onnx.ModelProto) -> None:
    del changed.graph.output[2]


def fixed_batch(changed: onnx.ModelProto) -> None:
    changed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def no_weights(changed: onnx.ModelProto) -> None:
    del changed.graph.initializer[:]


def other_weights(changed: onnx.ModelProto) -> None:
    for tensor in changed.graph.initializer:
        tensor.dims.insert(0, 7)


@pytest.mark.parametrize(
    "change", [other_input, other_width, other_type, no_output, fixed_batch, no_weights, other_weights]
)
def test_other_graphs_are_refused(change: Callable[[onnx.ModelProto], None], tmp_path: Path) -> None:
    changed = model()
    change(changed)
    refused(tmp_path / "policy.onnx", changed)


def test_arguments_that_are_no_literals_are_refused() -> None:
    with pytest.raises(ValueError, match="environment's arguments"):
        dataclasses.replace(metadata_of(policy()), env_arguments={"x": np.float32(1)}).to_properties()
