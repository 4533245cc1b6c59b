"""Every test runs with shapes and types checked at run time."""

from jaxtyping import install_import_hook

install_import_hook("longctx", "beartype.beartype")
