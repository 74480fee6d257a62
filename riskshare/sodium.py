"""libsodium: Ed25519 and the group ristretto255. The only file that uses ctypes.

The system's libsodium is used if it is 1.0.18 or newer, else the copy inside the `rbcl`
wheel. The environment variable `RISKSHARE_SODIUM` (`system` or `rbcl`) forces one.

Points and scalars are 32 bytes each (RFC 9496 4.3, RFC 9497 4.1); scalars are integers
modulo L = 2^252 + 27742317777372353535851937790883648493, little-endian. Lengths are
checked here, because C would read past the end; everything else that makes an encoding
good is the business of `riskshare.membership.group`: libsodium 1.0.18 ignores bit 255.

Every call releases the GIL, so that threads compute side by side. libsodium works on
secrets in constant time. Python cannot promise more: copies of a secret stay in memory
until the interpreter uses the place again, and may reach the swap.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from riskshare.errors import ConfigError

OLDEST = (1, 0, 18)
"""The first libsodium whose ristretto255 is final."""

POINT_BYTES = 32
SCALAR_BYTES = 32
UNIFORM_BYTES = 64

_NAMES = ("libsodium.so.26", "libsodium.so.23", "libsodium.26.dylib", "libsodium.23.dylib", "libsodium.dylib")
_REMEDY = "Install libsodium 1.0.18 or newer, or the Python package rbcl."


def _version(library: ctypes.CDLL) -> str:
    """Initialise the library (safe to repeat) and return its version."""
    if library.sodium_init() < 0:
        raise ConfigError(f"libsodium does not initialise. {_REMEDY}")
    function = library.sodium_version_string
    function.restype = ctypes.c_char_p
    return bytes(function()).decode("ascii")


def _usable(library: ctypes.CDLL) -> bool:
    """Tell whether a library is new enough, and built with the functions that we call."""
    if not hasattr(library, "crypto_scalarmult_ristretto255"):
        return False
    numbers = _version(library).split("-")[0].split(".")
    return tuple(int(number) for number in numbers) >= OLDEST


def _system_names() -> Iterator[str]:
    yield from _NAMES
    # Last, because it may start a compiler to find out.
    if (found := ctypes.util.find_library("sodium")) is not None:
        yield found


def _load_system() -> ctypes.CDLL | None:
    for name in _system_names():
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        if _usable(library):
            return library
    return None


def _load_rbcl() -> ctypes.CDLL | None:
    """Load the copy of libsodium that the `rbcl` wheel carries.

    Its module `_sodium` writes the library to a temporary file when it is executed, loads
    it, and leaves the file. It is executed here by itself (the rest of the package is not
    needed), with the place for temporary files set to a directory that goes away.
    """
    package = importlib.util.find_spec("rbcl")
    places = list(package.submodule_search_locations or ()) if package is not None else []
    path = next((path for place in places if (path := Path(place) / "_sodium.py").is_file()), None)
    spec = importlib.util.spec_from_file_location("rbcl._sodium", path) if path is not None else None
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    before = tempfile.tempdir
    try:
        # A system that does not let go of a loaded file (Windows) keeps it until the next clean-up.
        with tempfile.TemporaryDirectory(prefix="riskshare-", ignore_cleanup_errors=True) as place:
            tempfile.tempdir = place
            try:
                spec.loader.exec_module(module)
            finally:
                tempfile.tempdir = before
    except OSError as error:
        raise ConfigError(f"The libsodium inside rbcl cannot be loaded: {error.strerror or 'damaged file'}.") from error
    # Opened anew from its handle, so that prototypes set here are nobody else's.
    library = ctypes.CDLL(None, handle=module._sodium._handle)  # noqa: SLF001 - rbcl has no public name for it
    return library if _usable(library) else None


def _load() -> tuple[ctypes.CDLL, str]:
    wanted = os.environ.get("RISKSHARE_SODIUM", "")
    if wanted not in ("", "system", "rbcl"):
        raise ConfigError("RISKSHARE_SODIUM is neither `system` nor `rbcl`. Correct it, or leave it out.")
    if wanted != "rbcl" and (library := _load_system()) is not None:
        return library, "system"
    if wanted != "system" and (library := _load_rbcl()) is not None:
        return library, "rbcl"
    raise ConfigError(f"No usable libsodium is found on this {platform.system()} machine. {_REMEDY}")


_library, SOURCE = _load()
"""SOURCE: `system`, or `rbcl` for the copy inside that wheel."""

VERSION = _version(_library)
"""Version of the libsodium in use, such as `1.0.18`."""

_Pointer = ctypes.c_void_p
_Length = ctypes.c_ulonglong
_Buffer32 = ctypes.c_char * 32
_Buffer64 = ctypes.c_char * 64


def _bind(name: str, *arguments: type) -> Callable[..., int]:
    function = getattr(_library, name)
    function.argtypes = arguments
    function.restype = ctypes.c_int
    return function  # type: ignore[no-any-return]


_sign_keypair = _bind("crypto_sign_seed_keypair", _Pointer, _Pointer, _Pointer)
_sign_detached = _bind("crypto_sign_detached", _Pointer, _Pointer, _Pointer, _Length, _Pointer)
_sign_verify = _bind("crypto_sign_verify_detached", _Pointer, _Pointer, _Length, _Pointer)
_from_hash = _bind("crypto_core_ristretto255_from_hash", _Pointer, _Pointer)
_is_valid_point = _bind("crypto_core_ristretto255_is_valid_point", _Pointer)
_add = _bind("crypto_core_ristretto255_add", _Pointer, _Pointer, _Pointer)
_sub = _bind("crypto_core_ristretto255_sub", _Pointer, _Pointer, _Pointer)
_multiply = _bind("crypto_scalarmult_ristretto255", _Pointer, _Pointer, _Pointer)
_multiply_base = _bind("crypto_scalarmult_ristretto255_base", _Pointer, _Pointer)
_scalar_reduce = _bind("crypto_core_ristretto255_scalar_reduce", _Pointer, _Pointer)
_scalar_invert = _bind("crypto_core_ristretto255_scalar_invert", _Pointer, _Pointer)
_scalar_negate = _bind("crypto_core_ristretto255_scalar_negate", _Pointer, _Pointer)
_scalar_add = _bind("crypto_core_ristretto255_scalar_add", _Pointer, _Pointer, _Pointer)
_scalar_sub = _bind("crypto_core_ristretto255_scalar_sub", _Pointer, _Pointer, _Pointer)
_scalar_mul = _bind("crypto_core_ristretto255_scalar_mul", _Pointer, _Pointer, _Pointer)


def _sized(size: int, *values: bytes) -> None:
    """Refuse a value that is not `bytes` of this size: C would read past its end."""
    for value in values:
        if type(value) is not bytes or len(value) != size:
            raise ValueError(f"a value is not bytes of length {size}")


# --- Ed25519 (RFC 8032) -------------------------------------------------------------------


def ed25519_keypair(seed: bytes) -> tuple[bytes, bytes]:
    """Expand a 32-byte seed into the public key (32 bytes) and the secret key (64: seed, public)."""
    _sized(32, seed)
    public, secret = _Buffer32(), _Buffer64()
    _sign_keypair(public, secret, seed)
    return public.raw, secret.raw


def ed25519_sign(message: bytes, secret: bytes) -> bytes:
    """Return the 64-byte signature of `message` under a 64-byte secret key."""
    _sized(64, secret)
    signature = _Buffer64()
    _sign_detached(signature, None, message, len(message), secret)
    return signature.raw


def ed25519_verify(signature: bytes, message: bytes, public: bytes) -> bool:
    """Tell whether a 64-byte signature is good; refuses what RFC 8032 5.1.7 refuses, and small orders."""
    _sized(64, signature)
    _sized(32, public)
    return _sign_verify(signature, message, len(message), public) == 0


# --- ristretto255: points -----------------------------------------------------------------


def point_from_hash(uniform: bytes) -> bytes:
    """Map 64 uniform bytes to a point (RFC 9496 4.3.4)."""
    _sized(64, uniform)
    out = _Buffer32()
    _from_hash(out, uniform)
    return out.raw


def point_is_valid(point: bytes) -> bool:
    """Tell whether 32 bytes decode to a point (RFC 9496 4.3.1); 1.0.18 ignores bit 255."""
    _sized(32, point)
    return _is_valid_point(point) == 1


def _of_two_points(function: Callable[..., int], first: bytes, second: bytes) -> bytes:
    _sized(32, first, second)
    out = _Buffer32()
    if function(out, first, second):
        raise ValueError("an operand is not a point")
    return out.raw


def point_add(first: bytes, second: bytes) -> bytes:
    """Return the sum of two points. Raises ValueError if one is none."""
    return _of_two_points(_add, first, second)


def point_sub(first: bytes, second: bytes) -> bytes:
    """Return the difference of two points. Raises ValueError if one is none."""
    return _of_two_points(_sub, first, second)


def scalar_multiply(scalar: bytes, point: bytes) -> bytes | None:
    """Return scalar · point; None if `point` is no point or the product is the identity."""
    _sized(32, scalar, point)
    out = _Buffer32()
    return None if _multiply(out, scalar, point) else out.raw


def scalar_multiply_base(scalar: bytes) -> bytes | None:
    """Return scalar · generator; None for the identity (the scalar is zero)."""
    _sized(32, scalar)
    out = _Buffer32()
    return None if _multiply_base(out, scalar) else out.raw


def _address(value: bytes) -> int:
    """Where the bytes of `value` lie; good as long as the caller holds on to `value`."""
    return ctypes.cast(ctypes.c_char_p(value), _Pointer).value or 0


def scalar_multiply_many(scalar: bytes, points: bytes) -> tuple[bytes, int]:
    """Multiply every one of n points, given behind one another, by one scalar.

    Returns:
        The n products behind one another, and -1; or no bytes and the index of the first
        encoding that is no point or gives the identity.

    """
    _sized(32, scalar)
    size = len(points)
    if type(points) is not bytes or size % 32:
        raise ValueError("points are not bytes of a length that is a multiple of 32")
    if size == POINT_BYTES:  # as most checks have: it needs no buffers
        product = scalar_multiply(scalar, points)
        return (b"", 0) if product is None else (product, -1)
    out = ctypes.create_string_buffer(size)
    # Whole addresses instead of slices: nothing is allocated in the loop but the integers.
    source, target, factor, multiply = _address(points), ctypes.addressof(out), _address(scalar), _multiply
    for offset in range(0, size, 32):
        if multiply(target + offset, factor, source + offset):
            return b"", offset // 32
    return out.raw, -1


def hash_multiply_many(scalar: bytes, uniform: bytes) -> tuple[bytes, int]:
    """Map each 64 of n · 64 uniform bytes to a point and multiply it by the scalar.

    Returns:
        As `scalar_multiply_many`.

    """
    _sized(32, scalar)
    size = len(uniform) // 2
    if type(uniform) is not bytes or size % 32 or len(uniform) % 2:
        raise ValueError("uniform bytes are not bytes of a length that is a multiple of 64")
    out = ctypes.create_string_buffer(size)
    source, target, factor = _address(uniform), ctypes.addressof(out), _address(scalar)
    from_hash, multiply = _from_hash, _multiply
    for offset in range(0, size, 32):
        here = target + offset
        from_hash(here, source + 2 * offset)
        # libsodium decodes the point before it writes the product, so both may share a place.
        if multiply(here, factor, here):
            return b"", offset // 32
    return out.raw, -1


# --- ristretto255: scalars, modulo L ------------------------------------------------------


def scalar_reduce(uniform: bytes) -> bytes:
    """Reduce a 64-byte little-endian integer modulo L."""
    _sized(64, uniform)
    out = _Buffer32()
    _scalar_reduce(out, uniform)
    return out.raw


def scalar_invert(scalar: bytes) -> bytes:
    """Return 1 / scalar. Raises ValueError for zero."""
    _sized(32, scalar)
    out = _Buffer32()
    if _scalar_invert(out, scalar):
        raise ValueError("zero has no inverse")
    return out.raw


def scalar_negate(scalar: bytes) -> bytes:
    """Return -scalar."""
    _sized(32, scalar)
    out = _Buffer32()
    _scalar_negate(out, scalar)
    return out.raw


def _of_two_scalars(function: Callable[..., int], first: bytes, second: bytes) -> bytes:
    _sized(32, first, second)
    out = _Buffer32()
    function(out, first, second)
    return out.raw


def scalar_add(first: bytes, second: bytes) -> bytes:
    """Return first + second."""
    return _of_two_scalars(_scalar_add, first, second)


def scalar_sub(first: bytes, second: bytes) -> bytes:
    """Return first - second."""
    return _of_two_scalars(_scalar_sub, first, second)


def scalar_mul(first: bytes, second: bytes) -> bytes:
    """Return first · second."""
    return _of_two_scalars(_scalar_mul, first, second)
