"""What a page gave travels between processes unchanged."""

from __future__ import annotations

import pickle

from riskshare.audit.fact import Flaw
from riskshare.audit.paging import PageFacts


def test_the_facts_of_a_page_travel_unchanged():
    facts = PageFacts("bank", 7, waiting=3)
    facts.tables["receipt"] += [("bank", 5, bytes(32), "querier"), ("bank", 6, bytes(32), "")]
    facts.tables["exchange"].append((b"\x01" * 32, "bank", "jd", b"", 2**53 - 1, 0))
    facts.named["bank", "jd", "jd/list", b"\x02" * 32] = b"\x03" * 32
    facts.act(60_001, 1, 2, 3)
    facts.tallies.update({"receipt": 2})
    facts.flaw("7", "unsigned", 5, "it is not signed")
    found = pickle.loads(pickle.dumps(facts))
    assert found == facts
    assert type(found.flaws[0]) is Flaw
    found.tables["check_"].append(())  # what has no rows yet is an empty table there too
    found.tallies["audit"] += 1


def test_the_facts_of_an_empty_page_travel():
    assert pickle.loads(pickle.dumps(PageFacts("bank", 1))) == PageFacts("bank", 1)
