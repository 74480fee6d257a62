"""Signed notes: what others wrote is read and verified, what we write they read, and all else is refused by name."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import EncodingError, LedgerError
from riskshare.ledger.note import (
    COSIGNATURE,
    ED25519,
    MAX_SIGNATURES,
    MAX_TIME,
    Note,
    Signature,
    VerifierKey,
    cosign,
    cosigned_message,
    parse_key,
    parse_note,
    parse_signatures,
    sign,
    signature_lines,
    verify,
    verify_signatures,
)
from riskshare.signature import SigningKey

# The example of signed-note, "Verifier keys".
SPEC_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = """\
This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
"""
# The example of signed-note, introduction: its text has an empty line.
POEM = """\
Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
"""
# The reference keys and note of golang.org/x/mod/sumdb/note.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
GO_OTHER_KEY = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
GO_NOTE = """\
If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""
# Of the tests of transparency-dev/formats: a plus within the base64.
PLUS_KEY = "TEST+7997405c+AQcC+FTVKf0jlTdHDY3rbevmnKxxPjigCXlVtGe6RIr6"
# A checkpoint of a Certificate Transparency log in use, with cosignatures of public witnesses.
ARCHE_KEY = "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
REMORA_KEY = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
LITTLE_GARDEN_KEY = "transparency.dev/DEV:witness-little-garden+d8042a87+BCtusOxINQNUTN5Oj8HObRkh2yHf/MwYaGX4CPdiVEPM"
STAGEMOLE_KEY = "witness.stagemole.eu+67f7aea0+BEqSG3yu9YrmcM3BHvQYTxwFj3uSWakQepafafpUqklv"
SMARTIT_KEY = "witness1.smartit.nu/witness1+a48c820f+BPSFWg9G6KPiO7QPryYO5Xq4oYJJ+kAvLKLSimDhoxMO"
ARCHE_NOTE = """\
arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==
— witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
— witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==
"""
OTHERS_NOTES = {"spec": SPEC_NOTE, "poem": POEM, "go": GO_NOTE, "arche": ARCHE_NOTE}

KEY, OTHER = SigningKey(bytes(range(32))), SigningKey(bytes(32))
TEXT = "riskshare/simnet/icbc\n7\nroot\n"
LOG = VerifierKey("log", ED25519, KEY.public)
WITNESS = VerifierKey("witness", COSIGNATURE, OTHER.public)
NOTE = Note(TEXT, (sign(TEXT, "log", KEY), cosign(TEXT, "witness", OTHER, 1_800_000_000)))

letters = st.characters(exclude_categories=["Cs", "Cc"])
texts = st.lists(st.text(letters, max_size=12), min_size=1, max_size=5).map(lambda lines: "\n".join(lines) + "\n")
names = st.text(letters.filter(lambda letter: letter != "+" and not letter.isspace()), min_size=1, max_size=12)
signatures = st.builds(Signature, names, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80))


def refused(code: str):
    return pytest.raises(LedgerError, check=lambda error: error.code == code)


# --- What others wrote ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", OTHERS_NOTES)
def test_notes_of_others_read_and_print_back(name):
    data = OTHERS_NOTES[name].encode()
    assert parse_note(data).to_bytes() == data


@pytest.mark.parametrize(
    "text",
    [SPEC_KEY, GO_KEY, GO_OTHER_KEY, PLUS_KEY, ARCHE_KEY, REMORA_KEY, LITTLE_GARDEN_KEY, STAGEMOLE_KEY, SMARTIT_KEY],
)
def test_keys_of_others_read_and_print_back(text):
    key = parse_key(text)
    assert str(key) == text
    assert key.id.hex() == text.split("+")[1]


def test_the_examples_verify():
    assert [one.time for one in verify(parse_note(SPEC_NOTE.encode()), [parse_key(SPEC_KEY)])] == [None]
    assert verify(parse_note(GO_NOTE.encode()), map(parse_key, [GO_OTHER_KEY, GO_KEY]))[0].key == parse_key(GO_KEY)


def test_we_sign_what_go_signs():
    text = GO_NOTE.rpartition("\n\n")[0] + "\n"
    note = Note(text, (sign(text, "PeterNeumann", SigningKey(GO_SEED)),))
    assert note.to_bytes().decode() == GO_NOTE


def test_cosignatures_of_public_witnesses_verify():
    note = parse_note(ARCHE_NOTE.encode())
    keys = [parse_key(text) for text in (ARCHE_KEY, REMORA_KEY, LITTLE_GARDEN_KEY, STAGEMOLE_KEY, SMARTIT_KEY)]
    found = verify(note, keys)
    assert len(note.signatures) == 6  # that of type 0x05 is kept, and ignored
    assert {one.key for one in found} == set(keys)
    assert {one.time for one in found} == {None, 0x6A122120}


@pytest.mark.parametrize("position", range(1, 6))
def test_a_public_witness_did_not_see_another_size(position):
    note = parse_note(ARCHE_NOTE.replace("1432088532", "1432088533").encode())
    with refused("bad_signature"):
        verify(Note(note.text, note.signatures[position : position + 1]), map(parse_key, [ARCHE_KEY, REMORA_KEY, LITTLE_GARDEN_KEY, STAGEMOLE_KEY, SMARTIT_KEY]))  # fmt: skip


# --- By hand --------------------------------------------------------------------------------------


def test_a_key_and_its_id_by_hand():
    digest = hashlib.sha256(b"log\n\x01" + KEY.public).digest()[:4]
    assert LOG.id == digest
    assert str(LOG) == f"log+{digest.hex()}+{base64.b64encode(bytes([1]) + KEY.public).decode()}"
    assert VerifierKey("log", COSIGNATURE, KEY.public).id == hashlib.sha256(b"log\n\x04" + KEY.public).digest()[:4]


def test_a_cosignature_by_hand():
    message = b"cosignature/v1\ntime 1679315147\n" + TEXT.encode()
    made = cosign(TEXT, "witness", KEY, 1_679_315_147)
    assert cosigned_message(TEXT, 1_679_315_147) == message
    assert made.value[:8] == (1_679_315_147).to_bytes(8, "big")
    Ed25519PublicKey.from_public_bytes(KEY.public).verify(made.value[8:], message)
    assert made.value[8:] == Ed25519PrivateKey.from_private_bytes(bytes(range(32))).sign(message)


@given(texts, names, st.integers(0, MAX_TIME))
def test_what_we_sign_reads_back_and_verifies(text, name, time):
    log, witness = VerifierKey(name, ED25519, KEY.public), VerifierKey(name, COSIGNATURE, OTHER.public)
    note = Note(text, (sign(text, name, KEY), cosign(text, name, OTHER, time)))
    read = parse_note(note.to_bytes())
    assert read == note
    assert [(one.key, one.time) for one in verify(read, [witness, log])] == [(log, None), (witness, time)]
    assert parse_key(str(log)) == log
    assert parse_key(str(witness)) == witness


@given(texts, st.lists(signatures, min_size=1, max_size=5))
def test_every_note_reads_back(text, made):
    note = Note(text, tuple(made))
    assert parse_note(note.to_bytes()) == note
    assert parse_signatures(signature_lines(made).encode()) == note.signatures


@given(st.data())
def test_no_altered_note_verifies_as_before(data):
    whole = bytearray(NOTE.to_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    try:
        read = parse_note(bytes(whole))
        found = verify_signatures(read.text, read.signatures, [LOG, WITNESS])
    except (EncodingError, LedgerError):
        return
    # Only an altered name or key id leaves the other signature good, and the altered one unknown.
    assert read.text == TEXT
    assert len(found) < 2


@given(st.binary(max_size=80) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(data):
    for whole in (data, b"text\n\n" + data, b"text\n\n\xe2\x80\x94 " + data):
        try:
            note = parse_note(whole)
        except EncodingError:
            continue
        assert note.to_bytes() == whole


def test_a_newer_signature_takes_the_place_of_an_older_one():
    newer, foreign = cosign(TEXT, "witness", OTHER, 1_900_000_000), Signature("foreign", b"1234", b"?")
    merged = NOTE.with_signatures([newer, foreign])
    assert merged.signatures == (NOTE.signatures[0], newer, foreign)
    assert merged.with_signatures([]) == merged


# --- Verification ---------------------------------------------------------------------------------


def test_unknown_keys_are_kept_and_ignored():
    same_name, same_id = Signature("log", b"\0\0\0\0", b"?"), Signature("another", LOG.id, b"?")
    note = Note(TEXT, (same_name, same_id, same_name, *NOTE.signatures))
    assert parse_note(note.to_bytes()) == note
    assert [one.key for one in verify(note, [LOG])] == [LOG]


def with_value(signature: Signature, value: bytes) -> Signature:
    return Signature(signature.name, signature.key_id, value)


MADE, COSIGNED = NOTE.signatures
BAD = {
    "another text": Note(TEXT + "more\n", NOTE.signatures[:1]),
    "another text, cosigned": Note(TEXT + "more\n", NOTE.signatures[1:]),
    "bit of the signature": Note(TEXT, (with_value(MADE, bytes([MADE.value[0] ^ 1]) + MADE.value[1:]),)),
    "short": Note(TEXT, (with_value(MADE, MADE.value[:-1]),)),
    "long": Note(TEXT, (with_value(MADE, MADE.value + b"\x00"),)),
    "one byte": Note(TEXT, (with_value(MADE, b"\x00"),)),
    "time": Note(TEXT, (with_value(COSIGNED, bytes([0, 0, 0, 0, 1, 1, 1, 1]) + COSIGNED.value[8:]),)),
    "time without signature": Note(TEXT, (with_value(COSIGNED, COSIGNED.value[:8]),)),
    "signature without time": Note(TEXT, (with_value(COSIGNED, COSIGNED.value[8:]),)),
    "log signature as cosignature": Note(TEXT, (with_value(COSIGNED, OTHER.sign(TEXT.encode())),)),
    "cosignature as log signature": Note(TEXT, (with_value(MADE, cosign(TEXT, "log", KEY, 5).value[8:]),)),
    "of the other key": Note(TEXT, (with_value(MADE, OTHER.sign(TEXT.encode())),)),
    "one of two": Note(TEXT, (MADE, with_value(COSIGNED, bytes(72)))),
    "only unknown": Note(TEXT, (Signature("another", b"1234", MADE.value),)),
}


@pytest.mark.parametrize("what", BAD)
def test_a_note_with_a_wrong_signature_of_a_known_key_is_refused(what):
    with refused("bad_signature"):
        verify(BAD[what], [LOG, WITNESS])


def test_a_note_that_no_known_key_signed_is_refused():
    with refused("bad_signature"):
        verify(NOTE, [])
    assert verify_signatures(NOTE.text, NOTE.signatures, []) == ()


@pytest.mark.parametrize("second", [MADE, with_value(MADE, b"?")], ids=["identical", "another"])
def test_a_known_key_signs_once(second):
    with refused("duplicate_signature"):
        verify(Note(TEXT, (MADE, second)), [LOG])


def test_a_time_beyond_the_range_is_refused():
    time = MAX_TIME + 1
    value = time.to_bytes(8, "big") + OTHER.sign(cosigned_message(TEXT, time))
    with refused("bad_signature"):
        verify(Note(TEXT, (with_value(COSIGNED, value),)), [WITNESS])
    for wrong in (time, -1):
        with pytest.raises(ValueError):
            cosign(TEXT, "witness", OTHER, wrong)


def test_the_order_of_keys_and_their_repetition_do_not_matter():
    for keys in ([LOG, WITNESS], [WITNESS, LOG], [LOG, LOG, WITNESS]):
        assert [one.key for one in verify(NOTE, keys)] == [LOG, WITNESS]


def test_the_repr_of_a_signature_is_short():
    assert repr(MADE) == f"Signature(name='log', key_id={LOG.id!r})"


# --- Malformed ------------------------------------------------------------------------------------

LINE = MADE.line
ENCODED = LINE.split(" ")[2].strip()
BODY = TEXT + "\n"
MALFORMED = {
    "empty": "",
    "newline": "\n",
    "two newlines": "\n\n",
    "text only": TEXT,
    "text and empty line": BODY,
    "no empty line": TEXT + LINE,
    "text without newline": "text" + LINE,
    "signature only": LINE,
    "no last newline": BODY + LINE[:-1],
    "two last newlines": BODY + LINE + "\n",
    "line behind": BODY + LINE + "behind\n",
    "line between": BODY + LINE + "between\n" + LINE,
    "empty line between": BODY + LINE + "\n" + "no signature\n",
    "carriage return": BODY + LINE[:-1] + "\r\n",
    "tab in the text": "te\txt\n\n" + LINE,
    "nul in the text": "te\x00xt\n\n" + LINE,
    "escape in the text": "te\x1bxt\n\n" + LINE,
    "hyphen": BODY + LINE.replace("\u2014", "-"),
    "en dash": BODY + LINE.replace("\u2014", "\u2013"),
    "no space after the dash": BODY + LINE.replace("\u2014 ", "\u2014"),
    "two spaces after the dash": BODY + LINE.replace("\u2014 ", "\u2014  "),
    "no-break space after the dash": BODY + LINE.replace("\u2014 ", "\u2014\u00a0"),
    "space in front": BODY + " " + LINE,
    "no name": BODY + f"\u2014 {ENCODED}\n",
    "empty name": BODY + f"\u2014  {ENCODED}\n",
    "plus in the name": BODY + f"\u2014 lo+g {ENCODED}\n",
    "no-break space in the name": BODY + f"\u2014 lo\u00a0g {ENCODED}\n",
    "next line in the name": BODY + f"\u2014 lo\u0085g {ENCODED}\n",
    "line separator in the name": BODY + f"\u2014 lo\u2028g {ENCODED}\n",
    "ideographic space in the name": BODY + f"\u2014 lo\u3000g {ENCODED}\n",
    "no signature": BODY + "\u2014 log\n",
    "empty signature": BODY + "\u2014 log \n",
    "two spaces": BODY + f"\u2014 log  {ENCODED}\n",
    "space behind": BODY + f"\u2014 log {ENCODED} \n",
    "not base64": BODY + "\u2014 log ?????\n",
    "no padding": BODY + f"\u2014 log {base64.b64encode(bytes(5)).decode().rstrip('=')}\n",
    "too much padding": BODY + f"\u2014 log {base64.b64encode(bytes(6)).decode()}====\n",
    "stray bits": BODY + "\u2014 log AAAAAAB=\n",
    "URL alphabet": BODY + "\u2014 log AAAAAAA_\n",
    "key id only": BODY + f"\u2014 log {base64.b64encode(bytes(4)).decode()}\n",
    "three bytes": BODY + f"\u2014 log {base64.b64encode(bytes(3)).decode()}\n",
    "a signature too long": BODY + f"\u2014 log {base64.b64encode(bytes(9000)).decode()}\n",
    "too many": BODY + f"\u2014 log {base64.b64encode(bytes(5)).decode()}\n" * (MAX_SIGNATURES + 1),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_note_is_refused(what):
    with pytest.raises(EncodingError, check=lambda error: error.code == "malformed"):
        parse_note(MALFORMED[what].encode())


def test_a_note_is_utf_8():
    for wrong in (b"\xff", b"\xed\xa0\x80", b"\xc0\x80"):
        with pytest.raises(EncodingError):
            parse_note(b"te" + wrong + b"xt\n\n" + LINE.encode())


def test_a_note_that_is_too_long_is_not_looked_into():
    data = NOTE.to_bytes()
    assert parse_note(data, limit=len(data)) == NOTE
    with pytest.raises(EncodingError):
        parse_note(data, limit=len(data) - 1)


def test_sixteen_signatures_and_two_thousand_are_read():
    for count in (16, MAX_SIGNATURES):
        data = (BODY + f"\u2014 log {base64.b64encode(bytes(5)).decode()}\n" * count).encode()
        assert len(parse_note(data).signatures) == count


@pytest.mark.parametrize("data", ["", "\n", LINE[:-1], LINE + "\n", "\n" + LINE, BODY + LINE, "text\n"], ids=repr)
def test_malformed_signature_lines_are_refused(data):
    with pytest.raises(EncodingError):
        parse_signatures(data.encode())


def key_text(name: str, material: bytes) -> str:
    digest = hashlib.sha256(name.encode() + b"\n" + material).digest()[:4]
    return f"{name}+{digest.hex()}+{base64.b64encode(material).decode()}"


BAD_KEYS = {
    "empty": "",
    "name only": "example.com/foo",
    "no key": "example.com/foo+530d903a",
    "empty key": "example.com/foo+530d903a+",
    "no name": key_text("", b"\x01" + KEY.public),
    "space in the name": key_text("a b", b"\x01" + KEY.public),
    "newline in the name": key_text("a\nb", b"\x01" + KEY.public),
    "another id": SPEC_KEY.replace("530d903a", "530d903b"),
    "upper case id": SPEC_KEY.replace("530d903a", "530D903A"),
    "short id": SPEC_KEY.replace("530d903a", "530d903"),
    "long id": SPEC_KEY.replace("530d903a", "0530d903a"),
    "id of another name": SPEC_KEY.replace("foo", "bar"),
    "id without a digit": SPEC_KEY.replace("530d903a", "530d903g"),
    "newline behind": SPEC_KEY + "\n",
    "space behind": SPEC_KEY + " ",
    "no base64": SPEC_KEY + "!",
    "unpadded": key_text("log", b"\x01" + KEY.public + b"\x00").rstrip("="),
    "type 0x02": key_text("log", b"\x02" + KEY.public),
    "type 0x06": key_text("log", b"\x06" + KEY.public),
    "type 0xff": key_text("log", b"\xff" + KEY.public),
    "type only": key_text("log", b"\x01"),
    "31 bytes": key_text("log", b"\x01" + KEY.public[:31]),
    "33 bytes": key_text("log", b"\x01" + KEY.public + b"\x00"),
    "private key": "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz",
}


@pytest.mark.parametrize("what", BAD_KEYS)
def test_another_verifier_key_is_refused(what):
    with pytest.raises(EncodingError, check=lambda error: error.code == "malformed"):
        parse_key(BAD_KEYS[what])


def test_no_part_of_a_key_and_no_altered_one_is_a_key():
    for start in range(len(SPEC_KEY)):
        for end in range(start, len(SPEC_KEY) + (start > 0)):
            with pytest.raises(EncodingError):
                parse_key(SPEC_KEY[start:end])
        altered = SPEC_KEY[:start] + chr(ord(SPEC_KEY[start]) + 1) + SPEC_KEY[start + 1 :]
        with pytest.raises(EncodingError):
            parse_key(altered)


@pytest.mark.parametrize(
    ("name", "kind", "public"),
    [("", 1, 32), ("a+b", 1, 32), ("a b", 1, 32), ("a\u2003b", 1, 32), ("\ud800", 1, 32), ("a", 2, 32), ("a", 4, 31)],
)
def test_a_key_that_could_not_be_read_back_is_not_made(name, kind, public):
    with pytest.raises(ValueError):
        VerifierKey(name, kind, bytes(public))
