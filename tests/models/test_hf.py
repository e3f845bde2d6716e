"""Models of transformers are models here: causal, seeded, trained and taken out like any other."""

import importlib
import shutil
import subprocess
import sys
from datetime import date

import pytest
import torch

import iclkit
from iclkit import export, plan, plugins
from iclkit.api import Categorical, ConfigError, Drawn, Facts, NotApplicable, Real, TensorTopics, activations
from iclkit.heads import ModulePredictor
from iclkit.modules import build_module
from iclkit.protocols import Batch
from iclkit.snapshots import TrainingFolder
from iclkit.train import TrainingJob
from iclkit_hf.plugin import CausalLMConfig, iclkit_models

transformers = pytest.importorskip("transformers")
transformers.utils.logging.disable_progress_bar()

V, T, C = 5, 7, 16
TOKENS = Categorical(V)
SIZES = {"hidden_size": C, "num_hidden_layers": 2, "num_attention_heads": 2}
SETTINGS = {
    "GPT2LMHeadModel": SIZES,
    "GPTNeoXForCausalLM": SIZES | {"intermediate_size": 32},
    "LlamaForCausalLM": SIZES | {"intermediate_size": 32, "num_key_value_heads": 1},
    "MambaForCausalLM": {"hidden_size": C, "num_hidden_layers": 2, "state_size": 4},
    "BertLMHeadModel": SIZES | {"intermediate_size": 32, "is_decoder": True},
}
(SPEC,) = iclkit_models()
INPUTS = torch.randint(V + 1, (3, T), generator=torch.Generator().manual_seed(1))


def make(architecture="LlamaForCausalLM", space=TOKENS, context=T, seed=0, **config):
    torch.manual_seed(seed)
    return SPEC.load()(CausalLMConfig(architecture=architecture, **config), space, context)


@pytest.fixture(params=SETTINGS)
def architecture(request):
    return request.param


@torch.no_grad()
def test_outputs_depend_on_no_later_input_and_on_every_earlier_one(architecture):
    module = make(architecture, settings=SETTINGS[architecture]).eval()
    before = module(INPUTS)
    assert before.shape == (3, T, V)
    for changed in range(T):
        other = INPUTS.clone()
        other[:, changed] = (INPUTS[:, changed] + 1) % (V + 1)
        assert torch.equal((module(other) != before).any(2), (torch.arange(T) >= changed).expand(3, T))
    with pytest.raises(ValueError, match="8 inputs are longer than the model's context, 7"):
        module(torch.zeros(1, T + 1, dtype=torch.int64))


def test_it_is_the_class_itself_with_weights_from_torchs_generator(architecture):
    settings = SETTINGS[architecture]
    module, same, other = (make(architecture, settings=settings, seed=seed) for seed in (0, 0, 1))
    assert module.training
    one, two, three = (each.state_dict() for each in (module, same, other))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], three[name]) for name in one)
    assert type(module.model).__name__ == architecture
    told = module.model.config
    assert (told.vocab_size, told.bos_token_id, told.pad_token_id) == (V + 1, V, None)
    assert getattr(told, "max_position_embeddings", T) == T
    assert told.hidden_size == C


def test_layers_are_taps(architecture):
    module = make(architecture, settings=SETTINGS[architecture])
    model = ModulePredictor(module, Facts(space=Categorical(V), topics=Drawn()), True)
    ones = torch.ones(3, dtype=torch.int64)
    topics = TensorTopics(torch.tensor([1]))
    mask = torch.ones(3, T, dtype=torch.bool)
    batch = Batch(tokens=INPUTS % V, mask=mask, topics=topics, topic=ones * 0, number=ones)
    read = activations(model, batch)
    assert {name: values.shape for name, values in read.items()} == dict.fromkeys(("layer_1", "layer_2"), (3, T, C))
    assert not torch.equal(read["layer_1"], read["layer_2"])
    with pytest.raises(NotApplicable, match="CausalLM names no taps that give attention weights"):
        activations(model, batch, attention=True)


def test_dropout_is_a_setting_and_acts_in_training_only():
    module = make(settings=SETTINGS["LlamaForCausalLM"] | {"attention_dropout": 0.5})
    assert not torch.equal(module(INPUTS), module(INPUTS))
    module.eval()
    assert torch.equal(module(INPUTS), module(INPUTS))


def test_dropout_without_a_layer_of_its_own_is_a_function_of_the_step(tiny, tmp_path, monkeypatch):
    settings = SETTINGS["LlamaForCausalLM"] | {"attention_dropout": 0.5}
    tiny["model"] = {"kind": "hf", "architecture": "LlamaForCausalLM", "settings": settings}
    losses, restore = [], TrainingJob.restore
    for seed in (0, 1):  # what torch's generator is at when the training begins

        def begin(job, seed=seed):
            torch.manual_seed(seed)
            return restore(job)

        monkeypatch.setattr(TrainingJob, "restore", begin)
        run = iclkit.run(tiny, out=tmp_path / str(seed))
        losses.append(iclkit.open_cube(run.folder)["loss"].isel(step=-1).values)
    assert (losses[0] == losses[1]).all()


TINY = SETTINGS["LlamaForCausalLM"]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (
            {"architecture": "LlamaForCausalLm", "settings": TINY},
            r'^model.architecture: transformers [\d.]+ has no causal .* \(did you mean "LlamaForCausalLM"\?\)$',
        ),
        (
            {"settings": TINY | {"hiden_size": 8}},
            r'^model.settings.hiden_size: no setting of LlamaConfig \(did you mean "hidden_size"\?\)$',
        ),
        ({"settings": TINY | {"num_attention_heads": 3}}, r"^model.settings: .*16.*3"),
        ({"settings": TINY | {"hidden_act": "gelo"}}, r"^model.settings: .*gelo"),
        (
            {"settings": TINY | {"max_position_embeddings": 4}},
            "^model.settings.max_position_embeddings: 4 positions are fewer than the context of 7 tokens$",
        ),
        (
            {"architecture": "BertLMHeadModel", "settings": SIZES},
            "^model.settings: BertLMHeadModel looks at later tokens .* give is_decoder$",
        ),
        ({"settings": TINY, "space": Real(2)}, "^model.kind: models of transformers read tokens of a vocabulary"),
    ],
)
def test_what_transformers_or_we_refuse_is_one_line(config, told):
    with pytest.raises(ConfigError, match=told) as found:
        make(**config)
    assert "\n" not in str(found.value)


def problems(found, tiny, **model):
    with pytest.raises(ConfigError) as refused:
        plan.load(None, tiny | {"model": {"kind": "hf", **model}}, found)
    return str(refused.value)


def test_what_a_config_alone_tells_is_refused_before_anything_is_built(found, tiny, tmp_path):
    assert "model.architecture: missing; a class of transformers" in problems(found, tiny)
    both = problems(found, tiny, architecture="LlamaForCausalLM", pretrained=str(tmp_path))
    assert "model.architecture: told by the folder of pretrained; leave one of them out" in both
    assert f"model.pretrained: {tmp_path} is no folder with a config.json" in both
    told = problems(found, tiny, architecture="LlamaForCausalLM", settings={"vocab_size": 4})
    assert told == "model.settings.vocab_size: follows from the source's vocabulary; leave it out"
    told = problems(found, tiny | {"evaluation": {"length": 9}}, architecture="LlamaForCausalLM")
    assert "evaluation.length: 9 is longer than the model's context of 8" in told


def test_without_transformers_the_plugin_is_there_and_says_what_to_install(found, tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    told = problems(found, tiny, architecture="LlamaForCausalLM")
    assert told == "model.kind: needs the transformers library; install iclkit[hf]"
    monkeypatch.delitem(sys.modules, "iclkit_hf.causal_lm", raising=False)
    with pytest.raises(ConfigError, match=r"model.kind: needs the transformers library; install iclkit\[hf\]"):
        importlib.import_module("iclkit_hf.causal_lm")


def test_the_plugin_imports_no_transformers():
    code = "import sys, iclkit_hf.plugin as plugin; list(plugin.iclkit_models())\n"
    code += "assert not {'transformers', 'torch', 'numpy'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def exported(tables, tmp_path, step):
    """Export the first training of a run below tmp_path; return its config and the folder of its snapshots."""
    found = plugins.load()
    wanted = plan.load(None, tables, found, out=tmp_path / "run")
    training = wanted.trainings[0]
    folder = TrainingFolder(tmp_path / "run" / "trainings" / training.id)
    model = export.TrainedModel(
        config=training.config,
        identity=training.identity,
        folder=folder,
        step=step,
        provider=found.registry.get("model", "hf").provider,
    )
    assert export.write_model(model, tmp_path / "out") == []
    return training.config, folder


@pytest.mark.parametrize("architecture", ["GPT2LMHeadModel", "LlamaForCausalLM"])  # tied, untied
def test_it_trains_and_leaves_the_house(tiny, tmp_path, architecture):
    tiny["model"] = {"kind": "hf", "architecture": architecture, "settings": SETTINGS[architecture]}
    tiny["trainer"] |= {"steps": 2, "snapshots": [0, 1]}
    run = iclkit.run(tiny, out=tmp_path / "run")
    loss = iclkit.open_cube(run.folder)["loss"].load()
    assert loss.sizes["step"] == 3
    assert loss.notnull().all()
    assert (loss.isel(step=0) != loss.isel(step=2)).any()
    config, folder = exported(tiny, tmp_path, 2)
    before, inputs = build_module(config).eval(), INPUTS % 3
    before.load_state_dict(folder.weights(2))
    assert torch.equal(iclkit.load_model(tmp_path / "out")(inputs), before(inputs))
    theirs = getattr(transformers, architecture).from_pretrained(tmp_path / "out" / "transformers").eval()
    assert torch.equal(theirs(inputs).logits[..., :2], before(inputs))


@pytest.mark.parametrize("architecture", ["GPT2LMHeadModel", "LlamaForCausalLM"])
@torch.no_grad()
def test_it_starts_from_saved_weights(architecture, tmp_path):
    first = make(architecture, settings=SETTINGS[architecture], seed=3).eval()
    first.model.save_pretrained(tmp_path / "saved")
    again = make(None, pretrained=tmp_path / "saved").eval()
    assert torch.equal(again(INPUTS), first(INPUTS))
    more = make(None, pretrained=tmp_path / "saved", space=Categorical(V + 2)).eval()
    torch.testing.assert_close(more(INPUTS)[..., :V], first(INPUTS))
    fewer = make(None, pretrained=tmp_path / "saved", space=Categorical(2)).eval()
    torch.testing.assert_close(fewer(INPUTS % 3), first(INPUTS % 3)[..., :2])
    told = make(None, pretrained=tmp_path / "saved", settings={"initializer_range": 0.5})
    assert told.model.config.initializer_range == 0.5
    with pytest.raises(ConfigError, match=r"model.pretrained: .*hiden"):
        make(None, pretrained=tmp_path / "saved", settings={"hiden": 1})
    with pytest.raises(ConfigError, match=r"model.pretrained: 7 positions are fewer than the context of 8 tokens"):
        make(None, pretrained=tmp_path / "saved", context=T + 1)
    other = dict(first.model.state_dict())
    left_out = next(name for name in other if "layers.1" in name or "h.1" in name)
    first.model.save_pretrained(tmp_path / "half", state_dict={k: v for k, v in other.items() if k != left_out})
    with pytest.raises(ConfigError, match=rf"model.pretrained: .*half holds no weights for .*{left_out}"):
        make(None, pretrained=tmp_path / "half")
    torch.save(other, tmp_path / "half" / "pytorch_model.bin")
    (tmp_path / "half" / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"model.pretrained: .*safetensors") as found:  # never unpickled
        make(None, pretrained=tmp_path / "half")
    assert "\n" not in str(found.value)


def test_saved_weights_are_part_of_a_trainings_identity_and_what_leaves_needs_no_folder(tiny, found, tmp_path):
    ids = []
    for seed in (0, 1):
        first = make("LlamaForCausalLM", settings=TINY, seed=seed, context=12)
        first.model.save_pretrained(tmp_path / "saved")
        tiny["model"] = {"kind": "hf", "pretrained": str(tmp_path / "saved")}
        ids.append(plan.load(None, tiny, found).trainings[0].id)
    assert ids[0] != ids[1]
    tiny["trainer"] |= {"steps": 1, "snapshots": [0]}
    iclkit.run(tiny, out=tmp_path / "run")
    config, folder = exported(tiny, tmp_path, 0)
    before, inputs = build_module(config).eval(), INPUTS % 3
    assert all(torch.equal(value, folder.weights(0)[name]) for name, value in before.state_dict().items())
    shutil.rmtree(tmp_path / "saved")
    after = iclkit.load_model(tmp_path / "out")
    assert torch.equal(after(inputs), before(inputs))
    assert after.model.config.max_position_embeddings == 12


def test_the_order_of_settings_changes_no_identity_but_their_values_do(tiny, found):
    def identity(**settings):
        tables = tiny | {"model": {"kind": "hf", "architecture": "LlamaForCausalLM", "settings": settings}}
        return plan.load(None, tables, found).trainings[0].id

    rope = {"rope_type": "default", "rope_theta": 500.0}
    one = identity(hidden_size=8, rope_parameters=rope)
    assert one == identity(rope_parameters=dict(reversed(rope.items())), hidden_size=8)
    assert one != identity(hidden_size=8, rope_parameters=rope | {"rope_theta": 501.0})


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (3, "model.settings: expected a table, got 3 (int)"),
        ({"a": [1, float("inf")]}, "model.settings.a: inf is not a setting"),
        ({"a": {"b": date(2020, 1, 1)}}, "model.settings.a.b: expected a number, a string, true or false, a list or"),
    ],
)
def test_a_free_table_holds_what_json_can_hold(tiny, found, settings, told):
    assert problems(found, tiny, architecture="LlamaForCausalLM", settings=settings).startswith(told)
