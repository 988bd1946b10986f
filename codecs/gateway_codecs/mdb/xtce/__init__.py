"""XTCE (CCSDS 660.0-B-2; OMG XTCE 1.0 to 1.3): mission databases from untrusted files, in bounded time and memory."""

from gateway_codecs.mdb.xtce.reader import read_xtce

__all__ = ["read_xtce"]
