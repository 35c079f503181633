"""How fast emofuse is on this machine, beside what a user would otherwise have (`emofuse bench`)."""
