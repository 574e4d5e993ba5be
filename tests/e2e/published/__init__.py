"""Client programs of the original, as their authors published them, against running nodes.

Each Python client has an interpreter of its own, named by an environment variable; the JavaScript
clients are what `npm ci --ignore-scripts` installs in `js`. Where they are missing, the tests are
skipped; continuous integration installs all of them.
"""
