"""What tests of attention without a softmax share: sizes, inputs, and loops written from the papers."""

import math

import torch

from longctx.attention import MIXERS, LinearMixer, attend, build_mixer
from longctx.attention.linear.base import CHUNK

NAMES = [entry.name for entry in MIXERS if issubclass(entry.target, LinearMixer)]
SPECS = [str(config) for name in NAMES for config in MIXERS.examples(name)]
HEADS, HEAD_DIM = 4, 8
SIZES = {"d_model": HEADS * HEAD_DIM, "n_heads": HEADS, "head_dim": HEAD_DIM}
#: One token, a chunk and its neighbours, a prime, two chunks and one more; MHA, GQA, MQA.
CASES = [(1, 2), (7, 4), (CHUNK - 1, 1), (CHUNK, 4), (CHUNK + 1, 2), (107, 1), (2 * CHUNK + 1, 2)]


def build(spec, kv_heads=HEADS):
    mixer = build_mixer(spec, **SIZES, n_kv_heads=kv_heads)
    if mixer.kept:  # as after some training: gates of all sizes
        generator = torch.Generator().manual_seed(5)
        for weight in (p for p in mixer.parameters() if p.ndim == 2):
            torch.nn.init.normal_(weight, std=0.3, generator=generator)
    return mixer


def inputs(mixer, length, kv_heads, seed=0, dtype=torch.float32, batch=2):
    """Queries, keys with what is kept beside them, values."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator).to(dtype)

    q, k, v = (draw(batch, h, length, HEAD_DIM) for h in (HEADS, kv_heads, kv_heads))
    if mixer.kept:
        kept = mixer.keep(draw(batch, length, HEADS * HEAD_DIM).float()).detach()
        k = torch.cat([k, kept.to(dtype)], -1)
    return [x.requires_grad_() for x in (q, k, v)]


def run(mixer, tensors, **options):
    """Values, and gradients with respect to queries, keys with what is beside them, and values."""
    y = attend(*tensors, pattern=mixer, **options)
    return with_gradients(y, tensors)


def with_gradients(y, tensors):
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
    return [y, *torch.autograd.grad((y * weight).sum(), tensors)]


def assert_equal(found, expected, within=1e-5):
    """Each tensor to within a share of its largest number, or of 0.1 if all are smaller: with one token some
    gradients are 0."""
    for a, e in zip(found, expected, strict=True):
        assert a.shape == e.shape
        error, scale = (a.double() - e.double()).abs().max(), e.double().abs().max().clamp(min=0.1)
        assert error <= within * scale, f"{error:.1e} of {scale:.1e}"


def by_a_loop(mixer, q, k, v):
    """Token by token and head by head, as the papers write it, in float64."""
    q, k, v = (x.double() for x in (q, k, v))
    batch, heads, length, _ = q.shape
    per_key = heads // k.shape[1]
    step = {"linear": linear_step, "performer": performer_step, "gated_delta": delta_step}
    step = step[mixer.config.name]
    rows = []
    for b in range(batch):
        for h in range(heads):
            state = None
            for t in range(length):
                state, y = step(mixer, state, q[b, h, t], k[b, h // per_key, t], v[b, h // per_key, t])
                rows.append(y)
    return torch.stack(rows).view(batch, heads, length, -1)


def linear_step(mixer, state, q, k, v):
    """Katharopoulos et al. (2020), equations 16 to 20."""
    phi_q, phi_k = (torch.nn.functional.elu(x) + 1 for x in (q, k))
    s, z = (0, 0) if state is None else state
    s, z = s + torch.outer(phi_k, v), z + phi_k
    return (s, z), phi_q @ s / (phi_q @ z)


def performer_step(mixer, state, q, k, v):
    """Choromanski et al. (2021), equation 7 and lemma 1: h(x) = exp(−|x|²/2), f = exp."""
    w, m = mixer.projection.double(), len(mixer.projection)
    phi_q, phi_k = (
        torch.exp(w @ (x / HEAD_DIM**0.25) - (x / HEAD_DIM**0.25) @ (x / HEAD_DIM**0.25) / 2) / math.sqrt(m)
        for x in (q, k)
    )
    s, z = (0, 0) if state is None else state
    s, z = s + torch.outer(phi_k, v), z + phi_k
    return (s, z), phi_q @ s / (phi_q @ z)


def delta_step(mixer, state, q, k, v):
    """Yang et al. (2025), equation 10, with the state as the paper has it: values × keys."""
    k, log_alpha, beta = k[:-2], k[-2], k[-1]
    q, k = (x / (x @ x + 1e-6).sqrt() for x in (q, k))
    s = torch.zeros(len(v), len(k), dtype=torch.float64) if state is None else state
    s = log_alpha.exp() * s @ (torch.eye(len(k)).double() - beta * torch.outer(k, k)) + beta * torch.outer(
        v, k
    )
    return s, s @ q
