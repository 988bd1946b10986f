"""Links: sources of octets (files, TCP, UDP), each supervised by one task that feeds an intake and the journal."""

from gateway.links.link import Link
from gateway.links.sources import FileSource, Source, TcpClientSource, TcpServerSource
from gateway.links.supervised import LinkContext, LinkSettings, Supervised
from gateway.links.udp import UdpSource

__all__ = [
    "FileSource",
    "Link",
    "LinkContext",
    "LinkSettings",
    "Source",
    "Supervised",
    "TcpClientSource",
    "TcpServerSource",
    "UdpSource",
]
