"""Engineering values: computed from journalled packets with the mission database asked for (docs/values.md).

Nothing in here is imported before a spacecraft has a database and somebody, or its first packet, needs it.
"""
