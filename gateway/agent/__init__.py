"""The agent of a home base (`gateway home`, docs/home-base.md): receives into a store, serves local tools from it."""
