from __future__ import annotations

from functools import lru_cache

import pytest
import reports_synthetic

from reports.document import build
from reports.model import Document


@lru_cache(maxsize=8)
def _document(name: str) -> Document:
    return build([reports_synthetic.every()[name]()])


@pytest.fixture(scope="session", params=["local", "node", "simulated"])
def document(request: pytest.FixtureRequest) -> Document:
    """Each of the three synthetic runs, built once."""
    return _document(request.param)


@pytest.fixture(scope="session")
def local() -> Document:
    return _document("local")


@pytest.fixture(scope="session")
def node() -> Document:
    return _document("node")


@pytest.fixture(scope="session")
def simulated() -> Document:
    return _document("simulated")
