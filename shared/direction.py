"""Characters that turn the direction of text, and so can make it say what nobody wrote (CVE-2021-42574)."""

TURNS = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
