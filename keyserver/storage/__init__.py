"""The node's database: SQLite by default, PostgreSQL by URL.

- `schema`: the tables; `migrations`: how they came to be, step by step
- `database`: opens the database, reads and writes in short transactions
- `process_lock`: one process per SQLite file
- `stored_key`: what each write makes of a key's rows (pure)
- `key_rows`: a key's rows, loaded and saved
- `records`: keys and votes (`keyserver.engine.ports.RecordStore`)
- `inspection`: what the database tells about keys without opening a secret
- `work`: tasks, answers and blocks read (`keyserver.tasks.ports.WorkStore`), over the rows of
  `tasks`, `outbox` and `cursor`
- `sealing`: the seal record and the keyring's box (`keyserver.sealing.ports.SealStore`)
- `memory`: the same ports in dictionaries, for simulation
"""
