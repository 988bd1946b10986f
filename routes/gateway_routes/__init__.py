"""Every decision: what goes where, in what order, what when full. Pure: no sockets, files, clocks or asyncio."""
