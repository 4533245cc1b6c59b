"""One training step of the same small decoder, by this library and by its peers.

Run as a module, this file is one contestant in a process of its own: it builds its model, then makes one step
for every line on its standard input and answers with the seconds that it took. Processes are separate because
the allocator, compiled code and thread pools are shared within one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: The default model of the book.
SHAPE = {"n_layers": 4, "d_model": 128, "n_heads": 4, "vocab_size": 2048}
#: Context length → sequences, so that every step sees 4,096 tokens.
BATCHES = {256: 16, 1024: 4}

Step = Callable[[Tensor, Tensor], float]


class PlainBlock(nn.Module):
    """A pre-norm block as minimal GPT trainers write it: fused QKV, SDPA, GELU."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.qkv, self.out = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.up, self.down = nn.Linear(d_model, 4 * d_model), nn.Linear(4 * d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.qkv(self.norm1(x)).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*heads.unbind(0), is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class PlainGPT(nn.Module):
    """The baseline: what a careful person writes in an hour, whole logits and all."""

    def __init__(self, length: int) -> None:
        super().__init__()
        d = SHAPE["d_model"]
        self.tokens, self.places = nn.Embedding(SHAPE["vocab_size"], d), nn.Embedding(length, d)
        self.blocks = nn.Sequential(*(PlainBlock(d, SHAPE["n_heads"]) for _ in range(SHAPE["n_layers"])))
        self.norm = nn.LayerNorm(d)
        for matrix in (p for p in self.parameters() if p.ndim == 2):
            nn.init.normal_(matrix, std=0.02)

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        x = self.tokens(inputs) + self.places(torch.arange(inputs.shape[1]))
        logits = self.norm(self.blocks(x)) @ self.tokens.weight.T
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def plain(length: int) -> Step:
    """The baseline loop: fused AdamW, clipping, SDPA."""
    model = PlainGPT(length)
    return _loop(model, model)


#: Hugging Face's decoders by name, and how they are asked for.
HUGGING_FACE: dict[str, tuple[str, dict[str, object]]] = {
    "GPT-2": ("gpt2", {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}),
    "Llama": ("llama", {}),
    "SmolLM3 nope": ("smollm3", {"no_rope_layers": [0] * SHAPE["n_layers"]}),
    "SmolLM3 rotary": ("smollm3", {"no_rope_layers": [1] * SHAPE["n_layers"]}),
    "Falcon rotary": ("falcon", {"new_decoder_architecture": False, "multi_query": False}),
    "Falcon alibi": ("falcon", {"new_decoder_architecture": False, "multi_query": False, "alibi": True}),
}
HUB = "Hugging Face "
#: Those that differ in their position encoding alone, two and two.
HUB_ENCODINGS = ("SmolLM3 nope", "SmolLM3 rotary", "Falcon rotary", "Falcon alibi")


def hugging_face(length: int, name: str) -> Step:
    """Hugging Face's model of about the same size, trained by the same loop."""
    import transformers

    family, own = HUGGING_FACE[name]
    config = transformers.AutoConfig.for_model(
        family,
        vocab_size=SHAPE["vocab_size"],
        hidden_size=SHAPE["d_model"],
        num_hidden_layers=SHAPE["n_layers"],
        num_attention_heads=SHAPE["n_heads"],
        max_position_embeddings=length,
        tie_word_embeddings=True,
        attn_implementation="sdpa",
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=None,
        **own,
    )
    if family in ("llama", "smollm3"):
        config.num_key_value_heads = SHAPE["n_heads"]
        config.intermediate_size = 352  # ⌈8/3 · 128⌉ to a multiple of 32: as many parameters as GELU's 512
    model = transformers.AutoModelForCausalLM.from_config(config)

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(model(inputs).logits.flatten(0, 1), targets.flatten())

    return _loop(model, loss)


def ours(length: int, *, position: str = "learned", **training: object) -> Step:
    """This library's own loop, a step at a time."""
    from longctx.model import ModelConfig, build_model
    from longctx.training import TrainingSpec
    from longctx.training.loop import Stepper

    name = f"learned(max_length={length})" if position == "learned" else position
    model = build_model(ModelConfig(family="gpt", position=name, **SHAPE))
    spec = TrainingSpec(
        length=length,
        batch_size=BATCHES[length],
        steps=10**6,
        learning_rate=1e-3,
        warmup_steps=10,
        **training,
    )
    stepper = Stepper(model, spec)
    return lambda inputs, targets: stepper.step(lambda _: (inputs, targets))


def x_transformers(length: int, *, flash: bool, **options: bool) -> Step:
    """x-transformers' decoder of about the same size, trained by the same loop; its learned biases refuse
    ``flash``."""
    from x_transformers import Decoder, TransformerWrapper

    width, heads = SHAPE["d_model"], SHAPE["n_heads"]
    layers = Decoder(
        dim=width,
        depth=SHAPE["n_layers"],
        heads=heads,
        attn_dim_head=width // heads,
        attn_flash=flash,
        **options,
    )
    model = TransformerWrapper(
        num_tokens=SHAPE["vocab_size"],
        max_seq_len=length,
        attn_layers=layers,
        use_abs_pos_emb=False,
        tie_embedding=True,
    )
    return _loop(
        model, lambda inputs, targets: F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
    )


def _loop(model: nn.Module, loss_of: Callable[[Tensor, Tensor], Tensor]) -> Step:
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )

    def step(inputs: Tensor, targets: Tensor) -> float:
        loss = loss_of(inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return loss.item()

    return step


CONTESTANTS: dict[str, Callable[[int], Step]] = {
    "minimal loop": plain,
    "longctx": ours,
    "longctx rope": lambda length: ours(length, position="rope"),
    "longctx alibi": lambda length: ours(length, position="alibi"),
    "longctx bfloat16": lambda length: ours(length, precision="bfloat16"),
    "longctx compiled": lambda length: ours(length, compile=True),
    "Hugging Face GPT-2": lambda length: hugging_face(length, "GPT-2"),
    "Hugging Face Llama": lambda length: hugging_face(length, "Llama"),
}

PEER = "x-transformers "
#: x-transformers' own encodings: whether its fused attention serves them, and how they are asked for.
PEER_ENCODINGS: dict[str, tuple[bool, dict[str, bool]]] = {
    "nope": (True, {}),
    "rotary": (True, {"rotary_pos_emb": True}),
    "alibi": (True, {"alibi_pos_bias": True}),
    "nope, unfused": (False, {}),
    "t5, unfused": (False, {"rel_pos_bias": True}),
    "dynamic, unfused": (False, {"dynamic_pos_bias": True}),
}


def contestant(name: str, length: int) -> Step:
    """The step of a contestant: of `CONTESTANTS`, or a library's name and one of its encodings or models."""
    if name in CONTESTANTS:
        return CONTESTANTS[name](length)
    if name.startswith(PEER):
        flash, options = PEER_ENCODINGS[name.removeprefix(PEER)]
        return x_transformers(length, flash=flash, **options)
    if name.startswith(HUB):
        return hugging_face(length, name.removeprefix(HUB))
    return ours(length, position=name.removeprefix("longctx "))


def main(name: str, length: int, vocab_size: int) -> None:
    """Be one contestant: a line in, a step, its seconds and loss out."""
    SHAPE["vocab_size"] = vocab_size
    torch.set_num_threads(1)
    torch.manual_seed(0)
    step = contestant(name, length)
    random = np.random.default_rng(0)
    print("ready", flush=True)
    for _ in sys.stdin:
        tokens = torch.from_numpy(random.integers(0, SHAPE["vocab_size"], (BATCHES[length], length + 1)))
        began = time.perf_counter()
        loss = step(tokens[:, :-1], tokens[:, 1:])
        print(time.perf_counter() - began, loss, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
