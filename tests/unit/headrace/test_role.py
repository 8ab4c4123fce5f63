"""What a role's process takes from the role itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from headrace.role import suited
from headrace.settings import read_settings


@pytest.mark.parametrize(
    ("role", "given", "expected"),
    [
        ("learning", {}, {"linger.ms": "5"}),
        ("learning", {"linger.ms": "20", "client.id": "a"}, {"linger.ms": "20", "client.id": "a"}),
        ("scoring", {"client.id": "a"}, {"client.id": "a"}),
    ],
)
def test_a_role_says_how_long_its_records_wait_and_the_user_has_the_last_word(
    tmp_path: Path, role: str, given: dict[str, str], expected: dict[str, str]
) -> None:
    settings = replace(read_settings(tmp_path), kafka_properties=given)

    assert suited(settings, role).kafka_properties == expected
