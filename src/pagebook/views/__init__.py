"""The same answers in other clothes: text for people, JSON for programs."""
