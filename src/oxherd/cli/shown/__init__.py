"""How the commands show what they know: tables for people, JSON lines for programs. Knows no Redis."""
