"""Signatures of the server key held against programs of others.

coincurve and eth-account are always there. @noble/curves runs in Node.js: `npm ci --ignore-scripts`
in `js`.
"""
