"""Commands against listeners on real sockets."""
