"""Small agents and random batches for the Dreamer tests."""

import pytest
from sequences import Workshop


@pytest.fixture
def workshop():
    return Workshop()
