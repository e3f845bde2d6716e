"""A causal language model class of transformers as a model here.

Where the source has V outcomes the class has a vocabulary of V + 1: index V is the begin token, and its logit is cut
off. Weights are drawn by transformers from torch's generator, which the core has seeded.
"""

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import safetensors.torch
import torch
from attrs import evolve
from torch import Tensor, nn

from iclkit.api import Categorical, ConfigError, Problem, Space
from iclkit_hf.plugin import NEEDED, CausalLMConfig

try:
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as _CLASSES
except ImportError as error:
    raise ConfigError([Problem("model.kind", f"{NEEDED} ({error})")]) from None

_POSITIONS = "max_position_embeddings"
_OF_THE_MACHINE = ("_name_or_path", "architectures", "dtype", "model_type", "torch_dtype", "transformers_version")
_CHECKED = 8  # inputs


class CausalLM(nn.Module):
    """Predict the token after each input.

    `taps` names the class's layers, whose outputs are the residual stream (B, T, C).

    Parameters
    ----------
    config : which class, and its settings.
    space : what a token is; categorical.
    context : the longest input T, also the class's number of positions unless its settings give one.

    Raises ConfigError where transformers has no such class, where it refuses its settings, and where what it computes
    depends on later inputs.

    """

    def __init__(self, config: CausalLMConfig, space: Space, context: int):
        super().__init__()
        self.context, self.outcomes = context, _outcomes(space)
        with _quiet():
            self.model = _drawn(config, space, context) if config.pretrained is None else _read(config, space, context)
            self.taps = _layers(self.model)
            self.check()

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs, int64 (B, T), to logits (B, T, V). Raises ValueError where T is longer than the context."""
        if inputs.shape[1] > self.context:
            raise ValueError(f"{inputs.shape[1]} inputs are longer than the model's context, {self.context}")
        return self.model(input_ids=inputs, use_cache=False).logits[..., : self.outcomes]

    @torch.no_grad()
    def check(self) -> None:
        """Raise ConfigError if what is predicted depends on a later input, or if the class cannot compute it."""
        name, training = type(self.model).__name__, self.training
        inputs = torch.zeros(2, min(self.context, _CHECKED), dtype=torch.int64)
        inputs[1, -1] = self.outcomes
        with _refusing(name):
            one, other = self.eval()(inputs)
        self.train(training)
        if not torch.allclose(one[:-1], other[:-1], rtol=0, atol=1e-6 * float(one.abs().max())):
            text = f"{name} looks at later tokens under these settings; where it can be a decoder, give is_decoder"
            raise _problem("settings", text)


def _outcomes(space: Space) -> int:
    if not isinstance(space, Categorical):
        text = "models of transformers read tokens of a vocabulary, and the source's are real; choose another kind"
        raise _problem("kind", text)
    return space.size


def _drawn(config: CausalLMConfig, space: Space, context: int) -> Any:
    """Return a model of the class with new weights."""
    settings = _settings(config, space, context)
    with _refusing(type(settings).__name__):
        return _class(config)(settings)


def _settings(config: CausalLMConfig, space: Space, context: int) -> Any:
    """Return the class's own config object: its settings, and what follows from the space and the context."""
    kind = _class(config).config_class
    with _refusing(kind.__name__):
        known = kind().to_dict().keys() - set(_OF_THE_MACHINE) | kind.attribute_map.keys()
    for key in config.settings:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise _problem(f"settings.{key}", f"no setting of {kind.__name__}{_hint(near)}")
    other = kind.attribute_map.get(_POSITIONS, _POSITIONS)
    derived = _vocabulary(space)
    if other in known and not {other, _POSITIONS} & config.settings.keys():
        derived[other] = context
    with _refusing(kind.__name__):
        made = kind(**config.settings, **derived)
    _refuse_too_short(made, context, f"settings.{other}")
    return made


def _class(config: CausalLMConfig) -> Any:
    """Return the class that is named; raises ConfigError with the nearest name if there is none."""
    names = set(_CLASSES.values())
    if config.architecture not in names:
        near = difflib.get_close_matches(str(config.architecture), names, n=1)
        text = f"transformers {transformers.__version__} has no causal language model {config.architecture}"
        raise _problem("architecture", text + _hint(near))
    return getattr(transformers, str(config.architecture))


def _read(config: CausalLMConfig, space: Space, context: int) -> Any:
    """Return the model of a folder; embeddings are cut to V + 1 rows, or drawn where there are fewer.

    Weights are read as float32, from safetensors alone.
    """
    with _refusing(str(config.pretrained), "pretrained"):
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            config.pretrained, local_files_only=True, use_safetensors=True, output_loading_info=True, **config.settings
        )
    if report["missing_keys"]:
        raise _problem("pretrained", f"{config.pretrained} holds no weights for {min(report['missing_keys'])}")
    _refuse_too_short(model.config, context, "pretrained")
    vocabulary = _vocabulary(space)
    model.resize_token_embeddings(vocabulary["vocab_size"], mean_resizing=False)
    for key, value in vocabulary.items():
        setattr(model.config, key, value)
    return model.float()


def _vocabulary(space: Space) -> dict[str, Any]:
    """Return the settings that follow from V outcomes and a begin token; nothing is padding."""
    size = _outcomes(space)
    return {"vocab_size": size + 1, "bos_token_id": size, "eos_token_id": size, "pad_token_id": None}


def _refuse_too_short(settings: Any, context: int, key: str) -> None:
    positions = getattr(settings, _POSITIONS, None)
    if isinstance(positions, int) and positions < context:
        raise _problem(key, f"{positions} positions are fewer than the context of {context} tokens")


def _layers(model: Any) -> dict[str, str]:
    """Return {layer_1: path, ...} of the list of layers; empty where there is none of the number in the config."""
    count = getattr(model.config, "num_hidden_layers", None)
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return {f"layer_{i + 1}": f"model.{path}.{i}" for i in range(count)}
    return {}


def without_folder(config: CausalLMConfig) -> CausalLMConfig:
    """Return a config that gives the architecture of a pretrained one, without its weights."""
    if config.pretrained is None:
        return config
    with _quiet(), _refusing(str(config.pretrained), "pretrained"):
        settings = transformers.AutoConfig.from_pretrained(config.pretrained, local_files_only=True, **config.settings)
    left_out = {*_vocabulary(Categorical(1)), *_OF_THE_MACHINE}
    kept = {key: value for key, value in settings.to_diff_dict().items() if key not in left_out}
    return evolve(config, architecture=_CLASSES[settings.model_type], settings=kept, pretrained=None)


def exports(config: CausalLMConfig, space: Space, context: int, weights: Mapping[str, Tensor]) -> dict[str, bytes]:
    """Return the files of a folder `transformers` that the class's from_pretrained opens."""
    config = without_folder(config)
    settings = _settings(config, space, context)
    settings.architectures = [config.architecture]
    theirs = {name.removeprefix("model."): value for name, value in weights.items()}
    return {
        "transformers/config.json": settings.to_json_string(use_diff=True).encode(),
        "transformers/model.safetensors": safetensors.torch.save(theirs, metadata={"format": "pt"}),
    }


@contextmanager
def _refusing(what: str, key: str = "settings") -> Iterator[None]:
    """Turn whatever transformers raises into one line."""
    try:
        yield
    except Exception as error:
        raise _problem(key, f"{what}: {' '.join(str(error).split()) or type(error).__name__}") from error


def _problem(key: str, text: str) -> ConfigError:
    return ConfigError([Problem(f"model.{key}", text)])


def _hint(near: list[str]) -> str:
    return f' (did you mean "{near[0]}"?)' if near else ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from writing progress and advice over ours."""
    logging = transformers.utils.logging
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
