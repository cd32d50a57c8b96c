"""XLA where it is tested with: it compiles for most of such a test, and shall not optimise."""

import os
from contextlib import contextmanager


@contextmanager
def unoptimised_xla():
    """To be entered before JAX is first used; the environment is afterwards as it was."""
    before = dict(os.environ)
    os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    yield
    os.environ.clear()
    os.environ.update(before)
