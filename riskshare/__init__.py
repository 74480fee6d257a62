"""riskshare: ask all members of a network whether a payee is on a risk list, without telling them whom you asked about.

Three flows, each a folder
    `sharing`     a list: import -> publish -> snapshot -> subscribe. An owner turns identifiers into labels under its
                  secret OPRF key and signs what it published; others copy the files and verify every byte.
    `query`       a check: check -> ask -> answer -> receipt. A querier blinds, owners evaluate, the querier finalizes,
                  looks into its copies and decides. Receipt and sealed record are durable before anybody uses them.
    `ledger`      what remains of it: receipt -> leaf -> tree -> checkpoint -> audit. Each member's log grows by what it
                  keeps, is cosigned by all others, and can be verified from outside by anybody.

They stand on `membership` (identifier, OPRF, filter, record) and `registry` (who is a member, with which keys), which
are pure. `store` (PostgreSQL, files), `client` and `server` (HTTP) touch the outside; `peer` puts all of it together;
`cli`, `demo` and `bench` are what people run.

Imports go downwards only: cli -> demo, bench -> peer -> client, server -> store -> query -> sharing -> ledger,
membership -> registry -> statement -> signature -> encoding, sodium, cores -> errors. A test holds this.

Who is trusted with what
    ====================  =====================================================  ====================================
    who or where          can see or do                                          cannot
    ====================  =====================================================  ====================================
    own peer              what its clients ask, in memory                        open another owner's list by itself
    an owner              who asked, when, why, how many elements                learn the identifier; learn of a hit
    a querier             whether what it asked about is listed, and why         enumerate a list: quotas, receipts
    a quorum of members   that a log only grew: its size and its root           see more of it; hold up a check
    a governor majority   who is a member, with which keys                       read lists or questions
    PostgreSQL            names, counts, times, sealed rows                      open them: the keys are elsewhere
    segment files         list sizes, labels, sealed records                     test a guess without the owner's key
    key files             everything that the member can                         -
    ====================  =====================================================  ====================================

    On demand (`subscribe.mode`), an owner also sees that a hit probably happened. README.md says what is not promised.

What is promised to programs
    The names below, the command line, the configuration and the client API. All else may change in any version.

    `Client`        the asynchronous client of one's own peer, loaded when it is first used
    `__version__`   the version that is installed
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from riskshare.api_client import Client

    __version__: str

__all__ = ["Client", "__version__"]


def __getattr__(name: str) -> Any:
    """Give what is promised, loaded when it is asked for. Raises AttributeError for any other name."""
    if name == "Client":
        return import_module("riskshare.api_client").Client
    if name == "__version__":
        return import_module("importlib.metadata").version("riskshare")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """All names of this module, also those that are not loaded yet."""
    return sorted({*globals(), *__all__})
