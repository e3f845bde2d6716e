"""Models leave the house and come back as they were; other tools open what is meant for them."""

import json
import shutil
import subprocess
import sys

import pytest
import safetensors.torch
import torch

import iclkit
from iclkit import plan, plugins
from iclkit.api import activations
from iclkit.data import TrainingSequences
from iclkit.errors import ConfigError, StoreError
from iclkit.heads import ModulePredictor
from iclkit.modules import build_module
from iclkit.snapshots import TrainingFolder
from iclkit.splits import splits

COINS = '[source]\nkind = "coins"\nbiases = [0.2, 0.8]\n'
REALS = '[source]\nkind = "lds"\n'
SWEEP = '[sweep]\nseed = [0, 1]\n"data.topics" = [1, "fresh"]\n'
TABLES = """
[data]
length = 6
{data}
[model]
{model}
[evaluation]
sequences = 12
{sweep}
"""


@pytest.fixture
def trained(tmp_path):
    """Leave a run folder as a run would, with drawn weights in place of trained ones: returns (folder, plan)."""

    def make(model, source=COINS, data="", sweep="", steps=(0, 5), files=()):
        folder = tmp_path / "run"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "config.toml").write_text(source + TABLES.format(model=model, data=data, sweep=sweep))
        found = plugins.load(files)
        made = plan.load(folder / "config.toml", None, found, out=folder)
        for training in made.trainings:
            module = build_module(training.config)
            for step in steps:
                with torch.no_grad():
                    for parameter in module.parameters():
                        parameter += 0.1 * torch.randn_like(parameter)
                place = TrainingFolder(folder / "trainings" / training.id)
                place.save_snapshot(step, 7 * step, {k: v.clone() for k, v in module.state_dict().items()}, {})
        return folder, made

    return make


def module_of(folder, made, step=5):
    """Build the module of a run's first training as evaluation does."""
    training = made.trainings[0]
    module = build_module(training.config)
    module.load_state_dict(TrainingFolder(folder / "trainings" / training.id).weights(step))
    return training.config, module.eval()


def sequences_of(config, split="topics"):
    source = config.source.build()
    return {one.name: one for one in splits(config, source, TrainingSequences(config, source))}[split]


MODELS = {
    "transformer": "layers = 1\nwidth = 8\nheads = 2\ndropout = 0.5",
    "gpt2": 'kind = "gpt2"\nlayers = 2\nwidth = 8\nheads = 2',
    "lstm": 'kind = "lstm"\nwidth = 8\nlayers = 2',
    "gru": 'kind = "gru"\nwidth = 8\nembedding = "one-hot"\nscale = "learned"',
    "rnn": 'kind = "rnn"\nwidth = 8\ncontext = 9',
    "state-space": 'kind = "state-space"\nwidth = 8\nscale = "learned"',
    "mlp": 'kind = "mlp"\nwidth = 8',
}


@pytest.mark.parametrize("source", [COINS, REALS], ids=["categorical", "real"])
@pytest.mark.parametrize("kind", MODELS)
@torch.no_grad()
def test_a_model_comes_back_bit_for_bit(call, trained, tmp_path, kind, source):
    folder, made = trained(MODELS[kind], source)
    code, out, err = call("export", folder, "--out", tmp_path / "out")
    assert code == 0, err
    assert (err != "") == (kind == "gpt2" and source == REALS)
    state = torch.random.get_rng_state()
    module = iclkit.load_model(tmp_path / "out")
    assert torch.equal(state, torch.random.get_rng_state()), "the user's generator is left alone"
    config, before = module_of(folder, made)
    batch = sequences_of(config).chunk(slice(0, 4))
    facts = config.source.facts
    one, other = (ModulePredictor(each, facts, True).output(batch) for each in (before, module))
    for a, b in zip(*((each if isinstance(each, tuple) else (each,)) for each in (one, other)), strict=True):
        assert torch.equal(a, b)
    assert type(module) is type(before)
    assert not module.training
    assert module.taps == before.taps
    if kind in ("transformer", "gpt2"):
        assert module.context == 6
        assert module.attention_taps == before.attention_taps
    assert set(out.splitlines()) == {str(path) for path in (tmp_path / "out").rglob("*") if path.is_file()}


def test_what_is_written_says_where_it_comes_from(call, trained, tmp_path):
    folder, made = trained(MODELS["lstm"], data="bos = false")
    assert call("export", folder, "--step", 0)[0] == 0
    place = folder / "exports" / f"{made.trainings[0].id}-0"
    assert sorted(path.name for path in place.iterdir()) == ["iclkit.json", "weights.safetensors"]
    told = json.loads((place / "iclkit.json").read_text())
    assert told["model"]["config"]["kind"] == "lstm"
    assert told["model"]["config"]["width"] == 8
    assert told["model"]["revision"] == 2
    assert told["plugin"] == f"models (iclkit {iclkit.__version__})"
    assert told["space"] == {"kind": "categorical", "size": 2}
    assert (told["context"], told["bos"], told["noise"]) == (6, False, 1.0)
    assert told["training"]["identity"] == made.trainings[0].identity
    assert (told["training"]["step"], told["training"]["tokens_seen"]) == (0, 0)


@pytest.mark.parametrize("bos", [True, False])
@torch.no_grad()
def test_transformers_opens_a_gpt2_with_the_same_logits(call, trained, tmp_path, bos):
    transformers = pytest.importorskip("transformers")
    folder, made = trained(MODELS["gpt2"], data=f"bos = {str(bos).lower()}")
    assert call("export", folder, "--out", tmp_path / "out")[0] == 0
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "out" / "transformers").eval()
    _, ours = module_of(folder, made)
    inputs = torch.randint(3, (5, 6), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(theirs(inputs).logits[..., :2], ours(inputs), atol=1e-6, rtol=0)
    assert theirs.num_parameters() == sum(parameter.numel() for parameter in ours.parameters())
    assert (theirs.config.n_positions, theirs.config.bos_token_id) == (6, 2)
    assert theirs.lm_head.weight is theirs.transformer.wte.weight


def test_real_tokens_have_no_folder_for_transformers(call, trained):
    folder, _ = trained(MODELS["gpt2"], REALS)
    code, out, err = call("export", folder)
    assert code == 0
    assert err == "note: no folder for transformers is written: its GPT-2 reads tokens of a vocabulary, not reals\n"
    assert "transformers" not in out


def test_cells_are_named_by_their_place_or_by_their_training(call, trained, tmp_path):
    folder, made = trained(MODELS["lstm"], sweep=SWEEP)
    ids = [training.id for training in made.trainings]  # seed 0: topics 1, fresh; seed 1: the same
    named = {
        ("seed=1", "topics=1"): ids[2],
        ("topics=fresh,seed=0",): ids[1],
        ("seed=1, topics=fresh",): ids[3],
        (ids[0],): ids[0],
        (ids[3][:7],): ids[3],
    }
    for number, (words, wanted) in enumerate(named.items()):
        assert call("export", folder, *words, "--out", tmp_path / str(number))[0] == 0
        assert json.loads((tmp_path / str(number) / "iclkit.json").read_text())["training"]["id"] == wanted


def test_what_is_named_wrongly_is_said(call, trained, tmp_path):
    folder, made = trained(MODELS["lstm"], sweep=SWEEP)
    first = made.trainings[0].id
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    wrong = {
        (): "this names 4 cells of several trainings: say which, such as seed=0 topics=1",
        ("seed=1",): "this names 2 cells of several trainings: say which, such as seed=0 topics=1 (topics is one of: 1",
        ("seed=2", "topics=1"): "no cell has seed=2; seed is one of: 0, 1",
        ("sed=1",): "no dimension is called sed; there are: seed, topics",
        ("seed=1", "1"): "1: a cell is named by seed=0 topics=1, or by the id of its training alone",
        ("zz",): "no training of",
        (first, "--step", "3"): f"no snapshot of step 3 of training {first}; there are: 0, 5",
        (first, "--taps", "layer_1"): "--taps and --split say what to read with --activations",
        (first, "--activations", "--split", "new"): 'no split is called "new"; there are: train, sequences, topics',
        (first, "--activations", "--taps", "layer_3"): "has no tap layer_3; it has: layer_1, layer_2",
        (first, "--activations", "--taps", "attention.layer_1"): "names no taps that give attention weights",
        (first, "--out", str(tmp_path / "full")): "is not empty and holds no export; choose another folder with --out",
    }
    for words, told in wrong.items():
        code, _, err = call("export", folder, *words)
        assert code in (1, 2, 6), words
        assert told in err
        assert len(err.splitlines()) == 1
    code, _, err = call("export", tmp_path / "nowhere")
    assert (code, err) == (
        6,
        f"iclkit: there is no run folder at {tmp_path / 'nowhere'}; `iclkit run CONFIG` makes one\n",
    )
    shutil.rmtree(folder / "trainings" / first)
    assert f"training {first} has left no snapshot in {folder} yet" in call("export", folder, first)[2]


def test_an_export_is_repeated_but_never_replaced_by_another(call, trained, tmp_path):
    folder, _ = trained(MODELS["lstm"])
    out = tmp_path / "out"
    assert call("export", folder, "--out", out)[0] == 0
    before = {path: path.read_bytes() for path in out.iterdir()}
    assert call("export", folder, "--out", out)[0] == 0
    assert before == {path: path.read_bytes() for path in out.iterdir()}
    code, _, err = call("export", folder, "--step", 0, "--out", out)
    assert code == 6
    assert "holds step 5 of training" in err
    assert before == {path: path.read_bytes() for path in out.iterdir()}


def test_folders_that_cannot_be_loaded_are_said(call, trained, tmp_path):
    folder, _ = trained(MODELS["lstm"])
    with pytest.raises(StoreError, match=r"holds no iclkit.json; `iclkit export RUN CELL` makes"):
        iclkit.load_model(tmp_path)
    assert call("export", folder, "--out", tmp_path / "out")[0] == 0
    told = json.loads((tmp_path / "out" / "iclkit.json").read_text())
    for width, kind in ((9, "lstm"), (8, "lstn")):
        told["model"]["config"] |= {"width": width, "kind": kind}
        (tmp_path / "out" / "iclkit.json").write_text(json.dumps(told))
        error, text = (StoreError, "cannot be loaded") if kind == "lstm" else (ConfigError, 'did you mean "lstm"')
        with pytest.raises(error, match=text) as found:
            iclkit.load_model(tmp_path / "out")
        assert "\n" not in str(found.value)
    told["model"]["config"] |= {"kind": "lstm"}
    (tmp_path / "out" / "iclkit.json").write_text(json.dumps(told))
    (tmp_path / "out" / "weights.safetensors").write_bytes(b"short")
    with pytest.raises(StoreError, match=r"weights.safetensors cannot be loaded .*; export the model again"):
        iclkit.load_model(tmp_path / "out")


def test_a_model_that_has_changed_since_is_told(call, trained, tmp_path):
    folder, _ = trained(MODELS["lstm"])
    assert call("export", folder, "--out", tmp_path / "out")[0] == 0
    told = json.loads((tmp_path / "out" / "iclkit.json").read_text())
    told["model"]["revision"] = 1
    (tmp_path / "out" / "iclkit.json").write_text(json.dumps(told))
    with pytest.warns(UserWarning, match="the model lstm has changed since"):
        iclkit.load_model(tmp_path / "out")


LOCAL = """
from pathlib import Path

import torch
from attrs import frozen

from iclkit.api import ConfigPath, ModelSpec, SourceComponent, hookimpl, option


@frozen(kw_only=True)
class Config:
    widths: tuple[int, ...] = option("widths", default=(3, 4))
    file: ConfigPath | None = option("a file", default=None)
    inner: SourceComponent | None = option("a source", default=None)


class Local(torch.nn.Module):
    def __init__(self, config, space, context):
        super().__init__()
        assert config.inner.kind == "coins" and config.file.read_text() == "here"
        self.table = torch.nn.Embedding(space.size + 1, space.size)

    def forward(self, inputs):
        return self.table(inputs)


@hookimpl
def iclkit_models():
    yield ModelSpec(name="local", summary="A local one.", config=Config, build="my_exported_model:Local")
"""


def test_a_model_of_a_local_file_needs_that_file(call, trained, tmp_path):
    file, data = tmp_path / "my_exported_model.py", tmp_path / "run" / "note.txt"
    file.write_text(LOCAL)
    model = 'kind = "local"\nfile = "../note.txt"\n[model.inner]\nkind = "coins"\nbiases = [0.5]\n'
    data.parent.with_name("note.txt").write_text("here")
    folder, made = trained(model, files=[file])
    assert call("export", folder, "--plugin", file, "--out", tmp_path / "out")[0] == 0
    module = iclkit.load_model(tmp_path / "out", plugins=[file])
    assert torch.equal(module.table.weight, module_of(folder, made)[1].table.weight)
    with pytest.raises(ConfigError, match=r'model.kind: no model is called "local".*--plugin FILE.py'):
        iclkit.load_model(tmp_path / "out")
    file.write_text(LOCAL + "\n# changed\n")
    with pytest.warns(UserWarning, match="the model local has changed since"):
        iclkit.load_model(tmp_path / "out", plugins=[file])
    code, _, err = call("export", folder, "--plugin", file, "--out", tmp_path / "new", "--activations")
    assert (code, err) == (1, "iclkit: Local names no taps that give vectors\n")


@torch.no_grad()
def test_activations_are_those_of_the_model_on_sequences_of_every_topic(call, trained, tmp_path):
    folder, made = trained(MODELS["transformer"])
    assert call("export", folder, "--out", tmp_path / "out", "--activations", "--sequences", 4)[0] == 0
    arrays = safetensors.torch.load_file(tmp_path / "out" / "activations.safetensors")
    taps, data = {"embedding", "layer_1", "final", "attention.layer_1"}, {"tokens", "mask", "topic", "number"}
    assert set(arrays) == taps | data
    config, module = module_of(folder, made)
    split = sequences_of(config, "topics")
    batch = split.sampler.batch(split.topic[::3], split.number[::3])  # 4 of 12
    assert torch.equal(arrays["tokens"], batch.tokens)
    assert torch.equal(arrays["mask"], batch.mask)
    assert arrays["topic"].tolist() == [1, 1, 2, 2]
    model = ModulePredictor(module, config.source.facts, True)
    read = activations(model, batch) | {"attention.layer_1": activations(model, batch, attention=True)["layer_1"]}
    for name in taps:
        assert arrays[name].dtype == torch.float32
        assert torch.equal(arrays[name], read[name])
    final = module.read_out(arrays["final"]).double().log_softmax(-1)
    torch.testing.assert_close(final, model.distribution(batch).log_probs, atol=1e-6, rtol=0)


def test_activations_can_be_chosen_and_come_with_the_exact_beliefs(call, trained, tmp_path):
    source = '[source]\nkind = "ginc"\nsymbols = 7\nentities = 3\nproperties = 3\n'
    folder, made = trained(MODELS["transformer"], source, data="topics = 3")
    words = ["--activations", "--taps", "final", "--taps", "attention.layer_1", "--split", "train"]
    assert call("export", folder, "--out", tmp_path / "out", *words)[0] == 0
    arrays = safetensors.torch.load_file(tmp_path / "out" / "activations.safetensors")
    assert set(arrays) == {"final", "attention.layer_1", "tokens", "mask", "topic", "number", "beliefs"}
    batch = sequences_of(made.cells[0].config, "train").chunk(slice(None))
    assert torch.equal(arrays["tokens"], batch.tokens)
    assert arrays["beliefs"].dtype == torch.float64
    torch.testing.assert_close(arrays["beliefs"].sum(-1), torch.ones(batch.tokens.shape, dtype=torch.float64))


def test_activations_of_more_than_one_evaluation_have_to_be_chosen(call, trained):
    folder, made = trained(MODELS["lstm"], sweep='[sweep]\n"evaluation.length" = [4, 6]\n')
    assert len(made.trainings) == 1
    assert call("export", folder)[0] == 0
    code, _, err = call("export", folder, "--activations")
    assert code == 2
    assert "this names 2 cells of several evaluations: say which, such as length=4 (length is one of: 4, 6)" in err
    assert call("export", folder, "length=4", "--activations")[0] == 0
    (file,) = (folder / "exports").rglob("activations.safetensors")
    assert safetensors.torch.load_file(file)["layer_1"].shape == (12, 4, 8)


def test_help_imports_nothing_heavy():
    code = "import sys; from iclkit.cli import export; assert not {'torch', 'numpy', 'safetensors'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_too_much_to_hold_is_refused(call, trained, monkeypatch):
    folder, _ = trained(MODELS["lstm"])
    monkeypatch.setattr("iclkit.export._LARGEST", 1 << 10)
    code, _, err = call("export", folder, "--activations")
    assert code == 2
    assert "12 sequences would take 0.0 GiB" in err
    assert "ask for fewer --sequences, or for some --taps only" in err
    assert call("export", folder, "--activations", "--sequences", 1, "--taps", "layer_1")[0] == 0
