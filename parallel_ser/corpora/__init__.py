"""Recordings and their labels: one module a corpus, label maps, protocols and their audits."""
