"""HTTP.

- `facts`: what operators are told, as values
- `rendering`: values as JSON
- `operator`: the routes of the operator listener
- `listening`: sockets, and the server that runs an application on one
"""
