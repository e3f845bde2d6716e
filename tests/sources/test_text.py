"""Real text: windows, files, tokenizers, and what is said of bad ones."""

import array
import gzip
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from iclkit_sources.text import corpus

CORPUS = Path(__file__).parents[1] / "data" / "text"


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    place = tmp_path / "cache"
    monkeypatch.setenv("ICLKIT_CACHE", str(place))
    return place


@pytest.fixture
def folder(tmp_path):
    """Four ways to store the same text of two documents."""
    place = tmp_path / "texts"
    place.mkdir()
    documents = ["The first, in ASCII.", "Das zweite: größer."]
    plain = "".join(f"{document}\n" for document in documents).encode()
    lines = "".join(json.dumps({"text": document, "n": 1}) + "\n" for document in documents).encode()
    (place / "a.txt").write_bytes(plain)
    (place / "b.txt.gz").write_bytes(gzip.compress(plain))
    (place / "c.jsonl").write_bytes(lines)
    (place / "d.jsonl.gz").write_bytes(gzip.compress(lines + b"\n"))
    (place / "notes.md").write_bytes(b"not text")
    (place / ".hidden.txt").write_bytes(b"hidden")
    return place, plain


def sequences(kit, source, topic, number, length):
    topics = kit.topics_of(source, [topic])
    return kit.draw(source, topics, [0] * len(number), length, number=number).tokens.numpy()


def test_the_shipped_corpus(kit):
    part = kit.component("text", path=CORPUS, topic="folder", window=64)
    assert [topic.name for topic in corpus.topics(part.config)] == ["debugger", "language", "licence"]
    facts = part.facts
    assert (facts.space.size, facts.references, facts.length_limit) == (256, (), 64)
    assert facts.topics.weights == (1 / 3,) * 3
    assert facts.sequences_limit == (CORPUS / "licence/LICENSE.txt").stat().st_size // 64
    assert kit.component("text", path=CORPUS).facts.topics.weights == (1 / 4,) * 4


def test_windows_are_disjoint_and_are_the_text(kit, cache):
    source = kit.make("text", path=CORPUS, topic="folder", window=64)
    content = b"".join(path.read_bytes() for path in sorted((CORPUS / "language").iterdir()))
    count = len(content) // 64
    found = sequences(kit, source, 2, range(1, count + 1), 64).astype(np.uint8)
    windows = [content[start : start + 64] for start in range(0, count * 64, 64)]
    read = [row.tobytes() for row in found]
    assert read != windows
    assert sorted(read) == sorted(windows)
    assert len(list((cache / "text").iterdir())) == 1  # topics of one plain file are read where they lie
    np.testing.assert_array_equal(sequences(kit, source, 2, [5, 3], 10), found[[4, 2], :10])


def test_all_formats_hold_the_same_bytes(kit, folder):
    place, plain = folder
    source = kit.make("text", path=place, window=len(plain))
    for topic in (1, 2, 3, 4):
        assert sequences(kit, source, topic, [1], len(plain))[0].astype(np.uint8).tobytes() == plain
    alone = kit.component("text", path=place / "b.txt.gz", window=10)
    assert alone.facts.sequences_limit == len(plain) // 10


def test_order_depends_on_nothing_but_the_count(kit):
    source = kit.make("text", path=CORPUS, topic="folder", window=64)
    topics = [kit.topics_of(source, [1], seed) for seed in (0, 1)]
    before = torch.get_rng_state()
    one, other = (kit.draw(source, each, [0] * 20, 64, seed=seed) for seed, each in enumerate(topics))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.tokens, other.tokens)


def test_addresses_beyond_the_text_are_refused(kit):
    part = kit.component("text", path=CORPUS, topic="folder", window=64)
    source, limit = part.build(), part.facts.sequences_limit
    assert len(sequences(kit, source, 3, [limit], 64)) == 1
    for number in (0, limit + 1):
        with pytest.raises(ValueError, match=f"topic 3 has sequences 1 to {limit} only"):
            sequences(kit, source, 3, [number], 64)
    with pytest.raises(ValueError, match="65 tokens are longer than a window of 64"):
        sequences(kit, source, 3, [1], 65)


def test_a_changed_file_is_read_anew(kit, tmp_path):
    file = tmp_path / "a.jsonl"
    for text in ("one text", "another"):
        file.write_text(json.dumps({"text": text}) + "\n")
        part = kit.component("text", path=file, window=4)
        assert (
            sequences(kit, part.build(), 1, range(1, part.facts.sequences_limit + 1), 4).size
            == part.facts.sequences_limit * 4
        )
        assert corpus.count(part.config, corpus.topics(part.config)[0]) == len(text) + 1


def test_a_failed_write_leaves_nothing(tmp_path, cache, kit):
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"text": "fine"}\n{"text": "\xff"}\n')
    assert kit.problems("text", path=file)
    assert list((cache / "text").iterdir()) == []


@pytest.fixture
def words(monkeypatch, tmp_path):
    """A tokenizer file of 300 words, and a stand-in for the library that counts how often it is used."""
    file = tmp_path / "tokenizer.json"
    vocabulary = {"a": 0, "b": 1, "big": 299}
    file.write_text(json.dumps({"model": {"vocab": vocabulary}, "added_tokens": [{"id": 300, "content": "<x>"}]}))
    calls = []

    def encode(text, add_special_tokens):
        assert not add_special_tokens
        calls.append(text)
        return SimpleNamespace(ids=[vocabulary[word] for word in text.split()])

    library = ModuleType("tokenizers")
    library.Tokenizer = SimpleNamespace(from_file=lambda name: SimpleNamespace(encode=encode))
    monkeypatch.setitem(sys.modules, "tokenizers", library)
    return file, calls


def test_tokens_of_a_tokenizer(kit, tmp_path, words):
    tokenizer, calls = words
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps({"body": text}) + "\n" for text in ("a big b", "b b")))
    part = kit.component("text", path=file, tokenizer=tokenizer, field="body", window=5)
    assert (part.facts.space.size, part.facts.sequences_limit) == (301, 1)
    assert sequences(kit, part.build(), 1, [1], 5).tolist() == [[0, 299, 1, 1, 1]]
    assert calls == ["a big b", "b b"]
    assert (
        corpus.tokens(part.config, corpus.topics(part.config)[0]).read_bytes()
        == array.array("H", [0, 299, 1, 1, 1]).tobytes()
    )


def test_a_real_tokenizer(kit, tmp_path):
    library = pytest.importorskip("tokenizers")
    models = pytest.importorskip("tokenizers.models")
    tokenizer = library.Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = library.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "a.txt").write_text("a b c a")
    part = kit.component("text", path=tmp_path / "a.txt", tokenizer=tmp_path / "tokenizer.json", window=4)
    assert sequences(kit, part.build(), 1, [1], 4).tolist() == [[0, 1, 2, 0]]


def test_without_the_library_a_tokenizer_is_refused(kit, tmp_path, words, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    (tmp_path / "a.txt").write_text("a b")
    found = kit.problems("text", path=tmp_path / "a.txt", tokenizer=words[0], window=1)
    assert "needs the tokenizers library" in found["tokenizer"]


def test_invalid_utf8_names_the_file_and_the_byte(kit, tmp_path, words):
    good = "größer, ".encode() * 3
    (tmp_path / "a.txt").write_bytes(good + b"\xe4 end")
    found = kit.problems("text", path=tmp_path / "a.txt", tokenizer=words[0], window=1)["path"]
    assert f"{tmp_path / 'a.txt'}: invalid UTF-8 at byte {len(good)}" in found
    assert "allowed: UTF-8, or .txt by bytes" in found
    assert not kit.problems("text", path=tmp_path / "a.txt", window=1)
    line = b'{"text": "fine"}\n'
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(line + b'{"text": "\xff"}\n'))
    found = kit.problems("text", path=tmp_path / "b.jsonl.gz", window=1)["path"]
    assert f"invalid UTF-8 at byte {len(line) + 10} of the unpacked file" in found


@pytest.mark.parametrize(
    ("files", "fields", "key", "text"),
    [
        ({}, {}, "path", "has no text in it; allowed: a folder with files of .txt, .jsonl"),
        ({"a.md": b"x"}, {}, "path", "has no text in it"),
        ({"a.txt": b"x"}, {"path": "none"}, "path", "does not exist"),
        ({"a.md": b"x"}, {"path": "a.md"}, "path", "is not text; allowed: .txt"),
        ({"a.txt": b"x"}, {"path": "a.txt", "topic": "folder"}, "topic", "needs a folder of folders"),
        ({"a.txt": b"x", "b/c.txt": b"x"}, {"topic": "folder"}, "path", "files beside its folders (a.txt)"),
        ({"a.txt": b"xyz"}, {"window": 4}, "window", "topic a.txt has 3 tokens, fewer than one window of 4"),
        ({"a.txt": b""}, {"window": 1}, "window", "has 0 tokens"),
        ({"a.jsonl": b"x\n"}, {"window": 1}, "path", "a.jsonl, line 1: not valid JSON"),
        ({"a.jsonl": b'\n{"b": 1}\n'}, {}, "field", 'a.jsonl, line 2: no text in a field "text"; there are: b'),
        ({"a.jsonl": b"3\n"}, {}, "field", "there are: no object"),
        ({"a.txt.gz": b"plain"}, {}, "path", "a.txt.gz is not a whole gzip file"),
        ({"a.txt.gz": gzip.compress(b"plain" * 99)[:-9]}, {}, "path", "is not a whole gzip file"),
        ({"a.txt": b"x", "t": b"{}"}, {"path": "a.txt", "tokenizer": "t"}, "tokenizer", "is not a tokenizer file"),
        ({"a.txt": b"x"}, {"path": "a.txt", "tokenizer": "t"}, "tokenizer", "cannot be read: No such file"),
    ],
)
def test_problems_name_the_field(kit, tmp_path, files, fields, key, text):
    for name, content in files.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    (tmp_path / "in").mkdir(exist_ok=True)
    fields = {"path": "."} | fields
    fields |= {name: tmp_path / "in" / fields[name] for name in ("path", "tokenizer") if name in fields}
    assert text in kit.problems("text", **fields)[key]


def test_structureless_sequences_among_text(kit):
    inner = kit.component("text", path=CORPUS, topic="folder", window=64)
    part = kit.component("violations", source=inner, structureless=0.5, skew=1.0)
    assert (part.facts.references, part.facts.sequences_limit) == ((), inner.facts.sequences_limit)
    rows = sequences(kit, part.build(), 1, range(1, 101), 64)
    share = (rows > 127).any(1).mean()
    assert share == pytest.approx(0.5, abs=0.15)
    assert "would let evaluation repeat" in kit.problems("violations", source=inner, duplicates=0.1)["duplicates"]
