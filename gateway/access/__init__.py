"""Who asks, and what they may: tokens, identities, and the rights in use."""
