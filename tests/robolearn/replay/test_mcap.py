"""Reading mcap files from front to back: whole ones, ones that break off anywhere, damaged ones, foreign ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer

from robolearn.replay.mcap import BagError, read_mcap

from .stage import TEXT, TYPES

COUNT = 40


def text(i):
    return bytes(TYPES.serialize_cdr(TYPES.types[TEXT](data=f"message {i}"), TEXT))


def write(folder, compressed=False):
    writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
    if compressed:
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        one = writer.add_connection("/one", TEXT, typestore=TYPES)
        two = writer.add_connection("/two", TEXT, typestore=TYPES)
        for i in range(COUNT):
            writer.write(one if i % 2 == 0 else two, 1000 + i, text(i))
            if i % 10 == 9 and not compressed:
                writer.storage.close_chunk()
    return next(folder.glob("*.mcap"))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write(tmp_path_factory.mktemp("bag") / "bag")


def numbers(found):
    """The numbers of all messages that were found, in order."""
    pairs = [pair for stream in found.streams.values() for pair in zip(stream.stamps, stream.messages, strict=True)]
    pairs.sort(key=lambda pair: pair[0])
    for stamp, message in pairs:
        assert bytes(message) == text(stamp - 1000)
    return [stamp - 1000 for stamp, _ in pairs]


def test_a_whole_file_is_read_as_others_read_it(file):
    found = read_mcap(file)
    assert found.complete
    assert numbers(found) == list(range(COUNT))
    assert {topic: stream.kind for topic, stream in found.streams.items()} == {"/one": TEXT, "/two": TEXT}
    with Reader(file) as reader:
        theirs = [(c.topic, stamp, bytes(data)) for c, stamp, data in reader.messages(reader.connections)]
    ours = [
        (topic, stamp, bytes(message))
        for topic, stream in found.streams.items()
        for stamp, message in zip(stream.stamps, stream.messages, strict=True)
    ]
    assert sorted(theirs) == sorted(ours)


@given(data=st.data())
def test_a_file_that_breaks_off_gives_what_is_there(file, tmp_path_factory, data):
    """At whatever byte: a prefix of the messages, each of them whole; nothing is made up."""
    whole = file.read_bytes()
    cut = data.draw(st.integers(8, len(whole) - 1))
    short = tmp_path_factory.mktemp("cut") / "x.mcap"
    short.write_bytes(whole[:cut])
    found = read_mcap(short)
    seen = numbers(found)
    assert seen == list(range(len(seen)))
    assert not found.complete or len(seen) == COUNT
    assert len(seen) >= whole[:cut].count(b"message ") - 1  # also those of a chunk that was not finished


@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(file, tmp_path_factory, data):
    changed = bytearray(file.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(changed) - 1), min_size=1, max_size=20)):
        changed[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "x.mcap"
    path.write_bytes(changed)
    try:
        read_mcap(path)
    except BagError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize(("content", "words"), [(b"", "empty"), (b"x" * 100, "no mcap file"), (bytes(50), "no mcap")])
def test_what_is_no_mcap_file_is_refused(tmp_path, content, words):
    path = tmp_path / "x.mcap"
    path.write_bytes(content)
    with pytest.raises(BagError, match=words):
        read_mcap(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BagError, match="No such file"):
        read_mcap(tmp_path / "x.mcap")


def test_a_compressed_file_is_refused(tmp_path):
    with pytest.raises(BagError, match="compressed with zstd"):
        read_mcap(write(tmp_path / "bag", compressed=True))
