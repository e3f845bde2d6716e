"""Hooks of the models of transformers, and what can be said to them; transformers is not imported here."""

import importlib.util
from collections.abc import Iterator

from iclkit.api import ConfigPath, ModelSpec, Table, frozen, hookimpl, option

NEEDED = "needs the transformers library; install iclkit[hf]"

_DERIVED = ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")


@frozen(kw_only=True)
class CausalLMConfig:
    """A causal language model class of transformers, drawn anew from its config or started from saved weights."""

    architecture: str | None = option(
        "a class of transformers, such as LlamaForCausalLM; needed unless pretrained is given",
        default=None,
        sample="LlamaForCausalLM",
    )
    settings: Table = option(
        "what its config class is told, such as { hidden_size = 64, num_hidden_layers = 2 }; its defaults are large",
        default={},
    )
    pretrained: ConfigPath | None = option(
        "a folder of save_pretrained with config.json and safetensors, to start from", default=None
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what single fields cannot know, and that transformers is missing."""
        if importlib.util.find_spec("transformers") is None:
            yield "kind", NEEDED
        if self.architecture is None and self.pretrained is None:
            yield "architecture", "missing; a class of transformers such as LlamaForCausalLM, or give pretrained"
        if self.architecture is not None and self.pretrained is not None:
            yield "architecture", "told by the folder of pretrained; leave one of them out"
        if self.pretrained is not None and not (self.pretrained / "config.json").is_file():
            yield "pretrained", f"{self.pretrained} is no folder with a config.json, as save_pretrained writes it"
        for key in _DERIVED:
            if key in self.settings:
                yield f"settings.{key}", "follows from the source's vocabulary; leave it out"


@hookimpl
def iclkit_models() -> Iterator[ModelSpec]:
    """Yield the one kind that stands for all classes."""
    yield ModelSpec(
        name="hf",
        summary="Any causal language model class of transformers, from its config (extra: hf).",
        config=CausalLMConfig,
        build="iclkit_hf.causal_lm:CausalLM",
        portable="iclkit_hf.causal_lm:without_folder",
        exports="iclkit_hf.causal_lm:exports",
    )
