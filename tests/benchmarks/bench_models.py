"""Training steps of the built-in transformer against transformers' GPT2LMHeadModel, and of every built-in model.

    python tests/benchmarks/bench_models.py [--trainer]

Like for like: same sizes, tied weights, activation, optimiser, inputs and loss, no dropout. The sides take turns of a
few steps on one thread; a ratio is that of the medians of CPU time per step. "defaults" is GPT2LMHeadModel as it
comes: dropout 0.1, its own GELU, its own loss, keys and values cached. `--trainer` adds transformers' Trainer with its
defaults. With the same GELU kernel nine tenths of a step are the same matrix products, attention and GELU of torch on
both sides, so that the ratio is about 1. Run it by hand on a machine that does nothing else.
"""

import argparse
import itertools
import statistics
import tempfile
import time

import torch
import transformers
from torch.nn import functional

from iclkit.api import Categorical
from iclkit_models.configs import GPT2Config, TransformerConfig
from iclkit_models.gpt2 import gpt2
from iclkit_models.plugin import iclkit_models
from iclkit_models.transformer import Transformer


def cross_entropy(logits, targets):
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def steps(module, loss):
    """Yield after every training step."""
    optimizer = torch.optim.AdamW(module.parameters(), 1e-3, fused=True)
    module.train()
    while True:
        optimizer.zero_grad()
        loss(module).backward()
        optimizer.step()
        yield


def medians(sides, rounds, turn):
    """Return the median CPU time per step of each side, in ms; the sides take turns."""
    times = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, side in sides.items():
            begin = time.process_time()
            for _ in range(turn):
                next(side)
            times[name].append((time.process_time() - begin) / turn)
    return {name: 1000 * statistics.median(values[1:]) for name, values in times.items()}  # the first warms up


def hugging_face(options, **fields):
    config = transformers.GPT2Config(
        vocab_size=options.vocabulary + 1,
        n_positions=options.length,
        n_embd=options.width,
        n_layer=2,
        n_head=4,
        bos_token_id=options.vocabulary,
        eos_token_id=options.vocabulary,
        **fields,
    )
    return transformers.GPT2LMHeadModel(config)


def compared(options, inputs, targets):
    """Return the sides: ours and theirs with the tanh GELU and the exact one, and theirs as it comes."""
    space, none = Categorical(options.vocabulary), {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    ours_tanh = gpt2(GPT2Config(layers=2, width=options.width, heads=4, dropout=0.0), space, options.length)
    ours = Transformer(TransformerConfig(width=options.width, tied=True), space, options.length)
    theirs_tanh = hugging_face(options, activation_function="gelu_pytorch_tanh", **none)
    theirs_new = hugging_face(options, **none)
    theirs = hugging_face(options, activation_function="gelu", **none)
    labels = torch.cat((inputs[:, :1], targets[:, :-1]), 1)  # theirs shifts

    def plain(module):
        return cross_entropy(module(inputs), targets)

    def alike(module):
        return cross_entropy(module(inputs, use_cache=False).logits, targets)

    def as_it_comes(module):
        return module(input_ids=inputs, labels=labels).loss

    return {
        "iclkit, tanh": steps(ours_tanh, plain),
        "theirs, tanh": steps(theirs_tanh, alike),
        "theirs, own tanh": steps(theirs_new, alike),
        "iclkit, exact": steps(ours, plain),
        "theirs, exact": steps(theirs, alike),
        "theirs, defaults": steps(hugging_face(options), as_it_comes),
    }


class Tokens(torch.utils.data.Dataset):
    """Sequences as Trainer wants them: a dict of one sequence per item."""

    def __init__(self, options, number):
        self.tokens = torch.randint(options.vocabulary, (number, options.length))

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, index):
        return {"input_ids": self.tokens[index], "labels": self.tokens[index]}


def trainer_ms(options, number, **fields):
    """Return the CPU time per step of transformers' Trainer with its defaults, ms, without its first steps."""
    marks = []

    class Clock(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            marks.append(time.process_time())

    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            max_steps=number,
            per_device_train_batch_size=options.batch,
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            save_strategy="no",
        )
        data = Tokens(options, 20 * options.batch)
        transformers.Trainer(
            model=hugging_face(options, **fields), args=arguments, train_dataset=data, callbacks=[Clock()]
        ).train()
    between = [1000 * (b - a) for a, b in itertools.pairwise(marks[5:])]
    return statistics.median(between)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--vocabulary", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--turn", type=int, default=5, help="steps per turn")
    parser.add_argument("--trainer", action="store_true", help="also transformers' Trainer with its defaults")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    targets = torch.randint(options.vocabulary, (options.batch, options.length))
    inputs = functional.pad(targets[:, :-1], (1, 0), value=options.vocabulary)

    found = medians(compared(options, inputs, targets), options.rounds, options.turn)
    if options.trainer:
        found["theirs, Trainer defaults"] = trainer_ms(options, 40)
        none = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        found["theirs, Trainer, no dropout"] = trainer_ms(options, 40, **none)
    sizes = f"2 layers, width {options.width}, T {options.length}, batch {options.batch}, {options.vocabulary} tokens"
    print(f"{sizes}; ms per training step, CPU time on one thread")
    for name, value in found.items():
        ours = found["iclkit, exact" if "exact" in name else "iclkit, tanh"]
        print(f"  {name:28} {value:8.2f}  {value / ours:5.2f} x iclkit")

    kinds = {}
    for spec in iclkit_models():
        if spec.name != "gpt2":
            module = spec.load()(
                spec.config(width=options.width, layers=2), Categorical(options.vocabulary), options.length
            )
            kinds[spec.name] = steps(module, lambda module: cross_entropy(module(inputs), targets))
    for name, value in medians(kinds, max(3, options.rounds // 2), 3).items():
        print(f"  {name:28} {value:8.2f}")


if __name__ == "__main__":
    main()
