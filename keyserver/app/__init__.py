"""What turns the parts into a program: configuration, key files, logs, metrics, composition."""
