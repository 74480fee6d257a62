from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.cli.config_edit import with_values, write_pin
from riskshare.errors import ConfigError

VALUES = {"network_file": "net.json", "network_sha256": "ab"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '\n[member]\nnetwork_file = "net.json"\nnetwork_sha256 = "ab"\n'),
        ('[member]\nname = "a"\n', '[member]\nnetwork_file = "net.json"\nnetwork_sha256 = "ab"\nname = "a"\n'),
        (
            '[log]\nlevel = "info"\n[member] # me\n# why\nnetwork_sha256 = "" # old\nname = "a"\n',
            '[log]\nlevel = "info"\n[member] # me\nnetwork_file = "net.json"\n# why\nnetwork_sha256 = "ab"\nname = "a"\n',
        ),
        (
            '[member]\nnetwork_file="x"\nnetwork_sha256="y"\n[other]\nnetwork_file = "mine"\n',
            '[member]\nnetwork_file = "net.json"\nnetwork_sha256 = "ab"\n[other]\nnetwork_file = "mine"\n',
        ),
    ],
)
def test_only_the_two_keys_change(before, after):
    assert with_values(before, VALUES) == after


@given(st.text(st.characters(blacklist_categories=["Cs"]), max_size=40))
def test_any_path_is_read_back(path):
    text = with_values('[member]\nname = "a"\n', {"network_file": path})
    assert tomllib.loads(text) == {"member": {"network_file": path, "name": "a"}}


@pytest.mark.parametrize("text", ['member = { name = "a" }\n', '[member]\nname = """\n[member]\n"""\n', "[member\n"])
def test_what_cannot_be_changed_by_lines_is_left_alone(tmp_path, text):
    path = tmp_path / "riskshare.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="by hand"):
        write_pin(path, "net.json", "ab")
    assert path.read_text() == text
