from __future__ import annotations

import os
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


def test_what_a_link_leads_to_is_changed_and_its_rights_stay(tmp_path):
    file, link = tmp_path / "etc.toml", tmp_path / "riskshare.toml"
    file.write_text('[member]\nname = "a"\n')
    file.chmod(0o640)
    link.symlink_to(file)
    write_pin(link, "net.json", "ab")
    assert link.is_symlink()
    assert tomllib.loads(file.read_text())["member"]["network_sha256"] == "ab"
    assert file.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_of_the_file_stays_its_owner(tmp_path):
    """Pinned by root, the file must still be read by the account that the peer runs under."""
    path = tmp_path / "riskshare.toml"
    path.write_text('[member]\nname = "a"\n')
    path.chmod(0o600)
    os.chown(path, 12345, 23456)
    write_pin(path, "net.json", "ab")
    found = path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (12345, 23456, 0o600)
