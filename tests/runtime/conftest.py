from __future__ import annotations

import pytest
from tiny_vlm import VisionLanguage, write_both


@pytest.fixture(scope="session")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VisionLanguage:
    """The tiny vision-language model."""
    return write_both(tmp_path_factory.mktemp("vlm"))
