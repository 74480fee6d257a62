"""The filter: rate, no false negative, and bits that another implementation would set."""

import math
import random
import subprocess
import sys

import mmh3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskshare.errors import EncodingError
from riskshare.membership.bloom import Bloom, Parameters, expected_rate, size
from riskshare.membership.bloom_build import BLOCK, build

RATE = 2.0**-10
labels = st.binary(min_size=16, max_size=16)


def random_labels(count, seed):
    source = random.Random(seed)
    return [source.randbytes(16) for _ in range(count)]


def plain_build(listed, parameters):
    """The definition, by big integers and without numpy."""
    bits = bytearray(parameters.size_bytes)
    for label in listed:
        digest = mmh3.hash_bytes(label, parameters.seed, x64arch=True)
        first, second = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
        for i in range(parameters.hashes):
            position = (first + i * second + (i**3 - i) // 6) % parameters.bits
            bits[position // 8] |= 1 << position % 8
    return bits


@pytest.mark.parametrize(
    ("count", "filters", "asked"), [(10, 400, 1000), (100, 80, 5000), (1000, 4, 100_000), (20_000, 1, 400_000)]
)
def test_measured_rate_is_within_a_fifth_of_the_nominal_one(count, filters, asked):
    hits = 0
    for number in range(filters):
        source = random.Random(1000 * count + number)
        parameters = size(count, RATE, floor=0, seed=source.getrandbits(32))
        bloom = Bloom(parameters, bytes(build([source.randbytes(16 * count)], parameters)))
        hits += sum(source.randbytes(16) in bloom for _ in range(asked))
    assert hits / (filters * asked) == pytest.approx(RATE, rel=0.2)


def test_plain_double_hashing_would_miss_the_rate_in_a_small_filter():
    """Why the third term is there: the same filter without it says maybe far too often."""
    parameters = size(10, RATE, floor=0)
    source = random.Random(7)

    def positions():
        first, second = source.getrandbits(64), source.getrandbits(64)
        return {(first + i * second) % parameters.bits for i in range(parameters.hashes)}

    hits = 0
    for _ in range(100):
        listed = set().union(*(positions() for _ in range(10)))
        hits += sum(positions() <= listed for _ in range(1000))
    assert hits / 100_000 > 3 * RATE


@settings(deadline=None, max_examples=60)
@given(st.lists(labels, max_size=60), st.integers(0, 2**32 - 1), st.integers(8, 32), st.integers(64, 5000))
def test_no_false_negative_and_the_bits_of_the_definition(listed, seed, hashes, bits):
    parameters = Parameters(bits, hashes, seed)
    filled = build(listed, parameters)
    assert filled == plain_build(listed, parameters)
    bloom = Bloom(parameters, bytes(filled))
    assert all(label in bloom for label in listed)


def test_no_false_negative_across_blocks_of_the_builder():
    listed = random_labels(2 * BLOCK + 3, 1)
    parameters = size(len(listed), RATE, seed=9)
    joined = build([b"".join(listed)], parameters)
    assert joined == build(listed, parameters) == build([b"".join(listed[:5]), b"", b"".join(listed[5:])], parameters)
    bloom = Bloom(parameters, bytes(joined))
    assert all(label in bloom for label in listed)
    assert bloom.ones() / parameters.bits == pytest.approx(0.5, abs=0.26)


def test_hash_is_murmur3_x64_128_with_little_endian_halves():
    """The reference implementation's well-known digest of 'The quick brown fox jumps over the lazy dog', seed 0."""
    digest = mmh3.mmh3_x64_128_digest(b"The quick brown fox jumps over the lazy dog", 0)
    assert digest.hex() == "6c1b07bc7bbc4be347939ac4a93c437a"
    assert mmh3.mmh3_x64_128_utupledigest(b"The quick brown fox jumps over the lazy dog", 0) == (
        0xE34BBC7BBC071B6C,
        0x7A433CA9C49A9347,
    )


def test_golden_filter():
    """Bits that no later version may set otherwise: published filters would answer no."""
    parameters = Parameters(bits=101, hashes=8, seed=42)
    assert build([bytes(range(16))], parameters).hex() == plain_build([bytes(range(16))], parameters).hex()
    assert build([bytes(range(16))], parameters).hex() == "00204220800020000001000002"


@pytest.mark.parametrize(
    ("count", "rate"),
    [(0, 2**-20), (1, RATE), (10, RATE), (1000, 2**-20), (10**6, 2**-20), (10**9, 2**-20), (10**6, 0.001)],
)
def test_size_keeps_the_rate_with_the_fewest_bits(count, rate):
    chosen = size(count, rate, floor=0)
    assert chosen.hashes == round(-math.log2(rate))
    assert expected_rate(chosen.bits, chosen.hashes, count) <= rate
    assert chosen.bits == 64 or expected_rate(chosen.bits - 1, chosen.hashes, count) > rate


def test_size_of_a_large_list_is_the_textbook_figure():
    assert size(10**6).bits == pytest.approx(10**6 * 1.4427 * 20, rel=0.001)


def test_short_list_gets_the_floor():
    assert size(3).bits == 2**20
    assert size(3, floor=0).bits < 2**20


@pytest.mark.parametrize(
    ("count", "rate"), [(10, 0.5), (10, 2**-33), (10, 0.0), (10, -1.0), (10, 2.0), (-1, RATE), (10**12, RATE)]
)
def test_size_refuses(count, rate):
    with pytest.raises(ValueError, match="filter"):
        size(count, rate)


def test_empty_filter_says_no():
    parameters = size(0, floor=0)
    bloom = Bloom(parameters, bytes(build([], parameters)))
    assert not any(label in bloom for label in random_labels(100, 2))


def test_labels_of_another_length_are_refused_by_the_builder():
    with pytest.raises(ValueError, match="16 bytes"):
        build([bytes(17)], size(1))


def test_parameters_survive_json():
    parameters = size(1000, seed=2**32 - 1)
    assert Parameters.from_json(parameters.to_json()) == parameters


@pytest.mark.parametrize(
    "change",
    [
        {"bits": 0}, {"bits": 63}, {"bits": 2**60}, {"bits": -1}, {"bits": "64"}, {"bits": True}, {"bits": 64.0}, {"bits": None},
        {"hashes": 0}, {"hashes": 7}, {"hashes": 33}, {"hashes": 2**60}, {"seed": -1}, {"seed": 2**32},
        {"hash": "mmh3-x86-128"}, {"hash": None}, {"order": "big"}, {"extra": 1},
    ],
    ids=str,
)  # fmt: skip
def test_parameters_refuse(change):
    with pytest.raises(EncodingError):
        Parameters.from_json(size(10).to_json() | change)


@pytest.mark.parametrize("value", [None, [], "x", {}, {"bits": 64}])
def test_parameters_refuse_other_shapes(value):
    with pytest.raises(EncodingError):
        Parameters.from_json(value)


@pytest.mark.parametrize("length", [0, 12, 14])
def test_filter_of_another_length_is_refused(length):
    with pytest.raises(EncodingError):
        Bloom(Parameters(101, 8, 0), bytes(length))


@pytest.mark.parametrize("bit", [101, 102, 103])
def test_bits_behind_the_last_are_refused(bit):
    filled = bytearray(13)
    filled[bit // 8] |= 1 << bit % 8
    with pytest.raises(EncodingError):
        Bloom(Parameters(101, 8, 0), bytes(filled))


@pytest.mark.parametrize("count", [1, 10, 100, 5000])
def test_honest_filter_is_not_overfull(count):
    for seed in range(20):
        parameters = size(count, RATE, floor=0, seed=seed)
        assert not Bloom(parameters, bytes(build(random_labels(count, seed), parameters))).overfull()


def test_filter_of_ones_is_overfull():
    assert Bloom(Parameters(1024, 8, 0), b"\xff" * 128).overfull()


@pytest.mark.parametrize("module", ["riskshare.sharing.view", "riskshare.peer.serve"])
def test_querying_loads_no_numpy(module):
    code = f"import sys, {module}; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
