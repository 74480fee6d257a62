from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare import sodium

ROOT = Path(__file__).parents[2]
RFC9496 = json.loads((ROOT / "tests/vectors/rfc9496.json").read_text(encoding="utf-8"))
MULTIPLES = [bytes.fromhex(text) for text in RFC9496["multiples_of_generator"]]
IDENTITY, GENERATOR = MULTIPLES[:2]
INVALID = [
    pytest.param(bytes.fromhex(text), id=f"{kind}-{place}")
    for kind, texts in RFC9496["invalid_encodings"].items()
    for place, text in enumerate(texts)
]
ORDER = 2**252 + 27742317777372353535851937790883648493

numbers = st.integers(0, ORDER - 1)


def scalar(number: int) -> bytes:
    return (number % ORDER).to_bytes(32, "little")


def number(encoding: bytes) -> int:
    return int.from_bytes(encoding, "little")


def test_the_library_is_new_enough_and_says_where_it_is_from():
    assert tuple(map(int, sodium.VERSION.split("."))) >= sodium.OLDEST
    assert sodium.SOURCE in {"system", "rbcl"}


def test_calls_release_the_lock_of_the_interpreter():
    python_api = 0x4  # FUNCFLAG_PYTHONAPI of CPython's ctypes: keep the lock
    assert not isinstance(sodium._library, ctypes.PyDLL)
    assert sodium._library._FuncPtr._flags_ & python_api == 0


@pytest.mark.parametrize("place", range(1, 16))
def test_multiples_of_the_generator(place):
    assert sodium.scalar_multiply_base(scalar(place)) == MULTIPLES[place]
    assert sodium.scalar_multiply(scalar(place), GENERATOR) == MULTIPLES[place]
    assert sodium.point_add(MULTIPLES[place - 1], GENERATOR) == MULTIPLES[place]
    assert sodium.point_sub(MULTIPLES[place], GENERATOR) == MULTIPLES[place - 1]
    assert sodium.point_is_valid(MULTIPLES[place])


@pytest.mark.parametrize("vector", RFC9496["element_derivation"], ids=lambda vector: vector["input"][:8])
def test_points_from_uniform_bytes(vector):
    assert sodium.point_from_hash(bytes.fromhex(vector["input"])).hex() == vector["element"]


@pytest.mark.parametrize("encoding", INVALID)
def test_invalid_encodings_are_no_points(encoding):
    assert not sodium.point_is_valid(encoding)
    assert sodium.scalar_multiply(scalar(1), encoding) is None
    assert sodium.scalar_multiply_many(scalar(1), encoding) == (b"", 0)
    for operation in (sodium.point_add, sodium.point_sub):
        with pytest.raises(ValueError):
            operation(encoding, GENERATOR)
        with pytest.raises(ValueError):
            operation(GENERATOR, encoding)


def test_a_product_that_is_the_identity_is_none():
    assert sodium.scalar_multiply(scalar(0), GENERATOR) is None
    assert sodium.scalar_multiply(scalar(7), IDENTITY) is None
    assert sodium.scalar_multiply_base(scalar(0)) is None


FIXED = [
    (sodium.ed25519_keypair, [32]),
    (lambda secret: sodium.ed25519_sign(b"", secret), [64]),
    (lambda signature, public: sodium.ed25519_verify(signature, b"", public), [64, 32]),
    (sodium.point_from_hash, [64]),
    (sodium.point_is_valid, [32]),
    (sodium.point_add, [32, 32]),
    (sodium.point_sub, [32, 32]),
    (sodium.scalar_multiply, [32, 32]),
    (sodium.scalar_multiply_base, [32]),
    (lambda factor: sodium.scalar_multiply_many(factor, b""), [32]),
    (lambda factor: sodium.hash_multiply_many(factor, b""), [32]),
    (sodium.scalar_reduce, [64]),
    (sodium.scalar_invert, [32]),
    (sodium.scalar_negate, [32]),
    (sodium.scalar_add, [32, 32]),
    (sodium.scalar_sub, [32, 32]),
    (sodium.scalar_mul, [32, 32]),
]


@pytest.mark.parametrize(("function", "sizes"), FIXED)
def test_every_wrong_length_is_refused_before_c_reads(function, sizes):
    good = [bytes(size - 1) + b"\x01" for size in sizes]
    for place, size in enumerate(sizes):
        for wrong in set(range(130)) - {size}:
            with pytest.raises(ValueError):
                function(*good[:place], bytes(wrong), *good[place + 1 :])


@pytest.mark.parametrize("value", [bytearray(32), memoryview(bytes(32)), "x" * 32, [0] * 32])
def test_what_is_not_bytes_is_refused(value):
    for call in (
        lambda: sodium.scalar_negate(value),
        lambda: sodium.scalar_multiply(value, GENERATOR),
        lambda: sodium.scalar_multiply_many(scalar(1), value),
        lambda: sodium.hash_multiply_many(scalar(1), value * 2 if type(value) is not memoryview else value),
    ):
        with pytest.raises(ValueError):
            call()


@pytest.mark.parametrize("size", sorted({*range(66), 95, 97, 127, 129} - {0, 32, 64}))
def test_many_refuse_torn_points(size):
    with pytest.raises(ValueError):
        sodium.scalar_multiply_many(scalar(1), bytes(size))
    with pytest.raises(ValueError):
        sodium.hash_multiply_many(scalar(1), bytes(size))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 16, 65])
def test_many_are_the_singles_joined(count):
    uniform = [bytes([place + 1]) * 64 for place in range(count)]
    points = [sodium.point_from_hash(one) for one in uniform]
    expected = b"".join(sodium.scalar_multiply(scalar(77), point) or b"" for point in points)
    assert sodium.scalar_multiply_many(scalar(77), b"".join(points)) == (expected, -1)
    assert sodium.hash_multiply_many(scalar(77), b"".join(uniform)) == (expected, -1)


@pytest.mark.parametrize("bad", [0, 1, 6])
def test_many_name_the_first_that_is_no_point(bad):
    points = [GENERATOR] * 7
    points[bad] = IDENTITY
    points[6] = IDENTITY
    assert sodium.scalar_multiply_many(scalar(3), b"".join(points)) == (b"", bad)


def test_hash_and_multiply_names_the_first_identity():
    # Both halves of zeros map to the identity (RFC 9496 4.3.4): no hash is known that does.
    good, identity = bytes([1]) * 64, bytes(64)
    assert sodium.point_from_hash(identity) == IDENTITY
    assert sodium.hash_multiply_many(scalar(3), good + identity + good) == (b"", 1)


@given(numbers, numbers)
def test_scalars_are_integers_modulo_the_order(one, other):
    assert number(sodium.scalar_add(scalar(one), scalar(other))) == (one + other) % ORDER
    assert number(sodium.scalar_sub(scalar(one), scalar(other))) == (one - other) % ORDER
    assert number(sodium.scalar_mul(scalar(one), scalar(other))) == one * other % ORDER
    assert number(sodium.scalar_negate(scalar(one))) == -one % ORDER


@given(st.binary(min_size=64, max_size=64))
def test_reduction(uniform):
    assert number(sodium.scalar_reduce(uniform)) == number(uniform) % ORDER


@given(numbers.filter(bool))
def test_inversion(value):
    assert number(sodium.scalar_invert(scalar(value))) == pow(value, -1, ORDER)


def test_zero_has_no_inverse():
    with pytest.raises(ValueError):
        sodium.scalar_invert(bytes(32))


@given(numbers.filter(bool), numbers.filter(bool), st.binary(min_size=64, max_size=64))
def test_multiplication_commutes_and_distributes(one, other, uniform):
    point = sodium.point_from_hash(uniform)
    if point == IDENTITY:
        return
    first, second = sodium.scalar_multiply(scalar(one), point), sodium.scalar_multiply(scalar(other), point)
    assert first is not None
    assert second is not None
    assert sodium.scalar_multiply(scalar(other), first) == sodium.scalar_multiply(scalar(one), second)
    total = sodium.scalar_multiply(scalar(one + other), point) or IDENTITY
    assert sodium.point_add(first, second) == total
    assert sodium.point_sub(total, second) == first


def test_threads_do_not_disturb_one_another():
    points = GENERATOR * 64
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda factor: sodium.scalar_multiply_many(scalar(factor), points), range(1, 16)))
    assert found == [(MULTIPLES[factor] * 64, -1) for factor in range(1, 16)]


# --- which library is loaded: each in a process of its own ---------------------------------


def run(source: str, *, place: Path, path: Path | None = None, wanted: str) -> subprocess.CompletedProcess[str]:
    code = [sys.executable, "-W", "error", "-c", source]
    found = os.pathsep.join(str(entry) for entry in (path, ROOT) if entry is not None)
    environment = os.environ | {"TMPDIR": str(place), "PYTHONPATH": found, "RISKSHARE_SODIUM": wanted}
    return subprocess.run(code, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_the_copy_in_rbcl_leaves_no_file_behind(tmp_path):
    done = run(
        "import tempfile; from riskshare import sodium; print(sodium.SOURCE, sodium.VERSION, tempfile.tempdir);"
        "print(sodium.scalar_multiply_base(bytes([1]) + bytes(31)).hex())",
        place=tmp_path,
        wanted="rbcl",
    )
    assert done.stderr == ""
    source, version, temporary, product = done.stdout.split()
    assert (source, temporary, product) == ("rbcl", "None", GENERATOR.hex())
    assert tuple(map(int, version.split("."))) >= sodium.OLDEST
    assert list(tmp_path.iterdir()) == []


def test_the_copy_in_rbcl_passes_the_vectors(tmp_path):
    tests = [str(ROOT / "tests/unit" / name) for name in ("test_oprf.py", "test_group.py", "test_signature.py")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "vector", *tests],
        env=os.environ | {"TMPDIR": str(tmp_path), "RISKSHARE_SODIUM": "rbcl"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def fake_rbcl(path: Path, body: str) -> Path:
    package = path / "path" / "rbcl"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('the package itself is not imported')\n")
    if body:
        (package / "_sodium.py").write_text(body)
    (path / "temporary").mkdir()
    return package.parent


CATCH = """
import tempfile
from riskshare.errors import ConfigError
try:
    from riskshare import sodium
except ConfigError as error:
    print(error, tempfile.tempdir)
"""


def test_a_damaged_copy_is_an_error_and_leaves_no_file_behind(tmp_path):
    body = (
        "import ctypes, tempfile\n"
        "with tempfile.NamedTemporaryFile(suffix='.so', delete=False) as file:\n"
        "    file.write(b'no library')\n"
        "ctypes.cdll.LoadLibrary(file.name)\n"
    )
    path = fake_rbcl(tmp_path, body)
    done = run(CATCH, place=tmp_path / "temporary", path=path, wanted="rbcl")
    assert done.stdout.startswith("The libsodium inside rbcl cannot be loaded: ")
    assert done.stdout.split()[-1] == "None"
    assert done.stderr == ""
    assert list((tmp_path / "temporary").iterdir()) == []


def test_no_library_at_all_says_what_to_install(tmp_path):
    path = fake_rbcl(tmp_path, "")
    done = run(CATCH, place=tmp_path / "temporary", path=path, wanted="rbcl")
    assert done.stdout.startswith("No usable libsodium is found")
    assert "Install libsodium 1.0.18 or newer, or the Python package rbcl." in done.stdout


def test_a_wrong_choice_is_refused(tmp_path):
    done = run(CATCH, place=tmp_path, wanted="openssl")
    assert done.stdout.startswith("RISKSHARE_SODIUM is neither `system` nor `rbcl`.")


def test_a_library_without_the_group_is_not_used():
    assert not sodium._usable(ctypes.CDLL(None, handle=ctypes.pythonapi._handle))
