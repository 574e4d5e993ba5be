"""Service keys of an imicros-keys 0.0.7 deployment, made into keys of this node (sealing, C20).

Nothing else uses these modules: not the shares, not the field they are in, not the verify hash.
"""
