"""The node's database: SQLite by default, PostgreSQL by URL.

- `schema`: the tables; `migrations`: how they came to be, step by step
- `database`: opens the database, reads and writes in short transactions (`access`), of a file
  (`sqlite`) or on a server (`postgres`)
- `process_lock`: one process per SQLite file
- `stored_key`: what each write makes of a key's rows (pure)
- `key_rows`, `vote_rows`: a key's rows and those of votes, loaded and saved
- `key_cache`, `commits`: keys in memory, and the transactions that change them
- `records`: keys and votes (`keyserver.engine.ports.RecordStore`)
- `inspection`: what the database tells about keys without opening a secret
- `work`: tasks, answers and blocks read (`keyserver.tasks.ports.WorkStore`), over the rows of
  `tasks`, `outbox` and `cursor`
- `set_changes`: completed changes of the node set, in the database and in memory
- `sealing`: the seal record and the keyring's box (`keyserver.sealing.ports.SealStore`)
- `memory`: the same ports in dictionaries, for simulation
"""
