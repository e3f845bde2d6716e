"""The keys of tasks of text, and what can be said of them without building them."""

from collections.abc import Iterator
from typing import Literal

from attrs import frozen

from iclkit.api import Categorical, ConfigPath, Facts, Listed, SourceSpec, option
from iclkit_sources.checks import Problem
from iclkit_sources.tasks import files
from iclkit_sources.text import corpus
from iclkit_sources.text.corpus import CorpusError


@frozen(kw_only=True)
class TextTasks:
    """Tasks from .jsonl files, also as .gz: a line is {"input": text, "label": text, "options": [text, ...]}.

    A line with a field "task" belongs to the task of that name, another one to the task its file is named after. A
    topic is a task, numbered in the order in which they come. A sequence shows demonstrations of one task - input,
    `input_end`, label, `label_end` - drawn at random one after another until it is full. The last `queries` of a task's
    lines are never shown; they are what the metric option-accuracy asks. There are no references.
    """

    path: ConfigPath = option("the .jsonl file, or the folder of files, relative to the config")
    tokenizer: ConfigPath | None = option(
        "a tokenizer file of the tokenizers library (tokenizer.json); bytes if absent", default=None
    )
    input_end: str = option("what stands between an input and its label", default=" ")
    label_end: str = option("what follows a label", default="\n")
    queries: int = option("lines of each task, its last ones, that are asked and never shown", default=1, at_least=1)
    targets: Literal["labels", "all"] = option("the tokens that are trained on and scored", default="labels")

    def problems(self) -> Iterator[Problem]:
        """Yield what single fields cannot know; reads the files."""
        try:
            for task in files.tasks(self.path):
                if len(task.lines) <= self.queries:
                    text = f"task {task.name} has {len(task.lines)} lines, none would be left to be shown"
                    yield "queries", f"{text}; allowed here: at most {len(task.lines) - 1}"
            corpus.vocabulary(self.tokenizer)
            files.encoder(self)("")
        except CorpusError as error:
            yield error.key, error.message


def text_tasks_facts(config: TextTasks) -> Facts:
    """As many listed topics as tasks, of equal weight."""
    count = len(files.tasks(config.path))
    return Facts(
        space=Categorical(corpus.vocabulary(config.tokenizer)),
        topics=Listed(weights=(1 / count,) * count),
        references=(),
    )


SPECS = (
    SourceSpec(
        name="text-tasks",
        summary="Tasks of text with labels to choose from: demonstrations one after another; no exact floor.",
        config=TextTasks,
        build="iclkit_sources.tasks.source:build",
        facts=text_tasks_facts,
    ),
)
