"""Everything that malicious nodes do in the adversary matrix, and what must follow.

One table per protocol and part; a row is one named cheat. `matrix` puts them together and says
which combinations make no sense, and why.
"""
