"""Things that several test folders need: tiny models, a stand-in for the safety desk, hand-made pictures."""
