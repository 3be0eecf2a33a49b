import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from robolearn.deploy import onnx_file
from robolearn.deploy.onnx_file import PolicyFileError, join, split, unseal


def model():
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "g", [value("x", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT, [1])],
    )  # fmt: skip
    return helper.make_model(graph).SerializeToString()


texts = st.dictionaries(st.text(max_size=20), st.text(max_size=400), max_size=5)


@given(texts)
def test_the_onnx_package_reads_what_we_write(metadata):
    loaded = onnx.load_from_string(join(model(), metadata))
    found = {entry.key: entry.value for entry in loaded.metadata_props}
    assert found.pop(onnx_file.SEAL)
    assert found == {key: value for key, value in metadata.items() if key != onnx_file.SEAL}
    onnx.checker.check_model(loaded)


@given(texts)
def test_we_read_what_the_onnx_package_writes(metadata):
    proto = onnx.load_from_string(model())
    helper.set_model_props(proto, metadata)
    bare, found = split(proto.SerializeToString())
    assert bare == model()
    assert found == metadata


@given(st.data())
def test_every_changed_or_missing_byte_breaks_the_seal(data):
    file = bytearray(join(model(), {"a": "1", "b": "two"}))
    place = data.draw(st.integers(0, len(file) - 1))
    if data.draw(st.booleans()):
        file[place] ^= data.draw(st.integers(1, 255))
    else:
        del file[place:]
    with pytest.raises(PolicyFileError):
        unseal(bytes(file))


def test_the_seal_covers_every_metadata_entry():
    bare = model()
    whole = join(bare, {"a": "1", "b": "2"})
    _, metadata = unseal(whole)
    for changed in ({**metadata, "a": "2"}, {**metadata, "c": "3"}, {k: v for k, v in metadata.items() if k != "b"}):
        tampered = bare + b"".join(
            onnx_file._field(14, onnx_file._field(1, k.encode()) + onnx_file._field(2, v.encode()))
            for k, v in changed.items()
        )
        with pytest.raises(PolicyFileError, match="edited or damaged"):
            unseal(tampered)


@given(st.binary(max_size=200))
def test_garbage_is_refused_in_one_line(data):
    with pytest.raises(PolicyFileError) as error:
        unseal(data)
    assert "\n" not in str(error.value)


def test_a_key_that_occurs_twice_is_refused():
    entry = onnx_file._field(14, onnx_file._field(1, b"k") + onnx_file._field(2, b"v"))
    with pytest.raises(PolicyFileError, match="'k' occurs twice"):
        split(model() + entry + entry)


@pytest.mark.parametrize(("content", "message"), [(None, "cannot be read"), (b"", "is empty")])
def test_missing_and_empty_files(tmp_path, content, message):
    path = tmp_path / "p.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PolicyFileError, match=message):
        onnx_file.read_file(path)


def test_writing_replaces_the_file_in_one_step(tmp_path):
    path = tmp_path / "p.onnx"
    onnx_file.write_file(path, b"one")
    onnx_file.write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]
