"""Tasks of text: demonstrations, what is scored, questions, and what is said of bad files."""

import gzip
import json
from pathlib import Path

import pytest
import torch

from iclkit.api import Key

TASKS = Path(__file__).parents[1] / "data" / "tasks.jsonl"


def told(tokens):
    return bytes(tokens).decode()


def test_tasks_are_topics_in_their_order(kit):
    part = kit.component("text-tasks", path=TASKS)
    assert part.facts.topics.weights == (1 / 3,) * 3
    assert (part.facts.space.size, part.facts.references) == (256, ())
    source = part.build()
    batch = kit.draw(source, kit.topics_of(source, [1, 2, 3]), [0, 1, 2], 24)
    assert told(batch.tokens[0].tolist()).split("\n")[0] in {"3 - 5 negative", "4 - 1 positive"}
    assert told(batch.tokens[2].tolist()) == ("rose plant\n" * 3)[:24]


def test_sequences_are_demonstrations_of_shown_lines_and_labels_are_scored(kit):
    source = kit.make("text-tasks", path=TASKS)
    batch = kit.draw(source, kit.topics_of(source, [2]), [0] * 50, 120)
    shown = {"ant small", "elephant very big", "horse big"}
    found = {line for row in batch.tokens.tolist() for line in told(row).split("\n")[:-1]}
    assert found == shown
    label = [told(row[mask].tolist()) for row, mask in zip(batch.tokens, batch.mask, strict=True)]
    whole = [[line.split(" ", 1)[1] for line in told(row).split("\n")[:-1]] for row in batch.tokens.tolist()]
    assert all(scored.startswith("".join(labels)) for scored, labels in zip(label, whole, strict=True))
    everything = kit.make("text-tasks", path=TASKS, targets="all")
    again = kit.draw(everything, kit.topics_of(everything, [2]), [0] * 50, 120)
    assert again.mask.all()
    assert torch.equal(again.tokens, batch.tokens)
    shorter = kit.draw(source, kit.topics_of(source, [2]), [0] * 50, 31)
    assert torch.equal(shorter.tokens, batch.tokens[:, :31])


def test_questions_ask_what_is_never_shown(kit):
    source = kit.make("text-tasks", path=TASKS, input_end=": ", label_end=";")
    topics = kit.topics_of(source, [2, 3])
    asked = source.questions(topics, 2, 4, Key.root(0))
    assert len(asked) == 4
    assert asked.question.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
    rows = [told(row[:length].tolist()) for row, length in zip(asked.batch.tokens, asked.length, strict=True)]
    assert [row.split(";")[-1] for row in rows[:5]] == [
        "fly: small",
        "fly: big",
        "fly: very big",
        "wolf: plant",
        "wolf: animal",
    ]
    assert asked.right.tolist()[:5] == [True, False, False, False, True]
    options = [told(row[mask].tolist()) for row, mask in zip(asked.batch.tokens, asked.batch.mask, strict=True)]
    assert options[:5] == ["small", "big", "very big", "plant", "animal"]
    assert all(len(row.split(";")) == 3 for row in rows)
    fewer = source.questions(topics, 1, 4, Key.root(0))
    one = [told(row[:length].tolist()) for row, length in zip(fewer.batch.tokens, fewer.length, strict=True)]
    assert all(row.endswith(less) for row, less in zip(rows, one, strict=True))
    none = source.questions(topics, 0, 4, Key.root(0))
    assert told(none.batch.tokens[0, : none.length[0]].tolist()) == "fly: small"


def test_a_folder_and_compressed_files(kit, tmp_path):
    line = {"input": "a", "label": "b", "options": ["b", "c"]}
    (tmp_path / "one.jsonl").write_text(f"{json.dumps(line)}\n" * 3)
    (tmp_path / "two.jsonl.gz").write_bytes(gzip.compress(f"{json.dumps(line)}\n\n".encode() * 2))
    part = kit.component("text-tasks", path=tmp_path)
    assert len(part.facts.topics.weights) == 2
    assert not kit.problems("text-tasks", path=tmp_path)


@pytest.mark.parametrize(
    ("content", "fields", "key", "text"),
    [
        (None, {}, "path", "does not exist"),
        ("", {}, "path", "has no line in it"),
        ("x", {}, "path", "line 1: not valid JSON"),
        ('{"input": "a", "label": "b"}', {}, "path", "line 1: expected {"),
        ('{"input": "a", "label": "d", "options": ["b", "c"]}', {}, "path", "label among the options"),
        ('{"input": "a", "label": "b", "options": ["b"]}', {}, "path", "line 1: expected {"),
        ('{"task": 3, "input": "a", "label": "b", "options": ["b", "c"]}', {}, "path", "line 1: expected {"),
        (
            '{"input": "a", "label": "b", "options": ["b", "c"]}',
            {},
            "queries",
            "task a has 1 lines, none would be left",
        ),
        ('{"input": "a", "label": "b", "options": ["b", "c"]}\n' * 3, {"queries": 3}, "queries", "at most 2"),
    ],
)
def test_problems_name_the_field(kit, tmp_path, content, fields, key, text):
    file = tmp_path / "a.jsonl"
    if content is not None:
        file.write_text(content)
    assert text in kit.problems("text-tasks", path=file, **fields)[key]
