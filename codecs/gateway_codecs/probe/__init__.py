"""What an unknown recording holds, found from its octets alone: `probe`."""

from gateway_codecs.probe.findings import Coding, Finding, Layout, ReedSolomonCode, Report, Undecided
from gateway_codecs.probe.rewrite import Rewriter
from gateway_codecs.probe.survey import probe

__all__ = ["Coding", "Finding", "Layout", "ReedSolomonCode", "Report", "Rewriter", "Undecided", "probe"]
