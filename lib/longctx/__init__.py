"""Longer Context: position encodings × sparse attention × context length, on equal terms."""
