"""riskshare: a distributed risk-list query network."""
