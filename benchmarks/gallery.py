"""Every pattern and mixer of the library, each with about so many keys a query."""

from __future__ import annotations

from longctx.attention import MIXERS, list_patterns


def gallery(length: int, keys: int = 256) -> dict[str, str]:
    """Specs by name, causal where the pattern can be; each allows about ``keys`` to a query of a long text.

    Full attention, prefixes, short texts and what has no softmax cannot be asked for that.

    Raises:
        RuntimeError: a registered pattern or mixer without a place here.
    """

    def spread(n: int) -> tuple[int, ...]:
        return tuple(range(length // n - 1, length, length // n))

    def starts(size: int) -> tuple[int, ...]:
        return tuple(range(size, length, size)) or (length,)

    half, few = keys // 2, keys // 16
    specs = {
        "full": "full",
        "prefix_lm": f"prefix_lm(prefix={keys})",
        "sliding_window": f"sliding_window(window={keys})",
        "block_local": f"block_local(block_size={2 * keys})",
        "dilated_window": f"dilated_window(window={keys}, dilation=16)",
        "strided": f"strided(stride={half})",
        "fixed": f"fixed(stride={keys}, summary=4)",
        "sinks": f"sinks(window={keys - 4}, sinks=4)",
        "longformer": f"longformer(window={keys - few}, global_positions={spread(few)})",
        "bigbird": f"bigbird(block_size={keys // 4}, random_blocks=2, length={length})",
        "logsparse": f"logsparse(window={keys - few})",
        "longnet": f"longnet(segments={tuple(half * 8**n for n in range(4))}, dilations=(1, 8, 64, 512))",
        "vertical_slash": f"vertical_slash(window={keys - few}, verticals={spread(few // 2)}, "
        f"slashes={tuple(2 * keys * 2**n for n in range(4))})",
        "documents": f"documents(starts={starts(2 * keys)})",
        "both": f"(sliding_window(window={keys + few})) & (documents(starts={starts(8 * keys)}))",
        "either": f"(sliding_window(window={keys - half // 4})) | "
        f"(dilated_window(window={half // 4}, dilation={half // 4}))",
        "moba": f"moba(block_size={keys // 4}, blocks=4)",
        "top_k": f"top_k(k={keys})",
        "dsa": f"dsa(k={keys})",
        "nsa": f"nsa(block_size={keys // 8}, blocks=4, window={half})",
        "lsh": f"lsh(window={keys})",
        "routing": f"routing(window={keys})",
        "linear": "linear",
        "performer": "performer",
        "gated_delta": "gated_delta",
    }
    if missing := {*list_patterns(), *(entry.name for entry in MIXERS)} - set(specs):
        raise RuntimeError(f"give {', '.join(sorted(missing))} a place in benchmarks/gallery.py")
    return specs
