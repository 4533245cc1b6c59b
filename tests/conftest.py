"""Every test runs with shapes and types checked at run time."""

from hypothesis import settings
from jaxtyping import install_import_hook

install_import_hook("longctx", "beartype.beartype")

# A busy machine is no fault of the code: what must be fast is measured in processor time where it matters.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
