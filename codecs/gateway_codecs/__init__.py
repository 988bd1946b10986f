"""Every octet: formats and pure procedures. Values in, octets out, and back; no I/O, no clock, no asyncio."""
