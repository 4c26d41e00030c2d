"""`kuai.compile`: which program answers a call, what it is bound to, and what comes of it."""
