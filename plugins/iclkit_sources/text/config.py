"""The keys of real text, and what can be said of it without building it."""

from collections.abc import Iterator
from typing import Literal

from attrs import frozen

from iclkit.api import Categorical, ConfigPath, Facts, Listed, SourceSpec, option
from iclkit_sources.checks import Problem
from iclkit_sources.text import corpus
from iclkit_sources.text.corpus import CorpusError


@frozen(kw_only=True)
class Text:
    """Real text from local files: .txt and .jsonl, each also as .gz. Bytes, or the tokens of a tokenizer.

    A topic's files, in the order of their names, are cut into windows of `window` tokens; what is left over at the end
    is not used. A sequence is the beginning of a window: its number is the window's place in a shuffled order that
    depends on nothing but the number of windows. Nobody knows the truth about real text, so there are no references.
    """

    path: ConfigPath = option("the file, or the folder of files, relative to the config")
    topic: Literal["folder", "file"] = option(
        "what a topic is: every file below path, or every folder directly in it", default="file"
    )
    field: str = option("the field of each line's object that holds the text (.jsonl)", default="text")
    tokenizer: ConfigPath | None = option(
        "a tokenizer file of the tokenizers library (tokenizer.json); bytes if absent", default=None
    )
    window: int = option("tokens per window, the longest that a sequence can be", default=256, at_least=1)

    def problems(self) -> Iterator[Problem]:
        """Yield what single fields cannot know; reads the files where their tokens cannot be counted by their size."""
        try:
            for topic in corpus.topics(self):
                tokens = corpus.count(self, topic)
                if tokens < self.window:
                    text = f"topic {topic.name} has {tokens} tokens, fewer than one window of {self.window}"
                    yield "window", f"{text}; allowed here: at most {tokens}"
        except CorpusError as error:
            yield error.key, error.message


def text_facts(config: Text) -> Facts:
    """As many listed topics as files or folders, of equal weight; as many sequences as the shortest has windows."""
    found = corpus.topics(config)
    return Facts(
        space=Categorical(corpus.vocabulary(config.tokenizer)),
        topics=Listed(weights=(1 / len(found),) * len(found)),
        references=(),
        sequences_limit=min(corpus.count(config, topic) for topic in found) // config.window,
        length_limit=config.window,
    )


SPECS = (
    SourceSpec(
        name="text",
        summary="Real text from local files, by bytes or by tokens; no exact floor.",
        config=Text,
        build="iclkit_sources.text.source:build",
        facts=text_facts,
    ),
)
